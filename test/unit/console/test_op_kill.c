// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_kill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/limits.h"
#include "console/op_report.h"
#include "fixture_op.h"
#include "storage/sensor_tbl.h"

/* The life of an order through its ops: queued, handed out, reported, expired, cancelled, unknown.
 */

static struct op_kill_queue queue_op(const char *sensor, const char *order_id) {
  struct op_kill_queue op = {.pid = 4242, .life_ms = 300000};
  op_fixture_actor(&op.op, FIXTURE_WALL_MS + 1000);
  op.op.run = op_kill_queue_run;
  snprintf(op.sensor, sizeof op.sensor, "%s", sensor);
  snprintf(op.order_id, sizeof op.order_id, "%s", order_id);
  return op;
}

static void queue(struct fixture *fx, const char *sensor, const char *order_id) {
  struct op_kill_queue op = queue_op(sensor, order_id);
  op_fixture_run(fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK, "%s", op.op.status.message);
}

/* One heartbeat; state 0 = it reports nothing. */
static struct op_report *report(struct fixture *fx, const char *sensor, const char *order_id,
                                uint32_t state, bool deliver, uint64_t after_ms) {
  struct op_report *op = calloc(1, sizeof *op);
  op->op.run = op_report_run;
  strcpy(op->op.actor.name, sensor);
  op->op.actor.wall_ms = FIXTURE_WALL_MS + after_ms;
  strcpy(op->sensor_id, sensor);
  strcpy(op->seen.sensor_id, sensor);
  op->seen.last_seen_wall_ms = op->op.actor.wall_ms;
  op->deliver = deliver;
  if (state) {
    op->n_results = 1;
    strcpy(op->results[0].order_id, order_id);
    op->results[0].state = state;
    strcpy(op->results[0].comm, "victim");
    op->results[0].signalled_boot_ns = 10;
    op->results[0].observed_boot_ns = 20;
  }
  op_fixture_run(fx, &op->op);
  return op;
}

Test(op_kill, notice_and_baseline) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct op_kill_queue op = queue_op("WEB-1", ORDER_1);
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK);
  cr_assert_str_eq(op.notice,
                   "PID 4242 is queued and will execute within 30 seconds on the next heartbeat");
  cr_assert_str_eq(op.sensor_id, SENSOR_A);
  op_fixture_expect_audit(&fx, "process_kill_queued", true, "\"pid\":4242");
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, ORDER_1);
  cr_assert_eq(record->baseline_boot_ns, 5000000000, "the stored one, not aged");
  cr_assert_eq(record->expires_wall_ms, FIXTURE_WALL_MS + 301000);
  fixture_commit(txn);
  struct op_kill_queue silent = queue_op(SENSOR_A, ORDER_2);
  silent.silent = true;
  silent.has_baseline = true;
  silent.baseline_boot_ns = 6000000000;
  op_fixture_run(&fx, &silent.op);
  cr_assert(strstr(silent.notice, "waits") &&
                strstr(silent.notice, "until 2024-01-02T03:09:06.678Z"),
            "%s", silent.notice);
}

Test(op_kill, refusals_are_audited_and_leave_nothing) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__SensorRecord quiet = fixture_sensor(SENSOR_B, "quiet");
  quiet.last_seen_wall_ms = 0;
  tlx_sensor_put(txn, &quiet);
  Telovix__Store__V1__SensorRecord twin = fixture_sensor("sensor_cccccccccccccccc", "twin");
  tlx_sensor_put(txn, &twin);
  Telovix__Store__V1__SensorRecord other = fixture_sensor("sensor_dddddddddddddddd", "TWIN");
  tlx_sensor_put(txn, &other);
  Telovix__Store__V1__SensorRecord revoked = fixture_sensor("sensor_eeeeeeeeeeeeeeee", "revoked");
  revoked.trust_state = OP_TRUST_REVOKED;
  tlx_sensor_put(txn, &revoked);
  fixture_commit(txn);
  static const struct {
    const char *sensor, *reason;
    enum tlx_grpc_code code;
  } cases[] = {{"nobody", "unknown_sensor", TLX_GRPC_NOT_FOUND},
               {"sensor_ffffffffffffffff", "unknown_sensor", TLX_GRPC_NOT_FOUND},
               {"quiet", "never_heartbeaten", TLX_GRPC_FAILED_PRECONDITION},
               {"twin", "ambiguous_name", TLX_GRPC_FAILED_PRECONDITION},
               {"revoked", "sensor_revoked", TLX_GRPC_FAILED_PRECONDITION}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct op_kill_queue op = queue_op(cases[i].sensor, ORDER_1);
    op_fixture_run(&fx, &op.op);
    cr_assert_eq(op.op.status.code, cases[i].code, "%s", cases[i].sensor);
    cr_assert_str_eq(op.op.status.reason, cases[i].reason);
    op_fixture_expect_audit(&fx, "process_kill_queued", false, cases[i].reason);
  }
  txn = fixture_read(&fx);
  cr_assert_null(tlx_order_get(txn, ORDER_1));
  fixture_commit(txn);
}

Test(op_kill, open_orders_are_bounded) {
  FIXTURE fx;
  char id[32];
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  for (unsigned i = 0; i < OPEN_ORDERS_PER_SENSOR_MAX; i++) {
    snprintf(id, sizeof id, "kill_%016u", i);
    queue(&fx, SENSOR_A, id);
  }
  struct op_kill_queue op = queue_op(SENSOR_A, ORDER_1);
  op_fixture_run(&fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, "too_many_open_orders");
}

Test(op_kill, handed_out_and_reported) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  queue(&fx, SENSOR_A, ORDER_1);
  op_report_free(report(&fx, SENSOR_A, "", 0, true, 2000));
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_1), TLX_ORDER_DELIVERED);
  struct op_report *op = report(&fx, SENSOR_A, ORDER_1, TLX_ORDER_STILL_ALIVE, false, 3000);
  cr_assert_eq(op->n_acknowledged, 0, "progress is no end");
  cr_assert_eq(op->n_changed, 1);
  op_report_free(op);
  op = report(&fx, SENSOR_A, ORDER_1, TLX_ORDER_KILLED, false, 4000);
  cr_assert_eq(op->n_acknowledged, 1);
  op_report_free(op);
  op_fixture_expect_audit(&fx, "process_kill_finished", true, "\"state\":\"killed\"");
  /* The same again: acknowledged, and nothing changes. */
  op = report(&fx, SENSOR_A, ORDER_1, TLX_ORDER_FAILED, false, 5000);
  cr_assert_eq(op->n_acknowledged, 1);
  cr_assert_eq(op->n_changed, 0);
  op_report_free(op);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_1), TLX_ORDER_KILLED);
}

Test(op_kill, reports_that_no_honest_sensor_makes) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  op_fixture_sensor(&fx, SENSOR_B, "web-2");
  queue(&fx, SENSOR_A, ORDER_1);
  static const struct {
    const char *sensor;
    uint32_t state;
    enum report_reject why;
  } cases[] = {{SENSOR_B, TLX_ORDER_KILLED, REPORT_FOREIGN_ORDER},
               {SENSOR_A, TLX_ORDER_KILLED, REPORT_UNDELIVERED_ORDER},
               {SENSOR_A, TLX_ORDER_EXPIRED, REPORT_IMPOSSIBLE_STATE},
               {SENSOR_A, TLX_ORDER_CANCELLED, REPORT_IMPOSSIBLE_STATE},
               {SENSOR_A, 99, REPORT_IMPOSSIBLE_STATE}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct op_report *op = report(&fx, cases[i].sensor, ORDER_1, cases[i].state, false, 2000);
    cr_assert_eq(op->n_acknowledged, 0, "%s", report_reject_word(cases[i].why));
    for (unsigned k = 0; k < REPORT_REJECT_COUNT; k++)
      cr_assert_str_eq(op->rejected[k], k == cases[i].why ? ORDER_1 : "");
    op_report_free(op);
    cr_assert_eq(op_fixture_order_state(&fx, ORDER_1), TLX_ORDER_QUEUED);
  }
  struct op_report *op =
      report(&fx, SENSOR_A, "kill_9999999999999999", TLX_ORDER_KILLED, false, 2000);
  cr_assert_eq(op->n_acknowledged, 1, "an order that nobody knows may be forgotten");
  op_report_free(op);
}

static void sweep(struct fixture *fx, uint64_t after_ms, unsigned n) {
  struct op_kill_sweep *op = calloc(1, sizeof *op);
  op->wall_ms = op->op.actor.wall_ms = FIXTURE_WALL_MS + after_ms;
  op->op.run = op_kill_sweep_run;
  op_fixture_run(fx, &op->op);
  cr_assert_eq(op->n_changed, n);
  free(op);
}

Test(op_kill, only_queued_orders_expire) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  op_fixture_sensor(&fx, SENSOR_B, "web-2");
  queue(&fx, SENSOR_A, ORDER_1);
  queue(&fx, SENSOR_B, ORDER_2);
  op_report_free(report(&fx, SENSOR_B, "", 0, true, 2000));
  sweep(&fx, 300999, 0);
  sweep(&fx, 301000, 1);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_1), TLX_ORDER_EXPIRED);
  op_fixture_expect_audit(&fx, "process_kill_finished", false, "expired");
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_2), TLX_ORDER_DELIVERED);
  /* Its life plus ten minutes. */
  sweep(&fx, 301000 + TLX_ORDER_RESULT_GRACE_MS - 1, 0);
  sweep(&fx, 301000 + TLX_ORDER_RESULT_GRACE_MS, 1);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_2), TLX_ORDER_RESULT_UNKNOWN);
  /* The one end that a late report replaces. */
  struct op_report *op = report(&fx, SENSOR_B, ORDER_2, TLX_ORDER_KILLED, false, 1000000);
  cr_assert_eq(op->n_acknowledged, 1);
  op_report_free(op);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_2), TLX_ORDER_KILLED);
}

Test(op_kill, too_late_for_delivery) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  queue(&fx, SENSOR_A, ORDER_1);
  op_report_free(report(&fx, SENSOR_A, "", 0, true, 301000));
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_1), TLX_ORDER_EXPIRED, "before the sweep came by");
}

Test(op_kill, cancel) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  queue(&fx, SENSOR_A, ORDER_1);
  struct op_kill_cancel op = {.order_id = ORDER_1};
  op.op.run = op_kill_cancel_run;
  op_fixture_actor(&op.op, FIXTURE_WALL_MS + 5000);
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK);
  op_fixture_expect_audit(&fx, "process_kill_cancelled", true, ORDER_1);
  op_fixture_run(&fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, "order_not_queued");
  cr_assert(strstr(op.op.status.message, "cancelled"));
  strcpy(op.order_id, ORDER_2);
  op_fixture_run(&fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, "unknown_order");
}

/* ---- request ids ---- */

static void pack(const struct op *op, struct tlx_buf *buf) {
  tlx_buf_add_text(buf, ((const struct op_kill_queue *)op)->order_id);
}

Test(op_kill, a_retry_gets_the_first_answer) {
  FIXTURE fx;
  fixture_init(&fx);
  op_fixture_sensor(&fx, SENSOR_A, "web-1");
  struct op_kill_queue first = queue_op(SENSOR_A, ORDER_1), again = queue_op(SENSOR_A, ORDER_2);
  first.op.pack = again.op.pack = pack;
  strcpy(first.op.actor.request_id, "r-1");
  strcpy(again.op.actor.request_id, "r-1");
  op_fixture_run(&fx, &first.op);
  op_fixture_run(&fx, &again.op);
  cr_assert(again.op.replayed);
  cr_assert_eq(again.op.reply.len, strlen(ORDER_1));
  cr_assert_arr_eq(again.op.reply.data, ORDER_1, strlen(ORDER_1));
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_null(tlx_order_get(txn, ORDER_2), "nothing acted twice");
  fixture_commit(txn);
  again.op.actor.request_hash[0] ^= 1;
  op_fixture_run(&fx, &again.op);
  cr_assert_str_eq(again.op.status.reason, "request_id_reused");
  /* Another operator's id is another id. */
  strcpy(again.op.actor.name, "eve");
  op_fixture_run(&fx, &again.op);
  cr_assert_eq(again.op.status.code, TLX_GRPC_OK);
  cr_assert_not(again.op.replayed);
  op_done(&first.op);
  op_done(&again.op);
}
