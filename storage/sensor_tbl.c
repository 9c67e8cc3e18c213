// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/sensor_tbl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "storage/table.h"

Telovix__Store__V1__SensorRecord *tlx_sensor_get(struct tlx_txn *txn, const char *sensor_id) {
  struct tlx_db_key key;
  return tlx_db_key_id(sensor_id, &key) ? tlx_table_get(txn, TLX_TABLE_SENSOR, &key, NULL) : NULL;
}

void tlx_sensor_put(struct tlx_txn *txn, const Telovix__Store__V1__SensorRecord *record) {
  struct tlx_db_key key, node_key, old_node_key;
  if (!tlx_db_key_id(record->sensor_id, &key) ||
      !tlx_db_key_node(record->node_name, record->sensor_id, &node_key)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  const Telovix__Store__V1__SensorRecord *old = tlx_table_get(txn, TLX_TABLE_SENSOR, &key, NULL);
  Telovix__Store__V1__SensorRecord copy = *record;
  /* A caller's copy from before a rule was changed must not name a set that is no more. */
  if (old && old->desired_generation > copy.desired_generation) {
    copy.desired_generation = old->desired_generation;
    copy.desired_digest = old->desired_digest;
  }
  tlx_table_put(txn, TLX_TABLE_SENSOR, &key, &copy.base);
  /* Most changes keep the name; then no page of the index is written. */
  if (tlx_table_has(txn, TLX_TABLE_SENSOR_NODE, &node_key)) return;
  if (old && tlx_db_key_node(old->node_name, old->sensor_id, &old_node_key))
    tlx_table_remove(txn, TLX_TABLE_SENSOR_NODE, &old_node_key);
  tlx_table_put_raw(txn, TLX_TABLE_SENSOR_NODE, &node_key, NULL, 0);
}

/* The id in a sensor_node key; NULL (and the transaction has failed) when it is none. */
static const char *node_entry_id(struct tlx_cursor *cursor, struct tlx_db_key_parts *parts) {
  if (tlx_db_key_parse(TLX_DB_KEY_NODE, cursor->key.data, cursor->key.len, parts)) return parts->id;
  tlx_txn_fail(cursor->txn, TLX_E_CORRUPT);
  return NULL;
}

/* Places the cursor on the first entry behind (after_node, after_id). */
static bool seek_behind(struct tlx_cursor *cursor, const char *after_node, const char *after_id) {
  struct tlx_db_key after;
  if (!after_node || !*after_node) return tlx_cursor_first(cursor);
  if (after_id && !*after_id) after_id = NULL;
  if (!tlx_db_key_node(after_node, after_id, &after)) {
    tlx_txn_fail(cursor->txn, -EINVAL);
    return false;
  }
  if (!tlx_cursor_seek(cursor, &after)) return false;
  bool same =
      cursor->key.len == after.len && tlx_db_key_has_prefix(&cursor->key, &after, after.len);
  return same ? tlx_cursor_next(cursor) : true;
}

void tlx_sensor_each(struct tlx_txn *txn, const char *after_node, const char *after_id,
                     bool (*cb)(void *arg, const Telovix__Store__V1__SensorRecord *record),
                     void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key_parts parts;
  struct tlx_db_key key;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_SENSOR_NODE);
  for (bool on = seek_behind(&cursor, after_node, after_id); on; on = tlx_cursor_next(&cursor)) {
    const char *id = node_entry_id(&cursor, &parts);
    if (!id || !tlx_db_key_id(id, &key)) break;
    const Telovix__Store__V1__SensorRecord *record =
        tlx_cursor_fetch(&cursor, TLX_TABLE_SENSOR, &key);
    if (!record || !cb(arg, record)) break;
  }
}

unsigned tlx_sensor_find_node(struct tlx_txn *txn, const char *node_name, char (*ret_ids)[32],
                              unsigned max) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key prefix;
  struct tlx_db_key_parts parts;
  unsigned n = 0;
  if (!tlx_db_key_node(node_name, NULL, &prefix)) return 0;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_SENSOR_NODE);
  for (bool on = tlx_cursor_seek(&cursor, &prefix); on; on = tlx_cursor_next(&cursor)) {
    /* KEY_LAYOUT: sensor_node starts with the folded name and a NUL. */
    if (!tlx_db_key_has_prefix(&cursor.key, &prefix, prefix.len)) break;
    const char *id = node_entry_id(&cursor, &parts);
    if (!id) return 0;
    if (n < max) snprintf(ret_ids[n], sizeof ret_ids[n], "%s", id);
    n++;
  }
  return n;
}

/* ---- what heartbeats change ---- */

static int seen_compare(const void *a, const void *b) {
  return strncmp(((const struct tlx_sensor_seen *)a)->sensor_id,
                 ((const struct tlx_sensor_seen *)b)->sensor_id, TLX_DB_KEY_ID_WIDTH);
}

/* Sets the fields of |seen|; false when the record has them already. */
static bool seen_apply(struct tlx_sensor_seen *seen, Telovix__Store__V1__SensorRecord *record) {
  bool same_boot = record->boot_id.len == sizeof seen->boot_id &&
                   memcmp(record->boot_id.data, seen->boot_id, sizeof seen->boot_id) == 0;
  if (same_boot && record->last_seen_wall_ms == seen->last_seen_wall_ms &&
      record->boot_ns == seen->boot_ns && strcmp(record->peer_address, seen->peer_address) == 0)
    return false;
  record->last_seen_wall_ms = seen->last_seen_wall_ms;
  record->boot_ns = seen->boot_ns;
  record->boot_id = (ProtobufCBinaryData){sizeof seen->boot_id, seen->boot_id};
  record->peer_address = seen->peer_address;
  return true;
}

void tlx_sensor_checkpoint(struct tlx_txn *txn, struct tlx_sensor_seen *list, size_t n) {
  struct tlx_arena arena;
  struct tlx_db_key key;
  /* In key order each page of the table is read and written once, not once a sensor. */
  if (n) qsort(list, n, sizeof *list, seen_compare);
  tlx_arena_init(&arena, TLX_RECORD_UNPACKED_MAX);
  for (size_t i = 0; i < n && !tlx_txn_err(txn); i++) {
    list[i].sensor_id[sizeof list[i].sensor_id - 1] = 0;
    list[i].peer_address[sizeof list[i].peer_address - 1] = 0;
    if (!tlx_db_key_id(list[i].sensor_id, &key)) continue;
    /* The stored record is the base: an op may have changed other fields since the heartbeat. */
    Telovix__Store__V1__SensorRecord *record = tlx_table_get(txn, TLX_TABLE_SENSOR, &key, &arena);
    if (record && seen_apply(&list[i], record))
      tlx_table_put(txn, TLX_TABLE_SENSOR, &key, &record->base);
    tlx_arena_reset(&arena);
  }
  tlx_arena_done(&arena);
}

void tlx_sensor_remove(struct tlx_txn *txn, const char *sensor_id) {
  struct tlx_db_key key, node_key;
  if (!tlx_db_key_id(sensor_id, &key)) return;
  const Telovix__Store__V1__SensorRecord *record = tlx_table_get(txn, TLX_TABLE_SENSOR, &key, NULL);
  if (!record) return;
  if (tlx_db_key_node(record->node_name, sensor_id, &node_key))
    tlx_table_remove(txn, TLX_TABLE_SENSOR_NODE, &node_key);
  tlx_table_remove(txn, TLX_TABLE_SENSOR, &key);
}

/* ---- certificates ---- */

Telovix__Store__V1__SerialRecord *tlx_serial_get(struct tlx_txn *txn, const uint8_t serial[16]) {
  struct tlx_db_key key;
  return tlx_db_key_blob(serial, 16, &key) ? tlx_table_get(txn, TLX_TABLE_SERIAL, &key, NULL)
                                           : NULL;
}

void tlx_serial_put(struct tlx_txn *txn, const uint8_t serial[16],
                    const Telovix__Store__V1__SerialRecord *record) {
  struct tlx_db_key key;
  if (!tlx_db_key_blob(serial, 16, &key)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  tlx_table_put(txn, TLX_TABLE_SERIAL, &key, &record->base);
}

void tlx_serial_remove(struct tlx_txn *txn, const uint8_t serial[16]) {
  struct tlx_db_key key;
  if (tlx_db_key_blob(serial, 16, &key)) tlx_table_remove(txn, TLX_TABLE_SERIAL, &key);
}

/* Places the cursor on the first entry behind |after|. */
static bool seek_serial(struct tlx_cursor *cursor, const uint8_t after[16]) {
  struct tlx_db_key key;
  if (!after || !tlx_db_key_blob(after, 16, &key)) return tlx_cursor_first(cursor);
  if (!tlx_cursor_seek(cursor, &key)) return false;
  bool same = cursor->key.len == key.len && tlx_db_key_has_prefix(&cursor->key, &key, key.len);
  return same ? tlx_cursor_next(cursor) : true;
}

void tlx_serial_each(struct tlx_txn *txn, const uint8_t after[16],
                     bool (*cb)(void *arg, const uint8_t serial[16],
                                const Telovix__Store__V1__SerialRecord *record),
                     void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key_parts parts;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_SERIAL);
  for (bool on = seek_serial(&cursor, after); on; on = tlx_cursor_next(&cursor)) {
    if (!tlx_db_key_parse(TLX_DB_KEY_SERIAL, cursor.key.data, cursor.key.len, &parts)) {
      tlx_txn_fail(txn, TLX_E_CORRUPT);
      break;
    }
    const Telovix__Store__V1__SerialRecord *record = tlx_cursor_record(&cursor);
    if (!record || !cb(arg, parts.blob, record)) break;
  }
}
