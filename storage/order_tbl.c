// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/order_tbl.h"

#include <errno.h>
#include <string.h>

#include "common/err.h"
#include "storage/meta_tbl.h"
#include "storage/order_tbl_int.h"
#include "storage/table.h"

/* ---- states ---- */

#define BIT(state) (1u << TLX_ORDER_##state)
#define STATE_LAST TLX_ORDER_RESULT_UNKNOWN
/* What a sensor can report as the end. */
#define REPORTED_ENDS                                                                              \
  (BIT(KILLED) | BIT(ALREADY_GONE) | BIT(IDENTITY_MISMATCH) | BIT(PROTECTED) | BIT(FAILED))

const char *tlx_order_state_name(unsigned state) {
  switch (state) {
#define X(name, number, text)                                                                      \
  case TLX_ORDER_##name:                                                                           \
    return text;
    TLX_ORDER_STATE_MAP(X)
#undef X
  default:
    return "unknown";
  }
}

bool tlx_order_state_ended(unsigned state) {
  return state <= STATE_LAST && state != 0 &&
         !((1u << state) & (BIT(QUEUED) | BIT(DELIVERED) | BIT(STILL_ALIVE)));
}

/* The states that may follow |state|, as bits. */
static unsigned successors(unsigned state) {
  switch (state) {
  case TLX_ORDER_QUEUED:
    /* Nothing was handed out yet, so only here "expired" and "cancelled" are true words, and no
     * sensor can know an end of it. */
    return BIT(DELIVERED) | BIT(EXPIRED) | BIT(CANCELLED);
  case TLX_ORDER_DELIVERED:
  case TLX_ORDER_STILL_ALIVE:
    return BIT(STILL_ALIVE) | REPORTED_ENDS | BIT(RESULT_UNKNOWN);
  case TLX_ORDER_RESULT_UNKNOWN:
    return REPORTED_ENDS; /* the late report */
  default:
    return 0;
  }
}

bool tlx_order_move_allowed(unsigned from, unsigned to) {
  return to <= STATE_LAST && (successors(from) >> to & 1);
}

bool tlx_order_due(const Telovix__Store__V1__OrderRecord *record, uint64_t *ret_due_wall_ms) {
  if (tlx_order_state_ended(record->state)) return false;
  uint64_t grace = record->state == TLX_ORDER_QUEUED ? 0 : TLX_ORDER_RESULT_GRACE_MS;
  uint64_t life_end = record->expires_wall_ms;
  *ret_due_wall_ms = life_end > UINT64_MAX - grace ? UINT64_MAX : life_end + grace;
  return true;
}

/* ---- one order ---- */

Telovix__Store__V1__OrderRecord *tlx_order_get(struct tlx_txn *txn, const char *order_id) {
  struct tlx_db_key key;
  uint64_t queue_no;
  if (!tlx_db_key_id(order_id, &key) ||
      !tlx_table_get_number(txn, TLX_TABLE_ORDER_ID, &key, &queue_no))
    return NULL;
  tlx_db_key_number(queue_no, &key);
  Telovix__Store__V1__OrderRecord *record = tlx_table_get(txn, TLX_TABLE_ORDER, &key, NULL);
  if (!record) tlx_txn_fail(txn, TLX_E_CORRUPT);
  return record;
}

/* Brings order_open in line with the record. */
static void open_entry_write(struct tlx_txn *txn, const Telovix__Store__V1__OrderRecord *record) {
  struct tlx_db_key key;
  uint64_t due_wall_ms;
  if (!tlx_db_key_sensor_no(record->sensor_id, record->queue_no, &key)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  if (tlx_order_due(record, &due_wall_ms))
    tlx_table_put_number(txn, TLX_TABLE_ORDER_OPEN, &key, due_wall_ms);
  else
    tlx_table_remove(txn, TLX_TABLE_ORDER_OPEN, &key);
}

/* Removes the order that the order_sensor key |sensor_key| names, with its index entries. */
static void remove_order(struct tlx_cursor *cursor, const struct tlx_db_key *sensor_key,
                         uint64_t queue_no) {
  struct tlx_txn *txn = cursor->txn;
  struct tlx_db_key key, id_key;
  tlx_db_key_number(queue_no, &key);
  const Telovix__Store__V1__OrderRecord *record = tlx_cursor_fetch(cursor, TLX_TABLE_ORDER, &key);
  if (!record) return;
  if (tlx_db_key_id(record->order_id, &id_key)) tlx_table_remove(txn, TLX_TABLE_ORDER_ID, &id_key);
  tlx_table_remove(txn, TLX_TABLE_ORDER, &key);
  tlx_table_remove(txn, TLX_TABLE_ORDER_SENSOR, sensor_key);
  tlx_table_remove(txn, TLX_TABLE_ORDER_OPEN, sensor_key);
}

/* The number in an order_sensor or order_open key of the sensor |prefix| names; false behind its
 * last one. */
static bool entry_number(struct tlx_cursor *cursor, const struct tlx_db_key *prefix,
                         uint64_t *queue_no) {
  struct tlx_db_key_parts parts;
  /* KEY_LAYOUT: order_sensor and order_open start with the sensor's id. */
  if (!tlx_db_key_has_prefix(&cursor->key, prefix, TLX_DB_KEY_ID_WIDTH)) return false;
  if (!tlx_db_key_parse(TLX_DB_KEY_SENSOR_NO, cursor->key.data, cursor->key.len, &parts)) {
    tlx_txn_fail(cursor->txn, TLX_E_CORRUPT);
    return false;
  }
  *queue_no = parts.number;
  return true;
}

/* Whether an order is open is asked of the small index, so that the walk unpacks only what it
 * removes. */
static void prune(struct tlx_txn *txn, const char *sensor_id, unsigned keep_ended) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key end;
  uint64_t queue_no;
  unsigned n_ended = 0;
  if (!tlx_db_key_sensor_no(sensor_id, UINT64_MAX, &end)) return;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_ORDER_SENSOR);
  for (bool on = tlx_cursor_seek_before(&cursor, &end); on; on = tlx_cursor_prev(&cursor)) {
    if (!entry_number(&cursor, &end, &queue_no)) break;
    if (tlx_table_has(txn, TLX_TABLE_ORDER_OPEN, &cursor.key)) continue;
    if (++n_ended > keep_ended) {
      struct tlx_db_key sensor_key = cursor.key;
      remove_order(&cursor, &sensor_key, queue_no);
    }
  }
}

void tlx_order_add(struct tlx_txn *txn, Telovix__Store__V1__OrderRecord *record,
                   unsigned keep_ended) {
  struct tlx_db_key key, id_key, sensor_key;
  if (!tlx_db_key_id(record->order_id, &id_key) ||
      !tlx_db_key_sensor_no(record->sensor_id, 0, &sensor_key)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  if (tlx_table_has(txn, TLX_TABLE_ORDER_ID, &id_key)) {
    tlx_txn_fail(txn, TLX_E_EXISTS);
    return;
  }
  Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  if (!meta) {
    tlx_txn_fail(txn, TLX_E_CORRUPT);
    return;
  }
  record->queue_no = ++meta->queue_no;
  record->state = TLX_ORDER_QUEUED;
  tlx_meta_put(txn, meta);
  tlx_db_key_number(record->queue_no, &key);
  tlx_table_append(txn, TLX_TABLE_ORDER, &key, &record->base);
  tlx_table_put_number(txn, TLX_TABLE_ORDER_ID, &id_key, record->queue_no);
  if (tlx_db_key_sensor_no(record->sensor_id, record->queue_no, &sensor_key))
    tlx_table_put_raw(txn, TLX_TABLE_ORDER_SENSOR, &sensor_key, NULL, 0);
  open_entry_write(txn, record);
  prune(txn, record->sensor_id, keep_ended);
}

void tlx_order_put(struct tlx_txn *txn, const Telovix__Store__V1__OrderRecord *record) {
  struct tlx_db_key key;
  const Telovix__Store__V1__OrderRecord *stored = tlx_order_get(txn, record->order_id);
  if (!stored) {
    tlx_txn_fail(txn, TLX_E_NOT_FOUND);
    return;
  }
  if (stored->queue_no != record->queue_no || strcmp(stored->sensor_id, record->sensor_id) != 0) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  if (!tlx_order_move_allowed(stored->state, record->state)) {
    tlx_txn_fail(txn, TLX_E_CONFLICT);
    return;
  }
  tlx_db_key_number(record->queue_no, &key);
  tlx_table_put(txn, TLX_TABLE_ORDER, &key, &record->base);
  open_entry_write(txn, record);
}

unsigned tlx_order_remove_all(struct tlx_txn *txn, const char *sensor_id) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key start;
  uint64_t queue_no;
  unsigned n = 0;
  if (!tlx_db_key_sensor_no(sensor_id, 0, &start)) return 0;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_ORDER_SENSOR);
  for (bool on = tlx_cursor_seek(&cursor, &start); on; on = tlx_cursor_next(&cursor)) {
    if (!entry_number(&cursor, &start, &queue_no)) break;
    struct tlx_db_key sensor_key = cursor.key;
    remove_order(&cursor, &sensor_key, queue_no);
    n++;
  }
  return n;
}

/* ---- walks ---- */

void tlx_order_each_open(struct tlx_txn *txn, const char *sensor_id,
                         bool (*cb)(void *arg, const Telovix__Store__V1__OrderRecord *record),
                         void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key start, key;
  uint64_t queue_no;
  if (!tlx_db_key_sensor_no(sensor_id, 0, &start)) return;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_ORDER_OPEN);
  for (bool on = tlx_cursor_seek(&cursor, &start); on; on = tlx_cursor_next(&cursor)) {
    if (!entry_number(&cursor, &start, &queue_no)) break;
    tlx_db_key_number(queue_no, &key);
    const Telovix__Store__V1__OrderRecord *record =
        tlx_cursor_fetch(&cursor, TLX_TABLE_ORDER, &key);
    if (!record || !cb(arg, record)) break;
  }
}

unsigned tlx_order_count_open(struct tlx_txn *txn, const char *sensor_id) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key start;
  uint64_t queue_no;
  unsigned n = 0;
  if (!tlx_db_key_sensor_no(sensor_id, 0, &start)) return 0;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_ORDER_OPEN);
  for (bool on = tlx_cursor_seek(&cursor, &start); on; on = tlx_cursor_next(&cursor)) {
    if (!entry_number(&cursor, &start, &queue_no)) break;
    n++;
  }
  return n;
}

void tlx_order_each_due(struct tlx_txn *txn, uint64_t wall_ms,
                        bool (*cb)(void *arg, const Telovix__Store__V1__OrderRecord *record),
                        void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key_parts due, entry;
  struct tlx_db_key key;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_ORDER_OPEN);
  for (bool on = tlx_cursor_first(&cursor); on; on = tlx_cursor_next(&cursor)) {
    if (!tlx_db_key_parse(TLX_DB_KEY_NUMBER, cursor.value.data, cursor.value.len, &due) ||
        !tlx_db_key_parse(TLX_DB_KEY_SENSOR_NO, cursor.key.data, cursor.key.len, &entry)) {
      tlx_txn_fail(txn, TLX_E_CORRUPT);
      break;
    }
    if (due.number > wall_ms) continue;
    tlx_db_key_number(entry.number, &key);
    const Telovix__Store__V1__OrderRecord *record =
        tlx_cursor_fetch(&cursor, TLX_TABLE_ORDER, &key);
    if (!record || !cb(arg, record)) break;
  }
}

static void each_of_all(struct tlx_txn *txn, uint64_t before_no,
                        bool (*cb)(void *arg, const Telovix__Store__V1__OrderRecord *record),
                        void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key before;
  tlx_db_key_number(before_no, &before);
  tlx_cursor_open(&cursor, txn, TLX_TABLE_ORDER);
  for (bool on = tlx_cursor_seek_before(&cursor, &before); on; on = tlx_cursor_prev(&cursor)) {
    const Telovix__Store__V1__OrderRecord *record = tlx_cursor_record(&cursor);
    if (!record || !cb(arg, record)) break;
  }
}

void tlx_order_each(struct tlx_txn *txn, const char *sensor_id, uint64_t before_no,
                    bool (*cb)(void *arg, const Telovix__Store__V1__OrderRecord *record),
                    void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key before, key;
  uint64_t queue_no;
  if (!sensor_id) {
    each_of_all(txn, before_no, cb, arg);
    return;
  }
  if (!tlx_db_key_sensor_no(sensor_id, before_no, &before)) return;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_ORDER_SENSOR);
  for (bool on = tlx_cursor_seek_before(&cursor, &before); on; on = tlx_cursor_prev(&cursor)) {
    if (!entry_number(&cursor, &before, &queue_no)) break;
    tlx_db_key_number(queue_no, &key);
    const Telovix__Store__V1__OrderRecord *record =
        tlx_cursor_fetch(&cursor, TLX_TABLE_ORDER, &key);
    if (!record || !cb(arg, record)) break;
  }
}
