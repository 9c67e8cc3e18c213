// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/limits.h"
#include "console/op_kill.h"
#include "fixture_op.h"
#include "storage/sensor_tbl.h"

/* One heartbeat's durable part: what is handed out, what is taken, what is stored of the host. */

static struct op_report *report_op(const char *sensor, uint64_t after_ms) {
  struct op_report *op = calloc(1, sizeof *op);
  op->op.run = op_report_run;
  strcpy(op->op.actor.name, sensor);
  op->op.actor.wall_ms = FIXTURE_WALL_MS + after_ms;
  strcpy(op->sensor_id, sensor);
  strcpy(op->seen.sensor_id, sensor);
  op->seen.last_seen_wall_ms = op->op.actor.wall_ms;
  return op;
}

static struct report_result *add(struct op_report *op, const char *order_id, uint32_t state) {
  struct report_result *result = &op->results[op->n_results++];
  strcpy(result->order_id, order_id);
  result->state = state;
  return result;
}

static void queue(struct fixture *fx, const char *sensor, const char *order_id) {
  struct op_kill_queue op = {.pid = 4242, .life_ms = 300000};
  op_fixture_actor(&op.op, FIXTURE_WALL_MS + 1000);
  op.op.run = op_kill_queue_run;
  strcpy(op.sensor, sensor);
  strcpy(op.order_id, order_id);
  op_fixture_run(fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK, "%s", op.op.status.message);
}

static void deliver(struct fixture *fx, const char *sensor) {
  struct op_report *op = report_op(sensor, 2000);
  op->deliver = true;
  op_fixture_run(fx, &op->op);
  op_report_free(op);
}

Test(op_report, facts_and_first_sight) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__SensorRecord fresh = fixture_sensor(SENSOR_A, "web-1");
  uint8_t serial[TLX_SERIAL_LEN] = {0};
  fresh.trust_state = OP_TRUST_BOOTSTRAP_PENDING;
  fresh.serial = (ProtobufCBinaryData){sizeof serial, serial};
  tlx_sensor_put(txn, &fresh);
  fixture_commit(txn);
  struct op_report *op = report_op(SENSOR_A, 2000);
  op->has_facts = op->first_seen = true;
  strcpy(op->kernel_release, "6.1.0");
  strcpy(op->architecture, "x86_64");
  strcpy(op->os_name, "Debian");
  strcpy(op->sensor_version, "1");
  strcpy(op->scope_cgroup, "/test/a");
  op->seen.boot_ns = 42;
  op->seen.boot_id[0] = 7;
  op_fixture_run(&fx, &op->op);
  op_report_free(op);
  txn = fixture_read(&fx);
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_eq(record->trust_state, OP_TRUST_TRUSTED);
  cr_assert_str_eq(record->kernel_release, "6.1.0");
  cr_assert_str_eq(record->scope_cgroup, "/test/a");
  cr_assert_eq(record->boot_ns, 42, "the baseline of the next order");
  cr_assert_eq(record->last_seen_wall_ms, FIXTURE_WALL_MS + 2000);
  fixture_commit(txn);
  /* A heartbeat never makes a revoked sensor trusted. */
  txn = fixture_write(&fx);
  Telovix__Store__V1__SensorRecord *revoked = tlx_sensor_get(txn, SENSOR_A);
  revoked->trust_state = OP_TRUST_REVOKED;
  tlx_sensor_put(txn, revoked);
  fixture_commit(txn);
  op = report_op(SENSOR_A, 3000);
  op->first_seen = true;
  op_fixture_run(&fx, &op->op);
  op_report_free(op);
  txn = fixture_read(&fx);
  cr_assert_eq(tlx_sensor_get(txn, SENSOR_A)->trust_state, OP_TRUST_REVOKED);
  fixture_commit(txn);
}

Test(op_report, who_gets_orders) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  op_fixture_sensor(&fx, SENSOR_B, "web-2");
  queue(&fx, SENSOR_A, ORDER_1);
  queue(&fx, SENSOR_B, ORDER_2);
  struct op_report *op = report_op(SENSOR_A, 2000);
  op_fixture_run(&fx, &op->op);
  op_report_free(op);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_1), TLX_ORDER_QUEUED, "it asked for none");
  deliver(&fx, SENSOR_A);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_1), TLX_ORDER_DELIVERED);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_2), TLX_ORDER_QUEUED, "that is another's");
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__SensorRecord *revoked = tlx_sensor_get(txn, SENSOR_B);
  revoked->trust_state = OP_TRUST_REVOKED;
  tlx_sensor_put(txn, revoked);
  fixture_commit(txn);
  deliver(&fx, SENSOR_B);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_2), TLX_ORDER_QUEUED,
               "a revoked sensor gets nothing");
}

/* A heartbeat that was let in, and waited for its transaction behind the end of its trust. */
static void expect_refused(struct fixture *fx, uint8_t serial, const char *reason) {
  struct op_report *op = report_op(SENSOR_A, 9000);
  op->serial[0] = serial;
  op->deliver = true;
  add(op, ORDER_1, TLX_ORDER_KILLED);
  op->has_facts = true;
  strcpy(op->kernel_release, "stolen");
  op_fixture_run(fx, &op->op);
  cr_assert_eq(op->op.status.code, TLX_GRPC_UNAUTHENTICATED);
  cr_assert_str_eq(op->op.status.reason, reason);
  cr_assert_eq(op->n_acknowledged + op->n_changed, 0);
  op_report_free(op);
  cr_assert_eq(op_fixture_order_state(fx, ORDER_1), TLX_ORDER_DELIVERED);
  cr_assert_eq(op_fixture_order_state(fx, ORDER_2), TLX_ORDER_QUEUED);
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_str_neq(record->kernel_release, "stolen");
  cr_assert_neq(record->last_seen_wall_ms, FIXTURE_WALL_MS + 9000);
  fixture_commit(txn);
}

static void set_trust(struct fixture *fx, uint32_t trust_state, uint8_t current, uint8_t previous) {
  uint8_t serial[TLX_SERIAL_LEN] = {current}, former[TLX_SERIAL_LEN] = {previous};
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  sensor->trust_state = trust_state;
  sensor->serial = (ProtobufCBinaryData){sizeof serial, serial};
  sensor->previous_serial = (ProtobufCBinaryData){previous ? sizeof former : 0, former};
  tlx_sensor_put(txn, sensor);
  fixture_commit(txn);
}

Test(op_report, of_an_identity_that_ended_meanwhile_nothing_is_done) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  queue(&fx, SENSOR_A, ORDER_1);
  deliver(&fx, SENSOR_A);
  queue(&fx, SENSOR_A, ORDER_2);
  set_trust(&fx, OP_TRUST_REVOKED, 7, 0);
  expect_refused(&fx, 7, "invalid_sensor_trust");
  /* As after a re-enrollment: what was sent with the certificate before is no longer taken. */
  set_trust(&fx, OP_TRUST_ROTATED, 8, 0);
  expect_refused(&fx, 7, "certificate_superseded");
  /* As after a renewal: the certificate before is good until the new one is used. */
  set_trust(&fx, OP_TRUST_TRUSTED, 9, 8);
  expect_refused(&fx, 7, "certificate_superseded");
  for (uint8_t serial = 8; serial <= 9; serial++) {
    struct op_report *op = report_op(SENSOR_A, 9000);
    op->serial[0] = serial;
    op_fixture_run(&fx, &op->op);
    cr_assert_eq(op->op.status.code, TLX_GRPC_OK, "%s", op->op.status.message);
    op_report_free(op);
  }
}

Test(op_report, a_sensor_that_is_gone) {
  FIXTURE fx;
  fixture_init(&fx);
  struct op_report *op = report_op(SENSOR_A, 2000);
  add(op, ORDER_1, TLX_ORDER_KILLED);
  op->deliver = true;
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->op.status.code, TLX_GRPC_NOT_FOUND);
  cr_assert_eq(op->n_acknowledged, 0);
  op_report_free(op);
  op_report_free(NULL);
}

/* Progress and end of one order in one report, and the same end twice: one end, one record. */
Test(op_report, several_results_of_one_order) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  queue(&fx, SENSOR_A, ORDER_1);
  deliver(&fx, SENSOR_A);
  struct op_report *op = report_op(SENSOR_A, 3000);
  add(op, ORDER_1, TLX_ORDER_STILL_ALIVE);
  add(op, ORDER_1, TLX_ORDER_KILLED);
  add(op, ORDER_1, TLX_ORDER_KILLED);
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->n_acknowledged, 2, "each end is acknowledged");
  cr_assert_eq(op->n_changed, 2);
  cr_assert_eq(op->op.head.seq, 2, "queued, finished");
  op_report_free(op);
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, ORDER_1);
  cr_assert_eq(record->state, TLX_ORDER_KILLED);
  cr_assert_eq(record->still_alive_wall_ms, FIXTURE_WALL_MS + 3000);
  cr_assert_eq(record->finished_wall_ms, FIXTURE_WALL_MS + 3000);
  cr_assert_eq(record->delivered_wall_ms, FIXTURE_WALL_MS + 2000);
  fixture_commit(txn);
}

/* What a host says stands in the record and in the log as text, whatever bytes it was. */
Test(op_report, what_was_seen_is_kept) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  queue(&fx, SENSOR_A, ORDER_1);
  deliver(&fx, SENSOR_A);
  struct op_report *op = report_op(SENSOR_A, 3000);
  struct report_result *result = add(op, ORDER_1, TLX_ORDER_FAILED);
  result->error_number = 1;
  strcpy(result->detail, "signal");
  strcpy(result->comm, "gr\xc3\xbcn\xc3"); /* cut in the middle of a character */
  result->signalled_boot_ns = 10;
  result->observed_boot_ns = 20;
  result->start_ticks = 30;
  op_fixture_run(&fx, &op->op);
  op_report_free(op);
  op_fixture_expect_audit(&fx, "process_kill_finished", false, "\"errno\":1");
  op_fixture_expect_audit(&fx, "process_kill_finished", false, "\"detail\":\"signal\"");
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, ORDER_1);
  cr_assert_str_eq(record->comm, "gr\xc3\xbcn");
  cr_assert_str_eq(record->detail, "signal");
  cr_assert_eq(record->error_number, 1);
  cr_assert_eq(record->signalled_boot_ns, 10);
  cr_assert_eq(record->observed_boot_ns, 20);
  cr_assert_eq(record->start_ticks, 30);
  fixture_commit(txn);
}

/* The most that one heartbeat can carry. */
Test(op_report, as_much_as_fits) {
  FIXTURE fx;
  char id[32];
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  for (unsigned i = 0; i < OPEN_ORDERS_PER_SENSOR_MAX; i++) {
    snprintf(id, sizeof id, "kill_%016u", i);
    queue(&fx, SENSOR_A, id);
  }
  deliver(&fx, SENSOR_A);
  struct op_report *op = report_op(SENSOR_A, 3000);
  for (unsigned i = 0; i < REPORT_RESULTS_MAX; i++) {
    snprintf(id, sizeof id, "kill_%016u", i);
    add(op, id, TLX_ORDER_KILLED);
  }
  op->deliver = true;
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->n_acknowledged, REPORT_RESULTS_MAX,
               "those that are unknown here may be forgotten there");
  cr_assert_eq(op->n_changed, OPEN_ORDERS_PER_SENSOR_MAX);
  op_report_free(op);
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_eq(tlx_order_count_open(txn, SENSOR_A), 0);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}
