// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op_rule.h"
#include "console/svc.h"
#include "telovix/v1/types.pb-c.h"

/* What the handlers that change rules share (svc_block.c, svc_policy.c). Loop thread. */

/* Adds a violation unless |mode| is one that a rule can have; *|mode| 0 becomes |unset| (0 = must
 * be given). */
void svc_rule_check_mode(struct tlx_status *status, Telovix__V1__RuleMode *mode,
                         Telovix__V1__RuleMode unset);
/* Copies into |op| how |sensor| (NULL = there is none) stands now: health, silence, and what the
 * reply shows of it. 0 or -ENOMEM. */
int svc_rule_take_sensor(struct tlx_call *call, const Telovix__Store__V1__SensorRecord *sensor,
                         struct op_rule *op);
/* Submits |op| with |run|; the answer is an EnforcementRuleReply, unless |op| brings a pack of its
 * own, and after a change the sensor is woken and the watchers are told. */
void svc_rule_submit(struct tlx_call *call, struct op_rule *op,
                     void (*run)(struct op *op, struct tlx_txn *txn), const char *action_type,
                     size_t op_len, const char *reason, const char *request_id);
