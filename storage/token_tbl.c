// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/token_tbl.h"

#include <errno.h>
#include <string.h>

#include "common/err.h"
#include "storage/meta_tbl.h"
#include "storage/table.h"

/* The record that an index entry names. An entry without its record is corruption, not "not found".
 */
static Telovix__Store__V1__TokenRecord *get_by_index(struct tlx_txn *txn, enum tlx_table index,
                                                     const struct tlx_db_key *index_key) {
  struct tlx_db_key key;
  uint64_t token_no;
  if (!tlx_table_get_number(txn, index, index_key, &token_no)) return NULL;
  tlx_db_key_number(token_no, &key);
  Telovix__Store__V1__TokenRecord *record = tlx_table_get(txn, TLX_TABLE_TOKEN, &key, NULL);
  if (!record) tlx_txn_fail(txn, TLX_E_CORRUPT);
  return record;
}

Telovix__Store__V1__TokenRecord *tlx_token_get(struct tlx_txn *txn, const char *token_id) {
  struct tlx_db_key key;
  return tlx_db_key_id(token_id, &key) ? get_by_index(txn, TLX_TABLE_TOKEN_ID, &key) : NULL;
}

Telovix__Store__V1__TokenRecord *tlx_token_find(struct tlx_txn *txn,
                                                const uint8_t secret_hash[32]) {
  struct tlx_db_key key;
  return tlx_db_key_blob(secret_hash, 32, &key) ? get_by_index(txn, TLX_TABLE_TOKEN_HASH, &key)
                                                : NULL;
}

/* The two index keys of |record|; fails the transaction when it has none. */
static bool index_keys(struct tlx_txn *txn, const Telovix__Store__V1__TokenRecord *record,
                       struct tlx_db_key *id_key, struct tlx_db_key *hash_key) {
  if (tlx_db_key_id(record->token_id, id_key) && record->secret_hash.len == 32 &&
      tlx_db_key_blob(record->secret_hash.data, 32, hash_key))
    return true;
  tlx_txn_fail(txn, -EINVAL);
  return false;
}

void tlx_token_add(struct tlx_txn *txn, Telovix__Store__V1__TokenRecord *record) {
  struct tlx_db_key key, id_key, hash_key;
  if (!index_keys(txn, record, &id_key, &hash_key)) return;
  if (tlx_table_has(txn, TLX_TABLE_TOKEN_ID, &id_key) ||
      tlx_table_has(txn, TLX_TABLE_TOKEN_HASH, &hash_key)) {
    tlx_txn_fail(txn, TLX_E_EXISTS);
    return;
  }
  Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  if (!meta) {
    tlx_txn_fail(txn, TLX_E_CORRUPT);
    return;
  }
  record->token_no = ++meta->token_no;
  tlx_meta_put(txn, meta);
  tlx_db_key_number(record->token_no, &key);
  tlx_table_append(txn, TLX_TABLE_TOKEN, &key, &record->base);
  tlx_table_put_number(txn, TLX_TABLE_TOKEN_ID, &id_key, record->token_no);
  tlx_table_put_number(txn, TLX_TABLE_TOKEN_HASH, &hash_key, record->token_no);
}

void tlx_token_put(struct tlx_txn *txn, const Telovix__Store__V1__TokenRecord *record) {
  struct tlx_db_key key;
  tlx_db_key_number(record->token_no, &key);
  const Telovix__Store__V1__TokenRecord *old = tlx_table_get(txn, TLX_TABLE_TOKEN, &key, NULL);
  if (!old) {
    tlx_txn_fail(txn, TLX_E_NOT_FOUND);
    return;
  }
  /* Id and secret are what the indexes point with; they never change. */
  if (strcmp(old->token_id, record->token_id) != 0 || record->secret_hash.len != 32 ||
      memcmp(old->secret_hash.data, record->secret_hash.data, 32) != 0) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  tlx_table_put(txn, TLX_TABLE_TOKEN, &key, &record->base);
}

static void remove_uses(struct tlx_txn *txn, const char *token_id) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key prefix;
  if (!tlx_db_key_token_use(token_id, NULL, &prefix)) return;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_TOKEN_USE);
  for (bool on = tlx_cursor_seek(&cursor, &prefix); on; on = tlx_cursor_next(&cursor)) {
    /* KEY_LAYOUT: token_use starts with the token's id. */
    if (!tlx_db_key_has_prefix(&cursor.key, &prefix, prefix.len)) break;
    struct tlx_db_key key = cursor.key;
    tlx_table_remove(txn, TLX_TABLE_TOKEN_USE, &key);
  }
}

void tlx_token_remove(struct tlx_txn *txn, const Telovix__Store__V1__TokenRecord *record) {
  struct tlx_db_key key, id_key, hash_key;
  tlx_db_key_number(record->token_no, &key);
  /* The stored one says which index entries there are; the caller's copy may have been changed. */
  const Telovix__Store__V1__TokenRecord *stored = tlx_table_get(txn, TLX_TABLE_TOKEN, &key, NULL);
  if (!stored) {
    tlx_txn_fail(txn, TLX_E_NOT_FOUND);
    return;
  }
  if (!index_keys(txn, stored, &id_key, &hash_key)) return;
  remove_uses(txn, stored->token_id);
  tlx_table_remove(txn, TLX_TABLE_TOKEN, &key);
  tlx_table_remove(txn, TLX_TABLE_TOKEN_ID, &id_key);
  tlx_table_remove(txn, TLX_TABLE_TOKEN_HASH, &hash_key);
}

uint64_t tlx_token_count(struct tlx_txn *txn) {
  return tlx_table_count(txn, TLX_TABLE_TOKEN);
}

void tlx_token_each(struct tlx_txn *txn, uint64_t before_no,
                    bool (*cb)(void *arg, const Telovix__Store__V1__TokenRecord *record),
                    void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key before;
  tlx_db_key_number(before_no, &before);
  tlx_cursor_open(&cursor, txn, TLX_TABLE_TOKEN);
  for (bool on = tlx_cursor_seek_before(&cursor, &before); on; on = tlx_cursor_prev(&cursor)) {
    const Telovix__Store__V1__TokenRecord *record = tlx_cursor_record(&cursor);
    if (!record || !cb(arg, record)) break;
  }
}

/* ---- uses of fleet tokens ---- */

Telovix__Store__V1__TokenUseRecord *tlx_token_use_get(struct tlx_txn *txn, const char *token_id,
                                                      const uint8_t key_hash[32]) {
  struct tlx_db_key key;
  return tlx_db_key_token_use(token_id, key_hash, &key)
             ? tlx_table_get(txn, TLX_TABLE_TOKEN_USE, &key, NULL)
             : NULL;
}

void tlx_token_use_put(struct tlx_txn *txn, const uint8_t key_hash[32],
                       const Telovix__Store__V1__TokenUseRecord *record) {
  struct tlx_db_key key, token;
  if (!tlx_db_key_token_use(record->token_id, key_hash, &key) ||
      !tlx_db_key_id(record->token_id, &token)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  if (!tlx_table_has(txn, TLX_TABLE_TOKEN_ID, &token)) {
    tlx_txn_fail(txn, TLX_E_NOT_FOUND);
    return;
  }
  tlx_table_put(txn, TLX_TABLE_TOKEN_USE, &key, &record->base);
}

void tlx_token_use_forget(struct tlx_txn *txn, const char *sensor_id) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  tlx_cursor_open(&cursor, txn, TLX_TABLE_TOKEN_USE);
  for (bool on = tlx_cursor_first(&cursor); on; on = tlx_cursor_next(&cursor)) {
    const Telovix__Store__V1__TokenUseRecord *record = tlx_cursor_record(&cursor);
    if (!record) break;
    if (strcmp(record->sensor_id, sensor_id) != 0) continue;
    struct tlx_db_key key = cursor.key;
    tlx_table_remove(txn, TLX_TABLE_TOKEN_USE, &key);
  }
}
