// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>

#include "common/arena.h"
#include "storage/store.h"

/* Transactions whose first error sticks: later operations do nothing, commit aborts and returns it,
 * the caller looks once. "Not found" is an answer, not an error. Records that a table function
 * returns live in the transaction's arena until tlx_txn_forget or its end; no LMDB pointer gets
 * out. Read transactions: any thread, short. Write transactions: one at a time (a second begin
 * waits). */
struct tlx_txn;

/* A snapshot of what is committed; end it soon with tlx_txn_abort, or freed pages cannot be used
 * again and the file grows. 0 or a negative error. */
int tlx_txn_begin_read(struct tlx_store *store, struct tlx_txn **ret_txn);
/* The one write transaction; waits for another one to end. 0 or a negative error. */
int tlx_txn_begin_write(struct tlx_store *store, struct tlx_txn **ret_txn);
/* Durable when it returns 0. Frees |txn| in any case; returns the sticky error otherwise. */
int tlx_txn_commit(struct tlx_txn *txn);
/* Undoes everything and frees. NULL is fine. */
void tlx_txn_abort(struct tlx_txn *txn);
/* For TLX_AUTOTXN. */
static inline void tlx_txn_abort_p(struct tlx_txn **txn) {
  tlx_txn_abort(*txn);
}
#define TLX_AUTOTXN TLX_CLEANUP(tlx_txn_abort_p)
/* The sticky error, 0 = none. */
int tlx_txn_err(const struct tlx_txn *txn);
/* Sets it to the negative |err|, unless there is one. Returns the sticky one. */
int tlx_txn_fail(struct tlx_txn *txn, int err);
/* Arena of the returned records; callers may put there what lives as long. At most 64 MiB. */
struct tlx_arena *tlx_txn_arena(struct tlx_txn *txn);
/* Drops all records that were returned so far (between the ops of a batch). */
void tlx_txn_forget(struct tlx_txn *txn);
