// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op.h"
#include "storage/order_tbl.h"

/* Kill orders: queue, cancel, expire. Each op embeds `struct op` first; heap; freed by its done. */

struct op_kill_queue {
  struct op op;
  char sensor[256];  /* id or node name */
  char order_id[32]; /* made before */
  uint32_t pid;
  uint64_t guard_start_ticks, life_ms;
  char guard_exe[4096];
  /* Baseline of a live sensor, by sensor id (found by the handler); has_baseline false = use the
   * stored one. */
  bool has_baseline;
  uint8_t boot_id[16];
  uint64_t baseline_boot_ns;
  bool silent;     /* no heartbeat within the stale threshold: other notice */
  bool is_counted; /* the handler's: live_changing was told of it, for the sensor named next */
  char live_id[32];
  /* out */
  char sensor_id[32];
  char notice[256];                        /* spec §5.1, verbatim for a live sensor */
  Telovix__Store__V1__OrderRecord *record; /* lives in the transaction: for pack only */
};
/* Stores the order as queued and words the notice. Refuses unknown_sensor, ambiguous_name,
 * sensor_revoked, never_heartbeaten, too_many_open_orders; values are the handler's to check.
 * Audit: process_kill_queued. */
void op_kill_queue_run(struct op *op, struct tlx_txn *txn);

struct op_kill_cancel {
  struct op op;
  char order_id[32];
  /* out */
  char sensor_id[32];
  Telovix__Store__V1__OrderRecord *record;
};
/* Takes back an order that is still queued. Refuses unknown_order, order_not_queued (the text says
 * the present state). Audit: process_kill_cancelled. */
void op_kill_cancel_run(struct op *op, struct tlx_txn *txn);

/* Ends what is due at |wall_ms|: queued → expired, delivered / still_alive → result_unknown. Audit:
 * process_kill_finished, one each. At most 256 a run; |more| says to run again. */
struct op_kill_sweep {
  struct op op;
  uint64_t wall_ms;
  bool more;
  /* ids of changed orders and their sensors, for watchers */
  struct {
    char order_id[32], sensor_id[32];
  } changed[256];
  unsigned n_changed;
};
/* Refuses nothing; |changed| lists what it ended. */
void op_kill_sweep_run(struct op *op, struct tlx_txn *txn);
