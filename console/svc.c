// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/svc.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "console/authz.h"
#include "console/limits.h"
#include "console/op.h"
#include "rpc/server.h"
#include "telovix/v1/audit.pb-c.h"
#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/event.pb-c.h"
#include "telovix/v1/fleet.pb-c.h"
#include "telovix/v1/operator.pb-c.h"
#include "telovix/v1/policy.pb-c.h"
#include "telovix/v1/sensor.pb-c.h"
#include "telovix/v1/token.pb-c.h"

/* ---- the table ---- */

#define METHOD(service, method, kind, request, reply, handler)                                     \
  {                                                                                                \
    "/telovix.v1." service "/" method, kind, &telovix__v1__##request##__descriptor,                \
        &telovix__v1__##reply##__descriptor, handler                                               \
  }

static const struct tlx_method methods[] = {
    METHOD("EnrollmentService", "Enroll", TLX_UNARY, enroll_request, enroll_reply, svc_enroll),
    METHOD("SensorService", "Heartbeat", TLX_UNARY, heartbeat_request, heartbeat_reply,
           svc_heartbeat),
    METHOD("SensorService", "RenewCertificate", TLX_UNARY, renew_certificate_request,
           renew_certificate_reply, svc_renew_certificate),
    METHOD("SensorService", "Wake", TLX_SERVER_STREAM, wake_request, wake_message, svc_wake),
    METHOD("FleetService", "ListSensors", TLX_UNARY, list_sensors_request, list_sensors_reply,
           svc_list_sensors),
    METHOD("FleetService", "GetSensor", TLX_UNARY, get_sensor_request, sensor, svc_get_sensor),
    METHOD("FleetService", "WatchFleet", TLX_SERVER_STREAM, watch_fleet_request, fleet_event,
           svc_watch_fleet),
    METHOD("FleetService", "GetFleetHealth", TLX_UNARY, get_fleet_health_request, fleet_health,
           svc_get_fleet_health),
    METHOD("FleetService", "DisableSensor", TLX_UNARY, disable_sensor_request, fleet_control_reply,
           svc_disable_sensor),
    METHOD("FleetService", "EnableSensor", TLX_UNARY, enable_sensor_request, fleet_control_reply,
           svc_enable_sensor),
    METHOD("FleetService", "RevokeSensor", TLX_UNARY, revoke_sensor_request, fleet_control_reply,
           svc_revoke_sensor),
    METHOD("FleetService", "DeleteSensor", TLX_UNARY, delete_sensor_request, delete_sensor_reply,
           svc_delete_sensor),
    METHOD("ContainmentService", "KillProcess", TLX_UNARY, kill_process_request, kill_process_reply,
           svc_kill_process),
    METHOD("ContainmentService", "GetKill", TLX_UNARY, get_kill_request, kill_order, svc_get_kill),
    METHOD("ContainmentService", "WatchKill", TLX_SERVER_STREAM, get_kill_request, kill_order,
           svc_watch_kill),
    METHOD("ContainmentService", "ListKills", TLX_UNARY, list_kills_request, list_kills_reply,
           svc_list_kills),
    METHOD("ContainmentService", "CancelKill", TLX_UNARY, cancel_kill_request, kill_order,
           svc_cancel_kill),
    METHOD("ContainmentService", "BlockBinary", TLX_UNARY, block_binary_request,
           enforcement_rule_reply, svc_block_binary),
    METHOD("ContainmentService", "ContainSensor", TLX_UNARY, contain_sensor_request,
           containment_reply, svc_contain_sensor),
    METHOD("ContainmentService", "ReleaseSensor", TLX_UNARY, release_sensor_request,
           containment_reply, svc_release_sensor),
    METHOD("ContainmentService", "SetAllowList", TLX_UNARY, set_allow_list_request,
           containment_reply, svc_set_allow_list),
    METHOD("ContainmentService", "GetAllowList", TLX_UNARY, get_allow_list_request, allow_list,
           svc_get_allow_list),
    METHOD("PolicyService", "ListEnforcementRules", TLX_UNARY, list_enforcement_rules_request,
           list_enforcement_rules_reply, svc_list_rules),
    METHOD("PolicyService", "GetEnforcementRule", TLX_UNARY, get_enforcement_rule_request,
           enforcement_rule, svc_get_rule),
    METHOD("PolicyService", "WatchEnforcementRule", TLX_SERVER_STREAM, get_enforcement_rule_request,
           enforcement_rule, svc_watch_rule),
    METHOD("PolicyService", "SetEnforcementRuleMode", TLX_UNARY, set_enforcement_rule_mode_request,
           enforcement_rule_reply, svc_set_rule_mode),
    METHOD("PolicyService", "DeleteEnforcementRule", TLX_UNARY, delete_enforcement_rule_request,
           enforcement_rule_reply, svc_delete_rule),
    METHOD("PolicyService", "GetTemplate", TLX_UNARY, get_template_request, template,
           svc_get_template),
    METHOD("EventService", "ListEvents", TLX_UNARY, list_events_request, list_events_reply,
           svc_list_events),
    METHOD("EventService", "WatchEvents", TLX_SERVER_STREAM, watch_events_request, event,
           svc_watch_events),
    METHOD("TokenService", "CreateEnrollmentToken", TLX_UNARY, create_enrollment_token_request,
           create_enrollment_token_reply, svc_create_token),
    METHOD("TokenService", "CreateReenrollmentToken", TLX_UNARY, create_reenrollment_token_request,
           create_enrollment_token_reply, svc_create_reenrollment_token),
    METHOD("TokenService", "ListEnrollmentTokens", TLX_UNARY, list_enrollment_tokens_request,
           list_enrollment_tokens_reply, svc_list_tokens),
    METHOD("TokenService", "RevokeEnrollmentToken", TLX_UNARY, revoke_enrollment_token_request,
           enrollment_token, svc_revoke_token),
    METHOD("AuditService", "ListAudit", TLX_UNARY, list_audit_request, list_audit_reply,
           svc_list_audit),
    METHOD("AuditService", "ExportAudit", TLX_SERVER_STREAM, export_audit_request, audit_record,
           svc_export_audit),
    METHOD("AuditService", "GetAuditHead", TLX_UNARY, get_audit_head_request, audit_head,
           svc_get_audit_head),
    METHOD("OperatorService", "WhoAmI", TLX_UNARY, who_am_irequest, who_am_ireply, svc_whoami),
    METHOD("OperatorService", "CreateOperator", TLX_UNARY, create_operator_request,
           operator_certificate_reply, svc_create_operator),
    METHOD("OperatorService", "RenewOperator", TLX_UNARY, renew_operator_request,
           operator_certificate_reply, svc_renew_operator),
    METHOD("OperatorService", "ListOperators", TLX_UNARY, list_operators_request,
           list_operators_reply, svc_list_operators),
    METHOD("OperatorService", "SetOperatorRole", TLX_UNARY, set_operator_role_request, operator,
           svc_set_operator_role),
    METHOD("OperatorService", "RevokeOperator", TLX_UNARY, revoke_operator_request, operator,
           svc_revoke_operator),
};

const struct tlx_method *svc_methods(size_t *ret_n) {
  *ret_n = sizeof methods / sizeof *methods;
  return methods;
}

/* ---- ending a call ---- */

void svc_add_head(struct tlx_call *call) {
  const struct console *console = console_of(call);
  char hex[2 * TLX_SHA256_LEN + 1], text[96];
  if (caller_of(call)->kind != CALLER_OPERATOR) return;
  tlx_hex_format(console->head.hash, sizeof console->head.hash, hex);
  snprintf(text, sizeof text, "%llu:%s", (unsigned long long)console->head.seq, hex);
  tlx_call_add_trailer(call, "telovix-audit-head", text);
}

void svc_fail_status(struct tlx_call *call, const struct tlx_status *status) {
  svc_add_head(call);
  tlx_call_fail(call, status);
}

void svc_fail(struct tlx_call *call, enum reason reason) {
  struct tlx_status status;
  reason_set(&status, reason);
  svc_fail_status(call, &status);
}

void svc_reply(struct tlx_call *call, const ProtobufCMessage *message) {
  if (!message) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  svc_add_head(call);
  tlx_call_reply(call, message);
}

/* ---- reading ---- */

bool svc_begin(struct tlx_call *call, struct tlx_txn **ret_txn) {
  if (tlx_txn_begin_read(console_of(call)->store, ret_txn) == 0) return true;
  svc_fail(call, REASON_STORE_FAILED);
  return false;
}

bool svc_read_ok(struct tlx_call *call, struct tlx_txn *txn) {
  if (!tlx_txn_err(txn)) return true;
  svc_fail(call, REASON_STORE_FAILED);
  return false;
}

Telovix__Store__V1__SensorRecord *svc_find_sensor(struct tlx_call *call, struct tlx_txn *txn,
                                                  const char *sensor) {
  struct op op = {0};
  Telovix__Store__V1__SensorRecord *record = op_find_sensor(&op, txn, sensor);
  if (!svc_read_ok(call, txn)) return NULL;
  if (!record) svc_fail_status(call, &op.status);
  return record;
}

/* ---- changing ---- */

void svc_check_enum(struct tlx_status *status, const char *field,
                    const ProtobufCEnumDescriptor *descriptor, int value) {
  if (!protobuf_c_enum_descriptor_get_value(descriptor, value))
    tlx_status_add_violation(status, field, "%d is no value of %s", value, descriptor->short_name);
}

void svc_check_common(struct tlx_status *status, const char *reason, const char *request_id) {
  if (tlx_text_utf8_count(reason) > REASON_CHARS_MAX)
    tlx_status_add_violation(status, "reason", "has more than %u characters", REASON_CHARS_MAX);
  if (*request_id && !tlx_name_request_id_valid(request_id))
    tlx_status_add_violation(status, "request_id", "is not 1 to 64 of [A-Za-z0-9._:-]");
}

void svc_submit(struct tlx_call *call, struct op *op, const char *reason, const char *request_id) {
  authn_fill_actor(call, reason, request_id, &op->actor);
  if (caller_of(call)->kind == CALLER_OPERATOR) {
    const struct authz_rule *rule = authz_find(tlx_call_method(call));
    op->actor.least_role = rule ? rule->least : AUTHZ_ADMIN;
  }
  caller_of(call)->audited = true;
  op->arg = tlx_call_ref(call);
  console_submit(console_of(call), op);
}

struct tlx_call *svc_op_call(struct op *op) {
  struct tlx_call *call = op->arg;
  console_note_head(console_of(call), &op->head);
  return call;
}

void svc_op_answer(struct op *op) {
  struct tlx_call *call = svc_op_call(op);
  if (op->status.code == TLX_GRPC_OK) {
    svc_add_head(call);
    tlx_call_reply_bytes(call, op->reply.data, op->reply.len);
  } else {
    svc_fail_status(call, &op->status);
  }
  tlx_call_unref(call);
}
