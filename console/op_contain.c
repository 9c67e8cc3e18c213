// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_contain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "console/limits.h"
#include "console/op_int.h"
#include "console/op_rule_int.h"
#include "console/reasons.h"

#define CONTAINED "sensor_contained"
#define RELEASED "sensor_released"
#define ALLOW_CHANGED "containment_allow_changed"

/* The reference's words, verbatim. */
static const char already_contained[] = "sensor is already in containment";
static const char not_contained[] = "sensor is not in containment";

/* What becomes of a change on a host whose heartbeats are refused. */
#define WHEN_REVOKED "%s is revoked, so %s takes effect at re-enrollment%s"
#define OR_LIFT "; on the host: telovix-sensor lift"

static void start(struct op_contain *op) {
  op_rule_start(&op->rule);
  op->unchanged = NULL;
}

static void leave_as_is(struct op_contain *op, const char *unchanged, const char *notice) {
  op->unchanged = unchanged;
  op->rule.notice = notice;
}

/* ---- audit ---- */

static json_t *json_list(char *const *texts, size_t n) {
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++)
    json_array_append_new(list, op_json_text(texts[i]));
  return list;
}

static json_t *json_allow(const struct contain_list *list) {
  json_t *array = json_array();
  for (unsigned i = 0; i < list->n; i++)
    json_array_append_new(array, json_string(list->entries[i]));
  return array;
}

static json_t *asked_sensor(const struct op_contain *op) {
  json_t *asked = json_object();
  json_object_set_new(asked, "sensor", op_json_text(op->sensor));
  return asked;
}

static json_t *asked_contain(const struct op_contain *op,
                             const Telovix__Store__V1__SensorRecord *sensor) {
  json_t *asked = asked_sensor(op);
  json_object_set_new(asked, "allow", json_allow(&op->allow));
  json_object_set_new(asked, "on_lost_console", json_string(contain_on_lost_word(op->on_lost)));
  op_rule_note_force(&op->rule, asked);
  if (sensor && sensor->n_hazards)
    json_object_set_new(asked, "hazards", json_list(sensor->hazards, sensor->n_hazards));
  return asked;
}

static void audit_changed(struct op_contain *op, struct tlx_txn *txn, const char *action_type,
                          json_t *detail) {
  json_object_set_new(detail, "rule_id", json_string(op->rule.record->rule_id));
  op_rule_audit_changed(&op->rule, txn, action_type, detail);
}

/* A change was made to the rule that is there. */
static void note_changed(struct op_contain *op, const Telovix__Store__V1__SensorRecord *sensor) {
  op->rule.changed = true;
  snprintf(op->rule.sensor_id, sizeof op->rule.sensor_id, "%s", sensor->sensor_id);
  if (op->rule.record->rule_id != op->rule.rule_id)
    snprintf(op->rule.rule_id, sizeof op->rule.rule_id, "%s", op->rule.record->rule_id);
}

/* ---- contain ---- */

/* What is asked of a host that is contained: as it is, or something else. False with the status
 * set. */
static bool is_as_asked(struct op_contain *op, const Telovix__Store__V1__RuleRecord *there) {
  struct tlx_status *status = &op->rule.op.status;
  if (!contain_list_equal(&op->allow, there->allow, there->n_allow)) {
    tlx_status_set(status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_OTHER_ALLOW_LIST),
                   "%s is in containment with another allow list: `telovixctl allow %s set "
                   "ENTRY...` replaces it",
                   there->node_name, there->node_name);
    return false;
  }
  if (op->has_on_lost && op->on_lost != there->on_lost_console) {
    tlx_status_set(
        status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_OTHER_ON_LOST_CONSOLE),
        "%s is in containment with on_lost_console %s: release it, then contain it again",
        there->node_name, contain_on_lost_word(there->on_lost_console));
    return false;
  }
  return true;
}

static bool is_safe(struct op_contain *op, const Telovix__Store__V1__SensorRecord *sensor) {
  struct tlx_status *status = &op->rule.op.status;
  char words[256], texts[512];
  size_t words_at = 0, texts_at = 0;
  if (sensor->n_hazards == 0 || op->rule.force) return true;
  for (size_t i = 0; i < sensor->n_hazards && words_at < sizeof words && texts_at < sizeof texts;
       i++) {
    const char *hazard = sensor->hazards[i];
    words_at +=
        (size_t)snprintf(words + words_at, sizeof words - words_at, "%s%s", i ? ", " : "", hazard);
    texts_at += (size_t)snprintf(texts + texts_at, sizeof texts - texts_at, "%s%s (%s)",
                                 i ? ", " : "", hazard, contain_hazard_text(hazard));
  }
  tlx_status_set(status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_HAZARD),
                 "a containment of %s is dangerous: %s; mend it, or say force", sensor->node_name,
                 texts);
  tlx_status_add_metadata(status, "hazards", words);
  return false;
}

/* Nothing to change is true only of an order that still stands on the host as it was given: not of
 * a force that it was given without, nor of one that the host does not follow any more. */
static bool is_new_order(const struct op_contain *op, const Telovix__Store__V1__RuleRecord *there) {
  return (op->rule.force && !there->forced) || op->is_out_of_force;
}

static bool may_order_again(struct op_contain *op, struct tlx_txn *txn,
                            const Telovix__Store__V1__SensorRecord *sensor,
                            const Telovix__Store__V1__RuleRecord *there) {
  struct op_rule *rule = &op->rule;
  if (!op_rule_may_tighten(rule, sensor) || !is_safe(op, sensor)) return false;
  if (memcmp(there->revision.data, op->from_revision, sizeof op->from_revision) == 0)
    return op_rule_has_room(rule, txn, sensor, there->policy.len);
  reason_set(&rule->op.status, REASON_RULE_CHANGED);
  return false;
}

/* Whether what is asked may be done: |there| as it is, again, or (NULL) for the first time. False
 * with the status set. */
static bool may_contain(struct op_contain *op, struct tlx_txn *txn,
                        const Telovix__Store__V1__SensorRecord *sensor,
                        const Telovix__Store__V1__RuleRecord *there) {
  struct op_rule *rule = &op->rule;
  if (there)
    return is_as_asked(op, there) &&
           (!is_new_order(op, there) || may_order_again(op, txn, sensor, there));
  if (!op_rule_may_tighten(rule, sensor) || !is_safe(op, sensor) ||
      !op_rule_has_room(rule, txn, sensor, 0))
    return false;
  /* The policy names the rule that was there when it was made. */
  if (!op->has_from) return true;
  reason_set(&rule->op.status, REASON_RULE_CHANGED);
  return false;
}

static char **list_texts(const struct contain_list *list, struct tlx_txn *txn) {
  char **texts = tlx_arena_alloc(tlx_txn_arena(txn), (list->n + 1) * sizeof *texts);
  if (!texts) tlx_txn_fail(txn, -ENOMEM);
  for (unsigned i = 0; texts && i < list->n; i++)
    texts[i] = (char *)list->entries[i];
  return texts;
}

static void word_effect(struct op_contain *op, struct tlx_txn *txn, const char *what,
                        const Telovix__Store__V1__SensorRecord *sensor) {
  op_rule_set_notice(
      &op->rule, txn,
      tlx_arena_printf(tlx_txn_arena(txn), "%s of %s takes effect on the next heartbeat, %s", what,
                       sensor->node_name,
                       op->rule.silent
                           ? "and the sensor is silent: it waits until it is heard again"
                           : "within 30 seconds"));
}

/* The rule that is there, as another revision: only another desired state puts in force again what
 * a host took down, or refused. */
static void set_policy(struct op_contain *op) {
  struct op_rule *rule = &op->rule;
  Telovix__Store__V1__RuleRecord *record = rule->record;
  record->policy = (ProtobufCBinaryData){rule->policy.len, rule->policy.data};
  record->revision = (ProtobufCBinaryData){sizeof rule->revision, rule->revision};
  record->applied_wall_ms = 0;
  record->proved_state = 0;
  record->changed_wall_ms = rule->op.actor.wall_ms;
}

static void contain_again(struct op_contain *op, struct tlx_txn *txn,
                          const Telovix__Store__V1__SensorRecord *sensor) {
  op->rule.record->forced |= op->rule.force;
  set_policy(op);
  tlx_rule_change(txn, op->rule.record);
  note_changed(op, sensor);
  word_effect(op, txn, "containment", sensor);
  json_t *detail = asked_contain(op, sensor);
  json_object_set_new(detail, "again", json_true());
  audit_changed(op, txn, CONTAINED, detail);
}

void op_contain_run(struct op *base, struct tlx_txn *txn) {
  struct op_contain *op = (void *)base;
  struct op_rule *rule = &op->rule;
  start(op);
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(base, txn, op->sensor);
  Telovix__Store__V1__RuleRecord *there =
      sensor ? tlx_rule_find_containment(txn, sensor->sensor_id, false) : NULL;
  if (!sensor || !may_contain(op, txn, sensor, there)) {
    op_refuse_json(base, txn, CONTAINED, sensor ? sensor->sensor_id : NULL,
                   asked_contain(op, sensor));
    return;
  }
  if (there) {
    rule->record = there;
    if (is_new_order(op, there))
      contain_again(op, txn, sensor);
    else
      leave_as_is(op, "already_contained", already_contained);
    return;
  }
  rule->record = op_rule_build(rule, txn, sensor);
  if (!rule->record) return;
  rule->record->name = (char *)CONTAIN_NAME;
  rule->record->template_ = (char *)CONTAIN_TEMPLATE;
  rule->record->desired_mode = OP_RULE_ENFORCE;
  rule->record->allow = list_texts(&op->allow, txn);
  rule->record->n_allow = rule->record->allow ? op->allow.n : 0;
  rule->record->on_lost_console = op->on_lost;
  tlx_rule_add(txn, rule->record);
  note_changed(op, sensor);
  word_effect(op, txn, "containment", sensor);
  audit_changed(op, txn, CONTAINED, asked_contain(op, sensor));
}

/* ---- release ---- */

static void word_at_reenrollment(struct op_contain *op, struct tlx_txn *txn, const char *what,
                                 const char *or_else,
                                 const Telovix__Store__V1__SensorRecord *sensor) {
  op_rule_set_notice(
      &op->rule, txn,
      tlx_arena_printf(tlx_txn_arena(txn), WHEN_REVOKED, sensor->node_name, what, or_else));
}

/* Released before, and as far as anybody knows still cut off. */
static void word_pending_release(struct op_contain *op, struct tlx_txn *txn,
                                 const Telovix__Store__V1__SensorRecord *sensor) {
  op_rule_set_notice(
      &op->rule, txn,
      tlx_arena_printf(tlx_txn_arena(txn),
                       "the release of %s was ordered before and its host has not confirmed it%s",
                       sensor->node_name, op->rule.silent ? ": the sensor is silent" : " yet"));
}

void op_contain_release_run(struct op *base, struct tlx_txn *txn) {
  struct op_contain *op = (void *)base;
  struct op_rule *rule = &op->rule;
  start(op);
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(base, txn, op->sensor);
  if (!sensor) {
    op_refuse_json(base, txn, RELEASED, NULL, asked_sensor(op));
    return;
  }
  rule->record = tlx_rule_find_containment(txn, sensor->sensor_id, true);
  if (!rule->record) {
    leave_as_is(op, "not_contained", not_contained);
    return;
  }
  if (rule->record->removing) {
    op->unchanged = "release_pending";
    if (sensor->trust_state == OP_TRUST_REVOKED)
      word_at_reenrollment(op, txn, "its release", OR_LIFT, sensor);
    else
      word_pending_release(op, txn, sensor);
    return;
  }
  rule->record->removing = true;
  rule->record->changed_wall_ms = base->actor.wall_ms;
  tlx_rule_change(txn, rule->record);
  note_changed(op, sensor);
  if (sensor->trust_state == OP_TRUST_REVOKED)
    word_at_reenrollment(op, txn, "its release", OR_LIFT, sensor);
  else
    word_effect(op, txn, "release", sensor);
  audit_changed(op, txn, RELEASED, asked_sensor(op));
}

/* ---- allow list ---- */

static json_t *asked_allow(const struct op_contain *op) {
  json_t *asked = asked_sensor(op);
  json_object_set_new(asked, "allow", json_allow(&op->allow));
  return asked;
}

/* False with the status set. */
static bool may_set_allow(struct op_contain *op, struct tlx_txn *txn,
                          const Telovix__Store__V1__SensorRecord *sensor) {
  struct tlx_status *status = &op->rule.op.status;
  const Telovix__Store__V1__RuleRecord *record = op->rule.record;
  if (!record) {
    tlx_status_set(status, TLX_GRPC_FAILED_PRECONDITION, reason_word(REASON_NOT_CONTAINED),
                   "%s is not in containment: `telovixctl contain %s --allow ENTRY` begins one",
                   sensor->node_name, sensor->node_name);
    return false;
  }
  if (memcmp(record->revision.data, op->from_revision, sizeof op->from_revision) != 0) {
    reason_set(status, REASON_RULE_CHANGED);
    return false;
  }
  return op_rule_has_room(&op->rule, txn, sensor, record->policy.len);
}

void op_contain_set_allow_run(struct op *base, struct tlx_txn *txn) {
  struct op_contain *op = (void *)base;
  struct op_rule *rule = &op->rule;
  start(op);
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(base, txn, op->sensor);
  if (sensor) rule->record = tlx_rule_find_containment(txn, sensor->sensor_id, false);
  if (!sensor || !may_set_allow(op, txn, sensor)) {
    op_refuse_json(base, txn, ALLOW_CHANGED, sensor ? sensor->sensor_id : NULL, asked_allow(op));
    return;
  }
  Telovix__Store__V1__RuleRecord *record = rule->record;
  if (contain_list_equal(&op->allow, record->allow, record->n_allow)) {
    leave_as_is(op, "same_allow_list", "the allow list is so already");
    return;
  }
  json_t *detail = asked_allow(op);
  json_object_set_new(detail, "from", json_list(record->allow, record->n_allow));
  record->allow = list_texts(&op->allow, txn);
  record->n_allow = record->allow ? op->allow.n : 0;
  set_policy(op);
  tlx_rule_change(txn, record);
  note_changed(op, sensor);
  if (sensor->trust_state == OP_TRUST_REVOKED)
    word_at_reenrollment(op, txn, "the new allow list", "", sensor);
  else
    word_effect(op, txn, "the new allow list", sensor);
  audit_changed(op, txn, ALLOW_CHANGED, detail);
}
