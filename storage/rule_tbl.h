// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pki/digest.h"
#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"

/* Rules: `rule` by (sensor, rule id), index `rule_id` (rule id → sensor id). The desired set of a
 * sensor is its rules that are not being removed. Whoever changes it goes through tlx_rule_add or
 * tlx_rule_change, which name the new set in the sensor's record in the same transaction:
 * generation
 * + 1, and the digest. What was observed is stored beside it and never changes that name. */

/* The rule with this id, in the transaction's arena; NULL when there is none. An index entry
 * without its record fails the transaction with TLX_E_CORRUPT. */
Telovix__Store__V1__RuleRecord *tlx_rule_get(struct tlx_txn *txn, const char *rule_id);
/* The sensor's rule for exactly this path that is not being removed, in the transaction's arena;
 * NULL when there is none. */
Telovix__Store__V1__RuleRecord *tlx_rule_find_path(struct tlx_txn *txn, const char *sensor_id,
                                                   const char *path);
/* The sensor's containment (template "network-containment") that is not being removed: at most one,
 * since its path is empty and paths are unique. |or_removing|: else the last one that is being
 * removed. In the transaction's arena; NULL when there is none. */
Telovix__Store__V1__RuleRecord *tlx_rule_find_containment(struct tlx_txn *txn,
                                                          const char *sensor_id, bool or_removing);
/* Whether the rule is a containment. */
bool tlx_rule_is_containment(const Telovix__Store__V1__RuleRecord *record);
/* Inserts a rule and names the new set; record->changed_generation is set. TLX_E_EXISTS for an id
 * that is there, or a path that another rule of the sensor has which is not being removed;
 * TLX_E_NOT_FOUND without the sensor; -EINVAL for an id that cannot be one. */
void tlx_rule_add(struct tlx_txn *txn, Telovix__Store__V1__RuleRecord *record);
/* Replaces a rule whose desired part changed (policy, revision, mode, removing) and names the new
 * set; record->changed_generation is set. TLX_E_NOT_FOUND; -EINVAL for another sensor or path;
 * TLX_E_CONFLICT for a rule that is being removed: there is no way back. */
void tlx_rule_change(struct tlx_txn *txn, Telovix__Store__V1__RuleRecord *record);
/* Replaces a rule of which only what was observed changed. TLX_E_NOT_FOUND; TLX_E_CONFLICT when its
 * desired part is not the stored one. */
void tlx_rule_observe(struct tlx_txn *txn, const Telovix__Store__V1__RuleRecord *record);
/* Forgets a rule that is being removed; the set is the same as before. TLX_E_NOT_FOUND;
 * TLX_E_CONFLICT for one that is still desired. */
void tlx_rule_remove(struct tlx_txn *txn, const char *rule_id);
/* Removes every rule of a sensor that is itself removed in this transaction: the desired set gets
 * no new name. Returns how many. */
unsigned tlx_rule_remove_all(struct tlx_txn *txn, const char *sensor_id);
/* Rules of one sensor, or (NULL) of all, in order of sensor and rule id, those being removed too,
 * starting behind (after_sensor, after_rule): NULL = from the start. The record lives for the
 * callback; false stops. */
void tlx_rule_each(struct tlx_txn *txn, const char *sensor_id, const char *after_sensor,
                   const char *after_rule,
                   bool (*cb)(void *arg, const Telovix__Store__V1__RuleRecord *record), void *arg);
/* How many rules a sensor has, those being removed too; reads keys alone. */
unsigned tlx_rule_count(struct tlx_txn *txn, const char *sensor_id);
/* What a sensor's rules take. */
struct tlx_rule_usage {
  unsigned n_desired, n_removing;
  uint64_t desired_len; /* bytes of the desired policies */
};
/* Fills all of it; reads each rule of the sensor. */
void tlx_rule_usage(struct tlx_txn *txn, const char *sensor_id, struct tlx_rule_usage *ret_usage);

/* The digest that names a desired set (spec §12): SHA-256("telovix-set-v1", NUL, then per policy,
 * ascending by rule id, u32be length and bytes). Begin, one add a policy, tlx_sha256_final. */
void tlx_rule_digest_begin(struct tlx_sha256 *ctx);
/* Adds |len| bytes of one policy. */
void tlx_rule_digest_add(struct tlx_sha256 *ctx, const void *policy, size_t len);
