// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"
#include "console/convert.h"
#include "console/limits.h"
#include "console/op_kill.h"
#include "console/page.h"
#include "console/svc.h"
#include "console/watch.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"
#include "telovix/v1/containment.pb-c.h"

/* Orders to sensors (ContainmentService). */

#define PID_MAX 4194304u /* PID_MAX_LIMIT of the kernel, include/linux/threads.h */
#define EXE_MAX 4095u

/* ---- KillProcess ---- */

static void check_kill(const Telovix__V1__KillProcessRequest *request, uint64_t *ret_life_ms,
                       struct tlx_status *status) {
  uint64_t life_ms = KILL_LIFE_DEFAULT_MS;
  if (!*request->sensor) tlx_status_add_violation(status, "sensor", "is missing");
  if (strlen(request->sensor) > 253)
    tlx_status_add_violation(status, "sensor", "is neither an id nor a node name");
  if (request->pid <= 1)
    tlx_status_add_violation(status, "pid", "%u is no process that can be killed; PIDs start at 2",
                             request->pid);
  else if (request->pid > PID_MAX)
    tlx_status_add_violation(status, "pid", "%u is above %u, the highest PID there can be",
                             request->pid, PID_MAX);
  if (*request->exe && (*request->exe != '/' || strlen(request->exe) > EXE_MAX))
    tlx_status_add_violation(status, "exe", "is not an absolute path of at most %u bytes", EXE_MAX);
  if (request->life && (!convert_duration_ms(request->life, &life_ms) ||
                        life_ms < KILL_LIFE_MIN_MS || life_ms > KILL_LIFE_MAX_MS))
    tlx_status_add_violation(status, "life", "is not between 10 s and 24 h");
  svc_check_common(status, request->reason, request->request_id);
  *ret_life_ms = life_ms;
}

/* Baseline and silence come from memory: the store only has what was written behind. */
static void take_live(struct console *console, const char *sensor_id, struct op_kill_queue *op) {
  const struct live_sensor *live = live_find(console->live, sensor_id);
  uint64_t now_mono_ms = tlx_mono_ms(console->clock);
  op->silent = !live || !live->seen_since_start ||
               now_mono_ms - live->last_seen_mono_ms >= console->settings.stale_after_ms;
  op->has_baseline = live && live_baseline(console->live, live, op->boot_id, &op->baseline_boot_ns);
}

static void pack_kill(const struct op *base, struct tlx_buf *buf) {
  const struct op_kill_queue *op = (const void *)base;
  Telovix__V1__KillProcessReply reply = TELOVIX__V1__KILL_PROCESS_REPLY__INIT;
  struct tlx_arena arena;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  reply.order = convert_order(op->record, &arena);
  reply.notice = (char *)op->notice;
  if (reply.order)
    tlx_pb_pack(&reply.base, buf);
  else
    buf->err = -ENOMEM;
  tlx_arena_done(&arena);
}

static void kill_queued(struct op *base) {
  struct op_kill_queue *op = (void *)base;
  struct console *console = console_of(base->arg);
  if (op->is_counted) live_changed(console->live, op->live_id);
  if (base->status.code == TLX_GRPC_OK && !base->replayed) {
    if (!base->has_follower || strcmp(op->sensor_id, op->live_id) != 0)
      live_wake(console->live, op->sensor_id);
    watch_sensor_changed(console->watch, op->sensor_id);
  }
  svc_op_answer(base);
  op_done(base);
  free(op);
}

void svc_kill_process(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__KillProcessRequest *request = (const void *)message;
  struct console *console = console_of(call);
  struct tlx_status status;
  uint64_t life_ms;
  tlx_status_clear(&status);
  check_kill(request, &life_ms, &status);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct op_kill_queue *op = calloc(1, sizeof *op);
  if (!op || tlx_id_make("kill_", op->order_id, sizeof op->order_id) != 0) {
    free(op);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  if (!svc_begin(call, &txn)) {
    free(op);
    return;
  }
  /* An unknown sensor is refused by the op, which also audits it. */
  struct op finder = {0};
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(&finder, txn, request->sensor);
  snprintf(op->live_id, sizeof op->live_id, "%s", sensor ? sensor->sensor_id : "");
  take_live(console, op->live_id, op);
  snprintf(op->sensor, sizeof op->sensor, "%s", request->sensor);
  snprintf(op->guard_exe, sizeof op->guard_exe, "%s", request->exe);
  op->pid = request->pid;
  op->guard_start_ticks = request->start_ticks;
  op->life_ms = life_ms;
  op->op.run = op_kill_queue_run;
  op->op.pack = pack_kill;
  op->op.action_type = "process_kill_queued";
  op->op.done = kill_queued;
  op->op.cost = sizeof *op;
  op->is_counted = live_changing(console->live, op->live_id, &op->op.has_follower);
  svc_submit(call, &op->op, request->reason, request->request_id);
}

/* ---- CancelKill ---- */

static void pack_cancel(const struct op *base, struct tlx_buf *buf) {
  const struct op_kill_cancel *op = (const void *)base;
  struct tlx_arena arena;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  const Telovix__V1__KillOrder *order = convert_order(op->record, &arena);
  if (order)
    tlx_pb_pack(&order->base, buf);
  else
    buf->err = -ENOMEM;
  tlx_arena_done(&arena);
}

static void kill_cancelled(struct op *base) {
  struct op_kill_cancel *op = (void *)base;
  struct console *console = console_of(base->arg);
  if (base->status.code == TLX_GRPC_OK) watch_order_changed(console->watch, op->order_id);
  svc_op_answer(base);
  op_done(base);
  free(op);
}

void svc_cancel_kill(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__CancelKillRequest *request = (const void *)message;
  struct tlx_status status;
  tlx_status_clear(&status);
  if (!tlx_id_valid("kill_", request->order_id))
    tlx_status_add_violation(&status, "order_id", "is not the id of a kill order");
  svc_check_common(&status, request->reason, request->request_id);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct op_kill_cancel *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->order_id, sizeof op->order_id, "%s", request->order_id);
  op->op.run = op_kill_cancel_run;
  op->op.pack = pack_cancel;
  op->op.action_type = "process_kill_cancelled";
  op->op.done = kill_cancelled;
  op->op.cost = sizeof *op;
  svc_submit(call, &op->op, request->reason, request->request_id);
}

/* ---- reading ---- */

void svc_get_kill(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__GetKillRequest *request = (const void *)message;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, request->order_id);
  if (!svc_read_ok(call, txn)) return;
  if (!record) {
    svc_fail(call, REASON_UNKNOWN_ORDER);
    return;
  }
  const Telovix__V1__KillOrder *order = convert_order(record, tlx_call_arena(call));
  svc_reply(call, order ? &order->base : NULL);
}

void svc_watch_kill(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__GetKillRequest *request = (const void *)message;
  watch_order(console_of(call)->watch, call, request->order_id);
}

/* One page of orders while it is collected. */
struct order_page {
  struct tlx_arena *arena;
  Telovix__V1__KillOrder **orders;
  size_t n, max, bytes;
  uint64_t last_no;
  bool more, failed;
};

static bool collect_order(void *arg, const Telovix__Store__V1__OrderRecord *record) {
  struct order_page *page = arg;
  if (page->n == page->max || page->bytes >= PAGE_BYTES_MAX) {
    page->more = true;
    return false;
  }
  Telovix__V1__KillOrder *order = convert_order(record, page->arena);
  if (!order) {
    page->failed = true;
    return false;
  }
  page->orders[page->n++] = order;
  page->bytes += protobuf_c_message_get_packed_size(&order->base);
  page->last_no = record->queue_no;
  return true;
}

void svc_list_kills(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ListKillsRequest *request = (const void *)message;
  Telovix__V1__ListKillsReply reply = TELOVIX__V1__LIST_KILLS_REPLY__INIT;
  struct order_page page = {.arena = tlx_call_arena(call),
                            .max = page_size(request->page_size, PAGE_MAX)};
  struct tlx_status status;
  char filter[320], token[512];
  uint64_t before_no = UINT64_MAX;
  tlx_status_clear(&status);
  snprintf(filter, sizeof filter, "ListKills|%.253s", request->sensor);
  if (page_token_parse_number(request->page_token, filter, &before_no, &status) != 0) {
    svc_fail_status(call, &status);
    return;
  }
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__SensorRecord *sensor = NULL;
  if (*request->sensor && !(sensor = svc_find_sensor(call, txn, request->sensor))) return;
  page.orders = tlx_arena_alloc(page.arena, page.max * sizeof *page.orders);
  if (!page.orders) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  tlx_order_each(txn, sensor ? sensor->sensor_id : NULL, before_no, collect_order, &page);
  if (!svc_read_ok(call, txn)) return;
  if (page.failed) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  reply.orders = page.orders;
  reply.n_orders = page.n;
  if (page.more) {
    page_token_format_number(filter, page.last_no, token);
    reply.next_page_token = token;
  }
  svc_reply(call, &reply.base);
}
