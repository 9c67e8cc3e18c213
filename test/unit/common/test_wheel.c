// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/wheel.h"

#include <criterion/criterion.h>

static unsigned n_fired;
static void count(struct tlx_wheel_timer *timer) {
  n_fired++;
}

Test(wheel, fires_between_its_time_and_a_second_later) {
  struct tlx_wheel wheel;
  struct tlx_wheel_timer timer;
  tlx_wheel_init(&wheel, 10000);
  tlx_wheel_timer_init(&timer, count);
  tlx_wheel_arm(&wheel, &timer, 12500);
  for (uint64_t now_mono_ms = 10000; now_mono_ms < 12500; now_mono_ms += 100) {
    tlx_wheel_turn(&wheel, now_mono_ms);
    cr_assert_eq(n_fired, 0, "at %llu", (unsigned long long)now_mono_ms);
  }
  tlx_wheel_turn(&wheel, 13500);
  cr_assert_eq(n_fired, 1);
  cr_assert_not(tlx_wheel_armed(&timer));
}

Test(wheel, far_times_and_disarm) {
  struct tlx_wheel wheel;
  struct tlx_wheel_timer near, far;
  n_fired = 0;
  tlx_wheel_init(&wheel, 0);
  tlx_wheel_timer_init(&near, count);
  tlx_wheel_timer_init(&far, count);
  tlx_wheel_arm(&wheel, &near, 5000);
  tlx_wheel_arm(&wheel, &far, 5000 + TLX_WHEEL_SLOTS * 1000ull); /* the same slot, one turn later */
  tlx_wheel_turn(&wheel, 7000);
  cr_assert_eq(n_fired, 1);
  cr_assert(tlx_wheel_armed(&far));
  tlx_wheel_disarm(&far);
  tlx_wheel_disarm(&far);
  tlx_wheel_turn(&wheel, 2000000);
  cr_assert_eq(n_fired, 1);
  tlx_wheel_arm(&wheel, &near, 2005000);
  tlx_wheel_arm(&wheel, &near, 2010000);
  tlx_wheel_turn(&wheel, 2007000);
  cr_assert_eq(n_fired, 1, "arming again moves it");
  tlx_wheel_turn(&wheel, 2011500);
  cr_assert_eq(n_fired, 2);
}
