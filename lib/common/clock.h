// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdint.h>

/* The three clocks, behind one pointer so that tests can turn them. Wall time is for people and
 * certificates, monotonic time for time-outs, boot time (counts suspend) for the identity of
 * processes. */
struct tlx_clock {
  uint64_t (*wall_ms)(const struct tlx_clock *clock); /* since 1970-01-01 UTC */
  uint64_t (*mono_ms)(const struct tlx_clock *clock); /* CLOCK_MONOTONIC */
  uint64_t (*boot_ns)(const struct tlx_clock *clock); /* CLOCK_BOOTTIME */
};

/* The host's clocks. Static storage; any thread. */
const struct tlx_clock *tlx_clock_system(void);

/* A clock that only moves when told. Embed it, pass &fake.clock. */
struct tlx_clock_fake {
  struct tlx_clock clock;
  uint64_t wall_now_ms, mono_now_ms, boot_now_ns;
};
/* Sets all three clocks to the given times; |fake| must outlive whoever got &fake->clock. Tests. */
void tlx_clock_fake_init(struct tlx_clock_fake *fake, uint64_t wall_ms, uint64_t mono_ms,
                         uint64_t boot_ns);
/* Moves all three forward by |ms|. One thread: nothing guards the fields. */
void tlx_clock_fake_advance(struct tlx_clock_fake *fake, uint64_t ms);

/* The time now. Any thread with the system clock; a clock that the kernel cannot read ends the
 * process (tlx_require), because no time-out would hold without it. */
static inline uint64_t tlx_wall_ms(const struct tlx_clock *clock) {
  return clock->wall_ms(clock);
}
static inline uint64_t tlx_mono_ms(const struct tlx_clock *clock) {
  return clock->mono_ms(clock);
}
static inline uint64_t tlx_boot_ns(const struct tlx_clock *clock) {
  return clock->boot_ns(clock);
}
