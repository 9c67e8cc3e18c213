// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/audit_check.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"

#define N 5u

/* A chain of N records. */
struct chain {
  Telovix__V1__AuditRecord records[N];
  uint8_t hashes[N + 1][32]; /* [i] = of record i; [0] = zero */
  char details[N][32];
};

static char *all_absent[] = {(char *)"actor",     (char *)"actor_role", (char *)"sensor_id",
                             (char *)"detail",    (char *)"reason",     (char *)"request_id",
                             (char *)"client_ip", (char *)"user_agent"};

static void seal(struct chain *chain, unsigned i) {
  chain->records[i].prev_hash = (ProtobufCBinaryData){32, chain->hashes[i]};
  audit_check_hash(&chain->records[i], chain->hashes[i + 1]);
  chain->records[i].hash = (ProtobufCBinaryData){32, chain->hashes[i + 1]};
}

static void chain_init(struct chain *chain) {
  memset(chain, 0, sizeof *chain);
  for (unsigned i = 0; i < N; i++) {
    Telovix__V1__AuditRecord *record = &chain->records[i];
    *record = (Telovix__V1__AuditRecord)TELOVIX__V1__AUDIT_RECORD__INIT;
    snprintf(chain->details[i], sizeof chain->details[i], "{\"pid\":%u}", i);
    record->seq = i + 1;
    record->created_at = (char *)"2026-01-31T09:00:00.000Z";
    record->action_type = (char *)"process_kill_queued";
    record->outcome = TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_SUCCESS;
    record->actor = (char *)"alice";
    record->detail = chain->details[i];
    seal(chain, i);
  }
}

/* Checks the first |n| records; |part| NULL = all is well. */
static void expect(struct audit_check *check, const struct chain *chain, unsigned n,
                   const char *part) {
  bool good = true;
  for (unsigned i = 0; i < n; i++)
    good = audit_check_add(check, &chain->records[i]) && good;
  good = audit_check_finish(check) && good;
  cr_assert_eq(good, part == NULL, "%s", check->fault);
  cr_assert(strstr(check->fault, part ? part : ""), "%s is not in: %s", part, check->fault);
  if (!part) cr_assert_str_empty(check->fault);
}

/* ---- the canonical form, from the text of the specification alone (computed elsewhere) ---- */

static void expect_hash(const Telovix__V1__AuditRecord *record, const char *want) {
  uint8_t hash[32];
  char hex[65];
  audit_check_hash(record, hash);
  tlx_hex_format(hash, 32, hex);
  cr_assert_str_eq(hex, want);
}

Test(audit_check, known_hashes) {
  uint8_t zero[32] = {0};
  Telovix__V1__AuditRecord record = TELOVIX__V1__AUDIT_RECORD__INIT;
  record.seq = 1;
  record.created_at = (char *)"2026-01-31T09:00:00.000Z";
  record.action_type = (char *)"console_initialized";
  record.outcome = TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_SUCCESS;
  record.prev_hash = (ProtobufCBinaryData){32, zero};
  record.absent = all_absent;
  record.n_absent = 8;
  expect_hash(&record, "5088dc4d5d907c93def71e35de6dd519075310cd0b5f780d4dc60b8f12f37cbf");
  record.n_absent = 0;
  record.outcome = TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_FAILURE;
  record.actor = (char *)"alice";
  record.actor_role = (char *)"";
  record.sensor_id = (char *)"sensor_0123456789abcdef";
  record.detail = (char *)"{\"pid\":1}";
  record.reason = (char *)"gr\xc3\xbcn";
  record.request_id = (char *)"r-1";
  record.client_ip = (char *)"192.0.2.1";
  record.user_agent = (char *)"ctl";
  expect_hash(&record, "ff6c75e4188df7f148800f0f2068f37b483e38ea6b6d25c9f29a08623a841685");
}

Test(audit_check, a_whole_chain) {
  struct chain chain;
  struct audit_check check = {.seq = 0};
  chain_init(&chain);
  expect(&check, &chain, N, NULL);
  cr_assert_eq(check.seq, N);
  cr_assert_arr_eq(check.hash, chain.hashes[N], 32);
}

/* ---- edited ---- */

Test(audit_check, every_field_counts) {
  for (unsigned field = 0; field < 12; field++) {
    struct chain chain;
    struct audit_check check = {.seq = 0};
    chain_init(&chain);
    Telovix__V1__AuditRecord *record = &chain.records[2];
    char **texts[] = {&record->created_at, &record->action_type, &record->actor,
                      &record->actor_role, &record->sensor_id,   &record->detail,
                      &record->reason,     &record->request_id,  &record->client_ip,
                      &record->user_agent};
    if (field < 10)
      *texts[field] = (char *)"changed";
    else if (field == 10)
      record->outcome = TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_FAILURE;
    else {
      record->absent = all_absent; /* empty and absent are two things */
      record->n_absent = 2;
    }
    expect(&check, &chain, N, "record 3: its content does not match its hash");
    cr_assert_eq(check.seq, 2, "the last good one");
  }
}

/* Text moved from the end of one field to the start of the next. */
Test(audit_check, no_field_runs_into_the_next) {
  struct chain chain;
  struct audit_check check = {.seq = 0};
  chain_init(&chain);
  chain.records[1].actor = (char *)"alic";
  chain.records[1].actor_role = (char *)"e";
  expect(&check, &chain, N, "record 2: its content");
}

Test(audit_check, an_edit_with_a_new_hash_breaks_the_chain) {
  struct chain chain;
  struct audit_check check = {.seq = 0};
  chain_init(&chain);
  chain.records[1].actor = (char *)"mallory";
  uint8_t next[32];
  memcpy(next, chain.hashes[2], 32);
  seal(&chain, 1);
  chain.records[2].prev_hash.data = next;
  expect(&check, &chain, N, "record 3: it does not continue the record before");
}

/* ---- dropped, swapped, truncated ---- */

Test(audit_check, a_dropped_record) {
  struct chain chain;
  struct audit_check check = {.seq = 0};
  chain_init(&chain);
  memmove(&chain.records[2], &chain.records[3], 2 * sizeof *chain.records);
  expect(&check, &chain, N - 1, "record 4: its number does not follow");
}

Test(audit_check, a_dropped_record_with_new_numbers) {
  struct chain chain;
  struct audit_check check = {.seq = 0};
  chain_init(&chain);
  memmove(&chain.records[2], &chain.records[3], 2 * sizeof *chain.records);
  chain.records[2].seq = 3;
  expect(&check, &chain, N - 1, "record 3: it does not continue");
}

Test(audit_check, two_swapped) {
  struct chain chain;
  struct audit_check check = {.seq = 0};
  chain_init(&chain);
  Telovix__V1__AuditRecord record = chain.records[1];
  chain.records[1] = chain.records[2];
  chain.records[2] = record;
  expect(&check, &chain, N, "record 3: its number");
}

Test(audit_check, the_first_is_missing) {
  struct chain chain;
  struct audit_check check = {.seq = 0};
  chain_init(&chain);
  memmove(&chain.records[0], &chain.records[1], 4 * sizeof *chain.records);
  expect(&check, &chain, N - 1, "record 2: its number");
}

Test(audit_check, one_twice) {
  struct chain chain;
  struct audit_check check = {.seq = 0};
  chain_init(&chain);
  chain.records[2] = chain.records[1];
  expect(&check, &chain, N, "record 2: its number");
}

Test(audit_check, hashes_of_another_length) {
  for (int which = 0; which < 4; which++) {
    struct chain chain;
    struct audit_check check = {.seq = 0};
    chain_init(&chain);
    ProtobufCBinaryData *hash = which & 1 ? &chain.records[1].hash : &chain.records[1].prev_hash;
    hash->len = which & 2 ? 31 : 0;
    expect(&check, &chain, N, "record 2: a hash does not have 32 bytes");
  }
}

/* A cut tail cannot be seen in what is left: only a head noted elsewhere shows it. */
Test(audit_check, truncated) {
  struct chain chain;
  char head[80], hex[65];
  chain_init(&chain);
  tlx_hex_format(chain.hashes[N], 32, hex);
  snprintf(head, sizeof head, "%u:%s", N, hex);
  struct audit_check check = {.seq = 0}, without = {.seq = 0}, whole = {.seq = 0};
  cr_assert_eq(audit_check_want(&check, head), 0);
  cr_assert_eq(audit_check_want(&whole, head), 0);
  expect(&check, &chain, N - 1, "the noted head is not part of this log");
  cr_assert(strstr(check.fault, "ends at record 4"), "%s", check.fault);
  expect(&without, &chain, N - 1, NULL);
  expect(&whole, &chain, N, NULL);
}

Test(audit_check, a_wanted_head_anywhere) {
  struct chain chain;
  char hex[65], head[80];
  chain_init(&chain);
  tlx_hex_format(chain.hashes[3], 32, hex);
  struct audit_check bare = {.seq = 0}, wrong_number = {.seq = 0};
  cr_assert_eq(audit_check_want(&bare, hex), 0);
  expect(&bare, &chain, N, NULL);
  snprintf(head, sizeof head, "4:%s", hex);
  cr_assert_eq(audit_check_want(&wrong_number, head), 0);
  expect(&wrong_number, &chain, N, "the noted head is not part");
  struct audit_check nothing = {.seq = 0};
  cr_assert_eq(audit_check_want(&nothing, hex), 0);
  expect(&nothing, &chain, 0, "the noted head is not part");
}

Test(audit_check, heads_that_are_none) {
  struct audit_check check = {.seq = 0};
  char text[120];
  static const char hex[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  static const char *const before[] = {
      "0:", "x:", ":", "-1:", "18446744073709551616:", "1:1:", "000000000000000000000000000001:"};
  for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
    snprintf(text, sizeof text, "%s%s", before[i], hex);
    cr_assert_eq(audit_check_want(&check, text), TLX_E_MALFORMED, "%s", text);
  }
  cr_assert_eq(audit_check_want(&check, ""), TLX_E_MALFORMED);
  cr_assert_eq(audit_check_want(&check, hex + 1), TLX_E_MALFORMED);
  snprintf(text, sizeof text, "%s0", hex);
  cr_assert_eq(audit_check_want(&check, text), TLX_E_MALFORMED);
  snprintf(text, sizeof text, "%.63sg", hex);
  cr_assert_eq(audit_check_want(&check, text), TLX_E_MALFORMED);
  cr_assert_not(check.has_wanted);
}
