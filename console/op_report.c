// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/limits.h"
#include "console/op_int.h"
#include "console/op_renew.h"
#include "console/op_report_int.h"
#include "console/reasons.h"

/* Results, and orders that are delivered or expire. */
#define CHANGED_MAX (REPORT_RESULTS_MAX + OPEN_ORDERS_PER_SENSOR_MAX)

static void note_changed(struct op_report *op, const char *order_id) {
  if (op->n_changed < CHANGED_MAX)
    snprintf(op->changed[op->n_changed++], sizeof *op->changed, "%s", order_id);
}

static void acknowledge(struct op_report *op, const char *order_id) {
  if (op->n_acknowledged < REPORT_RESULTS_MAX)
    snprintf(op->acknowledged[op->n_acknowledged++], sizeof *op->acknowledged, "%s", order_id);
}

/* ---- results ---- */

void op_report_reject(struct op_report *op, enum report_reject why, const char *id) {
  if (!*op->rejected[why]) snprintf(op->rejected[why], sizeof op->rejected[why], "%s", id);
}

const char *report_reject_word(enum report_reject reject) {
  static const char *const words[REPORT_REJECT_COUNT] = {"foreign_order", "impossible_state",
                                                         "undelivered_order", "foreign_rule"};
  return words[reject];
}

static bool is_reportable(uint32_t state) {
  switch (state) {
  case TLX_ORDER_STILL_ALIVE:
  case TLX_ORDER_KILLED:
  case TLX_ORDER_ALREADY_GONE:
  case TLX_ORDER_IDENTITY_MISMATCH:
  case TLX_ORDER_PROTECTED:
  case TLX_ORDER_FAILED:
    return true;
  default:
    return false;
  }
}

static void apply(struct op_report *op, struct tlx_txn *txn, Telovix__Store__V1__OrderRecord *order,
                  struct report_result *result) {
  bool ended = tlx_order_state_ended(result->state);
  order->state = result->state;
  op_text_mend(result->detail);
  op_text_mend(result->comm);
  op_text_mend(result->process_state);
  order->detail = result->detail;
  order->error_number = result->error_number;
  order->process_state = result->process_state;
  order->comm = result->comm;
  order->signalled_boot_ns = result->signalled_boot_ns;
  order->observed_boot_ns = result->observed_boot_ns;
  order->start_ticks = result->start_ticks;
  if (!ended && !order->still_alive_wall_ms) order->still_alive_wall_ms = op->op.actor.wall_ms;
  if (ended) order->finished_wall_ms = op->op.actor.wall_ms;
  tlx_order_put(txn, order);
  note_changed(op, order->order_id);
  if (!ended) return;
  acknowledge(op, order->order_id);
  op_kill_audit_finished(&op->op, txn, order);
}

static void take_result(struct op_report *op, struct tlx_txn *txn, struct report_result *result) {
  Telovix__Store__V1__OrderRecord *order = tlx_order_get(txn, result->order_id);
  if (!order)
    acknowledge(op, result->order_id); /* forgotten here: the sensor may forget it too */
  else if (strcmp(order->sensor_id, op->sensor_id) != 0)
    op_report_reject(op, REPORT_FOREIGN_ORDER, result->order_id);
  else if (!is_reportable(result->state))
    op_report_reject(op, REPORT_IMPOSSIBLE_STATE, result->order_id);
  else if (order->state == TLX_ORDER_QUEUED)
    op_report_reject(op, REPORT_UNDELIVERED_ORDER, result->order_id);
  else if (tlx_order_move_allowed(order->state, result->state))
    apply(op, txn, order, result);
  else if (tlx_order_state_ended(order->state) && tlx_order_state_ended(result->state))
    acknowledge(op, result->order_id); /* known: said before, or taken back before delivery */
}

/* ---- orders ---- */

struct queued_list {
  char ids[OPEN_ORDERS_PER_SENSOR_MAX][32];
  unsigned n;
};

static bool note_queued(void *arg, const Telovix__Store__V1__OrderRecord *record) {
  struct queued_list *list = arg;
  if (record->state == TLX_ORDER_QUEUED && list->n < OPEN_ORDERS_PER_SENSOR_MAX)
    snprintf(list->ids[list->n++], sizeof *list->ids, "%s", record->order_id);
  return true;
}

/* Committed before the reply leaves: an order that was handed out is never called expired. */
static void deliver(struct op_report *op, struct tlx_txn *txn) {
  struct queued_list list = {.n = 0};
  tlx_order_each_open(txn, op->sensor_id, note_queued, &list);
  for (unsigned i = 0; i < list.n && !tlx_txn_err(txn); i++) {
    Telovix__Store__V1__OrderRecord *order = tlx_order_get(txn, list.ids[i]);
    if (!order) continue;
    if (op->op.actor.wall_ms >= order->expires_wall_ms) {
      order->state = TLX_ORDER_EXPIRED;
      order->finished_wall_ms = op->op.actor.wall_ms;
    } else {
      order->state = TLX_ORDER_DELIVERED;
      order->delivered_wall_ms = op->op.actor.wall_ms;
    }
    tlx_order_put(txn, order);
    note_changed(op, order->order_id);
    if (order->state == TLX_ORDER_EXPIRED) op_kill_audit_finished(&op->op, txn, order);
  }
}

/* ---- the sensor's record ---- */

static bool is_serial(const ProtobufCBinaryData *blob, const uint8_t *serial) {
  return blob->len == TLX_SERIAL_LEN && memcmp(blob->data, serial, TLX_SERIAL_LEN) == 0;
}

static void update_sensor(struct op_report *op, struct tlx_txn *txn,
                          Telovix__Store__V1__SensorRecord *sensor) {
  if (op->first_seen && sensor->trust_state == OP_TRUST_BOOTSTRAP_PENDING)
    sensor->trust_state = OP_TRUST_TRUSTED;
  if (op->has_facts) {
    sensor->kernel_release = op->kernel_release;
    sensor->architecture = op->architecture;
    sensor->os_name = op->os_name;
    sensor->sensor_version = op->sensor_version;
    sensor->scope_cgroup = op->scope_cgroup;
  }
  if (op->has_hazards) {
    sensor->hazards = op->hazards;
    sensor->n_hazards = op->n_hazards;
  }
  if (op->has_renewal_error) {
    op_text_mend(op->renewal_error);
    sensor->renewal_error = op->renewal_error;
  }
  /* Of a certificate that was replaced meanwhile nothing is ended. */
  bool is_first_use = op->is_first_use && is_serial(&sensor->serial, op->serial);
  if (is_first_use) op_serial_used(txn, sensor);
  if (op->first_seen || op->has_facts || op->n_events_stored || op->has_hazards ||
      op->is_armed_again || op->has_renewal_error || is_first_use)
    tlx_sensor_put(txn, sensor);
  struct tlx_sensor_seen seen = op->seen;
  tlx_sensor_checkpoint(txn, &seen, 1);
}

static bool make_lists(struct op_report *op, struct tlx_txn *txn) {
  if (!op->acknowledged) op->acknowledged = calloc(REPORT_RESULTS_MAX, sizeof *op->acknowledged);
  if (!op->changed) op->changed = calloc(CHANGED_MAX, sizeof *op->changed);
  if (!op->changed_rules)
    op->changed_rules = calloc(REPORT_CHANGED_RULES_MAX, sizeof *op->changed_rules);
  op->n_acknowledged = op->n_changed = 0;
  op->n_changed_rules = op->n_events_stored = op->n_tamper_audits = 0;
  memset(op->rejected, 0, sizeof op->rejected);
  if (op->acknowledged && op->changed && op->changed_rules) return true;
  tlx_txn_fail(txn, -ENOMEM);
  return false;
}

/* Once more, here: the trust may have ended while the heartbeat waited for its transaction. */
static bool is_trusted(struct op_report *op, const Telovix__Store__V1__SensorRecord *sensor) {
  if (sensor->trust_state == OP_TRUST_REVOKED)
    reason_set(&op->op.status, REASON_INVALID_SENSOR_TRUST);
  else if (!is_serial(&sensor->serial, op->serial) &&
           !is_serial(&sensor->previous_serial, op->serial))
    reason_set(&op->op.status, REASON_CERTIFICATE_SUPERSEDED);
  return op->op.status.code == TLX_GRPC_OK;
}

void op_report_run(struct op *base, struct tlx_txn *txn) {
  struct op_report *op = (void *)base;
  if (!make_lists(op, txn)) return;
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, op->sensor_id);
  if (!sensor) {
    tlx_status_set(&base->status, TLX_GRPC_NOT_FOUND, "unknown_sensor", "the sensor was deleted");
    return;
  }
  if (!is_trusted(op, sensor)) return;
  for (unsigned i = 0; i < op->n_results; i++)
    take_result(op, txn, &op->results[i]);
  op_report_rules(op, txn);
  op->desired_generation = sensor->desired_generation;
  op_report_removals(op, txn, sensor);
  /* Before the events: one of them may tell of another lift. */
  if (op->is_armed_again) sensor->lifted_wall_ms = 0;
  op_report_events(op, txn, sensor);
  if (op->deliver) deliver(op, txn);
  update_sensor(op, txn, sensor);
}

void op_report_free(struct op_report *op) {
  if (!op) return;
  free(op->acknowledged);
  free(op->changed);
  free(op->changed_rules);
  tlx_arena_done(&op->arena);
  op_done(&op->op);
  free(op);
}
