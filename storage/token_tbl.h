// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* Enrollment tokens: `token` by number (newest highest), indexes `token_hash` (SHA-256 of the
 * secret) and `token_id`; and `token_use`, which key used a fleet token and what it got. */

/* The token with this id, in the transaction's arena; NULL when there is none. An index entry
 * without its record fails the transaction with TLX_E_CORRUPT, here and below. */
Telovix__Store__V1__TokenRecord *tlx_token_get(struct tlx_txn *txn, const char *token_id);
/* The token whose secret has this SHA-256: the secret itself is in no store. NULL when there is
 * none. */
Telovix__Store__V1__TokenRecord *tlx_token_find(struct tlx_txn *txn, const uint8_t secret_hash[32]);
/* Gives the record the next number (record->token_no is set) and inserts it. TLX_E_EXISTS for an id
 * or a secret that is there, -EINVAL without a valid id and hash. */
void tlx_token_add(struct tlx_txn *txn, Telovix__Store__V1__TokenRecord *record);
/* Replaces the record with this number (else TLX_E_NOT_FOUND). Id and secret hash never change:
 * -EINVAL. */
void tlx_token_put(struct tlx_txn *txn, const Telovix__Store__V1__TokenRecord *record);
/* Removes the one with record->token_no (else TLX_E_NOT_FOUND), its index entries and its uses. No
 * other field of |record| is looked at. */
void tlx_token_remove(struct tlx_txn *txn, const Telovix__Store__V1__TokenRecord *record);
/* How many there are, in every status. */
uint64_t tlx_token_count(struct tlx_txn *txn);
/* Newest first, starting below |before_no| (UINT64_MAX = newest); the record lives for the
 * callback; false stops. */
void tlx_token_each(struct tlx_txn *txn, uint64_t before_no,
                    bool (*cb)(void *arg, const Telovix__Store__V1__TokenRecord *record),
                    void *arg);
/* What the key with this SHA-256 of its SubjectPublicKeyInfo got for the token; NULL when it did
 * not use it. */
Telovix__Store__V1__TokenUseRecord *tlx_token_use_get(struct tlx_txn *txn, const char *token_id,
                                                      const uint8_t key_hash[32]);
/* Inserts or replaces. TLX_E_NOT_FOUND without the token, -EINVAL for an id that cannot be one. */
void tlx_token_use_put(struct tlx_txn *txn, const uint8_t key_hash[32],
                       const Telovix__Store__V1__TokenUseRecord *record);
/* Forgets what tokens gave to this sensor, which is being deleted. Looks at every use. */
void tlx_token_use_forget(struct tlx_txn *txn, const char *sensor_id);
