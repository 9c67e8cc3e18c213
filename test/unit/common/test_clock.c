// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/clock.h"

#include <criterion/criterion.h>
#include <time.h>

Test(clock, system_clocks_agree_with_the_kernel) {
  const struct tlx_clock *clock = tlx_clock_system();
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  uint64_t before_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
  uint64_t boot_ns = tlx_boot_ns(clock);
  cr_assert(boot_ns >= before_ns && boot_ns - before_ns < 10000000000);
  time_t wall = time(NULL);
  cr_assert(tlx_wall_ms(clock) / 1000 - (uint64_t)wall < 10);
  uint64_t first_mono_ms = tlx_mono_ms(clock);
  cr_assert(tlx_mono_ms(clock) >= first_mono_ms);
}

Test(clock, the_fake_moves_only_when_told) {
  struct tlx_clock_fake fake;
  tlx_clock_fake_init(&fake, 1000, 2000, 3000000);
  cr_assert_eq(tlx_wall_ms(&fake.clock), 1000);
  tlx_clock_fake_advance(&fake, 7);
  cr_assert_eq(tlx_wall_ms(&fake.clock), 1007);
  cr_assert_eq(tlx_mono_ms(&fake.clock), 2007);
  cr_assert_eq(tlx_boot_ns(&fake.clock), 10000000);
}
