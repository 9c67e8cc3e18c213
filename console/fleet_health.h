// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "console/health.h"
#include "console/limits.h"

/* The fleet in numbers: health of many sensors added up. Pure; any thread. */

/* Reasons that can be told apart; more than the table of spec §3 has. */
#define FLEET_REASONS_MAX 32u
/* Sensors that have one reason. */
struct fleet_reason {
  const char *reason; /* static */
  uint32_t state;     /* telovix.v1.HealthState that it alone asks for */
  uint32_t n_sensors;
  char node_names[HEALTH_NAMES_MAX][256]; /* of the first of them */
  unsigned n_node_names;
};
/* All zero is a fleet without sensors, but for |state|: see fleet_health_init. */
struct fleet_health {
  uint32_t state; /* worst of all that count */
  uint32_t n_sensors, n_disabled, n_revoked, n_stale, n_unconfirmed;
  uint32_t n_in_state[6]; /* by telovix.v1.HealthState */
  struct fleet_reason reasons[FLEET_REASONS_MAX];
  unsigned n_reasons;
};
/* A fleet without sensors is healthy. */
void fleet_health_init(struct fleet_health *fleet);
/* Adds one sensor. A disabled or revoked one counts as such and in nothing else. */
void fleet_health_add(struct fleet_health *fleet, const char *node_name,
                      const struct health *health);
/* Brings the reasons in order: worst state first, then those that most sensors have, then by word.
 */
void fleet_health_sort(struct fleet_health *fleet);
