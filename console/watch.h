// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>

#include "console/console.h"
#include "rpc/call.h"

/* Operators' open streams: one order or rule until its end, events, or the whole fleet. Each gets
 * the current state first, then the changes; what changes faster than a reader reads is folded, so
 * that no queue grows. Loop thread. */
struct watch;

/* 0 or -ENOMEM; |console| must outlive it. */
int watch_new(struct console *console, struct watch **ret_watch);
/* All streams must have ended. NULL is fine. */
void watch_free(struct watch *watch);
/* Streams the order |order_id|, and ends the call with OK after its end state; unknown_order when
 * there is none, watch_too_slow when the reader does not read. */
void watch_order(struct watch *watch, struct tlx_call *call, const char *order_id);
/* The same for a rule (watch_rule.c): until the host confirmed its removal; unknown_rule. */
void watch_rule(struct watch *watch, struct tlx_call *call, const char *rule_id);
/* A rule was changed, observed otherwise, or dropped: its watchers are told. */
void watch_rule_changed(struct watch *watch, const char *rule_id);
/* Streams the events with a number above |last_no| (watch_event.c), of one sensor or (empty) of
 * all, until the caller ends it; too_many_watches as for the fleet; watch_too_slow for a reader
 * that is WATCH_EVENTS_LAG_MAX behind. */
void watch_events(struct watch *watch, struct tlx_call *call, const char *sensor_id,
                  uint64_t last_no);
/* Events were stored: who watches them is told. */
void watch_events_added(struct watch *watch);
/* Streams the fleet, in the order of node names first, until the caller ends it. RESOURCE_EXHAUSTED
 * too_many_watches above WATCHES_PER_OPERATOR_MAX. */
void watch_fleet(struct watch *watch, struct tlx_call *call, bool include_revoked);
/* An order was committed in another state: its watchers are told. */
void watch_order_changed(struct watch *watch, const char *order_id);
/* An order was deleted with its sensor: its watchers end with NOT_FOUND unknown_order, and are told
 * whether it was cancelled (|is_cancelled|: it had never been handed out), or that nobody will know
 * what became of it. */
void watch_order_gone(struct watch *watch, const char *order_id, bool is_cancelled);
/* Something that may change status or health of a sensor has happened: fleet watchers are told if
 * it did. Cheap while nobody watches. */
void watch_sensor_changed(struct watch *watch, const char *sensor_id);
/* A sensor was revoked or deleted (committed): fleet watchers that no longer see it are told so,
 * and of a deleted one every stream that follows one of its own things ends. */
void watch_sensor_left(struct watch *watch, const char *sensor_id, const char *node_name);
/* Each second: health that changes by the clock alone. */
void watch_turn(struct watch *watch);
/* Ends every stream with |status| (copied). */
void watch_end_all(struct watch *watch, const struct tlx_status *status);
