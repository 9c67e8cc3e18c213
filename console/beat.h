// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/clock.h"
#include "console/live.h"
#include "console/op_report.h"
#include "telovix/v1/sensor.pb-c.h"

/* What stands in a heartbeat: checked against what an honest sensor can send, and copied to where
 * it is kept. Pure but for the ids of new events; any thread. */

/* Adds a violation, naming the field, for whatever is out of bounds: lengths, enums, ids, counts,
 * order. Only a request without one may go to the other functions. */
void beat_check(const Telovix__V1__HeartbeatRequest *request, struct tlx_status *status);
/* What it says of enforcement. */
void beat_live(const Telovix__V1__HeartbeatRequest *request, struct live_beat *ret_beat);
/* Whether it brings host facts that the record does not have: a start of the sensor with the same
 * ones need not be written. */
bool beat_facts_differ(const Telovix__V1__HeartbeatRequest *request,
                       const Telovix__Store__V1__SensorRecord *record);
/* Whether it brings hazards that the record does not have, or no longer has them. */
bool beat_hazards_differ(const Telovix__V1__HeartbeatRequest *request,
                         const Telovix__Store__V1__SensorRecord *record);
/* Whether it tells otherwise than the record how the last renewal of the certificate ended. */
bool beat_renewal_differs(const Telovix__V1__HeartbeatRequest *request,
                          const Telovix__Store__V1__SensorRecord *record);
/* Whether what the record calls lifted has been replaced by a newer desired state. */
bool beat_is_armed_again(const Telovix__V1__HeartbeatRequest *request,
                         const Telovix__Store__V1__SensorRecord *record);
/* Copies results, rule reports, events, the set in force, (|has_facts|) the facts and
 * (|has_hazards|) the hazards into |op|, whose cost is set. Results above REPORT_RESULTS_MAX and
 * events above REPORT_EVENTS_MAX are left out: they are not acknowledged, and come again. An event
 * of which the host's age is known is put on the host's wall clock; without that on |now_wall_ms|.
 * 0 or a negative error. */
int beat_copy(const Telovix__V1__HeartbeatRequest *request, bool has_facts, bool has_hazards,
              uint64_t now_wall_ms, struct op_report *op);
