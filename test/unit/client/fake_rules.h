// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "rpc/server.h"

/* Rules and events of the fake Console. The rule rule_00000000000000NN does what NN says:
 *
 *   02 … 05   pending, then that state (applied, partial, refused, failed)
 *   01        pending with no_directory, for ever; 06: unknown, for ever
 *   07        pending, then removing, then gone: somebody deletes it
 *   08        pending, then applied in the other mode: somebody changes it
 *   09        gone at once
 *   20        UNAVAILABLE the first time, then applied; 21: PERMISSION_DENIED
 *   22        applied, unconfirmed since the restart, for ever
 *   30        removing, then gone; 31: NOT_FOUND; 32: removing, for ever
 *
 * ContainSensor NN, ReleaseSensor NN and SetAllowList NN are a containment that does the same;
 * "hazard" is refused without force, "free" has nothing to release. GetAllowList: two entries; of
 * "none", none.
 *
 * BlockBinary S /NN is the rule NN; /exists: ALREADY_EXISTS. ListEnforcementRules: one row of 02.
 * ListEvents: one event; WatchEvents: two, then nothing more.
 */
extern const struct tlx_method fake_rule_methods[];
extern const size_t n_fake_rule_methods;
