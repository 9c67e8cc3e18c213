// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/health.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"

/* Numbers of telovix.v1: SensorStatus, HealthState (1 is the worst), TrustHealth, TrustState. */
enum { STATUS_REVOKED = 1, STATUS_DISABLED, STATUS_STALE, STATUS_HEALTHY };
enum { STATE_CRITICAL = 1, STATE_OFFLINE, STATE_DEGRADED, STATE_WATCH, STATE_HEALTHY };
enum { TRUST_HEALTHY = 1, TRUST_RECOMMENDED, TRUST_DUE, TRUST_DEGRADED, TRUST_REVOKED };
#define TRUST_STATE_REVOKED 4u

#define OFFLINE_FACTOR 4u
#define RSS_MAX (128ull << 20)
#define CPU_MAX_PERMILLE 200u
#define ERROR_LINE_WINDOW_MS (5ull * 60 * 1000)
#define EVENT_LOSS_WINDOW_MS (5ull * 60 * 1000)

static void add_reason(struct health *health, const char *reason, uint32_t state, const char *value,
                       const char *limit) {
  if (health->n_reasons == HEALTH_REASONS_MAX) return;
  struct health_reason *to = &health->reasons[health->n_reasons++];
  to->reason = reason;
  to->state = state;
  snprintf(to->value, sizeof to->value, "%s", value);
  snprintf(to->limit, sizeof to->limit, "%s", limit);
  if (state < health->state) health->state = state;
}

/* Seconds, as people compare them: "124 s"; thresholds below a second in ms. */
static const char *span(uint64_t ms, char out[32]) {
  if (ms % 1000 == 0 || ms >= 10000)
    snprintf(out, 32, "%llu s", (unsigned long long)(ms / 1000));
  else
    snprintf(out, 32, "%llu ms", (unsigned long long)ms);
  return out;
}

/* The result may differ from |at_mono_ms| on. */
static void changes_at(struct health *health, uint64_t now_mono_ms, uint64_t at_mono_ms) {
  if (at_mono_ms > now_mono_ms && at_mono_ms < health->next_change_mono_ms)
    health->next_change_mono_ms = at_mono_ms;
}

/* Wall clocks step back; a span is never negative. */
static uint64_t span_between(uint64_t from_ms, uint64_t to_ms) {
  return to_ms > from_ms ? to_ms - from_ms : 0;
}

/* ---- silence ---- */

/* Stored; the silence of a sensor that was never seen counts from its enrollment. */
static uint64_t last_word_wall_ms(const struct health_input *input) {
  return input->last_seen_wall_ms ? input->last_seen_wall_ms : input->enrolled_wall_ms;
}

static uint64_t measure_age(const struct health_input *input) {
  if (input->seen_since_start) return span_between(input->last_seen_mono_ms, input->now_mono_ms);
  return span_between(last_word_wall_ms(input), input->now_wall_ms);
}

/* When the age reaches |age_ms|; now or earlier when it has. */
static uint64_t age_reached_at(const struct health_input *input, uint64_t age_ms) {
  if (input->seen_since_start) return input->last_seen_mono_ms + age_ms;
  return input->now_mono_ms + span_between(input->now_wall_ms, last_word_wall_ms(input) + age_ms);
}

/* Returns whether the sensor is stale. */
static bool judge_silence(const struct health_input *input, struct health *health,
                          uint64_t age_ms) {
  uint64_t stale_ms = input->stale_after_ms, now_mono_ms = input->now_mono_ms;
  char value[32], limit[32];
  /* After a start of ours nobody is blamed before he had the time to come back. */
  uint64_t excused_until_mono_ms = input->seen_since_start ? 0 : input->started_mono_ms + stale_ms;
  uint64_t thresholds[] = {stale_ms / 2, stale_ms, OFFLINE_FACTOR * stale_ms};
  for (size_t i = 0; i < sizeof thresholds / sizeof *thresholds; i++) {
    uint64_t at_mono_ms = age_reached_at(input, thresholds[i]);
    /* What is passed while it is excused shows when the excuse ends. */
    changes_at(health, now_mono_ms,
               at_mono_ms > excused_until_mono_ms ? at_mono_ms : excused_until_mono_ms);
  }
  if (now_mono_ms < excused_until_mono_ms) return false;
  span(age_ms, value);
  if (age_ms >= OFFLINE_FACTOR * stale_ms)
    add_reason(health, "heartbeat_offline", STATE_OFFLINE, value,
               span(OFFLINE_FACTOR * stale_ms, limit));
  else if (age_ms >= stale_ms)
    add_reason(health, "heartbeat_stale", STATE_DEGRADED, value, span(stale_ms, limit));
  else if (age_ms >= stale_ms / 2)
    add_reason(health, "heartbeat_delayed", STATE_WATCH, value, span(stale_ms / 2, limit));
  return age_ms >= stale_ms;
}

/* ---- certificate ---- */

static void judge_renewal(const struct health_input *input, struct health *health, uint64_t life_ms,
                          uint64_t left_ms) {
  char value[TLX_TIME_TEXT_MAX + 8] = "expired", limit[TLX_TIME_TEXT_MAX + 8],
                                 text[TLX_TIME_TEXT_MAX];
  uint64_t due_ms = life_ms / 10, recommended_ms = life_ms / 3;
  if (left_ms > recommended_ms)
    changes_at(health, input->now_mono_ms, input->now_mono_ms + (left_ms - recommended_ms));
  else if (left_ms > due_ms)
    changes_at(health, input->now_mono_ms, input->now_mono_ms + (left_ms - due_ms));
  if (left_ms > recommended_ms) return;
  bool is_due = left_ms <= due_ms;
  if (left_ms) {
    tlx_duration_format(left_ms, text);
    snprintf(value, sizeof value, "%s left", text);
  }
  tlx_duration_format(is_due ? due_ms : recommended_ms, text);
  snprintf(limit, sizeof limit, "%s left", text);
  health->trust_health = is_due ? TRUST_DUE : TRUST_RECOMMENDED;
  add_reason(health, is_due ? "renewal_due" : "renewal_recommended",
             is_due ? STATE_DEGRADED : STATE_WATCH, value, limit);
}

static void judge_trust(const struct health_input *input, struct health *health) {
  char value[32], text[32];
  uint64_t life_ms = span_between(input->cert_not_before_wall_ms, input->cert_not_after_wall_ms);
  uint64_t left_ms = span_between(input->now_wall_ms, input->cert_not_after_wall_ms);
  health->trust_health = TRUST_HEALTHY;
  if (input->trust_state == TRUST_STATE_REVOKED) {
    health->trust_health = TRUST_REVOKED;
    add_reason(health, "trust_revoked", STATE_CRITICAL, "revoked", "trusted");
    return;
  }
  judge_renewal(input, health, life_ms, left_ms);
  if (input->clone_suspected_wall_ms) {
    span(span_between(input->clone_suspected_wall_ms, input->now_wall_ms) / 1000 * 1000, text);
    snprintf(value, sizeof value, "clone seen %.16s ago", text);
    add_reason(health, "trust_degraded", STATE_DEGRADED, value, "no clone");
  }
  if (input->renewal_failed)
    add_reason(health, "trust_degraded", STATE_DEGRADED, "renewal failed", "renewed");
  if (input->clone_suspected_wall_ms || input->renewal_failed)
    health->trust_health = TRUST_DEGRADED;
}

/* ---- the sensor's own word ---- */

static void judge_reports(const struct health_input *input, struct health *health) {
  char value[32], limit[32];
  if (input->last_error_line_mono_ms) {
    uint64_t ago_ms = span_between(input->last_error_line_mono_ms, input->now_mono_ms);
    if (ago_ms < ERROR_LINE_WINDOW_MS) {
      char ago[32];
      span(ago_ms / 1000 * 1000, ago);
      snprintf(value, sizeof value, "%.24s ago", ago);
      add_reason(health, "runtime_error", STATE_DEGRADED, value, "none in 5 min");
      changes_at(health, input->now_mono_ms, input->last_error_line_mono_ms + ERROR_LINE_WINDOW_MS);
    }
  }
  if (input->rss_bytes > RSS_MAX) {
    /* Rounded up: a value that reads like its limit would look like no reason. */
    uint64_t mib = (input->rss_bytes >> 20) + ((input->rss_bytes & ((1u << 20) - 1)) != 0);
    snprintf(value, sizeof value, "%llu MiB", (unsigned long long)mib);
    snprintf(limit, sizeof limit, "%llu MiB", RSS_MAX >> 20);
    add_reason(health, "resource_pressure", STATE_WATCH, value, limit);
  }
  if (input->cpu_permille > CPU_MAX_PERMILLE) {
    snprintf(value, sizeof value, "%u.%u %% of a core", input->cpu_permille / 10,
             input->cpu_permille % 10);
    snprintf(limit, sizeof limit, "%u %% of a core", CPU_MAX_PERMILLE / 10);
    add_reason(health, "resource_pressure", STATE_WATCH, value, limit);
  }
}

/* ---- enforcement ---- */

static void judge_enforcement(const struct health_input *input, struct health *health) {
  uint64_t now_mono_ms = input->now_mono_ms;
  char value[32], limit[32];
  if (input->is_engine_down) {
    bool has_word = input->engine_reason && *input->engine_reason;
    add_reason(health, "engine_down", STATE_CRITICAL, has_word ? input->engine_reason : "down",
               "ready");
  }
  if (input->tampered_until_mono_ms > now_mono_ms) {
    uint64_t left_ms = input->tampered_until_mono_ms - now_mono_ms;
    char ago[32];
    span((HEALTH_TAMPERED_MS - (left_ms < HEALTH_TAMPERED_MS ? left_ms : HEALTH_TAMPERED_MS)) /
             1000 * 1000,
         ago);
    snprintf(value, sizeof value, "repaired %.20s ago", ago);
    add_reason(health, "enforcement_tampered", STATE_CRITICAL, value, "none in 15 min");
    changes_at(health, now_mono_ms, input->tampered_until_mono_ms);
  }
  if (input->lifted_wall_ms) {
    char ago[32];
    span(span_between(input->lifted_wall_ms, input->now_wall_ms) / 1000 * 1000, ago);
    snprintf(value, sizeof value, "lifted %.20s ago", ago);
    add_reason(health, "enforcement_lifted", STATE_CRITICAL, value, "in force");
  }
  if (input->n_rules_failed) {
    snprintf(value, sizeof value, "%u failed", input->n_rules_failed);
    add_reason(health, "rule_failed", STATE_DEGRADED, value, "none");
  }
  if (input->desired_rollback) {
    snprintf(value, sizeof value, "wanted %llu", (unsigned long long)input->desired_generation);
    snprintf(limit, sizeof limit, "in force %llu", (unsigned long long)input->in_force_generation);
    add_reason(health, "desired_rollback", STATE_DEGRADED, value, limit);
  }
  if (input->last_event_loss_mono_ms &&
      span_between(input->last_event_loss_mono_ms, now_mono_ms) < EVENT_LOSS_WINDOW_MS) {
    snprintf(value, sizeof value, "%llu lost", (unsigned long long)input->n_events_lost);
    add_reason(health, "event_loss", STATE_WATCH, value, "none in 5 min");
    changes_at(health, now_mono_ms, input->last_event_loss_mono_ms + EVENT_LOSS_WINDOW_MS);
  }
  if (input->coverage_partial)
    add_reason(health, "coverage_partial", STATE_WATCH, "in part", "whole");
}

char *health_critical_text(const struct health *health, char *out, size_t size) {
  size_t at = 0;
  *out = 0;
  for (unsigned i = 0; i < health->n_reasons && at < size; i++)
    if (health->reasons[i].state == STATE_CRITICAL)
      at +=
          (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "", health->reasons[i].reason);
  return out;
}

void health_compute(const struct health_input *input, struct health *ret_health) {
  struct health health = {.state = STATE_HEALTHY, .next_change_mono_ms = UINT64_MAX};
  uint64_t age_ms = measure_age(input);
  health.never_seen = !input->seen_since_start && !input->last_seen_wall_ms;
  health.age_ms = health.never_seen ? 0 : age_ms;
  health.unconfirmed_since_restart = !input->seen_since_start;
  judge_trust(input, &health);
  bool is_stale = judge_silence(input, &health, age_ms);
  health.is_silent = is_stale;
  judge_enforcement(input, &health);
  judge_reports(input, &health);
  if (input->trust_state == TRUST_STATE_REVOKED)
    health.status = STATUS_REVOKED;
  else if (input->disabled)
    health.status = STATUS_DISABLED;
  else
    health.status = is_stale ? STATUS_STALE : STATUS_HEALTHY;
  *ret_health = health;
}
