// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "console/block.h"
#include "console/svc_rule.h"
#include "telovix/v1/containment.pb-c.h"

/* BlockBinary (ContainmentService): a rule that stops every execution of one file. */

static void check_block(const Telovix__V1__BlockBinaryRequest *request, Telovix__V1__RuleMode *mode,
                        struct tlx_status *status) {
  const char *fault = block_path_fault(request->path);
  if (!*request->sensor) tlx_status_add_violation(status, "sensor", "is missing");
  if (strlen(request->sensor) > 253)
    tlx_status_add_violation(status, "sensor", "is neither an id nor a node name");
  if (fault) tlx_status_add_violation(status, "path", "%s", fault);
  *mode = request->mode;
  svc_rule_check_mode(status, mode, TELOVIX__V1__RULE_MODE__RULE_MODE_ENFORCE);
  svc_check_common(status, request->reason, request->request_id);
}

/* Everything that is made before the op: id, name, revision, and the bytes that both sides digest.
 */
static int make_rule(const Telovix__V1__BlockBinaryRequest *request, Telovix__V1__RuleMode mode,
                     struct op_rule_block *op) {
  struct op_rule *rule = &op->rule;
  int err = tlx_id_make("rule_", rule->rule_id, sizeof rule->rule_id);
  if (!err) err = tlx_random(rule->revision, sizeof rule->revision);
  if (err) return err;
  _Static_assert(sizeof op->name >= BLOCK_NAME_MAX, "the name fits");
  block_name(request->path, op->name);
  snprintf(op->sensor, sizeof op->sensor, "%s", request->sensor);
  snprintf(op->path, sizeof op->path, "%s", request->path);
  op->mode = (uint32_t)mode;
  rule->force = request->force;
  struct block_policy policy = {.rule_id = rule->rule_id,
                                .name = op->name,
                                .path = op->path,
                                .mode = op->mode,
                                .force = rule->force};
  memcpy(policy.revision, rule->revision, sizeof policy.revision);
  block_pack(&policy, &rule->policy);
  return rule->policy.err;
}

void svc_block_binary(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__BlockBinaryRequest *request = (const void *)message;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  Telovix__V1__RuleMode mode;
  tlx_status_clear(&status);
  check_block(request, &mode, &status);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  struct op_rule_block *op = calloc(1, sizeof *op);
  if (!op || make_rule(request, mode, op) != 0) {
    if (op) op_rule_free(&op->rule);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  if (!svc_begin(call, &txn)) {
    op_rule_free(&op->rule);
    return;
  }
  /* An unknown sensor is refused by the op, which also audits it. */
  struct op finder = {0};
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(&finder, txn, request->sensor);
  if (svc_rule_take_sensor(call, sensor, &op->rule) != 0) {
    op_rule_free(&op->rule);
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  svc_rule_submit(call, &op->rule, op_rule_block_run, "enforcement_rule_created", sizeof *op,
                  request->reason, request->request_id);
}
