// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/health.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "telovix/v1/types.pb-c.h"

/* Every edge of the table of spec §3: one millisecond below, at, and above. */

#define NOW 10000000ull
#define DAY 86400000ull
#define STALE 90000ull

#define STATUS(name) TELOVIX__V1__SENSOR_STATUS__SENSOR_STATUS_##name
#define STATE(name) TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_##name
#define TRUST(name) TELOVIX__V1__TRUST_HEALTH__TRUST_HEALTH_##name
#define TRUST_STATE(name) TELOVIX__V1__TRUST_STATE__TRUST_STATE_##name

static struct health_input healthy(void) {
  return (struct health_input){.trust_state = TRUST_STATE(TRUSTED),
                               .last_seen_wall_ms = NOW - 1000,
                               .enrolled_wall_ms = NOW - 1000,
                               .cert_not_before_wall_ms = 0,
                               .cert_not_after_wall_ms = NOW + 30 * DAY,
                               .seen_since_start = true,
                               .last_seen_mono_ms = NOW,
                               .now_wall_ms = NOW,
                               .now_mono_ms = NOW,
                               .stale_after_ms = STALE};
}

static struct health compute(const struct health_input *input) {
  struct health health;
  health_compute(input, &health);
  return health;
}

static const char *reason_of(const struct health *health) {
  return health->n_reasons ? health->reasons[0].reason : "";
}

/* Status, state, trust and every reason, without the measured values. */
static void judgement(const struct health *health, char out[512]) {
  size_t at =
      (size_t)snprintf(out, 512, "%u %u %u", health->status, health->state, health->trust_health);
  for (unsigned i = 0; i < health->n_reasons; i++)
    at += (size_t)snprintf(out + at, 512 - at, " %s", health->reasons[i].reason);
}

static void advance(struct health_input *input, uint64_t ms) {
  input->now_wall_ms += ms;
  input->now_mono_ms += ms;
}

/* ---- silence ---- */

Test(health, silence) {
  static const struct {
    uint64_t age_ms;
    uint32_t status, state;
    const char *reason, *value, *limit;
  } cases[] = {
      {0, STATUS(HEALTHY), STATE(HEALTHY), "", "", ""},
      {44999, STATUS(HEALTHY), STATE(HEALTHY), "", "", ""},
      {45000, STATUS(HEALTHY), STATE(WATCH), "heartbeat_delayed", "45 s", "45 s"},
      {45001, STATUS(HEALTHY), STATE(WATCH), "heartbeat_delayed", "45 s", "45 s"},
      {89999, STATUS(HEALTHY), STATE(WATCH), "heartbeat_delayed", "89 s", "45 s"},
      {90000, STATUS(STALE), STATE(DEGRADED), "heartbeat_stale", "90 s", "90 s"},
      {90001, STATUS(STALE), STATE(DEGRADED), "heartbeat_stale", "90 s", "90 s"},
      {124000, STATUS(STALE), STATE(DEGRADED), "heartbeat_stale", "124 s", "90 s"},
      {359999, STATUS(STALE), STATE(DEGRADED), "heartbeat_stale", "359 s", "90 s"},
      {360000, STATUS(STALE), STATE(OFFLINE), "heartbeat_offline", "360 s", "360 s"},
      {360001, STATUS(STALE), STATE(OFFLINE), "heartbeat_offline", "360 s", "360 s"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct health_input input = healthy();
    input.last_seen_mono_ms = NOW - cases[i].age_ms;
    struct health health = compute(&input);
    cr_assert_eq(health.status, cases[i].status, "case %zu", i);
    cr_assert_eq(health.state, cases[i].state, "case %zu", i);
    cr_assert_str_eq(reason_of(&health), cases[i].reason, "case %zu", i);
    cr_assert_eq(health.n_reasons, *cases[i].reason ? 1 : 0, "the worst of the three alone");
    if (health.n_reasons) {
      cr_assert_str_eq(health.reasons[0].value, cases[i].value, "case %zu", i);
      cr_assert_str_eq(health.reasons[0].limit, cases[i].limit, "case %zu", i);
      cr_assert_eq(health.reasons[0].state, cases[i].state);
    }
    cr_assert_eq(health.age_ms, cases[i].age_ms);
    cr_assert_not(health.unconfirmed_since_restart);
    cr_assert_not(health.never_seen);
  }
}

Test(health, thresholds_follow_from_the_setting) {
  struct health_input input = healthy();
  input.stale_after_ms = 1000;
  input.last_seen_mono_ms = NOW - 499;
  struct health health = compute(&input);
  cr_assert_eq(health.n_reasons, 0);
  input.last_seen_mono_ms = NOW - 500;
  health = compute(&input);
  cr_assert_str_eq(reason_of(&health), "heartbeat_delayed");
  cr_assert_str_eq(health.reasons[0].value, "500 ms");
  cr_assert_str_eq(health.reasons[0].limit, "500 ms");
  input.last_seen_mono_ms = NOW - 1001;
  health = compute(&input);
  cr_assert_str_eq(health.reasons[0].value, "1001 ms");
  cr_assert_str_eq(health.reasons[0].limit, "1 s");
  input.last_seen_mono_ms = NOW - 4000;
  health = compute(&input);
  cr_assert_str_eq(reason_of(&health), "heartbeat_offline");
  cr_assert_str_eq(health.reasons[0].limit, "4 s");
}

Test(health, a_seen_sensor_is_measured_by_mono_time) {
  struct health_input input = healthy();
  /* The wall clock says a year, and then the future; neither matters. */
  input.last_seen_wall_ms = 1;
  input.cert_not_after_wall_ms = 1000 * DAY;
  input.now_wall_ms = 365 * DAY;
  struct health health = compute(&input);
  cr_assert_eq(health.n_reasons, 0);
  input.last_seen_wall_ms = 400 * DAY;
  input.last_seen_mono_ms = NOW - STALE;
  health = compute(&input);
  cr_assert_str_eq(reason_of(&health), "heartbeat_stale");
  /* Never negative, whichever of the two was read first. */
  input.last_seen_mono_ms = NOW + 1;
  health = compute(&input);
  cr_assert_eq(health.age_ms, 0);
  cr_assert_eq(health.n_reasons, 0);
}

/* ---- after a restart ---- */

Test(health, after_a_restart_nobody_is_blamed_at_once) {
  struct health_input input = healthy();
  input.seen_since_start = false;
  input.last_seen_wall_ms = NOW - 1000000;
  input.started_mono_ms = NOW - STALE + 1;
  struct health health = compute(&input);
  cr_assert_eq(health.status, STATUS(HEALTHY));
  cr_assert_eq(health.n_reasons, 0);
  cr_assert(health.unconfirmed_since_restart);
  cr_assert_not(health.never_seen);
  cr_assert_eq(health.age_ms, 1000000, "the stored time stays");
  cr_assert_eq(health.next_change_mono_ms, NOW + 1);
  for (int past = 0; past < 2; past++) {
    input.started_mono_ms = NOW - STALE - past;
    health = compute(&input);
    cr_assert_eq(health.status, STATUS(STALE));
    cr_assert_str_eq(reason_of(&health), "heartbeat_offline");
    cr_assert(health.unconfirmed_since_restart);
  }
  /* Its first heartbeat ends the mark. */
  input.seen_since_start = true;
  health = compute(&input);
  cr_assert_not(health.unconfirmed_since_restart);
  cr_assert_eq(health.n_reasons, 0);
}

Test(health, an_excuse_ends_only_for_those_not_seen) {
  struct health_input input = healthy();
  input.started_mono_ms = NOW - STALE + 1;
  input.last_seen_mono_ms = NOW - STALE / 2;
  struct health health = compute(&input);
  cr_assert_str_eq(reason_of(&health), "heartbeat_delayed");
}

Test(health, a_wall_clock_that_stepped_back_makes_no_negative_age) {
  struct health_input input = healthy();
  input.seen_since_start = false;
  input.started_mono_ms = 0;
  input.last_seen_wall_ms = NOW + 5000;
  struct health health = compute(&input);
  cr_assert_eq(health.age_ms, 0);
  cr_assert_eq(health.n_reasons, 0);
  /* The clock first has to catch up. */
  cr_assert_eq(health.next_change_mono_ms, NOW + 5000 + STALE / 2);
}

Test(health, never_seen_counts_from_enrollment) {
  struct health_input input = healthy();
  input.seen_since_start = false;
  input.last_seen_wall_ms = 0;
  input.started_mono_ms = NOW - 1000000;
  input.enrolled_wall_ms = NOW - STALE + 1;
  struct health health = compute(&input);
  cr_assert_eq(health.status, STATUS(HEALTHY));
  input.enrolled_wall_ms = NOW - STALE;
  health = compute(&input);
  cr_assert(health.never_seen);
  cr_assert(health.unconfirmed_since_restart);
  cr_assert_eq(health.age_ms, 0);
  cr_assert_eq(health.status, STATUS(STALE));
  cr_assert_str_eq(reason_of(&health), "heartbeat_stale");
  cr_assert_str_eq(health.reasons[0].value, "90 s");
  /* Heard of now, before the record was written. */
  input.seen_since_start = true;
  health = compute(&input);
  cr_assert_not(health.never_seen);
  cr_assert_eq(health.n_reasons, 0);
}

/* ---- certificate ---- */

Test(health, certificate) {
  static const struct {
    uint64_t left_ms;
    uint32_t trust, state;
    const char *reason;
  } cases[] = {{10 * DAY + 1, TRUST(HEALTHY), STATE(HEALTHY), ""},
               {10 * DAY, TRUST(RENEWAL_RECOMMENDED), STATE(WATCH), "renewal_recommended"},
               {10 * DAY - 1, TRUST(RENEWAL_RECOMMENDED), STATE(WATCH), "renewal_recommended"},
               {3 * DAY + 1, TRUST(RENEWAL_RECOMMENDED), STATE(WATCH), "renewal_recommended"},
               {3 * DAY, TRUST(RENEWAL_DUE), STATE(DEGRADED), "renewal_due"},
               {3 * DAY - 1, TRUST(RENEWAL_DUE), STATE(DEGRADED), "renewal_due"},
               {1, TRUST(RENEWAL_DUE), STATE(DEGRADED), "renewal_due"},
               {0, TRUST(RENEWAL_DUE), STATE(DEGRADED), "renewal_due"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct health_input input = healthy();
    input.now_wall_ms = 40 * DAY;
    input.cert_not_after_wall_ms = input.now_wall_ms + cases[i].left_ms;
    input.cert_not_before_wall_ms = input.cert_not_after_wall_ms - 30 * DAY;
    struct health health = compute(&input);
    cr_assert_eq(health.trust_health, cases[i].trust, "case %zu", i);
    cr_assert_eq(health.state, cases[i].state, "case %zu", i);
    cr_assert_str_eq(reason_of(&health), cases[i].reason, "case %zu", i);
    cr_assert_eq(health.n_reasons, *cases[i].reason ? 1 : 0);
    cr_assert_eq(health.status, STATUS(HEALTHY), "a certificate says nothing of the status");
    if (!health.n_reasons) continue;
    cr_assert(strlen(health.reasons[0].limit) > 0);
    cr_assert_eq(strcmp(health.reasons[0].value, "expired") == 0, cases[i].left_ms == 0);
  }
}

Test(health, a_certificate_past_its_end_stays_due) {
  struct health_input input = healthy();
  input.cert_not_after_wall_ms = NOW - 1;
  struct health health = compute(&input);
  cr_assert_eq(health.trust_health, TRUST(RENEWAL_DUE));
  cr_assert_str_eq(health.reasons[0].value, "expired");
  /* Bounds in the wrong order are a life of nothing. */
  input.cert_not_after_wall_ms = NOW + 1;
  input.cert_not_before_wall_ms = NOW + 2;
  health = compute(&input);
  cr_assert_eq(health.trust_health, TRUST(HEALTHY));
}

Test(health, a_suspected_clone_degrades_the_trust) {
  struct health_input input = healthy();
  struct health before = compute(&input);
  input.clone_suspected_wall_ms = NOW - 5000;
  struct health health = compute(&input);
  cr_assert_eq(health.trust_health, TRUST(DEGRADED));
  cr_assert_eq(health.state, STATE(DEGRADED));
  cr_assert_eq(health.status, STATUS(HEALTHY));
  cr_assert_eq(health.n_reasons, 1);
  cr_assert_str_eq(reason_of(&health), "trust_degraded");
  cr_assert_str_eq(health.reasons[0].value, "clone seen 5 s ago");
  cr_assert_str_eq(health.reasons[0].limit, "no clone");
  cr_assert_eq(health.next_change_mono_ms, before.next_change_mono_ms, "it stays");
  /* A clock that stepped back, and a time from before there were clocks. */
  input.clone_suspected_wall_ms = NOW + 1;
  health = compute(&input);
  cr_assert_str_eq(health.reasons[0].value, "clone seen 0 s ago");
  input.clone_suspected_wall_ms = 1;
  input.now_wall_ms = UINT64_MAX;
  health = compute(&input);
  cr_assert_eq(health.trust_health, TRUST(DEGRADED));
}

Test(health, a_failed_renewal_degrades_the_trust_and_stands_beside_what_is_due) {
  struct health_input input = healthy();
  input.renewal_failed = true;
  struct health health = compute(&input);
  cr_assert_eq(health.trust_health, TRUST(DEGRADED));
  cr_assert_eq(health.state, STATE(DEGRADED));
  cr_assert_str_eq(reason_of(&health), "trust_degraded");
  cr_assert_str_eq(health.reasons[0].value, "renewal failed");
  cr_assert_str_eq(health.reasons[0].limit, "renewed");
  input.cert_not_before_wall_ms = NOW;
  input.cert_not_after_wall_ms = NOW + 30 * DAY;
  input.now_wall_ms = input.cert_not_after_wall_ms - DAY;
  input.clone_suspected_wall_ms = input.now_wall_ms;
  char text[512];
  health = compute(&input);
  judgement(&health, text);
  cr_assert_str_eq(text, "4 3 4 renewal_due trust_degraded trust_degraded");
  /* A revoked identity has nothing left to renew. */
  input.trust_state = TRUST_STATE(TRUST_REVOKED);
  health = compute(&input);
  judgement(&health, text);
  cr_assert_str_eq(text, "1 1 5 trust_revoked");
}

/* ---- the sensor's own word ---- */

Test(health, error_line) {
  static const struct {
    uint64_t ago_ms;
    bool shows;
    const char *value;
  } cases[] = {{0, true, "0 s ago"},
               {124000, true, "124 s ago"},
               {299999, true, "299 s ago"},
               {300000, false, ""},
               {300001, false, ""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct health_input input = healthy();
    input.last_error_line_mono_ms = NOW - cases[i].ago_ms;
    struct health health = compute(&input);
    cr_assert_eq(health.n_reasons, cases[i].shows, "case %zu", i);
    cr_assert_eq(health.state, cases[i].shows ? STATE(DEGRADED) : STATE(HEALTHY));
    if (!cases[i].shows) continue;
    cr_assert_str_eq(reason_of(&health), "runtime_error");
    cr_assert_str_eq(health.reasons[0].value, cases[i].value);
  }
}

Test(health, resource_pressure) {
  struct health_input input = healthy();
  input.rss_bytes = (128ull << 20) - 1;
  input.cpu_permille = 199;
  struct health health = compute(&input);
  cr_assert_eq(health.n_reasons, 0);
  input.rss_bytes = 128ull << 20;
  input.cpu_permille = 200;
  health = compute(&input);
  cr_assert_eq(health.n_reasons, 0, "the limit itself is allowed");
  input.rss_bytes++;
  health = compute(&input);
  cr_assert_eq(health.n_reasons, 1);
  cr_assert_eq(health.state, STATE(WATCH));
  cr_assert_str_eq(reason_of(&health), "resource_pressure");
  cr_assert_str_eq(health.reasons[0].value, "129 MiB");
  cr_assert_str_eq(health.reasons[0].limit, "128 MiB");
  input.cpu_permille++;
  health = compute(&input);
  cr_assert_eq(health.n_reasons, 2, "both measured values are told");
  cr_assert_str_eq(health.reasons[1].reason, "resource_pressure");
  cr_assert_str_eq(health.reasons[1].value, "20.1 % of a core");
  cr_assert_str_eq(health.reasons[1].limit, "20 % of a core");
  input.rss_bytes = 0;
  health = compute(&input);
  cr_assert_eq(health.n_reasons, 1);
}

/* ---- all together ---- */

Test(health, first_that_holds_is_the_status) {
  struct health_input input = healthy();
  input.last_seen_mono_ms = NOW - STALE;
  input.disabled = true;
  input.trust_state = TRUST_STATE(TRUST_REVOKED);
  struct health health = compute(&input);
  cr_assert_eq(health.status, STATUS(REVOKED));
  cr_assert_eq(health.trust_health, TRUST(REVOKED));
  input.trust_state = TRUST_STATE(ROTATED);
  health = compute(&input);
  cr_assert_eq(health.status, STATUS(DISABLED));
  input.disabled = false;
  health = compute(&input);
  cr_assert_eq(health.status, STATUS(STALE));
  input.last_seen_mono_ms++;
  health = compute(&input);
  cr_assert_eq(health.status, STATUS(HEALTHY));
}

Test(health, only_one_trust_state_is_revoked) {
  for (uint32_t state = TRUST_STATE(BOOTSTRAP_PENDING); state <= TRUST_STATE(TRUST_REVOKED);
       state++) {
    struct health_input input = healthy();
    input.trust_state = state;
    struct health health = compute(&input);
    bool revoked = state == TRUST_STATE(TRUST_REVOKED);
    cr_assert_eq(health.status, revoked ? STATUS(REVOKED) : STATUS(HEALTHY));
    cr_assert_eq(health.state, revoked ? STATE(CRITICAL) : STATE(HEALTHY));
    cr_assert_str_eq(reason_of(&health), revoked ? "trust_revoked" : "");
  }
}

Test(health, all_reasons_are_told_and_the_worst_decides) {
  struct health_input input = healthy();
  char text[512];
  input.trust_state = TRUST_STATE(TRUST_REVOKED);
  input.last_seen_mono_ms = NOW - 360000;
  input.last_error_line_mono_ms = NOW - 299999;
  input.rss_bytes = (128ull << 20) + 1;
  struct health health = compute(&input);
  judgement(&health, text);
  cr_assert_str_eq(text, "1 1 5 trust_revoked heartbeat_offline runtime_error resource_pressure");
  static const uint32_t states[] = {STATE(CRITICAL), STATE(OFFLINE), STATE(DEGRADED), STATE(WATCH)};
  for (int i = 0; i < 4; i++)
    cr_assert_eq(health.reasons[i].state, states[i]);
  input.trust_state = TRUST_STATE(TRUSTED);
  health = compute(&input);
  cr_assert_eq(health.state, STATE(OFFLINE));
  input.last_seen_mono_ms = NOW;
  health = compute(&input);
  cr_assert_eq(health.state, STATE(DEGRADED));
  input.last_error_line_mono_ms = 0;
  health = compute(&input);
  cr_assert_eq(health.state, STATE(WATCH));
}

/* One row of the table of spec §3, and the least that brings it about. */
static void set_enforcement(struct health_input *input, const char *reason) {
  input->is_engine_down = strcmp(reason, "engine_down") == 0;
  if (strcmp(reason, "enforcement_tampered") == 0) input->tampered_until_mono_ms = NOW + 1;
  if (strcmp(reason, "enforcement_lifted") == 0) input->lifted_wall_ms = NOW;
  input->n_rules_failed = strcmp(reason, "rule_failed") == 0;
  input->desired_rollback = strcmp(reason, "desired_rollback") == 0;
  if (strcmp(reason, "event_loss") == 0) input->last_event_loss_mono_ms = NOW;
  input->coverage_partial = strcmp(reason, "coverage_partial") == 0;
}

static void set_rest(struct health_input *input, const char *reason) {
  if (strcmp(reason, "trust_revoked") == 0) input->trust_state = TRUST_STATE(TRUST_REVOKED);
  if (strcmp(reason, "heartbeat_offline") == 0) input->last_seen_mono_ms = NOW - 4 * STALE;
  if (strcmp(reason, "heartbeat_stale") == 0) input->last_seen_mono_ms = NOW - STALE;
  if (strcmp(reason, "heartbeat_delayed") == 0) input->last_seen_mono_ms = NOW - STALE / 2;
  if (strcmp(reason, "renewal_due") == 0) input->cert_not_after_wall_ms = NOW;
  if (strcmp(reason, "renewal_recommended") == 0) input->cert_not_after_wall_ms = NOW + NOW / 2;
  input->renewal_failed = strcmp(reason, "trust_degraded") == 0;
  if (strcmp(reason, "runtime_error") == 0) input->last_error_line_mono_ms = NOW;
  input->cpu_permille = strcmp(reason, "resource_pressure") == 0 ? 201 : 0;
}

Test(health, every_row_of_the_table_alone) {
  static const struct {
    const char *reason;
    uint32_t state;
  } rows[] = {{"trust_revoked", STATE(CRITICAL)},        {"engine_down", STATE(CRITICAL)},
              {"enforcement_tampered", STATE(CRITICAL)}, {"enforcement_lifted", STATE(CRITICAL)},
              {"heartbeat_offline", STATE(OFFLINE)},     {"heartbeat_stale", STATE(DEGRADED)},
              {"renewal_due", STATE(DEGRADED)},          {"trust_degraded", STATE(DEGRADED)},
              {"rule_failed", STATE(DEGRADED)},          {"desired_rollback", STATE(DEGRADED)},
              {"runtime_error", STATE(DEGRADED)},        {"heartbeat_delayed", STATE(WATCH)},
              {"renewal_recommended", STATE(WATCH)},     {"event_loss", STATE(WATCH)},
              {"resource_pressure", STATE(WATCH)},       {"coverage_partial", STATE(WATCH)}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct health_input input = healthy();
    set_enforcement(&input, rows[i].reason);
    set_rest(&input, rows[i].reason);
    struct health health = compute(&input);
    cr_assert_eq(health.n_reasons, 1, "%s", rows[i].reason);
    cr_assert_str_eq(health.reasons[0].reason, rows[i].reason);
    cr_assert_eq(health.reasons[0].state, rows[i].state, "%s", rows[i].reason);
    cr_assert_eq(health.state, rows[i].state, "%s", rows[i].reason);
    cr_assert(*health.reasons[0].value && *health.reasons[0].limit, "%s", rows[i].reason);
  }
}

/* Whatever comes together has its place: a reason that is left out is a lie. */
Test(health, all_that_can_hold_at_once_fits) {
  struct health_input input = healthy();
  input.last_seen_mono_ms = NOW - 4 * STALE;
  input.cert_not_after_wall_ms = NOW;
  input.clone_suspected_wall_ms = input.lifted_wall_ms = NOW;
  input.renewal_failed = input.is_engine_down = input.desired_rollback = true;
  input.coverage_partial = true;
  input.tampered_until_mono_ms = NOW + 1;
  input.n_rules_failed = 1;
  input.last_event_loss_mono_ms = input.last_error_line_mono_ms = NOW;
  input.rss_bytes = 1ull << 40;
  input.cpu_permille = 201;
  struct health health = compute(&input);
  cr_assert_eq(health.n_reasons, 14);
  cr_assert_leq(health.n_reasons, HEALTH_REASONS_MAX);
}

/* ---- when it changes by itself ---- */

Test(health, nothing_ahead_is_never) {
  struct health_input input = healthy();
  input.last_seen_mono_ms = NOW - 360000;
  input.cert_not_after_wall_ms = NOW;
  struct health health = compute(&input);
  cr_assert_eq(health.next_change_mono_ms, UINT64_MAX);
}

/* From any point: nothing changes before the time that is named, and something does at it. */
Test(health, the_next_change_is_exact) {
  unsigned seed = 1;
  for (int i = 0; i < 3000; i++) {
    struct health_input input = healthy();
    char now[512], then[512];
    input.stale_after_ms = 1000;
    input.seen_since_start = rand_r(&seed) % 2;
    input.last_seen_mono_ms = NOW - (uint64_t)(rand_r(&seed) % 5000);
    input.last_seen_wall_ms = rand_r(&seed) % 8 ? NOW + 1000 - (uint64_t)(rand_r(&seed) % 6000) : 0;
    input.enrolled_wall_ms = NOW - (uint64_t)(rand_r(&seed) % 5000);
    input.started_mono_ms = NOW - (uint64_t)(rand_r(&seed) % 2000);
    input.cert_not_after_wall_ms = NOW + 500 - (uint64_t)(rand_r(&seed) % 1000);
    input.cert_not_before_wall_ms = NOW - (uint64_t)(rand_r(&seed) % 9000);
    if (rand_r(&seed) % 4 == 0) input.cert_not_after_wall_ms = NOW + DAY;
    if (rand_r(&seed) % 2)
      input.last_error_line_mono_ms = NOW - 295000 - (uint64_t)(rand_r(&seed) % 10000);
    input.renewal_failed = rand_r(&seed) % 8 == 0;
    if (rand_r(&seed) % 8 == 0) input.clone_suspected_wall_ms = NOW;
    if (rand_r(&seed) % 8 == 0) input.trust_state = TRUST_STATE(TRUST_REVOKED);
    struct health health = compute(&input);
    judgement(&health, now);
    uint64_t next_mono_ms = health.next_change_mono_ms;
    cr_assert_gt(next_mono_ms, NOW);
    uint64_t until_ms = next_mono_ms == UINT64_MAX ? 20000 : next_mono_ms - NOW;
    for (uint64_t ms = 0; ms + 1 < until_ms && ms < 20000; ms += 97) {
      struct health_input between = input;
      advance(&between, ms);
      health = compute(&between);
      judgement(&health, then);
      cr_assert_str_eq(then, now, "seed step %d: changed early, after %llu ms", i,
                       (unsigned long long)ms);
    }
    if (next_mono_ms == UINT64_MAX) continue;
    advance(&input, until_ms - 1);
    health = compute(&input);
    judgement(&health, then);
    cr_assert_str_eq(then, now, "step %d: changed one millisecond early", i);
    cr_assert_eq(health.next_change_mono_ms, next_mono_ms, "step %d", i);
    advance(&input, 1);
    health = compute(&input);
    judgement(&health, then);
    cr_assert_str_neq(then, now, "step %d: did not change", i);
  }
}

/* ---- enforcement ---- */

Test(health, engine_down) {
  struct health_input input = healthy();
  input.is_engine_down = true;
  struct health health = compute(&input);
  cr_assert_eq(health.state, STATE(CRITICAL));
  cr_assert_str_eq(reason_of(&health), "engine_down");
  cr_assert_str_eq(health.reasons[0].value, "down");
  cr_assert_str_eq(health.reasons[0].limit, "ready");
  input.engine_reason = "canary_ran";
  health = compute(&input);
  cr_assert_str_eq(health.reasons[0].value, "canary_ran");
  input.engine_reason = "";
  health = compute(&input);
  cr_assert_str_eq(health.reasons[0].value, "down");
  /* It stays what it was when the sensor falls silent, and the worst decides. */
  input.last_seen_mono_ms = NOW - 400000;
  health = compute(&input);
  cr_assert_eq(health.state, STATE(CRITICAL));
  cr_assert(health.is_silent);
}

Test(health, tampered_until_15_minutes_after_the_repair) {
  struct health_input input = healthy();
  input.tampered_until_mono_ms = NOW + 1;
  struct health health = compute(&input);
  cr_assert_eq(health.state, STATE(CRITICAL));
  cr_assert_str_eq(reason_of(&health), "enforcement_tampered");
  cr_assert_str_eq(health.reasons[0].value, "repaired 899 s ago");
  cr_assert_str_eq(health.reasons[0].limit, "none in 15 min");
  cr_assert_eq(health.next_change_mono_ms, NOW + 1);
  input.tampered_until_mono_ms = NOW;
  health = compute(&input);
  cr_assert_eq(health.n_reasons, 0);
  input.tampered_until_mono_ms = NOW + HEALTH_TAMPERED_MS;
  health = compute(&input);
  cr_assert_str_eq(health.reasons[0].value, "repaired 0 s ago");
}

Test(health, lifted_until_a_newer_state_is_in_force) {
  struct health_input input = healthy();
  input.lifted_wall_ms = input.now_wall_ms - 12345;
  struct health health = compute(&input);
  cr_assert_eq(health.state, STATE(CRITICAL));
  cr_assert_str_eq(reason_of(&health), "enforcement_lifted");
  cr_assert_str_eq(health.reasons[0].value, "lifted 12 s ago");
  cr_assert_str_eq(health.reasons[0].limit, "in force");
  input.lifted_wall_ms = input.now_wall_ms + 5000;
  health = compute(&input);
  cr_assert_str_eq(health.reasons[0].value, "lifted 0 s ago", "a clock that stepped back");
}

Test(health, rules_that_failed) {
  struct health_input input = healthy();
  input.n_rules_failed = 1;
  struct health health = compute(&input);
  cr_assert_eq(health.state, STATE(DEGRADED));
  cr_assert_str_eq(reason_of(&health), "rule_failed");
  cr_assert_str_eq(health.reasons[0].value, "1 failed");
  cr_assert_str_eq(health.reasons[0].limit, "none");
}

Test(health, rollback) {
  struct health_input input = healthy();
  input.desired_rollback = true;
  input.desired_generation = 7;
  input.in_force_generation = 9;
  struct health health = compute(&input);
  cr_assert_eq(health.state, STATE(DEGRADED));
  cr_assert_str_eq(reason_of(&health), "desired_rollback");
  cr_assert_str_eq(health.reasons[0].value, "wanted 7");
  cr_assert_str_eq(health.reasons[0].limit, "in force 9");
}

Test(health, losses_of_five_minutes) {
  struct health_input input = healthy();
  input.n_events_lost = 12;
  input.last_event_loss_mono_ms = NOW - 299999;
  struct health health = compute(&input);
  cr_assert_eq(health.state, STATE(WATCH));
  cr_assert_str_eq(reason_of(&health), "event_loss");
  cr_assert_str_eq(health.reasons[0].value, "12 lost");
  cr_assert_str_eq(health.reasons[0].limit, "none in 5 min");
  cr_assert_eq(health.next_change_mono_ms, NOW + 1);
  input.last_event_loss_mono_ms = NOW - 300000;
  health = compute(&input);
  cr_assert_eq(health.n_reasons, 0);
  input.last_event_loss_mono_ms = 0;
  health = compute(&input);
  cr_assert_eq(health.n_reasons, 0);
}

Test(health, coverage) {
  struct health_input input = healthy();
  input.coverage_partial = true;
  struct health health = compute(&input);
  cr_assert_eq(health.state, STATE(WATCH));
  cr_assert_str_eq(reason_of(&health), "coverage_partial");
  cr_assert_str_eq(health.reasons[0].value, "in part");
  cr_assert_str_eq(health.reasons[0].limit, "whole");
}

Test(health, the_critical_ones_in_a_sentence) {
  struct health_input input = healthy();
  char text[128];
  struct health health = compute(&input);
  cr_assert_str_eq(health_critical_text(&health, text, sizeof text), "");
  input.is_engine_down = true;
  input.coverage_partial = true;
  input.n_rules_failed = 3;
  input.tampered_until_mono_ms = NOW + 1000;
  health = compute(&input);
  cr_assert_str_eq(health_critical_text(&health, text, sizeof text),
                   "engine_down, enforcement_tampered");
  cr_assert_str_eq(health_critical_text(&health, text, 8), "engine_");
}
