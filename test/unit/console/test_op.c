// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/limits.h"
#include "console/op_audit.h"
#include "console/op_identity.h"
#include "console/op_kill.h"
#include "console/op_operator.h"
#include "console/op_token.h"
#include "fixture_op.h"
#include "pki/digest.h"
#include "storage/meta_tbl.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/token_tbl.h"

/* What holds for every op: a change and its record are one, a refusal is its record and nothing
 * else, a request id answers once. */

#define TOKEN "token_1111111111111111"

/* Everything in the store but the audit log. */
static void digest_store(struct fixture *fx, uint8_t digest[32]) {
  struct tlx_sha256 sha;
  struct tlx_txn *txn = fixture_read(fx);
  tlx_sha256_init(&sha);
  for (unsigned table = 0; table < TLX_TABLE_COUNT; table++) {
    struct tlx_cursor cursor;
    if (table == TLX_TABLE_AUDIT) continue;
    tlx_cursor_open(&cursor, txn, table);
    for (bool there = tlx_cursor_first(&cursor); there; there = tlx_cursor_next(&cursor)) {
      tlx_sha256_add(&sha, &table, sizeof table);
      tlx_sha256_add(&sha, cursor.value.data, cursor.value.len);
    }
    tlx_cursor_close(&cursor);
  }
  tlx_sha256_final(&sha, digest);
  fixture_commit(txn);
}

static uint64_t n_audit(struct fixture *fx) {
  struct tlx_audit_head head;
  struct tlx_txn *txn = fixture_read(fx);
  tlx_audit_head(txn, &head);
  fixture_commit(txn);
  return head.seq;
}

static void pack_id(const struct op *op, struct tlx_buf *buf) {
  tlx_buf_add_text(buf, ((const struct op_kill_queue *)op)->order_id);
}

static struct op_kill_queue kill_op(const char *sensor, const char *order_id) {
  struct op_kill_queue op = {.pid = 4242, .life_ms = 300000};
  op_fixture_actor(&op.op, FIXTURE_WALL_MS);
  op.op.run = op_kill_queue_run;
  op.op.pack = pack_id;
  strcpy(op.sensor, sensor);
  strcpy(op.order_id, order_id);
  return op;
}

/* ---- a change and its record are one ---- */

Test(op, all_or_nothing) {
  FIXTURE fx;
  uint8_t before[32], after[32];
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  digest_store(&fx, before);
  struct op_kill_queue op = kill_op(SENSOR_A, ORDER_1);
  strcpy(op.op.actor.request_id, "r-1");
  struct tlx_txn *txn = fixture_write(&fx);
  op_execute(&op.op, txn);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK);
  cr_assert_eq(op.op.head.seq, 1);
  tlx_txn_fail(txn, -ENOSPC);
  fixture_commit_fails(txn, -ENOSPC);
  digest_store(&fx, after);
  cr_assert_arr_eq(before, after, 32, "no order, no index, no remembered request");
  cr_assert_eq(n_audit(&fx), 0);
  /* The same op once more, as the writer does it. */
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK);
  cr_assert_not(op.op.replayed);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_1), TLX_ORDER_QUEUED);
  cr_assert_eq(n_audit(&fx), 1);
  op_done(&op.op);
}

/* ---- refusals ---- */

static void expect_refused(struct fixture *fx, struct op *op, const char *reason,
                           const char *action) {
  uint8_t before[32], after[32];
  uint64_t seq = n_audit(fx);
  digest_store(fx, before);
  op_fixture_run(fx, op);
  cr_assert_str_eq(op->status.reason, reason);
  digest_store(fx, after);
  cr_assert_arr_eq(before, after, 32, "%s wrote more than its record", reason);
  cr_assert_eq(n_audit(fx), seq + 1, "%s", reason);
  cr_assert_eq(op->head.seq, seq + 1);
  cr_assert_eq(op->reply.len, 0);
  op_fixture_expect_audit(fx, action, false, reason);
  op_done(op);
}

Test(op, a_refusal_is_its_record_and_nothing_else) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct op_kill_queue kill = kill_op("nobody", ORDER_1);
  strcpy(kill.op.actor.request_id, "r-1");
  expect_refused(&fx, &kill.op, "unknown_sensor", "process_kill_queued");
  struct op_kill_cancel cancel = {.order_id = ORDER_2};
  op_fixture_actor(&cancel.op, FIXTURE_WALL_MS);
  cancel.op.run = op_kill_cancel_run;
  expect_refused(&fx, &cancel.op, "unknown_order", "process_kill_cancelled");
  struct op_token_revoke revoke = {.token_id = TOKEN};
  op_fixture_actor(&revoke.op, FIXTURE_WALL_MS);
  revoke.op.run = op_token_revoke_run;
  expect_refused(&fx, &revoke.op, "unknown_token", "enrollment_token_revoked");
  struct op_operator_create create = {.name = "alice", .role = 3, .serial = {5}};
  op_fixture_actor(&create.op, FIXTURE_WALL_MS);
  create.op.run = op_operator_create_run;
  op_fixture_run(&fx, &create.op);
  create.serial[0] = 6;
  expect_refused(&fx, &create.op, "operator_exists", "operator_created");
  struct op_enroll *enroll = calloc(1, sizeof *enroll);
  enroll->op.run = op_enroll_run;
  enroll->op.actor.wall_ms = FIXTURE_WALL_MS;
  strcpy(enroll->sensor_id, SENSOR_B);
  strcpy(enroll->node_name, "web-2");
  expect_refused(&fx, &enroll->op, "token_unknown", "enrollment_failed");
  op_enroll_free(enroll);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

/* A refused request may be right later: its id is not used up. */
Test(op, a_refused_request_is_not_remembered) {
  FIXTURE fx;
  fixture_init(&fx);
  struct op_kill_queue op = kill_op("web-1", ORDER_1);
  strcpy(op.op.actor.request_id, "r-1");
  expect_refused(&fx, &op.op, "unknown_sensor", "process_kill_queued");
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK, "%s", op.op.status.message);
  cr_assert_not(op.op.replayed);
  op_done(&op.op);
}

/* ---- request ids ---- */

static struct op_kill_queue retry(struct fixture *fx, const char *order_id, const char *request_id,
                                  uint64_t after_ms) {
  struct op_kill_queue op = kill_op(SENSOR_A, order_id);
  strcpy(op.op.actor.request_id, request_id);
  op.op.actor.wall_ms += after_ms;
  op_fixture_run(fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK, "%s", op.op.status.message);
  op_done(&op.op);
  return op;
}

Test(op, a_request_id_lives_for_a_day) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  cr_assert_not(retry(&fx, ORDER_1, "r-1", 0).op.replayed);
  struct op_kill_queue again = retry(&fx, ORDER_2, "r-1", TLX_REQUEST_LIFE_MS - 1);
  cr_assert(again.op.replayed);
  cr_assert_eq(again.op.head.seq, 1, "an answer that is given again is no new event");
  cr_assert_not(retry(&fx, ORDER_2, "r-1", TLX_REQUEST_LIFE_MS).op.replayed);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_2), TLX_ORDER_QUEUED);
}

/* Without an id, without a name, without a reply: nothing is remembered, and each run acts. */
Test(op, no_id_no_memory) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct op_kill_queue nameless = kill_op(SENSOR_A, ORDER_1), plain = kill_op(SENSOR_A, ORDER_2),
                       silent = kill_op(SENSOR_A, "kill_3333333333333333");
  *nameless.op.actor.name = '\0';
  strcpy(nameless.op.actor.request_id, "r-1");
  strcpy(silent.op.actor.request_id, "r-1");
  silent.op.pack = NULL;
  op_fixture_run(&fx, &nameless.op);
  op_fixture_run(&fx, &plain.op);
  op_fixture_run(&fx, &silent.op);
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_REQUEST), 0);
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_ORDER), 3);
  fixture_commit(txn);
  op_done(&nameless.op);
  op_done(&plain.op);
  op_done(&silent.op);
}

/* ---- the sensor that is meant ---- */

Test(op, ambiguous_names_are_answered_with_ids) {
  FIXTURE fx;
  char id[32];
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  for (unsigned i = 0; i < 10; i++) {
    snprintf(id, sizeof id, "sensor_%016u", i);
    Telovix__Store__V1__SensorRecord record = fixture_sensor(id, i % 2 ? "TWIN" : "twin");
    tlx_sensor_put(txn, &record);
  }
  fixture_commit(txn);
  struct op_kill_queue op = kill_op("Twin", ORDER_1);
  op_fixture_run(&fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, "ambiguous_name");
  cr_assert(strstr(op.op.status.message, "10 sensors"), "%s", op.op.status.message);
  cr_assert(strstr(op.op.status.message, "sensor_0000000000000000"), "%s", op.op.status.message);
  cr_assert(strstr(op.op.status.message, " and 2 more"), "%s", op.op.status.message);
}

/* ---- limits ---- */

static Telovix__Store__V1__TokenRecord token_record(char *id, size_t size, unsigned i,
                                                    uint8_t hash[32]) {
  snprintf(id, size, "token_%016u", i);
  Telovix__Store__V1__TokenRecord record = fixture_token(id, 0, hash);
  memcpy(hash, &i, sizeof i);
  record.expires_wall_ms = FIXTURE_WALL_MS + 1000;
  return record;
}

static struct op_token_create token_op(uint64_t after_ms) {
  struct op_token_create op = {.token_id = TOKEN, .secret_hash = {[31] = 0xff}, .kind = 1};
  op_fixture_actor(&op.op, FIXTURE_WALL_MS + after_ms);
  op.op.run = op_token_create_run;
  op.expires_wall_ms = op.op.actor.wall_ms + 1000;
  return op;
}

/* Tokens in use are never forgotten for a new one; the oldest that can no longer be used is. */
Test(op, tokens_are_bounded) {
  FIXTURE fx;
  char id[32];
  uint8_t hash[32];
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  for (unsigned i = 0; i < TOKENS_MAX; i++) {
    Telovix__Store__V1__TokenRecord record = token_record(id, sizeof id, i, hash);
    if (i == 7 || i == 9) record.revoked = true;
    tlx_token_add(txn, &record);
    tlx_txn_forget(txn);
  }
  fixture_commit(txn);
  struct op_token_create op = token_op(0);
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK, "%s", op.op.status.message);
  txn = fixture_read(&fx);
  cr_assert_null(tlx_token_get(txn, "token_0000000000000007"), "the oldest that is no use");
  cr_assert(tlx_token_get(txn, "token_0000000000000009"));
  cr_assert(tlx_token_get(txn, "token_0000000000000000"));
  cr_assert_eq(tlx_token_count(txn), TOKENS_MAX);
  fixture_commit(txn);
  op = token_op(0);
  strcpy(op.token_id, "token_2222222222222222");
  op.secret_hash[30] = 1;
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK);
  op = token_op(0);
  strcpy(op.token_id, "token_3333333333333333");
  op.secret_hash[30] = 2;
  expect_refused(&fx, &op.op, "too_many_tokens", "enrollment_token_created");
}

/* ---- records that stand for themselves ---- */

Test(op, last_seen_times_are_written_behind) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct tlx_sensor_seen seen[] = {{.sensor_id = SENSOR_B, .last_seen_wall_ms = 1},
                                   {.sensor_id = SENSOR_A,
                                    .last_seen_wall_ms = FIXTURE_WALL_MS + 5000,
                                    .boot_ns = 77,
                                    .boot_id = {9}}};
  struct op_checkpoint op = {.list = seen, .n = 2};
  op.op.run = op_checkpoint_run;
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(n_audit(&fx), 0, "this is no event");
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_eq(record->last_seen_wall_ms, FIXTURE_WALL_MS + 5000);
  cr_assert_eq(record->boot_ns, 77);
  cr_assert_eq(record->boot_id.data[0], 9);
  cr_assert_null(tlx_sensor_get(txn, SENSOR_B), "who is gone stays gone");
  fixture_commit(txn);
}
