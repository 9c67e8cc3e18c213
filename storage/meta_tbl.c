// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/meta_tbl.h"

#include <errno.h>

#include "common/err.h"
#include "storage/table.h"

/* There is one meta record, under this id. */
#define META_ID "store"

Telovix__Store__V1__MetaRecord *tlx_meta_get(struct tlx_txn *txn) {
  struct tlx_db_key key;
  return tlx_db_key_id(META_ID, &key) ? tlx_table_get(txn, TLX_TABLE_META, &key, NULL) : NULL;
}

void tlx_meta_put(struct tlx_txn *txn, const Telovix__Store__V1__MetaRecord *record) {
  struct tlx_db_key key;
  Telovix__Store__V1__MetaRecord copy = *record;
  if (!tlx_db_key_id(META_ID, &key)) return;
  /* A number is given once: a caller's copy from before an order, a token or an event was added
   * must not take it back. */
  const Telovix__Store__V1__MetaRecord *old = tlx_meta_get(txn);
  if (old && old->queue_no > copy.queue_no) copy.queue_no = old->queue_no;
  if (old && old->token_no > copy.token_no) copy.token_no = old->token_no;
  if (old && old->event_no > copy.event_no) copy.event_no = old->event_no;
  tlx_table_put(txn, TLX_TABLE_META, &key, &copy.base);
}

/* ---- answered changes ---- */

static bool expired(uint64_t created_wall_ms, uint64_t now_wall_ms) {
  return now_wall_ms >= created_wall_ms && now_wall_ms - created_wall_ms >= TLX_REQUEST_LIFE_MS;
}

Telovix__Store__V1__RequestRecord *tlx_request_get(struct tlx_txn *txn, const char *operator_name,
                                                   const char *request_id, uint64_t now_wall_ms) {
  struct tlx_db_key key;
  if (!tlx_db_key_request(operator_name, request_id, &key)) return NULL;
  Telovix__Store__V1__RequestRecord *record = tlx_table_get(txn, TLX_TABLE_REQUEST, &key, NULL);
  return record && !expired(record->created_wall_ms, now_wall_ms) ? record : NULL;
}

/* Removes the record and the index entry that |parts| of a request_time key names. */
static void forget(struct tlx_txn *txn, const struct tlx_db_key_parts *parts) {
  struct tlx_db_key key;
  if (tlx_db_key_request(parts->name, parts->request_id, &key))
    tlx_table_remove(txn, TLX_TABLE_REQUEST, &key);
  if (tlx_db_key_request_time(parts->name, parts->number, parts->request_id, &key))
    tlx_table_remove(txn, TLX_TABLE_REQUEST_TIME, &key);
}

/* The newest TLX_REQUESTS_MAX of the operator stay, less those whose time is over. The walk goes
 * from the newest to the oldest and ends at the operator's first entry: at most one more than the
 * limit in the long run. */
static void prune(struct tlx_txn *txn, const char *operator_name, uint64_t now_wall_ms) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key end;
  struct tlx_db_key_parts parts;
  unsigned n = 0;
  if (!tlx_db_key_operator(operator_name, &end)) return;
  /* KEY_LAYOUT: request_time starts with the operator's name; the last number is behind all of its
   * keys. */
  struct tlx_db_key prefix = end;
  for (int i = 0; i < 8; i++)
    end.data[end.len++] = 0xff;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_REQUEST_TIME);
  for (bool on = tlx_cursor_seek_before(&cursor, &end); on; on = tlx_cursor_prev(&cursor)) {
    if (!tlx_db_key_has_prefix(&cursor.key, &prefix, prefix.len)) break;
    if (!tlx_db_key_parse(TLX_DB_KEY_REQUEST_TIME, cursor.key.data, cursor.key.len, &parts)) {
      tlx_txn_fail(txn, TLX_E_CORRUPT);
      break;
    }
    if (++n > TLX_REQUESTS_MAX || expired(parts.number, now_wall_ms)) forget(txn, &parts);
  }
}

void tlx_request_put(struct tlx_txn *txn, const char *operator_name, const char *request_id,
                     const Telovix__Store__V1__RequestRecord *record) {
  struct tlx_db_key key, time_key;
  if (!tlx_db_key_request(operator_name, request_id, &key) ||
      !tlx_db_key_request_time(operator_name, record->created_wall_ms, request_id, &time_key)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  struct tlx_db_key old_time_key;
  const Telovix__Store__V1__RequestRecord *old = tlx_table_get(txn, TLX_TABLE_REQUEST, &key, NULL);
  if (old &&
      tlx_db_key_request_time(operator_name, old->created_wall_ms, request_id, &old_time_key))
    tlx_table_remove(txn, TLX_TABLE_REQUEST_TIME, &old_time_key);
  tlx_table_put(txn, TLX_TABLE_REQUEST, &key, &record->base);
  tlx_table_put_raw(txn, TLX_TABLE_REQUEST_TIME, &time_key, NULL, 0);
  prune(txn, operator_name, record->created_wall_ms);
}
