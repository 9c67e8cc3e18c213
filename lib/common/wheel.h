// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Coarse timers (1 s) for idle, handshake and staleness limits: arming and disarming cost O(1),
 * which 10,000 connections need. Knows no loop: its owner turns it. One thread. A timer fires
 * between its time and one second later. */

#define TLX_WHEEL_SLOTS 512u

struct tlx_wheel_timer {
  struct tlx_wheel_timer *next, **prev; /* NULL prev = not armed */
  uint64_t due_tick;
  void (*fire)(struct tlx_wheel_timer *timer);
};
struct tlx_wheel {
  struct tlx_wheel_timer *slots[TLX_WHEEL_SLOTS];
  uint64_t tick; /* seconds of monotonic time that were processed */
};

/* Starts without timers at |mono_ms|. Never fails; there is nothing to free. */
void tlx_wheel_init(struct tlx_wheel *wheel, uint64_t mono_ms);
/* Embedded timers start disarmed; |fire| may free the timer and may arm others. */
void tlx_wheel_timer_init(struct tlx_wheel_timer *timer,
                          void (*fire)(struct tlx_wheel_timer *timer));
/* (Re-)arms to fire at |due_mono_ms| or up to 1 s later, never earlier and never inside this call.
 */
void tlx_wheel_arm(struct tlx_wheel *wheel, struct tlx_wheel_timer *timer, uint64_t due_mono_ms);
/* No-op when not armed. */
void tlx_wheel_disarm(struct tlx_wheel_timer *timer);
/* Whether it will fire. */
static inline bool tlx_wheel_armed(const struct tlx_wheel_timer *timer) {
  return timer->prev != NULL;
}
/* Fires everything that is due at |mono_ms|, in no order; call about once a second. A long pause is
 * made up for in one turn. */
void tlx_wheel_turn(struct tlx_wheel *wheel, uint64_t mono_ms);
