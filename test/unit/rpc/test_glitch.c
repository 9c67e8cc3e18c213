// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/glitch.h"

#include <criterion/criterion.h>

#include "common/clock.h"
#include "rpc/deadline.h"

Test(glitch, budget_is_spent_and_forgiven) {
  struct tlx_glitch glitch;
  unsigned n = 0;
  tlx_glitch_init(&glitch, 10, 0);
  while (!tlx_glitch_add(&glitch, TLX_GLITCH_EMPTY, 0))
    n++;
  cr_assert_eq(n, 10);
  tlx_glitch_init(&glitch, 10, 0);
  for (int i = 0; i < 1000; i++) {
    cr_assert_not(tlx_glitch_add(&glitch, TLX_GLITCH_EMPTY, 0));
    tlx_glitch_forgive(&glitch);
  }
  /* One a second. */
  tlx_glitch_init(&glitch, 2, 5000);
  for (uint64_t now_mono_ms = 5000; now_mono_ms < 100000; now_mono_ms += 1000)
    cr_assert_not(tlx_glitch_add(&glitch, TLX_GLITCH_EMPTY, now_mono_ms));
  tlx_glitch_init(&glitch, 2, 5000);
  cr_assert_not(tlx_glitch_add(&glitch, TLX_GLITCH_EMPTY, 5000));
  cr_assert_not(tlx_glitch_add(&glitch, TLX_GLITCH_EMPTY, 5400));
  cr_assert(tlx_glitch_add(&glitch, TLX_GLITCH_EMPTY, 5900));
}

/* ---- deadlines ---- */

struct item {
  struct tlx_deadline deadline;
  struct tlx_deadlines *all;
  struct item *other; /* cleared when this one expires */
  unsigned n_expired;
};

static void expired(struct tlx_deadline *deadline) {
  struct item *item = (struct item *)deadline;
  item->n_expired++;
  if (item->other) tlx_deadline_clear(&item->other->deadline);
}

static void closed(void *arg) {
  *(bool *)arg = true;
}

Test(deadline, fires_once_in_time_and_survives_what_it_runs) {
  uv_loop_t loop;
  struct tlx_deadlines all;
  struct item items[4] = {0};
  bool is_closed = false;
  uv_loop_init(&loop);
  tlx_deadlines_init(&all, &loop, tlx_clock_system());
  uint64_t now_mono_ms = tlx_mono_ms(tlx_clock_system());
  for (int i = 0; i < 4; i++)
    items[i].deadline.expired = expired;
  items[0].other = &items[1];
  items[1].other = &items[0];
  tlx_deadline_set(&all, &items[0].deadline,
                   now_mono_ms); /* both due in one turn: one clears the other */
  tlx_deadline_set(&all, &items[1].deadline, now_mono_ms);
  tlx_deadline_set(&all, &items[2].deadline, now_mono_ms + 5);
  tlx_deadline_set(&all, &items[3].deadline, UINT64_MAX);
  uv_run(&loop, UV_RUN_DEFAULT);
  cr_assert_eq(items[0].n_expired + items[1].n_expired, 1);
  cr_assert_eq(items[2].n_expired, 1);
  cr_assert_eq(items[3].n_expired, 0);
  cr_assert_geq(tlx_mono_ms(tlx_clock_system()), now_mono_ms + 5);
  tlx_deadline_clear(&items[3].deadline);
  tlx_deadlines_close(&all, closed, &is_closed);
  uv_run(&loop, UV_RUN_DEFAULT);
  cr_assert(is_closed);
  cr_assert_eq(uv_loop_close(&loop), 0);
}
