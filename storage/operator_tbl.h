// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* Operators (`operator` by name). */
/* The operator of this name, in the transaction's arena; NULL when there is none. */
Telovix__Store__V1__OperatorRecord *tlx_operator_get(struct tlx_txn *txn, const char *name);
/* Inserts or replaces; -EINVAL for a name that cannot be one. */
void tlx_operator_put(struct tlx_txn *txn, const Telovix__Store__V1__OperatorRecord *record);
/* How many there are, revoked ones included. */
uint64_t tlx_operator_count(struct tlx_txn *txn);
/* In order of names, starting behind |after| (NULL = from the first); the record lives for the
 * callback; false stops. */
void tlx_operator_each(struct tlx_txn *txn, const char *after,
                       bool (*cb)(void *arg, const Telovix__Store__V1__OperatorRecord *record),
                       void *arg);
