// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/bytes.h"
#include "storage/key.h"
#include "storage/txn.h"

/* The named databases, and the only functions that read or write them. */

/* Name of the database, its key layout, its record (NULL = index), and the schema number of that
 * record. */
#define TLX_TABLE_MAP(X)                                                                           \
  X(META, "meta", TLX_DB_KEY_ID, &telovix__store__v1__meta_record__descriptor, 4)                  \
  X(SENSOR, "sensor", TLX_DB_KEY_ID, &telovix__store__v1__sensor_record__descriptor, 1)            \
  X(SENSOR_NODE, "sensor_node", TLX_DB_KEY_NODE, NULL, 0)                                          \
  X(SERIAL, "serial", TLX_DB_KEY_SERIAL, &telovix__store__v1__serial_record__descriptor, 1)        \
  X(TOKEN, "token", TLX_DB_KEY_NUMBER, &telovix__store__v1__token_record__descriptor, 1)           \
  X(TOKEN_HASH, "token_hash", TLX_DB_KEY_HASH, NULL, 0)                                            \
  X(TOKEN_ID, "token_id", TLX_DB_KEY_ID, NULL, 0)                                                  \
  X(ORDER, "order", TLX_DB_KEY_NUMBER, &telovix__store__v1__order_record__descriptor, 1)           \
  X(ORDER_ID, "order_id", TLX_DB_KEY_ID, NULL, 0)                                                  \
  X(ORDER_SENSOR, "order_sensor", TLX_DB_KEY_SENSOR_NO, NULL, 0)                                   \
  X(ORDER_OPEN, "order_open", TLX_DB_KEY_SENSOR_NO, NULL, 0)                                       \
  X(AUDIT, "audit", TLX_DB_KEY_NUMBER, &telovix__store__v1__audit_record__descriptor, 1)           \
  X(OPERATOR, "operator", TLX_DB_KEY_OPERATOR, &telovix__store__v1__operator_record__descriptor,   \
    1)                                                                                             \
  X(REQUEST, "request", TLX_DB_KEY_REQUEST, &telovix__store__v1__request_record__descriptor, 1)    \
  X(REQUEST_TIME, "request_time", TLX_DB_KEY_REQUEST_TIME, NULL, 0)                                \
  X(RULE, "rule", TLX_DB_KEY_SENSOR_RULE, &telovix__store__v1__rule_record__descriptor, 1)         \
  X(RULE_ID, "rule_id", TLX_DB_KEY_ID, NULL, 0)                                                    \
  X(EVENT, "event", TLX_DB_KEY_NUMBER, &telovix__store__v1__event_record__descriptor, 1)           \
  X(EVENT_SENSOR, "event_sensor", TLX_DB_KEY_SENSOR_NO, NULL, 0)                                   \
  X(TOKEN_USE, "token_use", TLX_DB_KEY_TOKEN_USE,                                                  \
    &telovix__store__v1__token_use_record__descriptor, 1)
enum tlx_table {
#define X(table, name, layout, record, schema) TLX_TABLE_##table,
  TLX_TABLE_MAP(X)
#undef X
      TLX_TABLE_COUNT
};
struct tlx_table_info {
  const char *name;
  enum tlx_db_key_layout layout;
  const ProtobufCMessageDescriptor *record;
  uint32_t schema;
};
/* The row of |table|. Static storage; any thread. */
const struct tlx_table_info *tlx_table_info(enum tlx_table table);

/* Largest packed record: a remembered reply of the largest message fits. */
#define TLX_RECORD_MAX (2u << 20)
/* Largest unpacked record: a hostile one of many empty labels stops here. */
#define TLX_RECORD_UNPACKED_MAX (16u << 20)

/* Unpacks a record of |table| into |arena|. TLX_E_CORRUPT (also for bytes fields of a wrong
 * length), TLX_E_SCHEMA_NEWER, TLX_E_SCHEMA_OLDER, -ENOMEM. Any bytes are safe. */
int tlx_record_unpack(enum tlx_table table, const void *data, size_t len, struct tlx_arena *arena,
                      ProtobufCMessage **ret_record);

/* All of these do nothing (and say "not there") when |txn| has failed, and make it fail at an error
 * of theirs. Borrowed bytes are valid until the next change in |txn| or its end: they stay in this
 * folder. */
/* The value under |key|, borrowed; false when there is none. */
bool tlx_table_get_raw(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                       struct tlx_bytes *ret_value);
/* Whether there is an entry under |key|. */
bool tlx_table_has(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key);
/* Value of an index: a u64be. Another length is TLX_E_CORRUPT. */
bool tlx_table_get_number(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                          uint64_t *ret_number);
/* The record, in |arena| (NULL = the transaction's); NULL when not there. */
void *tlx_table_get(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                    struct tlx_arena *arena);
/* Inserts or replaces |len| bytes (0 = an empty value: an index whose key says it all). -EROFS in a
 * read transaction, as for every change. */
void tlx_table_put_raw(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                       const void *data, size_t len);
/* The same with a u64be. */
void tlx_table_put_number(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                          uint64_t number);
/* Packs |record| with the schema number of today. -EINVAL for a bytes field of a wrong length,
 * TLX_E_TOO_LARGE above TLX_RECORD_MAX. */
void tlx_table_put(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                   const ProtobufCMessage *record);
/* The same behind the last key; TLX_E_CORRUPT when |key| is not behind it. */
void tlx_table_append(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key,
                      const ProtobufCMessage *record);
/* Nothing happens when it is not there. */
void tlx_table_remove(struct tlx_txn *txn, enum tlx_table table, const struct tlx_db_key *key);
/* How many entries the table has. */
uint64_t tlx_table_count(struct tlx_txn *txn, enum tlx_table table);

/* A walk in key order. Changes made meanwhile through the same transaction are fine: the cursor
 * finds its way back by its key. Close it before the transaction ends. */
struct MDB_cursor;
struct tlx_cursor {
  struct tlx_txn *txn;
  enum tlx_table table;
  struct MDB_cursor *mdb;
  uint64_t n_changes; /* of the transaction when the cursor was placed */
  struct tlx_arena scratch;
  struct tlx_db_key key;  /* where it stands */
  struct tlx_bytes value; /* borrowed, valid until the next change */
};
/* Opens a cursor that stands nowhere; never fails but in |txn|. Close it in any case. */
void tlx_cursor_open(struct tlx_cursor *cursor, struct tlx_txn *txn, enum tlx_table table);
/* An all-zero and a closed one are fine. */
void tlx_cursor_close(struct tlx_cursor *cursor);
#define TLX_AUTOCURSOR TLX_CLEANUP(tlx_cursor_close)
/* To the first and the last entry. Each mover returns whether the cursor stands on an entry now;
 * key and value are those of it. */
bool tlx_cursor_first(struct tlx_cursor *cursor);
bool tlx_cursor_last(struct tlx_cursor *cursor);
/* The first entry at or behind |key|; the last one before |key|. */
bool tlx_cursor_seek(struct tlx_cursor *cursor, const struct tlx_db_key *key);
bool tlx_cursor_seek_before(struct tlx_cursor *cursor, const struct tlx_db_key *key);
/* To the entry behind and before the one it stands on, also when that was removed meanwhile. */
bool tlx_cursor_next(struct tlx_cursor *cursor);
bool tlx_cursor_prev(struct tlx_cursor *cursor);
/* The record it stands on, or that of another table, in the cursor's memory: the one before it is
 * gone. An index entry without its record makes the transaction fail with TLX_E_CORRUPT. */
void *tlx_cursor_record(struct tlx_cursor *cursor);
void *tlx_cursor_fetch(struct tlx_cursor *cursor, enum tlx_table table,
                       const struct tlx_db_key *key);
