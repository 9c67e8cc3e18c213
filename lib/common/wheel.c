// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/wheel.h"

#define TICK_MS 1000u

void tlx_wheel_init(struct tlx_wheel *wheel, uint64_t mono_ms) {
  *wheel = (struct tlx_wheel){.tick = mono_ms / TICK_MS};
}

void tlx_wheel_timer_init(struct tlx_wheel_timer *timer,
                          void (*fire)(struct tlx_wheel_timer *timer)) {
  *timer = (struct tlx_wheel_timer){.fire = fire};
}

void tlx_wheel_disarm(struct tlx_wheel_timer *timer) {
  if (!timer->prev) return;
  *timer->prev = timer->next;
  if (timer->next) timer->next->prev = timer->prev;
  timer->next = NULL;
  timer->prev = NULL;
}

static void link_in(struct tlx_wheel_timer **slot, struct tlx_wheel_timer *timer) {
  timer->next = *slot;
  timer->prev = slot;
  if (*slot) (*slot)->prev = &timer->next;
  *slot = timer;
}

void tlx_wheel_arm(struct tlx_wheel *wheel, struct tlx_wheel_timer *timer, uint64_t due_mono_ms) {
  tlx_wheel_disarm(timer);
  /* Rounded up, so that it never fires early; what is due already fires at the next tick. */
  timer->due_tick = (due_mono_ms + TICK_MS - 1) / TICK_MS;
  if (timer->due_tick <= wheel->tick) timer->due_tick = wheel->tick + 1;
  link_in(&wheel->slots[timer->due_tick % TLX_WHEEL_SLOTS], timer);
}

void tlx_wheel_turn(struct tlx_wheel *wheel, uint64_t mono_ms) {
  uint64_t now_tick = mono_ms / TICK_MS;
  if (now_tick <= wheel->tick) return;
  /* After a long pause one round sees every slot. */
  uint64_t first = wheel->tick + 1;
  if (now_tick - wheel->tick > TLX_WHEEL_SLOTS) first = now_tick - TLX_WHEEL_SLOTS + 1;
  wheel->tick = now_tick;
  struct tlx_wheel_timer *due = NULL;
  for (uint64_t tick = first; tick <= now_tick; tick++) {
    struct tlx_wheel_timer *timer = wheel->slots[tick % TLX_WHEEL_SLOTS];
    while (timer) {
      struct tlx_wheel_timer *next = timer->next;
      /* Timers of later rounds stay. */
      if (timer->due_tick <= now_tick) {
        tlx_wheel_disarm(timer);
        link_in(&due, timer);
      }
      timer = next;
    }
  }
  /* From a list of its own: a timer that fires may free or disarm others of it. */
  while (due) {
    struct tlx_wheel_timer *timer = due;
    tlx_wheel_disarm(timer);
    timer->fire(timer);
  }
}
