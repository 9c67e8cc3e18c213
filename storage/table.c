// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/table.h"

#include <errno.h>
#include <lmdb.h>
#include <stdalign.h>
#include <string.h>

#include "common/check.h"
#include "common/err.h"
#include "storage/txn_int.h"
#include "telovix/store/v1/store.pb-c.h"

static const struct tlx_table_info tables[TLX_TABLE_COUNT] = {
#define X(table, name, layout, record, schema) [TLX_TABLE_##table] = {name, layout, record, schema},
    TLX_TABLE_MAP(X)
#undef X
};

const struct tlx_table_info *tlx_table_info(enum tlx_table table) {
  return &tables[table];
}

/* ---- record codec ---- */

/* The schema number stands in the same place of every record, so that one function can write and
 * check it. */
#define SCHEMA_OFFSET offsetof(Telovix__Store__V1__MetaRecord, schema)
#define RECORD_STRUCT_MAX 512
#define CHECK_RECORD(type)                                                                         \
  _Static_assert(offsetof(type, schema) == SCHEMA_OFFSET && sizeof(type) <= RECORD_STRUCT_MAX,     \
                 "schema comes first in each record")
CHECK_RECORD(Telovix__Store__V1__MetaRecord);
CHECK_RECORD(Telovix__Store__V1__SensorRecord);
CHECK_RECORD(Telovix__Store__V1__SerialRecord);
CHECK_RECORD(Telovix__Store__V1__TokenRecord);
CHECK_RECORD(Telovix__Store__V1__TokenUseRecord);
CHECK_RECORD(Telovix__Store__V1__OrderRecord);
CHECK_RECORD(Telovix__Store__V1__AuditRecord);
CHECK_RECORD(Telovix__Store__V1__OperatorRecord);
CHECK_RECORD(Telovix__Store__V1__RequestRecord);
CHECK_RECORD(Telovix__Store__V1__RuleRecord);
CHECK_RECORD(Telovix__Store__V1__EventRecord);

/* Bytes fields of a fixed length: whoever gets a record copies them without looking at their
 * length. */
static const struct blob_rule {
  enum tlx_table table;
  size_t offset, len;
  bool may_be_empty;
} blob_rules[] = {
#define RULE(table, type, field, len, may_be_empty)                                                \
  { TLX_TABLE_##table, offsetof(Telovix__Store__V1__##type, field), len, may_be_empty }
    RULE(META, MetaRecord, epoch, 16, false),
    RULE(SENSOR, SensorRecord, boot_id, 16, true),
    RULE(SENSOR, SensorRecord, serial, 16, true),
    RULE(SENSOR, SensorRecord, previous_serial, 16, true),
    RULE(SENSOR, SensorRecord, desired_digest, 32, true),
    RULE(SENSOR, SensorRecord, event_stream, 16, true),
    RULE(SENSOR, SensorRecord, lifted_epoch, 16, true),
    RULE(SERIAL, SerialRecord, key_hash, 32, true),
    RULE(TOKEN, TokenRecord, secret_hash, 32, false),
    RULE(TOKEN, TokenRecord, used_by_key_hash, 32, true),
    RULE(ORDER, OrderRecord, boot_id, 16, true),
    RULE(AUDIT, AuditRecord, prev_hash, 32, false),
    RULE(AUDIT, AuditRecord, hash, 32, false),
    RULE(OPERATOR, OperatorRecord, serial, 16, true),
    RULE(OPERATOR, OperatorRecord, previous_serial, 16, true),
    RULE(REQUEST, RequestRecord, request_hash, 32, true),
    RULE(RULE, RuleRecord, revision, 16, false),
    RULE(RULE, RuleRecord, observed_revision, 16, true),
    RULE(RULE, RuleRecord, observed_boot_id, 16, true),
#undef RULE
};

static bool blobs_ok(enum tlx_table table, const ProtobufCMessage *record) {
  for (size_t i = 0; i < sizeof blob_rules / sizeof *blob_rules; i++) {
    const struct blob_rule *rule = &blob_rules[i];
    if (rule->table != table) continue;
    const ProtobufCBinaryData *blob = (const void *)((const char *)record + rule->offset);
    if (blob->len != rule->len && !(blob->len == 0 && rule->may_be_empty)) return false;
  }
  return true;
}

static uint32_t *schema_of(ProtobufCMessage *record) {
  return (uint32_t *)((char *)record + SCHEMA_OFFSET);
}

static void *codec_alloc(void *arena, size_t len) {
  return tlx_arena_alloc(arena, len ? len : 1);
}
static void codec_free(void *arena, void *memory) {
}

int tlx_record_unpack(enum tlx_table table, const void *data, size_t len, struct tlx_arena *arena,
                      ProtobufCMessage **ret_record) {
  const struct tlx_table_info *info = &tables[table];
  if (!tlx_expect(info->record != NULL)) return -EINVAL;
  ProtobufCAllocator allocator = {codec_alloc, codec_free, arena};
  /* NULL stands for malformed and for "no memory" alike; only the arena knows which it was. */
  bool refused_before = arena->refused;
  arena->refused = false;
  ProtobufCMessage *record = protobuf_c_message_unpack(info->record, &allocator, len, data);
  bool refused = arena->refused;
  arena->refused = refused || refused_before;
  if (!record) return refused ? -ENOMEM : TLX_E_CORRUPT;
  uint32_t schema = *schema_of(record);
  if (schema == 0) return TLX_E_CORRUPT;
  if (schema > info->schema) return TLX_E_SCHEMA_NEWER;
  if (schema < info->schema) return TLX_E_SCHEMA_OLDER;
  /* What we write has one form. Another length means that the library skipped or cut something (a
   * NUL in a text, field number 0), and the record written back would be another one. */
  if (protobuf_c_message_get_packed_size(record) != len) return TLX_E_CORRUPT;
  if (!blobs_ok(table, record)) return TLX_E_CORRUPT;
  *ret_record = record;
  return 0;
}

/* ---- single entries ---- */

static MDB_val val_of_key(const struct tlx_db_key *key) {
  return (MDB_val){.mv_size = key->len, .mv_data = (void *)key->data};
}

bool tlx_table_get_raw(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                       struct tlx_bytes *ret_value) {
  if (txn->err) return false;
  MDB_val k = val_of_key(key), v;
  int rc = mdb_get(txn->mdb, txn->store->dbi[table], &k, &v);
  if (rc == MDB_NOTFOUND) return false;
  if (rc) {
    tlx_txn_fail_mdb(txn, rc);
    return false;
  }
  *ret_value = (struct tlx_bytes){v.mv_data, v.mv_size};
  return true;
}

bool tlx_table_has(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key) {
  struct tlx_bytes value;
  return tlx_table_get_raw(txn, table, key, &value);
}

bool tlx_table_get_number(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                          uint64_t *ret_number) {
  struct tlx_bytes value;
  struct tlx_db_key_parts parts;
  if (!tlx_table_get_raw(txn, table, key, &value)) return false;
  if (!tlx_db_key_parse(TLX_DB_KEY_NUMBER, value.data, value.len, &parts)) {
    tlx_txn_fail(txn, TLX_E_CORRUPT);
    return false;
  }
  *ret_number = parts.number;
  return true;
}

void *tlx_table_get(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                    struct tlx_arena *arena) {
  struct tlx_bytes value;
  ProtobufCMessage *record = NULL;
  if (!tlx_table_get_raw(txn, table, key, &value)) return NULL;
  int err = tlx_record_unpack(table, value.data, value.len, arena ? arena : &txn->arena, &record);
  if (err) tlx_txn_fail(txn, err);
  return record;
}

/* Room for |len| bytes under |key|; NULL when the transaction has failed. */
static void *reserve(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                     size_t len, unsigned flags) {
  if (txn->err) return NULL;
  if (!tlx_expect(txn->is_write)) {
    tlx_txn_fail(txn, -EROFS);
    return NULL;
  }
  MDB_val k = val_of_key(key), v = {.mv_size = len};
  txn->n_changes++;
  int rc = mdb_put(txn->mdb, txn->store->dbi[table], &k, &v, flags | MDB_RESERVE);
  if (rc) {
    tlx_txn_fail_mdb(txn, rc);
    return NULL;
  }
  return v.mv_data;
}

void tlx_table_put_raw(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                       const void *data, size_t len) {
  void *room = reserve(txn, table, key, len, 0);
  if (room && len) memcpy(room, data, len);
}

void tlx_table_put_number(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                          uint64_t number) {
  struct tlx_db_key value;
  tlx_db_key_number(number, &value);
  tlx_table_put_raw(txn, table, key, value.data, value.len);
}

static void put_record(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                       const ProtobufCMessage *record, unsigned flags) {
  const struct tlx_table_info *info = &tables[table];
  union {
    max_align_t align;
    char bytes[RECORD_STRUCT_MAX];
    ProtobufCMessage base;
  } copy;
  if (txn->err) return;
  if (!tlx_expect(record->descriptor == info->record) || !blobs_ok(table, record)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  memcpy(&copy, record, info->record->sizeof_message);
  *schema_of(&copy.base) = info->schema;
  size_t len = protobuf_c_message_get_packed_size(&copy.base);
  if (len > TLX_RECORD_MAX) {
    tlx_txn_fail(txn, TLX_E_TOO_LARGE);
    return;
  }
  uint8_t *room = reserve(txn, table, key, len, flags);
  if (room) protobuf_c_message_pack(&copy.base, room);
}

void tlx_table_put(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                   const ProtobufCMessage *record) {
  put_record(txn, table, key, record, 0);
}

void tlx_table_append(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                      const ProtobufCMessage *record) {
  bool failed_before = txn->err != 0;
  put_record(txn, table, key, record, MDB_APPEND);
  if (!failed_before && txn->err == TLX_E_EXISTS) txn->err = TLX_E_CORRUPT;
}

void tlx_table_remove(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key) {
  if (txn->err) return;
  if (!tlx_expect(txn->is_write)) {
    tlx_txn_fail(txn, -EROFS);
    return;
  }
  MDB_val k = val_of_key(key);
  txn->n_changes++;
  int rc = mdb_del(txn->mdb, txn->store->dbi[table], &k, NULL);
  if (rc && rc != MDB_NOTFOUND) tlx_txn_fail_mdb(txn, rc);
}

uint64_t tlx_table_count(struct tlx_txn *txn, enum tlx_table table) {
  MDB_stat stat;
  if (txn->err) return 0;
  int rc = mdb_stat(txn->mdb, txn->store->dbi[table], &stat);
  if (rc) {
    tlx_txn_fail_mdb(txn, rc);
    return 0;
  }
  return stat.ms_entries;
}

/* ---- cursors ---- */

void tlx_cursor_open(struct tlx_cursor *cursor, struct tlx_txn *txn, enum tlx_table table) {
  memset(cursor, 0, sizeof *cursor);
  cursor->txn = txn;
  cursor->table = table;
  tlx_arena_init(&cursor->scratch, TLX_RECORD_UNPACKED_MAX);
  if (txn->err) return;
  int rc = mdb_cursor_open(txn->mdb, txn->store->dbi[table], &cursor->mdb);
  if (rc) tlx_txn_fail_mdb(txn, rc);
}

void tlx_cursor_close(struct tlx_cursor *cursor) {
  if (cursor->mdb) mdb_cursor_close(cursor->mdb);
  cursor->mdb = NULL;
  tlx_arena_done(&cursor->scratch);
}

/* Moves the cursor and remembers where it stands. |key| is needed for MDB_SET_RANGE only. */
static bool move(struct tlx_cursor *cursor, const struct tlx_db_key *key, MDB_cursor_op op) {
  struct tlx_txn *txn = cursor->txn;
  if (txn->err || !cursor->mdb) return false;
  MDB_val k = key ? val_of_key(key) : (MDB_val){0}, v;
  int rc = mdb_cursor_get(cursor->mdb, &k, &v, op);
  if (rc == 0 && k.mv_size > TLX_DB_KEY_MAX) rc = MDB_CORRUPTED;
  if (rc) {
    if (rc != MDB_NOTFOUND) tlx_txn_fail_mdb(txn, rc);
    return false;
  }
  cursor->key.len = k.mv_size;
  memcpy(cursor->key.data, k.mv_data, k.mv_size);
  cursor->value = (struct tlx_bytes){v.mv_data, v.mv_size};
  cursor->n_changes = txn->n_changes;
  return true;
}

bool tlx_cursor_first(struct tlx_cursor *cursor) {
  return move(cursor, NULL, MDB_FIRST);
}

bool tlx_cursor_last(struct tlx_cursor *cursor) {
  return move(cursor, NULL, MDB_LAST);
}

bool tlx_cursor_seek(struct tlx_cursor *cursor, const struct tlx_db_key *key) {
  return move(cursor, key, MDB_SET_RANGE);
}

bool tlx_cursor_seek_before(struct tlx_cursor *cursor, const struct tlx_db_key *key) {
  return move(cursor, key, MDB_SET_RANGE) ? move(cursor, NULL, MDB_PREV)
                                          : move(cursor, NULL, MDB_LAST);
}

bool tlx_cursor_next(struct tlx_cursor *cursor) {
  if (cursor->n_changes == cursor->txn->n_changes) return move(cursor, NULL, MDB_NEXT);
  struct tlx_db_key was = cursor->key;
  if (!move(cursor, &was, MDB_SET_RANGE)) return false;
  bool same = cursor->key.len == was.len && memcmp(cursor->key.data, was.data, was.len) == 0;
  return same ? move(cursor, NULL, MDB_NEXT) : true;
}

bool tlx_cursor_prev(struct tlx_cursor *cursor) {
  if (cursor->n_changes == cursor->txn->n_changes) return move(cursor, NULL, MDB_PREV);
  struct tlx_db_key was = cursor->key;
  return tlx_cursor_seek_before(cursor, &was);
}

void *tlx_cursor_record(struct tlx_cursor *cursor) {
  ProtobufCMessage *record = NULL;
  if (cursor->txn->err) return NULL;
  tlx_arena_reset(&cursor->scratch);
  int err = tlx_record_unpack(cursor->table, cursor->value.data, cursor->value.len,
                              &cursor->scratch, &record);
  if (err) tlx_txn_fail(cursor->txn, err);
  return record;
}

void *tlx_cursor_fetch(struct tlx_cursor *cursor, enum tlx_table table,
                       const struct tlx_db_key *key) {
  tlx_arena_reset(&cursor->scratch);
  void *record = tlx_table_get(cursor->txn, table, key, &cursor->scratch);
  if (!record) tlx_txn_fail(cursor->txn, TLX_E_CORRUPT);
  return record;
}
