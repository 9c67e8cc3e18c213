// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <jansson.h>

#include "console/op_rule.h"

/* What the files of rule changes share (op_rule.c, op_contain.c). Writer thread. */

/* Forgets what an earlier run left. */
void op_rule_start(struct op_rule *op);
/* The gate of spec §5.4: whether the sensor may be given something to enforce that it did not have.
 * False with the status set. */
bool op_rule_may_tighten(struct op_rule *op, const Telovix__Store__V1__SensorRecord *sensor);
/* Who forced what is on record, also where it was not needed. */
void op_rule_note_force(const struct op_rule *op, json_t *detail);
/* Whether the sensor's limits leave room for the op's policy in place of |replaced| bytes of one
 * that is there (0 = a rule more). False with the status set. */
bool op_rule_has_room(struct op_rule *op, struct tlx_txn *txn,
                      const Telovix__Store__V1__SensorRecord *sensor, size_t replaced);
/* A record in the transaction with everything that the op and the actor say of a new rule; NULL
 * (and |txn| has failed) without memory. */
Telovix__Store__V1__RuleRecord *op_rule_build(struct op_rule *op, struct tlx_txn *txn,
                                              const Telovix__Store__V1__SensorRecord *sensor);
/* Keeps a notice that tlx_arena_printf made; NULL fails |txn|. */
void op_rule_set_notice(struct op_rule *op, struct tlx_txn *txn, const char *text);
/* Audits a change of op->record, with node name and generation. Takes |detail|. */
void op_rule_audit_changed(struct op_rule *op, struct tlx_txn *txn, const char *action_type,
                           json_t *detail);
