// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/engine_rules.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../harness/folder.h"
#include "rpc/pb_scan.h"
#include "telovix/v1/policy.pb-c.h"

/* ---- the kernel's part ---- */

static unsigned n_resets;

int bpf_file_identify(struct bpf_file *file, int fd, struct tlx_file_id *ret_id) {
  struct stat st;
  cr_assert_eq(fstat(fd, &st), 0);
  *ret_id = (struct tlx_file_id){.dev = 7, .ino = st.st_ino};
  return 0;
}

/* Names that begin alike have one hash. */
uint64_t bpf_maps_name_hash(const char *name, size_t len) {
  return (uint8_t)*name;
}

int bpf_maps_count_set(struct bpf_object *object, uint32_t slot, const struct tlx_count *count) {
  cr_assert_eq(count->acted + count->would, 0);
  n_resets++;
  return 0;
}

bool bpf_object_reads_names(const struct bpf_object *object) {
  return true;
}

/* ---- a core with a folder of programs ---- */

struct world {
  struct folder folder;
  struct tlx_clock_fake clock;
  struct core core;
};

static void world_init(struct world *world) {
  memset(world, 0, sizeof *world);
  folder_init(&world->folder);
  tlx_clock_fake_init(&world->clock, 1, 1, 1);
  world->core.clock = &world->clock.clock;
  world->core.backend = BPF_BACKEND_LSM;
  n_resets = 0;
}

static void world_done(struct world *world) {
  core_free_rules(&world->core);
  free(world->core.image);
  free(world->core.former);
  folder_done(&world->folder);
}

struct policy {
  const char *rule_id, *path, *template;
  Telovix__V1__RuleMode mode;
  uint8_t revision;
};
#define ENFORCE TELOVIX__V1__RULE_MODE__RULE_MODE_ENFORCE
#define OBSERVE TELOVIX__V1__RULE_MODE__RULE_MODE_OBSERVE

static void want(struct world *world, const struct policy *policies, size_t n) {
  struct tlx_buf packed[8] = {0};
  struct tlx_bytes bytes[8];
  struct desired_name name = {.generation = 1};
  struct desired *desired = NULL;
  for (size_t i = 0; i < n; i++) {
    Telovix__V1__EnforcementPolicy policy = TELOVIX__V1__ENFORCEMENT_POLICY__INIT;
    Telovix__V1__BlockBinary block = TELOVIX__V1__BLOCK_BINARY__INIT;
    uint8_t revision[16] = {policies[i].revision};
    block.path = (char *)policies[i].path;
    policy.rule_id = (char *)policies[i].rule_id;
    policy.template_ = (char *)(policies[i].template ? policies[i].template : "block-binary");
    policy.mode = policies[i].mode;
    policy.revision = (ProtobufCBinaryData){sizeof revision, revision};
    policy.block_binary = &block;
    tlx_pb_pack(&policy.base, &packed[i]);
    bytes[i] = (struct tlx_bytes){packed[i].data, packed[i].len};
  }
  desired_digest(bytes, n, name.digest);
  cr_assert_eq(desired_new(&name, bytes, n, &desired), 0);
  cr_assert_eq(core_take_desired(&world->core, desired), 0);
  desired_free(desired);
  for (size_t i = 0; i < n; i++)
    tlx_buf_done(&packed[i]);
}

static size_t publish(struct world *world) {
  struct core *core = &world->core;
  core_compile(core);
  if (core_assign_slots(core)) core_compile(core);
  free(core->image);
  core->image = NULL;
  cr_assert_eq(core_build_image(core, &core->image, &core->n_image), 0);
  return core->n_image;
}

static const char *program(struct world *world, const char *name) {
  folder_write(&world->folder, name, "\177ELF", 4, 0755);
  return folder_join(&world->folder, name);
}

Test(engine_rules, a_rule_gets_a_slot_and_keeps_it) {
  struct world world;
  world_init(&world);
  struct policy policy = {"rule_a", program(&world, "a"), NULL, ENFORCE, 1};
  want(&world, &policy, 1);
  cr_assert_eq(publish(&world), 2u, "the file and its name");
  struct core_rule *rule = world.core.rules[0];
  uint32_t slot = rule->slot;
  cr_assert_neq(slot, (uint32_t)TLX_SLOT_CANARY);
  cr_assert_eq(world.core.image[0].rule.slot, slot);
  cr_assert_eq(n_resets, 1u);
  cr_assert_eq(rule->result.state, RULE_APPLIED);
  uint64_t since = rule->since_boot_ns;
  /* Another revision: what was said of the former one is not said of it. */
  policy.mode = OBSERVE;
  policy.revision = 2;
  want(&world, &policy, 1);
  rule = world.core.rules[0];
  cr_assert_eq(rule->slot, slot);
  cr_assert_eq(rule->since_boot_ns, 0u);
  cr_assert_not(world.core.in_force);
  tlx_clock_fake_advance(&world.clock, 1);
  publish(&world);
  cr_assert_gt(rule->since_boot_ns, since);
  cr_assert_eq(world.core.image[0].rule.mode, TLX_MODE_OBSERVE);
  cr_assert_eq(n_resets, 1u);
  world_done(&world);
}

Test(engine_rules, a_kind_that_is_not_known_is_refused_alone) {
  struct world world;
  world_init(&world);
  const char *path = program(&world, "a");
  struct policy policies[] = {{"rule_a", path, "network-containment", ENFORCE, 1},
                              {"rule_b", path, NULL, 9, 2},
                              {"rule_c", path, NULL, ENFORCE, 3}};
  want(&world, policies, 3);
  publish(&world);
  cr_assert_eq(world.core.rules[0]->result.reason, RULE_REASON_UNKNOWN_TEMPLATE);
  cr_assert_eq(world.core.rules[1]->result.state, RULE_REFUSED);
  cr_assert_eq(world.core.rules[2]->result.state, RULE_APPLIED);
  cr_assert_eq(world.core.n_image, 2u);
  world_done(&world);
}

/* One entry a key, and the stricter rule decides. */
Test(engine_rules, two_rules_for_one_file) {
  struct world world;
  world_init(&world);
  const char *path = program(&world, "a");
  char other[256];
  snprintf(other, sizeof other, "%s", folder_join(&world.folder, "b"));
  cr_assert_eq(link(path, other), 0);
  struct policy policies[] = {{"rule_a", path, NULL, OBSERVE, 1},
                              {"rule_b", other, NULL, ENFORCE, 2}};
  want(&world, policies, 2);
  cr_assert_eq(publish(&world), 3u, "one file, two names");
  unsigned n_files = 0;
  for (size_t i = 0; i < world.core.n_image; i++) {
    const struct bpf_image_entry *entry = &world.core.image[i];
    if (i) cr_assert_lt(memcmp(&entry[-1].key, &entry->key, sizeof entry->key), 0, "sorted, once");
    if (entry->key.kind != TLX_KEY_FILE) continue;
    n_files++;
    cr_assert_eq(entry->rule.mode, TLX_MODE_ENFORCE);
    cr_assert_eq(entry->rule.slot, world.core.rules[1]->slot);
  }
  cr_assert_eq(n_files, 1u);
  world_done(&world);
}

Test(engine_rules, two_names_of_one_hash) {
  struct world world;
  world_init(&world);
  char one[256], two[256];
  snprintf(one, sizeof one, "%s", program(&world, "xa"));
  snprintf(two, sizeof two, "%s", program(&world, "xb"));
  struct policy policies[] = {{"rule_a", one, NULL, ENFORCE, 1}, {"rule_b", two, NULL, ENFORCE, 2}};
  want(&world, policies, 2);
  cr_assert_eq(publish(&world), 3u, "two files, one name");
  cr_assert_not(world.core.rules[0]->result.gaps >> RULE_GAP_NAMES & 1);
  cr_assert(world.core.rules[1]->result.gaps >> RULE_GAP_NAMES & 1, "and it is said");
  uint64_t since = world.core.rules[1]->since_boot_ns;
  tlx_clock_fake_advance(&world.clock, 1);
  publish(&world);
  cr_assert_eq(world.core.rules[1]->since_boot_ns, since);
  world_done(&world);
}

/* What a former process had in force: the slot, so that counting goes on, and the files that have
 * moved away. */
Test(engine_rules, the_image_of_a_former_process) {
  struct world world;
  world_init(&world);
  struct policy policy = {"rule_a", program(&world, "a"), NULL, ENFORCE, 1};
  want(&world, &policy, 1);
  publish(&world);
  struct core *core = &world.core;
  core->former = calloc(3, sizeof *core->former);
  memcpy(core->former, core->image, 2 * sizeof *core->image);
  core->former[2] = (struct bpf_image_entry){.key = {.kind = TLX_KEY_FILE, .dev = 7, .ino = 4711}};
  core->n_former = 3;
  for (unsigned i = 0; i < 3; i++)
    core->former[i].rule.slot = 77;
  core_free_rules(core);
  want(&world, &policy, 1);
  n_resets = 0;
  cr_assert_eq(publish(&world), 3u);
  cr_assert_eq(core->rules[0]->slot, 77u);
  cr_assert_eq(n_resets, 0u);
  for (unsigned i = 0; i < 3; i++)
    cr_assert_eq(core->image[i].rule.slot, 77u);
  /* Another rule does not get a slot whose events may still come. */
  struct policy other = {"rule_b", program(&world, "b"), NULL, ENFORCE, 1};
  want(&world, &other, 1);
  publish(&world);
  cr_assert_neq(core->rules[0]->slot, 77u);
  world_done(&world);
}

Test(engine_rules, the_canary_is_in_every_image) {
  struct world world;
  world_init(&world);
  world.core.canary[0] =
      (struct bpf_image_entry){.key = {.kind = TLX_KEY_FILE, .dev = 1, .ino = 2},
                               .rule = {.slot = TLX_SLOT_CANARY, .mode = TLX_MODE_ENFORCE}};
  world.core.n_canary = 1;
  want(&world, NULL, 0);
  cr_assert_eq(publish(&world), 1u);
  cr_assert_eq(world.core.image[0].rule.slot, (uint32_t)TLX_SLOT_CANARY);
  cr_assert_eq(world.core.image[0].rule.mode, TLX_MODE_ENFORCE);
  world_done(&world);
}

/* Every rule is replaced at once: no slot rests, and still none is left out of the image. */
Test(engine_rules, no_rule_stays_without_a_slot) {
  struct world world;
  world_init(&world);
  struct core *core = &world.core;
  core->n_former = TLX_SLOTS - 1;
  core->former = calloc(core->n_former, sizeof *core->former);
  for (uint32_t i = 0; i < core->n_former; i++)
    core->former[i] = (struct bpf_image_entry){
        .key = {.kind = TLX_KEY_FILE, .dev = 1, .ino = i + 1}, .rule = {.slot = i + 1}};
  struct policy policies[] = {{"rule_a", program(&world, "a"), NULL, ENFORCE, 1},
                              {"rule_b", "/nowhere/b", NULL, ENFORCE, 2}};
  char other[256];
  snprintf(other, sizeof other, "%s", policies[0].path);
  policies[0].path = other;
  want(&world, policies, 2);
  cr_assert_eq(publish(&world), 2u);
  cr_assert_eq(core->rules[0]->result.state, RULE_APPLIED);
  cr_assert_neq(core->rules[0]->slot, 0u);
  cr_assert_neq(core->rules[1]->slot, 0u);
  cr_assert_neq(core->rules[0]->slot, core->rules[1]->slot);
  world_done(&world);
}

/* Two rules for one file have one entry for it: each finds its own slot, and what moved away, by
 * its name. */
Test(engine_rules, hard_links_of_a_former_process) {
  struct world world;
  world_init(&world);
  struct core *core = &world.core;
  char a[256], b[256];
  snprintf(a, sizeof a, "%s", program(&world, "a"));
  snprintf(b, sizeof b, "%s", folder_join(&world.folder, "b"));
  cr_assert_eq(link(a, b), 0);
  struct policy policies[] = {{"rule_a", a, NULL, ENFORCE, 1}, {"rule_b", b, NULL, ENFORCE, 2}};
  want(&world, policies, 2);
  cr_assert_eq(publish(&world), 3u);
  uint32_t slot_a = core->rules[0]->slot, slot_b = core->rules[1]->slot;
  for (unsigned swapped = 0; swapped < 2; swapped++) {
    free(core->former);
    core->former = calloc(3, sizeof *core->former);
    memcpy(core->former, core->image, 3 * sizeof *core->image);
    core->n_former = 3;
    /* The file may be on record as of either of them. */
    for (unsigned i = 0; i < 3; i++)
      if (core->former[i].key.kind == TLX_KEY_FILE)
        core->former[i].rule.slot = swapped ? slot_b : slot_a;
    core_free_rules(core);
    want(&world, policies, 2);
    publish(&world);
    cr_assert_eq(core->rules[0]->slot, slot_a);
    cr_assert_eq(core->rules[1]->slot, slot_b);
  }
  world_done(&world);
}
