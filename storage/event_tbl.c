// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/event_tbl.h"

#include <errno.h>

#include "common/err.h"
#include "storage/meta_tbl.h"
#include "storage/table.h"

/* ---- the index of one sensor ---- */

/* An entry of event_sensor taken apart. */
struct entry {
  uint64_t event_no, count;
};

/* Reads the entry under the cursor; false behind the sensor that |prefix| names. */
static bool entry_read(struct tlx_cursor *cursor, const struct tlx_db_key *prefix,
                       struct entry *ret_entry) {
  struct tlx_db_key_parts key, value;
  /* KEY_LAYOUT: event_sensor starts with the sensor's id. */
  if (!tlx_db_key_has_prefix(&cursor->key, prefix, TLX_DB_KEY_ID_WIDTH)) return false;
  if (!tlx_db_key_parse(TLX_DB_KEY_SENSOR_NO, cursor->key.data, cursor->key.len, &key) ||
      !tlx_db_key_parse(TLX_DB_KEY_NUMBER, cursor->value.data, cursor->value.len, &value)) {
    tlx_txn_fail(cursor->txn, TLX_E_CORRUPT);
    return false;
  }
  *ret_entry = (struct entry){.event_no = key.number, .count = value.number};
  return true;
}

static bool oldest_of(struct tlx_txn *txn, const char *sensor_id, struct entry *ret_entry) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key start;
  if (!tlx_db_key_sensor_no(sensor_id, 0, &start)) return false;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_EVENT_SENSOR);
  return tlx_cursor_seek(&cursor, &start) && entry_read(&cursor, &start, ret_entry);
}

static bool newest_of(struct tlx_txn *txn, const char *sensor_id, struct entry *ret_entry) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key end;
  if (!tlx_db_key_sensor_no(sensor_id, UINT64_MAX, &end)) return false;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_EVENT_SENSOR);
  return tlx_cursor_seek_before(&cursor, &end) && entry_read(&cursor, &end, ret_entry);
}

uint64_t tlx_event_count(struct tlx_txn *txn, const char *sensor_id) {
  struct entry oldest, newest;
  if (!oldest_of(txn, sensor_id, &oldest) || !newest_of(txn, sensor_id, &newest)) return 0;
  if (newest.count >= oldest.count) return newest.count - oldest.count + 1;
  tlx_txn_fail(txn, TLX_E_CORRUPT);
  return 0;
}

/* ---- one event ---- */

static void remove_event(struct tlx_txn *txn, const char *sensor_id, uint64_t event_no) {
  struct tlx_db_key key;
  tlx_db_key_number(event_no, &key);
  tlx_table_remove(txn, TLX_TABLE_EVENT, &key);
  if (tlx_db_key_sensor_no(sensor_id, event_no, &key))
    tlx_table_remove(txn, TLX_TABLE_EVENT_SENSOR, &key);
}

static void prune(struct tlx_txn *txn, const char *sensor_id, unsigned keep) {
  struct entry oldest;
  for (uint64_t n = tlx_event_count(txn, sensor_id); n > keep && !tlx_txn_err(txn); n--) {
    if (!oldest_of(txn, sensor_id, &oldest)) return;
    remove_event(txn, sensor_id, oldest.event_no);
  }
}

void tlx_event_add(struct tlx_txn *txn, Telovix__Store__V1__EventRecord *record, unsigned keep) {
  struct tlx_db_key key, sensor_key;
  struct entry newest = {.count = 0};
  if (!tlx_db_key_sensor_no(record->sensor_id, 0, &sensor_key)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  if (!meta) {
    tlx_txn_fail(txn, TLX_E_CORRUPT);
    return;
  }
  record->event_no = ++meta->event_no;
  tlx_meta_put(txn, meta);
  (void)newest_of(txn, record->sensor_id, &newest);
  tlx_db_key_number(record->event_no, &key);
  tlx_table_append(txn, TLX_TABLE_EVENT, &key, &record->base);
  if (tlx_db_key_sensor_no(record->sensor_id, record->event_no, &sensor_key))
    tlx_table_put_number(txn, TLX_TABLE_EVENT_SENSOR, &sensor_key, newest.count + 1);
  prune(txn, record->sensor_id, keep);
}

unsigned tlx_event_remove_all(struct tlx_txn *txn, const char *sensor_id) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key start;
  struct entry entry;
  unsigned n = 0;
  if (!tlx_db_key_sensor_no(sensor_id, 0, &start)) return 0;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_EVENT_SENSOR);
  for (bool on = tlx_cursor_seek(&cursor, &start); on; on = tlx_cursor_next(&cursor)) {
    if (!entry_read(&cursor, &start, &entry)) break;
    remove_event(txn, sensor_id, entry.event_no);
    n++;
  }
  return n;
}

/* ---- age ---- */

unsigned tlx_event_expire(struct tlx_txn *txn, uint64_t before_wall_ms, unsigned max) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key_parts parts;
  unsigned n = 0;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_EVENT);
  for (bool on = tlx_cursor_first(&cursor); on && n < max; on = tlx_cursor_next(&cursor)) {
    const Telovix__Store__V1__EventRecord *record = tlx_cursor_record(&cursor);
    if (!record || record->received_wall_ms >= before_wall_ms) break;
    if (!tlx_db_key_parse(TLX_DB_KEY_NUMBER, cursor.key.data, cursor.key.len, &parts)) {
      tlx_txn_fail(txn, TLX_E_CORRUPT);
      break;
    }
    remove_event(txn, record->sensor_id, parts.number);
    n++;
  }
  return n;
}

bool tlx_event_is_due(struct tlx_txn *txn, uint64_t before_wall_ms) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  tlx_cursor_open(&cursor, txn, TLX_TABLE_EVENT);
  if (!tlx_cursor_first(&cursor)) return false;
  const Telovix__Store__V1__EventRecord *record = tlx_cursor_record(&cursor);
  return record && record->received_wall_ms < before_wall_ms;
}

/* ---- walks ---- */

/* In which direction, and from where. */
struct walk {
  bool is_upwards;
  uint64_t from_no; /* exclusive */
};

static bool walk_start(struct tlx_cursor *cursor, const struct walk *walk,
                       const struct tlx_db_key *from) {
  if (!walk->is_upwards) return tlx_cursor_seek_before(cursor, from);
  if (!tlx_cursor_seek(cursor, from)) return false;
  bool same = cursor->key.len == from->len && tlx_db_key_has_prefix(&cursor->key, from, from->len);
  return same ? tlx_cursor_next(cursor) : true;
}

static bool walk_on(struct tlx_cursor *cursor, const struct walk *walk) {
  return walk->is_upwards ? tlx_cursor_next(cursor) : tlx_cursor_prev(cursor);
}

static void walk_all(struct tlx_txn *txn, const struct walk *walk,
                     bool (*cb)(void *arg, const Telovix__Store__V1__EventRecord *record),
                     void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key from;
  tlx_db_key_number(walk->from_no, &from);
  tlx_cursor_open(&cursor, txn, TLX_TABLE_EVENT);
  for (bool on = walk_start(&cursor, walk, &from); on; on = walk_on(&cursor, walk)) {
    const Telovix__Store__V1__EventRecord *record = tlx_cursor_record(&cursor);
    if (!record || !cb(arg, record)) break;
  }
}

static void walk_sensor(struct tlx_txn *txn, const char *sensor_id, const struct walk *walk,
                        bool (*cb)(void *arg, const Telovix__Store__V1__EventRecord *record),
                        void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key from, key;
  struct entry entry;
  if (!tlx_db_key_sensor_no(sensor_id, walk->from_no, &from)) return;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_EVENT_SENSOR);
  for (bool on = walk_start(&cursor, walk, &from); on; on = walk_on(&cursor, walk)) {
    if (!entry_read(&cursor, &from, &entry)) break;
    tlx_db_key_number(entry.event_no, &key);
    const Telovix__Store__V1__EventRecord *record =
        tlx_cursor_fetch(&cursor, TLX_TABLE_EVENT, &key);
    if (!record || !cb(arg, record)) break;
  }
}

static void walk(struct tlx_txn *txn, const char *sensor_id, const struct walk *walk,
                 bool (*cb)(void *arg, const Telovix__Store__V1__EventRecord *record), void *arg) {
  if (sensor_id)
    walk_sensor(txn, sensor_id, walk, cb, arg);
  else
    walk_all(txn, walk, cb, arg);
}

void tlx_event_each(struct tlx_txn *txn, const char *sensor_id, uint64_t before_no,
                    bool (*cb)(void *arg, const Telovix__Store__V1__EventRecord *record),
                    void *arg) {
  walk(txn, sensor_id, &(struct walk){.from_no = before_no}, cb, arg);
}

void tlx_event_each_after(struct tlx_txn *txn, const char *sensor_id, uint64_t after_no,
                          bool (*cb)(void *arg, const Telovix__Store__V1__EventRecord *record),
                          void *arg) {
  walk(txn, sensor_id, &(struct walk){.is_upwards = true, .from_no = after_no}, cb, arg);
}
