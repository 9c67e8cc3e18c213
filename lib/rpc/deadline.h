// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdint.h>
#include <uv.h>

#include "common/clock.h"

/* Exact limits in time for many calls behind one timer: calls are set and cleared on each request
 * and expire almost never, so that setting and clearing cost a few instructions, and only an expiry
 * looks at all of them. Loop thread. */

struct tlx_deadline {
  struct tlx_deadline *next, **prev; /* NULL prev = not set */
  uint64_t due_mono_ms;
  /* Runs once, after it was taken out; may set or clear any deadline. */
  void (*expired)(struct tlx_deadline *deadline);
};

struct tlx_deadlines {
  uv_timer_t timer;
  const struct tlx_clock *clock;
  struct tlx_deadline *list;
  uint64_t armed_mono_ms; /* UINT64_MAX = the timer is off */
  void (*closed)(void *arg);
  void *arg;
};

/* Starts without deadlines. Never fails; |loop| and |clock| outlive it. */
void tlx_deadlines_init(struct tlx_deadlines *deadlines, uv_loop_t *loop,
                        const struct tlx_clock *clock);
/* |closed| when the timer's handle is closed; the struct must live until then. */
void tlx_deadlines_close(struct tlx_deadlines *deadlines, void (*closed)(void *arg), void *arg);
/* (Re-)sets |deadline|, whose `expired` is set; UINT64_MAX = never. What is due already expires in
 * the next turn, never inside this call. */
void tlx_deadline_set(struct tlx_deadlines *deadlines, struct tlx_deadline *deadline,
                      uint64_t due_mono_ms);
/* No-op when not set. */
void tlx_deadline_clear(struct tlx_deadline *deadline);
