// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "console/audit_filter.h"
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
  struct audit_filter filter;
  struct tlx_arena *arena;
  Telovix__V1__AuditRecord **records;
  size_t n, max, bytes, n_looks;
  uint64_t last_seq;
  bool more, failed;
};

static bool collect_record(void *arg, const Telovix__Store__V1__AuditRecord *record) {
  struct audit_page *page = arg;
  if (page->n == page->max || page->bytes >= PAGE_BYTES_MAX || page->n_looks == LIST_LOOKS_MAX) {
    page->more = true;
    return false;
  }
  page->n_looks++;
  page->last_seq = record->seq;
  if (!audit_filter_wants(&page->filter, record)) return true;
  Telovix__V1__AuditRecord *audit = convert_audit(record, page->arena);
  if (!audit) {
    page->failed = true;
    return false;
  }
  page->records[page->n++] = audit;
  page->bytes += protobuf_c_message_get_packed_size(&audit->base);
  return true;
}

/* What the page token is bound to: what was asked for, not what it meant then. Heap; NULL = no
 * memory. */
static char *filter_text(const struct audit_filter_wish *wish, const struct audit_filter *filter) {
  struct tlx_buf buf = {0};
  tlx_buf_printf(&buf, "ListAudit|%s|%s|%s|%d|%llu|%llu", wish->actor, wish->action_type,
                 wish->sensor, wish->outcome, (unsigned long long)filter->since_wall_ms,
                 (unsigned long long)filter->until_wall_ms);
  char *text = tlx_buf_take_text(&buf);
  tlx_buf_done(&buf);
  return text;
}

void svc_list_audit(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ListAuditRequest *request = (const void *)message;
  Telovix__V1__ListAuditReply reply = TELOVIX__V1__LIST_AUDIT_REPLY__INIT;
  struct audit_filter_wish wish = {request->actor,   request->action_type, request->sensor,
                                   request->outcome, request->since,       request->until};
  struct audit_page page = {.arena = tlx_call_arena(call),
                            .max = page_size(request->page_size, PAGE_AUDIT_MAX)};
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  char token[512];
  uint64_t from_seq = UINT64_MAX;
  tlx_status_clear(&status);
  audit_filter_take(&page.filter, &wish, &status);
  char *filter TLX_AUTOFREE = filter_text(&wish, &page.filter);
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
  bool found = audit_filter_resolve(&page.filter, &wish, txn, &status);
  if (found && from_seq > 0) tlx_audit_each(txn, from_seq, true, collect_record, &page);
  if (!svc_read_ok(call, txn)) return;
  if (!found) {
    svc_fail_status(call, &status);
    return;
  }
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
 * busy log can be exported whole. A turn looks at EXPORT_BATCH records; then others have theirs. */
struct export {
  struct tlx_call *call; /* referenced */
  uv_timer_t turn;
  struct audit_filter filter;
  uint64_t next_seq, last_seq;
  unsigned n_in_batch;
  bool is_blocked;
  int err;
};

static void on_turn_closed(uv_handle_t *handle) {
  free(handle->data);
}

/* Lets go of the call, whose end is the caller's. */
static void drop_export(struct export *export) {
  tlx_call_on_cancel(export->call, NULL, NULL);
  tlx_call_on_writable(export->call, NULL, NULL);
  tlx_call_unref(export->call);
  export->call = NULL;
  uv_close((uv_handle_t *)&export->turn, on_turn_closed);
}

static bool send_record(void *arg, const Telovix__Store__V1__AuditRecord *record) {
  struct export *export = arg;
  struct tlx_arena arena;
  if (record->seq > export->last_seq || export->n_in_batch++ == EXPORT_BATCH) return false;
  if (tlx_call_queued(export->call) >= TLX_UNSENT_LOW) {
    export->is_blocked = true;
    return false;
  }
  if (audit_filter_wants(&export->filter, record)) {
    tlx_arena_init(&arena, TLX_ARENA_MAX);
    const Telovix__V1__AuditRecord *audit = convert_audit(record, &arena);
    export->err = audit ? tlx_call_send(export->call, &audit->base) : -ENOMEM;
    tlx_arena_done(&arena);
    if (export->err) return false;
  }
  export->next_seq = record->seq + 1;
  return true;
}

/* The end, in order or with |reason| (REASON_COUNT = none). */
static void end_export(struct export *export, enum reason reason) {
  struct tlx_call *call = tlx_call_ref(export->call);
  drop_export(export);
  if (reason == REASON_COUNT)
    tlx_call_end(call);
  else
    svc_fail(call, reason);
  tlx_call_unref(call);
}

static void pump_export(struct export *export);

static void on_turn(uv_timer_t *timer) {
  pump_export(timer->data);
}

static void pump_export(struct export *export) {
  struct tlx_call *call = export->call;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  uint64_t before_seq = export->next_seq;
  export->is_blocked = false;
  export->n_in_batch = 0;
  if (export->next_seq > export->last_seq) {
    end_export(export, REASON_COUNT);
    return;
  }
  if (tlx_txn_begin_read(console_of(call)->store, &txn) != 0) {
    end_export(export, REASON_STORE_FAILED);
    return;
  }
  tlx_audit_each(txn, export->next_seq, false, send_record, export);
  if (export->err == TLX_E_CLOSED || !tlx_call_alive(call)) return; /* cancelled is told apart */
  if (export->err)
    end_export(export, REASON_NO_MEMORY);
  else if (tlx_txn_err(txn) || (export->next_seq == before_seq && !export->is_blocked))
    end_export(export, REASON_STORE_FAILED); /* a gap: an orderly end would hide it */
  else if (!export->is_blocked)
    uv_timer_start(&export->turn, on_turn, 0, 0);
}

static void on_export_writable(struct tlx_call *call, void *arg) {
  struct export *export = arg;
  if (export->is_blocked) pump_export(export);
}

static void on_export_cancelled(struct tlx_call *call, void *arg) {
  end_export(arg, REASON_COUNT);
}

struct export_start {
  struct op_audit_only audit; /* first */
  struct audit_filter filter;
  uint64_t from_seq;
};

static void start_export(struct tlx_call *call, const struct export_start *op) {
  struct export *export = calloc(1, sizeof *export);
  if (!export) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  uv_timer_init(&console_of(call)->loop, &export->turn);
  export->turn.data = export;
  export->call = tlx_call_ref(call);
  export->filter = op->filter;
  export->next_seq = op->from_seq;
  export->last_seq = op->audit.op.head.seq;
  svc_add_head(call);
  tlx_call_start_stream(call);
  if (!tlx_call_alive(call)) {
    end_export(export, REASON_COUNT);
    return;
  }
  tlx_call_on_cancel(call, on_export_cancelled, export);
  tlx_call_on_writable(call, on_export_writable, export);
  pump_export(export);
}

/* Who read the log is on record, before anything is sent. */
static void exported(struct op *base) {
  struct tlx_call *call = svc_op_call(base);
  if (base->status.code == TLX_GRPC_OK)
    start_export(call, (const void *)base);
  else
    svc_fail_status(call, &base->status);
  tlx_call_unref(call);
  op_done(base);
  free(base);
}

/* What was read: the number and the filters that were given. */
static int set_detail(struct export_start *op, const struct audit_filter_wish *wish) {
  struct audit_filter *filter = &op->filter;
  char since[TLX_TIME_TEXT_MAX], until[TLX_TIME_TEXT_MAX];
  json_t *detail = json_object();
  json_object_set_new(detail, "from_seq", json_integer((json_int_t)op->from_seq));
  if (*filter->actor) json_object_set_new(detail, "actor", json_string(filter->actor));
  if (*filter->action_type)
    json_object_set_new(detail, "action_type", json_string(filter->action_type));
  if (*wish->sensor) json_object_set_new(detail, "sensor", json_string(filter->sensor_id));
  if (filter->outcome) json_object_set_new(detail, "outcome", json_integer(filter->outcome));
  tlx_time_format(filter->since_wall_ms, since);
  if (wish->since) json_object_set_new(detail, "since", json_string(since));
  if (wish->until) {
    tlx_time_format(filter->until_wall_ms, until);
    json_object_set_new(detail, "until", json_string(until));
  }
  char *text TLX_AUTOFREE = json_dumps(detail, JSON_COMPACT | JSON_SORT_KEYS);
  json_decref(detail);
  if (!text) return -ENOMEM;
  snprintf(op->audit.detail, sizeof op->audit.detail, "%s", text);
  return 0;
}

static void submit_export(struct tlx_call *call, const struct audit_filter_wish *wish,
                          const struct audit_filter *filter, uint64_t from_seq) {
  struct export_start *op = calloc(1, sizeof *op);
  if (op) {
    op->filter = *filter;
    op->from_seq = from_seq ? from_seq : 1;
  }
  if (!op || set_detail(op, wish) != 0) {
    free(op);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  struct op_audit_only *audit = &op->audit;
  strcpy(audit->action_type, "audit_exported");
  audit->success = true;
  audit->op.run = op_audit_only_run;
  audit->op.action_type = "audit_exported";
  audit->op.done = exported;
  audit->op.cost = sizeof *op;
  svc_submit(call, &audit->op, NULL, NULL);
}

void svc_export_audit(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ExportAuditRequest *request = (const void *)message;
  struct audit_filter_wish wish = {request->actor,   request->action_type, request->sensor,
                                   request->outcome, request->since,       request->until};
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct audit_filter filter;
  struct tlx_status status;
  tlx_status_clear(&status);
  audit_filter_take(&filter, &wish, &status);
  if (request->from_seq > INT64_MAX)
    tlx_status_add_violation(&status, "from_seq", "is higher than any number");
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  if (!svc_begin(call, &txn)) return;
  bool found = audit_filter_resolve(&filter, &wish, txn, &status);
  if (!svc_read_ok(call, txn)) return;
  if (found)
    submit_export(call, &wish, &filter, request->from_seq);
  else
    svc_fail_status(call, &status);
}
