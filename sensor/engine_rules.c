// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/engine_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "rpc/pb_scan.h"
#include "telovix/v1/policy.pb-c.h"

#define POLICY_ARENA_MAX (256u << 10)
#define TEMPLATE_BLOCK "block-binary"
#define TEMPLATE_CONTAIN "network-containment"

/* ---- from policies to rules ---- */

static int read_contain(struct core_rule *rule, const Telovix__V1__EnforcementPolicy *policy) {
  rule->kind = RULE_KIND_CONTAIN;
  rule->goes_without = policy->network_containment->on_lost_console ==
                       TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_RELEASE;
  rule->contain = calloc(1, sizeof *rule->contain);
  if (!rule->contain) return -ENOMEM;
  if (rule_contain_read(policy, rule->contain, rule->result.step, sizeof rule->result.step))
    return 0;
  free(rule->contain);
  rule->contain = NULL;
  return 0;
}

/* A rule whose policy cannot be read, or is of a kind that this version does not know, is refused
 * alone. */
static int make_rule(struct tlx_bytes bytes, struct core_rule **ret_rule) {
  struct tlx_arena arena;
  struct tlx_status status;
  ProtobufCMessage *message = NULL;
  struct core_rule *rule = calloc(1, sizeof *rule);
  int err = 0;
  if (!rule) return -ENOMEM;
  tlx_arena_init(&arena, POLICY_ARENA_MAX);
  if (tlx_pb_unpack(&telovix__v1__enforcement_policy__descriptor, bytes, &arena, &message,
                    &status) != 0)
    tlx_error(RULE, "a rule cannot be read and is refused: %s", status.message);
  const Telovix__V1__EnforcementPolicy *policy = (const void *)message;
  const Telovix__V1__BlockBinary *block = policy ? policy->block_binary : NULL;
  rule->result.state = RULE_PENDING;
  rule->may_contain =
      !policy || policy->network_containment || strcmp(policy->template_, TEMPLATE_CONTAIN) == 0;
  if (policy) {
    bool is_contain =
        policy->network_containment && strcmp(policy->template_, TEMPLATE_CONTAIN) == 0;
    rule->is_known = (is_contain || (block && strcmp(policy->template_, TEMPLATE_BLOCK) == 0)) &&
                     (policy->mode == TELOVIX__V1__RULE_MODE__RULE_MODE_ENFORCE ||
                      policy->mode == TELOVIX__V1__RULE_MODE__RULE_MODE_OBSERVE);
    if (is_contain) err = read_contain(rule, policy);
    rule->mode = policy->mode == TELOVIX__V1__RULE_MODE__RULE_MODE_OBSERVE ? TLX_MODE_OBSERVE
                                                                           : TLX_MODE_ENFORCE;
    if (policy->revision.len == sizeof rule->revision)
      memcpy(rule->revision, policy->revision.data, sizeof rule->revision);
  }
  if (!err)
    err = rule_block_init(&rule->block, policy ? policy->rule_id : "", block ? block->path : "",
                          block && block->force);
  tlx_arena_done(&arena);
  if (err) {
    free(rule->contain);
    free(rule);
    return err;
  }
  *ret_rule = rule;
  return 0;
}

/* A rule about the same file keeps its slot and the files that it remembers; with the same revision
 * it also keeps what was said of it. */
static void inherit(struct core_rule *rule, struct core_rule *former) {
  if (rule->kind == RULE_KIND_BLOCK) {
    bool force = rule->block.force;
    rule_block_done(&rule->block);
    rule->block = former->block;
    rule->block.force = force;
    former->block = (struct rule_block){0};
    rule->slot = former->slot;
    rule->count = former->count;
  }
  if (memcmp(rule->revision, former->revision, sizeof rule->revision) != 0) return;
  rule->result = former->result;
  rule->since_boot_ns = former->since_boot_ns;
}

static void inherit_all(struct core *core, struct core_rule **rules, size_t n) {
  for (size_t i = 0; i < n; i++) {
    for (size_t k = 0; k < core->n_rules && rules[i]->is_known; k++) {
      struct core_rule *former = core->rules[k];
      if (former->is_known && former->kind == rules[i]->kind && former->block.path &&
          strcmp(rules[i]->block.rule_id, former->block.rule_id) == 0 &&
          strcmp(rules[i]->block.path, former->block.path) == 0) {
        inherit(rules[i], former);
        break;
      }
    }
  }
}

static void free_rules(struct core_rule **rules, size_t n) {
  for (size_t i = 0; i < n; i++) {
    rule_block_done(&rules[i]->block);
    free(rules[i]->contain);
    free(rules[i]);
  }
  free(rules);
}

int core_take_desired(struct core *core, const struct desired *desired) {
  struct core_rule **rules = calloc(desired->n + 1, sizeof *rules);
  if (!rules) return -ENOMEM;
  for (size_t n = 0; n < desired->n; n++) {
    int err = make_rule(desired->policies[n], &rules[n]);
    if (!err) continue;
    free_rules(rules, n);
    return err;
  }
  inherit_all(core, rules, desired->n);
  free_rules(core->rules, core->n_rules);
  core->rules = rules;
  core->n_rules = desired->n;
  core->name = desired->name;
  core->has_name = true;
  core->in_force = core->exec_in_force = core->net.is_settled = false;
  if (core_may_contain(core) && !core_contain_rule(core))
    tlx_error(RULE, "the containment that is wanted cannot be read: what is in force stays");
  return 0;
}

void core_free_rules(struct core *core) {
  free_rules(core->rules, core->n_rules);
  core->rules = NULL;
  core->n_rules = 0;
}

/* ---- compiling ---- */

struct core_rule *core_contain_rule(const struct core *core) {
  for (size_t i = 0; i < core->n_rules; i++)
    if (core->rules[i]->is_known && core->rules[i]->contain) return core->rules[i];
  return NULL;
}

bool core_may_contain(const struct core *core) {
  for (size_t i = 0; i < core->n_rules; i++)
    if (core->rules[i]->may_contain) return true;
  return false;
}

void core_note_result(struct core *core, struct core_rule *rule, const struct rule_result *result) {
  if (rule->since_boot_ns && rule_result_equal(&rule->result, result)) return;
  rule->result = *result;
  rule->since_boot_ns = tlx_boot_ns(core->clock);
}

static void compile_one(struct core *core, struct core_rule *rule,
                        const struct rule_block_host *host, struct rule_result *result) {
  *result = (struct rule_result){.state = RULE_PENDING};
  rule->n_entries = 0;
  if (!rule->is_known)
    rule_result_set(result, RULE_REASON_UNKNOWN_TEMPLATE);
  else
    rule_block_compile(&rule->block, host, rule->slot, rule->mode, rule->entries, &rule->n_entries,
                       result);
}

/* Two names of one folder may have one hash, and the image holds one of them: the other file is
 * then found by looking again, which is said. */
static void drop_name_of_same_hash(const struct core *core, size_t which,
                                   struct rule_result *result) {
  struct core_rule *rule = core->rules[which];
  for (size_t i = 0; i < which; i++) {
    const struct core_rule *other = core->rules[i];
    for (size_t k = 0; k < rule->n_entries; k++) {
      for (size_t m = 0; m < other->n_entries && k < rule->n_entries; m++) {
        if (memcmp(&rule->entries[k].key, &other->entries[m].key, sizeof rule->entries[k].key) !=
                0 ||
            strcmp(rule->entries[k].rule.name, other->entries[m].rule.name) == 0)
          continue;
        rule->entries[k] = rule->entries[--rule->n_entries];
        result->gaps |= 1u << RULE_GAP_NAMES;
      }
    }
  }
}

void core_compile(struct core *core) {
  struct rule_block_host host = {.backend = core->backend,
                                 .reads_names = bpf_object_reads_names(core->object),
                                 .file = core->file};
  struct rule_result result;
  for (size_t i = 0; i < core->n_rules; i++) {
    if (core->rules[i]->kind != RULE_KIND_BLOCK) continue;
    compile_one(core, core->rules[i], &host, &result);
    drop_name_of_same_hash(core, i, &result);
    core_note_result(core, core->rules[i], &result);
  }
}

/* ---- slots ---- */

static bool slot_has_rule(const struct core *core, uint32_t slot) {
  for (size_t i = 0; i < core->n_rules; i++)
    if (core->rules[i]->slot == slot) return true;
  return false;
}

static bool slot_is_taken(const struct core *core, uint32_t slot) {
  if (slot_has_rule(core, slot)) return true;
  for (size_t i = 0; i < core->n_image; i++)
    if (core->image[i].rule.slot == slot) return true;
  return false;
}

/* By keys of |kind|. */
static uint32_t former_slot_of(const struct core *core, const struct core_rule *rule,
                               uint32_t kind) {
  for (size_t i = 0; i < core->n_former; i++) {
    const struct bpf_image_entry *former = &core->former[i];
    if (former->key.kind != kind || former->rule.slot == TLX_SLOT_CANARY ||
        slot_has_rule(core, former->rule.slot))
      continue;
    for (size_t k = 0; k < rule->n_entries; k++)
      if (memcmp(&rule->entries[k].key, &former->key, sizeof former->key) == 0)
        return former->rule.slot;
  }
  return 0;
}

/* What a former process blocked for this rule and is not at the path any more goes on being
 * blocked. */
static void adopt_files(const struct core *core, struct core_rule *rule) {
  for (size_t i = 0; i < core->n_former; i++) {
    const struct bpf_image_entry *former = &core->former[i];
    if (former->rule.slot == rule->slot && former->key.kind == TLX_KEY_FILE)
      rule_block_adopt_file(&rule->block, former->key.dev, former->key.ino,
                            former->rule.generation);
  }
}

/* Round and round, so that events of a rule that is gone are not taken for another's. Where all
 * rules are replaced at once there may be none that rests, and one that only rules of before have
 * must do: a rule without a slot would not be in force. */
static uint32_t next_slot(struct core *core) {
  for (uint32_t tries = 1; tries < 2 * TLX_SLOTS; tries++) {
    core->last_slot = core->last_slot % (TLX_SLOTS - 1) + 1;
    bool was_former = false;
    for (size_t i = 0; i < core->n_former && !was_former; i++)
      was_former = core->former[i].rule.slot == core->last_slot;
    bool is_free = tries < TLX_SLOTS ? !was_former && !slot_is_taken(core, core->last_slot)
                                     : !slot_has_rule(core, core->last_slot);
    if (is_free) return core->last_slot;
  }
  return 0;
}

/* By name first: two rules may be about one file, but not about one name of one folder. */
static bool adopt_slots(struct core *core, uint32_t kind) {
  bool adopted = false;
  for (size_t i = 0; i < core->n_rules; i++) {
    struct core_rule *rule = core->rules[i];
    bool has_none = rule->is_known && rule->kind == RULE_KIND_BLOCK && !rule->slot;
    uint32_t slot = has_none ? former_slot_of(core, rule, kind) : 0;
    if (!slot) continue;
    rule->slot = slot;
    adopt_files(core, rule);
    adopted = true;
  }
  return adopted;
}

bool core_assign_slots(struct core *core) {
  bool adopted = adopt_slots(core, TLX_KEY_NAME);
  adopted |= adopt_slots(core, TLX_KEY_FILE);
  for (size_t i = 0; i < core->n_rules; i++) {
    struct core_rule *rule = core->rules[i];
    if (rule->slot || !rule->is_known || rule->kind != RULE_KIND_BLOCK) continue;
    rule->slot = next_slot(core);
    rule->count = (struct tlx_count){0};
    if (rule->slot) (void)bpf_maps_count_set(core->object, rule->slot, &rule->count);
  }
  return adopted;
}

/* ---- the image ---- */

static int compare_entries(const void *a, const void *b) {
  const struct bpf_image_entry *x = a, *y = b;
  int order = memcmp(&x->key, &y->key, sizeof x->key);
  /* Of two rules for one file the one that enforces comes first and stays. */
  if (!order) order = (x->rule.mode > y->rule.mode) - (x->rule.mode < y->rule.mode);
  return order ? order : (x->rule.slot > y->rule.slot) - (x->rule.slot < y->rule.slot);
}

int core_build_image(const struct core *core, struct bpf_image_entry **ret_image, size_t *ret_n) {
  size_t n = core->n_canary, kept = 0;
  for (size_t i = 0; i < core->n_rules; i++)
    n += core->rules[i]->slot ? core->rules[i]->n_entries : 0;
  struct bpf_image_entry *image = calloc(n + 1, sizeof *image);
  if (!image) return -ENOMEM;
  size_t at = 0;
  for (unsigned i = 0; i < core->n_canary; i++)
    image[at++] = core->canary[i];
  for (size_t i = 0; i < core->n_rules; i++) {
    const struct core_rule *rule = core->rules[i];
    for (size_t k = 0; rule->slot && k < rule->n_entries; k++) {
      image[at] = rule->entries[k];
      image[at].rule.slot = rule->slot;
      at++;
    }
  }
  qsort(image, n, sizeof *image, compare_entries);
  for (size_t i = 0; i < n; i++)
    if (kept == 0 || memcmp(&image[kept - 1].key, &image[i].key, sizeof image[i].key) != 0)
      image[kept++] = image[i];
  *ret_image = image;
  *ret_n = kept;
  return 0;
}
