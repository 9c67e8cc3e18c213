// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/limits.h"
#include "console/op_report.h"

/* The parts of op_report_run that stand in files of their own. */

/* Rules reported on, and rules dropped. */
#define REPORT_CHANGED_RULES_MAX (REPORT_RULES_MAX + RULES_PER_SENSOR_MAX + REMOVING_PER_SENSOR_MAX)

/* Remembers the first |id| of a kind that no honest sensor reports. */
void op_report_reject(struct op_report *op, enum report_reject why, const char *id);
/* Stores what was observed of rules, where it differs from what is stored; notes the changed ones.
 */
void op_report_rules(struct op_report *op, struct tlx_txn *txn);
/* Drops the rules that the host confirmed to be out of force; notes them. */
void op_report_removals(struct op_report *op, struct tlx_txn *txn,
                        const Telovix__Store__V1__SensorRecord *sensor);
/* Stores the events that are new; sets stream and number in |sensor|, which the caller stores when
 * n_events_stored is not 0. */
void op_report_events(struct op_report *op, struct tlx_txn *txn,
                      Telovix__Store__V1__SensorRecord *sensor);
