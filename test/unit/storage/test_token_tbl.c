// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/token_tbl.h"

#include <errno.h>
#include <string.h>

#include "common/err.h"
#include "fixture.h"

static uint64_t add(struct tlx_txn *txn, const char *id, uint8_t fill) {
  uint8_t hash[32];
  Telovix__Store__V1__TokenRecord record = fixture_token(id, fill, hash);
  tlx_token_add(txn, &record);
  return record.token_no;
}

Test(token_tbl, add_and_find) {
  FIXTURE fx;
  fixture_init(&fx);
  uint8_t hash[32];
  struct tlx_txn *txn = fixture_write(&fx);
  cr_assert_eq(add(txn, "token_a", 1), 1);
  cr_assert_eq(add(txn, "token_b", 2), 2);
  fixture_commit(txn);
  txn = fixture_read(&fx);
  memset(hash, 2, sizeof hash);
  const Telovix__Store__V1__TokenRecord *record = tlx_token_find(txn, hash);
  cr_assert(record);
  cr_assert_str_eq(record->token_id, "token_b");
  cr_assert_eq(record->token_no, 2);
  record = tlx_token_get(txn, "token_a");
  cr_assert(record);
  cr_assert_eq(record->secret_hash.data[31], 1);
  hash[31] = 3;
  cr_assert_null(tlx_token_find(txn, hash));
  cr_assert_null(tlx_token_find(txn, NULL));
  cr_assert_null(tlx_token_get(txn, "token_c"));
  cr_assert_null(tlx_token_get(txn, ""));
  cr_assert_eq(tlx_token_count(txn), 2);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(token_tbl, add_refuses) {
  FIXTURE fx;
  fixture_init(&fx);
  uint8_t hash[32];
  struct tlx_txn *txn = fixture_write(&fx);
  add(txn, "token_a", 1);
  add(txn, "token_a", 2);
  fixture_commit_fails(txn, TLX_E_EXISTS);
  txn = fixture_write(&fx);
  add(txn, "token_a", 1);
  add(txn, "token_b", 1);
  fixture_commit_fails(txn, TLX_E_EXISTS);
  txn = fixture_write(&fx);
  add(txn, "", 1);
  fixture_commit_fails(txn, -EINVAL);
  Telovix__Store__V1__TokenRecord record = fixture_token("token_a", 1, hash);
  record.secret_hash.len = 31;
  txn = fixture_write(&fx);
  tlx_token_add(txn, &record);
  fixture_commit_fails(txn, -EINVAL);
  /* Nothing of it stays. */
  txn = fixture_read(&fx);
  cr_assert_eq(tlx_token_count(txn), 0);
  fixture_commit(txn);
}

Test(token_tbl, put_keeps_id_and_secret) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  add(txn, "token_a", 1);
  Telovix__Store__V1__TokenRecord *record = tlx_token_get(txn, "token_a");
  record->uses = 1;
  record->used_by_sensor_id = (char *)"sensor_a";
  tlx_token_put(txn, record);
  fixture_commit(txn);
  txn = fixture_read(&fx);
  cr_assert_eq(tlx_token_get(txn, "token_a")->uses, 1);
  fixture_commit(txn);

  txn = fixture_write(&fx);
  record = tlx_token_get(txn, "token_a");
  record->token_no = 9;
  tlx_token_put(txn, record);
  fixture_commit_fails(txn, TLX_E_NOT_FOUND);
  txn = fixture_write(&fx);
  record = tlx_token_get(txn, "token_a");
  record->token_id = (char *)"token_b";
  tlx_token_put(txn, record);
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  record = tlx_token_get(txn, "token_a");
  record->secret_hash.data[0] ^= 1;
  tlx_token_put(txn, record);
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  record = tlx_token_get(txn, "token_a");
  record->secret_hash.len = 0;
  tlx_token_put(txn, record);
  fixture_commit_fails(txn, -EINVAL);
}

Test(token_tbl, remove) {
  FIXTURE fx;
  fixture_init(&fx);
  uint8_t hash[32];
  struct tlx_txn *txn = fixture_write(&fx);
  add(txn, "token_a", 1);
  add(txn, "token_b", 2);
  /* A changed copy removes the right one all the same. */
  Telovix__Store__V1__TokenRecord *record = tlx_token_get(txn, "token_a");
  record->token_id = (char *)"token_b";
  tlx_token_remove(txn, record);
  memset(hash, 1, sizeof hash);
  cr_assert_null(tlx_token_get(txn, "token_a"));
  cr_assert_null(tlx_token_find(txn, hash));
  cr_assert(tlx_token_get(txn, "token_b"));
  cr_assert_eq(tlx_token_count(txn), 1);
  cr_assert_eq(add(txn, "token_c", 1), 3, "a number is never given again");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
  txn = fixture_write(&fx);
  Telovix__Store__V1__TokenRecord unknown = fixture_token("token_x", 9, hash);
  unknown.token_no = 77;
  tlx_token_remove(txn, &unknown);
  fixture_commit_fails(txn, TLX_E_NOT_FOUND);
}

struct walk {
  char text[128];
  unsigned stop_after, n;
};

static bool add_id(void *arg, const Telovix__Store__V1__TokenRecord *record) {
  struct walk *walk = arg;
  strcat(strcat(walk->text, record->token_id + strlen("token_")), " ");
  return ++walk->n != walk->stop_after;
}

Test(token_tbl, each_newest_first) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  struct walk none = {0}, all = {0}, below = {0}, one = {.stop_after = 1}, first = {0};
  tlx_token_each(txn, UINT64_MAX, add_id, &none);
  cr_assert_eq(none.n, 0);
  add(txn, "token_a", 1);
  add(txn, "token_b", 2);
  add(txn, "token_c", 3);
  tlx_token_each(txn, UINT64_MAX, add_id, &all);
  cr_assert_str_eq(all.text, "c b a ");
  tlx_token_each(txn, 3, add_id, &below);
  cr_assert_str_eq(below.text, "b a ");
  tlx_token_each(txn, UINT64_MAX, add_id, &one);
  cr_assert_str_eq(one.text, "c ");
  tlx_token_each(txn, 1, add_id, &first);
  cr_assert_eq(first.n, 0);
  fixture_commit(txn);
}

Test(token_tbl, index_entry_without_token) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_db_key key;
  struct tlx_txn *txn = fixture_write(&fx);
  cr_assert(tlx_db_key_id("token_a", &key));
  tlx_table_put_number(txn, TLX_TABLE_TOKEN_ID, &key, 5);
  cr_assert_null(tlx_token_get(txn, "token_a"));
  fixture_commit_fails(txn, TLX_E_CORRUPT);
}

/* ---- uses of fleet tokens ---- */

static void use(struct tlx_txn *txn, const char *token_id, uint8_t key, const char *sensor_id) {
  uint8_t hash[32];
  Telovix__Store__V1__TokenUseRecord record = TELOVIX__STORE__V1__TOKEN_USE_RECORD__INIT;
  memset(hash, key, sizeof hash);
  record.token_id = (char *)token_id;
  record.sensor_id = (char *)sensor_id;
  record.issued_certificate = (ProtobufCBinaryData){3, (uint8_t *)"der"};
  tlx_token_use_put(txn, hash, &record);
}

static bool is_used(struct fixture *fx, const char *token_id, uint8_t key) {
  uint8_t hash[32];
  memset(hash, key, sizeof hash);
  struct tlx_txn *txn = fixture_read(fx);
  bool there = tlx_token_use_get(txn, token_id, hash) != NULL;
  fixture_commit(txn);
  return there;
}

static void add_fleet_tokens(struct tlx_txn *txn) {
  uint8_t hash[32];
  fixture_need_sensor(txn, "sensor_a");
  fixture_need_sensor(txn, "sensor_b");
  for (uint8_t fill = 1; fill <= 2; fill++) {
    Telovix__Store__V1__TokenRecord record =
        fixture_token(fill == 1 ? "token_a" : "token_b", fill, hash);
    record.kind = 2;
    record.max_uses = record.uses = 2;
    tlx_token_add(txn, &record);
  }
}

Test(token_tbl, uses_go_with_their_token) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  add_fleet_tokens(txn);
  use(txn, "token_a", 1, "sensor_a");
  use(txn, "token_a", 2, "sensor_b");
  use(txn, "token_b", 1, "sensor_b");
  fixture_commit(txn);
  cr_assert(is_used(&fx, "token_a", 1));
  cr_assert_not(is_used(&fx, "token_a", 3));
  cr_assert_not(is_used(&fx, "token_c", 1));
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
  txn = fixture_write(&fx);
  tlx_token_remove(txn, tlx_token_get(txn, "token_a"));
  fixture_commit(txn);
  cr_assert_not(is_used(&fx, "token_a", 1));
  cr_assert_not(is_used(&fx, "token_a", 2));
  cr_assert(is_used(&fx, "token_b", 1));
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(token_tbl, uses_of_a_sensor_are_forgotten) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  add_fleet_tokens(txn);
  use(txn, "token_a", 1, "sensor_a");
  use(txn, "token_a", 2, "sensor_b");
  use(txn, "token_b", 1, "sensor_a");
  tlx_token_use_forget(txn, "sensor_a");
  fixture_commit(txn);
  cr_assert_not(is_used(&fx, "token_a", 1));
  cr_assert(is_used(&fx, "token_a", 2));
  cr_assert_not(is_used(&fx, "token_b", 1));
}

Test(token_tbl, no_use_without_a_token) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  use(txn, "token_a", 1, "sensor_a");
  fixture_commit_fails(txn, TLX_E_NOT_FOUND);
  txn = fixture_write(&fx);
  use(txn, "", 1, "sensor_a");
  fixture_commit_fails(txn, -EINVAL);
}
