// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/op.h"

/* Forgets events that were received before |before_wall_ms|, oldest first, at most EVENT_SWEEP_MAX
 * a run; |more| says to run again. Audits nothing: no event is a record of who did what. */
struct op_event_sweep {
  struct op op;
  uint64_t before_wall_ms;
  bool more;
};
/* Refuses nothing. */
void op_event_sweep_run(struct op *op, struct tlx_txn *txn);
