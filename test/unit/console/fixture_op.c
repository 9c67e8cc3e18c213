// SPDX-License-Identifier: GPL-2.0-or-later
#include "fixture_op.h"

#include <stdio.h>
#include <string.h>

#include "storage/audit_tbl.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"

void op_fixture_sensor(struct fixture *fx, const char *id, const char *node) {
  static uint8_t boot_id[16] = {7}, serial[16];
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord record = fixture_sensor(id, node);
  record.trust_state = OP_TRUST_TRUSTED;
  record.last_seen_wall_ms = FIXTURE_WALL_MS;
  record.boot_id = (ProtobufCBinaryData){sizeof boot_id, boot_id};
  record.boot_ns = 5000000000;
  record.serial = (ProtobufCBinaryData){sizeof serial, serial};
  tlx_sensor_put(txn, &record);
  fixture_commit(txn);
}

void op_fixture_actor(struct op *op, uint64_t wall_ms) {
  strcpy(op->actor.name, "bob");
  strcpy(op->actor.role, "operator");
  op->actor.wall_ms = wall_ms;
}

void op_fixture_run(struct fixture *fx, struct op *op) {
  struct tlx_txn *txn = fixture_write(fx);
  op_execute(op, txn);
  fixture_commit(txn);
}

void op_fixture_expect_audit(struct fixture *fx, const char *action_type, bool success,
                             const char *detail_part) {
  struct tlx_txn *txn = fixture_read(fx);
  struct tlx_audit_head head;
  tlx_audit_head(txn, &head);
  const Telovix__Store__V1__AuditRecord *record = tlx_audit_get(txn, head.seq);
  cr_assert(record);
  cr_assert_str_eq(record->action_type, action_type);
  cr_assert_str_eq(record->outcome, success ? "success" : "failure");
  cr_assert(strstr(record->detail, detail_part), "%s is not in %s", detail_part, record->detail);
  fixture_commit(txn);
}

uint32_t op_fixture_order_state(struct fixture *fx, const char *order_id) {
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, order_id);
  cr_assert(record, "%s is not there", order_id);
  uint32_t state = record->state;
  fixture_commit(txn);
  return state;
}
