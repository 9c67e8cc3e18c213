// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op.h"
#include "console/op_identity.h"
#include "storage/token_tbl.h"

/* A new token; the secret itself never gets here, only its SHA-256. */
struct op_token_create {
  struct op op;
  char token_id[32];
  uint8_t secret_hash[32];
  uint32_t kind;
  uint32_t max_uses;
  char sensor[256]; /* of a re-enrollment token: id or node name */
  char name[128], node_name[256];
  struct op_label labels[ENROLL_LABELS_MAX];
  unsigned n_labels;
  uint64_t expires_wall_ms;
  /* out, for pack */
  Telovix__Store__V1__TokenRecord *record;
};
/* Refuses role_too_low for a fleet token without the role admin, and for the re-enrollment of a
 * revoked sensor; unknown_sensor and ambiguous_name of a re-enrollment; too_many_tokens. A
 * re-enrollment token is bound to its sensor's node name too. Audit enrollment_token_created. At
 * TOKENS_MAX the oldest ones that can no longer be used are forgotten first. |op.pack| may pack the
 * whole reply with the secret: it reaches done in |op.reply| once and never the disk. A retry with
 * the same request id is refused with ALREADY_EXISTS token_already_created, naming the token id:
 * the secret is shown once, so the way on is to revoke that token and create another. */
void op_token_create_run(struct op *op, struct tlx_txn *txn);

/* A token taken back before it was used. */
struct op_token_revoke {
  struct op op;
  char token_id[32];
  Telovix__Store__V1__TokenRecord *record;
};
/* Refuses unknown_token; revoking a used, expired or revoked one is FAILED_PRECONDITION
 * token_not_pending. Audit enrollment_token_revoked. */
void op_token_revoke_run(struct op *op, struct tlx_txn *txn);

/* Computed when read: used, revoked, expired, pending (telovix.v1.TokenStatus numbers). Pure. */
unsigned token_status(const Telovix__Store__V1__TokenRecord *record, uint64_t now_wall_ms);
