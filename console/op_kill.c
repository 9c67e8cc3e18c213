// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_kill.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "console/limits.h"
#include "console/op_int.h"
#include "console/reasons.h"

#define QUEUED "process_kill_queued"
#define CANCELLED "process_kill_cancelled"
#define FINISHED "process_kill_finished"

/* ---- queue ---- */

static json_t *asked_kill(const struct op_kill_queue *op) {
  json_t *asked = json_object();
  json_object_set_new(asked, "pid", json_integer(op->pid));
  json_object_set_new(asked, "sensor", op_json_text(op->sensor));
  if (op->guard_start_ticks)
    json_object_set_new(asked, "start_ticks", op_json_u64(op->guard_start_ticks));
  if (*op->guard_exe) json_object_set_new(asked, "exe", op_json_text(op->guard_exe));
  return asked;
}

static bool may_queue(struct op_kill_queue *op, struct tlx_txn *txn,
                      const Telovix__Store__V1__SensorRecord *sensor) {
  if (sensor->trust_state == OP_TRUST_REVOKED) {
    reason_set(&op->op.status, REASON_SENSOR_REVOKED);
    return false;
  }
  /* Without a heartbeat there is no baseline, and without that a PID names nothing for sure. */
  if (!op->has_baseline && (sensor->last_seen_wall_ms == 0 || sensor->boot_id.len != 16)) {
    tlx_status_set(&op->op.status, TLX_GRPC_FAILED_PRECONDITION,
                   reason_word(REASON_NEVER_HEARTBEATEN),
                   "%s has never sent a heartbeat: start the sensor first", sensor->node_name);
    return false;
  }
  if (tlx_order_count_open(txn, sensor->sensor_id) >= OPEN_ORDERS_PER_SENSOR_MAX) {
    tlx_status_set(&op->op.status, TLX_GRPC_RESOURCE_EXHAUSTED,
                   reason_word(REASON_TOO_MANY_OPEN_ORDERS),
                   "%s has %u open orders, as many as it may: wait or cancel some",
                   sensor->node_name, OPEN_ORDERS_PER_SENSOR_MAX);
    return false;
  }
  return true;
}

static Telovix__Store__V1__OrderRecord *build(struct op_kill_queue *op, struct tlx_txn *txn,
                                              const Telovix__Store__V1__SensorRecord *sensor) {
  Telovix__Store__V1__OrderRecord *record = tlx_arena_alloc(tlx_txn_arena(txn), sizeof *record);
  if (!record) {
    tlx_txn_fail(txn, -ENOMEM);
    return NULL;
  }
  *record = (Telovix__Store__V1__OrderRecord)TELOVIX__STORE__V1__ORDER_RECORD__INIT;
  record->order_id = op->order_id;
  record->sensor_id = sensor->sensor_id;
  record->node_name = sensor->node_name;
  record->pid = op->pid;
  record->guard_start_ticks = op->guard_start_ticks;
  record->guard_exe = op->guard_exe;
  /* The stored baseline is not aged: that is stricter, never laxer. */
  record->boot_id =
      op->has_baseline ? (ProtobufCBinaryData){sizeof op->boot_id, op->boot_id} : sensor->boot_id;
  record->baseline_boot_ns = op->has_baseline ? op->baseline_boot_ns : sensor->boot_ns;
  record->actor = op->op.actor.name;
  record->reason = op->op.actor.reason;
  record->request_id = op->op.actor.request_id;
  record->queued_wall_ms = op->op.actor.wall_ms;
  record->expires_wall_ms = op->op.actor.wall_ms + op->life_ms;
  record->scope_cgroup = sensor->scope_cgroup;
  return record;
}

static void word_notice(struct op_kill_queue *op) {
  char until[TLX_TIME_TEXT_MAX];
  if (!op->silent) {
    snprintf(op->notice, sizeof op->notice,
             "PID %u is queued and will execute within 30 seconds on the next heartbeat", op->pid);
    return;
  }
  tlx_time_format(op->record->expires_wall_ms, until);
  snprintf(
      op->notice, sizeof op->notice,
      "PID %u is queued; the sensor is silent, so the order waits for its next heartbeat until "
      "%s",
      op->pid, until);
}

void op_kill_queue_run(struct op *base, struct tlx_txn *txn) {
  struct op_kill_queue *op = (void *)base;
  op->record = NULL;
  *op->sensor_id = *op->notice = 0;
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(base, txn, op->sensor);
  if (!sensor || !may_queue(op, txn, sensor)) {
    op_refuse_json(base, txn, QUEUED, sensor ? sensor->sensor_id : NULL, asked_kill(op));
    return;
  }
  op->record = build(op, txn, sensor);
  if (!op->record) return;
  tlx_order_add(txn, op->record, ENDED_ORDERS_PER_SENSOR_KEEP);
  snprintf(op->sensor_id, sizeof op->sensor_id, "%s", sensor->sensor_id);
  word_notice(op);
  json_t *detail = asked_kill(op);
  json_object_set_new(detail, "order_id", json_string(op->order_id));
  json_object_set_new(detail, "node_name", op_json_text(sensor->node_name));
  json_object_set_new(detail, "expires", op_json_time(op->record->expires_wall_ms));
  op_audit_json(base, txn, QUEUED, true, sensor->sensor_id, detail);
}

/* ---- cancel ---- */

void op_kill_cancel_run(struct op *base, struct tlx_txn *txn) {
  struct op_kill_cancel *op = (void *)base;
  json_t *asked = json_object();
  json_object_set_new(asked, "order_id", op_json_text(op->order_id));
  *op->sensor_id = 0;
  op->record = tlx_order_get(txn, op->order_id);
  if (!op->record) {
    tlx_status_set(&base->status, TLX_GRPC_NOT_FOUND, reason_word(REASON_UNKNOWN_ORDER),
                   "there is no order %s", op->order_id);
    op_refuse_json(base, txn, CANCELLED, NULL, asked);
    return;
  }
  snprintf(op->sensor_id, sizeof op->sensor_id, "%s", op->record->sensor_id);
  if (op->record->state != TLX_ORDER_QUEUED) {
    tlx_status_set(&base->status, TLX_GRPC_FAILED_PRECONDITION,
                   reason_word(REASON_ORDER_NOT_QUEUED),
                   "order %s is %s: only an order that was not handed out can be cancelled",
                   op->order_id, tlx_order_state_name(op->record->state));
    op_refuse_json(base, txn, CANCELLED, op->sensor_id, asked);
    return;
  }
  op->record->state = TLX_ORDER_CANCELLED;
  op->record->finished_wall_ms = base->actor.wall_ms;
  tlx_order_put(txn, op->record);
  json_object_set_new(asked, "pid", json_integer(op->record->pid));
  op_audit_json(base, txn, CANCELLED, true, op->sensor_id, asked);
}

/* ---- ends ---- */

void op_kill_audit_finished(struct op *op, struct tlx_txn *txn,
                            const Telovix__Store__V1__OrderRecord *record) {
  json_t *detail = json_object();
  bool good = record->state == TLX_ORDER_KILLED || record->state == TLX_ORDER_ALREADY_GONE;
  json_object_set_new(detail, "order_id", json_string(record->order_id));
  json_object_set_new(detail, "pid", json_integer(record->pid));
  json_object_set_new(detail, "node_name", op_json_text(record->node_name));
  json_object_set_new(detail, "state", json_string(tlx_order_state_name(record->state)));
  if (*record->detail) json_object_set_new(detail, "detail", op_json_text(record->detail));
  if (record->error_number)
    json_object_set_new(detail, "errno", json_integer(record->error_number));
  if (*record->comm) json_object_set_new(detail, "comm", op_json_text(record->comm));
  op_audit_json(op, txn, FINISHED, good, record->sensor_id, detail);
}

#define SWEEP_MAX                                                                                  \
  (sizeof((struct op_kill_sweep *)0)->changed / sizeof *((struct op_kill_sweep *)0)->changed)

static bool note_due(void *arg, const Telovix__Store__V1__OrderRecord *record) {
  struct op_kill_sweep *op = arg;
  if (op->n_changed == SWEEP_MAX) {
    op->more = true;
    return false;
  }
  snprintf(op->changed[op->n_changed].order_id, sizeof op->changed->order_id, "%s",
           record->order_id);
  snprintf(op->changed[op->n_changed].sensor_id, sizeof op->changed->sensor_id, "%s",
           record->sensor_id);
  op->n_changed++;
  return true;
}

void op_kill_sweep_run(struct op *base, struct tlx_txn *txn) {
  struct op_kill_sweep *op = (void *)base;
  op->n_changed = 0;
  op->more = false;
  tlx_order_each_due(txn, op->wall_ms, note_due, op);
  for (unsigned i = 0; i < op->n_changed && !tlx_txn_err(txn); i++) {
    Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, op->changed[i].order_id);
    if (!record) continue;
    /* A queued order was never handed out; what became of a delivered one nobody knows. */
    record->state =
        record->state == TLX_ORDER_QUEUED ? TLX_ORDER_EXPIRED : TLX_ORDER_RESULT_UNKNOWN;
    record->finished_wall_ms = op->wall_ms;
    tlx_order_put(txn, record);
    op_kill_audit_finished(base, txn, record);
  }
}
