// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/contain.h"
#include "console/op_rule.h"

/* Containments: contain, release, replace the allow list. A containment is a rule of the sensor, so
 * that "is contained" is nowhere but in the table of rules. Each op embeds struct op_rule first;
 * heap; freed by its done with op_rule_free. */

struct op_contain {
  struct op_rule rule;
  char sensor[256];          /* id or node name */
  struct contain_list allow; /* the whole list, the template's entries among it */
  uint32_t on_lost;          /* enum contain_on_lost */
  /* Whether the caller asked for this on_lost_console, rather than for what there is. Of the list
   * there is no such choice: whoever names no entry asks for the template's alone. */
  bool has_on_lost;
  /* Of the rule from which the policy was made; op_contain_run: if there was one (has_from). */
  uint8_t from_revision[16];
  bool has_from;
  /* op_contain_run: that rule is not in force as its host was seen: refused, failed, lifted. */
  bool is_out_of_force;
  /* out */
  const char *unchanged; /* static: "already_contained", "not_contained", "release_pending",
                            "same_allow_list"; NULL = changed */
};

/* Stores the rule and words the notice. One that is contained already changes nothing: unchanged,
 * with the rule as it is; unless |force| is new to the rule, or it is out of force: then the rule
 * gets a new revision, through the same gates, and is put in force again. Refuses unknown_sensor,
 * ambiguous_name; other_allow_list and other_on_lost_console for one that is contained in another
 * way; sensor_revoked; sensor_critical and hazard (naming each, also as metadata "hazards") unless
 * |force|; too_many_rules; rule_changed. Audit: sensor_contained. */
void op_contain_run(struct op *op, struct tlx_txn *txn);
/* Marks the rule as removing, always allowed. One that is not contained changes nothing: unchanged;
 * nor does one that is released already and has not confirmed it, with the rule that it still has.
 * Refuses
 * unknown_sensor, ambiguous_name. Audit: sensor_released. */
void op_contain_release_run(struct op *op, struct tlx_txn *txn);
/* Gives the rule the list and the policy. The same list changes nothing. Refuses unknown_sensor,
 * ambiguous_name, not_contained, rule_changed, too_many_rules. Audit: containment_allow_changed. */
void op_contain_set_allow_run(struct op *op, struct tlx_txn *txn);
