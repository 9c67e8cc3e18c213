// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op.h"

/* A record that stands for itself: console_started, console_initialized, access_denied,
 * sensor_rejected, audit_exported. */
struct op_audit_only {
  struct op op;
  char action_type[48];
  bool success;
  char sensor_id[32];
  char detail[1024]; /* compact sorted JSON */
};
/* Appends the record. Refuses nothing. */
void op_audit_only_run(struct op *op, struct tlx_txn *txn);
/* Last-seen times, written behind. */
struct op_checkpoint {
  struct op op;
  struct tlx_sensor_seen *list; /* heap, owned */
  size_t n;
};
/* Writes them in one go; audits nothing. Sorts |list|. */
void op_checkpoint_run(struct op *op, struct tlx_txn *txn);
