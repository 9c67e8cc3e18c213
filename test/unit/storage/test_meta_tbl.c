// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/meta_tbl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "fixture.h"

Test(meta_tbl, facts_of_the_store) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_read(&fx);
  const Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  cr_assert(meta);
  cr_assert_str_eq(meta->fleet_id, fixture_facts.fleet_id);
  cr_assert_str_eq(meta->fleet_name, "Test");
  cr_assert_eq(meta->epoch.len, 16);
  cr_assert_arr_eq(meta->epoch.data, fixture_facts.epoch, 16);
  cr_assert_eq(meta->created_wall_ms, FIXTURE_WALL_MS);
  cr_assert_eq(meta->schema, TLX_STORE_SCHEMA);
  cr_assert_eq(meta->queue_no, 0);
  fixture_commit(txn);
}

Test(meta_tbl, numbers_never_go_down) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__MetaRecord *old = tlx_meta_get(txn), *new = tlx_meta_get(txn);
  new->queue_no = 5;
  new->token_no = 7;
  tlx_meta_put(txn, new);
  old->fleet_name = (char *)"Renamed";
  tlx_meta_put(txn, old);
  const Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  cr_assert_str_eq(meta->fleet_name, "Renamed");
  cr_assert_eq(meta->queue_no, 5);
  cr_assert_eq(meta->token_no, 7);
  cr_assert_eq(old->queue_no, 0, "the caller's record is left alone");
  fixture_commit(txn);
}

/* ---- answered changes ---- */

static void put(struct tlx_txn *txn, const char *name, const char *id, uint64_t wall_ms,
                const char *reply) {
  Telovix__Store__V1__RequestRecord record = TELOVIX__STORE__V1__REQUEST_RECORD__INIT;
  record.created_wall_ms = wall_ms;
  record.reply = (ProtobufCBinaryData){strlen(reply), (uint8_t *)reply};
  tlx_request_put(txn, name, id, &record);
}

Test(meta_tbl, request_is_remembered_for_a_day) {
  FIXTURE fx;
  fixture_init(&fx);
  const uint64_t at = FIXTURE_WALL_MS;
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "anna", "r1", at, "yes");
  fixture_commit(txn);
  txn = fixture_read(&fx);
  const Telovix__Store__V1__RequestRecord *record = tlx_request_get(txn, "anna", "r1", at);
  cr_assert(record);
  cr_assert_eq(record->reply.len, 3);
  cr_assert_null(tlx_request_get(txn, "bert", "r1", at), "another operator's");
  cr_assert_null(tlx_request_get(txn, "anna", "r2", at));
  cr_assert_null(tlx_request_get(txn, "anna", "", at));
  cr_assert_null(tlx_request_get(txn, "", "r1", at));
  cr_assert(tlx_request_get(txn, "anna", "r1", at + TLX_REQUEST_LIFE_MS - 1));
  cr_assert_null(tlx_request_get(txn, "anna", "r1", at + TLX_REQUEST_LIFE_MS));
  cr_assert(tlx_request_get(txn, "anna", "r1", at - 5000), "the clock stepped back");
  fixture_commit(txn);
}

Test(meta_tbl, request_replaced) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "anna", "r1", 1000, "one");
  put(txn, "anna", "r1", 2000, "three");
  const Telovix__Store__V1__RequestRecord *record = tlx_request_get(txn, "anna", "r1", 2000);
  cr_assert(record);
  cr_assert_eq(record->reply.len, 5);
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_REQUEST), 1);
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_REQUEST_TIME), 1);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(meta_tbl, request_bad_names) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "", "r1", 1, "");
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  put(txn, "anna", "", 1, "");
  fixture_commit_fails(txn, -EINVAL);
}

Test(meta_tbl, old_requests_go_with_the_next_one) {
  FIXTURE fx;
  fixture_init(&fx);
  const uint64_t at = FIXTURE_WALL_MS;
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "anna", "old", at, "");
  put(txn, "anna", "young", at + 1, "");
  put(txn, "bert", "old", at, "");
  put(txn, "ann", "old", at, "");
  put(txn, "anna", "now", at + TLX_REQUEST_LIFE_MS, "");
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_REQUEST), 4);
  cr_assert_null(tlx_request_get(txn, "anna", "old", at));
  cr_assert(tlx_request_get(txn, "anna", "young", at));
  cr_assert(tlx_request_get(txn, "bert", "old", at), "others keep theirs");
  cr_assert(tlx_request_get(txn, "ann", "old", at));
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(meta_tbl, no_more_than_a_thousand_of_one_operator) {
  FIXTURE fx;
  fixture_init(&fx);
  char id[32];
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "annb", "other", 1, "");
  for (unsigned i = 0; i < TLX_REQUESTS_MAX; i++) {
    snprintf(id, sizeof id, "r%u", i);
    put(txn, "anna", id, 1000 + i, "");
    tlx_txn_forget(txn);
  }
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_REQUEST), TLX_REQUESTS_MAX + 1);
  cr_assert(tlx_request_get(txn, "anna", "r0", 3000));
  put(txn, "anna", "one-more", 3000, "");
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_REQUEST), TLX_REQUESTS_MAX + 1);
  cr_assert_null(tlx_request_get(txn, "anna", "r0", 3000), "the oldest is forgotten");
  cr_assert(tlx_request_get(txn, "anna", "r1", 3000));
  cr_assert(tlx_request_get(txn, "annb", "other", 3000));
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}
