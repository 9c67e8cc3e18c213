// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/limits.h"
#include "console/op.h"

/* Who is part of the fleet: disable, enable, revoke, delete. */

struct op_fleet {
  struct op op;
  char sensor[256]; /* id or node name */
  /* Revoke and delete: what the caller says the sensor's node name is, in any case of letters. */
  char confirm_node_name[256];
  /* Delete: also when the host was not observed to be released. |may_be_contained|: what is
   * observed says so although no containment is on record (console/observed.h). */
  bool force, may_be_contained;
  /* out */
  char sensor_id[32], node_name[256];
  char notice[768];
  bool changed; /* false = it was so already, and nothing was written */
  /* Revoke and delete: kill orders that this ended, for watchers, and which of them were never
   * handed out. */
  char orders[OPEN_ORDERS_PER_SENSOR_MAX][32];
  bool is_cancelled[OPEN_ORDERS_PER_SENSOR_MAX];
  unsigned n_orders, n_cancelled, n_unknown;
  /* Delete: what was removed. */
  unsigned n_rules, n_all_orders, n_events, n_tokens;
};

/* Marks the sensor disabled: it is left out of fleet health, and nothing else changes for it.
 * Refuses unknown_sensor, ambiguous_name. Audit: sensor_disabled, when it was not. */
void op_fleet_disable_run(struct op *op, struct tlx_txn *txn);
/* Undoes that. Audit: sensor_enabled, when it was disabled. */
void op_fleet_enable_run(struct op *op, struct tlx_txn *txn);
/* Ends the trust: state of the record and its good certificates; queued orders become cancelled,
 * delivered ones result_unknown. What is desired stays. Refuses unknown_sensor, ambiguous_name,
 * wrong_confirmation. Audit: process_kill_cancelled and process_kill_finished, one each, then
 * sensor_revoked; nothing for a sensor that is revoked already. */
void op_fleet_revoke_run(struct op *op, struct tlx_txn *txn);
/* Removes the sensor with its rules, orders, events and the tokens bound to it, whatever says that
 * it used a token, and leaves tombstones of its certificates until they expire. Refuses
 * unknown_sensor, ambiguous_name, wrong_confirmation, not_released. Audit: the ends of open orders
 * as above, then sensor_deleted. */
void op_fleet_delete_run(struct op *op, struct tlx_txn *txn);

/* Forgets tombstones, and certificates that were replaced or revoked, which can be used for nothing
 * any more. */
struct op_serial_sweep {
  struct op op;
  uint64_t before_wall_ms; /* certificates that ended before this */
  uint8_t serials[SERIAL_SWEEP_MAX][16];
  unsigned n_serials; /* candidates, found before; each is looked at again */
};
/* Audits nothing: what is forgotten says nothing any more. */
void op_serial_sweep_run(struct op *op, struct tlx_txn *txn);
/* Whether the sweep would forget |record|. Pure. */
bool op_serial_is_due(const Telovix__Store__V1__SerialRecord *record, uint64_t before_wall_ms);
