// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* Facts of the whole store (`meta`) and answered changes (`request`, by operator and request id).
 */
/* The one record of the whole store, in the transaction's arena. NULL when there is none, which
 * only a store in the making has, or when |txn| has failed. */
Telovix__Store__V1__MetaRecord *tlx_meta_get(struct tlx_txn *txn);
/* Replaces it; the numbers given to orders, tokens and events never go down. */
void tlx_meta_put(struct tlx_txn *txn, const Telovix__Store__V1__MetaRecord *record);

#define TLX_REQUEST_LIFE_MS (24ull * 3600 * 1000)
#define TLX_REQUESTS_MAX 1000u /* an operator; the oldest is forgotten first */
/* The answer given to this request, NULL when none is remembered (older than 24 h counts as none).
 */
Telovix__Store__V1__RequestRecord *tlx_request_get(struct tlx_txn *txn, const char *operator_name,
                                                   const char *request_id, uint64_t now_wall_ms);
/* Remembers an answer (a second one under the same id replaces it) and forgets what is over the
 * limits of this operator at record->created_wall_ms. -EINVAL for a name or id that cannot be one.
 */
void tlx_request_put(struct tlx_txn *txn, const char *operator_name, const char *request_id,
                     const Telovix__Store__V1__RequestRecord *record);
