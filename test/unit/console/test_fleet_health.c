// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/fleet_health.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "telovix/v1/types.pb-c.h"

#define STATUS(name) TELOVIX__V1__SENSOR_STATUS__SENSOR_STATUS_##name
#define STATE(name) TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_##name

static struct health of(uint32_t status, uint32_t state) {
  return (struct health){.status = status, .state = state};
}

static void give(struct health *health, const char *reason, uint32_t state) {
  health->reasons[health->n_reasons++] = (struct health_reason){.reason = reason, .state = state};
  if (state < health->state) health->state = state;
}

Test(fleet_health, an_empty_fleet_is_healthy) {
  struct fleet_health fleet;
  fleet_health_init(&fleet);
  fleet_health_sort(&fleet);
  cr_assert_eq(fleet.state, STATE(HEALTHY));
  cr_assert_eq(fleet.n_sensors, 0);
  cr_assert_eq(fleet.n_reasons, 0);
}

Test(fleet_health, disabled_and_revoked_count_in_nothing_else) {
  struct fleet_health fleet;
  fleet_health_init(&fleet);
  struct health health = of(STATUS(DISABLED), STATE(HEALTHY));
  give(&health, "heartbeat_offline", STATE(OFFLINE));
  health.is_silent = health.unconfirmed_since_restart = true;
  fleet_health_add(&fleet, "off", &health);
  health = of(STATUS(REVOKED), STATE(HEALTHY));
  give(&health, "trust_revoked", STATE(CRITICAL));
  fleet_health_add(&fleet, "out", &health);
  fleet_health_add(&fleet, "out-2", &health);
  cr_assert_eq(fleet.n_disabled, 1);
  cr_assert_eq(fleet.n_revoked, 2);
  cr_assert_eq(fleet.state, STATE(HEALTHY));
  cr_assert_eq(fleet.n_sensors + fleet.n_stale + fleet.n_unconfirmed + fleet.n_reasons, 0);
  health = of(STATUS(HEALTHY), STATE(HEALTHY));
  fleet_health_add(&fleet, "on", &health);
  cr_assert_eq(fleet.n_sensors, 1);
  cr_assert_eq(fleet.n_in_state[STATE(HEALTHY)], 1);
}

Test(fleet_health, counts_and_the_worst) {
  struct fleet_health fleet;
  fleet_health_init(&fleet);
  static const uint32_t states[] = {STATE(HEALTHY), STATE(WATCH), STATE(WATCH), STATE(DEGRADED),
                                    STATE(OFFLINE)};
  for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
    struct health health = of(STATUS(HEALTHY), states[i]);
    health.is_silent = states[i] == STATE(OFFLINE);
    health.unconfirmed_since_restart = states[i] == STATE(WATCH);
    fleet_health_add(&fleet, "x", &health);
  }
  cr_assert_eq(fleet.n_sensors, 5);
  cr_assert_eq(fleet.n_in_state[STATE(CRITICAL)], 0);
  cr_assert_eq(fleet.n_in_state[STATE(OFFLINE)], 1);
  cr_assert_eq(fleet.n_in_state[STATE(DEGRADED)], 1);
  cr_assert_eq(fleet.n_in_state[STATE(WATCH)], 2);
  cr_assert_eq(fleet.n_in_state[STATE(HEALTHY)], 1);
  cr_assert_eq(fleet.n_stale, 1);
  cr_assert_eq(fleet.n_unconfirmed, 2);
  cr_assert_eq(fleet.state, STATE(OFFLINE));
}

Test(fleet_health, reasons_worst_first_then_most_then_by_word) {
  struct fleet_health fleet;
  char node[32];
  fleet_health_init(&fleet);
  for (int i = 0; i < 12; i++) {
    struct health health = of(STATUS(HEALTHY), STATE(HEALTHY));
    give(&health, "event_loss", STATE(WATCH));
    /* Memory and CPU are one reason of one sensor. */
    if (i < 2) give(&health, "resource_pressure", STATE(WATCH));
    if (i < 2) give(&health, "resource_pressure", STATE(WATCH));
    if (i < 2) give(&health, "coverage_partial", STATE(WATCH));
    if (i == 5) give(&health, "engine_down", STATE(CRITICAL));
    snprintf(node, sizeof node, "web-%d", i);
    fleet_health_add(&fleet, node, &health);
  }
  fleet_health_sort(&fleet);
  static const struct {
    const char *reason;
    uint32_t n_sensors;
  } order[] = {
      {"engine_down", 1}, {"event_loss", 12}, {"coverage_partial", 2}, {"resource_pressure", 2}};
  cr_assert_eq(fleet.n_reasons, 4);
  for (unsigned i = 0; i < 4; i++) {
    cr_assert_str_eq(fleet.reasons[i].reason, order[i].reason);
    cr_assert_eq(fleet.reasons[i].n_sensors, order[i].n_sensors, "%s", order[i].reason);
  }
  cr_assert_str_eq(fleet.reasons[0].node_names[0], "web-5");
  cr_assert_eq(fleet.reasons[1].n_node_names, HEALTH_NAMES_MAX, "the first of them");
  cr_assert_str_eq(fleet.reasons[1].node_names[9], "web-9");
}
