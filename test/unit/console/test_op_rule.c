// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_rule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/limits.h"
#include "fixture_op.h"
#include "storage/sensor_tbl.h"

#define RULE_1 "rule_1111111111111111"
#define RULE_2 "rule_2222222222222222"

static struct op_rule_block *block_op(const char *sensor, const char *rule_id, const char *path) {
  struct op_rule_block *op = calloc(1, sizeof *op);
  op_fixture_actor(&op->rule.op, FIXTURE_WALL_MS + 1000);
  op->rule.op.run = op_rule_block_run;
  strcpy(op->rule.rule_id, rule_id);
  memset(op->rule.revision, 7, sizeof op->rule.revision);
  tlx_buf_add_text(&op->rule.policy, path);
  snprintf(op->sensor, sizeof op->sensor, "%s", sensor);
  snprintf(op->path, sizeof op->path, "%s", path);
  strcpy(op->name, "telovix-block-binary-x");
  op->mode = OP_RULE_ENFORCE;
  return op;
}

static void block(struct fixture *fx, const char *sensor, const char *rule_id, const char *path) {
  struct op_rule_block *op = block_op(sensor, rule_id, path);
  op_fixture_run(fx, &op->rule.op);
  cr_assert_eq(op->rule.op.status.code, TLX_GRPC_OK, "%s", op->rule.op.status.message);
  op_rule_free(&op->rule);
}

static struct op_rule_set_mode *mode_op(const char *rule_id, uint32_t mode) {
  struct op_rule_set_mode *op = calloc(1, sizeof *op);
  op_fixture_actor(&op->rule.op, FIXTURE_WALL_MS + 2000);
  op->rule.op.run = op_rule_set_mode_run;
  strcpy(op->rule.rule_id, rule_id);
  memset(op->rule.revision, 8, sizeof op->rule.revision);
  memset(op->from_revision, 7, sizeof op->from_revision);
  tlx_buf_add_text(&op->rule.policy, "another");
  op->mode = mode;
  return op;
}

static struct op_rule *delete_op(const char *rule_id) {
  struct op_rule *op = calloc(1, sizeof *op);
  op_fixture_actor(&op->op, FIXTURE_WALL_MS + 3000);
  op->op.run = op_rule_delete_run;
  strcpy(op->rule_id, rule_id);
  return op;
}

static uint64_t generation_of(struct fixture *fx, const char *sensor_id) {
  struct tlx_txn *txn = fixture_read(fx);
  uint64_t generation = tlx_sensor_get(txn, sensor_id)->desired_generation;
  fixture_commit(txn);
  return generation;
}

/* The notice as the packed reply would carry it: it lives in the transaction, so it is packed
 * there. */
static void pack_notice(const struct op *op, struct tlx_buf *buf) {
  tlx_buf_add_text(buf, ((const struct op_rule *)op)->notice);
}

static void expect_notice(struct fixture *fx, struct op_rule *op, const char *notice) {
  op->op.pack = pack_notice;
  op_fixture_run(fx, &op->op);
  cr_assert_eq(op->op.status.code, TLX_GRPC_OK, "%s", op->op.status.message);
  char *text = tlx_buf_take_text(&op->op.reply);
  cr_assert_str_eq(text, notice);
  free(text);
}

Test(op_rule, block_stores_what_was_given) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct op_rule_block *op = block_op("WEB-1", RULE_1, "/usr/bin/nc");
  expect_notice(&fx, &op->rule,
                "/usr/bin/nc is blocked on web-1 from the moment this rule is reported applied; a "
                "same-named file in a container's own file system is another file");
  cr_assert(op->rule.changed);
  cr_assert_str_eq(op->rule.sensor_id, SENSOR_A);
  op_rule_free(&op->rule);
  op_fixture_expect_audit(&fx, "enforcement_rule_created", true,
                          "\"generation\":1,\"mode\":\"enforce\",\"node_name\":\"web-1\","
                          "\"path\":\"/usr/bin/nc\",\"rule_id\":\"" RULE_1 "\"");
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, RULE_1);
  cr_assert_str_eq(record->path, "/usr/bin/nc");
  cr_assert_str_eq(record->template_, "block-binary");
  cr_assert_eq(record->policy.len, strlen("/usr/bin/nc"));
  cr_assert_eq(record->revision.data[0], 7);
  cr_assert_eq(record->created_wall_ms, FIXTURE_WALL_MS + 1000);
  cr_assert_eq(record->changed_generation, 1);
  cr_assert_str_eq(record->actor, "bob");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(op_rule, notices) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct op_rule_block *op = block_op(SENSOR_A, RULE_1, "/a");
  op->rule.silent = true;
  expect_notice(
      &fx, &op->rule,
      "/a is blocked on web-1 from the moment this rule is reported applied; a same-named "
      "file in a container's own file system is another file; the sensor is silent, so the "
      "rule waits for its next heartbeat");
  op_rule_free(&op->rule);
  op = block_op(SENSOR_A, RULE_2, "/b\033[2J");
  op->mode = OP_RULE_OBSERVE;
  expect_notice(
      &fx, &op->rule,
      "executions of /b\\x1B[2J on web-1 are counted and not stopped from the moment this "
      "rule is reported applied");
  op_rule_free(&op->rule);
  struct op_rule_set_mode *mode = mode_op(RULE_1, OP_RULE_ENFORCE);
  expect_notice(&fx, &mode->rule, "the rule is in mode enforce already");
  cr_assert_not(mode->rule.changed);
  op_rule_free(&mode->rule);
  struct op_rule *away = delete_op(RULE_1);
  expect_notice(
      &fx, away,
      "the rule for /a on web-1 is out of force when the host confirms it; it stays listed "
      "as removing until then");
  op_rule_free(away);
  away = delete_op(RULE_2);
  away->silent = true;
  expect_notice(&fx, away,
                "the rule for /b\\x1B[2J on web-1 is out of force when the host confirms it; the "
                "sensor is silent, so that waits for its next heartbeat");
  op_rule_free(away);
}

/* Runs and expects a refusal that left nothing but its audit record. */
static void expect_refused(struct fixture *fx, struct op_rule *op, enum tlx_grpc_code code,
                           const char *reason, const char *words, const char *action_type) {
  uint64_t before = generation_of(fx, SENSOR_A);
  op_fixture_run(fx, &op->op);
  cr_assert_eq(op->op.status.code, code, "%s", op->op.status.message);
  cr_assert_str_eq(op->op.status.reason, reason);
  cr_assert(strstr(op->op.status.message, words), "%s", op->op.status.message);
  op_fixture_expect_audit(fx, action_type, false, reason);
  cr_assert_eq(generation_of(fx, SENSOR_A), before);
  op_rule_free(op);
}

static void revoke_trust(struct fixture *fx, const char *sensor_id) {
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, sensor_id);
  sensor->trust_state = OP_TRUST_REVOKED;
  tlx_sensor_put(txn, sensor);
  fixture_commit(txn);
}

Test(op_rule, block_refusals) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  expect_refused(&fx, &block_op("nobody", RULE_1, "/a")->rule, TLX_GRPC_NOT_FOUND, "unknown_sensor",
                 "nobody", "enforcement_rule_created");
  struct op_rule_block *op = block_op(SENSOR_A, RULE_1, "/a");
  op->rule.critical = true;
  strcpy(op->rule.health, "engine_down, enforcement_tampered");
  expect_refused(&fx, &op->rule, TLX_GRPC_FAILED_PRECONDITION, "sensor_critical",
                 "critical (engine_down, enforcement_tampered)", "enforcement_rule_created");
  block(&fx, SENSOR_A, RULE_1, "/a");
  op = block_op(SENSOR_A, RULE_2, "/a");
  struct op_rule *there = &op->rule;
  op_fixture_run(&fx, &there->op);
  cr_assert_str_eq(there->op.status.reason, "rule_exists");
  cr_assert(strstr(there->op.status.message, RULE_1));
  cr_assert_eq(there->op.status.n_metadata, 1);
  cr_assert_str_eq(there->op.status.metadata[0].key, "rule_id");
  cr_assert_str_eq(there->op.status.metadata[0].value, RULE_1);
  op_rule_free(there);
  revoke_trust(&fx, SENSOR_A);
  op = block_op(SENSOR_A, RULE_2, "/b");
  op->rule.force = true;
  expect_refused(&fx, &op->rule, TLX_GRPC_FAILED_PRECONDITION, "sensor_revoked", "web-1",
                 "enforcement_rule_created");
}

Test(op_rule, force_passes_critical_health_and_is_on_record) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct op_rule_block *op = block_op(SENSOR_A, RULE_1, "/a");
  op->rule.critical = op->rule.force = true;
  strcpy(op->rule.health, "engine_down");
  op_fixture_run(&fx, &op->rule.op);
  cr_assert_eq(op->rule.op.status.code, TLX_GRPC_OK);
  op_rule_free(&op->rule);
  op_fixture_expect_audit(&fx, "enforcement_rule_created", true,
                          "\"force\":true,\"generation\":1,\"health\":\"engine_down\"");
}

Test(op_rule, limits) {
  FIXTURE fx;
  char id[32], path[64];
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  /* Two bytes too many in all. */
  struct op_rule_block *op = block_op(SENSOR_A, RULE_1, "/a");
  tlx_buf_reserve(&op->rule.policy, DESIRED_SET_MAX);
  memset(op->rule.policy.data + 2, 'x', DESIRED_SET_MAX);
  op->rule.policy.len = DESIRED_SET_MAX;
  op_fixture_run(&fx, &op->rule.op);
  cr_assert_eq(op->rule.op.status.code, TLX_GRPC_OK, "exactly as many as may be");
  op_rule_free(&op->rule);
  expect_refused(&fx, &block_op(SENSOR_A, RULE_2, "/b")->rule, TLX_GRPC_RESOURCE_EXHAUSTED,
                 "too_many_rules", "512 KiB", "enforcement_rule_created");
  struct op_rule *away = delete_op(RULE_1);
  op_fixture_run(&fx, &away->op);
  op_rule_free(away);
  for (unsigned i = 0; i < RULES_PER_SENSOR_MAX; i++) {
    snprintf(id, sizeof id, "rule_%016u", i);
    snprintf(path, sizeof path, "/bin/%u", i);
    block(&fx, SENSOR_A, id, path);
  }
  expect_refused(&fx, &block_op(SENSOR_A, RULE_2, "/b")->rule, TLX_GRPC_RESOURCE_EXHAUSTED,
                 "too_many_rules", "256 rules", "enforcement_rule_created");
  /* Rules come and go, and the host confirms nothing: 255 more deletions make 256. */
  for (unsigned i = 1; i < REMOVING_PER_SENSOR_MAX; i++) {
    snprintf(id, sizeof id, "rule_%016u", i);
    away = delete_op(id);
    op_fixture_run(&fx, &away->op);
    cr_assert_eq(away->op.status.code, TLX_GRPC_OK);
    op_rule_free(away);
  }
  expect_refused(&fx, &block_op(SENSOR_A, RULE_2, "/b")->rule, TLX_GRPC_RESOURCE_EXHAUSTED,
                 "too_many_rules", "wait for the host", "enforcement_rule_created");
  away = delete_op("rule_0000000000000000");
  op_fixture_run(&fx, &away->op);
  cr_assert_eq(away->op.status.code, TLX_GRPC_OK, "stepping back is always allowed");
  op_rule_free(away);
}

Test(op_rule, set_mode) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  block(&fx, SENSOR_A, RULE_1, "/a");
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__RuleRecord *record = tlx_rule_get(txn, RULE_1);
  record->applied_wall_ms = 77;
  tlx_rule_observe(txn, record);
  fixture_commit(txn);
  /* Observing is allowed whatever the health. */
  struct op_rule_set_mode *op = mode_op(RULE_1, OP_RULE_OBSERVE);
  op->rule.critical = true;
  op_fixture_run(&fx, &op->rule.op);
  cr_assert_eq(op->rule.op.status.code, TLX_GRPC_OK);
  cr_assert(op->rule.changed);
  op_rule_free(&op->rule);
  op_fixture_expect_audit(&fx, "rule_mode_changed", true,
                          "\"from\":\"enforce\",\"generation\":2,\"mode\":\"observe\"");
  txn = fixture_read(&fx);
  record = tlx_rule_get(txn, RULE_1);
  cr_assert_eq(record->desired_mode, OP_RULE_OBSERVE);
  cr_assert_eq(record->revision.data[0], 8);
  cr_assert_eq(record->policy.len, strlen("another"));
  cr_assert_eq(record->applied_wall_ms, 0, "that was of the former revision");
  cr_assert_eq(record->created_wall_ms, FIXTURE_WALL_MS + 1000);
  cr_assert_eq(record->changed_wall_ms, FIXTURE_WALL_MS + 2000);
  fixture_commit(txn);
  /* Made from a rule that is no more so. */
  expect_refused(&fx, &mode_op(RULE_1, OP_RULE_ENFORCE)->rule, TLX_GRPC_ABORTED, "rule_changed",
                 "try again", "rule_mode_changed");
  op = mode_op(RULE_1, OP_RULE_ENFORCE);
  memset(op->from_revision, 8, sizeof op->from_revision);
  op->rule.critical = true;
  strcpy(op->rule.health, "engine_down");
  expect_refused(&fx, &op->rule, TLX_GRPC_FAILED_PRECONDITION, "sensor_critical", "engine_down",
                 "rule_mode_changed");
  op = mode_op(RULE_1, OP_RULE_ENFORCE);
  memset(op->from_revision, 8, sizeof op->from_revision);
  op->rule.critical = op->rule.force = true;
  op_fixture_run(&fx, &op->rule.op);
  cr_assert_eq(op->rule.op.status.code, TLX_GRPC_OK);
  op_rule_free(&op->rule);
  txn = fixture_read(&fx);
  cr_assert(tlx_rule_get(txn, RULE_1)->forced);
  fixture_commit(txn);
  expect_refused(&fx, &mode_op(RULE_2, OP_RULE_OBSERVE)->rule, TLX_GRPC_NOT_FOUND, "unknown_rule",
                 RULE_2, "rule_mode_changed");
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(op_rule, an_enforcing_revoked_sensor) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct op_rule_block *op = block_op(SENSOR_A, RULE_1, "/a");
  op->mode = OP_RULE_OBSERVE;
  op_fixture_run(&fx, &op->rule.op);
  op_rule_free(&op->rule);
  revoke_trust(&fx, SENSOR_A);
  expect_refused(&fx, &mode_op(RULE_1, OP_RULE_ENFORCE)->rule, TLX_GRPC_FAILED_PRECONDITION,
                 "sensor_revoked", "web-1", "rule_mode_changed");
  struct op_rule *away = delete_op(RULE_1);
  expect_notice(
      &fx, away,
      "the rule for /a on web-1 is out of force when the host confirms it; the sensor is "
      "revoked, so that happens when it is re-enrolled; on the host: telovix-sensor lift");
  op_rule_free(away);
}

Test(op_rule, delete_twice) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  block(&fx, SENSOR_A, RULE_1, "/a");
  struct op_rule *op = delete_op(RULE_1);
  op_fixture_run(&fx, &op->op);
  cr_assert(op->changed);
  op_rule_free(op);
  op_fixture_expect_audit(&fx, "enforcement_rule_deleted", true, "\"path\":\"/a\"");
  uint64_t generation = generation_of(&fx, SENSOR_A);
  cr_assert_eq(generation, 2);
  op = delete_op(RULE_1);
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->op.status.code, TLX_GRPC_OK);
  cr_assert_not(op->changed);
  op_rule_free(op);
  cr_assert_eq(generation_of(&fx, SENSOR_A), generation);
  struct op_rule_set_mode *mode = mode_op(RULE_1, OP_RULE_OBSERVE);
  expect_refused(&fx, &mode->rule, TLX_GRPC_FAILED_PRECONDITION, "rule_removing", RULE_1,
                 "rule_mode_changed");
  expect_refused(&fx, delete_op(RULE_2), TLX_GRPC_NOT_FOUND, "unknown_rule", RULE_2,
                 "enforcement_rule_deleted");
  op_rule_free(NULL);
}

/* A containment has one way in and one way out. */
Test(op_rule, containments_are_left_alone) {
  FIXTURE fx;
  uint8_t revision[16];
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__RuleRecord rule = fixture_rule(RULE_1, SENSOR_A, "", revision);
  rule.template_ = (char *)"network-containment";
  rule.node_name = (char *)"web-1";
  rule.policy = (ProtobufCBinaryData){1, revision};
  tlx_rule_add(txn, &rule);
  fixture_commit(txn);
  expect_refused(&fx, delete_op(RULE_1), TLX_GRPC_FAILED_PRECONDITION, "containment_rule",
                 "`telovixctl release web-1`", "enforcement_rule_deleted");
  expect_refused(&fx, &mode_op(RULE_1, OP_RULE_OBSERVE)->rule, TLX_GRPC_FAILED_PRECONDITION,
                 "containment_rule", "`telovixctl release web-1`", "rule_mode_changed");
  expect_refused(&fx, &mode_op(RULE_1, OP_RULE_ENFORCE)->rule, TLX_GRPC_FAILED_PRECONDITION,
                 "containment_rule", "`telovixctl release web-1`", "rule_mode_changed");
}
