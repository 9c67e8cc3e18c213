// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op.h"
#include "storage/order_tbl.h"

/* The durable part of one heartbeat: results in, orders out, first sight and changed facts, all in
 * one transaction. */

#define REPORT_RESULTS_MAX                                                                         \
  128u /* open orders (64) and late ones; the sensor sends the rest next time */

/* One result of a heartbeat, copied; numbers of telovix.v1. */
struct report_result {
  char order_id[32];
  uint32_t state, error_number;
  char detail[128], process_state[4], comm[16];
  uint64_t signalled_boot_ns, observed_boot_ns, start_ticks;
};
/* What no honest sensor reports: an order of another sensor, a state that no sensor reports, an
 * order that was not handed out. */
enum report_reject {
  REPORT_FOREIGN_ORDER,
  REPORT_IMPOSSIBLE_STATE,
  REPORT_UNDELIVERED_ORDER,
  REPORT_REJECT_COUNT
};

struct op_report {
  struct op op;
  char sensor_id[32];
  struct report_result results[REPORT_RESULTS_MAX];
  unsigned n_results;
  bool deliver; /* commit queued orders as delivered */
  /* Facts to store; first_seen moves bootstrap_pending → trusted. */
  bool has_facts, first_seen;
  char kernel_release[128], architecture[32], os_name[128], sensor_version[64], scope_cgroup[256];
  struct tlx_sensor_seen seen; /* stored beside, since we write anyway */
  /* out */
  char (*acknowledged)[32]; /* heap array, n_acknowledged; also ids that are unknown or already
                               ended: the sensor may forget them. Orders of another sensor are never
                               touched, and are acknowledged to nobody. */
  unsigned n_acknowledged;
  char (*changed)[32]; /* ids of orders whose state changed (watchers) */
  unsigned n_changed;
  char rejected[REPORT_REJECT_COUNT][32]; /* the first order id of each kind; empty = none */
};
/* "foreign_order". Static storage. */
const char *report_reject_word(enum report_reject reject);
/* Results first, then delivery, then the sensor's record. STILL_ALIVE is progress (not
 * acknowledged). Ends are audited as process_kill_finished. What is |rejected| has no effect, and
 * the caller puts it on record, throttled: a sensor can send as much of it as it likes. Refuses
 * only unknown_sensor. */
void op_report_run(struct op *op, struct tlx_txn *txn);
/* Frees the op and its lists. NULL is fine. */
void op_report_free(struct op_report *op);
