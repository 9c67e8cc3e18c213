// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/rule_tbl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "fixture.h"
#include "storage/sensor_tbl.h"

#define A "sensor_a"
#define B "sensor_b"

static void add_sensor(struct fixture *fx, const char *id, const char *node) {
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord sensor = fixture_sensor(id, node);
  tlx_sensor_put(txn, &sensor);
  fixture_commit(txn);
}

static void start(struct fixture *fx) {
  fixture_init(fx);
  add_sensor(fx, A, "web");
  add_sensor(fx, B, "db");
}

/* Adds a rule; returns the generation that it made. */
static uint64_t add(struct fixture *fx, const char *id, const char *sensor_id, const char *path) {
  struct tlx_txn *txn = fixture_write(fx);
  uint8_t revision[16];
  Telovix__Store__V1__RuleRecord rule = fixture_rule(id, sensor_id, path, revision);
  tlx_rule_add(txn, &rule);
  fixture_commit(txn);
  return rule.changed_generation;
}

static void change_removing(struct fixture *fx, const char *id) {
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__RuleRecord *rule = tlx_rule_get(txn, id);
  cr_assert(rule);
  rule->removing = true;
  tlx_rule_change(txn, rule);
  fixture_commit(txn);
}

/* Generation and digest of the sensor, against a digest made here from |texts|, in that order. */
static void expect_set(struct fixture *fx, const char *sensor_id, uint64_t generation,
                       const char *const *texts, size_t n) {
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__SensorRecord *sensor = tlx_sensor_get(txn, sensor_id);
  uint8_t bytes[4096] = "telovix-set-v1", digest[32];
  size_t len = 15;
  for (size_t i = 0; i < n; i++) {
    size_t text_len = strlen(texts[i]);
    bytes[len + 0] = bytes[len + 1] = 0;
    bytes[len + 2] = (uint8_t)(text_len >> 8);
    bytes[len + 3] = (uint8_t)text_len;
    memcpy(bytes + len + 4, texts[i], text_len);
    len += 4 + text_len;
  }
  tlx_sha256(bytes, len, digest);
  cr_assert_eq(sensor->desired_generation, generation);
  cr_assert_eq(sensor->desired_digest.len, 32);
  cr_assert_arr_eq(sensor->desired_digest.data, digest, 32);
  fixture_commit(txn);
}

Test(rule_tbl, each_change_names_the_set) {
  FIXTURE fx;
  start(&fx);
  cr_assert_eq(add(&fx, "rule_b", A, "/b"), 1);
  expect_set(&fx, A, 1, (const char *const[]){"/b"}, 1);
  cr_assert_eq(add(&fx, "rule_a", A, "/a"), 2);
  /* Ascending by rule id, not by age. */
  expect_set(&fx, A, 2, (const char *const[]){"/a", "/b"}, 2);
  cr_assert_eq(add(&fx, "rule_c", B, "/c"), 1, "each sensor counts for itself");
  expect_set(&fx, B, 1, (const char *const[]){"/c"}, 1);
  change_removing(&fx, "rule_a");
  expect_set(&fx, A, 3, (const char *const[]){"/b"}, 1);
  /* That it is gone for good is no change of what is desired. */
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_rule_remove(txn, "rule_a");
  cr_assert_null(tlx_rule_get(txn, "rule_a"));
  cr_assert_eq(tlx_rule_count(txn, A), 1);
  fixture_commit(txn);
  expect_set(&fx, A, 3, (const char *const[]){"/b"}, 1);
  change_removing(&fx, "rule_b");
  expect_set(&fx, A, 4, NULL, 0);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

/* The digest of spec §12, with a value computed elsewhere. */
Test(rule_tbl, digest_of_a_known_set) {
  struct tlx_sha256 ctx;
  uint8_t digest[32];
  tlx_rule_digest_begin(&ctx);
  tlx_sha256_final(&ctx, digest);
  static const uint8_t empty[] = {0x75, 0x5c, 0x6e, 0x63, 0xbe, 0xc9, 0x30, 0x72, 0x73, 0x11, 0x8f,
                                  0xe7, 0x9c, 0xfb, 0x3f, 0x23, 0xd3, 0x4e, 0x38, 0xbd, 0xe4, 0xb2,
                                  0x63, 0x8a, 0xe2, 0xf5, 0x2f, 0x9c, 0x04, 0x71, 0x1f, 0xa6};
  cr_assert_arr_eq(digest, empty, 32);
  tlx_rule_digest_begin(&ctx);
  tlx_rule_digest_add(&ctx, "abc", 3);
  tlx_rule_digest_add(&ctx, "", 0);
  tlx_sha256_final(&ctx, digest);
  static const uint8_t two[] = {0x1a, 0x6d, 0xf6, 0xcd, 0x5c, 0x29, 0x8f, 0xec, 0x9f, 0x7b, 0x1b,
                                0x06, 0x7c, 0x37, 0xea, 0xd8, 0xce, 0x5e, 0x54, 0xe7, 0x69, 0x06,
                                0x37, 0xfc, 0x98, 0x9a, 0x01, 0x36, 0x64, 0x74, 0x0b, 0xa3};
  cr_assert_arr_eq(digest, two, 32);
}

Test(rule_tbl, add_refuses) {
  FIXTURE fx;
  uint8_t revision[16];
  start(&fx);
  add(&fx, "rule_a", A, "/a");
  const struct {
    const char *id, *sensor_id, *path;
    int err;
  } cases[] = {{"rule_a", A, "/other", TLX_E_EXISTS},
               {"rule_a", B, "/other", TLX_E_EXISTS},
               {"rule_b", A, "/a", TLX_E_EXISTS},
               {"rule_b", "sensor_x", "/b", TLX_E_NOT_FOUND},
               {"", A, "/b", -EINVAL},
               {"rule_b", "", "/b", -EINVAL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tlx_txn *txn = fixture_write(&fx);
    Telovix__Store__V1__RuleRecord rule =
        fixture_rule(cases[i].id, cases[i].sensor_id, cases[i].path, revision);
    tlx_rule_add(txn, &rule);
    fixture_commit_fails(txn, cases[i].err);
  }
  /* The path of a rule on its way out is free again, and another sensor's was never taken. */
  add(&fx, "rule_b", B, "/a");
  change_removing(&fx, "rule_a");
  add(&fx, "rule_c", A, "/a");
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(rule_tbl, change_refuses) {
  FIXTURE fx;
  start(&fx);
  add(&fx, "rule_a", A, "/a");
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__RuleRecord *rule = tlx_rule_get(txn, "rule_a");
  rule->path = (char *)"/other";
  tlx_rule_change(txn, rule);
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  rule = tlx_rule_get(txn, "rule_a");
  rule->sensor_id = (char *)B;
  tlx_rule_change(txn, rule);
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  rule = tlx_rule_get(txn, "rule_a");
  rule->rule_id = (char *)"rule_z";
  tlx_rule_change(txn, rule);
  fixture_commit_fails(txn, TLX_E_NOT_FOUND);
  change_removing(&fx, "rule_a");
  txn = fixture_write(&fx);
  rule = tlx_rule_get(txn, "rule_a");
  rule->removing = false;
  tlx_rule_change(txn, rule);
  fixture_commit_fails(txn, TLX_E_CONFLICT);
}

Test(rule_tbl, observing_changes_nothing_that_is_desired) {
  FIXTURE fx;
  start(&fx);
  add(&fx, "rule_a", A, "/a");
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__RuleRecord *rule = tlx_rule_get(txn, "rule_a");
  rule->observed_state = 2;
  rule->observed_revision = rule->revision;
  rule->hits = 7;
  tlx_rule_observe(txn, rule);
  fixture_commit(txn);
  expect_set(&fx, A, 1, (const char *const[]){"/a"}, 1);
  txn = fixture_write(&fx);
  rule = tlx_rule_get(txn, "rule_a");
  cr_assert_eq(rule->hits, 7);
  rule->desired_mode = 2;
  tlx_rule_observe(txn, rule);
  fixture_commit_fails(txn, TLX_E_CONFLICT);
  txn = fixture_write(&fx);
  rule = tlx_rule_get(txn, "rule_a");
  rule->removing = true;
  tlx_rule_observe(txn, rule);
  fixture_commit_fails(txn, TLX_E_CONFLICT);
  txn = fixture_write(&fx);
  rule = tlx_rule_get(txn, "rule_a");
  rule->policy.len--;
  tlx_rule_observe(txn, rule);
  fixture_commit_fails(txn, TLX_E_CONFLICT);
  txn = fixture_write(&fx);
  rule = tlx_rule_get(txn, "rule_a");
  rule->revision.data[3] ^= 1;
  tlx_rule_observe(txn, rule);
  fixture_commit_fails(txn, TLX_E_CONFLICT);
  txn = fixture_write(&fx);
  rule = tlx_rule_get(txn, "rule_a");
  rule->rule_id = (char *)"rule_z";
  tlx_rule_observe(txn, rule);
  fixture_commit_fails(txn, TLX_E_NOT_FOUND);
}

Test(rule_tbl, only_a_rule_on_its_way_out_can_go) {
  FIXTURE fx;
  start(&fx);
  add(&fx, "rule_a", A, "/a");
  struct tlx_txn *txn = fixture_write(&fx);
  tlx_rule_remove(txn, "rule_a");
  fixture_commit_fails(txn, TLX_E_CONFLICT);
  txn = fixture_write(&fx);
  tlx_rule_remove(txn, "rule_z");
  fixture_commit_fails(txn, TLX_E_NOT_FOUND);
}

static bool list_ids(void *arg, const Telovix__Store__V1__RuleRecord *record) {
  char *out = arg;
  if (strlen(out) > 40) return false;
  sprintf(out + strlen(out), "%s ", record->rule_id);
  return true;
}

Test(rule_tbl, each_in_order) {
  FIXTURE fx;
  char out[64] = "";
  start(&fx);
  add(&fx, "rule_c", A, "/c");
  add(&fx, "rule_a", B, "/a");
  add(&fx, "rule_b", A, "/b");
  add(&fx, "rule_d", A, "/d");
  struct tlx_txn *txn = fixture_read(&fx);
  tlx_rule_each(txn, NULL, NULL, NULL, list_ids, out);
  cr_assert_str_eq(out, "rule_b rule_c rule_d rule_a ");
  *out = 0;
  tlx_rule_each(txn, A, NULL, NULL, list_ids, out);
  cr_assert_str_eq(out, "rule_b rule_c rule_d ");
  *out = 0;
  tlx_rule_each(txn, A, A, "rule_b", list_ids, out);
  cr_assert_str_eq(out, "rule_c rule_d ");
  *out = 0;
  tlx_rule_each(txn, NULL, A, "rule_bb", list_ids, out);
  cr_assert_str_eq(out, "rule_c rule_d rule_a ", "behind one that is gone");
  *out = 0;
  tlx_rule_each(txn, B, A, "rule_d", list_ids, out);
  cr_assert_str_eq(out, "rule_a ");
  *out = 0;
  tlx_rule_each(txn, "sensor_x", NULL, NULL, list_ids, out);
  tlx_rule_each(txn, "", NULL, NULL, list_ids, out);
  cr_assert_str_eq(out, "");
  cr_assert_eq(tlx_rule_count(txn, A), 3);
  cr_assert_eq(tlx_rule_count(txn, "sensor_x"), 0);
  cr_assert_eq(tlx_rule_count(txn, ""), 0);
  fixture_commit(txn);
}

Test(rule_tbl, usage_and_paths) {
  FIXTURE fx;
  struct tlx_rule_usage usage;
  start(&fx);
  add(&fx, "rule_a", A, "/a");
  add(&fx, "rule_b", A, "/long/path");
  add(&fx, "rule_c", A, "/c");
  change_removing(&fx, "rule_a");
  struct tlx_txn *txn = fixture_read(&fx);
  tlx_rule_usage(txn, A, &usage);
  cr_assert_eq(usage.n_desired, 2);
  cr_assert_eq(usage.n_removing, 1);
  cr_assert_eq(usage.desired_len, strlen("/long/path") + strlen("/c"));
  tlx_rule_usage(txn, B, &usage);
  cr_assert_eq(usage.n_desired + usage.n_removing + usage.desired_len, 0);
  cr_assert_str_eq(tlx_rule_find_path(txn, A, "/c")->rule_id, "rule_c");
  cr_assert_null(tlx_rule_find_path(txn, A, "/a"), "on its way out");
  cr_assert_null(tlx_rule_find_path(txn, A, "/long"));
  cr_assert_null(tlx_rule_find_path(txn, B, "/c"));
  fixture_commit(txn);
}

Test(rule_tbl, an_index_entry_without_its_rule_is_corruption) {
  FIXTURE fx;
  struct tlx_db_key key;
  start(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  cr_assert(tlx_db_key_id("rule_a", &key));
  tlx_table_put_raw(txn, TLX_TABLE_RULE_ID, &key, key.data, key.len);
  cr_assert_null(tlx_rule_get(txn, "rule_a"));
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_write(&fx);
  tlx_table_put_raw(txn, TLX_TABLE_RULE_ID, &key, "x", 1);
  cr_assert_null(tlx_rule_get(txn, "rule_a"));
  fixture_commit_fails(txn, TLX_E_CORRUPT);
  txn = fixture_read(&fx);
  cr_assert_null(tlx_rule_get(txn, NULL));
  cr_assert_null(tlx_rule_get(txn, ""));
  fixture_commit(txn);
}

/* ---- containments ---- */

static void add_containment(struct fixture *fx, const char *id, const char *sensor_id) {
  struct tlx_txn *txn = fixture_write(fx);
  uint8_t revision[16];
  Telovix__Store__V1__RuleRecord rule = fixture_rule(id, sensor_id, "", revision);
  rule.template_ = (char *)"network-containment";
  rule.policy = (ProtobufCBinaryData){1, revision};
  tlx_rule_add(txn, &rule);
  fixture_commit(txn);
}

static void expect_containment(struct fixture *fx, const char *sensor_id, const char *wanted,
                               const char *or_removing) {
  struct tlx_txn *txn = fixture_read(fx);
  const Telovix__Store__V1__RuleRecord *record = tlx_rule_find_containment(txn, sensor_id, false);
  cr_assert_str_eq(record ? record->rule_id : "", wanted);
  record = tlx_rule_find_containment(txn, sensor_id, true);
  cr_assert_str_eq(record ? record->rule_id : "", or_removing);
  if (record) cr_assert(tlx_rule_is_containment(record));
  fixture_commit(txn);
}

Test(rule_tbl, a_sensor_has_one_containment) {
  FIXTURE fx;
  start(&fx);
  add(&fx, "rule_a", A, "/a");
  expect_containment(&fx, A, "", "");
  add_containment(&fx, "rule_z", A);
  add_containment(&fx, "rule_y", B);
  expect_containment(&fx, A, "rule_z", "rule_z");
  expect_containment(&fx, B, "rule_y", "rule_y");
  struct tlx_txn *txn = fixture_write(&fx);
  uint8_t revision[16];
  Telovix__Store__V1__RuleRecord second = fixture_rule("rule_x", A, "", revision);
  second.template_ = (char *)"network-containment";
  second.policy = (ProtobufCBinaryData){1, revision};
  tlx_rule_add(txn, &second);
  fixture_commit_fails(txn, TLX_E_EXISTS);
  change_removing(&fx, "rule_z");
  expect_containment(&fx, A, "", "rule_z");
  /* The last one on its way out, whatever their ids. */
  add_containment(&fx, "rule_b", A);
  expect_containment(&fx, A, "rule_b", "rule_b");
  change_removing(&fx, "rule_b");
  expect_containment(&fx, A, "", "rule_b");
  expect_containment(&fx, B, "rule_y", "rule_y");
}

Test(rule_tbl, all_of_one_sensor_go) {
  FIXTURE fx;
  start(&fx);
  add(&fx, "rule_a", A, "/a");
  add(&fx, "rule_b", B, "/b");
  add(&fx, "rule_c", A, "/c");
  change_removing(&fx, "rule_c");
  struct tlx_txn *txn = fixture_write(&fx);
  cr_assert_eq(tlx_rule_remove_all(txn, A), 2);
  cr_assert_eq(tlx_rule_remove_all(txn, A), 0);
  cr_assert_eq(tlx_rule_remove_all(txn, NULL), 0);
  tlx_sensor_remove(txn, A);
  cr_assert_null(tlx_rule_get(txn, "rule_a"));
  cr_assert_null(tlx_rule_get(txn, "rule_c"));
  cr_assert(tlx_rule_get(txn, "rule_b"));
  cr_assert_eq(tlx_rule_count(txn, B), 1);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}
