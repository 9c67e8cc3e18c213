// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/desired.h"

#include <string.h>

#include "../storage/fixture.h"
#include "storage/sensor_tbl.h"

#define A "sensor_aaaaaaaaaaaaaaaa"

static const uint8_t epoch[16] = {5, 6};
static const uint8_t boot[16] = {9};

static void add(struct tlx_txn *txn, const char *id, const char *path) {
  uint8_t revision[16];
  Telovix__Store__V1__RuleRecord rule = fixture_rule(id, A, path, revision);
  tlx_rule_add(txn, &rule);
}

static void observe(struct tlx_txn *txn, const char *id, uint32_t state) {
  Telovix__Store__V1__RuleRecord *rule = tlx_rule_get(txn, id);
  rule->observed_revision = rule->revision;
  rule->observed_boot_id = (ProtobufCBinaryData){16, (uint8_t *)boot};
  rule->observed_state = state;
  tlx_rule_observe(txn, rule);
}

static void remove_rule(struct tlx_txn *txn, const char *id) {
  Telovix__Store__V1__RuleRecord *rule = tlx_rule_get(txn, id);
  rule->removing = true;
  tlx_rule_change(txn, rule);
}

static struct tlx_txn *start(struct fixture *fx) {
  fixture_init(fx);
  struct tlx_txn *txn = fixture_write(fx);
  Telovix__Store__V1__SensorRecord sensor = fixture_sensor(A, "web");
  tlx_sensor_put(txn, &sensor);
  return txn;
}

Test(desired, name_of_the_empty_set) {
  FIXTURE fx;
  struct live_name name;
  uint8_t digest[32];
  struct tlx_txn *txn = start(&fx);
  desired_name(epoch, tlx_sensor_get(txn, A), &name);
  tlx_sha256("telovix-set-v1", 15, digest);
  cr_assert_eq(name.generation, 0);
  cr_assert_arr_eq(name.epoch, epoch, 16);
  cr_assert_arr_eq(name.digest, digest, 32);
  /* Emptied again it has the same digest, and another generation. */
  add(txn, "rule_a", "/a");
  desired_name(epoch, tlx_sensor_get(txn, A), &name);
  cr_assert(memcmp(name.digest, digest, 32) != 0);
  remove_rule(txn, "rule_a");
  desired_name(epoch, tlx_sensor_get(txn, A), &name);
  cr_assert_arr_eq(name.digest, digest, 32);
  cr_assert_eq(name.generation, 2);
  fixture_commit(txn);
}

Test(desired, the_set_is_what_is_stored) {
  FIXTURE fx;
  struct live_name name;
  struct tlx_arena arena;
  struct tlx_sha256 ctx;
  uint8_t digest[32];
  struct tlx_txn *txn = start(&fx);
  add(txn, "rule_c", "/c");
  add(txn, "rule_a", "/a");
  add(txn, "rule_b", "/b");
  remove_rule(txn, "rule_b");
  desired_name(epoch, tlx_sensor_get(txn, A), &name);
  tlx_arena_init(&arena, 1 << 20);
  const Telovix__V1__DesiredSet *set = desired_build(txn, A, &name, &arena);
  cr_assert(set);
  cr_assert_eq(set->n_enforcement_policies, 2);
  cr_assert_arr_eq(set->enforcement_policies[0].data, "/a", 2);
  cr_assert_arr_eq(set->enforcement_policies[1].data, "/c", 2);
  cr_assert_eq(set->generation, 4);
  tlx_rule_digest_begin(&ctx);
  for (size_t i = 0; i < 2; i++)
    tlx_rule_digest_add(&ctx, set->enforcement_policies[i].data, set->enforcement_policies[i].len);
  tlx_sha256_final(&ctx, digest);
  cr_assert_arr_eq(set->digest.data, digest, 32);
  Telovix__V1__DesiredName message = desired_name_message(&name);
  cr_assert_eq(message.generation, 4);
  cr_assert_arr_eq(message.epoch.data, epoch, 16);
  tlx_arena_done(&arena);
  /* No room: no set, rather than one without a rule. */
  for (size_t cap = 0; cap < 5000; cap += 100) {
    tlx_arena_init(&arena, cap);
    set = desired_build(txn, A, &name, &arena);
    cr_assert(!set || set->n_enforcement_policies == 2, "%zu", cap);
    tlx_arena_done(&arena);
  }
  fixture_commit(txn);
}

Test(desired, look_at_a_containment) {
  FIXTURE fx;
  struct desired_look look;
  uint8_t revision[16];
  struct tlx_txn *txn = start(&fx);
  Telovix__Store__V1__RuleRecord rule = fixture_rule("rule_a", A, "", revision);
  rule.template_ = (char *)"network-containment";
  rule.policy = (ProtobufCBinaryData){1, revision};
  tlx_rule_add(txn, &rule);
  desired_look(txn, A, boot, NULL, &look);
  cr_assert(look.is_contained);
  observe(txn, "rule_a", 3);
  desired_look(txn, A, boot, NULL, &look);
  cr_assert(look.is_contained);
  cr_assert_eq(look.n_partial, 1);
  remove_rule(txn, "rule_a");
  desired_look(txn, A, boot, NULL, &look);
  cr_assert_not(look.is_contained, "it is on its way out");
  cr_assert_eq(look.n_partial, 0);
  fixture_commit(txn);
}

Test(desired, look) {
  FIXTURE fx;
  struct desired_look look;
  struct live_name in_force = {.generation = 4};
  struct tlx_txn *txn = start(&fx);
  desired_look(txn, A, boot, NULL, &look);
  cr_assert_eq(look.n_unreported + look.n_failed + look.n_droppable, 0);
  add(txn, "rule_a", "/a");
  add(txn, "rule_b", "/b");
  add(txn, "rule_c", "/c"); /* 3 */
  desired_look(txn, A, boot, NULL, &look);
  cr_assert_eq(look.n_unreported, 3);
  observe(txn, "rule_a", 2);
  observe(txn, "rule_b", 5);
  observe(txn, "rule_c", 5);
  remove_rule(txn, "rule_c"); /* 4 */
  desired_look(txn, A, boot, NULL, &look);
  cr_assert_eq(look.n_unreported, 0);
  cr_assert_eq(look.n_failed, 1, "not the one on its way out");
  cr_assert_eq(look.n_droppable, 0, "nothing is known of what is in force");
  desired_look(txn, A, boot, &in_force, &look);
  cr_assert_eq(look.n_droppable, 1);
  in_force.generation = 3;
  desired_look(txn, A, boot, &in_force, &look);
  cr_assert_eq(look.n_droppable, 0);
  /* Another boot: nothing of it holds. */
  desired_look(txn, A, epoch, &in_force, &look);
  cr_assert_eq(look.n_unreported, 2);
  cr_assert_eq(look.n_failed, 0);
  fixture_commit(txn);
}
