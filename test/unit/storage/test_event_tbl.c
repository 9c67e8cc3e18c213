// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/event_tbl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "fixture.h"
#include "storage/meta_tbl.h"

#define A "sensor_a"
#define B "sensor_b"
#define KEEP 100u

static void add(struct tlx_txn *txn, const char *sensor_id, uint64_t received_wall_ms,
                unsigned keep) {
  Telovix__Store__V1__EventRecord event = fixture_event("event_x", sensor_id, received_wall_ms);
  fixture_need_sensor(txn, sensor_id);
  tlx_event_add(txn, &event, keep);
}

static bool list_numbers(void *arg, const Telovix__Store__V1__EventRecord *record) {
  char *out = arg;
  sprintf(out + strlen(out), "%llu ", (unsigned long long)record->event_no);
  return true;
}

static void expect(struct tlx_txn *txn, const char *sensor_id, uint64_t before_no,
                   const char *numbers) {
  char out[256] = "";
  tlx_event_each(txn, sensor_id, before_no, list_numbers, out);
  cr_assert_str_eq(out, numbers);
}

static void expect_after(struct tlx_txn *txn, const char *sensor_id, uint64_t after_no,
                         const char *numbers) {
  char out[256] = "";
  tlx_event_each_after(txn, sensor_id, after_no, list_numbers, out);
  cr_assert_str_eq(out, numbers);
}

Test(event_tbl, both_ways_and_each_for_itself) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  add(txn, A, 1000, KEEP);
  add(txn, B, 1001, KEEP);
  add(txn, A, 1002, KEEP);
  add(txn, A, 1003, KEEP);
  expect(txn, NULL, UINT64_MAX, "4 3 2 1 ");
  expect(txn, NULL, 3, "2 1 ");
  expect(txn, NULL, 1, "");
  expect(txn, A, UINT64_MAX, "4 3 1 ");
  expect(txn, A, 4, "3 1 ");
  expect(txn, A, 3, "1 ");
  expect(txn, B, UINT64_MAX, "2 ");
  expect(txn, "sensor_x", UINT64_MAX, "");
  expect(txn, "", UINT64_MAX, "");
  expect_after(txn, NULL, 0, "1 2 3 4 ");
  expect_after(txn, NULL, 2, "3 4 ");
  expect_after(txn, NULL, 4, "");
  expect_after(txn, NULL, UINT64_MAX, "");
  expect_after(txn, A, 0, "1 3 4 ");
  expect_after(txn, A, 2, "3 4 ");
  expect_after(txn, A, 3, "4 ");
  expect_after(txn, B, 2, "");
  cr_assert_eq(tlx_event_count(txn, A), 3);
  cr_assert_eq(tlx_event_count(txn, B), 1);
  cr_assert_eq(tlx_event_count(txn, "sensor_x"), 0);
  cr_assert_eq(tlx_meta_get(txn)->event_no, 4);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(event_tbl, the_oldest_make_room) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  add(txn, B, 1000, KEEP);
  for (unsigned i = 0; i < 7; i++)
    add(txn, A, 1000 + i, 3);
  expect(txn, A, UINT64_MAX, "8 7 6 ");
  expect(txn, B, UINT64_MAX, "1 ");
  cr_assert_eq(tlx_event_count(txn, A), 3);
  /* A smaller bound takes more at once. */
  add(txn, A, 2000, 1);
  expect(txn, NULL, UINT64_MAX, "9 1 ");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(event_tbl, the_bound_holds_for_ten_thousand) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  for (unsigned i = 0; i < 10500; i++) {
    add(txn, A, 1000, 10000);
    tlx_txn_forget(txn);
  }
  cr_assert_eq(tlx_event_count(txn, A), 10000);
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_EVENT), 10000);
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_EVENT_SENSOR), 10000);
  fixture_commit(txn);
}

Test(event_tbl, all_of_one_sensor_go) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  add(txn, A, 1000, KEEP);
  add(txn, B, 1001, KEEP);
  add(txn, A, 1002, KEEP);
  cr_assert_eq(tlx_event_remove_all(txn, A), 2);
  cr_assert_eq(tlx_event_remove_all(txn, A), 0);
  cr_assert_eq(tlx_event_remove_all(txn, ""), 0);
  expect(txn, NULL, UINT64_MAX, "2 ");
  cr_assert_eq(tlx_event_count(txn, A), 0);
  cr_assert_eq(tlx_event_count(txn, B), 1);
  /* Its count begins anew. */
  add(txn, A, 1003, KEEP);
  cr_assert_eq(tlx_event_count(txn, A), 1);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(event_tbl, age) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  cr_assert_not(tlx_event_is_due(txn, UINT64_MAX));
  cr_assert_eq(tlx_event_expire(txn, UINT64_MAX, 10), 0);
  add(txn, A, 1000, KEEP);
  add(txn, B, 2000, KEEP);
  add(txn, A, 3000, KEEP);
  add(txn, A, 4000, KEEP);
  cr_assert_not(tlx_event_is_due(txn, 1000));
  cr_assert(tlx_event_is_due(txn, 1001));
  cr_assert_eq(tlx_event_expire(txn, 1000, 10), 0);
  cr_assert_eq(tlx_event_expire(txn, 3001, 2), 2, "at most so many");
  cr_assert_eq(tlx_event_expire(txn, 3001, 2), 1);
  expect(txn, NULL, UINT64_MAX, "4 ");
  cr_assert_eq(tlx_event_count(txn, A), 1);
  cr_assert_eq(tlx_event_count(txn, B), 0);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(event_tbl, refuses) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  add(txn, "", 1000, KEEP);
  fixture_commit_fails(txn, -EINVAL);
  /* Numbers are never given twice, also when all is gone. */
  txn = fixture_write(&fx);
  add(txn, A, 1000, KEEP);
  cr_assert_eq(tlx_event_expire(txn, UINT64_MAX, 10), 1);
  add(txn, A, 1000, KEEP);
  expect(txn, A, UINT64_MAX, "2 ");
  fixture_commit(txn);
}

Test(event_tbl, damage_is_told) {
  FIXTURE fx;
  struct tlx_db_key key;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  add(txn, A, 1000, KEEP);
  tlx_db_key_number(1, &key);
  tlx_table_remove(txn, TLX_TABLE_EVENT, &key);
  char out[64] = "";
  tlx_event_each(txn, A, UINT64_MAX, list_numbers, out);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_write(&fx);
  add(txn, A, 1000, KEEP);
  cr_assert(tlx_db_key_sensor_no(A, 1, &key));
  tlx_table_put_raw(txn, TLX_TABLE_EVENT_SENSOR, &key, "x", 1);
  cr_assert_eq(tlx_event_count(txn, A), 0);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  /* Counts that run backwards. */
  txn = fixture_write(&fx);
  add(txn, A, 1000, KEEP);
  add(txn, A, 1000, KEEP);
  tlx_table_put_number(txn, TLX_TABLE_EVENT_SENSOR, &key, 7);
  cr_assert_eq(tlx_event_count(txn, A), 0);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
}
