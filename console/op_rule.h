// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op.h"
#include "storage/rule_tbl.h"

/* Rules: block a binary, change the mode, delete. Each op embeds `struct op` first; heap; freed by
 * its done with op_rule_free. The serialized policy is made by the handler, so that both sides
 * digest the very same bytes, whatever packs them. */

/* Numbers of telovix.v1.RuleMode, which no op may see. */
enum op_rule_mode { OP_RULE_ENFORCE = 1, OP_RULE_OBSERVE = 2 };

/* What all of them have in common. */
struct op_rule {
  struct op op;
  char rule_id[32]; /* made before, or the one that is meant */
  bool force;
  /* The sensor as it is now, found by the handler: whether its health is critical, and the reasons
   * for that ("engine_down, enforcement_tampered"); whether it is silent (other notice). */
  bool critical, silent;
  char health[160];
  /* The policy with its revision; heap, owned. Not for a deletion. */
  uint8_t revision[16];
  struct tlx_buf policy;
  void *pack_arg; /* the handler's, for its pack; heap, owned */
  /* out */
  bool changed; /* false: it was so already, and nothing was done */
  char sensor_id[32];
  const char *notice;                     /* lives in the transaction, as |record|: for pack only */
  Telovix__Store__V1__RuleRecord *record; /* as it is now */
};
/* Frees the op with what it owns. NULL is fine. */
void op_rule_free(struct op_rule *op);

struct op_rule_block {
  struct op_rule rule;
  char sensor[256]; /* id or node name */
  char path[4096];
  char name[72];
  uint32_t mode; /* enum op_rule_mode */
};
/* Stores the rule and words the notice. Refuses unknown_sensor, ambiguous_name, sensor_revoked,
 * sensor_critical (unless |force|), rule_exists (with the id, in the sentence and as metadata
 * rule_id), too_many_rules; values are the handler's to check. Audit: enforcement_rule_created. */
void op_rule_block_run(struct op *op, struct tlx_txn *txn);

struct op_rule_set_mode {
  struct op_rule rule;
  uint32_t mode;             /* enum op_rule_mode */
  uint8_t from_revision[16]; /* of the rule from which the policy was made */
};
/* Gives the rule the mode and the policy. Enforcing is an enforcement transition with the gate of
 * op_rule_block_run; observing is always allowed. Refuses unknown_rule, containment_rule,
 * rule_removing, rule_changed. Audit: rule_mode_changed, unless it had the mode already. */
void op_rule_set_mode_run(struct op *op, struct tlx_txn *txn);

/* Marks the rule as removing, always allowed; a second time changes nothing. Refuses unknown_rule,
 * containment_rule.
 * Audit: enforcement_rule_deleted. |op| is a struct op_rule. */
void op_rule_delete_run(struct op *op, struct tlx_txn *txn);
