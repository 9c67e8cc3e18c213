// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op.h"
#include "pki/cert.h"
#include "storage/operator_tbl.h"

/* Records an operator and his certificate's serial (the first admin at init). Refuses
 * ALREADY_EXISTS operator_exists. Audit operator_created. */
struct op_operator_create {
  struct op op;
  char name[64];
  uint32_t role; /* telovix.v1.Role */
  uint8_t serial[TLX_SERIAL_LEN];
  uint64_t not_after_wall_ms;
};
/* Stores operator and serial. */
void op_operator_create_run(struct op *op, struct tlx_txn *txn);
