// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_operator.h"

#include <string.h>

#include "console/op_audit.h"
#include "console/op_kill.h"
#include "fixture_op.h"
#include "storage/sensor_tbl.h"

/* Roles, as numbers of telovix.v1. */
enum { VIEWER = 1, OPERATOR, ADMIN };

static void create(struct fixture *fx, const char *name, uint32_t role, uint8_t serial,
                   const char *reason) {
  struct op_operator_create op = {
      .role = role, .serial = {serial}, .not_after_wall_ms = FIXTURE_WALL_MS + 1000};
  strcpy(op.name, name);
  op.op.run = op_operator_create_run;
  op_fixture_actor(&op.op, FIXTURE_WALL_MS);
  op_fixture_run(fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, reason, "%s", op.op.status.message);
  op_fixture_expect_audit(fx, "operator_created", !*reason, name);
}

static void renew(struct fixture *fx, const char *name, uint8_t own, uint8_t serial,
                  const char *reason) {
  struct op_operator_renew op = {
      .own_serial = {own}, .serial = {serial}, .not_after_wall_ms = FIXTURE_WALL_MS + 2000};
  op.op.run = op_operator_renew_run;
  op_fixture_actor(&op.op, FIXTURE_WALL_MS);
  strcpy(op.op.actor.name, name);
  op_fixture_run(fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, reason, "%s", op.op.status.message);
  op_fixture_expect_audit(fx, "operator_certificate_renewed", !*reason, name);
}

static void change(struct fixture *fx, const char *name, uint32_t role, const char *reason,
                   const char *detail) {
  struct op_operator_change op = {.role = role};
  strcpy(op.name, name);
  op.op.run = role ? op_operator_role_run : op_operator_revoke_run;
  op_fixture_actor(&op.op, FIXTURE_WALL_MS);
  op_fixture_run(fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, reason, "%s", op.op.status.message);
  op_fixture_expect_audit(fx, role ? "operator_role_changed" : "operator_revoked", !*reason,
                          detail);
}

static void expect_serial(struct fixture *fx, uint8_t first, unsigned state, bool unused) {
  uint8_t serial[TLX_SERIAL_LEN] = {first};
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__SerialRecord *record = tlx_serial_get(txn, serial);
  cr_assert(record);
  cr_assert_eq(record->state, state, "serial %u is %u", first, record->state);
  cr_assert_eq(record->unused, unused);
  cr_assert_eq(record->kind, TLX_SERIAL_OF_OPERATOR);
  fixture_commit(txn);
}

static uint32_t role_of(struct fixture *fx, const char *name) {
  struct tlx_txn *txn = fixture_read(fx);
  uint32_t role = tlx_operator_get(txn, name)->role;
  fixture_commit(txn);
  return role;
}

Test(op_operator, once_a_name) {
  FIXTURE fx;
  fixture_init(&fx);
  create(&fx, "alice", ADMIN, 5, "");
  expect_serial(&fx, 5, TLX_SERIAL_GOOD, false);
  create(&fx, "alice", VIEWER, 6, "operator_exists");
  cr_assert_eq(role_of(&fx, "alice"), ADMIN);
  create(&fx, "berta", ADMIN, 7, "");
  change(&fx, "alice", 0, "", "\"changed\":true");
  create(&fx, "alice", VIEWER, 8, "operator_exists");
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(op_operator, the_last_admin_stays) {
  FIXTURE fx;
  fixture_init(&fx);
  create(&fx, "alice", ADMIN, 1, "");
  create(&fx, "vera", VIEWER, 2, "");
  change(&fx, "alice", 0, "last_admin", "last_admin");
  change(&fx, "alice", OPERATOR, "last_admin", "last_admin");
  change(&fx, "alice", ADMIN, "", "\"changed\":false");
  create(&fx, "berta", ADMIN, 3, "");
  change(&fx, "berta", 0, "", "berta");
  change(&fx, "alice", VIEWER, "last_admin", "last_admin"); /* a revoked one does not count */
  change(&fx, "vera", ADMIN, "", "\"former_role\":\"viewer\"");
  change(&fx, "alice", VIEWER, "", "\"former_role\":\"admin\"");
  change(&fx, "vera", 0, "last_admin", "last_admin");
  change(&fx, "alice", 0, "", "alice");
}

/* Who can neither do nor renew anything is no admin to rely on. */
Test(op_operator, an_admin_whose_certificate_has_ended_does_not_count) {
  FIXTURE fx;
  fixture_init(&fx);
  create(&fx, "alice", ADMIN, 1, "");
  create(&fx, "berta", ADMIN, 2, "");
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__OperatorRecord *berta = tlx_operator_get(txn, "berta");
  berta->cert_not_after_wall_ms = FIXTURE_WALL_MS;
  tlx_operator_put(txn, berta);
  fixture_commit(txn);
  change(&fx, "alice", 0, "last_admin", "last_admin");
  change(&fx, "alice", VIEWER, "last_admin", "last_admin");
  txn = fixture_write(&fx);
  berta = tlx_operator_get(txn, "berta");
  berta->cert_not_after_wall_ms = FIXTURE_WALL_MS + 1;
  tlx_operator_put(txn, berta);
  fixture_commit(txn);
  change(&fx, "alice", 0, "", "alice");
}

Test(op_operator, revoked_is_for_good) {
  FIXTURE fx;
  fixture_init(&fx);
  create(&fx, "alice", ADMIN, 1, "");
  create(&fx, "bob", OPERATOR, 2, "");
  renew(&fx, "bob", 2, 3, "");
  change(&fx, "nobody", 0, "unknown_operator", "nobody");
  change(&fx, "nobody", VIEWER, "unknown_operator", "nobody");
  change(&fx, "bob", 0, "", "\"changed\":true");
  expect_serial(&fx, 2, TLX_SERIAL_REVOKED, false);
  expect_serial(&fx, 3, TLX_SERIAL_REVOKED, true);
  change(&fx, "bob", 0, "", "\"changed\":false");
  change(&fx, "bob", ADMIN, "operator_is_revoked", "operator_is_revoked");
  cr_assert_eq(role_of(&fx, "bob"), OPERATOR);
}

Test(op_operator, renewal_keeps_two) {
  FIXTURE fx;
  fixture_init(&fx);
  create(&fx, "bob", OPERATOR, 1, "");
  renew(&fx, "bob", 1, 2, "");
  expect_serial(&fx, 1, TLX_SERIAL_GOOD, false);
  expect_serial(&fx, 2, TLX_SERIAL_GOOD, true);
  /* The answer was lost: the former one asks again, and the one that never was used is given up. */
  renew(&fx, "bob", 1, 3, "");
  expect_serial(&fx, 1, TLX_SERIAL_GOOD, false);
  expect_serial(&fx, 2, TLX_SERIAL_SUPERSEDED, true);
  expect_serial(&fx, 3, TLX_SERIAL_GOOD, true);
  /* The new one asks in its turn: the oldest is over. */
  renew(&fx, "bob", 3, 4, "");
  expect_serial(&fx, 1, TLX_SERIAL_SUPERSEDED, false);
  expect_serial(&fx, 4, TLX_SERIAL_GOOD, true);
  renew(&fx, "bob", 1, 5, "certificate_superseded");
  renew(&fx, "nobody", 1, 5, "certificate_unknown");
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__OperatorRecord *bob = tlx_operator_get(txn, "bob");
  cr_assert_eq(bob->serial.data[0], 4);
  cr_assert_eq(bob->previous_serial.data[0], 3);
  cr_assert_eq(bob->cert_not_after_wall_ms, FIXTURE_WALL_MS + 2000);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

static void use(struct fixture *fx, const char *name, uint8_t serial) {
  struct op_operator_used op = {.serial = {serial}};
  strcpy(op.name, name);
  op.op.run = op_operator_used_run;
  op_fixture_run(fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK);
}

Test(op_operator, the_first_use_ends_the_one_before) {
  FIXTURE fx;
  fixture_init(&fx);
  create(&fx, "bob", OPERATOR, 1, "");
  use(&fx, "bob", 1);
  expect_serial(&fx, 1, TLX_SERIAL_GOOD, false);
  renew(&fx, "bob", 1, 2, "");
  use(&fx, "bob", 1); /* the former one is used on */
  use(&fx, "nobody", 2);
  expect_serial(&fx, 1, TLX_SERIAL_GOOD, false);
  use(&fx, "bob", 2);
  expect_serial(&fx, 1, TLX_SERIAL_SUPERSEDED, false);
  expect_serial(&fx, 2, TLX_SERIAL_GOOD, false);
  use(&fx, "bob", 2);
  renew(&fx, "bob", 1, 3, "certificate_superseded");
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

/* ---- what waited to be stored while its operator was judged anew (op_execute) ---- */

static void kill_as(struct fixture *fx, const char *name, unsigned least, const char *reason) {
  struct op_kill_queue op = {.pid = 4242, .life_ms = 300000};
  op_fixture_actor(&op.op, FIXTURE_WALL_MS);
  strcpy(op.op.actor.name, name);
  op.op.actor.least_role = least;
  op.op.run = op_kill_queue_run;
  op.op.action_type = "process_kill_queued";
  strcpy(op.sensor, SENSOR_A);
  strcpy(op.order_id, ORDER_1);
  op_fixture_run(fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, reason);
  op_fixture_expect_audit(fx, "process_kill_queued", !*reason, *reason ? reason : "4242");
}

Test(op_operator, a_queued_change_is_judged_again) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  create(&fx, "alice", ADMIN, 1, "");
  create(&fx, "bob", OPERATOR, 2, "");
  change(&fx, "bob", VIEWER, "", "bob");
  kill_as(&fx, "bob", OPERATOR, "role_too_low");
  change(&fx, "bob", OPERATOR, "", "bob");
  change(&fx, "bob", 0, "", "bob");
  kill_as(&fx, "bob", OPERATOR, "operator_revoked");
  kill_as(&fx, "nobody", OPERATOR, "operator_revoked");
  kill_as(&fx, "alice", OPERATOR, "");
}
