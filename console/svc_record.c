// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "console/convert.h"
#include "console/limits.h"
#include "console/op_audit.h"
#include "console/page.h"
#include "console/svc.h"
#include "rpc/limits.h"
#include "storage/audit_tbl.h"
#include "telovix/v1/audit.pb-c.h"

/* Reads the audit log (AuditService). */

/* Records that one ListAudit looks at: with a narrow filter a page may come back short, with a
 * token to go on, but never holds the loop. */
#define LIST_LOOKS_MAX 20000u
/* Records of an export in one turn. */
#define EXPORT_BATCH 256u

/* ---- GetAuditHead ---- */

void svc_get_audit_head(struct tlx_call *call, const ProtobufCMessage *message) {
  Telovix__V1__AuditHead reply = TELOVIX__V1__AUDIT_HEAD__INIT;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_audit_head head;
  if (!svc_begin(call, &txn)) return;
  tlx_audit_head(txn, &head);
  if (!svc_read_ok(call, txn)) return;
  reply.seq = head.seq;
  reply.hash = (ProtobufCBinaryData){sizeof head.hash, head.hash};
  svc_reply(call, &reply.base);
}

/* ---- ListAudit ---- */

struct audit_page {
  const Telovix__V1__ListAuditRequest *request;
  const char *sensor_id; /* NULL = all */
  uint64_t since_wall_ms, until_wall_ms;
  struct tlx_arena *arena;
  Telovix__V1__AuditRecord **records;
  size_t n, max, bytes, n_looks;
  uint64_t last_seq;
  bool more, failed;
};

static bool is_wanted(const struct audit_page *page,
                      const Telovix__Store__V1__AuditRecord *record) {
  const Telovix__V1__ListAuditRequest *request = page->request;
  uint64_t wall_ms;
  if (*request->actor && strcmp(request->actor, record->actor) != 0) return false;
  if (*request->action_type && strcmp(request->action_type, record->action_type) != 0) return false;
  if (page->sensor_id && strcmp(page->sensor_id, record->sensor_id) != 0) return false;
  if (request->outcome && (request->outcome == TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_SUCCESS) !=
                              (strcmp(record->outcome, "success") == 0))
    return false;
  if (page->since_wall_ms == 0 && page->until_wall_ms == UINT64_MAX) return true;
  return tlx_time_parse(record->created_at, &wall_ms) == 0 && wall_ms >= page->since_wall_ms &&
         wall_ms <= page->until_wall_ms;
}

static bool collect_record(void *arg, const Telovix__Store__V1__AuditRecord *record) {
  struct audit_page *page = arg;
  if (page->n == page->max || page->bytes >= PAGE_BYTES_MAX || page->n_looks == LIST_LOOKS_MAX) {
    page->more = true;
    return false;
  }
  page->n_looks++;
  page->last_seq = record->seq;
  if (!is_wanted(page, record)) return true;
  Telovix__V1__AuditRecord *audit = convert_audit(record, page->arena);
  if (!audit) {
    page->failed = true;
    return false;
  }
  page->records[page->n++] = audit;
  page->bytes += protobuf_c_message_get_packed_size(&audit->base);
  return true;
}

static void take_times(struct audit_page *page, struct tlx_status *status) {
  const Telovix__V1__ListAuditRequest *request = page->request;
  page->until_wall_ms = UINT64_MAX;
  if (request->since && !convert_time_ms(request->since, &page->since_wall_ms))
    tlx_status_add_violation(status, "since", "is out of range");
  if (request->until && !convert_time_ms(request->until, &page->until_wall_ms))
    tlx_status_add_violation(status, "until", "is out of range");
}

/* What the page token is bound to. Heap; NULL = no memory. */
static char *filter_text(const struct audit_page *page) {
  const Telovix__V1__ListAuditRequest *request = page->request;
  struct tlx_buf buf = {0};
  tlx_buf_printf(&buf, "ListAudit|%s|%s|%s|%d|%llu|%llu", request->actor, request->action_type,
                 request->sensor, request->outcome, (unsigned long long)page->since_wall_ms,
                 (unsigned long long)page->until_wall_ms);
  char *text = tlx_buf_take_text(&buf);
  tlx_buf_done(&buf);
  return text;
}

void svc_list_audit(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ListAuditRequest *request = (const void *)message;
  Telovix__V1__ListAuditReply reply = TELOVIX__V1__LIST_AUDIT_REPLY__INIT;
  struct audit_page page = {.request = request,
                            .arena = tlx_call_arena(call),
                            .max = page_size(request->page_size, PAGE_AUDIT_MAX)};
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  char token[512];
  uint64_t from_seq = UINT64_MAX;
  tlx_status_clear(&status);
  take_times(&page, &status);
  svc_check_enum(&status, "outcome", &telovix__v1__audit_outcome__descriptor, request->outcome);
  char *filter TLX_AUTOFREE = filter_text(&page);
  if (status.code == TLX_GRPC_OK && filter)
    (void)page_token_parse_number(request->page_token, filter, &from_seq, &status);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  page.records = tlx_arena_alloc(page.arena, page.max * sizeof *page.records);
  if (!filter || !page.records) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  /* The key is the last record that was looked at; the walk begins below it. */
  if (*request->page_token && from_seq) from_seq--;
  if (!svc_begin(call, &txn)) return;
  if (*request->sensor) {
    const Telovix__Store__V1__SensorRecord *sensor = svc_find_sensor(call, txn, request->sensor);
    if (!sensor) return;
    page.sensor_id = sensor->sensor_id;
  }
  if (from_seq > 0) tlx_audit_each(txn, from_seq, true, collect_record, &page);
  if (!svc_read_ok(call, txn)) return;
  if (page.failed) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  if (page.more) {
    page_token_format_number(filter, page.last_seq, token);
    reply.next_page_token = token;
  }
  reply.records = page.records;
  reply.n_records = page.n;
  svc_reply(call, &reply.base);
}

/* ---- ExportAudit ---- */

/* A stream that reads on when its reader has read. It ends at the head of its beginning, so that a
 * busy log can be exported whole. */
struct export {
  struct tlx_call *call; /* referenced */
  uint64_t next_seq, last_seq;
  unsigned n_in_batch;
  bool is_blocked;
};

static void drop_export(struct export *export) {
  tlx_call_on_cancel(export->call, NULL, NULL);
  tlx_call_on_writable(export->call, NULL, NULL);
  tlx_call_unref(export->call);
  free(export);
}

static bool send_record(void *arg, const Telovix__Store__V1__AuditRecord *record) {
  struct export *export = arg;
  struct tlx_arena arena;
  if (record->seq > export->last_seq || export->n_in_batch++ == EXPORT_BATCH) return false;
  if (tlx_call_queued(export->call) >= TLX_UNSENT_LOW) {
    export->is_blocked = true;
    return false;
  }
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  const Telovix__V1__AuditRecord *audit = convert_audit(record, &arena);
  int err = audit ? tlx_call_send(export->call, &audit->base) : -ENOMEM;
  tlx_arena_done(&arena);
  if (err) return false;
  export->next_seq = record->seq + 1;
  return true;
}

static void pump_export(struct export *export) {
  struct tlx_call *call = export->call;
  export->is_blocked = false;
  while (tlx_call_alive(call) && !export->is_blocked && export->next_seq <= export->last_seq) {
    struct tlx_txn *txn TLX_AUTOTXN = NULL;
    uint64_t before_seq = export->next_seq;
    export->n_in_batch = 0;
    if (!svc_begin(call, &txn)) {
      drop_export(export);
      return;
    }
    tlx_audit_each(txn, export->next_seq, false, send_record, export);
    if (tlx_txn_err(txn) || (export->next_seq == before_seq && !export->is_blocked)) {
      svc_fail(call, REASON_STORE_FAILED);
      drop_export(export);
      return;
    }
  }
  if (export->is_blocked || !tlx_call_alive(call)) return;
  tlx_call_end(call);
  drop_export(export);
}

static void on_export_writable(struct tlx_call *call, void *arg) {
  pump_export(arg);
}

static void on_export_cancelled(struct tlx_call *call, void *arg) {
  tlx_call_ref(call);
  drop_export(arg);
  tlx_call_end(call);
  tlx_call_unref(call);
}

struct export_start {
  struct op_audit_only audit; /* first */
  uint64_t from_seq;
};

/* Who read the whole log is on record, before anything is sent. */
static void exported(struct op *base) {
  struct export_start *op = (void *)base;
  struct tlx_call *call = svc_op_call(base);
  struct export *export = base->status.code == TLX_GRPC_OK ? calloc(1, sizeof *export) : NULL;
  if (base->status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &base->status);
  } else if (!export) {
    svc_fail(call, REASON_NO_MEMORY);
  } else {
    export->call = tlx_call_ref(call);
    export->next_seq = op->from_seq;
    export->last_seq = base->head.seq;
    svc_add_head(call);
    tlx_call_start_stream(call);
    tlx_call_on_cancel(call, on_export_cancelled, export);
    tlx_call_on_writable(call, on_export_writable, export);
    if (tlx_call_alive(call)) {
      pump_export(export);
    } else {
      drop_export(export);
      tlx_call_end(call);
    }
  }
  tlx_call_unref(call);
  op_done(base);
  free(op);
}

void svc_export_audit(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ExportAuditRequest *request = (const void *)message;
  struct export_start *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  struct op_audit_only *audit = &op->audit;
  op->from_seq = request->from_seq ? request->from_seq : 1;
  strcpy(audit->action_type, "audit_exported");
  audit->success = true;
  snprintf(audit->detail, sizeof audit->detail, "{\"from_seq\":%llu}",
           (unsigned long long)op->from_seq);
  audit->op.run = op_audit_only_run;
  audit->op.done = exported;
  audit->op.cost = sizeof *op;
  svc_submit(call, &audit->op, NULL, NULL);
}
