// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/order_tbl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "fixture.h"
#include "storage/meta_tbl.h"
#include "storage/order_tbl_int.h"

#define A "sensor_a"
#define B "sensor_b"
enum { LAST_STATE = TLX_ORDER_RESULT_UNKNOWN };

/* ---- states ---- */

/* Written out once more, by hand: a row is the state before, a column the state after, 1 … 11. */
static const char *const moves[LAST_STATE + 1] = {
    [0] = "00000000000",
    /*                         QDSKAIPFECU */
    [TLX_ORDER_QUEUED] = "01000000110",
    [TLX_ORDER_DELIVERED] = "00111111001",
    [TLX_ORDER_STILL_ALIVE] = "00111111001",
    [TLX_ORDER_KILLED] = "00000000000",
    [TLX_ORDER_ALREADY_GONE] = "00000000000",
    [TLX_ORDER_IDENTITY_MISMATCH] = "00000000000",
    [TLX_ORDER_PROTECTED] = "00000000000",
    [TLX_ORDER_FAILED] = "00000000000",
    [TLX_ORDER_EXPIRED] = "00000000000",
    [TLX_ORDER_CANCELLED] = "00000000000",
    [TLX_ORDER_RESULT_UNKNOWN] = "00011111000",
};

Test(order_tbl, every_pair_of_states) {
  for (unsigned from = 0; from <= LAST_STATE; from++) {
    for (unsigned to = 1; to <= LAST_STATE; to++)
      cr_assert_eq(tlx_order_move_allowed(from, to), moves[from][to - 1] == '1', "%s to %s",
                   tlx_order_state_name(from), tlx_order_state_name(to));
    cr_assert_not(tlx_order_move_allowed(from, 0));
    for (unsigned to = LAST_STATE + 1; to < 70; to++)
      cr_assert_not(tlx_order_move_allowed(from, to));
    cr_assert_not(tlx_order_move_allowed(from, UINT32_MAX));
  }
  cr_assert_not(tlx_order_move_allowed(LAST_STATE + 1, TLX_ORDER_KILLED));
  cr_assert_not(tlx_order_move_allowed(UINT32_MAX, TLX_ORDER_KILLED));
}

Test(order_tbl, ended_states) {
  for (unsigned state = 0; state < 70; state++) {
    bool open = state == 0 || state > LAST_STATE || state == TLX_ORDER_QUEUED ||
                state == TLX_ORDER_DELIVERED || state == TLX_ORDER_STILL_ALIVE;
    cr_assert_eq(tlx_order_state_ended(state), !open, "%u", state);
  }
}

Test(order_tbl, names_of_states) {
  cr_assert_str_eq(tlx_order_state_name(TLX_ORDER_QUEUED), "queued");
  cr_assert_str_eq(tlx_order_state_name(TLX_ORDER_STILL_ALIVE), "still_alive");
  cr_assert_str_eq(tlx_order_state_name(TLX_ORDER_RESULT_UNKNOWN), "result_unknown");
  cr_assert_str_eq(tlx_order_state_name(0), "unknown");
  cr_assert_str_eq(tlx_order_state_name(12), "unknown");
}

/* Puts an order straight into |from|, below the rules. */
static void force_state(struct tlx_txn *txn, const char *id, unsigned from) {
  struct tlx_db_key key;
  Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, id);
  cr_assert(record);
  record->state = from;
  tlx_db_key_number(record->queue_no, &key);
  tlx_table_put(txn, TLX_TABLE_ORDER, &key, &record->base);
  cr_assert(tlx_db_key_sensor_no(record->sensor_id, record->queue_no, &key));
  uint64_t due;
  if (tlx_order_due(record, &due))
    tlx_table_put_number(txn, TLX_TABLE_ORDER_OPEN, &key, due);
  else
    tlx_table_remove(txn, TLX_TABLE_ORDER_OPEN, &key);
}

Test(order_tbl, put_makes_every_legal_move_and_no_other) {
  FIXTURE fx;
  fixture_init(&fx);
  fixture_add_order(&fx, "kill_a", A, 1000);
  for (unsigned from = 1; from <= LAST_STATE; from++)
    for (unsigned to = 0; to <= LAST_STATE + 1; to++) {
      bool legal = to >= 1 && to <= LAST_STATE && moves[from][to - 1] == '1';
      struct tlx_txn *txn = fixture_write(&fx);
      force_state(txn, "kill_a", from);
      fixture_move(txn, "kill_a", to);
      cr_assert_eq(tlx_txn_err(txn), legal ? 0 : TLX_E_CONFLICT, "%u to %u", from, to);
      if (legal) {
        cr_assert_eq(tlx_order_get(txn, "kill_a")->state, to);
        cr_assert_eq(tlx_order_count_open(txn, A), tlx_order_state_ended(to) ? 0 : 1);
      }
      tlx_txn_abort(txn);
    }
}

Test(order_tbl, due_times) {
  Telovix__Store__V1__OrderRecord record = fixture_order("kill_a", A, 1000);
  uint64_t due = 7;
  record.state = TLX_ORDER_QUEUED;
  cr_assert(tlx_order_due(&record, &due));
  cr_assert_eq(due, 1000);
  record.state = TLX_ORDER_DELIVERED;
  cr_assert(tlx_order_due(&record, &due));
  cr_assert_eq(due, 1000 + TLX_ORDER_RESULT_GRACE_MS);
  record.state = TLX_ORDER_STILL_ALIVE;
  cr_assert(tlx_order_due(&record, &due));
  cr_assert_eq(due, 1000 + TLX_ORDER_RESULT_GRACE_MS);
  record.expires_wall_ms = UINT64_MAX - 5;
  cr_assert(tlx_order_due(&record, &due));
  cr_assert_eq(due, UINT64_MAX);
  record.state = TLX_ORDER_KILLED;
  due = 7;
  cr_assert_not(tlx_order_due(&record, &due));
  cr_assert_eq(due, 7);
}

/* ---- one order ---- */

Test(order_tbl, add_numbers_and_queues) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__OrderRecord record = fixture_order("kill_a", A, 1000);
  record.state = TLX_ORDER_KILLED;
  record.queue_no = 55;
  fixture_need_sensor(txn, A);
  tlx_order_add(txn, &record, 10);
  cr_assert_eq(record.queue_no, 1);
  cr_assert_eq(record.state, TLX_ORDER_QUEUED);
  fixture_commit(txn);
  cr_assert_eq(fixture_add_order(&fx, "kill_b", B, 1000), 2, "one row over all sensors");
  txn = fixture_read(&fx);
  const Telovix__Store__V1__OrderRecord *back = tlx_order_get(txn, "kill_a");
  cr_assert(back);
  cr_assert_eq(back->pid, 4711);
  cr_assert_eq(back->queue_no, 1);
  cr_assert_null(tlx_order_get(txn, "kill_c"));
  cr_assert_null(tlx_order_get(txn, ""));
  cr_assert_null(tlx_order_get(txn, NULL));
  cr_assert_eq(tlx_meta_get(txn)->queue_no, 2);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(order_tbl, add_refuses) {
  FIXTURE fx;
  fixture_init(&fx);
  fixture_add_order(&fx, "kill_a", A, 1000);
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__OrderRecord record = fixture_order("kill_a", B, 1000);
  tlx_order_add(txn, &record, 10);
  fixture_commit_fails(txn, TLX_E_EXISTS);
  txn = fixture_write(&fx);
  record.order_id = (char *)"";
  tlx_order_add(txn, &record, 10);
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  record = fixture_order("kill_b", "", 1000);
  tlx_order_add(txn, &record, 10);
  fixture_commit_fails(txn, -EINVAL);
}

Test(order_tbl, put_refuses_another_identity) {
  FIXTURE fx;
  fixture_init(&fx);
  fixture_add_order(&fx, "kill_a", A, 1000);
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, "kill_a");
  record->order_id = (char *)"kill_x";
  tlx_order_put(txn, record);
  fixture_commit_fails(txn, TLX_E_NOT_FOUND);
  txn = fixture_write(&fx);
  record = tlx_order_get(txn, "kill_a");
  record->state = TLX_ORDER_DELIVERED;
  record->queue_no++;
  tlx_order_put(txn, record);
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  record = tlx_order_get(txn, "kill_a");
  record->state = TLX_ORDER_DELIVERED;
  record->sensor_id = (char *)B;
  tlx_order_put(txn, record);
  fixture_commit_fails(txn, -EINVAL);
}

Test(order_tbl, late_report_replaces_only_result_unknown) {
  FIXTURE fx;
  fixture_init(&fx);
  fixture_add_order(&fx, "kill_a", A, 1000);
  struct tlx_txn *txn = fixture_write(&fx);
  fixture_move(txn, "kill_a", TLX_ORDER_DELIVERED);
  fixture_move(txn, "kill_a", TLX_ORDER_RESULT_UNKNOWN);
  cr_assert_eq(tlx_order_count_open(txn, A), 0);
  fixture_move(txn, "kill_a", TLX_ORDER_KILLED);
  cr_assert_eq(tlx_order_count_open(txn, A), 0);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
  txn = fixture_write(&fx);
  fixture_move(txn, "kill_a", TLX_ORDER_FAILED);
  fixture_commit_fails(txn, TLX_E_CONFLICT);
}

/* ---- walks ---- */

struct walk {
  char text[256];
  unsigned stop_after, n;
  struct tlx_txn *txn; /* moves what it sees to |to| */
  unsigned to;
};

static bool add_id(void *arg, const Telovix__Store__V1__OrderRecord *record) {
  struct walk *walk = arg;
  strcat(strcat(walk->text, record->order_id + strlen("kill_")), " ");
  if (walk->txn) fixture_move(walk->txn, record->order_id, walk->to);
  return ++walk->n != walk->stop_after;
}

Test(order_tbl, each_open_oldest_first) {
  FIXTURE fx;
  fixture_init(&fx);
  fixture_add_order(&fx, "kill_a1", A, 1000);
  fixture_add_order(&fx, "kill_b1", B, 1000);
  fixture_add_order(&fx, "kill_a2", A, 1000);
  fixture_add_order(&fx, "kill_a3", A, 1000);
  fixture_add_order(&fx, "kill_x1", "sensor_ab", 1000);
  struct tlx_txn *txn = fixture_write(&fx);
  struct walk all = {0}, two = {.stop_after = 2}, none = {0}, rest = {0};
  tlx_order_each_open(txn, A, add_id, &all);
  cr_assert_str_eq(all.text, "a1 a2 a3 ");
  cr_assert_eq(tlx_order_count_open(txn, A), 3);
  tlx_order_each_open(txn, A, add_id, &two);
  cr_assert_str_eq(two.text, "a1 a2 ");
  tlx_order_each_open(txn, "sensor_c", add_id, &none);
  tlx_order_each_open(txn, "", add_id, &none);
  cr_assert_eq(none.n, 0);
  cr_assert_eq(tlx_order_count_open(txn, ""), 0);
  /* Delivering in the walk: the index entries are rewritten under it. */
  struct walk deliver = {.txn = txn, .to = TLX_ORDER_DELIVERED};
  tlx_order_each_open(txn, A, add_id, &deliver);
  cr_assert_str_eq(deliver.text, "a1 a2 a3 ");
  /* Ending in the walk: they vanish under it. */
  struct walk end = {.txn = txn, .to = TLX_ORDER_KILLED, .stop_after = 2};
  tlx_order_each_open(txn, A, add_id, &end);
  cr_assert_str_eq(end.text, "a1 a2 ");
  tlx_order_each_open(txn, A, add_id, &rest);
  cr_assert_str_eq(rest.text, "a3 ");
  cr_assert_eq(tlx_order_count_open(txn, B), 1);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(order_tbl, each_due) {
  FIXTURE fx;
  fixture_init(&fx);
  fixture_add_order(&fx, "kill_a1", A, 1000);
  fixture_add_order(&fx, "kill_b1", B, 2000);
  fixture_add_order(&fx, "kill_a2", A, 1000);
  struct tlx_txn *txn = fixture_write(&fx);
  fixture_move(txn, "kill_a2", TLX_ORDER_DELIVERED);
  fixture_commit(txn);
  txn = fixture_write(&fx);
  struct walk before = {0}, at = {0}, both = {0}, grace = {0};
  tlx_order_each_due(txn, 999, add_id, &before);
  cr_assert_eq(before.n, 0);
  tlx_order_each_due(txn, 1000, add_id, &at);
  cr_assert_str_eq(at.text, "a1 ");
  tlx_order_each_due(txn, 1000 + TLX_ORDER_RESULT_GRACE_MS - 1, add_id, &both);
  cr_assert_str_eq(both.text, "a1 b1 ");
  tlx_order_each_due(txn, 1000 + TLX_ORDER_RESULT_GRACE_MS, add_id, &grace);
  cr_assert_str_eq(grace.text, "a1 a2 b1 ");
  struct walk one = {.stop_after = 1};
  tlx_order_each_due(txn, 5000, add_id, &one);
  cr_assert_eq(one.n, 1);
  struct walk expire = {.txn = txn, .to = TLX_ORDER_EXPIRED};
  tlx_order_each_due(txn, 5000, add_id, &expire);
  cr_assert_str_eq(expire.text, "a1 b1 ");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(order_tbl, each_newest_first) {
  FIXTURE fx;
  fixture_init(&fx);
  fixture_add_order(&fx, "kill_a1", A, 1000);
  fixture_add_order(&fx, "kill_b2", B, 1000);
  uint64_t third = fixture_add_order(&fx, "kill_a3", A, 1000);
  fixture_add_order(&fx, "kill_b4", B, 1000);
  struct tlx_txn *txn = fixture_read(&fx);
  struct walk all = {0}, below = {0}, of_a = {0}, of_a_below = {0}, one = {.stop_after = 1},
              one_of_b = {.stop_after = 1}, none = {0};
  tlx_order_each(txn, NULL, UINT64_MAX, add_id, &all);
  cr_assert_str_eq(all.text, "b4 a3 b2 a1 ");
  tlx_order_each(txn, NULL, third, add_id, &below);
  cr_assert_str_eq(below.text, "b2 a1 ");
  tlx_order_each(txn, A, UINT64_MAX, add_id, &of_a);
  cr_assert_str_eq(of_a.text, "a3 a1 ");
  tlx_order_each(txn, A, third, add_id, &of_a_below);
  cr_assert_str_eq(of_a_below.text, "a1 ");
  tlx_order_each(txn, NULL, UINT64_MAX, add_id, &one);
  cr_assert_str_eq(one.text, "b4 ");
  tlx_order_each(txn, B, UINT64_MAX, add_id, &one_of_b);
  cr_assert_str_eq(one_of_b.text, "b4 ");
  tlx_order_each(txn, "sensor_c", UINT64_MAX, add_id, &none);
  tlx_order_each(txn, "", UINT64_MAX, add_id, &none);
  tlx_order_each(txn, NULL, 1, add_id, &none);
  tlx_order_each(txn, A, 1, add_id, &none);
  cr_assert_eq(none.n, 0);
  fixture_commit(txn);
}

Test(order_tbl, only_the_newest_ended_are_kept) {
  FIXTURE fx;
  fixture_init(&fx);
  char id[32];
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__OrderRecord record = fixture_order("kill_open", A, 1000);
  fixture_need_sensor(txn, A);
  fixture_need_sensor(txn, B);
  tlx_order_add(txn, &record, 3);
  record = fixture_order("kill_of_b", B, 1000);
  tlx_order_add(txn, &record, 3);
  fixture_move(txn, "kill_of_b", TLX_ORDER_CANCELLED);
  for (unsigned i = 0; i < 6; i++) {
    snprintf(id, sizeof id, "kill_%u", i);
    record = fixture_order(id, A, 1000);
    tlx_order_add(txn, &record, 3);
    fixture_move(txn, id, TLX_ORDER_CANCELLED);
  }
  struct walk of_a = {0}, of_b = {0};
  tlx_order_each(txn, A, UINT64_MAX, add_id, &of_a);
  cr_assert_str_eq(of_a.text, "5 4 3 2 open ", "three, and the one that ended since");
  tlx_order_each(txn, B, UINT64_MAX, add_id, &of_b);
  cr_assert_str_eq(of_b.text, "of_b ", "each sensor has its own");
  cr_assert_null(tlx_order_get(txn, "kill_0"));
  record = fixture_order("kill_none_kept", A, 1000);
  tlx_order_add(txn, &record, 0);
  of_a = (struct walk){0};
  tlx_order_each(txn, A, UINT64_MAX, add_id, &of_a);
  cr_assert_str_eq(of_a.text, "none_kept open ");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(order_tbl, damaged_indexes_are_corruption) {
  FIXTURE fx;
  fixture_init(&fx);
  uint64_t no = fixture_add_order(&fx, "kill_a", A, 1000);
  struct tlx_db_key key, index_key;
  struct walk walk = {0};
  tlx_db_key_number(no, &key);
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_table_remove(txn, TLX_TABLE_ORDER, &key);
  cr_assert_null(tlx_order_get(txn, "kill_a"));
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_write(&fx);
  tlx_table_remove(txn, TLX_TABLE_ORDER, &key);
  tlx_order_each_open(txn, A, add_id, &walk);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_write(&fx);
  cr_assert(tlx_db_key_sensor_no(A, no, &index_key));
  tlx_table_put_raw(txn, TLX_TABLE_ORDER_OPEN, &index_key, "short", 5);
  tlx_order_each_due(txn, 5000, add_id, &walk);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_write(&fx);
  index_key.len -= 3;
  tlx_table_put_raw(txn, TLX_TABLE_ORDER_SENSOR, &index_key, NULL, 0);
  tlx_order_each(txn, A, UINT64_MAX, add_id, &walk);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  cr_assert_eq(walk.n, 1, "only the sound one was seen");
}

Test(order_tbl, all_of_one_sensor_go) {
  FIXTURE fx;
  fixture_init(&fx);
  fixture_add_order(&fx, "kill_a1", A, 1000);
  fixture_add_order(&fx, "kill_b1", B, 1000);
  fixture_add_order(&fx, "kill_a2", A, 1000);
  fixture_add_order(&fx, "kill_x1", "sensor_ab", 1000);
  fixture_add_order(&fx, "kill_a3", A, 1000);
  struct tlx_txn *txn = fixture_write(&fx);
  fixture_move(txn, "kill_a2", TLX_ORDER_CANCELLED);
  cr_assert_eq(tlx_order_remove_all(txn, A), 3);
  cr_assert_eq(tlx_order_remove_all(txn, A), 0);
  cr_assert_eq(tlx_order_remove_all(txn, "sensor_none"), 0);
  cr_assert_eq(tlx_order_remove_all(txn, NULL), 0);
  cr_assert_null(tlx_order_get(txn, "kill_a1"));
  cr_assert(tlx_order_get(txn, "kill_b1"));
  cr_assert(tlx_order_get(txn, "kill_x1"));
  cr_assert_eq(tlx_order_count_open(txn, A), 0);
  cr_assert_eq(tlx_order_count_open(txn, B), 1);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}
