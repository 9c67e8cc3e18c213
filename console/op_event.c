// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_event.h"

#include <stdio.h>
#include <string.h>

#include "console/op_int.h"
#include "console/op_report_int.h"
#include "storage/event_tbl.h"

/* Of telovix.v1.EventType. */
enum { TYPE_TAMPERED = 3, TYPE_LIFTED = 6 };

/* ---- events of a heartbeat ---- */

static void audit_event(struct op_report *op, struct tlx_txn *txn, const char *action_type,
                        const struct report_event *event) {
  const Telovix__Store__V1__EventRecord *record = &event->record;
  json_t *detail = json_object();
  json_object_set_new(detail, "event_id", json_string(event->event_id));
  json_object_set_new(detail, "node_name", op_json_text(record->node_name));
  json_object_set_new(detail, "happened", op_json_time(record->happened_wall_ms));
  if (*record->rule_id) json_object_set_new(detail, "rule_id", op_json_text(record->rule_id));
  if (*record->path) json_object_set_new(detail, "object", op_json_text(record->path));
  if (*record->detail) json_object_set_new(detail, "detail", op_json_text(record->detail));
  op_audit_json(&op->op, txn, action_type, true, op->sensor_id, detail);
}

/* A host in other hands must not fill the log, nor hide its lift behind tampering: the last record
 * is kept for that. */
static void audit_bounded(struct op_report *op, struct tlx_txn *txn, bool is_lift,
                          const struct report_event *event) {
  if (op->n_tamper_audits + (is_lift ? 0 : 1) >= op->tamper_audits_max) return;
  op->n_tamper_audits++;
  audit_event(op, txn, is_lift ? "enforcement_lifted" : "enforcement_tampered", event);
}

/* What was in force then is named, so that whatever is newer ends it. A host that does not say what
 * it has in force was given what is wanted now, and that is what it will not arm again. */
static void note_lift(struct op_report *op, Telovix__Store__V1__SensorRecord *sensor) {
  uint8_t *epoch = op->has_in_force ? op->in_force.epoch : op->epoch;
  sensor->lifted_wall_ms = op->op.actor.wall_ms;
  sensor->lifted_epoch = (ProtobufCBinaryData){sizeof op->epoch, epoch};
  sensor->lifted_generation =
      op->has_in_force ? op->in_force.generation : sensor->desired_generation;
}

void op_report_events(struct op_report *op, struct tlx_txn *txn,
                      Telovix__Store__V1__SensorRecord *sensor) {
  if (op->n_events == 0) return;
  bool same_stream =
      sensor->event_stream.len == sizeof op->event_stream &&
      memcmp(sensor->event_stream.data, op->event_stream, sizeof op->event_stream) == 0;
  uint64_t known_seq = same_stream ? sensor->event_seq : 0;
  for (size_t i = 0; i < op->n_events && !tlx_txn_err(txn); i++) {
    struct report_event *event = &op->events[i];
    if (event->seq <= known_seq) continue; /* its acknowledgement was lost */
    known_seq = event->seq;
    event->record.event_id = event->event_id;
    event->record.sensor_id = sensor->sensor_id;
    event->record.node_name = sensor->node_name;
    event->record.received_wall_ms = op->op.actor.wall_ms;
    tlx_event_add(txn, &event->record, EVENTS_PER_SENSOR_MAX);
    op->n_events_stored++;
    bool is_lift = event->record.type == TYPE_LIFTED;
    if (is_lift) note_lift(op, sensor);
    if (is_lift || event->record.type == TYPE_TAMPERED) audit_bounded(op, txn, is_lift, event);
  }
  if (op->n_events_stored == 0) return;
  sensor->event_stream = (ProtobufCBinaryData){sizeof op->event_stream, op->event_stream};
  sensor->event_seq = known_seq;
}

/* ---- age ---- */

void op_event_sweep_run(struct op *base, struct tlx_txn *txn) {
  struct op_event_sweep *op = (void *)base;
  op->more = tlx_event_expire(txn, op->before_wall_ms, EVENT_SWEEP_MAX) == EVENT_SWEEP_MAX;
}
