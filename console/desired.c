// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/desired.h"

#include <string.h>

#include "console/limits.h"

#define STATE_PARTIAL 3u /* telovix.v1.RuleState */
#define STATE_FAILED 5u

/* ---- name ---- */

void desired_name(const uint8_t epoch[16], const Telovix__Store__V1__SensorRecord *sensor,
                  struct live_name *ret_name) {
  memcpy(ret_name->epoch, epoch, sizeof ret_name->epoch);
  ret_name->generation = sensor->desired_generation;
  if (sensor->desired_digest.len == sizeof ret_name->digest) {
    memcpy(ret_name->digest, sensor->desired_digest.data, sizeof ret_name->digest);
    return;
  }
  /* No rule was ever made: the empty set. */
  struct tlx_sha256 ctx;
  tlx_rule_digest_begin(&ctx);
  tlx_sha256_final(&ctx, ret_name->digest);
}

Telovix__V1__DesiredName desired_name_message(struct live_name *name) {
  Telovix__V1__DesiredName message = TELOVIX__V1__DESIRED_NAME__INIT;
  message.epoch = (ProtobufCBinaryData){sizeof name->epoch, name->epoch};
  message.generation = name->generation;
  message.digest = (ProtobufCBinaryData){sizeof name->digest, name->digest};
  return message;
}

/* ---- set ---- */

struct building {
  struct tlx_arena *arena;
  Telovix__V1__DesiredSet *set;
  bool failed;
};

static bool add_policy(void *arg, const Telovix__Store__V1__RuleRecord *record) {
  struct building *building = arg;
  Telovix__V1__DesiredSet *set = building->set;
  if (record->removing) return true;
  void *copy = tlx_arena_memdup(building->arena, record->policy.data, record->policy.len);
  building->failed = !copy || set->n_enforcement_policies == RULES_PER_SENSOR_MAX;
  if (building->failed) return false;
  set->enforcement_policies[set->n_enforcement_policies++] =
      (ProtobufCBinaryData){record->policy.len, copy};
  return true;
}

Telovix__V1__DesiredSet *desired_build(struct tlx_txn *txn, const char *sensor_id,
                                       struct live_name *name, struct tlx_arena *arena) {
  Telovix__V1__DesiredSet *set = tlx_arena_alloc(arena, sizeof *set);
  ProtobufCBinaryData *list = tlx_arena_alloc(arena, RULES_PER_SENSOR_MAX * sizeof *list);
  struct building building = {.arena = arena, .set = set};
  if (!set || !list) return NULL;
  *set = (Telovix__V1__DesiredSet)TELOVIX__V1__DESIRED_SET__INIT;
  set->epoch = (ProtobufCBinaryData){sizeof name->epoch, name->epoch};
  set->generation = name->generation;
  set->digest = (ProtobufCBinaryData){sizeof name->digest, name->digest};
  set->enforcement_policies = list;
  tlx_rule_each(txn, sensor_id, NULL, NULL, add_policy, &building);
  /* A set without one of its rules would loosen. */
  return building.failed ? NULL : set;
}

/* ---- how it stands ---- */

struct looking {
  const uint8_t *boot_id;
  const struct live_name *in_force;
  struct desired_look look;
};

static bool same_blob(const ProtobufCBinaryData *blob, const void *data, size_t len) {
  return blob->len == len && memcmp(blob->data, data, len) == 0;
}

static bool look_at_rule(void *arg, const Telovix__Store__V1__RuleRecord *record) {
  struct looking *looking = arg;
  if (record->removing) {
    if (looking->in_force && record->changed_generation <= looking->in_force->generation)
      looking->look.n_droppable++;
    return true;
  }
  looking->look.is_contained |= tlx_rule_is_containment(record);
  if (!same_blob(&record->observed_revision, record->revision.data, record->revision.len) ||
      !same_blob(&record->observed_boot_id, looking->boot_id, 16)) {
    looking->look.n_unreported++;
  } else if (record->observed_state == STATE_FAILED) {
    looking->look.n_failed++;
  } else if (record->observed_state == STATE_PARTIAL) {
    looking->look.n_partial++;
  }
  return true;
}

void desired_look(struct tlx_txn *txn, const char *sensor_id, const uint8_t boot_id[16],
                  const struct live_name *in_force, struct desired_look *ret_look) {
  struct looking looking = {.boot_id = boot_id, .in_force = in_force};
  tlx_rule_each(txn, sensor_id, NULL, NULL, look_at_rule, &looking);
  *ret_look = looking.look;
}
