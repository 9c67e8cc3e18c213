// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_contain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/limits.h"
#include "fixture_op.h"
#include "storage/sensor_tbl.h"

#define RULE_1 "rule_1111111111111111"
#define RULE_2 "rule_2222222222222222"
#define ENTRY_1 "in:10.0.0.0/8,22/tcp"
#define ENTRY_2 "out:192.0.2.0/24"

/* The reply as it would be packed: what the op points to lives in the transaction. */
static void pack(const struct op *base, struct tlx_buf *buf) {
  const struct op_contain *op = (const void *)base;
  tlx_buf_printf(buf, "%s|%s|%s", op->rule.record ? op->rule.record->rule_id : "-",
                 op->unchanged ? op->unchanged : "", op->rule.notice);
}

static struct op_contain *new_op(void (*run)(struct op *op, struct tlx_txn *txn), uint64_t later_ms,
                                 const char *const *allow) {
  struct op_contain *op = calloc(1, sizeof *op);
  const char *fault;
  op_fixture_actor(&op->rule.op, FIXTURE_WALL_MS + later_ms);
  op->rule.op.run = run;
  op->rule.op.pack = pack;
  strcpy(op->sensor, SENSOR_A);
  for (; allow && *allow; allow++)
    cr_assert_eq(contain_list_add(&op->allow, *allow, &fault), 0);
  memset(op->rule.revision, 7, sizeof op->rule.revision);
  tlx_buf_add_text(&op->rule.policy, "policy");
  return op;
}

static struct op_contain *contain_op(const char *rule_id, const char *const *allow) {
  struct op_contain *op = new_op(op_contain_run, 1000, allow);
  strcpy(op->rule.rule_id, rule_id);
  op->on_lost = CONTAIN_KEEP;
  return op;
}

static struct op_contain *release_op(void) {
  return new_op(op_contain_release_run, 2000, NULL);
}

static struct op_contain *allow_op(const char *const *allow) {
  struct op_contain *op = new_op(op_contain_set_allow_run, 3000, allow);
  memset(op->rule.revision, 8, sizeof op->rule.revision);
  memset(op->from_revision, 7, sizeof op->from_revision);
  return op;
}

/* Runs, expects this reply, and whether anything was changed; frees. */
static void expect(struct fixture *fx, struct op_contain *op, bool changed, const char *reply) {
  op_fixture_run(fx, &op->rule.op);
  cr_assert_eq(op->rule.op.status.code, TLX_GRPC_OK, "%s", op->rule.op.status.message);
  cr_assert_eq(op->rule.changed, changed);
  char *text = tlx_buf_take_text(&op->rule.op.reply);
  cr_assert_str_eq(text, reply);
  free(text);
  op_rule_free(&op->rule);
}

static uint64_t generation(struct fixture *fx) {
  struct tlx_txn *txn = fixture_read(fx);
  uint64_t is = tlx_sensor_get(txn, SENSOR_A)->desired_generation;
  fixture_commit(txn);
  return is;
}

/* Runs and expects a refusal that left nothing but its audit record; frees. */
static void expect_refused(struct fixture *fx, struct op_contain *op, enum tlx_grpc_code code,
                           const char *reason, const char *words, const char *action_type) {
  uint64_t before = generation(fx);
  op_fixture_run(fx, &op->rule.op);
  const struct tlx_status *status = &op->rule.op.status;
  cr_assert_eq(status->code, code, "%s", status->message);
  cr_assert_str_eq(status->reason, reason);
  cr_assert(strstr(status->message, words), "%s", status->message);
  op_fixture_expect_audit(fx, action_type, false, reason);
  cr_assert_eq(generation(fx), before);
  op_rule_free(&op->rule);
}

static void change_sensor(struct fixture *fx, uint32_t trust_state, char **hazards,
                          size_t n_hazards) {
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  sensor->trust_state = trust_state;
  sensor->hazards = hazards;
  sensor->n_hazards = n_hazards;
  tlx_sensor_put(txn, sensor);
  fixture_commit(txn);
}

static void start(struct fixture *fx) {
  fixture_init(fx);
  op_fixture_sensor(fx, SENSOR_A, "web-1");
}

static const char *const one[] = {ENTRY_1, NULL}, *const two[] = {ENTRY_2, ENTRY_1, NULL},
                         *const no_entry[] = {NULL};

#define CONTAINED_1                                                                                \
  RULE_1 "||containment of web-1 takes effect on the next heartbeat, within 30 seconds"
#define ALREADY_1 RULE_1 "|already_contained|sensor is already in containment"

Test(op_contain, the_rule_is_stored_with_its_audit) {
  FIXTURE fx;
  start(&fx);
  struct op_contain *op = contain_op(RULE_1, two);
  strcpy(op->sensor, "WEB-1");
  expect(&fx, op, true, CONTAINED_1);
  op_fixture_expect_audit(&fx, "sensor_contained", true,
                          "{\"allow\":[\"" ENTRY_2 "\",\"" ENTRY_1
                          "\"],\"generation\":1,\"node_name\":\"web-1\",\"on_lost_console\":"
                          "\"keep\",\"rule_id\":\"" RULE_1 "\",\"sensor\":\"WEB-1\"}");
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__RuleRecord *record = tlx_rule_find_containment(txn, SENSOR_A, false);
  cr_assert(record);
  cr_assert(tlx_rule_is_containment(record));
  cr_assert_str_eq(record->rule_id, RULE_1);
  cr_assert_str_eq(record->template_, "network-containment");
  cr_assert_str_eq(record->name, "telovix-network-containment");
  cr_assert_str_eq(record->path, "");
  cr_assert_eq(record->desired_mode, OP_RULE_ENFORCE);
  cr_assert_eq(record->n_allow, 2);
  cr_assert_str_eq(record->allow[1], ENTRY_1);
  cr_assert_eq(record->on_lost_console, CONTAIN_KEEP);
  cr_assert_eq(record->policy.len, strlen("policy"));
  cr_assert_eq(record->changed_generation, 1);
  cr_assert_str_eq(record->actor, "bob");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(op_contain, contained_already) {
  FIXTURE fx;
  start(&fx);
  expect(&fx, contain_op(RULE_1, one), true, CONTAINED_1);
  expect(&fx, contain_op(RULE_2, one), false, ALREADY_1);
  struct op_contain *op = contain_op(RULE_2, one);
  op->has_on_lost = true;
  expect(&fx, op, false, ALREADY_1);
  /* Nothing is tightened, so no gate is in the way. */
  change_sensor(&fx, OP_TRUST_REVOKED, NULL, 0);
  expect(&fx, contain_op(RULE_2, one), false, ALREADY_1);
  cr_assert_eq(generation(&fx), 1);
  change_sensor(&fx, OP_TRUST_TRUSTED, NULL, 0);
  expect_refused(&fx, contain_op(RULE_2, two), TLX_GRPC_FAILED_PRECONDITION, "other_allow_list",
                 "telovixctl allow web-1 set", "sensor_contained");
  /* No entry is a list too: nobody is told that all is shut on a host that lets something through.
   */
  expect_refused(&fx, contain_op(RULE_2, NULL), TLX_GRPC_FAILED_PRECONDITION, "other_allow_list",
                 "telovixctl allow web-1 set", "sensor_contained");
  op = contain_op(RULE_2, one);
  op->has_on_lost = true;
  op->on_lost = CONTAIN_RELEASE;
  expect_refused(&fx, op, TLX_GRPC_FAILED_PRECONDITION, "other_on_lost_console",
                 "on_lost_console keep: release it", "sensor_contained");
}

static struct op_contain *again_op(bool force, bool is_out_of_force) {
  struct op_contain *op = contain_op(RULE_1, one);
  op->rule.force = force;
  op->is_out_of_force = is_out_of_force;
  op->has_from = true;
  memset(op->from_revision, 7, sizeof op->from_revision);
  memset(op->rule.revision, 8, sizeof op->rule.revision);
  return op;
}

static void expect_new_revision(struct fixture *fx, uint8_t byte, bool forced) {
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__RuleRecord *record = tlx_rule_find_containment(txn, SENSOR_A, false);
  cr_assert_str_eq(record->rule_id, RULE_1);
  cr_assert_eq(record->revision.data[0], byte);
  cr_assert_eq(record->forced, forced);
  cr_assert_eq(record->applied_wall_ms + record->proved_state, 0, "that was another revision");
  cr_assert_eq(record->n_allow, 1);
  fixture_commit(txn);
}

Test(op_contain, a_force_is_not_dropped) {
  FIXTURE fx;
  start(&fx);
  char tunnel[] = "uplink_tunnel", *hazards[] = {tunnel};
  expect(&fx, contain_op(RULE_1, one), true, CONTAINED_1);
  change_sensor(&fx, OP_TRUST_TRUSTED, hazards, 1);
  /* Of a host that goes on: nothing is asked of it that it was not asked before. */
  expect(&fx, again_op(false, false), false, ALREADY_1);
  expect(&fx, again_op(true, false), true, CONTAINED_1);
  op_fixture_expect_audit(&fx, "sensor_contained", true,
                          "{\"again\":true,\"allow\":[\"" ENTRY_1
                          "\"],\"force\":true,\"generation\":2,\"hazards\":[\"uplink_tunnel\"]");
  expect_new_revision(&fx, 8, true);
  /* It has the force now. */
  expect(&fx, again_op(true, false), false, ALREADY_1);
  cr_assert_eq(generation(&fx), 2);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(op_contain, out_of_force_it_is_ordered_again) {
  FIXTURE fx;
  start(&fx);
  char tunnel[] = "uplink_tunnel", *hazards[] = {tunnel};
  expect(&fx, contain_op(RULE_1, one), true, CONTAINED_1);
  /* Through the gates of the first time. */
  change_sensor(&fx, OP_TRUST_TRUSTED, hazards, 1);
  expect_refused(&fx, again_op(false, true), TLX_GRPC_FAILED_PRECONDITION, "hazard",
                 "uplink_tunnel", "sensor_contained");
  change_sensor(&fx, OP_TRUST_REVOKED, NULL, 0);
  expect_refused(&fx, again_op(true, true), TLX_GRPC_FAILED_PRECONDITION, "sensor_revoked",
                 "re-enroll", "sensor_contained");
  change_sensor(&fx, OP_TRUST_TRUSTED, NULL, 0);
  struct op_contain *op = again_op(false, true);
  op->rule.critical = true;
  strcpy(op->rule.health, "enforcement_lifted");
  expect_refused(&fx, op, TLX_GRPC_FAILED_PRECONDITION, "sensor_critical",
                 "critical (enforcement_lifted)", "sensor_contained");
  op = again_op(false, true);
  memset(op->from_revision, 9, sizeof op->from_revision);
  expect_refused(&fx, op, TLX_GRPC_ABORTED, "rule_changed", "changed meanwhile",
                 "sensor_contained");
  expect(&fx, again_op(false, true), true, CONTAINED_1);
  expect_new_revision(&fx, 8, false);
  cr_assert_eq(generation(&fx), 2);
  /* Released between the making of its policy and now: that policy names a rule that goes. */
  expect(&fx, release_op(), true,
         RULE_1 "||release of web-1 takes effect on the next heartbeat, within 30 seconds");
  expect_refused(&fx, again_op(true, true), TLX_GRPC_ABORTED, "rule_changed", "changed meanwhile",
                 "sensor_contained");
}

Test(op_contain, the_gate) {
  FIXTURE fx;
  start(&fx);
  char console_host[] = "console_host", tunnel[] = "uplink_tunnel",
       *hazards[] = {console_host, tunnel};
  struct op_contain *op = contain_op(RULE_1, one);
  strcpy(op->sensor, "nobody");
  expect_refused(&fx, op, TLX_GRPC_NOT_FOUND, "unknown_sensor", "nobody", "sensor_contained");
  op = contain_op(RULE_1, one);
  op->rule.critical = true;
  strcpy(op->rule.health, "engine_down");
  expect_refused(&fx, op, TLX_GRPC_FAILED_PRECONDITION, "sensor_critical", "critical (engine_down)",
                 "sensor_contained");
  change_sensor(&fx, OP_TRUST_TRUSTED, hazards, 2);
  op = contain_op(RULE_1, one);
  op_fixture_run(&fx, &op->rule.op);
  cr_assert_str_eq(op->rule.op.status.reason, "hazard");
  cr_assert(
      strstr(op->rule.op.status.message,
             "console_host (the Console runs there), uplink_tunnel (its way to the Console is "
             "a tunnel interface)"),
      "%s", op->rule.op.status.message);
  cr_assert_str_eq(op->rule.op.status.metadata[0].key, "hazards");
  cr_assert_str_eq(op->rule.op.status.metadata[0].value, "console_host, uplink_tunnel");
  op_rule_free(&op->rule);
  op_fixture_expect_audit(&fx, "sensor_contained", false,
                          "\"hazards\":[\"console_host\",\"uplink_tunnel\"]");
  change_sensor(&fx, OP_TRUST_REVOKED, hazards, 2);
  op = contain_op(RULE_1, one);
  op->rule.force = true;
  expect_refused(&fx, op, TLX_GRPC_FAILED_PRECONDITION, "sensor_revoked", "web-1",
                 "sensor_contained");
  change_sensor(&fx, OP_TRUST_TRUSTED, hazards, 2);
  op = contain_op(RULE_1, one);
  op->rule.force = op->rule.critical = true;
  strcpy(op->rule.health, "engine_down");
  expect(&fx, op, true, CONTAINED_1);
  op_fixture_expect_audit(&fx, "sensor_contained", true,
                          "\"force\":true,\"generation\":1,\"hazards\":[\"console_host\","
                          "\"uplink_tunnel\"],\"health\":\"engine_down\"");
}

Test(op_contain, release) {
  FIXTURE fx;
  start(&fx);
  expect(&fx, release_op(), false, "-|not_contained|sensor is not in containment");
  expect(&fx, contain_op(RULE_1, one), true, CONTAINED_1);
  expect(&fx, release_op(), true,
         RULE_1 "||release of web-1 takes effect on the next heartbeat, within 30 seconds");
  op_fixture_expect_audit(&fx, "sensor_released", true,
                          "{\"generation\":2,\"node_name\":\"web-1\",\"rule_id\":\"" RULE_1
                          "\",\"sensor\":\"" SENSOR_A "\"}");
  /* The host has not confirmed it: the rule is told, and nothing more is done. */
#define ORDERED_BEFORE(rule, then)                                                                 \
  rule "|release_pending|the release of web-1 was ordered before and its host has not confirmed "  \
       "it" then
  expect(&fx, release_op(), false, ORDERED_BEFORE(RULE_1, " yet"));
  struct op_contain *op = release_op();
  op->rule.silent = true;
  expect(&fx, op, false, ORDERED_BEFORE(RULE_1, ": the sensor is silent"));
  cr_assert_eq(generation(&fx), 2);
  /* Contained again before that: another rule. */
  expect(&fx, contain_op(RULE_2, one), true,
         RULE_2 "||containment of web-1 takes effect on the next heartbeat, within 30 seconds");
  change_sensor(&fx, OP_TRUST_REVOKED, NULL, 0);
  expect(&fx, release_op(), true,
         RULE_2 "||web-1 is revoked, so its release takes effect at re-enrollment; on the host: "
                "telovix-sensor lift");
  /* Its host is cut off as before, however often it is asked. */
  expect(&fx, release_op(), false,
         RULE_2 "|release_pending|web-1 is revoked, so its release takes effect at re-enrollment; "
                "on the host: telovix-sensor lift");
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_null(tlx_rule_find_containment(txn, SENSOR_A, false));
  cr_assert_str_eq(tlx_rule_find_containment(txn, SENSOR_A, true)->rule_id, RULE_2);
  fixture_commit(txn);
  op = release_op();
  strcpy(op->sensor, "nobody");
  expect_refused(&fx, op, TLX_GRPC_NOT_FOUND, "unknown_sensor", "nobody", "sensor_released");
}

Test(op_contain, a_silent_sensor_is_waited_for) {
  FIXTURE fx;
  start(&fx);
  struct op_contain *op = contain_op(RULE_1, one);
  op->rule.silent = true;
  expect(&fx, op, true,
         RULE_1 "||containment of web-1 takes effect on the next heartbeat, and the sensor is "
                "silent: it waits until it is heard again");
  op = release_op();
  op->rule.silent = true;
  expect(&fx, op, true,
         RULE_1 "||release of web-1 takes effect on the next heartbeat, and the sensor is silent: "
                "it waits until it is heard again");
}

Test(op_contain, set_allow) {
  FIXTURE fx;
  start(&fx);
  expect_refused(&fx, allow_op(two), TLX_GRPC_FAILED_PRECONDITION, "not_contained",
                 "telovixctl contain web-1", "containment_allow_changed");
  expect(&fx, contain_op(RULE_1, one), true, CONTAINED_1);
  expect(&fx, allow_op(one), false, RULE_1 "|same_allow_list|the allow list is so already");
  cr_assert_eq(generation(&fx), 1);
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, RULE_1);
  record->applied_wall_ms = 5;
  record->proved_state = 2;
  tlx_rule_observe(txn, record);
  fixture_commit(txn);
  expect(&fx, allow_op(two), true,
         RULE_1
         "||the new allow list of web-1 takes effect on the next heartbeat, within 30 seconds");
  op_fixture_expect_audit(&fx, "containment_allow_changed", true,
                          "{\"allow\":[\"" ENTRY_2 "\",\"" ENTRY_1 "\"],\"from\":[\"" ENTRY_1
                          "\"],\"generation\":2,\"node_name\":\"web-1\",\"rule_id\":\"" RULE_1
                          "\"");
  txn = fixture_read(&fx);
  record = tlx_rule_get(txn, RULE_1);
  cr_assert_eq(record->n_allow, 2);
  cr_assert_eq(record->revision.data[0], 8);
  cr_assert_eq(record->applied_wall_ms + record->proved_state, 0, "that was another revision");
  cr_assert_eq(record->on_lost_console, CONTAIN_KEEP);
  cr_assert_eq(record->changed_wall_ms, FIXTURE_WALL_MS + 3000);
  fixture_commit(txn);
  /* Made from a rule that has changed meanwhile. */
  expect_refused(&fx, allow_op(one), TLX_GRPC_ABORTED, "rule_changed", "changed meanwhile",
                 "containment_allow_changed");
  struct op_contain *op = allow_op(no_entry);
  memset(op->from_revision, 8, sizeof op->from_revision);
  memset(op->rule.revision, 9, sizeof op->rule.revision);
  expect(&fx, op, true,
         RULE_1
         "||the new allow list of web-1 takes effect on the next heartbeat, within 30 seconds");
  /* The heartbeats of a revoked sensor are refused: none brings it the list. */
  change_sensor(&fx, OP_TRUST_REVOKED, NULL, 0);
  op = allow_op(two);
  memset(op->from_revision, 9, sizeof op->from_revision);
  memset(op->rule.revision, 10, sizeof op->rule.revision);
  expect(&fx, op, true,
         RULE_1 "||web-1 is revoked, so the new allow list takes effect at re-enrollment");
  change_sensor(&fx, OP_TRUST_TRUSTED, NULL, 0);
  /* Replacing is not one rule more, but it has to fit. */
  op = allow_op(one);
  memset(op->from_revision, 10, sizeof op->from_revision);
  uint8_t *room = tlx_buf_reserve(&op->rule.policy, DESIRED_SET_MAX);
  memset(room, 'x', DESIRED_SET_MAX);
  op->rule.policy.len = DESIRED_SET_MAX + 1;
  expect_refused(&fx, op, TLX_GRPC_RESOURCE_EXHAUSTED, "too_many_rules", "512 KiB",
                 "containment_allow_changed");
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}
