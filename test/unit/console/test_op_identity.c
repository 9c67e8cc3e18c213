// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/op_audit.h"
#include "console/op_token.h"
#include "fixture_op.h"
#include "storage/sensor_tbl.h"

#define TOKEN "token_1111111111111111"

static void pack_nothing(const struct op *op, struct tlx_buf *buf) {
  tlx_buf_add_text(buf, "the secret");
}

static void create_token(struct fixture *fx, const char *node_name) {
  struct op_token_create *op = calloc(1, sizeof *op);
  op_fixture_actor(&op->op, FIXTURE_WALL_MS);
  op->op.run = op_token_create_run;
  strcpy(op->token_id, TOKEN);
  op->secret_hash[0] = 9;
  op->kind = 1;
  strcpy(op->node_name, node_name);
  strcpy(op->labels[0].key, "env");
  strcpy(op->labels[0].value, "prod");
  op->n_labels = 1;
  op->expires_wall_ms = FIXTURE_WALL_MS + 900000;
  op_fixture_run(fx, &op->op);
  cr_assert_eq(op->op.status.code, TLX_GRPC_OK, "%s", op->op.status.message);
  free(op);
}

static struct op_enroll *enroll_op(const char *sensor_id, uint8_t key, uint64_t after_ms) {
  struct op_enroll *op = calloc(1, sizeof *op);
  op->op.run = op_enroll_run;
  op->op.actor.wall_ms = FIXTURE_WALL_MS + after_ms;
  op->token_hash[0] = 9;
  op->key_hash[0] = key;
  strcpy(op->sensor_id, sensor_id);
  strcpy(op->node_name, "web-1");
  strcpy(op->labels[0].key, "env");
  strcpy(op->labels[0].value, "mine");
  strcpy(op->labels[1].key, "rack");
  strcpy(op->labels[1].value, "7");
  op->n_labels = 2;
  op->serial[0] = key;
  op->not_after_wall_ms = FIXTURE_WALL_MS + 1000000;
  tlx_buf_add_text(&op->certificate, sensor_id);
  return op;
}

static void enroll(struct fixture *fx, const char *sensor_id, uint8_t key, uint64_t after_ms,
                   const char *reason, const char *gets) {
  struct op_enroll *op = enroll_op(sensor_id, key, after_ms);
  op_fixture_run(fx, &op->op);
  cr_assert_str_eq(op->op.status.reason, reason, "%s", op->op.status.message);
  if (gets) {
    cr_assert_str_eq(op->sensor_id, gets);
    cr_assert_eq(op->certificate.len, strlen(gets));
    cr_assert_arr_eq(op->certificate.data, gets, strlen(gets));
    op_fixture_expect_audit(fx, "sensor_enrolled", true, "web-1");
  } else {
    op_fixture_expect_audit(fx, "enrollment_failed", false, reason);
  }
  op_enroll_free(op);
}

Test(op_identity, one_token_one_sensor) {
  FIXTURE fx;
  fixture_init(&fx);
  enroll(&fx, SENSOR_A, 1, 0, "token_unknown", NULL);
  create_token(&fx, "");
  enroll(&fx, SENSOR_A, 1, 0, "", SENSOR_A);
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_eq(sensor->trust_state, OP_TRUST_BOOTSTRAP_PENDING);
  cr_assert_eq(sensor->n_labels, 2);
  cr_assert_str_eq(sensor->labels[0]->value, "prod", "the token's labels win");
  uint8_t serial[16] = {1};
  cr_assert_str_eq(tlx_serial_get(txn, serial)->owner, SENSOR_A);
  fixture_commit(txn);
  /* A lost reply: the same key gets the same identity, and no second sensor. */
  enroll(&fx, SENSOR_B, 1, 1000, "", SENSOR_A);
  txn = fixture_read(&fx);
  cr_assert_null(tlx_sensor_get(txn, SENSOR_B));
  fixture_commit(txn);
  enroll(&fx, SENSOR_B, 2, 1000, "token_used", NULL);
  enroll(&fx, SENSOR_B, 1, 900000, "token_expired", NULL);
}

Test(op_identity, an_op_may_run_twice) {
  FIXTURE fx;
  fixture_init(&fx);
  create_token(&fx, "");
  enroll(&fx, SENSOR_A, 1, 0, "", SENSOR_A);
  struct op_enroll *op = enroll_op(SENSOR_B, 1, 0);
  struct tlx_txn *txn = fixture_write(&fx);
  op_execute(&op->op, txn);
  op_execute(&op->op, txn);
  fixture_commit(txn);
  cr_assert_str_eq(op->sensor_id, SENSOR_A);
  op_enroll_free(op);
}

Test(op_identity, bound_to_a_node) {
  FIXTURE fx;
  fixture_init(&fx);
  create_token(&fx, "WEB-1");
  struct op_enroll *op = enroll_op(SENSOR_A, 1, 0);
  strcpy(op->node_name, "web-2");
  op_fixture_run(&fx, &op->op);
  cr_assert_str_eq(op->op.status.reason, "token_wrong_node");
  op_enroll_free(op);
  enroll(&fx, SENSOR_A, 1, 0, "", SENSOR_A);
}

Test(op_token, revoke_and_status) {
  FIXTURE fx;
  fixture_init(&fx);
  create_token(&fx, "");
  struct op_token_revoke op = {.token_id = TOKEN};
  op.op.run = op_token_revoke_run;
  op_fixture_actor(&op.op, FIXTURE_WALL_MS);
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK);
  op_fixture_expect_audit(&fx, "enrollment_token_revoked", true, TOKEN);
  op_fixture_run(&fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, "token_not_pending");
  enroll(&fx, SENSOR_A, 1, 0, "token_revoked", NULL);
  strcpy(op.token_id, "token_2222222222222222");
  op_fixture_run(&fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, "unknown_token");
  Telovix__Store__V1__TokenRecord token = TELOVIX__STORE__V1__TOKEN_RECORD__INIT;
  token.max_uses = 1;
  token.expires_wall_ms = 100;
  cr_assert_eq(token_status(&token, 99), 1);
  cr_assert_eq(token_status(&token, 100), 3);
  token.revoked = true;
  cr_assert_eq(token_status(&token, 99), 4);
  token.uses = 1;
  cr_assert_eq(token_status(&token, 99), 2);
}

Test(op_token, the_secret_is_shown_once) {
  FIXTURE fx;
  fixture_init(&fx);
  struct op_token_create op = {
      .token_id = TOKEN, .secret_hash = {9}, .kind = 1, .expires_wall_ms = FIXTURE_WALL_MS + 1000};
  op_fixture_actor(&op.op, FIXTURE_WALL_MS);
  strcpy(op.op.actor.request_id, "r-1");
  op.op.run = op_token_create_run;
  op.op.pack = pack_nothing;
  op_fixture_run(&fx, &op.op);
  cr_assert_arr_eq(op.op.reply.data, "the secret", 10);
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_ALREADY_EXISTS);
  cr_assert_str_eq(op.op.status.reason, "token_already_created");
  cr_assert(strstr(op.op.status.message, TOKEN));
  cr_assert_eq(op.op.reply.len, 0);
  op_done(&op.op);
}

Test(op_audit, stands_for_itself) {
  FIXTURE fx;
  fixture_init(&fx);
  struct op_audit_only op = {
      .action_type = "console_started", .success = true, .detail = "{\"version\":\"1\"}"};
  op.op.run = op_audit_only_run;
  op.op.actor.wall_ms = FIXTURE_WALL_MS;
  strcpy(op.op.actor.user_agent, "bad \xff bytes");
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.head.seq, 1);
  op_fixture_expect_audit(&fx, "console_started", true, "version");
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}
