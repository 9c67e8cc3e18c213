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
  sensor->seen_since_start = true;
  sensor->last_seen_mono_ms = tlx_mono_ms(live->clock);
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
}
