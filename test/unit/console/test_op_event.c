// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_event.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/limits.h"
#include "console/op_report.h"
#include "fixture_op.h"
#include "storage/event_tbl.h"
#include "storage/sensor_tbl.h"

enum { BLOCKED = 1, WOULD_BLOCK, TAMPERED, NET_DENIED, NET_WOULD_DENY, LIFTED };

static void start(struct fixture *fx) {
  fixture_init(fx);
  op_fixture_sensor(fx, SENSOR_A, "web-1");
}

/* A heartbeat with the events |first| to |last| of a stream. */
static struct op_report *events_op(uint8_t stream, uint64_t first, uint64_t last, uint32_t type) {
  struct op_report *op = calloc(1, sizeof *op);
  op->op.run = op_report_run;
  strcpy(op->op.actor.name, SENSOR_A);
  strcpy(op->op.actor.role, "sensor");
  op->op.actor.wall_ms = FIXTURE_WALL_MS + 5000;
  strcpy(op->sensor_id, SENSOR_A);
  strcpy(op->seen.sensor_id, SENSOR_A);
  op->tamper_audits_max = 3;
  memset(op->event_stream, stream, 16);
  tlx_arena_init(&op->arena, 1 << 20);
  op->n_events = (size_t)(last - first + 1);
  op->events = tlx_arena_zalloc(&op->arena, op->n_events * sizeof *op->events);
  for (uint64_t seq = first; seq <= last; seq++) {
    struct report_event *event = &op->events[seq - first];
    event->seq = seq;
    snprintf(event->event_id, sizeof event->event_id, "event_%016llu", (unsigned long long)seq);
    event->record = (Telovix__Store__V1__EventRecord)TELOVIX__STORE__V1__EVENT_RECORD__INIT;
    event->record.type = type;
    event->record.path = (char *)"link x";
    event->record.happened_wall_ms = FIXTURE_WALL_MS;
  }
  return op;
}

static void run(struct fixture *fx, struct op_report *op, unsigned n_stored) {
  op_fixture_run(fx, &op->op);
  cr_assert_eq(op->op.status.code, TLX_GRPC_OK);
  cr_assert_eq(op->n_events_stored, n_stored);
  op_report_free(op);
}

static void expect_seq(struct fixture *fx, uint8_t stream, uint64_t seq, uint64_t n) {
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_eq(sensor->event_seq, seq);
  cr_assert_eq(sensor->event_stream.data[15], stream);
  cr_assert_eq(tlx_event_count(txn, SENSOR_A), n);
  fixture_commit(txn);
}

Test(op_event, stored_once) {
  FIXTURE fx;
  start(&fx);
  run(&fx, events_op(1, 1, 3, BLOCKED), 3);
  expect_seq(&fx, 1, 3, 3);
  run(&fx, events_op(1, 1, 3, BLOCKED), 0);
  run(&fx, events_op(1, 2, 5, WOULD_BLOCK), 2);
  expect_seq(&fx, 1, 5, 5);
  /* A new stream begins anew, and so does an old one that comes back. */
  run(&fx, events_op(2, 1, 2, BLOCKED), 2);
  expect_seq(&fx, 2, 2, 7);
  /* Numbers may be left out. */
  run(&fx, events_op(2, 9, 9, BLOCKED), 1);
  expect_seq(&fx, 2, 9, 8);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

static bool copy_first(void *arg, const Telovix__Store__V1__EventRecord *record) {
  char *out = arg;
  sprintf(out, "%s %s %s %llu", record->event_id, record->sensor_id, record->node_name,
          (unsigned long long)(record->received_wall_ms - FIXTURE_WALL_MS));
  return false;
}

Test(op_event, filled_in_here) {
  FIXTURE fx;
  char text[256];
  start(&fx);
  run(&fx, events_op(1, 7, 7, BLOCKED), 1);
  struct tlx_txn *txn = fixture_read(&fx);
  tlx_event_each(txn, NULL, UINT64_MAX, copy_first, text);
  fixture_commit(txn);
  cr_assert_str_eq(text, "event_0000000000000007 " SENSOR_A " web-1 5000");
}

/* A retry of the op must not count what its first run had stored in a transaction that was undone.
 */
Test(op_event, run_again) {
  FIXTURE fx;
  start(&fx);
  struct op_report *op = events_op(1, 1, 3, TAMPERED);
  struct tlx_txn *txn = fixture_write(&fx);
  op_execute(&op->op, txn);
  tlx_txn_abort(txn);
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->n_events_stored, 3);
  cr_assert_eq(op->n_tamper_audits, 2);
  op_report_free(op);
  expect_seq(&fx, 1, 3, 3);
}

static uint64_t count_audit(struct fixture *fx) {
  struct tlx_txn *txn = fixture_read(fx);
  struct tlx_audit_head head;
  tlx_audit_head(txn, &head);
  fixture_commit(txn);
  return head.seq;
}

Test(op_event, tampering_is_audited_within_bounds) {
  FIXTURE fx;
  start(&fx);
  run(&fx, events_op(1, 1, 5, BLOCKED), 5);
  uint64_t before = count_audit(&fx);
  run(&fx, events_op(1, 6, 6, TAMPERED), 1);
  op_fixture_expect_audit(&fx, "enforcement_tampered", true,
                          "\"event_id\":\"event_0000000000000006\",\"happened\":\"2024-01-02T03:04:"
                          "05.678Z\",\"node_name\":\"web-1\",\"object\":\"link x\"");
  cr_assert_eq(count_audit(&fx), before + 1);
  struct op_report *op = events_op(1, 7, 20, TAMPERED);
  op_fixture_run(&fx, &op->op);
  cr_assert_eq(op->n_tamper_audits, 2);
  cr_assert_eq(op->n_events_stored, 14);
  op_report_free(op);
  cr_assert_eq(count_audit(&fx), before + 3);
  op = events_op(1, 21, 21, TAMPERED);
  op->tamper_audits_max = 0;
  run(&fx, op, 1);
  cr_assert_eq(count_audit(&fx), before + 3);
}

Test(op_event, tampering_hides_no_lift) {
  FIXTURE fx;
  start(&fx);
  struct op_report *op = events_op(1, 1, 6, TAMPERED);
  op->events[4].record.type = op->events[5].record.type = LIFTED;
  uint64_t before = count_audit(&fx);
  run(&fx, op, 6);
  cr_assert_eq(count_audit(&fx), before + 3);
  op_fixture_expect_audit(&fx, "enforcement_lifted", true, "event_0000000000000005");
}

Test(op_event, sweep) {
  FIXTURE fx;
  start(&fx);
  run(&fx, events_op(1, 1, 3, BLOCKED), 3);
  struct op_event_sweep op = {.before_wall_ms = FIXTURE_WALL_MS + 5000};
  op.op.run = op_event_sweep_run;
  op_fixture_run(&fx, &op.op);
  cr_assert_not(op.more);
  expect_seq(&fx, 1, 3, 3);
  op.before_wall_ms++;
  op_fixture_run(&fx, &op.op);
  cr_assert_not(op.more);
  expect_seq(&fx, 1, 3, 0);
  struct tlx_txn *txn = fixture_write(&fx);
  for (unsigned i = 0; i < EVENT_SWEEP_MAX + 1; i++) {
    Telovix__Store__V1__EventRecord event = fixture_event("event_x", SENSOR_A, FIXTURE_WALL_MS);
    tlx_event_add(txn, &event, 10000);
    tlx_txn_forget(txn);
  }
  fixture_commit(txn);
  op_fixture_run(&fx, &op.op);
  cr_assert(op.more);
  expect_seq(&fx, 1, 3, 1);
  op_fixture_run(&fx, &op.op);
  cr_assert_not(op.more);
  expect_seq(&fx, 1, 3, 0);
}

/* ---- lift ---- */

static void expect_lifted(struct fixture *fx, uint64_t wall_ms, uint64_t generation,
                          uint8_t epoch) {
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  cr_assert_eq(sensor->lifted_wall_ms, wall_ms);
  if (wall_ms) {
    cr_assert_eq(sensor->lifted_generation, generation);
    cr_assert_eq(sensor->lifted_epoch.len, 16);
    cr_assert_eq(sensor->lifted_epoch.data[0], epoch);
  }
  fixture_commit(txn);
}

Test(op_event, a_lift_is_remembered_and_audited) {
  FIXTURE fx;
  start(&fx);
  run(&fx, events_op(1, 1, 2, NET_DENIED), 2);
  expect_lifted(&fx, 0, 0, 0);
  /* What was in force is what it will not arm again. */
  struct op_report *op = events_op(1, 3, 3, LIFTED);
  op->has_in_force = true;
  op->in_force.generation = 7;
  op->in_force.epoch[0] = 5;
  op->events[0].record.path = (char *)"";
  op->events[0].record.detail = (char *)"uid 0, tty pts/1";
  run(&fx, op, 1);
  expect_lifted(&fx, FIXTURE_WALL_MS + 5000, 7, 5);
  op_fixture_expect_audit(
      &fx, "enforcement_lifted", true,
      "{\"detail\":\"uid 0, tty pts/1\",\"event_id\":\"event_0000000000000003\"");
  /* A newer state is in force. */
  op = events_op(1, 4, 4, NET_WOULD_DENY);
  op->is_armed_again = true;
  run(&fx, op, 1);
  expect_lifted(&fx, 0, 0, 0);
  /* And lifted once more, by the same heartbeat that tells of the new state; without a word on what
   * is in force it is what is wanted. */
  op = events_op(1, 5, 5, LIFTED);
  op->is_armed_again = true;
  memset(op->epoch, 6, 16);
  run(&fx, op, 1);
  expect_lifted(&fx, FIXTURE_WALL_MS + 5000, 0, 6);
}
