// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "fixture.h"

static struct tlx_db_key number(uint64_t n) {
  struct tlx_db_key key;
  tlx_db_key_number(n, &key);
  return key;
}

static uint64_t number_of(const struct tlx_cursor *cursor) {
  struct tlx_db_key_parts parts;
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_NUMBER, cursor->key.data, cursor->key.len, &parts));
  return parts.number;
}

/* token_hash is only a playground here: its layout is not enforced below the tables. */
#define PLAY TLX_TABLE_TOKEN_HASH

static struct tlx_txn *with_numbers(struct fixture *fx, uint64_t count) {
  struct tlx_txn *txn = fixture_write(fx);
  for (uint64_t i = 1; i <= count; i++) {
    struct tlx_db_key key = number(i * 10);
    tlx_table_put_number(txn, PLAY, &key, i);
  }
  cr_assert_eq(tlx_txn_err(txn), 0);
  return txn;
}

Test(table, info_names_are_unique) {
  for (int a = 0; a < TLX_TABLE_COUNT; a++)
    for (int b = 0; b < a; b++)
      cr_assert_str_neq(tlx_table_info(a)->name, tlx_table_info(b)->name);
  cr_assert_str_eq(tlx_table_info(TLX_TABLE_ORDER_OPEN)->name, "order_open");
  cr_assert_null(tlx_table_info(TLX_TABLE_ORDER_OPEN)->record);
}

Test(table, raw_and_number) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  struct tlx_db_key key = number(1), other = number(2);
  struct tlx_bytes value;
  uint64_t n = 99;
  cr_assert_not(tlx_table_get_raw(txn, PLAY, &key, &value));
  cr_assert_not(tlx_table_get_number(txn, PLAY, &key, &n));
  cr_assert_eq(n, 99);
  tlx_table_put_number(txn, PLAY, &key, 0x0102030405060708ull);
  cr_assert(tlx_table_get_number(txn, PLAY, &key, &n));
  cr_assert_eq(n, 0x0102030405060708ull);
  tlx_table_put_raw(txn, PLAY, &other, NULL, 0);
  cr_assert(tlx_table_has(txn, PLAY, &other));
  cr_assert(tlx_table_get_raw(txn, PLAY, &other, &value));
  cr_assert_eq(value.len, 0);
  cr_assert_eq(tlx_table_count(txn, PLAY), 2);
  tlx_table_remove(txn, PLAY, &other);
  tlx_table_remove(txn, PLAY, &other);
  cr_assert_eq(tlx_txn_err(txn), 0, "removing what is not there is fine");
  cr_assert_eq(tlx_table_count(txn, PLAY), 1);
  tlx_table_put_raw(txn, PLAY, &other, "abc", 3);
  cr_assert_not(tlx_table_get_number(txn, PLAY, &other, &n));
  fixture_commit_fails(txn, TLX_E_CORRUPT);
}

Test(table, everything_stops_at_the_first_error) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = with_numbers(&fx, 3);
  struct tlx_db_key key = number(10);
  struct tlx_cursor cursor, late;
  struct tlx_bytes value;
  uint64_t n;
  tlx_cursor_open(&cursor, txn, PLAY);
  cr_assert(tlx_cursor_first(&cursor));
  tlx_txn_fail(txn, -EPERM);
  cr_assert_not(tlx_cursor_next(&cursor));
  cr_assert_not(tlx_cursor_prev(&cursor));
  cr_assert_null(tlx_cursor_record(&cursor));
  cr_assert_null(tlx_cursor_fetch(&cursor, TLX_TABLE_SENSOR, &key));
  cr_assert_not(tlx_table_get_raw(txn, PLAY, &key, &value));
  cr_assert_not(tlx_table_get_number(txn, PLAY, &key, &n));
  cr_assert_null(tlx_table_get(txn, TLX_TABLE_ORDER, &key, NULL));
  tlx_table_put_number(txn, PLAY, &key, 5);
  tlx_table_remove(txn, PLAY, &key);
  cr_assert_eq(tlx_table_count(txn, PLAY), 0);
  tlx_cursor_open(&late, txn, PLAY);
  cr_assert_not(tlx_cursor_first(&late));
  tlx_cursor_close(&late);
  tlx_cursor_close(&late);
  tlx_cursor_close(&cursor);
  fixture_commit_fails(txn, -EPERM);
}

Test(table, a_read_transaction_cannot_write) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_db_key key = number(1);
  struct tlx_txn *txn = fixture_read(&fx);
  tlx_table_put_number(txn, PLAY, &key, 1);
  fixture_commit_fails(txn, -EROFS);
  txn = fixture_read(&fx);
  tlx_table_remove(txn, PLAY, &key);
  fixture_commit_fails(txn, -EROFS);
}

Test(table, cursor_moves) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = with_numbers(&fx, 5); /* 10 20 30 40 50 */
  struct tlx_cursor cursor;
  struct tlx_db_key key;
  tlx_cursor_open(&cursor, txn, PLAY);
  cr_assert(tlx_cursor_first(&cursor));
  cr_assert_eq(number_of(&cursor), 10);
  cr_assert_not(tlx_cursor_prev(&cursor));
  cr_assert(tlx_cursor_last(&cursor));
  cr_assert_eq(number_of(&cursor), 50);
  cr_assert_not(tlx_cursor_next(&cursor));
  key = number(30);
  cr_assert(tlx_cursor_seek(&cursor, &key));
  cr_assert_eq(number_of(&cursor), 30);
  key = number(31);
  cr_assert(tlx_cursor_seek(&cursor, &key));
  cr_assert_eq(number_of(&cursor), 40);
  key = number(51);
  cr_assert_not(tlx_cursor_seek(&cursor, &key));
  cr_assert(tlx_cursor_seek_before(&cursor, &key));
  cr_assert_eq(number_of(&cursor), 50);
  key = number(30);
  cr_assert(tlx_cursor_seek_before(&cursor, &key));
  cr_assert_eq(number_of(&cursor), 20);
  key = number(10);
  cr_assert_not(tlx_cursor_seek_before(&cursor, &key));
  tlx_cursor_close(&cursor);
  /* An empty table has no place at all. */
  tlx_cursor_open(&cursor, txn, TLX_TABLE_REQUEST);
  cr_assert_not(tlx_cursor_first(&cursor));
  cr_assert_not(tlx_cursor_last(&cursor));
  cr_assert_not(tlx_cursor_seek(&cursor, &key));
  cr_assert_not(tlx_cursor_seek_before(&cursor, &key));
  tlx_cursor_close(&cursor);
  tlx_txn_abort(txn);
}

Test(table, cursor_survives_changes_under_it) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = with_numbers(&fx, 600); /* several pages */
  struct tlx_cursor cursor;
  uint64_t seen = 0, last = 0;
  /* Removes every entry on the way up, and puts another behind every third: none is left out or
   * seen twice. */
  tlx_cursor_open(&cursor, txn, PLAY);
  for (bool on = tlx_cursor_first(&cursor); on; on = tlx_cursor_next(&cursor)) {
    uint64_t at = number_of(&cursor);
    cr_assert_gt(at, last);
    last = at;
    if (at % 10 == 0) {
      seen++;
      struct tlx_db_key key = cursor.key, more = number(at + 1);
      if (at % 30 == 0) tlx_table_put_number(txn, PLAY, &more, 1);
      tlx_table_remove(txn, PLAY, &key);
    }
  }
  cr_assert_eq(seen, 600);
  cr_assert_eq(tlx_table_count(txn, PLAY), 200);
  /* And on the way down. */
  seen = 0;
  for (bool on = tlx_cursor_last(&cursor); on; on = tlx_cursor_prev(&cursor)) {
    struct tlx_db_key key = cursor.key;
    tlx_table_remove(txn, PLAY, &key);
    seen++;
  }
  cr_assert_eq(seen, 200);
  cr_assert_eq(tlx_table_count(txn, PLAY), 0);
  tlx_cursor_close(&cursor);
  fixture_commit(txn);
}

Test(table, cursor_fetch_of_what_is_missing_is_corruption) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = with_numbers(&fx, 1);
  struct tlx_cursor cursor;
  struct tlx_db_key key = number(1);
  tlx_cursor_open(&cursor, txn, PLAY);
  cr_assert(tlx_cursor_first(&cursor));
  cr_assert_null(tlx_cursor_fetch(&cursor, TLX_TABLE_ORDER, &key));
  tlx_cursor_close(&cursor);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
}

/* ---- codec ---- */

static size_t pack(const ProtobufCMessage *message, uint8_t *out, size_t size) {
  cr_assert_leq(protobuf_c_message_get_packed_size(message), size);
  return protobuf_c_message_pack(message, out);
}

static int unpack(enum tlx_table table, const void *data, size_t len) {
  struct tlx_arena arena;
  ProtobufCMessage *record = NULL;
  tlx_arena_init(&arena, TLX_RECORD_UNPACKED_MAX);
  int err = tlx_record_unpack(table, data, len, &arena, &record);
  cr_assert_eq(record != NULL, err == 0, "the output is untouched on failure");
  tlx_arena_done(&arena);
  return err;
}

Test(table, schema_numbers) {
  Telovix__Store__V1__OperatorRecord record = TELOVIX__STORE__V1__OPERATOR_RECORD__INIT;
  uint8_t data[64];
  record.name = (char *)"anna";
  cr_assert_eq(unpack(TLX_TABLE_OPERATOR, data, pack(&record.base, data, sizeof data)),
               TLX_E_CORRUPT, "no record is without a number");
  record.schema = 1;
  cr_assert_eq(unpack(TLX_TABLE_OPERATOR, data, pack(&record.base, data, sizeof data)), 0);
  record.schema = 2;
  cr_assert_eq(unpack(TLX_TABLE_OPERATOR, data, pack(&record.base, data, sizeof data)),
               TLX_E_SCHEMA_NEWER);
}

Test(table, newer_record_in_the_store) {
  FIXTURE fx;
  fixture_init(&fx);
  Telovix__Store__V1__OperatorRecord record = TELOVIX__STORE__V1__OPERATOR_RECORD__INIT;
  uint8_t data[64];
  struct tlx_db_key key;
  record.name = (char *)"anna";
  record.schema = 7;
  cr_assert(tlx_db_key_operator("anna", &key));
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_table_put_raw(txn, TLX_TABLE_OPERATOR, &key, data, pack(&record.base, data, sizeof data));
  fixture_commit(txn);
  txn = fixture_read(&fx);
  cr_assert_null(tlx_table_get(txn, TLX_TABLE_OPERATOR, &key, NULL));
  fixture_commit_fails(txn, TLX_E_SCHEMA_NEWER);
  /* Writing sets today's number, whatever the caller's record says, and leaves that record alone.
   */
  txn = fixture_write(&fx);
  tlx_table_put(txn, TLX_TABLE_OPERATOR, &key, &record.base);
  cr_assert_eq(record.schema, 7);
  const Telovix__Store__V1__OperatorRecord *back =
      tlx_table_get(txn, TLX_TABLE_OPERATOR, &key, NULL);
  cr_assert(back);
  cr_assert_eq(back->schema, 1);
  fixture_commit(txn);
}

Test(table, malformed_records) {
  cr_assert_eq(unpack(TLX_TABLE_ORDER, "\x0f\xff", 2), TLX_E_CORRUPT);
  cr_assert_eq(unpack(TLX_TABLE_ORDER, "", 0), TLX_E_CORRUPT, "no schema number");
  cr_assert_eq(unpack(TLX_TABLE_ORDER,
                      "\x08\x01\x12\x7f"
                      "a",
                      5),
               TLX_E_CORRUPT, "cut short");
}

Test(table, bytes_fields_of_a_wrong_length) {
  FIXTURE fx;
  fixture_init(&fx);
  Telovix__Store__V1__OperatorRecord record = TELOVIX__STORE__V1__OPERATOR_RECORD__INIT;
  uint8_t data[64], serial[32] = {1};
  struct tlx_db_key key;
  record.schema = 1;
  record.name = (char *)"anna";
  const size_t lengths[] = {1, 15, 17, 32};
  cr_assert(tlx_db_key_operator("anna", &key));
  for (size_t i = 0; i < 4; i++) {
    record.serial = (ProtobufCBinaryData){lengths[i], serial};
    cr_assert_eq(unpack(TLX_TABLE_OPERATOR, data, pack(&record.base, data, sizeof data)),
                 TLX_E_CORRUPT);
    struct tlx_txn *txn = fixture_write(&fx);
    tlx_table_put(txn, TLX_TABLE_OPERATOR, &key, &record.base);
    fixture_commit_fails(txn, -EINVAL);
  }
  record.serial.len = 16;
  cr_assert_eq(unpack(TLX_TABLE_OPERATOR, data, pack(&record.base, data, sizeof data)), 0);
  record.serial.len = 0;
  cr_assert_eq(unpack(TLX_TABLE_OPERATOR, data, pack(&record.base, data, sizeof data)), 0);
  /* Where it may not be missing. */
  Telovix__Store__V1__TokenRecord token = TELOVIX__STORE__V1__TOKEN_RECORD__INIT;
  token.schema = 1;
  cr_assert_eq(unpack(TLX_TABLE_TOKEN, data, pack(&token.base, data, sizeof data)), TLX_E_CORRUPT);
}

Test(table, a_small_record_cannot_become_a_huge_one) {
  /* Empty labels: two bytes each on disk, more than thirty times that in memory. */
  size_t len = 2 + 2 * 700000u;
  uint8_t *data = malloc(len);
  cr_assert(data);
  data[0] = 0x08;
  data[1] = 1;
  for (size_t i = 2; i < len; i += 2) {
    data[i] = 0x22;
    data[i + 1] = 0;
  }
  struct tlx_arena arena;
  ProtobufCMessage *record = NULL;
  tlx_arena_init(&arena, TLX_RECORD_UNPACKED_MAX);
  cr_assert_eq(tlx_record_unpack(TLX_TABLE_SENSOR, data, len, &arena, &record), -ENOMEM);
  cr_assert_null(record);
  /* That refusal is remembered, but does not turn a later malformed record into "no memory". */
  cr_assert(arena.refused);
  tlx_arena_reset(&arena);
  arena.refused = true;
  cr_assert_eq(tlx_record_unpack(TLX_TABLE_SENSOR, "\xff", 1, &arena, &record), TLX_E_CORRUPT);
  cr_assert(arena.refused);
  tlx_arena_done(&arena);
  free(data);
}

Test(table, too_large_a_record) {
  FIXTURE fx;
  fixture_init(&fx);
  Telovix__Store__V1__RequestRecord record = TELOVIX__STORE__V1__REQUEST_RECORD__INIT;
  uint8_t *reply = calloc(1, TLX_RECORD_MAX);
  struct tlx_db_key key;
  cr_assert(reply);
  cr_assert(tlx_db_key_request("anna", "r", &key));
  struct tlx_txn *txn = fixture_write(&fx);
  record.reply = (ProtobufCBinaryData){TLX_RECORD_MAX - 64, reply};
  tlx_table_put(txn, TLX_TABLE_REQUEST, &key, &record.base);
  const Telovix__Store__V1__RequestRecord *back = tlx_table_get(txn, TLX_TABLE_REQUEST, &key, NULL);
  cr_assert(back);
  cr_assert_eq(back->reply.len, TLX_RECORD_MAX - 64);
  record.reply.len = TLX_RECORD_MAX;
  tlx_table_put(txn, TLX_TABLE_REQUEST, &key, &record.base);
  fixture_commit_fails(txn, TLX_E_TOO_LARGE);
  free(reply);
}

Test(table, append_refuses_what_is_not_behind) {
  FIXTURE fx;
  fixture_init(&fx);
  Telovix__Store__V1__OrderRecord record = fixture_order("kill_a", "sensor_a", 1);
  struct tlx_txn *txn = fixture_write(&fx);
  struct tlx_db_key five = number(5), four = number(4);
  tlx_table_append(txn, TLX_TABLE_ORDER, &five, &record.base);
  cr_assert_eq(tlx_txn_err(txn), 0);
  tlx_table_append(txn, TLX_TABLE_ORDER, &four, &record.base);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_write(&fx);
  tlx_table_append(txn, TLX_TABLE_ORDER, &five, &record.base);
  tlx_table_append(txn, TLX_TABLE_ORDER, &five, &record.base);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_write(&fx);
  tlx_txn_fail(txn, TLX_E_EXISTS);
  tlx_table_append(txn, TLX_TABLE_ORDER, &five, &record.base);
  fixture_commit_fails(txn, TLX_E_EXISTS);
}

Test(table, a_record_of_another_table_is_refused) {
  FIXTURE fx;
  fixture_init(&fx);
  Telovix__Store__V1__OrderRecord record = fixture_order("kill_a", "sensor_a", 1);
  struct tlx_txn *txn = fixture_write(&fx);
  struct tlx_db_key key = number(5);
  tlx_table_put(txn, TLX_TABLE_TOKEN, &key, &record.base);
  fixture_commit_fails(txn, -EINVAL);
  /* An index has no record. */
  cr_assert_eq(unpack(TLX_TABLE_ORDER_OPEN, "", 0), -EINVAL);
}
