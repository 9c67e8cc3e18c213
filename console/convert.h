// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/arena.h"
#include "console/console.h"
#include "console/observed.h"
#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"
#include "telovix/v1/audit.pb-c.h"
#include "telovix/v1/event.pb-c.h"
#include "telovix/v1/fleet.pb-c.h"
#include "telovix/v1/policy.pb-c.h"
#include "telovix/v1/sensor.pb-c.h"
#include "telovix/v1/token.pb-c.h"
#include "telovix/v1/types.pb-c.h"

/* Records of the store as messages of the wire. Everything is copied into |arena|; NULL when that
 * is full. Pure but for convert_sensor, which also reads live state and clock (loop thread). */

/* A time; absent (NULL) for 0. */
Google__Protobuf__Timestamp *convert_time(uint64_t wall_ms, struct tlx_arena *arena);
/* A span, 0 too. */
Google__Protobuf__Duration *convert_duration(uint64_t ms, struct tlx_arena *arena);
/* Milliseconds of a duration that a caller sent, cut; false when it is negative or out of the range
 * of duration.proto. */
bool convert_duration_ms(const Google__Protobuf__Duration *duration, uint64_t *ret_ms);
/* Milliseconds since 1970 of a time that a caller sent; false when it lies before or is out of
 * range. */
bool convert_time_ms(const Google__Protobuf__Timestamp *time, uint64_t *ret_wall_ms);

/* The order as operators see it, with the time from signal to observed end where both are known. */
Telovix__V1__KillOrder *convert_order(const Telovix__Store__V1__OrderRecord *record,
                                      struct tlx_arena *arena);
/* The order as its sensor gets it: PID, baseline, guards. */
Telovix__V1__PendingKill *convert_pending(const Telovix__Store__V1__OrderRecord *record,
                                          struct tlx_arena *arena);
/* The sensor with status, health, containment and connection as they are now; |txn| is read for its
 * open orders and rules. */
Telovix__V1__Sensor *convert_sensor(struct console *console, struct tlx_txn *txn,
                                    const Telovix__Store__V1__SensorRecord *record,
                                    struct tlx_arena *arena);
/* The token without its secret's hash; its status is computed at |now_wall_ms|. */
Telovix__V1__EnrollmentToken *convert_token(const Telovix__Store__V1__TokenRecord *record,
                                            uint64_t now_wall_ms, struct tlx_arena *arena);
/* The record with every hashed field, and the names of those that are absent rather than empty. */
Telovix__V1__AuditRecord *convert_audit(const Telovix__Store__V1__AuditRecord *record,
                                        struct tlx_arena *arena);
/* What is known of a rule's sensor (NULL = it is gone) now, from record, live state and clock. Loop
 * thread. */
void convert_rule_view(struct console *console, const Telovix__Store__V1__SensorRecord *sensor,
                       struct rule_view *ret_view);
/* The rule with what is desired and, apart from it, what may be said of the host now
 * (observed_rule).
 */
Telovix__V1__EnforcementRule *convert_rule(const Telovix__Store__V1__RuleRecord *record,
                                           const struct rule_view *view, struct tlx_arena *arena);
/* The event as operators see it. */
Telovix__V1__Event *convert_event(const Telovix__Store__V1__EventRecord *record,
                                  struct tlx_arena *arena);
/* Status and health of a sensor now; see health_compute. */
void convert_health(struct console *console, const Telovix__Store__V1__SensorRecord *record,
                    struct health *ret_health);
