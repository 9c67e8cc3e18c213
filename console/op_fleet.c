// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_fleet.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/text.h"
#include "console/op_int.h"
#include "console/reasons.h"
#include "storage/event_tbl.h"
#include "storage/order_tbl.h"
#include "storage/rule_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/token_tbl.h"

#define DISABLED "sensor_disabled"
#define ENABLED "sensor_enabled"
#define REVOKED "sensor_revoked"
#define DELETED "sensor_deleted"
#define CANCELLED "process_kill_cancelled"

/* ---- what all of them share ---- */

static void start(struct op_fleet *op) {
  op->changed = false;
  *op->sensor_id = *op->node_name = *op->notice = 0;
  op->n_orders = op->n_cancelled = op->n_unknown = 0;
  memset(op->is_cancelled, 0, sizeof op->is_cancelled);
  op->n_rules = op->n_all_orders = op->n_events = op->n_tokens = 0;
}

static json_t *asked(const struct op_fleet *op) {
  json_t *detail = json_object();
  json_object_set_new(detail, "sensor", op_json_text(op->sensor));
  return detail;
}

/* The sensor that is meant; NULL with the refusal on record. */
static Telovix__Store__V1__SensorRecord *find(struct op_fleet *op, struct tlx_txn *txn,
                                              const char *action_type) {
  start(op);
  Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(&op->op, txn, op->sensor);
  if (!sensor) {
    op_refuse_json(&op->op, txn, action_type, NULL, asked(op));
    return NULL;
  }
  snprintf(op->sensor_id, sizeof op->sensor_id, "%s", sensor->sensor_id);
  snprintf(op->node_name, sizeof op->node_name, "%s", sensor->node_name);
  return sensor;
}

/* A slip of the finger must not hit another host. False with the refusal on record. */
static bool is_confirmed(struct op_fleet *op, struct tlx_txn *txn, const char *action_type) {
  char said[280];
  if (strcasecmp(op->confirm_node_name, op->node_name) == 0) return true;
  tlx_text_escape(op->confirm_node_name, SIZE_MAX, said, sizeof said);
  tlx_status_set(&op->op.status, TLX_GRPC_FAILED_PRECONDITION,
                 reason_word(REASON_WRONG_CONFIRMATION),
                 "confirm_node_name \"%s\" is not the node name of %s, which is %s; nothing was "
                 "done",
                 said, op->sensor_id, op->node_name);
  json_t *detail = asked(op);
  json_object_set_new(detail, "confirm_node_name", op_json_text(op->confirm_node_name));
  op_refuse_json(&op->op, txn, action_type, op->sensor_id, detail);
  return false;
}

static void audit_changed(struct op_fleet *op, struct tlx_txn *txn, const char *action_type,
                          json_t *detail) {
  op->changed = true;
  json_object_set_new(detail, "node_name", op_json_text(op->node_name));
  op_audit_json(&op->op, txn, action_type, true, op->sensor_id, detail);
}

/* ---- disable, enable ---- */

static void set_disabled(struct op_fleet *op, struct tlx_txn *txn, bool disabled) {
  const char *action_type = disabled ? DISABLED : ENABLED;
  Telovix__Store__V1__SensorRecord *sensor = find(op, txn, action_type);
  if (!sensor) return;
  if (sensor->disabled == disabled) {
    snprintf(op->notice, sizeof op->notice,
             disabled ? "%s is disabled already" : "%s is not disabled", op->node_name);
    return;
  }
  sensor->disabled = disabled;
  tlx_sensor_put(txn, sensor);
  snprintf(op->notice, sizeof op->notice,
           disabled ? "%s is disabled: it is left out of fleet health; its heartbeats, orders and "
                      "rules go on"
                    : "%s is enabled: it counts in fleet health again",
           op->node_name);
  audit_changed(op, txn, action_type, asked(op));
}

void op_fleet_disable_run(struct op *op, struct tlx_txn *txn) {
  set_disabled((void *)op, txn, true);
}

void op_fleet_enable_run(struct op *op, struct tlx_txn *txn) {
  set_disabled((void *)op, txn, false);
}

/* ---- open orders ---- */

static bool note_order(void *arg, const Telovix__Store__V1__OrderRecord *record) {
  struct op_fleet *op = arg;
  if (op->n_orders == OPEN_ORDERS_PER_SENSOR_MAX) return false;
  snprintf(op->orders[op->n_orders++], sizeof *op->orders, "%s", record->order_id);
  return true;
}

/* What was never handed out is cancelled; what became of the rest nobody will be told. */
static void end_orders(struct op_fleet *op, struct tlx_txn *txn, const char *cause) {
  tlx_order_each_open(txn, op->sensor_id, note_order, op);
  for (unsigned i = 0; i < op->n_orders && !tlx_txn_err(txn); i++) {
    Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, op->orders[i]);
    if (!record) continue;
    bool was_queued = record->state == TLX_ORDER_QUEUED;
    op->is_cancelled[i] = was_queued;
    record->state = was_queued ? TLX_ORDER_CANCELLED : TLX_ORDER_RESULT_UNKNOWN;
    record->finished_wall_ms = op->op.actor.wall_ms;
    tlx_order_put(txn, record);
    if (!was_queued) {
      op->n_unknown++;
      op_kill_audit_finished(&op->op, txn, record);
      continue;
    }
    op->n_cancelled++;
    json_t *detail = json_object();
    json_object_set_new(detail, "order_id", json_string(record->order_id));
    json_object_set_new(detail, "pid", json_integer(record->pid));
    json_object_set_new(detail, "cause", json_string(cause));
    op_audit_json(&op->op, txn, CANCELLED, true, op->sensor_id, detail);
  }
}

static void note_orders(const struct op_fleet *op, json_t *detail) {
  json_object_set_new(detail, "cancelled_orders", json_integer(op->n_cancelled));
  json_object_set_new(detail, "unknown_orders", json_integer(op->n_unknown));
}

/* ---- revoke ---- */

static void revoke_serial(struct tlx_txn *txn, const ProtobufCBinaryData *serial) {
  if (serial->len != 16) return;
  Telovix__Store__V1__SerialRecord *record = tlx_serial_get(txn, serial->data);
  if (!record || record->state != TLX_SERIAL_GOOD) return;
  record->state = TLX_SERIAL_REVOKED;
  tlx_serial_put(txn, serial->data, record);
}

struct token_walk {
  struct op_fleet *op;
  struct tlx_txn *txn;
};

/* A re-enrollment token that was made before would bring the sensor back, and that takes an admin.
 */
static bool void_token(void *arg, const Telovix__Store__V1__TokenRecord *record) {
  struct token_walk *walk = arg;
  if (strcmp(record->sensor_id, walk->op->sensor_id) != 0 || record->uses || record->revoked)
    return true;
  Telovix__Store__V1__TokenRecord copy = *record;
  copy.revoked = true;
  tlx_token_put(walk->txn, &copy);
  walk->op->n_tokens++;
  return !tlx_txn_err(walk->txn);
}

void op_fleet_revoke_run(struct op *base, struct tlx_txn *txn) {
  struct op_fleet *op = (void *)base;
  struct token_walk walk = {op, txn};
  Telovix__Store__V1__SensorRecord *sensor = find(op, txn, REVOKED);
  if (!sensor || !is_confirmed(op, txn, REVOKED)) return;
  if (sensor->trust_state == OP_TRUST_REVOKED) {
    snprintf(op->notice, sizeof op->notice, "%s is revoked already", op->node_name);
    return;
  }
  end_orders(op, txn, "revoke");
  revoke_serial(txn, &sensor->serial);
  revoke_serial(txn, &sensor->previous_serial);
  tlx_token_each(txn, UINT64_MAX, void_token, &walk);
  sensor->trust_state = OP_TRUST_REVOKED;
  tlx_sensor_put(txn, sensor);
  snprintf(op->notice, sizeof op->notice,
           "%s is revoked: it is refused from now on, and its host keeps what it enforces; only a "
           "re-enrollment brings it back: telovixctl token create --reenroll %s",
           op->node_name, op->sensor_id);
  json_t *detail = asked(op);
  note_orders(op, detail);
  audit_changed(op, txn, REVOKED, detail);
}

/* ---- delete ---- */

/* False with the refusal on record. A rule of a containment, also one that is being removed, stands
 * until the host has confirmed that it is out of force. */
static bool may_delete(struct op_fleet *op, struct tlx_txn *txn) {
  const Telovix__Store__V1__RuleRecord *rule = tlx_rule_find_containment(txn, op->sensor_id, true);
  if (op->force || (!rule && !op->may_be_contained)) return true;
  tlx_status_set(&op->op.status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_NOT_RELEASED),
                 "%s was not observed to be released, and a deleted sensor can be told nothing any "
                 "more: release it first, or say force",
                 op->node_name);
  op_refuse_json(&op->op, txn, DELETED, op->sensor_id, asked(op));
  return false;
}

/* A token that was bound to the sensor goes; of one that enrolled it, what led to the sensor. */
static bool release_token(void *arg, const Telovix__Store__V1__TokenRecord *record) {
  struct token_walk *walk = arg;
  struct op_fleet *op = walk->op;
  if (strcmp(record->sensor_id, op->sensor_id) == 0) {
    tlx_token_remove(walk->txn, record);
    op->n_tokens++;
  } else if (strcmp(record->used_by_sensor_id, op->sensor_id) == 0) {
    Telovix__Store__V1__TokenRecord copy = *record;
    copy.used_by_sensor_id = (char *)"";
    copy.used_by_key_hash = copy.issued_certificate = (ProtobufCBinaryData){0};
    tlx_token_put(walk->txn, &copy);
  }
  return !tlx_txn_err(walk->txn);
}

static bool bury_serial(void *arg, const uint8_t serial[16],
                        const Telovix__Store__V1__SerialRecord *record) {
  struct token_walk *walk = arg;
  if (record->kind != TLX_SERIAL_OF_SENSOR || strcmp(record->owner, walk->op->sensor_id) != 0)
    return true;
  Telovix__Store__V1__SerialRecord copy = *record;
  copy.state = TLX_SERIAL_DELETED;
  tlx_serial_put(walk->txn, serial, &copy);
  return !tlx_txn_err(walk->txn);
}

static void word_deletion(struct op_fleet *op) {
  snprintf(op->notice, sizeof op->notice,
           "%s is deleted; its sensor goes on until it is stopped on the host%s", op->node_name,
           op->n_rules ? ", and what the host enforces stays in force until telovix-sensor lift is "
                         "run there"
                       : "");
}

void op_fleet_delete_run(struct op *base, struct tlx_txn *txn) {
  struct op_fleet *op = (void *)base;
  struct token_walk walk = {op, txn};
  if (!find(op, txn, DELETED) || !is_confirmed(op, txn, DELETED) || !may_delete(op, txn)) return;
  end_orders(op, txn, "delete");
  op->n_rules = tlx_rule_remove_all(txn, op->sensor_id);
  op->n_all_orders = tlx_order_remove_all(txn, op->sensor_id);
  op->n_events = tlx_event_remove_all(txn, op->sensor_id);
  tlx_token_each(txn, UINT64_MAX, release_token, &walk);
  tlx_token_use_forget(txn, op->sensor_id);
  tlx_serial_each(txn, NULL, bury_serial, &walk);
  tlx_sensor_remove(txn, op->sensor_id);
  word_deletion(op);
  json_t *detail = asked(op);
  note_orders(op, detail);
  json_object_set_new(detail, "rules", json_integer(op->n_rules));
  json_object_set_new(detail, "orders", json_integer(op->n_all_orders));
  json_object_set_new(detail, "events", json_integer(op->n_events));
  json_object_set_new(detail, "tokens", json_integer(op->n_tokens));
  if (op->force) json_object_set_new(detail, "force", json_true());
  audit_changed(op, txn, DELETED, detail);
}

/* ---- tombstones ---- */

bool op_serial_is_due(const Telovix__Store__V1__SerialRecord *record, uint64_t before_wall_ms) {
  return record->state != TLX_SERIAL_GOOD && record->not_after_wall_ms < before_wall_ms;
}

void op_serial_sweep_run(struct op *base, struct tlx_txn *txn) {
  struct op_serial_sweep *op = (void *)base;
  for (unsigned i = 0; i < op->n_serials; i++) {
    const Telovix__Store__V1__SerialRecord *record = tlx_serial_get(txn, op->serials[i]);
    if (record && op_serial_is_due(record, op->before_wall_ms))
      tlx_serial_remove(txn, op->serials[i]);
  }
}
