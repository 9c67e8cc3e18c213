// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_event.h"

#include <criterion/criterion.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../harness/loop.h"
#include "bed.h"

static struct bed bed;

static void begin(void) {
  bed_begin(&bed);
  bed_engine(&bed);
}
static void end(void) {
  bed_end(&bed);
}
TestSuite(event, .init = begin, .fini = end);

struct seen {
  struct tlx_event last;
  unsigned n, wanted;
  uv_loop_t *loop;
};
static void on_event(void *arg, const struct tlx_event *event) {
  struct seen *seen = arg;
  if (event->slot == TLX_SLOT_CANARY) return;
  seen->last = *event;
  if (++seen->n == seen->wanted) uv_stop(seen->loop);
}
static void on_limit(uv_timer_t *timer) {
  uv_stop(timer->loop);
}

/* Runs the loop until |wanted| events came, 10 s at most. */
static void run(struct seen *seen, unsigned wanted) {
  struct bpf_event *reader = NULL;
  uv_loop_t loop;
  uv_timer_t limit;
  cr_assert_eq(uv_loop_init(&loop), 0);
  *seen = (struct seen){.wanted = wanted, .loop = &loop};
  cr_assert_eq(bpf_event_new(&loop, bpf_object_events_fd(bed.object), on_event, seen, &reader), 0);
  uv_timer_init(&loop, &limit);
  uv_timer_start(&limit, on_limit, 10000, 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  bpf_event_close(reader);
  uv_close((uv_handle_t *)&limit, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  cr_expect_eq(uv_loop_close(&loop), 0);
}

static uint64_t boot_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

Test(event, a_blocked_execution_is_told) {
  struct seen seen;
  bed_rule_file(&bed, bed.program, 5, TLX_MODE_ENFORCE);
  bed_publish(&bed);
  uint64_t before = boot_ns();
  cr_assert_eq(bed_exec(&bed, bed.program), bed_stopped(&bed));
  run(&seen, 1);
  cr_assert_eq(seen.n, 1);
  const struct tlx_exec_key *key = &bed.entries[bed.n_entries - 1].key;
  cr_expect_eq(seen.last.type, TLX_EVENT_EXEC);
  cr_expect_eq(seen.last.action,
               bed.backend == BPF_BACKEND_TRACEPOINT ? TLX_ACTION_KILLED : TLX_ACTION_DENIED);
  cr_expect_eq(seen.last.slot, 5);
  cr_expect_eq(seen.last.kind, TLX_KEY_FILE);
  cr_expect_eq(seen.last.dev, key->dev);
  cr_expect_eq(seen.last.ino, key->ino);
  cr_expect_eq(seen.last.uid, 0);
  cr_expect_gt(seen.last.pid, 0);
  cr_expect_eq(seen.last.parent_pid, (uint32_t)getpid());
  cr_expect_geq(seen.last.boot_ns, before);
  cr_expect_leq(seen.last.boot_ns, boot_ns());
  cr_expect_eq(strnlen(seen.last.comm, sizeof seen.last.comm) < sizeof seen.last.comm, 1);
}

Test(event, an_observed_execution_is_told_as_what_it_is) {
  struct seen seen;
  bed_rule_file(&bed, bed.program, 6, TLX_MODE_OBSERVE);
  bed_publish(&bed);
  cr_assert_eq(bed_exec(&bed, bed.program), BED_ALIVE);
  run(&seen, 1);
  cr_assert_eq(seen.n, 1);
  cr_expect_eq(seen.last.action, TLX_ACTION_WOULD);
  cr_expect_eq(seen.last.slot, 6);
}

/* More than the ring holds: what was lost is counted, and nothing that is stopped depends on it. */
Test(event, a_full_ring_loses_events_and_counts_them) {
  enum { FITS = TLX_EVENTS_SIZE / (sizeof(struct tlx_event) + 8), MORE = FITS + 100 };
  struct seen seen;
  struct tlx_stats stats;
  bed_rule_file(&bed, bed.program, 7, TLX_MODE_ENFORCE);
  bed_publish(&bed);
  struct bed_hammer *hammer = bed_hammer_begin(&bed, bed.program);
  while (bed_count(&bed, 7).acted < MORE)
    bed_hammer_wait(hammer, 1);
  cr_expect_eq(bed_hammer_end(hammer), 0);
  cr_assert_eq(bpf_maps_stats(bed.object, &stats), 0);
  uint64_t told = stats.acted - stats.failed[TLX_HELPER_EVENT];
  cr_expect_gt(stats.failed[TLX_HELPER_EVENT], 0);
  cr_expect_leq(told, FITS);
  run(&seen, (unsigned)told);
  cr_expect_eq(seen.n, told);
}
