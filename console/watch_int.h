// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/watch.h"

/* What the files of watch share. */

struct order_watcher;
struct rule_watcher;
struct event_watcher;
struct fleet_watcher;
struct seen;

struct watch {
  struct console *console;
  struct order_watcher *orders;
  struct rule_watcher *rules;
  struct event_watcher *events;
  struct fleet_watcher *fleets;
  struct seen *seen; /* kept while there is a fleet watcher */
};

/* Watches of this operator that count against WATCHES_PER_OPERATOR_MAX: those of the fleet and of
 * events. */
unsigned watch_count(const struct watch *watch, const char *operator_name);
/* The part of watch_count that each kind knows. */
unsigned watch_event_count(const struct watch *watch, const char *operator_name);
/* Each second: rules that are observed otherwise by the clock alone. */
void watch_rule_turn(struct watch *watch);
/* Ends the streams of the events of a sensor that was deleted. */
void watch_event_sensor_gone(struct watch *watch, const char *sensor_id);
/* End all streams of one kind with |status|. */
void watch_rule_end_all(struct watch *watch, const struct tlx_status *status);
void watch_event_end_all(struct watch *watch, const struct tlx_status *status);
