// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/observed.h"

#include <criterion/criterion.h>
#include <string.h>

/* Every edge of what may be said of a containment. What holds for other rules is in
 * test_convert_rule.c too. */

#define RULE(name) TELOVIX__V1__RULE_STATE__RULE_STATE_##name
#define STATE(name) TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_##name

static uint8_t revision[16] = {1}, former[16] = {2}, boot[16] = {3};

/* Contained, proved a second ago. */
static Telovix__Store__V1__RuleRecord proved(void) {
  Telovix__Store__V1__RuleRecord record = TELOVIX__STORE__V1__RULE_RECORD__INIT;
  record.template_ = (char *)"network-containment";
  record.revision = record.observed_revision = (ProtobufCBinaryData){16, revision};
  record.observed_boot_id = (ProtobufCBinaryData){16, boot};
  record.observed_state = RULE(APPLIED);
  record.observed_reason = (char *)"theirs";
  record.observed_detail = (char *)"the host's words";
  return record;
}

static struct rule_view fresh(void) {
  struct rule_view view = {.has_boot_id = true,
                           .verified_wall_ms = 1700000000000,
                           .verified_age_ms = 1000,
                           .stale_after_ms = 90000};
  memcpy(view.boot_id, boot, sizeof boot);
  return view;
}

static void expect(const Telovix__Store__V1__RuleRecord *record, const struct rule_view *view,
                   Telovix__V1__ContainmentState state, const char *reason) {
  struct observed_containment observed = observed_containment(record, view);
  cr_assert_eq(observed.state, state, "%d instead of %d", observed.state, state);
  cr_assert_str_eq(observed.reason, reason);
  cr_assert_eq(*observed.detail != 0, *reason != 0, "a reason has a sentence");
  cr_assert_eq(observed.is_reported, strcmp(reason, "theirs") == 0);
}

Test(observed, none) {
  struct rule_view view = fresh();
  expect(NULL, &view, STATE(NONE), "");
  view.is_silent = true;
  expect(NULL, &view, STATE(NONE), "");
  view.unconfirmed_since_restart = true;
  view.has_boot_id = false;
  expect(NULL, &view, STATE(NONE), "");
  /* The host keeps what this Console does not know. */
  view.desired_rollback = true;
  expect(NULL, &view, STATE(UNKNOWN), "desired_rollback");
}

Test(observed, as_reported) {
  static const struct {
    Telovix__V1__RuleState reported;
    Telovix__V1__ContainmentState state;
  } cases[] = {{RULE(PENDING), STATE(PENDING)}, {RULE(APPLIED), STATE(CONTAINED)},
               {RULE(PARTIAL), STATE(PARTIAL)}, {RULE(REFUSED), STATE(FAILED)},
               {RULE(FAILED), STATE(FAILED)},   {RULE(UNKNOWN), STATE(UNKNOWN)},
               {4711, STATE(UNKNOWN)}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Telovix__Store__V1__RuleRecord record = proved();
    struct rule_view view = fresh();
    record.observed_state = cases[i].reported;
    expect(&record, &view, cases[i].state, "theirs");
  }
}

/* An offline sensor is pending, never contained; a report on another revision is none. */
Test(observed, pending) {
  Telovix__Store__V1__RuleRecord record = proved();
  struct rule_view view = fresh();
  record.observed_revision.len = 0;
  expect(&record, &view, STATE(PENDING), "");
  view.is_silent = true;
  expect(&record, &view, STATE(PENDING), "sensor_silent");
  view.has_boot_id = false;
  expect(&record, &view, STATE(PENDING), "sensor_silent");
  record.observed_revision = (ProtobufCBinaryData){16, former};
  view = fresh();
  expect(&record, &view, STATE(PENDING), "");
  view.is_lifted = true;
  expect(&record, &view, STATE(PENDING), "");
}

Test(observed, release_pending) {
  Telovix__Store__V1__RuleRecord record = proved();
  struct rule_view view = fresh();
  record.removing = true;
  expect(&record, &view, STATE(RELEASE_PENDING), "");
  view.is_silent = true;
  expect(&record, &view, STATE(RELEASE_PENDING), "sensor_silent");
  view = fresh();
  view.boot_id[0] ^= 1;
  view.is_lifted = true;
  expect(&record, &view, STATE(RELEASE_PENDING), "");
}

/* Whatever the host said last: in none of these it is contained. */
Test(observed, unknown) {
  for (int reported = RULE(PENDING); reported <= RULE(UNKNOWN); reported++) {
    Telovix__Store__V1__RuleRecord record = proved();
    struct rule_view view = fresh();
    record.observed_state = (uint32_t)reported;
    view.is_silent = true;
    expect(&record, &view, STATE(UNKNOWN), "sensor_silent");
    view = fresh();
    view.boot_id[15] ^= 1;
    expect(&record, &view, STATE(UNKNOWN), "new_boot");
    view = fresh();
    view.has_boot_id = false;
    expect(&record, &view, STATE(UNKNOWN), "new_boot");
  }
}

Test(observed, a_proof_has_an_age) {
  for (int reported = RULE(APPLIED); reported <= RULE(PARTIAL); reported++) {
    Telovix__Store__V1__RuleRecord record = proved();
    struct rule_view view = fresh();
    Telovix__V1__ContainmentState good =
        reported == RULE(APPLIED) ? STATE(CONTAINED) : STATE(PARTIAL);
    record.observed_state = (uint32_t)reported;
    view.verified_age_ms = 90000 + OBSERVED_VERIFY_SLACK_MS;
    expect(&record, &view, good, "theirs");
    view.verified_age_ms++;
    expect(&record, &view, STATE(UNKNOWN), "verification_stale");
    view = fresh();
    view.verified_wall_ms = 0;
    expect(&record, &view, STATE(UNKNOWN), "not_verified");
    view.unconfirmed_since_restart = true;
    expect(&record, &view, STATE(UNKNOWN), "unconfirmed_since_restart");
  }
  /* What claims no proof needs none. */
  Telovix__Store__V1__RuleRecord record = proved();
  struct rule_view view = fresh();
  view.verified_wall_ms = 0;
  record.observed_state = RULE(FAILED);
  expect(&record, &view, STATE(FAILED), "theirs");
  record.observed_state = RULE(PENDING);
  expect(&record, &view, STATE(PENDING), "theirs");
}

Test(observed, lifted) {
  for (int reported = RULE(PENDING); reported <= RULE(UNKNOWN); reported++) {
    Telovix__Store__V1__RuleRecord record = proved();
    struct rule_view view = fresh();
    record.observed_state = (uint32_t)reported;
    view.is_lifted = true;
    expect(&record, &view, STATE(FAILED), "enforcement_lifted");
    view.is_silent = true;
    expect(&record, &view, STATE(UNKNOWN), "sensor_silent");
  }
}

/* A blocked file is judged as before: its proof is not the containment's. */
Test(observed, other_rules) {
  Telovix__Store__V1__RuleRecord record = proved();
  struct rule_view view = fresh();
  record.template_ = (char *)"block-binary";
  view.verified_wall_ms = 0;
  view.unconfirmed_since_restart = true;
  struct observed observed = observed_rule(&record, &view);
  cr_assert_eq(observed.state, RULE(APPLIED));
  cr_assert(observed.is_reported);
  view.is_lifted = true;
  observed = observed_rule(&record, &view);
  cr_assert_eq(observed.state, RULE(FAILED));
  cr_assert_str_eq(observed.reason, "enforcement_lifted");
}

Test(observed, a_revoked_sensor_is_not_heard) {
  Telovix__Store__V1__RuleRecord record = proved();
  struct rule_view view = fresh();
  view.is_revoked = true;
  expect(&record, &view, STATE(UNKNOWN), "sensor_revoked");
  /* It may have done what is wanted, and cannot say so. */
  record.observed_revision = (ProtobufCBinaryData){16, former};
  expect(&record, &view, STATE(UNKNOWN), "sensor_revoked");
  /* The release is wanted, and takes effect at its re-enrollment. */
  record.removing = true;
  expect(&record, &view, STATE(RELEASE_PENDING), "sensor_revoked");
  expect(NULL, &view, STATE(NONE), "");
  view.desired_rollback = true;
  expect(NULL, &view, STATE(UNKNOWN), "desired_rollback");
}
