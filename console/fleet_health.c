// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/fleet_health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "telovix/v1/types.pb-c.h"

#define STATUS(name) TELOVIX__V1__SENSOR_STATUS__SENSOR_STATUS_##name
#define STATES (sizeof((struct fleet_health *)0)->n_in_state / sizeof(uint32_t))

void fleet_health_init(struct fleet_health *fleet) {
  memset(fleet, 0, sizeof *fleet);
  fleet->state = TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_HEALTHY;
}

static struct fleet_reason *reason_of(struct fleet_health *fleet,
                                      const struct health_reason *from) {
  for (unsigned i = 0; i < fleet->n_reasons; i++)
    if (strcmp(fleet->reasons[i].reason, from->reason) == 0) return &fleet->reasons[i];
  if (fleet->n_reasons == FLEET_REASONS_MAX) return NULL;
  struct fleet_reason *reason = &fleet->reasons[fleet->n_reasons++];
  reason->reason = from->reason;
  reason->state = from->state;
  return reason;
}

/* One reason can hold twice (memory and CPU), and is one of this sensor all the same. */
static bool is_told(const struct health *health, unsigned at) {
  for (unsigned i = 0; i < at; i++)
    if (strcmp(health->reasons[i].reason, health->reasons[at].reason) == 0) return true;
  return false;
}

static void add_reasons(struct fleet_health *fleet, const char *node_name,
                        const struct health *health) {
  for (unsigned i = 0; i < health->n_reasons; i++) {
    struct fleet_reason *reason = is_told(health, i) ? NULL : reason_of(fleet, &health->reasons[i]);
    if (!reason) continue;
    reason->n_sensors++;
    if (reason->n_node_names < HEALTH_NAMES_MAX)
      snprintf(reason->node_names[reason->n_node_names++], sizeof *reason->node_names, "%s",
               node_name);
  }
}

void fleet_health_add(struct fleet_health *fleet, const char *node_name,
                      const struct health *health) {
  if (health->status == STATUS(REVOKED)) {
    fleet->n_revoked++;
    return;
  }
  if (health->status == STATUS(DISABLED)) {
    fleet->n_disabled++;
    return;
  }
  fleet->n_sensors++;
  fleet->n_stale += health->is_silent;
  fleet->n_unconfirmed += health->unconfirmed_since_restart;
  if (health->state < STATES) fleet->n_in_state[health->state]++;
  if (health->state < fleet->state) fleet->state = health->state;
  add_reasons(fleet, node_name, health);
}

static int compare_reasons(const void *a, const void *b) {
  const struct fleet_reason *one = a, *other = b;
  if (one->state != other->state) return one->state < other->state ? -1 : 1;
  if (one->n_sensors != other->n_sensors) return one->n_sensors > other->n_sensors ? -1 : 1;
  return strcmp(one->reason, other->reason);
}

void fleet_health_sort(struct fleet_health *fleet) {
  qsort(fleet->reasons, fleet->n_reasons, sizeof *fleet->reasons, compare_reasons);
}
