// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_renew.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/limits.h"
#include "console/op_report.h"
#include "fixture_op.h"
#include "storage/audit_tbl.h"
#include "storage/sensor_tbl.h"

#define CURRENT 0x10
/* The current certificate is two hours old. */
#define NOW (FIXTURE_WALL_MS + 2 * SENSOR_RENEW_INTERVAL_MS)

static void put_serial(struct tlx_txn *txn, uint8_t first, const char *owner) {
  const uint8_t serial[16] = {first};
  Telovix__Store__V1__SerialRecord record = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  record.kind = TLX_SERIAL_OF_SENSOR;
  record.owner = (char *)owner;
  record.not_after_wall_ms = FIXTURE_WALL_MS + SENSOR_CERT_LIFE_MS;
  record.state = TLX_SERIAL_GOOD;
  tlx_serial_put(txn, serial, &record);
}

static void furnish(struct fixture *fx) {
  static uint8_t serials[2][16] = {{CURRENT}, {CURRENT + 1}};
  fixture_init(fx);
  op_fixture_sensor(fx, SENSOR_A, "web-1");
  op_fixture_sensor(fx, SENSOR_B, "web-2");
  struct tlx_txn *txn = fixture_write(fx);
  for (unsigned i = 0; i < 2; i++) {
    const char *id = i ? SENSOR_B : SENSOR_A;
    Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, id);
    sensor->serial = (ProtobufCBinaryData){16, serials[i]};
    sensor->cert_not_before_wall_ms = FIXTURE_WALL_MS - NOT_BEFORE_SLACK_MS;
    sensor->cert_not_after_wall_ms = FIXTURE_WALL_MS + SENSOR_CERT_LIFE_MS;
    sensor->renewal_error = (char *)"no";
    tlx_sensor_put(txn, sensor);
    put_serial(txn, CURRENT + (uint8_t)i, id);
  }
  fixture_commit(txn);
}

/* A renewal of SENSOR_A with certificate |own|, for |key|, that would get |serial|. */
static struct op_renew *renew_op(uint8_t own, uint8_t key, uint8_t serial, uint64_t wall_ms) {
  struct op_renew *op = calloc(1, sizeof *op);
  op->op.run = op_renew_run;
  op->op.actor.wall_ms = wall_ms;
  strcpy(op->op.actor.name, SENSOR_A);
  strcpy(op->op.actor.role, "sensor");
  strcpy(op->sensor_id, SENSOR_A);
  op->own_serial[0] = own;
  op->key_hash[0] = key;
  op->serial[0] = serial;
  op->not_before_wall_ms = wall_ms - NOT_BEFORE_SLACK_MS;
  op->not_after_wall_ms = wall_ms + SENSOR_CERT_LIFE_MS;
  tlx_buf_add(&op->certificate, &serial, 1);
  return op;
}

/* Expects the certificate |gets|, or a refusal with |reason| for 0. */
static void renew(struct fixture *fx, uint8_t own, uint8_t key, uint8_t serial, uint64_t wall_ms,
                  uint8_t gets, const char *reason) {
  struct op_renew *op = renew_op(own, key, serial, wall_ms);
  op_fixture_run(fx, &op->op);
  cr_assert_str_eq(op->op.status.reason, reason, "%s", op->op.status.message);
  if (gets) {
    cr_assert_eq(op->certificate.len, 1);
    cr_assert_eq(op->certificate.data[0], gets);
  } else {
    op_fixture_expect_audit(fx, "sensor_certificate_renewed", false, reason);
  }
  op_renew_free(op);
  cr_assert_eq(fixture_verify(fx, NULL), 0);
}

static void expect_serial(struct fixture *fx, uint8_t first, uint32_t state, bool unused) {
  const uint8_t serial[16] = {first};
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__SerialRecord *record = tlx_serial_get(txn, serial);
  cr_assert_eq(record ? record->state : 0, state, "serial %02x is %u", first,
               record ? record->state : 0);
  if (record) cr_assert_eq(record->unused, unused, "serial %02x", first);
  fixture_commit(txn);
}

static uint64_t audit_count(struct fixture *fx) {
  struct tlx_audit_head head;
  struct tlx_txn *txn = fixture_read(fx);
  tlx_audit_head(txn, &head);
  fixture_commit(txn);
  return head.seq;
}

/* The first heartbeat with a certificate. */
static void use(struct fixture *fx, uint8_t first) {
  struct op_report *op = calloc(1, sizeof *op);
  op->op.run = op_report_run;
  op->op.actor.wall_ms = NOW;
  strcpy(op->sensor_id, SENSOR_A);
  strcpy(op->seen.sensor_id, SENSOR_A);
  op->is_first_use = true;
  op->serial[0] = first;
  op_fixture_run(fx, &op->op);
  cr_assert_eq(op->op.status.code, TLX_GRPC_OK);
  op_report_free(op);
}

Test(op_renew, both_are_good_until_the_new_one_is_used) {
  FIXTURE fx;
  furnish(&fx);
  renew(&fx, CURRENT, 1, 0x20, NOW, 0x20, "");
  op_fixture_expect_audit(&fx, "sensor_certificate_renewed", true, "expires");
  expect_serial(&fx, CURRENT, TLX_SERIAL_GOOD, false);
  expect_serial(&fx, 0x20, TLX_SERIAL_GOOD, true);
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_eq(sensor->serial.data[0], 0x20);
  cr_assert_eq(sensor->previous_serial.data[0], CURRENT);
  cr_assert_eq(sensor->cert_not_after_wall_ms, NOW + SENSOR_CERT_LIFE_MS);
  cr_assert_str_eq(sensor->renewal_error, "");
  fixture_commit(txn);
  use(&fx, 0x20);
  expect_serial(&fx, CURRENT, TLX_SERIAL_SUPERSEDED, false);
  expect_serial(&fx, 0x20, TLX_SERIAL_GOOD, false);
  txn = fixture_read(&fx);
  const uint8_t serial[16] = {0x20};
  cr_assert_eq(tlx_sensor_get(txn, SENSOR_A)->previous_serial.len, 0);
  cr_assert_eq(tlx_serial_get(txn, serial)->issued_certificate.len, 0,
               "nobody can ask for it again");
  fixture_commit(txn);
  /* Others are what they were. */
  expect_serial(&fx, CURRENT + 1, TLX_SERIAL_GOOD, false);
  renew(&fx, CURRENT, 2, 0x21, NOW, 0, "certificate_superseded");
}

Test(op_renew, a_lost_reply_gets_the_same_again) {
  FIXTURE fx;
  furnish(&fx);
  renew(&fx, CURRENT, 1, 0x20, NOW, 0x20, "");
  uint64_t n = audit_count(&fx);
  for (uint8_t i = 0; i < 5; i++)
    renew(&fx, CURRENT, 1, 0x30 + i, NOW + i, 0x20, "");
  cr_assert_eq(audit_count(&fx), n, "nothing happened, nothing is on record");
  for (uint8_t i = 0; i < 5; i++)
    expect_serial(&fx, 0x30 + i, 0, false);
  use(&fx, 0x20);
  expect_serial(&fx, CURRENT, TLX_SERIAL_SUPERSEDED, false);
}

/* The key was lost in a crash, or a copy of the certificate asked: the unused one that somebody may
 * hold is told apart when it comes. */
Test(op_renew, another_key_takes_the_place_of_an_unused_one) {
  FIXTURE fx;
  furnish(&fx);
  renew(&fx, CURRENT, 1, 0x20, NOW, 0x20, "");
  renew(&fx, CURRENT, 2, 0x21, NOW + 1000, 0, "renewed_recently");
  renew(&fx, CURRENT, 2, 0x21, NOW + SENSOR_RENEW_INTERVAL_MS - 1, 0, "renewed_recently");
  renew(&fx, CURRENT, 2, 0x21, NOW + SENSOR_RENEW_INTERVAL_MS, 0x21, "");
  expect_serial(&fx, 0x20, TLX_SERIAL_SUPERSEDED, false);
  renew(&fx, 0x20, 3, 0x22, NOW + 2 * SENSOR_RENEW_INTERVAL_MS, 0, "certificate_superseded");
  expect_serial(&fx, 0x21, TLX_SERIAL_GOOD, true);
  expect_serial(&fx, CURRENT, TLX_SERIAL_GOOD, false);
}

Test(op_renew, at_most_once_an_hour) {
  FIXTURE fx;
  furnish(&fx);
  renew(&fx, CURRENT, 1, 0x20, FIXTURE_WALL_MS + SENSOR_RENEW_INTERVAL_MS - 1, 0,
        "renewed_recently");
  renew(&fx, CURRENT, 1, 0x20, FIXTURE_WALL_MS + SENSOR_RENEW_INTERVAL_MS, 0x20, "");
  /* The new one asks for another: that is its first use. */
  renew(&fx, 0x20, 2, 0x21, FIXTURE_WALL_MS + 2 * SENSOR_RENEW_INTERVAL_MS, 0x21, "");
  expect_serial(&fx, CURRENT, TLX_SERIAL_SUPERSEDED, false);
  expect_serial(&fx, 0x20, TLX_SERIAL_GOOD, false);
  expect_serial(&fx, 0x21, TLX_SERIAL_GOOD, true);
  /* A certificate that begins in the future is the work of a wrong clock: it holds nobody up. */
  renew(&fx, 0x21, 3, 0x22, FIXTURE_WALL_MS - SENSOR_RENEW_INTERVAL_MS, 0x22, "");
}

static void spoil(struct fixture *fx, const char *id) {
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, id);
  sensor->trust_state = OP_TRUST_REVOKED;
  tlx_sensor_put(txn, sensor);
  fixture_commit(txn);
}

Test(op_renew, refusals) {
  FIXTURE fx;
  furnish(&fx);
  renew(&fx, 0x77, 1, 0x20, NOW, 0, "certificate_superseded");
  spoil(&fx, SENSOR_A);
  renew(&fx, CURRENT, 1, 0x20, NOW, 0, "invalid_sensor_trust");
  struct op_renew *op = renew_op(CURRENT, 1, 0x20, NOW);
  strcpy(op->sensor_id, "sensor_cccccccccccccccc");
  op_fixture_run(&fx, &op->op);
  cr_assert_str_eq(op->op.status.reason, "certificate_unknown");
  op_renew_free(op);
}

Test(op_renew, an_op_may_run_twice) {
  FIXTURE fx;
  furnish(&fx);
  struct op_renew *op = renew_op(CURRENT, 1, 0x20, NOW);
  struct tlx_txn *txn = fixture_write(&fx);
  op_execute(&op->op, txn);
  tlx_txn_abort(txn);
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->op.status.code, TLX_GRPC_OK);
  cr_assert_eq(op->certificate.data[0], 0x20);
  op_renew_free(op);
  expect_serial(&fx, 0x20, TLX_SERIAL_GOOD, true);
}

/* A use of what was replaced meanwhile ends nothing. */
Test(op_renew, a_late_first_use) {
  FIXTURE fx;
  furnish(&fx);
  renew(&fx, CURRENT, 1, 0x20, NOW, 0x20, "");
  use(&fx, CURRENT);
  expect_serial(&fx, CURRENT, TLX_SERIAL_GOOD, false);
  expect_serial(&fx, 0x20, TLX_SERIAL_GOOD, true);
}

/* ---- clones ---- */

static bool note_clone(struct fixture *fx, uint64_t wall_ms) {
  struct op_clone op = {.sensor_id = SENSOR_A, .serial = {CURRENT}};
  op.op.run = op_clone_run;
  op.op.actor.wall_ms = wall_ms;
  op_fixture_run(fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK);
  return op.is_noted;
}

static uint64_t suspected(struct fixture *fx, const char *id) {
  struct tlx_txn *txn = fixture_read(fx);
  uint64_t wall_ms = tlx_sensor_get(txn, id)->clone_suspected_wall_ms;
  fixture_commit(txn);
  return wall_ms;
}

Test(op_renew, a_clone_is_noted_once_and_of_one_sensor_only) {
  FIXTURE fx;
  furnish(&fx);
  cr_assert(note_clone(&fx, NOW));
  op_fixture_expect_audit(&fx, "clone_suspected", true, "10000000000000000000000000000000");
  uint64_t n = audit_count(&fx);
  cr_assert_not(note_clone(&fx, NOW + 1));
  cr_assert_eq(audit_count(&fx), n);
  cr_assert_eq(suspected(&fx, SENSOR_A), NOW);
  cr_assert_eq(suspected(&fx, SENSOR_B), 0);
}

/* ---- what the host says of its renewals ---- */

Test(op_renew, an_error_is_kept_until_it_is_told_otherwise) {
  FIXTURE fx;
  furnish(&fx);
  static const char *const texts[] = {"UNAVAILABLE: no way", ""};
  for (unsigned i = 0; i < 2; i++) {
    struct op_report *op = calloc(1, sizeof *op);
    op->op.run = op_report_run;
    op->op.actor.wall_ms = NOW;
    strcpy(op->sensor_id, SENSOR_A);
    strcpy(op->seen.sensor_id, SENSOR_A);
    op->serial[0] = CURRENT;
    op->has_renewal_error = true;
    strcpy(op->renewal_error, texts[i]);
    op_fixture_run(&fx, &op->op);
    op_report_free(op);
    struct tlx_txn *txn = fixture_read(&fx);
    cr_assert_str_eq(tlx_sensor_get(txn, SENSOR_A)->renewal_error, texts[i]);
    fixture_commit(txn);
  }
}
