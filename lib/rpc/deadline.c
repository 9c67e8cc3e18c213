// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/deadline.h"

#include <stddef.h>

static void on_timer(uv_timer_t *timer);

static void arm(struct tlx_deadlines *deadlines, uint64_t due_mono_ms) {
  uint64_t now_mono_ms = tlx_mono_ms(deadlines->clock);
  deadlines->armed_mono_ms = due_mono_ms;
  uv_update_time(deadlines->timer.loop);
  uv_timer_start(&deadlines->timer, on_timer,
                 due_mono_ms > now_mono_ms ? due_mono_ms - now_mono_ms : 0, 0);
}

static void on_timer(uv_timer_t *timer) {
  struct tlx_deadlines *deadlines = timer->data;
  uint64_t now_mono_ms = tlx_mono_ms(deadlines->clock), next_mono_ms = UINT64_MAX;
  struct tlx_deadline *due = NULL;
  deadlines->armed_mono_ms = UINT64_MAX;
  /* The due ones move to a list of their own: what runs for one may clear another. */
  for (struct tlx_deadline *at = deadlines->list, *next; at; at = next) {
    next = at->next;
    if (at->due_mono_ms > now_mono_ms) {
      if (at->due_mono_ms < next_mono_ms) next_mono_ms = at->due_mono_ms;
      continue;
    }
    tlx_deadline_clear(at);
    at->next = due;
    at->prev = &due;
    if (due) due->prev = &at->next;
    due = at;
  }
  if (next_mono_ms != UINT64_MAX) arm(deadlines, next_mono_ms);
  while (due) {
    struct tlx_deadline *at = due;
    tlx_deadline_clear(at);
    at->expired(at);
  }
}

void tlx_deadlines_init(struct tlx_deadlines *deadlines, uv_loop_t *loop,
                        const struct tlx_clock *clock) {
  *deadlines = (struct tlx_deadlines){.clock = clock, .armed_mono_ms = UINT64_MAX};
  uv_timer_init(loop, &deadlines->timer);
  deadlines->timer.data = deadlines;
}

static void on_closed(uv_handle_t *handle) {
  struct tlx_deadlines *deadlines = handle->data;
  if (deadlines->closed) deadlines->closed(deadlines->arg);
}

void tlx_deadlines_close(struct tlx_deadlines *deadlines, void (*closed)(void *arg), void *arg) {
  deadlines->closed = closed;
  deadlines->arg = arg;
  uv_close((uv_handle_t *)&deadlines->timer, on_closed);
}

void tlx_deadline_set(struct tlx_deadlines *deadlines, struct tlx_deadline *deadline,
                      uint64_t due_mono_ms) {
  tlx_deadline_clear(deadline);
  if (due_mono_ms == UINT64_MAX) return;
  deadline->due_mono_ms = due_mono_ms;
  deadline->next = deadlines->list;
  deadline->prev = &deadlines->list;
  if (deadlines->list) deadlines->list->prev = &deadline->next;
  deadlines->list = deadline;
  if (due_mono_ms < deadlines->armed_mono_ms) arm(deadlines, due_mono_ms);
}

void tlx_deadline_clear(struct tlx_deadline *deadline) {
  if (!deadline->prev) return;
  *deadline->prev = deadline->next;
  if (deadline->next) deadline->next->prev = deadline->prev;
  deadline->next = NULL;
  deadline->prev = NULL;
}
