// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/audit_tbl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"
#include "fixture.h"
#include "storage/audit_tbl_int.h"

/* Made with Python's hashlib from the text of the specification, not with this code. */
#define GOLDEN_1 "37c549c648471743fc8c72664bca229a85046f41577e15b852dbb7a14d41a4fa"
#define GOLDEN_2 "7835c3a4f6a10d1a7c6b602a093f1a807c0b6de449879646666e8c21bdc37f76"

static const struct tlx_audit_entry first = {
    .wall_ms = FIXTURE_WALL_MS, .action_type = "console_initialized", .success = true};
static const struct tlx_audit_entry second = {
    .wall_ms = 1704164646000ull,
    .action_type = "process_kill_queued",
    .actor = "anna",
    .actor_role = "operator",
    .sensor_id = "sensor_abcdefghij012345",
    .detail = "{\"pid\":4711}",
    .reason = "",
    .request_id = "req-1",
    .client_ip = "2001:db8::7",
    .user_agent = "telovixctl/0.1 \xc3\xbcn\xc3\xaf",
};

static void append_at(struct tlx_txn *txn, uint64_t wall_ms, const char *detail) {
  struct tlx_audit_entry entry = {
      .wall_ms = wall_ms, .action_type = "console_started", .success = true, .detail = detail};
  tlx_audit_append(txn, &entry);
}

Test(audit_tbl, golden_chain) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_audit_head head = {.seq = 9};
  char hex[65];
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_audit_head(txn, &head);
  cr_assert_eq(head.seq, 0);
  cr_assert_arr_eq(head.hash, (uint8_t[32]){0}, 32);
  tlx_audit_append(txn, &first);
  tlx_audit_head(txn, &head);
  cr_assert_eq(head.seq, 1);
  tlx_hex_format(head.hash, 32, hex);
  cr_assert_str_eq(hex, GOLDEN_1);
  tlx_audit_append(txn, &second);
  fixture_commit(txn);
  txn = fixture_read(&fx);
  tlx_audit_head(txn, &head);
  cr_assert_eq(head.seq, 2);
  tlx_hex_format(head.hash, 32, hex);
  cr_assert_str_eq(hex, GOLDEN_2);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(audit_tbl, stored_fields) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_audit_append(txn, &first);
  tlx_audit_append(txn, &second);
  fixture_commit(txn);
  txn = fixture_read(&fx);
  const Telovix__Store__V1__AuditRecord *one = tlx_audit_get(txn, 1), *two = tlx_audit_get(txn, 2);
  cr_assert(one && two);
  cr_assert_str_eq(one->created_at, "2024-01-02T03:04:05.678Z");
  cr_assert_str_eq(one->outcome, "success");
  cr_assert_str_eq(one->detail, "{}");
  cr_assert_str_eq(one->actor, "");
  cr_assert_eq(one->present, 0x108f, "seq, time, action, outcome, detail, previous hash");
  cr_assert_str_eq(two->outcome, "failure");
  cr_assert_str_eq(two->user_agent, second.user_agent);
  cr_assert_eq(two->present, 0x1fff, "the empty reason is there");
  cr_assert_arr_eq(two->prev_hash.data, one->hash.data, 32);
  cr_assert_null(tlx_audit_get(txn, 0));
  cr_assert_null(tlx_audit_get(txn, 3));
  fixture_commit(txn);
}

Test(audit_tbl, hash_tells_absent_from_empty_and_fields_apart) {
  Telovix__Store__V1__AuditRecord record = TELOVIX__STORE__V1__AUDIT_RECORD__INIT;
  uint8_t a[32], b[32];
  record.present = 1u << 4;
  tlx_audit_hash(&record, a);
  record.present = 0;
  tlx_audit_hash(&record, b);
  cr_assert_neq(memcmp(a, b, 32), 0, "an empty actor is not none");
  record.actor = (char *)"x";
  tlx_audit_hash(&record, a);
  cr_assert_arr_eq(a, b, 32, "what is absent is not looked at");
  record.present = 1u << 4 | 1u << 5;
  record.actor = (char *)"ab";
  record.actor_role = (char *)"c";
  tlx_audit_hash(&record, a);
  record.actor = (char *)"a";
  record.actor_role = (char *)"bc";
  tlx_audit_hash(&record, b);
  cr_assert_neq(memcmp(a, b, 32), 0, "a character moved to the next field");
  /* The stored hash is no part of itself. */
  record.hash = (ProtobufCBinaryData){32, a};
  tlx_audit_hash(&record, a);
  cr_assert_arr_eq(a, b, 32);
  record.actor = NULL;
  tlx_audit_hash(&record, a);
}

Test(audit_tbl, append_refuses_without_action) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_audit_entry entry = {.wall_ms = 1};
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_audit_append(txn, &entry);
  fixture_commit_fails(txn, -EINVAL);
  entry.action_type = "";
  txn = fixture_write(&fx);
  tlx_audit_append(txn, &entry);
  fixture_commit_fails(txn, -EINVAL);
}

Test(audit_tbl, nothing_of_an_aborted_transaction_stays) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_audit_head head;
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_audit_append(txn, &first);
  fixture_commit(txn);
  txn = fixture_write(&fx);
  tlx_audit_append(txn, &second);
  tlx_txn_abort(txn);
  txn = fixture_write(&fx);
  tlx_audit_append(txn, &second);
  tlx_audit_head(txn, &head);
  cr_assert_eq(head.seq, 2, "no gap");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

/* ---- the clock ---- */

static const char *detail_of(struct tlx_txn *txn, uint64_t seq) {
  const Telovix__Store__V1__AuditRecord *record = tlx_audit_get(txn, seq);
  cr_assert(record);
  return record->detail;
}

Test(audit_tbl, clock_that_stepped_back_is_noted_once) {
  FIXTURE fx;
  fixture_init(&fx);
  const uint64_t at = FIXTURE_WALL_MS;
  struct tlx_txn *txn = fixture_write(&fx);
  append_at(txn, at, NULL);
  append_at(txn, at, NULL);
  append_at(txn, at - 1500, "{\"pid\":1,\"zone\":\"x\"}");
  append_at(txn, at - 1400, NULL);
  append_at(txn, at - 1401, NULL);
  fixture_commit(txn);
  txn = fixture_read(&fx);
  cr_assert_str_eq(detail_of(txn, 2), "{}");
  cr_assert_str_eq(detail_of(txn, 3), "{\"clock_stepped_back_ms\":1500,\"pid\":1,\"zone\":\"x\"}");
  cr_assert_str_eq(detail_of(txn, 4), "{}");
  cr_assert_str_eq(detail_of(txn, 5), "{\"clock_stepped_back_ms\":1}");
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

static char *note(const char *detail, uint64_t ms) {
  char *text = NULL;
  cr_assert_eq(tlx_audit_detail_note(detail, ms, &text), 0);
  return text;
}

Test(audit_tbl, note_keeps_whatever_the_detail_is) {
  static const struct {
    const char *before, *after;
  } cases[] = {
      {"{}", "{\"clock_stepped_back_ms\":5}"},
      {"{\"z\":{\"b\":1,\"a\":2},\"a\":\"\xc3\xa4\"}",
       "{\"a\":\"\xc3\xa4\",\"clock_stepped_back_ms\":5,\"z\":{\"a\":2,\"b\":1}}"},
      {"{\"clock_stepped_back_ms\":1}", "{\"clock_stepped_back_ms\":5}"},
      {"", "{\"clock_stepped_back_ms\":5,\"detail\":\"\"}"},
      {"[1]", "{\"clock_stepped_back_ms\":5,\"detail\":\"[1]\"}"},
      {"broken \"", "{\"clock_stepped_back_ms\":5,\"detail\":\"broken \\\"\"}"},
      {"{\"n\":99999999999999999999}",
       "{\"clock_stepped_back_ms\":5,\"detail\":\"{\\\"n\\\":99999999999999999999}\"}"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *text = note(cases[i].before, 5);
    cr_assert_str_eq(text, cases[i].after);
    free(text);
  }
  char *text = note("{}", UINT64_MAX);
  cr_assert_str_eq(text, "{\"clock_stepped_back_ms\":9223372036854775807}");
  free(text);
  text = NULL;
  cr_assert_eq(tlx_audit_detail_note("\xff", 5, &text), -EINVAL);
  cr_assert_null(text);
}

Test(audit_tbl, note_that_cannot_be_made_fails_the_change) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  append_at(txn, 2000, NULL);
  append_at(txn, 1000, "\xff");
  fixture_commit_fails(txn, -EINVAL);
}

/* ---- reading ---- */

struct walk {
  uint64_t seen[16];
  unsigned n, stop_after;
};

static bool add_seq(void *arg, const Telovix__Store__V1__AuditRecord *record) {
  struct walk *walk = arg;
  walk->seen[walk->n++] = record->seq;
  return walk->n != walk->stop_after;
}

Test(audit_tbl, each) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  struct walk none = {0};
  tlx_audit_each(txn, 0, false, add_seq, &none);
  tlx_audit_each(txn, UINT64_MAX, true, add_seq, &none);
  cr_assert_eq(none.n, 0);
  for (unsigned i = 0; i < 5; i++)
    append_at(txn, 1000 + i, NULL);
  static const struct {
    uint64_t from;
    bool down;
    unsigned stop_after, n;
    uint64_t first, last;
  } cases[] = {
      {0, false, 0, 5, 1, 5},
      {1, false, 0, 5, 1, 5},
      {3, false, 0, 3, 3, 5},
      {5, false, 0, 1, 5, 5},
      {6, false, 0, 0, 0, 0},
      {UINT64_MAX, false, 0, 0, 0, 0},
      {UINT64_MAX, true, 0, 5, 5, 1},
      {5, true, 0, 5, 5, 1},
      {6, true, 0, 5, 5, 1},
      {3, true, 0, 3, 3, 1},
      {1, true, 0, 1, 1, 1},
      {0, true, 0, 0, 0, 0},
      {0, false, 2, 2, 1, 2},
      {UINT64_MAX, true, 2, 2, 5, 4},
      {UINT64_MAX - 1, true, 0, 5, 5, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct walk walk = {.stop_after = cases[i].stop_after};
    tlx_audit_each(txn, cases[i].from, cases[i].down, add_seq, &walk);
    cr_assert_eq(walk.n, cases[i].n, "case %zu", i);
    if (walk.n == 0) continue;
    cr_assert_eq(walk.seen[0], cases[i].first, "case %zu", i);
    cr_assert_eq(walk.seen[walk.n - 1], cases[i].last, "case %zu", i);
  }
  fixture_commit(txn);
}

/* ---- damage ---- */

Test(audit_tbl, a_damaged_end_stops_appending) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_db_key key;
  struct tlx_audit_head head = {.seq = 5};
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_db_key_number(1, &key);
  tlx_table_put_raw(txn, TLX_TABLE_AUDIT, &key, "\xff", 1);
  fixture_commit(txn);
  txn = fixture_write(&fx);
  tlx_audit_append(txn, &first);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_read(&fx);
  tlx_audit_head(txn, &head);
  cr_assert_eq(head.seq, 0);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
}

Test(audit_tbl, the_end_must_be_what_its_key_says) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_db_key key;
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_audit_append(txn, &first);
  Telovix__Store__V1__AuditRecord *record = tlx_audit_get(txn, 1);
  tlx_db_key_number(7, &key);
  tlx_table_put(txn, TLX_TABLE_AUDIT, &key, &record->base);
  tlx_audit_append(txn, &second);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_write(&fx);
  tlx_audit_append(txn, &first);
  record = tlx_audit_get(txn, 1);
  record->created_at = (char *)"yesterday";
  tlx_db_key_number(1, &key);
  tlx_table_put(txn, TLX_TABLE_AUDIT, &key, &record->base);
  tlx_audit_append(txn, &second);
  fixture_commit_fails(txn, TLX_E_CORRUPT);
}

Test(audit_tbl, follow_names_the_fault_and_goes_on) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_audit_head at = {0};
  struct tlx_txn *txn = fixture_write(&fx);
  for (unsigned i = 0; i < 5; i++)
    append_at(txn, 1000 + i, NULL);
  Telovix__Store__V1__AuditRecord *r[6];
  for (unsigned i = 1; i <= 5; i++)
    r[i] = tlx_audit_get(txn, i);
  cr_assert_null(tlx_audit_chain_follow(&at, r[1]));
  cr_assert_null(tlx_audit_chain_follow(&at, r[2]));
  cr_assert_eq(at.seq, 2);
  cr_assert(strstr(tlx_audit_chain_follow(&at, r[4]), "missing"));
  cr_assert_null(tlx_audit_chain_follow(&at, r[5]));
  at = (struct tlx_audit_head){0};
  r[1]->reason = (char *)"x";
  cr_assert_null(tlx_audit_chain_follow(&at, r[1]), "an absent field is not stored");
  at = (struct tlx_audit_head){0};
  r[1]->detail = (char *)"{ }";
  cr_assert(strstr(tlx_audit_chain_follow(&at, r[1]), "changed"));
  /* Content and hash replaced together: the next record still holds the old one. */
  at = (struct tlx_audit_head){0};
  tlx_audit_hash(r[1], r[1]->hash.data);
  cr_assert_null(tlx_audit_chain_follow(&at, r[1]));
  cr_assert(strstr(tlx_audit_chain_follow(&at, r[2]), "broken"));
  at = (struct tlx_audit_head){0};
  r[1]->present = 1;
  tlx_audit_hash(r[1], r[1]->hash.data);
  cr_assert(strstr(tlx_audit_chain_follow(&at, r[1]), "required"));
  tlx_txn_abort(txn);
}
