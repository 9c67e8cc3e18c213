// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op.h"
#include "pki/cert.h"
#include "storage/operator_tbl.h"

/* Changes of operators. A name is given once and for all: the audit log tells by it who did what.
 * |record| of each is the operator as it is after the change, for pack; it lives in the
 * transaction. */

/* Records an operator and his certificate's serial, which was signed before. Refuses ALREADY_EXISTS
 * operator_exists (revoked ones too), RESOURCE_EXHAUSTED too_many_operators. Audit
 * operator_created. */
struct op_operator_create {
  struct op op;
  char name[64];
  uint32_t role; /* telovix.v1.Role */
  uint8_t serial[TLX_SERIAL_LEN];
  uint64_t not_after_wall_ms;
  struct tlx_buf rest; /* of the packed reply: everything but the operator. Owned */
  Telovix__Store__V1__OperatorRecord *record;
};
/* Stores operator and serial. */
void op_operator_create_run(struct op *op, struct tlx_txn *txn);

/* The actor's own new certificate. The one of this call stays good until the new one is first used;
 * a newer one that never was used is given up. Refuses UNAUTHENTICATED certificate_superseded when
 * the call's certificate is neither. Audit operator_certificate_renewed. */
struct op_operator_renew {
  struct op op;
  uint8_t own_serial[TLX_SERIAL_LEN]; /* of the certificate that asks */
  uint8_t serial[TLX_SERIAL_LEN];
  uint64_t not_after_wall_ms;
  struct tlx_buf rest; /* as above */
  Telovix__Store__V1__OperatorRecord *record;
};
/* Stores the new serial, not used yet. */
void op_operator_renew_run(struct op *op, struct tlx_txn *txn);

/* A certificate was used for the first time: the one before it is good no longer. Changes nothing
 * when that was known or the certificate is not the current one. Audits nothing. */
struct op_operator_used {
  struct op op;
  char name[64];
  uint8_t serial[TLX_SERIAL_LEN];
};
/* Marks both. */
void op_operator_used_run(struct op *op, struct tlx_txn *txn);

/* Another role, or the end of an operator. Refuses NOT_FOUND unknown_operator, FAILED_PRECONDITION
 * last_admin (at least one admin who is not revoked stays) and, for a role, operator_is_revoked.
 * What is so already is done again, with "changed":false in the detail. Audit operator_role_changed
 * and operator_revoked. */
struct op_operator_change {
  struct op op;
  char name[64];
  uint32_t role; /* telovix.v1.Role; not used by a revocation */
  Telovix__Store__V1__OperatorRecord *record;
};
/* Gives the role. */
void op_operator_role_run(struct op *op, struct tlx_txn *txn);
/* Marks operator and serials. */
void op_operator_revoke_run(struct op *op, struct tlx_txn *txn);
