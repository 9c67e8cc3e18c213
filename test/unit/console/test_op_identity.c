// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/op_audit.h"
#include "console/op_token.h"
#include "fixture_op.h"
#include "pki/cert.h"
#include "pki/key.h"
#include "storage/audit_tbl.h"
#include "storage/sensor_tbl.h"

#define TOKEN "token_1111111111111111"

static void pack_nothing(const struct op *op, struct tlx_buf *buf) {
  tlx_buf_add_text(buf, "the secret");
}

/* A certificate whose serial number begins with |serial|. */
static void make_cert(uint8_t serial, struct tlx_buf *ret_der) {
  static struct tlx_key *key;
  if (!key) cr_assert_eq(tlx_key_new(&key), 0);
  struct tlx_cert_template template = {.profile = TLX_CERT_CLIENT,
                                       .serial = {serial},
                                       .subject_cn = "x",
                                       .issuer_cn = "ca",
                                       .not_before_wall_ms = FIXTURE_WALL_MS,
                                       .not_after_wall_ms = FIXTURE_WALL_MS + 1000000,
                                       .subject_spki = tlx_key_spki(key),
                                       .issuer_spki = tlx_key_spki(key)};
  cr_assert_eq(tlx_cert_issue(&template, key, ret_der), 0);
}

static uint8_t serial_of(const struct tlx_buf *der) {
  struct tlx_cert cert;
  cr_assert_eq(tlx_cert_parse((struct tlx_bytes){der->data, der->len}, &cert), 0);
  return cert.serial[0];
}

/* Kind, cap and the sensor of a re-enrollment. */
static struct op_token_create *token_op(const char *node_name, uint32_t kind, uint32_t max_uses,
                                        const char *sensor, const char *role) {
  struct op_token_create *op = calloc(1, sizeof *op);
  op_fixture_actor(&op->op, FIXTURE_WALL_MS);
  strcpy(op->op.actor.role, role);
  op->op.run = op_token_create_run;
  strcpy(op->token_id, TOKEN);
  op->secret_hash[0] = 9;
  op->kind = kind;
  op->max_uses = max_uses;
  strcpy(op->node_name, node_name);
  strcpy(op->sensor, sensor);
  if (kind != 3) {
    strcpy(op->labels[0].key, "env");
    strcpy(op->labels[0].value, "prod");
    op->n_labels = 1;
  }
  op->expires_wall_ms = FIXTURE_WALL_MS + 900000;
  return op;
}

static void create(struct fixture *fx, uint32_t kind, uint32_t max_uses, const char *sensor,
                   const char *role, const char *reason) {
  struct op_token_create *op = token_op("", kind, max_uses, sensor, role);
  op_fixture_run(fx, &op->op);
  cr_assert_str_eq(op->op.status.reason, reason, "%s", op->op.status.message);
  op_fixture_expect_audit(fx, "enrollment_token_created", !*reason, reason);
  free(op);
}

static void create_token(struct fixture *fx, const char *node_name) {
  struct op_token_create *op = token_op(node_name, 1, 1, "", "operator");
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
  /* Another serial with each try, and never that of the key. */
  static uint8_t next = 0x20;
  op->serial[0] = next++;
  op->not_after_wall_ms = FIXTURE_WALL_MS + 1000000;
  make_cert(op->serial[0], &op->certificate);
  return op;
}

static bool last_replaced;

static uint64_t audit_count(struct fixture *fx) {
  struct tlx_audit_head head;
  struct tlx_txn *txn = fixture_read(fx);
  tlx_audit_head(txn, &head);
  fixture_commit(txn);
  return head.seq;
}

/* Runs |op|; |gets| is the sensor that it must become, NULL for a refusal. |action| NULL: it was
 * given before, which is not on record. Returns the first byte of the serial that was given. */
static uint8_t run_enroll(struct fixture *fx, struct op_enroll *op, const char *reason,
                          const char *gets, const char *action) {
  uint8_t serial = 0;
  uint64_t n = audit_count(fx);
  op_fixture_run(fx, &op->op);
  cr_assert_str_eq(op->op.status.reason, reason, "%s", op->op.status.message);
  if (gets) {
    cr_assert_str_eq(op->sensor_id, gets);
    serial = serial_of(&op->certificate);
    if (action) op_fixture_expect_audit(fx, action, true, "web-1");
    cr_assert_eq(audit_count(fx), n + !!action);
  } else {
    op_fixture_expect_audit(fx, "enrollment_failed", false, reason);
  }
  last_replaced = op->has_replaced;
  op_enroll_free(op);
  cr_assert_eq(fixture_verify(fx, NULL), 0);
  return serial;
}

static uint8_t enroll(struct fixture *fx, const char *sensor_id, uint8_t key, uint64_t after_ms,
                      const char *reason, const char *gets) {
  return run_enroll(fx, enroll_op(sensor_id, key, after_ms), reason, gets, "sensor_enrolled");
}

/* The same key asks again. */
static uint8_t enroll_again(struct fixture *fx, const char *sensor_id, uint8_t key,
                            uint64_t after_ms, const char *gets) {
  return run_enroll(fx, enroll_op(sensor_id, key, after_ms), "", gets, NULL);
}

static uint32_t state_of(struct fixture *fx, uint8_t first) {
  const uint8_t serial[16] = {first};
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__SerialRecord *record = tlx_serial_get(txn, serial);
  uint32_t state = record ? record->state : 0;
  fixture_commit(txn);
  return state;
}

Test(op_identity, one_token_one_sensor) {
  FIXTURE fx;
  fixture_init(&fx);
  enroll(&fx, SENSOR_A, 1, 0, "token_unknown", NULL);
  create_token(&fx, "");
  uint8_t first = enroll(&fx, SENSOR_A, 1, 0, "", SENSOR_A);
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_eq(sensor->trust_state, OP_TRUST_BOOTSTRAP_PENDING);
  cr_assert_eq(sensor->n_labels, 2);
  cr_assert_str_eq(sensor->labels[0]->value, "prod", "the token's labels win");
  uint8_t serial[16] = {first};
  cr_assert_str_eq(tlx_serial_get(txn, serial)->owner, SENSOR_A);
  fixture_commit(txn);
  /* A lost reply: the same key gets the same identity, and no second sensor. */
  cr_assert_eq(enroll_again(&fx, SENSOR_B, 1, 1000, SENSOR_A), first);
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

/* ---- fleet tokens ---- */

Test(op_identity, a_fleet_token_enrolls_up_to_its_cap) {
  FIXTURE fx;
  fixture_init(&fx);
  create(&fx, 2, 2, "", "operator", "role_too_low");
  create(&fx, 2, 2, "", "admin", "");
  uint8_t a = enroll(&fx, SENSOR_A, 1, 0, "", SENSOR_A);
  uint8_t b = enroll(&fx, SENSOR_B, 2, 0, "", SENSOR_B);
  enroll(&fx, "sensor_cccccccccccccccc", 3, 0, "token_used", NULL);
  /* Both keys may ask again within its life, and cost no use. */
  cr_assert_eq(enroll_again(&fx, "sensor_cccccccccccccccc", 1, 800000, SENSOR_A), a);
  cr_assert_eq(enroll_again(&fx, "sensor_cccccccccccccccc", 2, 800000, SENSOR_B), b);
  enroll(&fx, SENSOR_A, 1, 900000, "token_expired", NULL);
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_eq(tlx_token_get(txn, TOKEN)->uses, 2);
  cr_assert_eq(token_status(tlx_token_get(txn, TOKEN), FIXTURE_WALL_MS), 2);
  cr_assert_str_eq(tlx_sensor_get(txn, SENSOR_B)->labels[0]->value, "prod");
  fixture_commit(txn);
}

/* What is given again must be taken: else the answer would be a lie. */
Test(op_identity, what_is_good_no_more_is_not_given_again) {
  FIXTURE fx;
  fixture_init(&fx);
  create_token(&fx, "");
  const uint8_t serial[16] = {enroll(&fx, SENSOR_A, 1, 0, "", SENSOR_A)};
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__SerialRecord *record = tlx_serial_get(txn, serial);
  record->state = TLX_SERIAL_SUPERSEDED;
  tlx_serial_put(txn, serial, record);
  fixture_commit(txn);
  enroll(&fx, SENSOR_B, 1, 0, "token_used", NULL);
  txn = fixture_write(&fx);
  record = tlx_serial_get(txn, serial);
  record->state = TLX_SERIAL_GOOD;
  tlx_serial_put(txn, serial, record);
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  sensor->trust_state = OP_TRUST_REVOKED;
  tlx_sensor_put(txn, sensor);
  fixture_commit(txn);
  enroll(&fx, SENSOR_B, 1, 0, "token_used", NULL);
}

/* ---- re-enrollment ---- */

#define OLD 0x10
#define OLDER 0x11

/* A known sensor with labels, two good certificates, and marks of an unhappy life. */
static void know(struct fixture *fx, uint32_t trust_state, uint32_t serial_state) {
  static uint8_t old[16] = {OLD}, older[16] = {OLDER};
  op_fixture_sensor(fx, SENSOR_A, "Web-1");
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  Telovix__Store__V1__Label label = TELOVIX__STORE__V1__LABEL__INIT, *labels[] = {&label};
  label.key = (char *)"env";
  label.value = (char *)"old";
  sensor->labels = labels;
  sensor->n_labels = 1;
  sensor->trust_state = trust_state;
  sensor->enrolled_wall_ms = 77;
  sensor->disabled = true;
  sensor->serial = (ProtobufCBinaryData){16, old};
  sensor->previous_serial = (ProtobufCBinaryData){16, older};
  sensor->clone_suspected_wall_ms = 5;
  sensor->renewal_error = (char *)"no";
  tlx_sensor_put(txn, sensor);
  Telovix__Store__V1__SerialRecord record = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  record.kind = TLX_SERIAL_OF_SENSOR;
  record.owner = (char *)SENSOR_A;
  record.not_after_wall_ms = FIXTURE_WALL_MS + 1000;
  record.state = serial_state;
  tlx_serial_put(txn, old, &record);
  tlx_serial_put(txn, older, &record);
  fixture_commit(txn);
}

static struct op_enroll *again_op(uint8_t key, uint64_t after_ms) {
  struct op_enroll *op = enroll_op("", key, after_ms);
  /* As the handler: the check names the sensor, and then the certificate is signed. */
  strcpy(op->host_sensor_id, SENSOR_A);
  strcpy(op->sensor_id, SENSOR_A);
  return op;
}

Test(op_identity, a_known_sensor_enrolls_again) {
  FIXTURE fx;
  fixture_init(&fx);
  know(&fx, OP_TRUST_TRUSTED, TLX_SERIAL_GOOD);
  create(&fx, 3, 0, "web-1", "operator", "");
  uint8_t fresh = run_enroll(&fx, again_op(1, 0), "", SENSOR_A, "sensor_reenrolled");
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_eq(sensor->trust_state, OP_TRUST_ROTATED);
  cr_assert_eq(sensor->serial.data[0], fresh);
  cr_assert_eq(sensor->previous_serial.len, 0);
  cr_assert_eq(sensor->clone_suspected_wall_ms, 0);
  cr_assert_str_eq(sensor->renewal_error, "");
  cr_assert_str_eq(sensor->labels[0]->value, "old", "labels are kept");
  cr_assert_eq(sensor->n_labels, 1);
  cr_assert_eq(sensor->enrolled_wall_ms, 77);
  cr_assert(sensor->disabled);
  cr_assert_str_eq(sensor->node_name, "Web-1");
  const uint8_t serial[16] = {fresh};
  cr_assert(tlx_serial_get(txn, serial)->unused);
  fixture_commit(txn);
  cr_assert_eq(state_of(&fx, OLD), TLX_SERIAL_SUPERSEDED, "at once");
  cr_assert_eq(state_of(&fx, OLDER), TLX_SERIAL_SUPERSEDED);
  cr_assert(last_replaced);
  /* The lost reply, a second key. */
  cr_assert_eq(run_enroll(&fx, again_op(1, 0), "", SENSOR_A, NULL), fresh);
  cr_assert_not(last_replaced, "what is open now is the new one's");
  run_enroll(&fx, again_op(2, 0), "token_used", NULL, "");
}

Test(op_identity, a_revoked_sensor_comes_back_by_an_admin) {
  FIXTURE fx;
  fixture_init(&fx);
  know(&fx, OP_TRUST_REVOKED, TLX_SERIAL_REVOKED);
  create(&fx, 3, 0, SENSOR_A, "operator", "role_too_low");
  create(&fx, 3, 0, "nobody", "admin", "unknown_sensor");
  create(&fx, 3, 0, SENSOR_A, "admin", "");
  run_enroll(&fx, again_op(1, 0), "", SENSOR_A, "sensor_reenrolled");
  cr_assert_eq(state_of(&fx, OLD), TLX_SERIAL_REVOKED, "the old ones stay what they are");
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_eq(tlx_sensor_get(txn, SENSOR_A)->trust_state, OP_TRUST_ROTATED);
  fixture_commit(txn);
}

Test(op_identity, a_token_is_for_its_sensor_alone) {
  FIXTURE fx;
  fixture_init(&fx);
  know(&fx, OP_TRUST_TRUSTED, TLX_SERIAL_GOOD);
  create(&fx, 3, 0, SENSOR_A, "operator", "");
  struct op_enroll *op = again_op(1, 0);
  strcpy(op->node_name, "web-2");
  run_enroll(&fx, op, "token_wrong_node", NULL, "");
  op = again_op(1, 0);
  strcpy(op->host_sensor_id, SENSOR_B);
  run_enroll(&fx, op, "token_wrong_sensor", NULL, "");
  /* A host whose disk was replaced knows nothing of its sensor. */
  op = again_op(1, 0);
  op->host_sensor_id[0] = 0;
  run_enroll(&fx, op, "", SENSOR_A, "sensor_reenrolled");
}

Test(op_identity, a_host_never_becomes_another_sensor) {
  FIXTURE fx;
  fixture_init(&fx);
  know(&fx, OP_TRUST_TRUSTED, TLX_SERIAL_GOOD);
  create_token(&fx, "");
  run_enroll(&fx, again_op(1, 0), "token_wrong_sensor", NULL, "");
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_eq(tlx_token_get(txn, TOKEN)->uses, 0, "the token is not spent");
  fixture_commit(txn);
}

Test(op_identity, the_check_names_the_sensor) {
  FIXTURE fx;
  fixture_init(&fx);
  know(&fx, OP_TRUST_TRUSTED, TLX_SERIAL_GOOD);
  create(&fx, 3, 0, SENSOR_A, "operator", "");
  struct op_enroll *op = enroll_op("", 1, 0);
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_eq(op_enroll_check(op, txn), OP_ENROLL_NEW);
  cr_assert_str_eq(op->sensor_id, SENSOR_A);
  fixture_commit(txn);
  op_enroll_free(op);
}

/* Whoever has a key and its token can ask without end: the answer costs no transaction and no
 * record, also for two requests that met in the queue. */
Test(op_identity, a_lost_reply_is_answered_from_what_is_there) {
  FIXTURE fx;
  fixture_init(&fx);
  create_token(&fx, "");
  uint8_t first = enroll(&fx, SENSOR_A, 1, 0, "", SENSOR_A);
  uint64_t n = audit_count(&fx);
  struct op_enroll *op = enroll_op("", 1, 0);
  tlx_buf_done(&op->certificate);
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_eq(op_enroll_check(op, txn), OP_ENROLL_AGAIN);
  fixture_commit(txn);
  cr_assert_str_eq(op->sensor_id, SENSOR_A);
  cr_assert_eq(serial_of(&op->certificate), first);
  op_enroll_free(op);
  cr_assert_eq(enroll_again(&fx, SENSOR_B, 1, 0, SENSOR_A), first);
  cr_assert_eq(audit_count(&fx), n, "nothing happened, nothing is on record");
  op = enroll_op("", 2, 0);
  txn = fixture_read(&fx);
  cr_assert_eq(op_enroll_check(op, txn), OP_ENROLL_REFUSED);
  fixture_commit(txn);
  cr_assert_str_eq(op->op.status.reason, "token_used");
  op_enroll_free(op);
}

/* A fleet token outlives the certificates that it gave. */
Test(op_identity, a_certificate_that_has_ended_is_not_given_again) {
  FIXTURE fx;
  fixture_init(&fx);
  struct op_token_create *token = token_op("", 2, 2, "", "admin");
  token->expires_wall_ms = FIXTURE_WALL_MS + 5000000;
  op_fixture_run(&fx, &token->op);
  cr_assert_eq(token->op.status.code, TLX_GRPC_OK, "%s", token->op.status.message);
  free(token);
  uint8_t first = enroll(&fx, SENSOR_A, 1, 0, "", SENSOR_A);
  cr_assert_eq(enroll_again(&fx, SENSOR_B, 1, 999000, SENSOR_A), first);
  enroll(&fx, SENSOR_B, 1, 1001000, "token_used", NULL);
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
