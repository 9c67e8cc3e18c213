// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Status, trust and health of a sensor: a pure function of record, live state and clock (spec §2.3,
 * §3). Numbers of the enums are those of telovix.v1. */
#define HEALTH_REASONS_MAX 16u
/* All that the answer depends on. Times in milliseconds of the clock in their name. */
struct health_input {
  /* record */
  bool disabled;
  uint32_t trust_state;
  uint64_t last_seen_wall_ms; /* stored; 0 = never */
  uint64_t enrolled_wall_ms;  /* the silence of a sensor that was never seen counts from here */
  uint64_t cert_not_before_wall_ms, cert_not_after_wall_ms;
  uint64_t clone_suspected_wall_ms; /* an older certificate came back; 0 = none did */
  bool renewal_failed;              /* the sensor said that its last renewal failed */
  /* live; seen_since_start false = no heartbeat since this Console started */
  bool seen_since_start;
  uint64_t last_seen_mono_ms;
  uint64_t rss_bytes;               /* 0 = not reported */
  uint32_t cpu_permille;            /* of one core over the last minute */
  uint64_t last_error_line_mono_ms; /* 0 = none */
  /* live: what the sensor says of its enforcement */
  bool is_engine_down;
  const char *engine_reason;       /* stable word for that; NULL or empty = none */
  uint64_t tampered_until_mono_ms; /* 0 = nothing was altered */
  uint32_t n_rules_failed;
  bool desired_rollback;
  uint64_t in_force_generation, desired_generation; /* for desired_rollback */
  uint64_t last_event_loss_mono_ms, n_events_lost;  /* 0 = none */
  bool coverage_partial;
  uint64_t lifted_wall_ms; /* record: enforcement was taken down on the host; 0 = it was not */
  /* clock and settings */
  uint64_t now_wall_ms, now_mono_ms, started_mono_ms, stale_after_ms;
};
/* One reason, with what was measured and the limit that it passed, as people read them. */
struct health_reason {
  const char *reason; /* static */
  uint32_t state;     /* telovix.v1.HealthState that it alone asks for */
  char value[32], limit[32];
};
struct health {
  uint32_t status, state, trust_health; /* telovix.v1 SensorStatus, HealthState, TrustHealth */
  struct health_reason reasons[HEALTH_REASONS_MAX];
  unsigned n_reasons;
  bool unconfirmed_since_restart, never_seen;
  bool is_silent;               /* past the stale threshold, whatever the status says */
  uint64_t age_ms;              /* of the last heartbeat; 0 with never_seen */
  uint64_t next_change_mono_ms; /* earliest time at which the result may differ by itself;
                                   UINT64_MAX = never */
};
/* Fills |ret_health| whole. Every reason that holds is listed, the worst decides the state; status
 * is the first that holds of revoked, disabled, stale, healthy. Never fails; any thread. */
void health_compute(const struct health_input *input, struct health *ret_health);
/* Milliseconds after the last repair of something altered in which a sensor is critical. */
#define HEALTH_TAMPERED_MS (15ull * 60 * 1000)
/* The critical reasons, "engine_down, enforcement_tampered"; cut to |size|. Returns |out|. */
char *health_critical_text(const struct health *health, char *out, size_t size);
