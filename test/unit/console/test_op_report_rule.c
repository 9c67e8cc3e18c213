// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/op_report.h"
#include "fixture_op.h"
#include "storage/rule_tbl.h"
#include "storage/sensor_tbl.h"

/* What sensors report of rules, and when a removed rule is dropped. */

#define RULE_1 "rule_1111111111111111"
#define RULE_2 "rule_2222222222222222"
enum { PENDING = 1, APPLIED, PARTIAL, REFUSED, FAILED, UNKNOWN };

static void add_rule(struct fixture *fx, const char *sensor_id, const char *rule_id,
                     const char *path) {
  uint8_t revision[16];
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__RuleRecord rule = fixture_rule(rule_id, sensor_id, path, revision);
  tlx_rule_add(txn, &rule);
  fixture_commit(txn);
}

static void remove_rule(struct fixture *fx, const char *rule_id) {
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__RuleRecord *rule = tlx_rule_get(txn, rule_id);
  rule->removing = true;
  tlx_rule_change(txn, rule);
  fixture_commit(txn);
}

static void start(struct fixture *fx) {
  fixture_init(fx);
  op_fixture_sensor(fx, SENSOR_A, "web-1");
  op_fixture_sensor(fx, SENSOR_B, "web-2");
  add_rule(fx, SENSOR_A, RULE_1, "/a");
}

/* A heartbeat with one report; its revision is the one of fixture_rule. */
static struct op_report *report_op(const char *sensor, const char *rule_id, uint32_t state) {
  static Telovix__Store__V1__Gap gap = TELOVIX__STORE__V1__GAP__INIT;
  static Telovix__Store__V1__Gap *gaps[] = {&gap};
  struct op_report *op = calloc(1, sizeof *op);
  op->op.run = op_report_run;
  strcpy(op->op.actor.name, sensor);
  op->op.actor.wall_ms = FIXTURE_WALL_MS + 5000;
  strcpy(op->sensor_id, sensor);
  strcpy(op->seen.sensor_id, sensor);
  op->seen.last_seen_wall_ms = op->op.actor.wall_ms;
  memset(op->seen.boot_id, 9, 16);
  memcpy(op->epoch, fixture_facts.epoch, 16);
  tlx_arena_init(&op->arena, 1 << 20);
  if (!state) return op;
  op->rules = tlx_arena_zalloc(&op->arena, sizeof *op->rules);
  op->n_rules = 1;
  strcpy(op->rules->rule_id, rule_id);
  memset(op->rules->revision, 0x11, 16);
  op->rules->state = state;
  op->rules->reason = (char *)"why";
  op->rules->detail = (char *)"because";
  op->rules->backend = (char *)"lsm";
  op->rules->file = (char *)"/a";
  gap.gap = (char *)"copy";
  op->rules->gaps = gaps;
  op->rules->n_gaps = 1;
  return op;
}

/* Runs, expects so many changed rules, frees. */
static void run(struct fixture *fx, struct op_report *op, unsigned n_changed) {
  op_fixture_run(fx, &op->op);
  cr_assert_eq(op->op.status.code, TLX_GRPC_OK);
  cr_assert_eq(op->n_changed_rules, n_changed);
  op_report_free(op);
}

static void expect_state(struct fixture *fx, const char *rule_id, uint32_t state) {
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__RuleRecord *rule = tlx_rule_get(txn, rule_id);
  cr_assert(rule);
  cr_assert_eq(rule->observed_state, state);
  fixture_commit(txn);
}

Test(op_report_rule, stored_when_it_differs) {
  FIXTURE fx;
  start(&fx);
  struct op_report *op = report_op(SENSOR_A, RULE_1, PENDING);
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->n_changed_rules, 1);
  cr_assert_str_eq(op->changed_rules[0], RULE_1);
  op_report_free(op);
  expect_state(&fx, RULE_1, PENDING);
  run(&fx, report_op(SENSOR_A, RULE_1, APPLIED), 1);
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__RuleRecord *rule = tlx_rule_get(txn, RULE_1);
  cr_assert_str_eq(rule->observed_reason, "why");
  cr_assert_str_eq(rule->backend, "lsm");
  cr_assert_str_eq(rule->file, "/a");
  cr_assert_eq(rule->n_gaps, 1);
  cr_assert_str_eq(rule->gaps[0]->gap, "copy");
  cr_assert_eq(rule->observed_boot_id.data[0], 9);
  cr_assert_eq(rule->applied_wall_ms, FIXTURE_WALL_MS + 5000);
  fixture_commit(txn);
  run(&fx, report_op(SENSOR_A, RULE_1, APPLIED), 0);
  /* Each part by itself is news. */
  for (int part = 0; part < 8; part++) {
    op = report_op(SENSOR_A, RULE_1, APPLIED);
    op->rules->hits = part >= 0 ? 1 : 0;
    op->rules->would_hits = part >= 1;
    if (part >= 2) op->rules->reason = (char *)"";
    if (part >= 3) op->rules->detail = (char *)"";
    if (part >= 4) op->rules->backend = (char *)"tracepoint";
    if (part >= 5) op->rules->file = (char *)"";
    if (part >= 6) op->rules->n_gaps = 0;
    if (part >= 7) memset(op->seen.boot_id, 8, 16);
    op->op.actor.wall_ms += 1000;
    run(&fx, op, 1);
  }
  txn = fixture_read(&fx);
  cr_assert_eq(tlx_rule_get(txn, RULE_1)->applied_wall_ms, FIXTURE_WALL_MS + 5000, "the first");
  fixture_commit(txn);
}

Test(op_report_rule, applied_means_applied) {
  FIXTURE fx;
  start(&fx);
  for (uint32_t state = PENDING; state <= FAILED; state++) {
    if (state == APPLIED) continue;
    run(&fx, report_op(SENSOR_A, RULE_1, state), 1);
    struct tlx_txn *txn = fixture_read(&fx);
    cr_assert_eq(tlx_rule_get(txn, RULE_1)->applied_wall_ms, 0, "%u", state);
    fixture_commit(txn);
  }
}

Test(op_report_rule, what_is_no_news) {
  FIXTURE fx;
  start(&fx);
  struct op_report *op = report_op(SENSOR_A, RULE_1, APPLIED);
  op->rules->revision[3] ^= 1;
  run(&fx, op, 0);
  expect_state(&fx, RULE_1, 0);
  run(&fx, report_op(SENSOR_A, RULE_2, APPLIED), 0);
  op = report_op(SENSOR_B, RULE_1, APPLIED);
  op_fixture_run(&fx, &op->op);
  cr_assert_str_eq(op->rejected[REPORT_FOREIGN_RULE], RULE_1);
  cr_assert_str_eq(report_reject_word(REPORT_FOREIGN_RULE), "foreign_rule");
  op_report_free(op);
  expect_state(&fx, RULE_1, 0);
  remove_rule(&fx, RULE_1);
  run(&fx, report_op(SENSOR_A, RULE_1, APPLIED), 0);
  expect_state(&fx, RULE_1, 0);
}

/* ---- containments ---- */

static void add_containment(struct fixture *fx, const char *rule_id) {
  uint8_t revision[16];
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__RuleRecord rule = fixture_rule(rule_id, SENSOR_A, "", revision);
  rule.template_ = (char *)"network-containment";
  rule.node_name = (char *)"web-1";
  rule.policy = (ProtobufCBinaryData){1, revision};
  tlx_rule_add(txn, &rule);
  fixture_commit(txn);
}

static uint64_t audit_seq(struct fixture *fx) {
  struct tlx_audit_head head;
  struct tlx_txn *txn = fixture_read(fx);
  tlx_audit_head(txn, &head);
  fixture_commit(txn);
  return head.seq;
}

/* Drift and repair may come as often as they like: two proofs at most are put on record. */
Test(op_report_rule, a_proof_is_audited_once) {
  FIXTURE fx;
  start(&fx);
  add_containment(&fx, RULE_2);
  uint64_t seq = audit_seq(&fx);
  run(&fx, report_op(SENSOR_A, RULE_2, PENDING), 1);
  run(&fx, report_op(SENSOR_A, RULE_2, FAILED), 1);
  run(&fx, report_op(SENSOR_A, RULE_2, UNKNOWN), 1);
  cr_assert_eq(audit_seq(&fx), seq);
  struct op_report *op = report_op(SENSOR_A, RULE_2, PARTIAL);
  op->has_facts = true;
  strcpy(op->scope_cgroup, "/trial");
  run(&fx, op, 1);
  op_fixture_expect_audit(&fx, "containment_verified", true,
                          "{\"backend\":\"lsm\",\"gaps\":[\"copy\"],\"node_name\":\"web-1\","
                          "\"rule_id\":\"" RULE_2
                          "\",\"scope_cgroup\":\"/trial\",\"state\":\"partial\"}");
  run(&fx, report_op(SENSOR_A, RULE_2, UNKNOWN), 1);
  run(&fx, report_op(SENSOR_A, RULE_2, PARTIAL), 1);
  cr_assert_eq(audit_seq(&fx), seq + 1);
  run(&fx, report_op(SENSOR_A, RULE_2, APPLIED), 1);
  op_fixture_expect_audit(&fx, "containment_verified", true, "\"state\":\"contained\"");
  run(&fx, report_op(SENSOR_A, RULE_2, PARTIAL), 1);
  run(&fx, report_op(SENSOR_A, RULE_2, UNKNOWN), 1);
  run(&fx, report_op(SENSOR_A, RULE_2, APPLIED), 1);
  cr_assert_eq(audit_seq(&fx), seq + 2);
  expect_state(&fx, RULE_2, APPLIED);
}

Test(op_report_rule, only_a_containment_can_be_unknown) {
  FIXTURE fx;
  start(&fx);
  run(&fx, report_op(SENSOR_A, RULE_1, APPLIED), 1);
  struct op_report *op = report_op(SENSOR_A, RULE_1, UNKNOWN);
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->n_changed_rules, 0);
  cr_assert_str_eq(op->rejected[REPORT_IMPOSSIBLE_STATE], RULE_1);
  op_report_free(op);
  expect_state(&fx, RULE_1, APPLIED);
}

Test(op_report_rule, hazards_are_stored) {
  FIXTURE fx;
  start(&fx);
  char word[] = "network_root", *words[] = {word};
  struct op_report *op = report_op(SENSOR_A, "", 0);
  op->has_hazards = true;
  op->hazards = words;
  op->n_hazards = 1;
  run(&fx, op, 0);
  run(&fx, report_op(SENSOR_A, RULE_1, APPLIED), 1);
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_eq(sensor->n_hazards, 1);
  cr_assert_str_eq(sensor->hazards[0], "network_root");
  fixture_commit(txn);
  op = report_op(SENSOR_A, "", 0);
  op->has_hazards = true;
  run(&fx, op, 0);
  txn = fixture_read(&fx);
  cr_assert_eq(tlx_sensor_get(txn, SENSOR_A)->n_hazards, 0);
  fixture_commit(txn);
}

/* ---- removal ---- */

/* A heartbeat that says what is in force; |right_digest|: the one that is stored. */
static struct op_report *in_force(struct fixture *fx, uint64_t generation, bool right_digest) {
  struct op_report *op = report_op(SENSOR_A, "", 0);
  struct tlx_txn *txn = fixture_read(fx);
  op->has_in_force = true;
  memcpy(op->in_force.epoch, op->epoch, 16);
  op->in_force.generation = generation;
  if (right_digest)
    memcpy(op->in_force.digest, tlx_sensor_get(txn, SENSOR_A)->desired_digest.data, 32);
  fixture_commit(txn);
  return op;
}

static unsigned count_rules(struct fixture *fx) {
  struct tlx_txn *txn = fixture_read(fx);
  unsigned n = tlx_rule_count(txn, SENSOR_A);
  fixture_commit(txn);
  return n;
}

Test(op_report_rule, dropped_when_the_host_has_a_set_without_it) {
  FIXTURE fx;
  start(&fx);
  add_rule(&fx, SENSOR_A, RULE_2, "/b");
  remove_rule(&fx, RULE_1); /* generation 3 */
  run(&fx, in_force(&fx, 2, true), 0);
  cr_assert_eq(count_rules(&fx), 2, "the set before the deletion");
  struct op_report *op = in_force(&fx, 3, true);
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->n_changed_rules, 1);
  cr_assert_str_eq(op->changed_rules[0], RULE_1);
  op_report_free(op);
  cr_assert_eq(count_rules(&fx), 1);
  /* A later set is without it too. */
  remove_rule(&fx, RULE_2);                               /* 4 */
  add_rule(&fx, SENSOR_A, RULE_1, "/a");                  /* 5 */
  add_rule(&fx, SENSOR_A, "rule_3333333333333333", "/c"); /* 6 */
  run(&fx, in_force(&fx, 5, false), 1);
  cr_assert_eq(count_rules(&fx), 2);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(op_report_rule, a_set_of_another_history_says_nothing) {
  FIXTURE fx;
  start(&fx);
  remove_rule(&fx, RULE_1); /* 2 */
  struct op_report *op = in_force(&fx, 2, true);
  op->in_force.epoch[0] ^= 1;
  run(&fx, op, 0);
  run(&fx, in_force(&fx, 2, false), 0);
  run(&fx, in_force(&fx, 3, true), 0);
  op = in_force(&fx, 2, true);
  op->has_in_force = false;
  run(&fx, op, 0);
  cr_assert_eq(count_rules(&fx), 1);
  run(&fx, in_force(&fx, 2, true), 1);
  cr_assert_eq(count_rules(&fx), 0);
}
