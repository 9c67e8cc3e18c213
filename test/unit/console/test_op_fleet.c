// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/op_kill.h"
#include "console/op_report.h"
#include "fixture_op.h"
#include "storage/audit_tbl.h"
#include "storage/event_tbl.h"
#include "storage/order_tbl.h"
#include "storage/rule_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/token_tbl.h"

/* Disable, enable, revoke, delete: what each changes, what it leaves, and what is on record. */

static const uint8_t current[16] = {1, 1}, previous[16] = {1, 2}, older[16] = {1, 3},
                     other[16] = {1, 4}, of_operator[16] = {1, 5};

static void put_serial(struct tlx_txn *txn, const uint8_t serial[16], unsigned kind,
                       const char *owner, unsigned state, uint64_t not_after_wall_ms) {
  Telovix__Store__V1__SerialRecord record = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  record.kind = kind;
  record.owner = (char *)owner;
  record.state = state;
  record.not_after_wall_ms = not_after_wall_ms;
  tlx_serial_put(txn, serial, &record);
}

static uint32_t serial_state(struct fixture *fx, const uint8_t serial[16]) {
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__SerialRecord *record = tlx_serial_get(txn, serial);
  uint32_t state = record ? record->state : 0;
  fixture_commit(txn);
  return state;
}

static Telovix__Store__V1__SensorRecord sensor_copy(struct fixture *fx, const char *id) {
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, id);
  cr_assert(record, "%s is not there", id);
  Telovix__Store__V1__SensorRecord copy = *record; /* numbers alone are looked at */
  fixture_commit(txn);
  return copy;
}

/* Two sensors; web-1 has certificates of every age. */
static void furnish(struct fixture *fx) {
  fixture_init(fx);
  op_fixture_sensor(fx, SENSOR_A, "Web-1");
  op_fixture_sensor(fx, SENSOR_B, "db-1");
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  sensor->serial = (ProtobufCBinaryData){16, (uint8_t *)current};
  sensor->previous_serial = (ProtobufCBinaryData){16, (uint8_t *)previous};
  tlx_sensor_put(txn, sensor);
  put_serial(txn, current, TLX_SERIAL_OF_SENSOR, SENSOR_A, TLX_SERIAL_GOOD, FIXTURE_WALL_MS);
  put_serial(txn, previous, TLX_SERIAL_OF_SENSOR, SENSOR_A, TLX_SERIAL_GOOD, 1000);
  put_serial(txn, older, TLX_SERIAL_OF_SENSOR, SENSOR_A, TLX_SERIAL_SUPERSEDED, 500);
  put_serial(txn, other, TLX_SERIAL_OF_SENSOR, SENSOR_B, TLX_SERIAL_GOOD, FIXTURE_WALL_MS);
  put_serial(txn, of_operator, TLX_SERIAL_OF_OPERATOR, "bob", TLX_SERIAL_GOOD, FIXTURE_WALL_MS);
  fixture_commit(txn);
}

static struct op_fleet make(void (*run)(struct op *op, struct tlx_txn *txn), const char *sensor,
                            const char *confirm) {
  struct op_fleet op = {.force = false};
  op_fixture_actor(&op.op, FIXTURE_WALL_MS + 5000);
  op.op.run = run;
  snprintf(op.sensor, sizeof op.sensor, "%s", sensor);
  snprintf(op.confirm_node_name, sizeof op.confirm_node_name, "%s", confirm);
  return op;
}

static struct op_fleet run_ok(struct fixture *fx, void (*run)(struct op *op, struct tlx_txn *txn),
                              const char *sensor, const char *confirm) {
  struct op_fleet op = make(run, sensor, confirm);
  op_fixture_run(fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK, "%s", op.op.status.message);
  return op;
}

static uint64_t audit_seq(struct fixture *fx) {
  struct tlx_txn *txn = fixture_read(fx);
  struct tlx_audit_head head;
  tlx_audit_head(txn, &head);
  fixture_commit(txn);
  return head.seq;
}

/* How many records of |action_type| are behind |after_seq|. */
static unsigned count_audit(struct fixture *fx, uint64_t after_seq, const char *action_type,
                            const char *outcome) {
  struct tlx_txn *txn = fixture_read(fx);
  struct tlx_audit_head head;
  unsigned n = 0;
  tlx_audit_head(txn, &head);
  for (uint64_t seq = after_seq + 1; seq <= head.seq; seq++) {
    const Telovix__Store__V1__AuditRecord *record = tlx_audit_get(txn, seq);
    n += strcmp(record->action_type, action_type) == 0 && strcmp(record->outcome, outcome) == 0;
  }
  fixture_commit(txn);
  return n;
}

static void queue(struct fixture *fx, const char *sensor, const char *order_id) {
  struct op_kill_queue op = {.pid = 4242, .life_ms = 300000};
  op_fixture_actor(&op.op, FIXTURE_WALL_MS + 1000);
  op.op.run = op_kill_queue_run;
  snprintf(op.sensor, sizeof op.sensor, "%s", sensor);
  snprintf(op.order_id, sizeof op.order_id, "%s", order_id);
  op_fixture_run(fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK);
}

static void move(struct fixture *fx, const char *order_id, unsigned state) {
  struct tlx_txn *txn = fixture_write(fx);
  fixture_move(txn, order_id, state);
  fixture_commit(txn);
}

/* ---- disable, enable ---- */

Test(op_fleet, disable_and_enable_are_told_when_nothing_changes) {
  FIXTURE fx;
  furnish(&fx);
  struct op_fleet op = run_ok(&fx, op_fleet_disable_run, "WEB-1", "");
  cr_assert(op.changed);
  cr_assert_str_eq(op.sensor_id, SENSOR_A);
  cr_assert_str_eq(op.node_name, "Web-1");
  cr_assert(strstr(op.notice, "Web-1 is disabled: "), "%s", op.notice);
  op_fixture_expect_audit(&fx, "sensor_disabled", true, "\"node_name\":\"Web-1\"");
  cr_assert(sensor_copy(&fx, SENSOR_A).disabled);
  cr_assert_not(sensor_copy(&fx, SENSOR_B).disabled);
  cr_assert_eq(sensor_copy(&fx, SENSOR_A).trust_state, OP_TRUST_TRUSTED);
  uint64_t seq = audit_seq(&fx);
  op = run_ok(&fx, op_fleet_disable_run, SENSOR_A, "");
  cr_assert_not(op.changed);
  cr_assert_str_eq(op.notice, "Web-1 is disabled already");
  cr_assert_eq(audit_seq(&fx), seq);
  op = run_ok(&fx, op_fleet_enable_run, SENSOR_A, "");
  cr_assert(op.changed);
  op_fixture_expect_audit(&fx, "sensor_enabled", true, SENSOR_A);
  cr_assert_not(sensor_copy(&fx, SENSOR_A).disabled);
  op = run_ok(&fx, op_fleet_enable_run, SENSOR_A, "");
  cr_assert_not(op.changed);
  cr_assert_str_eq(op.notice, "Web-1 is not disabled");
  cr_assert_eq(audit_seq(&fx), seq + 1);
}

/* ---- refusals ---- */

Test(op_fleet, refusals_are_on_record_and_change_nothing) {
  FIXTURE fx;
  furnish(&fx);
  static const struct {
    void (*run)(struct op *op, struct tlx_txn *txn);
    const char *sensor, *confirm, *action_type, *reason;
    enum tlx_grpc_code code;
  } cases[] = {
      {op_fleet_disable_run, "no", "", "sensor_disabled", "unknown_sensor", TLX_GRPC_NOT_FOUND},
      {op_fleet_enable_run, "no", "", "sensor_enabled", "unknown_sensor", TLX_GRPC_NOT_FOUND},
      {op_fleet_revoke_run, "no", "no", "sensor_revoked", "unknown_sensor", TLX_GRPC_NOT_FOUND},
      {op_fleet_delete_run, "no", "no", "sensor_deleted", "unknown_sensor", TLX_GRPC_NOT_FOUND},
      {op_fleet_revoke_run, SENSOR_A, "", "sensor_revoked", "wrong_confirmation",
       TLX_GRPC_FAILED_PRECONDITION},
      {op_fleet_revoke_run, SENSOR_A, "db-1", "sensor_revoked", "wrong_confirmation",
       TLX_GRPC_FAILED_PRECONDITION},
      {op_fleet_revoke_run, SENSOR_A, SENSOR_A, "sensor_revoked", "wrong_confirmation",
       TLX_GRPC_FAILED_PRECONDITION},
      {op_fleet_delete_run, "web-1", "web-", "sensor_deleted", "wrong_confirmation",
       TLX_GRPC_FAILED_PRECONDITION},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct op_fleet op = make(cases[i].run, cases[i].sensor, cases[i].confirm);
    op_fixture_run(&fx, &op.op);
    cr_assert_eq(op.op.status.code, cases[i].code, "case %zu", i);
    cr_assert_str_eq(op.op.status.reason, cases[i].reason, "case %zu", i);
    cr_assert_not(op.changed);
    op_fixture_expect_audit(&fx, cases[i].action_type, false, cases[i].reason);
  }
  cr_assert_eq(sensor_copy(&fx, SENSOR_A).trust_state, OP_TRUST_TRUSTED);
  cr_assert_eq(serial_state(&fx, current), TLX_SERIAL_GOOD);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

/* ---- revoke ---- */

Test(op_fleet, revoke) {
  FIXTURE fx;
  char text[FINDINGS_MAX];
  furnish(&fx);
  queue(&fx, SENSOR_A, ORDER_1);
  queue(&fx, SENSOR_A, ORDER_2);
  queue(&fx, SENSOR_A, "kill_3333333333333333");
  queue(&fx, SENSOR_B, "kill_4444444444444444");
  move(&fx, ORDER_2, TLX_ORDER_DELIVERED);
  move(&fx, "kill_3333333333333333", TLX_ORDER_DELIVERED);
  move(&fx, "kill_3333333333333333", TLX_ORDER_KILLED);
  uint64_t seq = audit_seq(&fx);
  struct op_fleet op = run_ok(&fx, op_fleet_revoke_run, "web-1", "WEB-1");
  cr_assert(op.changed);
  cr_assert_eq(op.n_cancelled, 1);
  cr_assert_eq(op.n_unknown, 1);
  cr_assert_eq(op.n_orders, 2);
  cr_assert(strstr(op.notice, "token create --reenroll " SENSOR_A), "%s", op.notice);
  cr_assert_eq(sensor_copy(&fx, SENSOR_A).trust_state, OP_TRUST_REVOKED);
  cr_assert_eq(serial_state(&fx, current), TLX_SERIAL_REVOKED);
  cr_assert_eq(serial_state(&fx, previous), TLX_SERIAL_REVOKED);
  cr_assert_eq(serial_state(&fx, older), TLX_SERIAL_SUPERSEDED);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_1), TLX_ORDER_CANCELLED);
  cr_assert_eq(op_fixture_order_state(&fx, ORDER_2), TLX_ORDER_RESULT_UNKNOWN);
  cr_assert_eq(op_fixture_order_state(&fx, "kill_3333333333333333"), TLX_ORDER_KILLED);
  op_fixture_expect_audit(&fx, "sensor_revoked", true,
                          "\"cancelled_orders\":1,\"node_name\":\"Web-1\"");
  cr_assert_eq(count_audit(&fx, seq, "process_kill_cancelled", "success"), 1);
  cr_assert_eq(count_audit(&fx, seq, "process_kill_finished", "failure"), 1);
  cr_assert_eq(audit_seq(&fx), seq + 3);
  /* Nobody else is touched. */
  cr_assert_eq(sensor_copy(&fx, SENSOR_B).trust_state, OP_TRUST_TRUSTED);
  cr_assert_eq(serial_state(&fx, other), TLX_SERIAL_GOOD);
  cr_assert_eq(serial_state(&fx, of_operator), TLX_SERIAL_GOOD);
  cr_assert_eq(op_fixture_order_state(&fx, "kill_4444444444444444"), TLX_ORDER_QUEUED);
  cr_assert_eq(fixture_verify(&fx, text), 0, "%s", text);
  /* Twice is once, and is said. */
  op = run_ok(&fx, op_fleet_revoke_run, "web-1", "web-1");
  cr_assert_not(op.changed);
  cr_assert_str_eq(op.notice, "Web-1 is revoked already");
  cr_assert_eq(audit_seq(&fx), seq + 3);
}

Test(op_fleet, a_heartbeat_that_was_let_in_before_does_not_restore_trust) {
  FIXTURE fx;
  furnish(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, SENSOR_A);
  sensor->trust_state = OP_TRUST_BOOTSTRAP_PENDING;
  tlx_sensor_put(txn, sensor);
  fixture_commit(txn);
  run_ok(&fx, op_fleet_revoke_run, "web-1", "web-1");
  struct op_report *report = calloc(1, sizeof *report);
  report->op.run = op_report_run;
  report->op.actor.wall_ms = FIXTURE_WALL_MS + 6000;
  strcpy(report->sensor_id, SENSOR_A);
  strcpy(report->seen.sensor_id, SENSOR_A);
  report->first_seen = report->deliver = true;
  op_fixture_run(&fx, &report->op);
  op_report_free(report);
  cr_assert_eq(sensor_copy(&fx, SENSOR_A).trust_state, OP_TRUST_REVOKED);
}

/* ---- delete ---- */

static void add_rule(struct fixture *fx, const char *id, const char *sensor, const char *path,
                     bool is_containment, bool removing) {
  uint8_t revision[16];
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__RuleRecord rule = fixture_rule(id, sensor, path, revision);
  if (is_containment) rule.template_ = (char *)"network-containment";
  tlx_rule_add(txn, &rule);
  if (removing) {
    rule.removing = true;
    tlx_rule_change(txn, &rule);
  }
  fixture_commit(txn);
}

static void add_tokens(struct fixture *fx) {
  uint8_t hash[32], der[4] = {1, 2, 3, 4}, key[32] = {9};
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__TokenRecord token = fixture_token("token_aaaaaaaaaaaaaaaa", 1, hash);
  token.sensor_id = (char *)SENSOR_A; /* to re-enroll it */
  tlx_token_add(txn, &token);
  token = fixture_token("token_bbbbbbbbbbbbbbbb", 2, hash);
  token.used_by_sensor_id = (char *)SENSOR_A; /* enrolled it */
  token.used_by_key_hash = (ProtobufCBinaryData){32, key};
  token.issued_certificate = (ProtobufCBinaryData){4, der};
  token.uses = token.max_uses = 1;
  tlx_token_add(txn, &token);
  token = fixture_token("token_cccccccccccccccc", 3, hash);
  token.sensor_id = token.used_by_sensor_id = (char *)SENSOR_B;
  tlx_token_add(txn, &token);
  fixture_commit(txn);
}

static void add_events(struct fixture *fx, const char *sensor, unsigned n) {
  struct tlx_txn *txn = fixture_write(fx);
  for (unsigned i = 0; i < n; i++) {
    Telovix__Store__V1__EventRecord event =
        fixture_event("event_aaaaaaaaaaaaaaaa", sensor, FIXTURE_WALL_MS);
    tlx_event_add(txn, &event, EVENTS_PER_SENSOR_MAX);
  }
  fixture_commit(txn);
}

Test(op_fleet, delete_leaves_tombstones_and_the_log) {
  FIXTURE fx;
  char text[FINDINGS_MAX];
  furnish(&fx);
  queue(&fx, SENSOR_A, ORDER_1);
  queue(&fx, SENSOR_A, ORDER_2);
  queue(&fx, SENSOR_B, "kill_4444444444444444");
  move(&fx, ORDER_2, TLX_ORDER_DELIVERED);
  add_rule(&fx, "rule_aaaaaaaaaaaaaaaa", SENSOR_A, "/a", false, false);
  add_rule(&fx, "rule_bbbbbbbbbbbbbbbb", SENSOR_A, "/b", false, true);
  add_rule(&fx, "rule_cccccccccccccccc", SENSOR_B, "/a", false, false);
  add_events(&fx, SENSOR_A, 7);
  add_events(&fx, SENSOR_B, 2);
  add_events(&fx, SENSOR_A, 1);
  add_tokens(&fx);
  uint64_t seq = audit_seq(&fx);
  struct op_fleet op = run_ok(&fx, op_fleet_delete_run, "web-1", "web-1");
  cr_assert(op.changed);
  cr_assert_eq(op.n_rules, 2);
  cr_assert_eq(op.n_all_orders, 2);
  cr_assert_eq(op.n_events, 8);
  cr_assert_eq(op.n_tokens, 1);
  cr_assert_eq(op.n_orders, 2, "watchers of both are told");
  cr_assert_str_eq(op.orders[0], ORDER_1);
  cr_assert(op.is_cancelled[0] && !op.is_cancelled[1], "and of each what is known");
  cr_assert(strstr(op.notice, "telovix-sensor lift"), "%s", op.notice);
  op_fixture_expect_audit(&fx, "sensor_deleted", true, "\"events\":8,\"node_name\":\"Web-1\"");
  cr_assert_eq(count_audit(&fx, seq, "process_kill_cancelled", "success"), 1);
  cr_assert_eq(count_audit(&fx, seq, "process_kill_finished", "failure"), 1);
  cr_assert_eq(serial_state(&fx, current), TLX_SERIAL_DELETED);
  cr_assert_eq(serial_state(&fx, previous), TLX_SERIAL_DELETED);
  cr_assert_eq(serial_state(&fx, older), TLX_SERIAL_DELETED);
  cr_assert_eq(fixture_verify(&fx, text), 0, "%s", text);
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_null(tlx_sensor_get(txn, SENSOR_A));
  cr_assert_eq(tlx_sensor_find_node(txn, "web-1", NULL, 0), 0);
  cr_assert_null(tlx_rule_get(txn, "rule_aaaaaaaaaaaaaaaa"));
  cr_assert_null(tlx_order_get(txn, ORDER_1));
  cr_assert_eq(tlx_event_count(txn, SENSOR_A), 0);
  cr_assert_null(tlx_token_get(txn, "token_aaaaaaaaaaaaaaaa"));
  /* The token that enrolled it stays used, and leads to nobody any more. */
  const Telovix__Store__V1__TokenRecord *token = tlx_token_get(txn, "token_bbbbbbbbbbbbbbbb");
  cr_assert(token && token->uses == 1);
  cr_assert_str_eq(token->used_by_sensor_id, "");
  cr_assert_eq(token->used_by_key_hash.len + token->issued_certificate.len, 0);
  /* Nobody else is touched. */
  cr_assert(tlx_sensor_get(txn, SENSOR_B));
  cr_assert(tlx_rule_get(txn, "rule_cccccccccccccccc"));
  cr_assert_eq(tlx_event_count(txn, SENSOR_B), 2);
  token = tlx_token_get(txn, "token_cccccccccccccccc");
  cr_assert_str_eq(token->sensor_id, SENSOR_B);
  cr_assert_str_eq(token->used_by_sensor_id, SENSOR_B);
  fixture_commit(txn);
  cr_assert_eq(serial_state(&fx, other), TLX_SERIAL_GOOD);
  cr_assert_eq(serial_state(&fx, of_operator), TLX_SERIAL_GOOD);
  cr_assert_eq(op_fixture_order_state(&fx, "kill_4444444444444444"), TLX_ORDER_QUEUED);
}

Test(op_fleet, delete_wants_the_host_observed_released) {
  FIXTURE fx;
  furnish(&fx);
  /* Still being removed: the host has not confirmed it. */
  add_rule(&fx, "rule_aaaaaaaaaaaaaaaa", SENSOR_A, "", true, true);
  struct op_fleet op = make(op_fleet_delete_run, SENSOR_A, "web-1");
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_FAILED_PRECONDITION);
  cr_assert_str_eq(op.op.status.reason, "not_released");
  op_fixture_expect_audit(&fx, "sensor_deleted", false, "not_released");
  /* A set that this Console does not know may hold one. */
  op = make(op_fleet_delete_run, SENSOR_B, "db-1");
  op.may_be_contained = true;
  op_fixture_run(&fx, &op.op);
  cr_assert_str_eq(op.op.status.reason, "not_released");
  (void)sensor_copy(&fx, SENSOR_A);
  (void)sensor_copy(&fx, SENSOR_B);
  op = make(op_fleet_delete_run, SENSOR_A, "web-1");
  op.force = true;
  op_fixture_run(&fx, &op.op);
  cr_assert_eq(op.op.status.code, TLX_GRPC_OK, "%s", op.op.status.message);
  op_fixture_expect_audit(&fx, "sensor_deleted", true, "\"force\":true");
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(op_fleet, delete_of_all_that_a_sensor_may_have) {
  FIXTURE fx;
  furnish(&fx);
  for (unsigned i = 0; i < 10; i++)
    add_events(&fx, SENSOR_A, EVENTS_PER_SENSOR_MAX / 10);
  struct op_fleet op = run_ok(&fx, op_fleet_delete_run, SENSOR_A, "web-1");
  cr_assert_eq(op.n_events, EVENTS_PER_SENSOR_MAX);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(op_fleet, the_node_name_is_free_again) {
  FIXTURE fx;
  furnish(&fx);
  run_ok(&fx, op_fleet_delete_run, SENSOR_A, "web-1");
  op_fixture_sensor(&fx, "sensor_cccccccccccccccc", "web-1");
  struct op_fleet op = run_ok(&fx, op_fleet_disable_run, "web-1", "");
  cr_assert_str_eq(op.sensor_id, "sensor_cccccccccccccccc");
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

/* ---- tombstones ---- */

Test(op_fleet, tombstones_go_when_nobody_can_come_back_with_them) {
  FIXTURE fx;
  furnish(&fx);
  run_ok(&fx, op_fleet_delete_run, SENSOR_A, "web-1");
  struct op_serial_sweep sweep = {.before_wall_ms = 1000, .n_serials = 4};
  memcpy(sweep.serials[0], older, 16);    /* ended before */
  memcpy(sweep.serials[1], previous, 16); /* ends just then */
  memcpy(sweep.serials[2], other, 16);    /* of a sensor that is there */
  memcpy(sweep.serials[3], "not on record..", 16);
  sweep.op.run = op_serial_sweep_run;
  uint64_t seq = audit_seq(&fx);
  op_fixture_run(&fx, &sweep.op);
  cr_assert_eq(serial_state(&fx, older), 0);
  cr_assert_eq(serial_state(&fx, previous), TLX_SERIAL_DELETED);
  cr_assert_eq(serial_state(&fx, other), TLX_SERIAL_GOOD);
  cr_assert_eq(audit_seq(&fx), seq);
  sweep.before_wall_ms = UINT64_MAX;
  op_fixture_run(&fx, &sweep.op);
  cr_assert_eq(serial_state(&fx, previous), 0);
  cr_assert_eq(serial_state(&fx, other), TLX_SERIAL_GOOD);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}
