// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/clock.h"
#include "console/health.h"
#include "rpc/call.h"
#include "storage/sensor_tbl.h"

/* What the Console knows of sensors that talk to it, in memory: last heartbeat, wake stream,
 * counters. Loop thread. */
struct live;
/* The name of a desired set. */
struct live_name {
  uint8_t epoch[16], digest[32];
  uint64_t generation;
};
/* What a sensor says of its enforcement in each heartbeat; numbers of telovix.v1. */
struct live_beat {
  bool has_in_force;
  struct live_name in_force;
  bool has_beat; /* what follows is known */
  uint32_t state;
  uint64_t verified_boot_ns, repaired_boot_ns; /* CLOCK_BOOTTIME of the host; 0 = never */
  bool desired_rollback, coverage_partial;
  /* What came in the same heartbeat has to be stored first: the proof may be of less than what is
   * known. Its age is taken over by live_verified then. */
  bool proof_waits;
  bool has_counters;
  uint64_t events_lost;
};
/* What is known of it. */
struct live_engine {
  bool has_in_force, has_beat, desired_rollback, coverage_partial;
  struct live_name in_force;
  uint32_t state;
  uint64_t verified_wall_ms;       /* by our clock; 0 = not known */
  uint64_t verified_age_ms;        /* when the last heartbeat was sent */
  uint64_t tampered_until_mono_ms; /* 0 = nothing was altered */
  bool has_events_lost;
  uint64_t events_lost, n_events_lost, last_event_loss_mono_ms;
  /* The full report: a packed telovix.v1.EngineReport, and its reason. */
  struct tlx_buf report;
  char reason[48];
  uint32_t n_rules_failed, n_rules_partial;
  bool is_contained; /* a containment is desired */
  /* The set in force, and the desired generation, for which removed rules were dropped; and the
   * desired generation and boot for which every rule has its report: what need not be looked at
   * again with each heartbeat. */
  bool is_settled, is_complete;
  struct live_name settled;
  uint64_t settled_generation, complete_generation;
  uint8_t complete_boot_id[16];
  uint64_t all_asked_mono_ms; /* when the sensor was last asked for everything; 0 = never */
  uint64_t tamper_minute_mono_ms;
  unsigned n_tamper_audits; /* in that minute */
};
/* One sensor. Others read it; only live.c writes, but for n_conns,
 * is_clone_noting and what live_engine keeps for
 * the heartbeat (from n_rules_failed on). */
struct live_sensor {
  char sensor_id[32];
  bool seen_since_start;
  uint64_t last_seen_mono_ms, last_seen_wall_ms, boot_ns;
  uint8_t boot_id[16];
  uint64_t rss_bytes, cpu_ms, cpu_ms_before, cpu_at_mono_ms, cpu_before_mono_ms;
  uint32_t cpu_permille;
  uint64_t error_lines, last_error_line_mono_ms;
  char peer_address[64];
  /* Enforcement, as the sensor reported it since our start. */
  struct live_engine engine;
  struct tlx_call *wake; /* referenced; newest connection wins */
  bool wake_pending, dirty;
  uint64_t
      serial_used_mono_ms; /* when a newer certificate was first used; 0 = not since our start */
  bool is_clone_noting;    /* a suspicion is on its way to the store */
  unsigned n_changing;     /* live_changing without its live_changed */
  uint32_t n_conns;
};
/* Starts empty; |clock| must outlive it. 0 or -ENOMEM. */
int live_new(const struct tlx_clock *clock, struct live **ret_live);
/* Wake calls must have been dropped. NULL is fine. */
void live_free(struct live *live);
/* What is known of the sensor; NULL when nothing is. The pointer stays good until live_remove and
 * live_free. */
struct live_sensor *live_find(struct live *live, const char *sensor_id);
/* Finds or makes; NULL when out of memory. */
struct live_sensor *live_get(struct live *live, const char *sensor_id);
/* A heartbeat arrived now, sent at |boot_ns| (CLOCK_BOOTTIME of the host) of that boot; the record
 * is due to be written behind. */
void live_touch(struct live *live, struct live_sensor *sensor, const uint8_t boot_id[16],
                uint64_t boot_ns, const char *peer_address);
/* Resource numbers of a heartbeat: CPU time is judged over at least a minute, and a count of error
 * lines that changed marks the time. */
void live_usage(struct live *live, struct live_sensor *sensor, uint64_t rss_bytes, uint64_t cpu_ms,
                uint64_t error_lines);
/* What a heartbeat says of enforcement; after live_touch of the same one. Ages are measured by the
 * host's own clock (its CLOCK_BOOTTIME at sending) and put on ours; a time from its future counts
 * as now. */
void live_beat(struct live *live, struct live_sensor *sensor, const struct live_beat *beat);
/* What came with the heartbeat sent at |boot_ns| of that boot is stored, and with it the
 * verification of |verified_boot_ns| counts (0 = nothing waited); unless a later heartbeat has said
 * its own. */
void live_verified(struct live_sensor *sensor, const uint8_t boot_id[16], uint64_t boot_ns,
                   uint64_t verified_boot_ns);
/* A certificate newer than the one before was used for the first time. */
void live_serial_used(const struct live *live, struct live_sensor *sensor);
/* Keeps the packed report (copied) and its reason. 0 or -ENOMEM, and then the former one stays. */
int live_engine_report(struct live_sensor *sensor, const void *report, size_t len,
                       const char *reason);
/* Whether the two sets have the same name. */
bool live_name_equal(const struct live_name *a, const struct live_name *b);
/* Whether the sensor may be asked for everything now: at most once in REPORT_ALL_INTERVAL_MS,
 * because it answers at once. True marks the time. */
bool live_may_ask_all(const struct live *live, struct live_sensor *sensor);
/* How many audit records of tampering the sensor may cause now. */
unsigned live_tamper_budget(const struct live *live, struct live_sensor *sensor);
/* Baseline for a kill now, the CLOCK_BOOTTIME that the sensor's host has reached at least: that of
 * the last heartbeat, aged by our monotonic clock, by at most BASELINE_AGE_MAX_MS, and never
 * rounded up. False when nothing was heard since the start. */
bool live_baseline(const struct live *live, const struct live_sensor *sensor,
                   uint8_t ret_boot_id[16], uint64_t *ret_boot_ns);
/* The sensor's new wake stream (referenced); an older one ends (ABORTED, wake_replaced). A wake
 * that was pending goes out at once. */
void live_set_wake(struct live *live, struct live_sensor *sensor, struct tlx_call *call);
/* Lets go of |call| if it is the sensor's wake stream; ending it is the caller's. */
void live_drop_wake(struct live *live, struct live_sensor *sensor, struct tlx_call *call);
/* Sends one wake message, or remembers one pending bit while there is no stream or it is busy.
 * Unknown sensors are ignored. */
void live_wake(struct live *live, const char *sensor_id);
/* Something for the sensor is about to be stored: wakes it already, so that its heartbeat travels
 * while the commit runs (|ret_woken|: the wake went out, a heartbeat will follow). From here to
 * live_changed a heartbeat of it must be answered behind what the writer has (n_changing). False:
 * nothing is known of the sensor, nothing was counted, and live_changed must not be called. */
bool live_changing(struct live *live, const char *sensor_id, bool *ret_woken);
/* The op is done, however it ended; once for each live_changing that was true. */
void live_changed(struct live *live, const char *sensor_id);
/* Takes the changed last-seen times for a checkpoint, which are then no longer marked: heap array,
 * owned by the caller. Returns how many; 0 and NULL when out of memory, and then nothing is taken.
 */
size_t live_take_dirty(struct live *live, struct tlx_sensor_seen **ret_list);
/* Forgets the sensor: it was deleted, and its connections were ended before. A wake stream that is
 * still there ends. Pointers to it are no longer good. Unknown ones are ignored. */
void live_remove(struct live *live, const char *sensor_id);
/* Calls |cb| for every sensor; |cb| must not add any. */
void live_each(struct live *live, void (*cb)(void *arg, struct live_sensor *sensor), void *arg);
/* Fills the live part of |input|; |sensor| may be NULL. */
void live_health_input(const struct live *live, const struct live_sensor *sensor,
                       struct health_input *input);
