// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/err.h"
#include "common/text.h"
#include "console/convert.h"
#include "console/op_contain.h"
#include "console/svc_rule.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"
#include "storage/rule_tbl.h"
#include "telovix/v1/containment.pb-c.h"

/* Containments (ContainmentService): contain, release, the allow list. */

/* ---- what all of them share ---- */

static void check_sensor(struct tlx_status *status, const char *sensor) {
  if (!*sensor) tlx_status_add_violation(status, "sensor", "is missing");
  if (strlen(sensor) > 253)
    tlx_status_add_violation(status, "sensor", "is neither an id nor a node name");
}

/* Adds the entries to |list|, a violation for each that is none. */
static void take_allow(struct tlx_status *status, char *const *allow, size_t n,
                       struct contain_list *list) {
  for (size_t i = 0; i < n && status->n_violations < TLX_STATUS_VIOLATIONS_MAX; i++) {
    const char *fault = NULL;
    char field[32], shown[128];
    int err = contain_list_add(list, allow[i], &fault);
    if (!err) continue;
    snprintf(field, sizeof field, "allow[%zu]", i);
    if (err != TLX_E_LIMIT) {
      tlx_text_escape(allow[i], SIZE_MAX, shown, sizeof shown);
      tlx_status_add_violation(status, field, "\"%s\" %s", shown, fault);
      continue;
    }
    tlx_status_add_violation(status, "allow", "has more than %u entries, the template's among them",
                             TLX_ALLOW_LIST_MAX);
    return;
  }
}

static void pack_containment(const struct op *base, struct tlx_buf *buf) {
  const struct op_contain *op = (const void *)base;
  Telovix__V1__ContainmentReply reply = TELOVIX__V1__CONTAINMENT_REPLY__INIT;
  struct tlx_arena arena;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  if (op->rule.record) reply.rule = convert_rule(op->rule.record, op->rule.pack_arg, &arena);
  reply.notice = (char *)op->rule.notice;
  if (op->unchanged) reply.unchanged = (char *)op->unchanged;
  if (reply.rule || !op->rule.record)
    tlx_pb_pack(&reply.base, buf);
  else
    buf->err = -ENOMEM;
  tlx_arena_done(&arena);
}

static struct op_contain *new_op(const char *sensor) {
  struct op_contain *op = calloc(1, sizeof *op);
  if (!op) return NULL;
  snprintf(op->sensor, sizeof op->sensor, "%s", sensor);
  op->rule.op.pack = pack_containment;
  return op;
}

static void drop_op(struct tlx_call *call, struct op_contain *op) {
  if (op) op_rule_free(&op->rule);
  svc_fail(call, REASON_NO_MEMORY);
}

/* Makes the revision and the bytes that both sides digest. 0 or a negative error. */
static int make_policy(struct op_contain *op, const char *rule_id, bool force) {
  struct op_rule *rule = &op->rule;
  struct contain_policy policy = {
      .rule_id = rule_id, .allow = &op->allow, .on_lost = op->on_lost, .force = force};
  int err = tlx_random(rule->revision, sizeof rule->revision);
  if (err) return err;
  memcpy(policy.revision, rule->revision, sizeof policy.revision);
  contain_pack(&policy, &rule->policy);
  return rule->policy.err;
}

/* What is known now of the sensor; an unknown one is refused by the op, which also audits it. False
 * when the call has ended, and with it |op|. */
static bool take_sensor(struct tlx_call *call, struct tlx_txn *txn, struct op_contain *op,
                        const Telovix__Store__V1__SensorRecord **ret_sensor) {
  struct op finder = {0};
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(&finder, txn, op->sensor);
  if (!svc_read_ok(call, txn)) {
    op_rule_free(&op->rule);
    return false;
  }
  if (svc_rule_take_sensor(call, sensor, &op->rule) != 0) {
    drop_op(call, op);
    return false;
  }
  *ret_sensor = sensor;
  return true;
}

/* ---- ContainSensor ---- */

static void check_contain(const Telovix__V1__ContainSensorRequest *request,
                          const struct settings *settings, struct contain_list *allow,
                          struct tlx_status *status) {
  check_sensor(status, request->sensor);
  *allow = settings->containment_allow;
  take_allow(status, request->allow, request->n_allow, allow);
  svc_check_enum(status, "on_lost_console", &telovix__v1__on_lost_console__descriptor,
                 request->on_lost_console);
  svc_check_common(status, request->reason, request->request_id);
}

/* The rule that is there may have to be given to its host once more. */
static void take_there(struct op_contain *op, const Telovix__Store__V1__RuleRecord *record) {
  Telovix__V1__RuleState state = observed_rule(record, op->rule.pack_arg).state;
  op->is_out_of_force = state == TELOVIX__V1__RULE_STATE__RULE_STATE_FAILED ||
                        state == TELOVIX__V1__RULE_STATE__RULE_STATE_REFUSED;
  op->has_from = true;
  memcpy(op->from_revision, record->revision.data, sizeof op->from_revision);
  snprintf(op->rule.rule_id, sizeof op->rule.rule_id, "%s", record->rule_id);
  /* Another one that is asked for is refused. */
  if (!op->has_on_lost) op->on_lost = record->on_lost_console;
}

void svc_contain_sensor(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ContainSensorRequest *request = (const void *)message;
  const struct settings *settings = &console_of(call)->settings;
  const Telovix__Store__V1__SensorRecord *sensor;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  struct op_contain *op = new_op("");
  if (!op) {
    drop_op(call, op);
    return;
  }
  tlx_status_clear(&status);
  check_contain(request, settings, &op->allow, &status);
  if (status.code != TLX_GRPC_OK) {
    op_rule_free(&op->rule);
    svc_fail_status(call, &status);
    return;
  }
  snprintf(op->sensor, sizeof op->sensor, "%s", request->sensor);
  op->has_on_lost = request->on_lost_console != 0;
  op->on_lost =
      op->has_on_lost ? (uint32_t)request->on_lost_console : settings->containment_on_lost;
  op->rule.force = request->force;
  if (tlx_id_make("rule_", op->rule.rule_id, sizeof op->rule.rule_id) != 0) {
    drop_op(call, op);
    return;
  }
  if (!svc_begin(call, &txn)) {
    op_rule_free(&op->rule);
    return;
  }
  if (!take_sensor(call, txn, op, &sensor)) return;
  const Telovix__Store__V1__RuleRecord *record =
      sensor ? tlx_rule_find_containment(txn, sensor->sensor_id, false) : NULL;
  if (!svc_read_ok(call, txn)) {
    op_rule_free(&op->rule);
    return;
  }
  if (record) take_there(op, record);
  if (make_policy(op, op->rule.rule_id, op->rule.force || (record && record->forced)) != 0) {
    drop_op(call, op);
    return;
  }
  svc_rule_submit(call, &op->rule, op_contain_run, "sensor_contained", sizeof *op, request->reason,
                  request->request_id);
}

/* ---- ReleaseSensor ---- */

void svc_release_sensor(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ReleaseSensorRequest *request = (const void *)message;
  const Telovix__Store__V1__SensorRecord *sensor;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  tlx_status_clear(&status);
  check_sensor(&status, request->sensor);
  svc_check_common(&status, request->reason, request->request_id);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct op_contain *op = new_op(request->sensor);
  if (!op) {
    drop_op(call, op);
    return;
  }
  if (!svc_begin(call, &txn)) {
    op_rule_free(&op->rule);
    return;
  }
  if (!take_sensor(call, txn, op, &sensor)) return;
  svc_rule_submit(call, &op->rule, op_contain_release_run, "sensor_released", sizeof *op,
                  request->reason, request->request_id);
}

/* ---- SetAllowList ---- */

void svc_set_allow_list(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__SetAllowListRequest *request = (const void *)message;
  const Telovix__Store__V1__SensorRecord *sensor;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  struct op_contain *op = new_op("");
  if (!op) {
    drop_op(call, op);
    return;
  }
  tlx_status_clear(&status);
  check_sensor(&status, request->sensor);
  take_allow(&status, request->allow, request->n_allow, &op->allow);
  svc_check_common(&status, request->reason, request->request_id);
  if (status.code != TLX_GRPC_OK) {
    op_rule_free(&op->rule);
    svc_fail_status(call, &status);
    return;
  }
  snprintf(op->sensor, sizeof op->sensor, "%s", request->sensor);
  if (!svc_begin(call, &txn)) {
    op_rule_free(&op->rule);
    return;
  }
  if (!take_sensor(call, txn, op, &sensor)) return;
  /* Made from the rule as it is now; the op refuses when that has changed meanwhile, and when there
   * is none. */
  const Telovix__Store__V1__RuleRecord *record =
      sensor ? tlx_rule_find_containment(txn, sensor->sensor_id, false) : NULL;
  if (!svc_read_ok(call, txn)) {
    op_rule_free(&op->rule);
    return;
  }
  if (record) {
    op->on_lost = record->on_lost_console;
    memcpy(op->from_revision, record->revision.data, sizeof op->from_revision);
    if (make_policy(op, record->rule_id, record->forced) != 0) {
      drop_op(call, op);
      return;
    }
  }
  svc_rule_submit(call, &op->rule, op_contain_set_allow_run, "containment_allow_changed",
                  sizeof *op, request->reason, request->request_id);
}

/* ---- GetAllowList ---- */

void svc_get_allow_list(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__GetAllowListRequest *request = (const void *)message;
  Telovix__V1__AllowList reply = TELOVIX__V1__ALLOW_LIST__INIT;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__SensorRecord *sensor = svc_find_sensor(call, txn, request->sensor);
  if (!sensor) return;
  const Telovix__Store__V1__RuleRecord *record =
      tlx_rule_find_containment(txn, sensor->sensor_id, false);
  if (!svc_read_ok(call, txn)) return;
  if (!record) {
    struct tlx_status status;
    tlx_status_set(&status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_NOT_CONTAINED),
                   "%s is not in containment", sensor->node_name);
    svc_fail_status(call, &status);
    return;
  }
  reply.allow = record->allow;
  reply.n_allow = record->n_allow;
  svc_reply(call, &reply.base);
}
