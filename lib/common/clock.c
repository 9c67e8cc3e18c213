// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/check.h"

static uint64_t read_ns(clockid_t id) {
  struct timespec now;
  /* These clocks exist on every kernel that we run on; without them no time-out would hold. */
  tlx_require(clock_gettime(id, &now) == 0);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#ifdef TLX_RELEASE
static int64_t moved_ms(void) {
  return 0;
}
#else
/* For tests of whole daemons: the file that TELOVIX_TEST_CLOCK names holds by how many milliseconds
 * the wall clock is wrong (a native int64), and may be changed while we run. A release knows no
 * such file. */
static const volatile int64_t *moved;

static void map_moved(void) {
  const char *path = getenv("TELOVIX_TEST_CLOCK");
  if (!path) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *moved, PROT_READ, MAP_SHARED, fd, 0);
  tlx_require(map != MAP_FAILED);
  close(fd);
  moved = map;
}

static int64_t moved_ms(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  tlx_require(pthread_once(&once, map_moved) == 0);
  return moved ? *moved : 0;
}
#endif

static uint64_t system_wall_ms(const struct tlx_clock *clock) {
  return (uint64_t)((int64_t)(read_ns(CLOCK_REALTIME) / 1000000) + moved_ms());
}
static uint64_t system_mono_ms(const struct tlx_clock *clock) {
  return read_ns(CLOCK_MONOTONIC) / 1000000;
}
static uint64_t system_boot_ns(const struct tlx_clock *clock) {
  return read_ns(CLOCK_BOOTTIME);
}

const struct tlx_clock *tlx_clock_system(void) {
  static const struct tlx_clock clock = {
      .wall_ms = system_wall_ms, .mono_ms = system_mono_ms, .boot_ns = system_boot_ns};
  return &clock;
}

/* `clock` is the first member, so that both pointers are the same address. */
static uint64_t fake_wall_ms(const struct tlx_clock *clock) {
  return ((const struct tlx_clock_fake *)clock)->wall_now_ms;
}
static uint64_t fake_mono_ms(const struct tlx_clock *clock) {
  return ((const struct tlx_clock_fake *)clock)->mono_now_ms;
}
static uint64_t fake_boot_ns(const struct tlx_clock *clock) {
  return ((const struct tlx_clock_fake *)clock)->boot_now_ns;
}

void tlx_clock_fake_init(struct tlx_clock_fake *fake, uint64_t wall_ms, uint64_t mono_ms,
                         uint64_t boot_ns) {
  *fake = (struct tlx_clock_fake){
      .clock = {.wall_ms = fake_wall_ms, .mono_ms = fake_mono_ms, .boot_ns = fake_boot_ns},
      .wall_now_ms = wall_ms,
      .mono_now_ms = mono_ms,
      .boot_now_ns = boot_ns};
}

void tlx_clock_fake_advance(struct tlx_clock_fake *fake, uint64_t ms) {
  fake->wall_now_ms += ms;
  fake->mono_now_ms += ms;
  fake->boot_now_ns += ms * 1000000;
}
