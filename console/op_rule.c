// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_rule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "console/limits.h"
#include "console/op_int.h"
#include "console/op_rule_int.h"
#include "console/reasons.h"

#define CREATED "enforcement_rule_created"
#define DELETED "enforcement_rule_deleted"
#define MODE_CHANGED "rule_mode_changed"

static const char *mode_word(uint32_t mode) {
  return mode == OP_RULE_OBSERVE ? "observe" : "enforce";
}

void op_rule_start(struct op_rule *op) {
  op->changed = false;
  *op->sensor_id = 0;
  op->notice = NULL;
  op->record = NULL;
}

void op_rule_free(struct op_rule *op) {
  if (!op) return;
  tlx_buf_done(&op->policy);
  free(op->pack_arg);
  op_done(&op->op);
  free(op);
}

/* ---- the gate of spec §5.4 ---- */

bool op_rule_may_tighten(struct op_rule *op, const Telovix__Store__V1__SensorRecord *sensor) {
  if (sensor->trust_state == OP_TRUST_REVOKED) {
    tlx_status_set(&op->op.status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_SENSOR_REVOKED),
                   "%s is revoked: re-enroll it first", sensor->node_name);
    return false;
  }
  if (!op->critical || op->force) return true;
  tlx_status_set(&op->op.status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_SENSOR_CRITICAL),
                 "the health of %s is critical (%s): mend it, or say force", sensor->node_name,
                 op->health);
  return false;
}

void op_rule_note_force(const struct op_rule *op, json_t *detail) {
  if (op->force) json_object_set_new(detail, "force", json_true());
  if (op->critical && *op->health) json_object_set_new(detail, "health", json_string(op->health));
}

/* ---- words ---- */

/* A path as a sentence can have it. NULL when out of memory, and then |txn| has failed. */
static const char *escaped(struct tlx_txn *txn, const char *path) {
  size_t size = 8 * strlen(path) + 1; /* the longest escape is \u{202e} for three bytes */
  char *text = tlx_arena_alloc(tlx_txn_arena(txn), size);
  if (text) return tlx_text_escape(path, SIZE_MAX, text, size);
  tlx_txn_fail(txn, -ENOMEM);
  return NULL;
}

void op_rule_set_notice(struct op_rule *op, struct tlx_txn *txn, const char *text) {
  op->notice = text;
  if (!text) tlx_txn_fail(txn, -ENOMEM);
}

/* What a rule with this mode will do on the host, and when. */
static void word_notice(struct op_rule *op, struct tlx_txn *txn, uint32_t mode) {
  const char *path = escaped(txn, op->record->path), *node = op->record->node_name;
  const char *wait =
      op->silent ? "; the sensor is silent, so the rule waits for its next heartbeat" : "";
  if (!path) return;
  if (mode == OP_RULE_OBSERVE)
    op_rule_set_notice(
        op, txn,
        tlx_arena_printf(tlx_txn_arena(txn),
                         "executions of %s on %s are counted and not stopped from the moment "
                         "this rule is reported applied%s",
                         path, node, wait));
  else
    op_rule_set_notice(
        op, txn,
        tlx_arena_printf(tlx_txn_arena(txn),
                         "%s is blocked on %s from the moment this rule is reported applied; "
                         "a same-named file in a container's own file system is another "
                         "file%s",
                         path, node, wait));
}

/* ---- block ---- */

static json_t *asked_block(const struct op_rule_block *op) {
  json_t *asked = json_object();
  json_object_set_new(asked, "sensor", op_json_text(op->sensor));
  json_object_set_new(asked, "path", op_json_text(op->path));
  json_object_set_new(asked, "mode", json_string(mode_word(op->mode)));
  op_rule_note_force(&op->rule, asked);
  return asked;
}

bool op_rule_has_room(struct op_rule *op, struct tlx_txn *txn,
                      const Telovix__Store__V1__SensorRecord *sensor, size_t replaced) {
  struct tlx_rule_usage usage;
  struct tlx_status *status = &op->op.status;
  const char *word = reason_word(REASON_TOO_MANY_RULES);
  tlx_rule_usage(txn, sensor->sensor_id, &usage);
  if (!replaced && usage.n_desired >= RULES_PER_SENSOR_MAX)
    tlx_status_set(status, TLX_GRPC_RESOURCE_EXHAUSTED, word,
                   "%s has %u rules, as many as it may: delete some", sensor->node_name,
                   RULES_PER_SENSOR_MAX);
  else if (!replaced && usage.n_removing >= REMOVING_PER_SENSOR_MAX)
    tlx_status_set(
        status, TLX_GRPC_RESOURCE_EXHAUSTED, word,
        "%u deleted rules of %s wait for the host to confirm: bring the sensor back first",
        usage.n_removing, sensor->node_name);
  else if (usage.desired_len - replaced + op->policy.len > DESIRED_SET_MAX)
    tlx_status_set(status, TLX_GRPC_RESOURCE_EXHAUSTED, word,
                   "the rules of %s would take more than %u KiB: delete some", sensor->node_name,
                   DESIRED_SET_MAX >> 10);
  else
    return true;
  return false;
}

static bool is_new(struct op_rule_block *op, struct tlx_txn *txn,
                   const Telovix__Store__V1__SensorRecord *sensor) {
  struct tlx_status *status = &op->rule.op.status;
  const Telovix__Store__V1__RuleRecord *there =
      tlx_rule_find_path(txn, sensor->sensor_id, op->path);
  if (!there) return true;
  tlx_status_set(status, TLX_GRPC_ALREADY_EXISTS, reason_word(REASON_RULE_EXISTS),
                 "%s has the rule %s (%s) for this path already", sensor->node_name, there->rule_id,
                 mode_word(there->desired_mode));
  tlx_status_add_metadata(status, "rule_id", there->rule_id);
  return false;
}

Telovix__Store__V1__RuleRecord *op_rule_build(struct op_rule *op, struct tlx_txn *txn,
                                              const Telovix__Store__V1__SensorRecord *sensor) {
  Telovix__Store__V1__RuleRecord *record = tlx_arena_alloc(tlx_txn_arena(txn), sizeof *record);
  if (!record) {
    tlx_txn_fail(txn, -ENOMEM);
    return NULL;
  }
  *record = (Telovix__Store__V1__RuleRecord)TELOVIX__STORE__V1__RULE_RECORD__INIT;
  record->rule_id = op->rule_id;
  record->sensor_id = sensor->sensor_id;
  record->node_name = sensor->node_name;
  record->forced = op->force;
  record->policy = (ProtobufCBinaryData){op->policy.len, op->policy.data};
  record->revision = (ProtobufCBinaryData){sizeof op->revision, op->revision};
  record->actor = op->op.actor.name;
  record->reason = op->op.actor.reason;
  record->request_id = op->op.actor.request_id;
  record->created_wall_ms = record->changed_wall_ms = op->op.actor.wall_ms;
  return record;
}

void op_rule_block_run(struct op *base, struct tlx_txn *txn) {
  struct op_rule_block *op = (void *)base;
  struct op_rule *rule = &op->rule;
  op_rule_start(rule);
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(base, txn, op->sensor);
  if (!sensor || !op_rule_may_tighten(rule, sensor) || !is_new(op, txn, sensor) ||
      !op_rule_has_room(rule, txn, sensor, 0)) {
    op_refuse_json(base, txn, CREATED, sensor ? sensor->sensor_id : NULL, asked_block(op));
    return;
  }
  rule->record = op_rule_build(rule, txn, sensor);
  if (!rule->record) return;
  rule->record->name = op->name;
  rule->record->template_ = (char *)"block-binary";
  rule->record->path = op->path;
  rule->record->desired_mode = op->mode;
  tlx_rule_add(txn, rule->record);
  rule->changed = true;
  snprintf(rule->sensor_id, sizeof rule->sensor_id, "%s", sensor->sensor_id);
  word_notice(rule, txn, op->mode);
  json_t *detail = asked_block(op);
  json_object_set_new(detail, "rule_id", json_string(rule->rule_id));
  json_object_set_new(detail, "node_name", op_json_text(sensor->node_name));
  json_object_set_new(detail, "generation", op_json_u64(rule->record->changed_generation));
  op_audit_json(base, txn, CREATED, true, sensor->sensor_id, detail);
}

/* ---- one that is there ---- */

/* The rule that is meant, and its sensor. False with the status set. */
static bool find(struct op_rule *op, struct tlx_txn *txn,
                 const Telovix__Store__V1__SensorRecord **ret_sensor) {
  op->record = tlx_rule_get(txn, op->rule_id);
  if (!op->record) {
    tlx_status_set(&op->op.status, TLX_GRPC_NOT_FOUND, reason_word(REASON_UNKNOWN_RULE),
                   "there is no rule %s", op->rule_id);
    return false;
  }
  snprintf(op->sensor_id, sizeof op->sensor_id, "%s", op->record->sensor_id);
  *ret_sensor = tlx_sensor_get(txn, op->sensor_id);
  if (*ret_sensor) return true;
  /* A rule goes with its sensor, in one transaction. */
  tlx_txn_fail(txn, -EIO);
  return false;
}

static json_t *asked_of(const struct op_rule *op) {
  json_t *asked = json_object();
  json_object_set_new(asked, "rule_id", op_json_text(op->rule_id));
  if (op->record) json_object_set_new(asked, "path", op_json_text(op->record->path));
  return asked;
}

void op_rule_audit_changed(struct op_rule *op, struct tlx_txn *txn, const char *action_type,
                           json_t *detail) {
  json_object_set_new(detail, "node_name", op_json_text(op->record->node_name));
  json_object_set_new(detail, "generation", op_json_u64(op->record->changed_generation));
  op_audit_json(&op->op, txn, action_type, true, op->sensor_id, detail);
}

/* A containment is one thing with its release and its allow list: a mode, or a deletion that nobody
 * sees as a release, would loosen it by a side door. */
static bool is_no_containment(struct op_rule *op) {
  if (!tlx_rule_is_containment(op->record)) return true;
  tlx_status_set(&op->op.status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_CONTAINMENT_RULE),
                 "the rule %s is the containment of %s: `telovixctl release %s` takes it away",
                 op->rule_id, op->record->node_name, op->record->node_name);
  return false;
}

/* ---- mode ---- */

static bool may_set_mode(struct op_rule_set_mode *op,
                         const Telovix__Store__V1__SensorRecord *sensor) {
  struct op_rule *rule = &op->rule;
  if (rule->record->removing) {
    tlx_status_set(&rule->op.status, TLX_GRPC_FAILED_PRECONDITION,
                   reason_word(REASON_RULE_REMOVING),
                   "the rule %s is being removed: block the path again", rule->rule_id);
    return false;
  }
  if (memcmp(rule->record->revision.data, op->from_revision, sizeof op->from_revision) != 0) {
    reason_set(&rule->op.status, REASON_RULE_CHANGED);
    return false;
  }
  /* Stepping back is always allowed. */
  return op->mode == OP_RULE_OBSERVE || rule->record->desired_mode == op->mode ||
         op_rule_may_tighten(rule, sensor);
}

void op_rule_set_mode_run(struct op *base, struct tlx_txn *txn) {
  struct op_rule_set_mode *op = (void *)base;
  struct op_rule *rule = &op->rule;
  const Telovix__Store__V1__SensorRecord *sensor;
  op_rule_start(rule);
  bool may = find(rule, txn, &sensor) && is_no_containment(rule) && may_set_mode(op, sensor);
  json_t *detail = asked_of(rule);
  json_object_set_new(detail, "mode", json_string(mode_word(op->mode)));
  op_rule_note_force(rule, detail);
  if (!may) {
    op_refuse_json(base, txn, MODE_CHANGED, *rule->sensor_id ? rule->sensor_id : NULL, detail);
    return;
  }
  Telovix__Store__V1__RuleRecord *record = rule->record;
  if (record->desired_mode == op->mode) {
    json_decref(detail);
    op_rule_set_notice(rule, txn,
                       tlx_arena_printf(tlx_txn_arena(txn), "the rule is in mode %s already",
                                        mode_word(op->mode)));
    return;
  }
  json_object_set_new(detail, "from", json_string(mode_word(record->desired_mode)));
  record->desired_mode = op->mode;
  record->forced |= rule->force;
  record->policy = (ProtobufCBinaryData){rule->policy.len, rule->policy.data};
  record->revision = (ProtobufCBinaryData){sizeof rule->revision, rule->revision};
  record->applied_wall_ms = 0;
  record->changed_wall_ms = base->actor.wall_ms;
  tlx_rule_change(txn, record);
  rule->changed = true;
  word_notice(rule, txn, op->mode);
  op_rule_audit_changed(rule, txn, MODE_CHANGED, detail);
}

/* ---- delete ---- */

static void word_deletion(struct op_rule *op, struct tlx_txn *txn,
                          const Telovix__Store__V1__SensorRecord *sensor) {
  const char *path = escaped(txn, op->record->path), *when;
  if (!path) return;
  if (sensor->trust_state == OP_TRUST_REVOKED)
    when = "the sensor is revoked, so that happens when it is re-enrolled; on the host: "
           "telovix-sensor lift";
  else if (op->silent)
    when = "the sensor is silent, so that waits for its next heartbeat";
  else
    when = "it stays listed as removing until then";
  op_rule_set_notice(
      op, txn,
      tlx_arena_printf(tlx_txn_arena(txn),
                       "the rule for %s on %s is out of force when the host confirms it; %s", path,
                       op->record->node_name, when));
}

void op_rule_delete_run(struct op *base, struct tlx_txn *txn) {
  struct op_rule *op = (void *)base;
  const Telovix__Store__V1__SensorRecord *sensor;
  op_rule_start(op);
  if (!find(op, txn, &sensor) || !is_no_containment(op)) {
    op_refuse_json(base, txn, DELETED, *op->sensor_id ? op->sensor_id : NULL, asked_of(op));
    return;
  }
  word_deletion(op, txn, sensor);
  if (op->record->removing) return;
  op->record->removing = true;
  op->record->changed_wall_ms = base->actor.wall_ms;
  tlx_rule_change(txn, op->record);
  op->changed = true;
  op_rule_audit_changed(op, txn, DELETED, asked_of(op));
}
