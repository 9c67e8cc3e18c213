// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_operator.h"

#include "console/authz.h"
#include "console/op_int.h"
#include "console/reasons.h"

#define ACTION "operator_created"

void op_operator_create_run(struct op *base, struct tlx_txn *txn) {
  struct op_operator_create *op = (void *)base;
  json_t *asked = json_object();
  json_object_set_new(asked, "name", op_json_text(op->name));
  json_object_set_new(asked, "role", json_string(authz_role_name(op->role)));
  if (tlx_operator_get(txn, op->name)) {
    tlx_status_set(&base->status, TLX_GRPC_ALREADY_EXISTS, reason_word(REASON_OPERATOR_EXISTS),
                   "there is an operator %s", op->name);
    op_refuse_json(base, txn, ACTION, NULL, asked);
    return;
  }
  Telovix__Store__V1__OperatorRecord record = TELOVIX__STORE__V1__OPERATOR_RECORD__INIT;
  Telovix__Store__V1__SerialRecord serial = TELOVIX__STORE__V1__SERIAL_RECORD__INIT;
  record.name = op->name;
  record.role = op->role;
  record.created_wall_ms = base->actor.wall_ms;
  record.created_by = base->actor.name;
  record.serial = (ProtobufCBinaryData){sizeof op->serial, op->serial};
  record.cert_not_after_wall_ms = op->not_after_wall_ms;
  serial.kind = TLX_SERIAL_OF_OPERATOR;
  serial.owner = op->name;
  serial.not_after_wall_ms = op->not_after_wall_ms;
  serial.state = TLX_SERIAL_GOOD;
  tlx_operator_put(txn, &record);
  tlx_serial_put(txn, op->serial, &serial);
  op_audit_json(base, txn, ACTION, true, NULL, asked);
}
