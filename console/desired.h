// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/arena.h"
#include "console/live.h"
#include "storage/rule_tbl.h"
#include "telovix/v1/policy.pb-c.h"

/* The desired state of a sensor: its name, the set as it is sent, and how the rules stand against
 * what the sensor reported. Reads the transaction alone; any thread. */

/* The name of what is wanted of |sensor| by the store with this epoch. */
void desired_name(const uint8_t epoch[16], const Telovix__Store__V1__SensorRecord *sensor,
                  struct live_name *ret_name);
/* The name as a message that points to |name|, which must outlive it. */
Telovix__V1__DesiredName desired_name_message(struct live_name *name);
/* The whole set under |name| (of the same transaction), with the policies as they are stored, in
 * |arena|; |name| must outlive it. NULL when the arena is full. */
Telovix__V1__DesiredSet *desired_build(struct tlx_txn *txn, const char *sensor_id,
                                       struct live_name *name, struct tlx_arena *arena);

/* How a sensor's rules stand. */
struct desired_look {
  unsigned n_unreported; /* wanted, without a report on this revision from this boot */
  unsigned n_failed;     /* wanted, and reported as failed */
  unsigned n_partial;    /* wanted, and reported as in force in part */
  bool is_contained;     /* a containment is wanted */
  unsigned n_droppable;  /* being removed, and out of the set that is in force */
};
/* Reads every rule of the sensor. |boot_id| is the host's present one; |in_force| NULL = not known.
 */
void desired_look(struct tlx_txn *txn, const char *sensor_id, const uint8_t boot_id[16],
                  const struct live_name *in_force, struct desired_look *ret_look);
