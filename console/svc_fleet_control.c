// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/convert.h"
#include "console/observed.h"
#include "console/op_fleet.h"
#include "console/svc.h"
#include "console/watch.h"
#include "rpc/pb_scan.h"
#include "storage/sensor_tbl.h"
#include "telovix/v1/fleet.pb-c.h"

/* Who is part of the fleet (FleetService): disable, enable, revoke, delete. */

/* ---- what all of them share ---- */

static void check_sensor(struct tlx_status *status, const char *sensor) {
  if (!*sensor) tlx_status_add_violation(status, "sensor", "is missing");
  if (strlen(sensor) > 253)
    tlx_status_add_violation(status, "sensor", "is neither an id nor a node name");
}

static void check_confirmation(struct tlx_status *status, const char *confirm_node_name) {
  if (strlen(confirm_node_name) > 253)
    tlx_status_add_violation(status, "confirm_node_name", "is no node name");
}

static void pack_control(const struct op *base, struct tlx_buf *buf) {
  const struct op_fleet *op = (const void *)base;
  Telovix__V1__FleetControlReply reply = TELOVIX__V1__FLEET_CONTROL_REPLY__INIT;
  reply.sensor_id = (char *)op->sensor_id;
  reply.node_name = (char *)op->node_name;
  reply.notice = (char *)op->notice;
  reply.cancelled_orders = op->n_cancelled;
  reply.unknown_orders = op->n_unknown;
  tlx_pb_pack(&reply.base, buf);
}

static void pack_deletion(const struct op *base, struct tlx_buf *buf) {
  const struct op_fleet *op = (const void *)base;
  Telovix__V1__DeleteSensorReply reply = TELOVIX__V1__DELETE_SENSOR_REPLY__INIT;
  reply.sensor_id = (char *)op->sensor_id;
  reply.node_name = (char *)op->node_name;
  reply.notice = (char *)op->notice;
  reply.rules = op->n_rules;
  reply.orders = op->n_all_orders;
  reply.events = op->n_events;
  reply.tokens = op->n_tokens;
  tlx_pb_pack(&reply.base, buf);
}

static void tell_order_watchers(struct console *console, const struct op_fleet *op) {
  for (unsigned i = 0; i < op->n_orders; i++)
    watch_order_changed(console->watch, op->orders[i]);
}

/* Answers, and frees the op. */
static void answer(struct op *base) {
  svc_op_answer(base);
  op_done(base);
  free(base);
}

static bool is_news(const struct op *base) {
  return base->status.code == TLX_GRPC_OK && !base->replayed &&
         ((const struct op_fleet *)(const void *)base)->changed;
}

static void toggled(struct op *base) {
  struct console *console = console_of(base->arg);
  if (is_news(base)) watch_sensor_changed(console->watch, ((struct op_fleet *)base)->sensor_id);
  answer(base);
}

/* What was committed takes effect on what is open: the very next request is refused anyway. */
static void revoked(struct op *base) {
  struct op_fleet *op = (void *)base;
  struct console *console = console_of(base->arg);
  if (is_news(base)) {
    authn_end_identity(console, CALLER_SENSOR, op->sensor_id, REASON_INVALID_SENSOR_TRUST);
    tell_order_watchers(console, op);
    watch_sensor_left(console->watch, op->sensor_id, op->node_name);
  }
  answer(base);
}

static void deleted(struct op *base) {
  struct op_fleet *op = (void *)base;
  struct console *console = console_of(base->arg);
  if (is_news(base)) {
    authn_end_identity(console, CALLER_SENSOR, op->sensor_id, REASON_SENSOR_DELETED);
    live_remove(console->live, op->sensor_id);
    for (unsigned i = 0; i < op->n_orders; i++)
      watch_order_gone(console->watch, op->orders[i], op->is_cancelled[i]);
    watch_sensor_left(console->watch, op->sensor_id, op->node_name);
  }
  answer(base);
}

/* What one control wants done. */
struct control {
  const char *sensor, *reason, *request_id, *action_type;
  void (*run)(struct op *op, struct tlx_txn *txn);
  void (*done)(struct op *op);
  void (*pack)(const struct op *op, struct tlx_buf *buf);
  const char *confirm_node_name; /* NULL = none is needed */
  bool force, may_be_contained;
};

static void submit(struct tlx_call *call, const struct control *control) {
  struct tlx_status status;
  tlx_status_clear(&status);
  check_sensor(&status, control->sensor);
  if (control->confirm_node_name) check_confirmation(&status, control->confirm_node_name);
  svc_check_common(&status, control->reason, control->request_id);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct op_fleet *op = calloc(1, sizeof *op);
  if (!op) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  snprintf(op->sensor, sizeof op->sensor, "%s", control->sensor);
  if (control->confirm_node_name)
    snprintf(op->confirm_node_name, sizeof op->confirm_node_name, "%s", control->confirm_node_name);
  op->force = control->force;
  op->may_be_contained = control->may_be_contained;
  op->op.run = control->run;
  op->op.pack = control->pack;
  op->op.action_type = control->action_type;
  op->op.done = control->done;
  op->op.cost = sizeof *op;
  svc_submit(call, &op->op, control->reason, control->request_id);
}

/* ---- the controls ---- */

void svc_disable_sensor(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__DisableSensorRequest *request = (const void *)message;
  submit(call, &(struct control){.sensor = request->sensor,
                                 .reason = request->reason,
                                 .request_id = request->request_id,
                                 .action_type = "sensor_disabled",
                                 .run = op_fleet_disable_run,
                                 .done = toggled,
                                 .pack = pack_control});
}

void svc_enable_sensor(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__EnableSensorRequest *request = (const void *)message;
  submit(call, &(struct control){.sensor = request->sensor,
                                 .reason = request->reason,
                                 .request_id = request->request_id,
                                 .action_type = "sensor_enabled",
                                 .run = op_fleet_enable_run,
                                 .done = toggled,
                                 .pack = pack_control});
}

void svc_revoke_sensor(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__RevokeSensorRequest *request = (const void *)message;
  submit(call, &(struct control){.sensor = request->sensor,
                                 .reason = request->reason,
                                 .request_id = request->request_id,
                                 .action_type = "sensor_revoked",
                                 .run = op_fleet_revoke_run,
                                 .done = revoked,
                                 .pack = pack_control,
                                 .confirm_node_name = request->confirm_node_name});
}

/* Whether the host may be contained although no containment is on record: it keeps a desired state
 * that this Console does not know. */
static bool may_be_contained(struct console *console,
                             const Telovix__Store__V1__SensorRecord *sensor) {
  struct rule_view view;
  convert_rule_view(console, sensor, &view);
  return observed_containment(NULL, &view).state !=
         TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_NONE;
}

void svc_delete_sensor(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__DeleteSensorRequest *request = (const void *)message;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (!svc_begin(call, &txn)) return;
  /* An unknown sensor is refused by the op, which also audits it. */
  struct op finder = {0};
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(&finder, txn, request->sensor);
  if (!svc_read_ok(call, txn)) return;
  submit(call, &(struct control){.sensor = request->sensor,
                                 .reason = request->reason,
                                 .request_id = request->request_id,
                                 .action_type = "sensor_deleted",
                                 .run = op_fleet_delete_run,
                                 .done = deleted,
                                 .pack = pack_deletion,
                                 .confirm_node_name = request->confirm_node_name,
                                 .force = request->force,
                                 .may_be_contained =
                                     sensor && may_be_contained(console_of(call), sensor)});
}
