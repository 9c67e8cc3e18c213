// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/live.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "console/limits.h"
#include "console/reasons.h"
#include "telovix/v1/sensor.pb-c.h"

/* live.c over calls that do what the test says, so that every edge of a stream is reached. */

#define MONO_START 100000ull
#define WALL_START 1700000000000ull

/* ---- calls ---- */

struct tlx_call {
  int n_refs, n_sent, n_ended;
  size_t queued;
  int send_err;
  bool cut_when_sending;
  struct tlx_call *cut_when_failing; /* of the same connection */
  struct tlx_status failed;
  void (*cancelled)(struct tlx_call *, void *);
  void (*writable)(struct tlx_call *, void *);
  void *cancelled_arg, *writable_arg;
};

struct tlx_call *tlx_call_ref(struct tlx_call *call) {
  call->n_refs++;
  return call;
}

void tlx_call_unref(struct tlx_call *call) {
  cr_assert_gt(call->n_refs, 0);
  call->n_refs--;
}

void tlx_call_on_cancel(struct tlx_call *call, void (*cb)(struct tlx_call *, void *), void *arg) {
  call->cancelled = cb;
  call->cancelled_arg = arg;
}

void tlx_call_on_writable(struct tlx_call *call, void (*cb)(struct tlx_call *, void *), void *arg) {
  call->writable = cb;
  call->writable_arg = arg;
}

size_t tlx_call_queued(const struct tlx_call *call) {
  return call->queued;
}

static void cut(struct tlx_call *call) {
  void (*cancelled)(struct tlx_call *, void *) = call->cancelled;
  call->cancelled = NULL;
  call->send_err = TLX_E_CLOSED;
  if (cancelled) cancelled(call, call->cancelled_arg);
}

int tlx_call_send(struct tlx_call *call, const ProtobufCMessage *message) {
  cr_assert_eq(message->descriptor, &telovix__v1__wake_message__descriptor);
  cr_assert_gt(call->n_refs, 0);
  if (call->cut_when_sending) cut(call);
  if (call->send_err) return call->send_err;
  call->n_sent++;
  return 0;
}

void tlx_call_end(struct tlx_call *call) {
  call->n_ended++;
}

void tlx_call_fail(struct tlx_call *call, const struct tlx_status *status) {
  call->n_ended++;
  call->failed = *status;
  cr_assert_null(call->cancelled, "a call that we end is not cancelled");
  if (call->cut_when_failing) cut(call->cut_when_failing);
}

/* ---- a Console's view ---- */

static struct tlx_clock_fake fake;
static struct live *live;

static void start(void) {
  tlx_clock_fake_init(&fake, WALL_START, MONO_START, 0);
  cr_assert_eq(live_new(&fake.clock, &live), 0);
}

static void stop(void) {
  live_free(live);
  live = NULL;
}

TestSuite(live, .init = start, .fini = stop);

/* What the handler of the wake stream does. */
static void on_cancelled(struct tlx_call *call, void *arg) {
  tlx_call_ref(call);
  live_drop_wake(live, arg, call);
  tlx_call_end(call);
  tlx_call_unref(call);
}

static void open_stream(struct live_sensor *sensor, struct tlx_call *call) {
  tlx_call_on_cancel(call, on_cancelled, sensor);
  live_set_wake(live, sensor, call);
}

/* ---- the table ---- */

Test(live, found_once_it_was_asked_for) {
  cr_assert_null(live_find(live, "sensor_a"));
  struct live_sensor *sensor = live_get(live, "sensor_a");
  cr_assert(sensor);
  cr_assert_str_eq(sensor->sensor_id, "sensor_a");
  cr_assert_not(sensor->seen_since_start);
  cr_assert_eq(live_get(live, "sensor_a"), sensor);
  cr_assert_eq(live_find(live, "sensor_a"), sensor);
  cr_assert_null(live_find(live, "sensor_"));
  cr_assert_null(live_find(live, "sensor_ab"));
  cr_assert_null(live_find(live, ""));
}

static void count(void *arg, struct live_sensor *sensor) {
  *(size_t *)arg += sensor->n_conns;
}

Test(live, each_of_many_is_visited) {
  size_t n = 0;
  char id[32];
  live_each(live, count, &n);
  cr_assert_eq(n, 0);
  for (int i = 0; i < 1000; i++) {
    snprintf(id, sizeof id, "sensor_%d", i);
    live_get(live, id)->n_conns = 1;
  }
  live_each(live, count, &n);
  cr_assert_eq(n, 1000);
  for (int i = 0; i < 1000; i++) {
    snprintf(id, sizeof id, "sensor_%d", i);
    cr_assert_str_eq(live_find(live, id)->sensor_id, id, "pointers stay when the table grows");
  }
}

/* ---- memory ---- */

static int allocations_left = -1; /* negative: as many as wanted */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);

static bool may_allocate(void) {
  return allocations_left < 0 || allocations_left-- > 0;
}

void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) {
  return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size) {
  return may_allocate() ? __real_calloc(n, size) : NULL;
}

Test(live, out_of_memory_at_every_step) {
  struct live *other = NULL;
  allocations_left = 0;
  int err = live_new(&fake.clock, &other);
  allocations_left = -1;
  cr_assert_eq(err, -ENOMEM);
  cr_assert_null(other);
  /* The entry, the table, its buckets; then the table grows. */
  int n_failed = 0;
  for (int i = 0; i < 500; i++) {
    struct live_sensor *sensor = NULL;
    char id[32];
    snprintf(id, sizeof id, "sensor_%d", i);
    for (int n = 0; !sensor; n++) {
      allocations_left = n;
      sensor = live_get(live, id);
      allocations_left = -1;
      if (!sensor) {
        n_failed++;
        cr_assert_null(live_find(live, id));
        if (i > 0) cr_assert(live_find(live, "sensor_0"), "the others stay");
      }
    }
    cr_assert_eq(live_find(live, id), sensor);
  }
  cr_assert_gt(n_failed, 500 + 2, "more than the entry alone can fail");
}

Test(live, out_of_memory_forgets_no_change) {
  uint8_t boot_id[16] = {3};
  struct tlx_sensor_seen *list;
  live_touch(live, live_get(live, "sensor_a"), boot_id, 7, "192.0.2.1");
  allocations_left = 0;
  size_t n = live_take_dirty(live, &list);
  allocations_left = -1;
  cr_assert_eq(n, 0);
  cr_assert_null(list);
  cr_assert_eq(live_take_dirty(live, &list), 1);
  free(list);
}

/* ---- heartbeats ---- */

Test(live, a_heartbeat_is_remembered) {
  uint8_t boot_id[16] = {3, 4};
  struct health_input input = {0};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  live_health_input(live, NULL, &input);
  live_health_input(live, sensor, &input);
  cr_assert_not(input.seen_since_start);
  tlx_clock_fake_advance(&fake, 5);
  live_touch(live, sensor, boot_id, 77, "2001:db8::1");
  live_usage(live, sensor, 123, 5, 0);
  cr_assert_eq(sensor->last_seen_wall_ms, WALL_START + 5);
  cr_assert_str_eq(sensor->peer_address, "2001:db8::1");
  live_health_input(live, sensor, &input);
  cr_assert(input.seen_since_start);
  cr_assert_eq(input.last_seen_mono_ms, MONO_START + 5);
  cr_assert_eq(input.rss_bytes, 123);
  sensor->cpu_permille = 9;
  sensor->last_error_line_mono_ms = 8;
  live_health_input(live, sensor, &input);
  cr_assert_eq(input.cpu_permille, 9);
  cr_assert_eq(input.last_error_line_mono_ms, 8);
}

Test(live, baseline_is_aged_and_never_rounded_up) {
  uint8_t boot_id[16] = {3}, got[16] = {9};
  uint64_t boot_ns = 1;
  struct live_sensor *sensor = live_get(live, "sensor_a");
  cr_assert_not(live_baseline(live, sensor, got, &boot_ns), "nothing was heard");
  cr_assert_eq(boot_ns, 1, "untouched");
  cr_assert_eq(got[0], 9, "untouched");
  live_touch(live, sensor, boot_id, 5000000000, "192.0.2.1");
  static const struct {
    uint64_t age_ms, least_ms, most_ms;
  } cases[] = {{0, 0, 0},
               {1, 0, 1},
               {100, 98, 100},
               {BASELINE_AGE_MAX_MS, BASELINE_AGE_MAX_MS - 2, BASELINE_AGE_MAX_MS},
               {BASELINE_AGE_MAX_MS + 1, BASELINE_AGE_MAX_MS, BASELINE_AGE_MAX_MS},
               {10 * BASELINE_AGE_MAX_MS, BASELINE_AGE_MAX_MS, BASELINE_AGE_MAX_MS}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    fake.mono_now_ms = MONO_START + cases[i].age_ms;
    cr_assert(live_baseline(live, sensor, got, &boot_ns));
    cr_assert_arr_eq(got, boot_id, 16);
    cr_assert_geq(boot_ns, 5000000000 + cases[i].least_ms * 1000000, "case %zu", i);
    cr_assert_leq(boot_ns, 5000000000 + cases[i].most_ms * 1000000, "case %zu", i);
  }
}

Test(live, what_changed_is_taken_once) {
  uint8_t boot_id[16] = {3};
  struct tlx_sensor_seen *list;
  cr_assert_eq(live_take_dirty(live, &list), 0);
  free(list);
  live_touch(live, live_get(live, "sensor_a"), boot_id, 7, "192.0.2.1");
  live_get(live, "sensor_b");
  cr_assert_eq(live_take_dirty(live, &list), 1);
  cr_assert_str_eq(list[0].sensor_id, "sensor_a");
  cr_assert_eq(list[0].last_seen_wall_ms, WALL_START);
  cr_assert_eq(list[0].boot_ns, 7);
  cr_assert_arr_eq(list[0].boot_id, boot_id, 16);
  cr_assert_str_eq(list[0].peer_address, "192.0.2.1");
  free(list);
  cr_assert_eq(live_take_dirty(live, &list), 0);
  free(list);
  live_touch(live, live_get(live, "sensor_a"), boot_id, 8, "192.0.2.1");
  live_touch(live, live_get(live, "sensor_b"), boot_id, 9, "192.0.2.2");
  cr_assert_eq(live_take_dirty(live, &list), 2);
  free(list);
}

/* ---- usage ---- */

Test(live, cpu_over_a_minute) {
  struct live_sensor *sensor = live_get(live, "sensor_a");
  live_usage(live, sensor, 1000, 5000, 0);
  cr_assert_eq(sensor->cpu_permille, 0);
  tlx_clock_fake_advance(&fake, 59999);
  live_usage(live, sensor, 1000, 5000 + 30000, 0);
  cr_assert_eq(sensor->cpu_permille, 0, "not a minute yet");
  tlx_clock_fake_advance(&fake, 1);
  live_usage(live, sensor, 2000, 5000 + 15000, 0);
  cr_assert_eq(sensor->cpu_permille, 250);
  cr_assert_eq(sensor->rss_bytes, 2000);
  tlx_clock_fake_advance(&fake, 60000);
  live_usage(live, sensor, 1000, 5000 + 15000 + 600, 0);
  cr_assert_eq(sensor->cpu_permille, 10, "of the last minute alone");
  /* A restart of the sensor counts from zero again. */
  tlx_clock_fake_advance(&fake, 60000);
  live_usage(live, sensor, 1000, 10, 0);
  cr_assert_eq(sensor->cpu_permille, 0);
  tlx_clock_fake_advance(&fake, 60000);
  live_usage(live, sensor, 1000, 10 + 60, 0);
  cr_assert_eq(sensor->cpu_permille, 1);
}

Test(live, error_lines) {
  struct live_sensor *sensor = live_get(live, "sensor_a");
  live_usage(live, sensor, 1, 1, 7);
  cr_assert_eq(sensor->last_error_line_mono_ms, 0, "old ones are no news after our own start");
  tlx_clock_fake_advance(&fake, 10);
  live_usage(live, sensor, 1, 2, 7);
  cr_assert_eq(sensor->last_error_line_mono_ms, 0);
  tlx_clock_fake_advance(&fake, 10);
  live_usage(live, sensor, 1, 3, 8);
  cr_assert_eq(sensor->last_error_line_mono_ms, MONO_START + 20);
  tlx_clock_fake_advance(&fake, 10);
  live_usage(live, sensor, 1, 0, 0);
  cr_assert_eq(sensor->last_error_line_mono_ms, MONO_START + 20, "a start without errors");
  live_usage(live, sensor, 1, 0, 5);
  tlx_clock_fake_advance(&fake, 10);
  live_usage(live, sensor, 1, 0, 2);
  cr_assert_eq(sensor->last_error_line_mono_ms, MONO_START + 40, "a start with errors");
}

/* ---- wake ---- */

Test(live, a_wake_goes_out_at_once) {
  struct tlx_call call = {.n_refs = 1};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  open_stream(sensor, &call);
  cr_assert_eq(call.n_refs, 2);
  cr_assert_eq(call.n_sent, 0, "nothing was wanted yet");
  live_wake(live, "sensor_a");
  cr_assert_eq(call.n_sent, 1);
  cr_assert_not(sensor->wake_pending);
  live_wake(live, "sensor_b");
  cr_assert_eq(call.n_sent, 1);
  cr_assert_null(live_find(live, "sensor_b"), "an unknown sensor is not made");
  live_drop_wake(live, sensor, &call);
  cr_assert_eq(call.n_refs, 1);
  cr_assert_null(call.cancelled);
  cr_assert_null(call.writable);
}

Test(live, a_change_on_its_way_wakes_and_is_counted) {
  struct tlx_call call = {.n_refs = 1};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  bool woken = true;
  cr_assert(live_changing(live, "sensor_a", &woken));
  cr_assert_not(woken, "no stream: nobody comes");
  cr_assert_eq(sensor->n_changing, 1);
  open_stream(sensor, &call);
  cr_assert_eq(call.n_sent, 1, "the wake was remembered");
  cr_assert(live_changing(live, "sensor_a", &woken));
  cr_assert(woken);
  cr_assert_eq(call.n_sent, 2);
  cr_assert_eq(sensor->n_changing, 2);
  live_changed(live, "sensor_a");
  live_changed(live, "sensor_a");
  cr_assert_eq(sensor->n_changing, 0);
  cr_assert_not(live_changing(live, "sensor_b", &woken));
  cr_assert_null(live_find(live, "sensor_b"), "an unknown sensor is not made");
  live_drop_wake(live, sensor, &call);
}

Test(live, a_wake_before_the_stream_is_remembered) {
  struct tlx_call call = {.n_refs = 1};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  live_wake(live, "sensor_a");
  live_wake(live, "sensor_a");
  cr_assert(sensor->wake_pending);
  open_stream(sensor, &call);
  cr_assert_eq(call.n_sent, 1, "one bit, one message");
  cr_assert_not(sensor->wake_pending);
  live_drop_wake(live, sensor, &call);
}

Test(live, a_busy_stream_gets_one_wake_when_it_is_free) {
  struct tlx_call call = {.n_refs = 1, .queued = 5};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  open_stream(sensor, &call);
  live_wake(live, "sensor_a");
  live_wake(live, "sensor_a");
  cr_assert_eq(call.n_sent, 0);
  cr_assert(sensor->wake_pending);
  call.queued = 0;
  call.writable(&call, call.writable_arg);
  cr_assert_eq(call.n_sent, 1);
  cr_assert_not(sensor->wake_pending);
  call.writable(&call, call.writable_arg);
  cr_assert_eq(call.n_sent, 1, "nothing more was pending");
  live_drop_wake(live, sensor, &call);
}

Test(live, a_newer_stream_replaces_the_older) {
  struct tlx_call old = {.n_refs = 1}, young = {.n_refs = 1};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  open_stream(sensor, &old);
  open_stream(sensor, &young);
  cr_assert_eq(old.n_ended, 1);
  cr_assert_eq(old.failed.code, TLX_GRPC_ABORTED);
  cr_assert_str_eq(old.failed.reason, "wake_replaced");
  cr_assert_eq(old.n_refs, 1);
  cr_assert_null(old.writable);
  live_wake(live, "sensor_a");
  cr_assert_eq(old.n_sent, 0);
  cr_assert_eq(young.n_sent, 1);
  live_drop_wake(live, sensor, &old);
  cr_assert_eq(sensor->wake, &young, "the older one's end says nothing of the newer");
  cr_assert_eq(old.n_refs, 1);
  live_drop_wake(live, sensor, &young);
  live_drop_wake(live, sensor, &young);
  cr_assert_eq(young.n_refs, 1);
  cr_assert_eq(young.n_ended, 0, "the handler ends it");
}

Test(live, what_was_pending_on_the_older_goes_to_the_newer) {
  struct tlx_call old = {.n_refs = 1, .queued = 5}, young = {.n_refs = 1};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  open_stream(sensor, &old);
  live_wake(live, "sensor_a");
  open_stream(sensor, &young);
  cr_assert_eq(young.n_sent, 1);
  live_drop_wake(live, sensor, &young);
}

Test(live, the_end_of_the_older_may_take_the_newer_along) {
  struct tlx_call young = {.n_refs = 1},
                  old = {.n_refs = 1, .queued = 5, .cut_when_failing = &young};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  open_stream(sensor, &old);
  live_wake(live, "sensor_a");
  open_stream(sensor, &young);
  cr_assert_null(sensor->wake);
  cr_assert_eq(young.n_sent, 0);
  cr_assert_eq(young.n_ended, 1);
  cr_assert_eq(young.n_refs, 1);
  cr_assert_eq(old.n_refs, 1);
  cr_assert(sensor->wake_pending, "for the next stream");
}

Test(live, a_deleted_sensor_is_forgotten) {
  struct tlx_call call = {0};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  cr_assert(sensor && live_get(live, "sensor_b"));
  cr_assert_eq(live_engine_report(sensor, "xyz", 3, "reason"), 0);
  open_stream(sensor, &call);
  live_remove(live, "sensor_a");
  cr_assert_eq(call.n_ended, 1);
  cr_assert_eq(call.n_refs, 0);
  cr_assert_null(call.cancelled);
  cr_assert_null(live_find(live, "sensor_a"));
  cr_assert(live_find(live, "sensor_b"));
  live_remove(live, "sensor_a");
  live_remove(live, "");
  /* Its id begins anew. */
  sensor = live_get(live, "sensor_a");
  cr_assert(sensor);
  cr_assert_not(sensor->seen_since_start);
  live_remove(live, "sensor_a");
}

Test(live, a_cancelled_stream_is_dropped) {
  struct tlx_call call = {.n_refs = 1};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  open_stream(sensor, &call);
  cut(&call);
  cr_assert_null(sensor->wake);
  cr_assert_eq(call.n_refs, 1);
  cr_assert_eq(call.n_ended, 1);
  live_wake(live, "sensor_a");
  cr_assert(sensor->wake_pending);
}

Test(live, a_stream_that_dies_while_sending_is_dropped_once) {
  struct tlx_call call = {.n_refs = 1, .cut_when_sending = true};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  open_stream(sensor, &call);
  live_wake(live, "sensor_a");
  cr_assert_null(sensor->wake);
  cr_assert_eq(call.n_ended, 1);
  cr_assert_eq(call.n_refs, 1);
  cr_assert(sensor->wake_pending);
}

Test(live, a_stream_that_was_gone_before_it_could_tell_is_dropped) {
  struct tlx_call gone = {.n_refs = 1, .send_err = TLX_E_CLOSED}, next = {.n_refs = 1};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  live_wake(live, "sensor_a");
  open_stream(sensor, &gone);
  cr_assert_null(sensor->wake);
  cr_assert_eq(gone.n_ended, 1, "nobody else would end the handler's side");
  cr_assert_eq(gone.n_refs, 1);
  open_stream(sensor, &next);
  cr_assert_eq(next.n_sent, 1);
  live_drop_wake(live, sensor, &next);
}

Test(live, a_wake_that_could_not_be_sent_is_not_lost) {
  static const int errors[] = {-ENOMEM, TLX_E_LIMIT};
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    struct tlx_call call = {.n_refs = 1, .send_err = errors[i]};
    struct live_sensor *sensor = live_get(live, "sensor_a");
    sensor->wake_pending = false;
    open_stream(sensor, &call);
    live_wake(live, "sensor_a");
    cr_assert(sensor->wake_pending);
    cr_assert_eq(sensor->wake, &call, "the stream itself stands");
    cr_assert_eq(call.n_ended, 0);
    call.send_err = 0;
    call.writable(&call, call.writable_arg);
    cr_assert_eq(call.n_sent, 1);
    live_drop_wake(live, sensor, &call);
    cr_assert_eq(call.n_refs, 1);
  }
}

/* ---- enforcement ---- */

#define SECOND_NS 1000000000ull

static struct live_sensor *beaten(uint64_t boot_ns, const struct live_beat *beat) {
  static const uint8_t boot_id[16] = {1};
  struct live_sensor *sensor = live_get(live, "sensor_a");
  live_touch(live, sensor, boot_id, boot_ns, "192.0.2.1");
  live_beat(live, sensor, beat);
  return sensor;
}

static struct health_input input_of(const struct live_sensor *sensor) {
  struct health_input input = {0};
  live_health_input(live, sensor, &input);
  return input;
}

Test(live, times_of_the_host_are_put_on_our_clocks) {
  struct live_beat beat = {.has_beat = true,
                           .state = 3,
                           .verified_boot_ns = 997 * SECOND_NS,
                           .repaired_boot_ns = 900 * SECOND_NS};
  struct live_sensor *sensor = beaten(1000 * SECOND_NS, &beat);
  cr_assert_eq(sensor->engine.verified_wall_ms, WALL_START - 3000);
  cr_assert_eq(sensor->engine.verified_age_ms, 3000);
  cr_assert_eq(sensor->engine.tampered_until_mono_ms, MONO_START + 800000);
  /* 15 minutes, and not a millisecond more. */
  beat.repaired_boot_ns = 100 * SECOND_NS;
  sensor = beaten(1000 * SECOND_NS, &beat);
  cr_assert_eq(sensor->engine.tampered_until_mono_ms, 0);
  beat.repaired_boot_ns += 1000000;
  sensor = beaten(1000 * SECOND_NS, &beat);
  cr_assert_eq(sensor->engine.tampered_until_mono_ms, MONO_START + 1);
  /* From the host's future: now. */
  beat.repaired_boot_ns = beat.verified_boot_ns = 2000 * SECOND_NS;
  sensor = beaten(1000 * SECOND_NS, &beat);
  cr_assert_eq(sensor->engine.verified_wall_ms, WALL_START);
  cr_assert_eq(sensor->engine.tampered_until_mono_ms, MONO_START + 900000);
  /* Never, and unsaid. */
  beat.repaired_boot_ns = beat.verified_boot_ns = 0;
  sensor = beaten(1000 * SECOND_NS, &beat);
  cr_assert_eq(sensor->engine.verified_wall_ms + sensor->engine.tampered_until_mono_ms, 0);
}

Test(live, a_proof_counts_when_what_it_proves_is_stored) {
  static const uint8_t boot_id[16] = {1}, other_boot[16] = {2};
  struct live_beat beat = {.has_beat = true, .verified_boot_ns = 999 * SECOND_NS};
  struct live_sensor *sensor = beaten(1000 * SECOND_NS, &beat);
  const struct live_engine *engine = &sensor->engine;
  /* It comes with a report that has to be stored first: what was proved before goes on ageing. */
  tlx_clock_fake_advance(&fake, 5000);
  beat.proof_waits = true;
  beat.verified_boot_ns = 1004 * SECOND_NS;
  beaten(1005 * SECOND_NS, &beat);
  cr_assert_eq(engine->verified_wall_ms, WALL_START - 1000);
  cr_assert_eq(engine->verified_age_ms, 6000);
  /* That one never was stored. The next is. */
  tlx_clock_fake_advance(&fake, 5000);
  beat.verified_boot_ns = 1007 * SECOND_NS;
  beaten(1010 * SECOND_NS, &beat);
  cr_assert_eq(engine->verified_age_ms, 11000);
  live_verified(sensor, other_boot, 1010 * SECOND_NS, 1007 * SECOND_NS);
  live_verified(sensor, boot_id, 1005 * SECOND_NS, 1004 * SECOND_NS);
  live_verified(sensor, boot_id, 1010 * SECOND_NS, 0);
  cr_assert_eq(engine->verified_age_ms, 11000, "of another boot, of a former one, and none");
  live_verified(sensor, boot_id, 1010 * SECOND_NS, 1007 * SECOND_NS);
  cr_assert_eq(engine->verified_wall_ms, WALL_START + 7000);
  cr_assert_eq(engine->verified_age_ms, 3000);
  /* That it is not verified any more is true at once, and stays so when what was sent before is
   * stored. */
  beat.verified_boot_ns = 0;
  beaten(1011 * SECOND_NS, &beat);
  live_verified(sensor, boot_id, 1010 * SECOND_NS, 1007 * SECOND_NS);
  cr_assert_eq(engine->verified_wall_ms, 0);
}

Test(live, what_a_beat_says_reaches_health) {
  struct live_beat beat = {.has_beat = true,
                           .state = 5,
                           .has_in_force = true,
                           .in_force = {.generation = 7},
                           .desired_rollback = true,
                           .coverage_partial = true};
  struct health_input input = input_of(beaten(1, &beat));
  cr_assert(input.is_engine_down && input.desired_rollback && input.coverage_partial);
  cr_assert_eq(input.in_force_generation, 7);
  beat.state = 3;
  cr_assert_not(input_of(beaten(1, &beat)).is_engine_down);
  /* A beat without the engine takes back what is not said any more. */
  beat = (struct live_beat){.has_beat = false, .state = 5};
  input = input_of(beaten(1, &beat));
  cr_assert_not(input.is_engine_down || input.desired_rollback || input.coverage_partial);
  cr_assert_not(live_find(live, "sensor_a")->engine.has_in_force);
}

Test(live, losses_are_added_up_while_they_come) {
  struct live_beat beat = {.has_counters = true, .events_lost = 100};
  struct health_input input = input_of(beaten(1, &beat));
  cr_assert_eq(input.last_event_loss_mono_ms, 0, "the first count may be days old");
  beat.events_lost = 103;
  input = input_of(beaten(1, &beat));
  cr_assert_eq(input.last_event_loss_mono_ms, MONO_START);
  cr_assert_eq(input.n_events_lost, 3);
  tlx_clock_fake_advance(&fake, 299999);
  beat.events_lost = 104;
  input = input_of(beaten(1, &beat));
  cr_assert_eq(input.n_events_lost, 4);
  cr_assert_eq(input_of(beaten(1, &beat)).last_event_loss_mono_ms, MONO_START + 299999, "no news");
  tlx_clock_fake_advance(&fake, 300000);
  /* The sensor started again: all of it is new; and the old sum is over. */
  beat.events_lost = 2;
  input = input_of(beaten(1, &beat));
  cr_assert_eq(input.n_events_lost, 2);
  beat.events_lost = 0;
  cr_assert_eq(input_of(beaten(1, &beat)).n_events_lost, 2);
}

Test(live, the_engine_report_is_kept) {
  struct live_sensor *sensor = live_get(live, "sensor_a");
  cr_assert_eq(live_engine_report(sensor, "abc", 3, "no_btf"), 0);
  cr_assert_eq(live_engine_report(sensor, "defgh", 5, ""), 0);
  cr_assert_eq(sensor->engine.report.len, 5);
  cr_assert_arr_eq(sensor->engine.report.data, "defgh", 5);
  cr_assert_str_eq(sensor->engine.reason, "");
}

Test(live, asked_for_everything_once_in_a_while) {
  struct live_sensor *sensor = live_get(live, "sensor_a");
  cr_assert(live_may_ask_all(live, sensor));
  cr_assert_not(live_may_ask_all(live, sensor));
  tlx_clock_fake_advance(&fake, REPORT_ALL_INTERVAL_MS - 1);
  cr_assert_not(live_may_ask_all(live, sensor));
  tlx_clock_fake_advance(&fake, 1);
  cr_assert(live_may_ask_all(live, sensor));
}

Test(live, budget_of_tampering) {
  struct live_sensor *sensor = live_get(live, "sensor_a");
  cr_assert_eq(live_tamper_budget(live, sensor), TAMPER_AUDITS_PER_MIN);
  sensor->engine.n_tamper_audits = TAMPER_AUDITS_PER_MIN - 1;
  cr_assert_eq(live_tamper_budget(live, sensor), 1);
  sensor->engine.n_tamper_audits += 5;
  cr_assert_eq(live_tamper_budget(live, sensor), 0);
  tlx_clock_fake_advance(&fake, 59999);
  cr_assert_eq(live_tamper_budget(live, sensor), 0);
  tlx_clock_fake_advance(&fake, 1);
  cr_assert_eq(live_tamper_budget(live, sensor), TAMPER_AUDITS_PER_MIN);
}

Test(live, names_are_compared_together) {
  struct live_name a = {.generation = 3}, b = a;
  cr_assert(live_name_equal(&a, &b));
  b.generation = 4;
  cr_assert_not(live_name_equal(&a, &b));
  b = a;
  b.epoch[15] = 1;
  cr_assert_not(live_name_equal(&a, &b));
  b = a;
  b.digest[31] = 1;
  cr_assert_not(live_name_equal(&a, &b));
}
