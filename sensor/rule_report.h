// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>

#include "common/arena.h"
#include "sensor/engine.h"
#include "sensor/event_queue.h"
#include "telovix/v1/sensor.pb-c.h"

/* The part of a heartbeat that tells what is enforced: the engine, the results of rules that
 * changed since they were last told, and events. Loop thread. */

/* Results in one heartbeat, so that long file names fit too; the rest goes with the next one. */
#define RULE_REPORTS_MAX 64u

struct rule_report {
  const struct engine_view *(*view)(void *arg);
  void *arg;
  struct event_queue *events;
  struct told {
    char rule_id[32];
    uint64_t digest;
  } told[DESIRED_RULES_MAX], in_flight[RULE_REPORTS_MAX];
  unsigned n_told, n_in_flight;
  uint64_t engine_told, engine_in_flight;   /* digests; 0 = nothing */
  uint32_t hazards_told, hazards_in_flight; /* as bits */
  bool knows_told, knows_in_flight;
  bool has_more;         /* not all results fit */
  bool desired_rollback; /* the owner's: the last offered set was refused */
};

/* Fills |request|'s enforcement fields out of |arena|, which outlives the request. Out of memory:
 * what does not fit is left out and told next time. */
void rule_report_fill(struct rule_report *report, Telovix__V1__HeartbeatRequest *request,
                      struct tlx_arena *arena);
/* What was filled has arrived. Whether something more waits to be told at once. */
bool rule_report_arrived(struct rule_report *report, const Telovix__V1__HeartbeatReply *reply);
/* What was filled may not have arrived. */
void rule_report_retry(struct rule_report *report);
