// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/clock.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

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

static uint64_t distance(uint64_t a, uint64_t b) {
  return a > b ? a - b : b - a;
}

/* Each test is a process of its own: nobody has asked for the time yet. */
Test(clock, tests_of_daemons_move_the_wall_clock_alone) {
  char path[] = "/tmp/telovix-clock-XXXXXX";
  int64_t moved_ms = -400ll * 86400 * 1000;
  int fd = mkstemp(path);
  cr_assert_geq(fd, 0);
  cr_assert_eq(write(fd, &moved_ms, sizeof moved_ms), sizeof moved_ms);
  cr_assert_eq(setenv("TELOVIX_TEST_CLOCK", path, 1), 0);
  uint64_t real_wall_ms = (uint64_t)time(NULL) * 1000;
  const struct tlx_clock *clock = tlx_clock_system();
#ifdef TLX_RELEASE
  uint64_t want_wall_ms = real_wall_ms;
#else
  uint64_t want_wall_ms = real_wall_ms - 400ull * 86400 * 1000;
#endif
  cr_assert_lt(distance(tlx_wall_ms(clock), want_wall_ms), 10000);
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  cr_assert_lt(distance(tlx_mono_ms(clock), (uint64_t)now.tv_sec * 1000), 10000);
  moved_ms = 0;
  cr_assert_eq(pwrite(fd, &moved_ms, sizeof moved_ms, 0), sizeof moved_ms);
  cr_assert_lt(distance(tlx_wall_ms(clock), real_wall_ms), 10000, "while it runs");
  close(fd);
  unlink(path);
}
