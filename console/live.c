// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* uthash ends the process otherwise; one sensor less in memory is no reason to. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "common/err.h"
#include "console/limits.h"
#include "console/reasons.h"
#include "telovix/v1/sensor.pb-c.h"

/* CPU use is judged over this time (spec §3, resource_pressure). */
#define CPU_WINDOW_MS 60000u
/* Losses are added up while there are new ones within this time (spec §3, event_loss). */
#define LOSS_WINDOW_MS 300000u

#define ENGINE_DOWN 5u /* telovix.v1.EngineState */

struct entry {
  struct live_sensor sensor; /* first: callers hold pointers to it */
  UT_hash_handle hh;
};

struct live {
  const struct tlx_clock *clock;
  struct entry *entries;
};

int live_new(const struct tlx_clock *clock, struct live **ret_live) {
  struct live *live = calloc(1, sizeof *live);
  if (!live) return -ENOMEM;
  live->clock = clock;
  *ret_live = live;
  return 0;
}

void live_free(struct live *live) {
  struct entry *entry, *next;
  if (!live) return;
  HASH_ITER(hh, live->entries, entry, next) {
    HASH_DEL(live->entries, entry);
    tlx_buf_done(&entry->sensor.engine.report);
    free(entry);
  }
  free(live);
}

struct live_sensor *live_find(struct live *live, const char *sensor_id) {
  struct entry *entry;
  HASH_FIND(hh, live->entries, sensor_id, strlen(sensor_id), entry);
  return entry ? &entry->sensor : NULL;
}

struct live_sensor *live_get(struct live *live, const char *sensor_id) {
  struct live_sensor *sensor = live_find(live, sensor_id);
  if (sensor) return sensor;
  struct entry *entry = calloc(1, sizeof *entry);
  if (!entry) return NULL;
  snprintf(entry->sensor.sensor_id, sizeof entry->sensor.sensor_id, "%s", sensor_id);
  HASH_ADD_KEYPTR(hh, live->entries, entry->sensor.sensor_id, strlen(entry->sensor.sensor_id),
                  entry);
  if (!entry->hh.tbl) {
    free(entry);
    return NULL;
  }
  return &entry->sensor;
}

/* ---- heartbeats ---- */

void live_touch(struct live *live, struct live_sensor *sensor, const uint8_t boot_id[16],
                uint64_t boot_ns, const char *peer_address) {
  uint64_t now_mono_ms = tlx_mono_ms(live->clock);
  /* Its age is told as of the last heartbeat. */
  sensor->engine.verified_age_ms += now_mono_ms - sensor->last_seen_mono_ms;
  sensor->seen_since_start = true;
  sensor->last_seen_mono_ms = now_mono_ms;
  sensor->last_seen_wall_ms = tlx_wall_ms(live->clock);
  sensor->boot_ns = boot_ns;
  memcpy(sensor->boot_id, boot_id, sizeof sensor->boot_id);
  snprintf(sensor->peer_address, sizeof sensor->peer_address, "%s", peer_address);
  sensor->dirty = true;
}

void live_usage(struct live *live, struct live_sensor *sensor, uint64_t rss_bytes, uint64_t cpu_ms,
                uint64_t error_lines) {
  uint64_t now_mono_ms = tlx_mono_ms(live->clock);
  bool is_first = sensor->cpu_at_mono_ms == 0;
  sensor->rss_bytes = rss_bytes;
  /* The first count may be days old, and every start of ours would blame the whole fleet for it. A
   * count that stepped back is of a sensor that started again: all of it is new. */
  if (!is_first && error_lines && error_lines != sensor->error_lines)
    sensor->last_error_line_mono_ms = now_mono_ms;
  sensor->error_lines = error_lines;
  sensor->cpu_at_mono_ms = now_mono_ms;
  sensor->cpu_ms = cpu_ms;
  if (is_first || cpu_ms < sensor->cpu_ms_before) {
    sensor->cpu_ms_before = cpu_ms;
    sensor->cpu_before_mono_ms = now_mono_ms;
    sensor->cpu_permille = 0;
    return;
  }
  uint64_t span_ms = now_mono_ms - sensor->cpu_before_mono_ms;
  if (span_ms < CPU_WINDOW_MS) return;
  sensor->cpu_permille = (uint32_t)((cpu_ms - sensor->cpu_ms_before) * 1000 / span_ms);
  sensor->cpu_ms_before = cpu_ms;
  sensor->cpu_before_mono_ms = now_mono_ms;
}

bool live_baseline(const struct live *live, const struct live_sensor *sensor,
                   uint8_t ret_boot_id[16], uint64_t *ret_boot_ns) {
  if (!sensor->seen_since_start) return false;
  /* Never rounded up: the sensor's clock read when it sent is older than our receipt of it. */
  uint64_t age_ms = tlx_mono_ms(live->clock) - sensor->last_seen_mono_ms;
  if (age_ms > 0) age_ms--;
  if (age_ms > BASELINE_AGE_MAX_MS) age_ms = BASELINE_AGE_MAX_MS;
  memcpy(ret_boot_id, sensor->boot_id, sizeof sensor->boot_id);
  *ret_boot_ns = sensor->boot_ns + age_ms * 1000000;
  return true;
}

/* ---- enforcement ---- */

bool live_name_equal(const struct live_name *a, const struct live_name *b) {
  return a->generation == b->generation && memcmp(a->epoch, b->epoch, sizeof a->epoch) == 0 &&
         memcmp(a->digest, b->digest, sizeof a->digest) == 0;
}

/* How long before the heartbeat was sent |boot_ns| was. */
static uint64_t host_age_ms(const struct live_sensor *sensor, uint64_t boot_ns) {
  return sensor->boot_ns > boot_ns ? (sensor->boot_ns - boot_ns) / 1000000 : 0;
}

static void note_losses(struct live *live, struct live_engine *engine, uint64_t events_lost) {
  uint64_t now_mono_ms = tlx_mono_ms(live->clock);
  uint64_t before = engine->events_lost;
  /* The first count may be days old; one that stepped back is of a sensor that started again. */
  bool is_first = !engine->has_events_lost;
  engine->has_events_lost = true;
  engine->events_lost = events_lost;
  if (is_first || events_lost == before || events_lost == 0) return;
  if (now_mono_ms - engine->last_event_loss_mono_ms >= LOSS_WINDOW_MS) engine->n_events_lost = 0;
  engine->n_events_lost += events_lost > before ? events_lost - before : events_lost;
  engine->last_event_loss_mono_ms = now_mono_ms;
}

static void take_verified(struct live_sensor *sensor, uint64_t verified_boot_ns) {
  uint64_t age_ms = host_age_ms(sensor, verified_boot_ns);
  uint64_t now_wall_ms = sensor->last_seen_wall_ms;
  sensor->engine.verified_age_ms = age_ms;
  sensor->engine.verified_wall_ms = now_wall_ms > age_ms ? now_wall_ms - age_ms : 1;
}

void live_verified(struct live_sensor *sensor, const uint8_t boot_id[16], uint64_t boot_ns,
                   uint64_t verified_boot_ns) {
  bool is_newest =
      boot_ns == sensor->boot_ns && memcmp(boot_id, sensor->boot_id, sizeof sensor->boot_id) == 0;
  if (verified_boot_ns && is_newest) take_verified(sensor, verified_boot_ns);
}

void live_beat(struct live *live, struct live_sensor *sensor, const struct live_beat *beat) {
  struct live_engine *engine = &sensor->engine;
  engine->has_in_force = beat->has_in_force;
  if (beat->has_in_force) engine->in_force = beat->in_force;
  engine->has_beat = beat->has_beat;
  engine->state = beat->state;
  engine->desired_rollback = beat->desired_rollback;
  engine->coverage_partial = beat->coverage_partial;
  engine->tampered_until_mono_ms = 0;
  if (!beat->verified_boot_ns)
    engine->verified_wall_ms = 0;
  else if (!beat->proof_waits)
    take_verified(sensor, beat->verified_boot_ns);
  if (beat->repaired_boot_ns) {
    uint64_t age_ms = host_age_ms(sensor, beat->repaired_boot_ns);
    if (age_ms < HEALTH_TAMPERED_MS)
      engine->tampered_until_mono_ms = sensor->last_seen_mono_ms + HEALTH_TAMPERED_MS - age_ms;
  }
  if (beat->has_counters) note_losses(live, engine, beat->events_lost);
}

void live_serial_used(const struct live *live, struct live_sensor *sensor) {
  sensor->serial_used_mono_ms = tlx_mono_ms(live->clock);
}

int live_engine_report(struct live_sensor *sensor, const void *report, size_t len,
                       const char *reason) {
  struct tlx_buf copy = {0};
  tlx_buf_add(&copy, report, len);
  if (copy.err) return copy.err;
  tlx_buf_done(&sensor->engine.report);
  sensor->engine.report = copy;
  snprintf(sensor->engine.reason, sizeof sensor->engine.reason, "%s", reason);
  return 0;
}

bool live_may_ask_all(const struct live *live, struct live_sensor *sensor) {
  uint64_t now_mono_ms = tlx_mono_ms(live->clock);
  uint64_t asked_mono_ms = sensor->engine.all_asked_mono_ms;
  if (asked_mono_ms && now_mono_ms - asked_mono_ms < REPORT_ALL_INTERVAL_MS) return false;
  sensor->engine.all_asked_mono_ms = now_mono_ms;
  return true;
}

unsigned live_tamper_budget(const struct live *live, struct live_sensor *sensor) {
  struct live_engine *engine = &sensor->engine;
  uint64_t now_mono_ms = tlx_mono_ms(live->clock);
  if (!engine->tamper_minute_mono_ms || now_mono_ms - engine->tamper_minute_mono_ms >= 60000) {
    engine->tamper_minute_mono_ms = now_mono_ms;
    engine->n_tamper_audits = 0;
  }
  return engine->n_tamper_audits < TAMPER_AUDITS_PER_MIN
             ? TAMPER_AUDITS_PER_MIN - engine->n_tamper_audits
             : 0;
}

/* ---- wake ---- */

static void detach(struct live_sensor *sensor) {
  struct tlx_call *call = sensor->wake;
  sensor->wake = NULL;
  tlx_call_on_cancel(call, NULL, NULL);
  tlx_call_on_writable(call, NULL, NULL);
  tlx_call_unref(call);
}

/* Sending may find the connection dead, whose cancel callback then drops the stream below us. */
static void send_wake(struct live_sensor *sensor) {
  Telovix__V1__WakeMessage message = TELOVIX__V1__WAKE_MESSAGE__INIT;
  struct tlx_call *call = tlx_call_ref(sensor->wake);
  sensor->wake_pending = false;
  int err = tlx_call_send(call, &message.base);
  /* Not lost: the next wake or the next stream takes it along. */
  if (err) sensor->wake_pending = true;
  if (err == TLX_E_CLOSED && sensor->wake == call) {
    /* Cut before anybody asked to be told: nobody else ends the handler's side. */
    detach(sensor);
    tlx_call_end(call);
  }
  tlx_call_unref(call);
}

static void on_writable(struct tlx_call *call, void *arg) {
  struct live_sensor *sensor = arg;
  if (sensor->wake == call && sensor->wake_pending) send_wake(sensor);
}

void live_set_wake(struct live *live, struct live_sensor *sensor, struct tlx_call *call) {
  struct tlx_call *old = sensor->wake;
  struct tlx_status status;
  sensor->wake = tlx_call_ref(call);
  tlx_call_on_writable(call, on_writable, sensor);
  if (old) {
    reason_set(&status, REASON_WAKE_REPLACED);
    tlx_call_on_cancel(old, NULL, NULL);
    tlx_call_on_writable(old, NULL, NULL);
    tlx_call_fail(old, &status);
    tlx_call_unref(old);
  }
  /* Ending the older one may have taken the new one along, when both are of one connection. */
  if (sensor->wake == call && sensor->wake_pending) send_wake(sensor);
}

void live_drop_wake(struct live *live, struct live_sensor *sensor, struct tlx_call *call) {
  if (sensor->wake == call) detach(sensor);
}

void live_wake(struct live *live, const char *sensor_id) {
  struct live_sensor *sensor = live_find(live, sensor_id);
  if (!sensor) return;
  /* What is queued is a wake that the sensor has not got: its heartbeat comes after this one too.
   */
  if (sensor->wake && tlx_call_queued(sensor->wake) == 0)
    send_wake(sensor);
  else
    sensor->wake_pending = true;
}

void live_remove(struct live *live, const char *sensor_id) {
  struct live_sensor *sensor = live_find(live, sensor_id);
  struct entry *entry = (struct entry *)sensor;
  if (!sensor) return;
  if (sensor->wake) {
    struct tlx_call *call = tlx_call_ref(sensor->wake);
    detach(sensor);
    tlx_call_end(call);
    tlx_call_unref(call);
  }
  HASH_DEL(live->entries, entry);
  tlx_buf_done(&sensor->engine.report);
  free(entry);
}

bool live_changing(struct live *live, const char *sensor_id, bool *ret_woken) {
  struct live_sensor *sensor = live_find(live, sensor_id);
  if (!sensor) return false;
  sensor->n_changing++;
  live_wake(live, sensor_id);
  *ret_woken = !sensor->wake_pending;
  return true;
}

void live_changed(struct live *live, const char *sensor_id) {
  struct live_sensor *sensor = live_find(live, sensor_id);
  if (sensor && sensor->n_changing) sensor->n_changing--;
}

/* ---- all of them ---- */

size_t live_take_dirty(struct live *live, struct tlx_sensor_seen **ret_list) {
  struct entry *entry, *next;
  size_t n = 0;
  struct tlx_sensor_seen *list = calloc(HASH_COUNT(live->entries) + 1, sizeof *list);
  *ret_list = list;
  if (!list) return 0;
  HASH_ITER(hh, live->entries, entry, next) {
    struct live_sensor *sensor = &entry->sensor;
    if (!sensor->dirty) continue;
    sensor->dirty = false;
    struct tlx_sensor_seen *seen = &list[n++];
    memcpy(seen->sensor_id, sensor->sensor_id, sizeof seen->sensor_id);
    seen->last_seen_wall_ms = sensor->last_seen_wall_ms;
    seen->boot_ns = sensor->boot_ns;
    memcpy(seen->boot_id, sensor->boot_id, sizeof seen->boot_id);
    snprintf(seen->peer_address, sizeof seen->peer_address, "%s", sensor->peer_address);
  }
  return n;
}

void live_each(struct live *live, void (*cb)(void *arg, struct live_sensor *sensor), void *arg) {
  struct entry *entry, *next;
  HASH_ITER(hh, live->entries, entry, next) {
    cb(arg, &entry->sensor);
  }
}

void live_health_input(const struct live *live, const struct live_sensor *sensor,
                       struct health_input *input) {
  if (!sensor) return;
  input->seen_since_start = sensor->seen_since_start;
  input->last_seen_mono_ms = sensor->last_seen_mono_ms;
  input->rss_bytes = sensor->rss_bytes;
  input->cpu_permille = sensor->cpu_permille;
  input->last_error_line_mono_ms = sensor->last_error_line_mono_ms;
  const struct live_engine *engine = &sensor->engine;
  input->is_engine_down = engine->has_beat && engine->state == ENGINE_DOWN;
  input->engine_reason = engine->reason;
  input->tampered_until_mono_ms = engine->tampered_until_mono_ms;
  input->n_rules_failed = engine->n_rules_failed;
  input->desired_rollback = engine->desired_rollback;
  input->in_force_generation = engine->in_force.generation;
  input->last_event_loss_mono_ms = engine->last_event_loss_mono_ms;
  input->n_events_lost = engine->n_events_lost;
  input->coverage_partial = engine->coverage_partial || engine->n_rules_partial;
}
