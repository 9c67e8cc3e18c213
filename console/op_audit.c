// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/op_audit.h"

void op_audit_only_run(struct op *base, struct tlx_txn *txn) {
  struct op_audit_only *op = (void *)base;
  op_audit(base, txn, op->action_type, op->success, op->sensor_id, *op->detail ? op->detail : NULL);
}

void op_checkpoint_run(struct op *base, struct tlx_txn *txn) {
  struct op_checkpoint *op = (void *)base;
  tlx_sensor_checkpoint(txn, op->list, op->n);
}
