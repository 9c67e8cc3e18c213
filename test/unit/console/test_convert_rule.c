// SPDX-License-Identifier: GPL-2.0-or-later
#include <criterion/criterion.h>
#include <string.h>

#include "console/convert.h"

/* What may be said of a rule: the one place where desired and observed meet. */

#define NOW 1700000000000ull
#define STATE(name) TELOVIX__V1__RULE_STATE__RULE_STATE_##name

static uint8_t revision[16] = {1}, other[16] = {2}, boot[16] = {3};

static Telovix__Store__V1__RuleRecord applied(void) {
  static Telovix__Store__V1__Gap gap = TELOVIX__STORE__V1__GAP__INIT, *gaps[] = {&gap};
  Telovix__Store__V1__RuleRecord record = TELOVIX__STORE__V1__RULE_RECORD__INIT;
  gap.gap = (char *)"copy";
  record.rule_id = (char *)"rule_a";
  record.path = (char *)"/a";
  record.desired_mode = 1;
  record.revision = record.observed_revision = (ProtobufCBinaryData){16, revision};
  record.observed_boot_id = (ProtobufCBinaryData){16, boot};
  record.observed_state = 2;
  record.observed_reason = (char *)"no_file_yet";
  record.observed_detail = (char *)"there is no file";
  record.error_number = 5;
  record.backend = (char *)"lsm";
  record.file = (char *)"/a";
  record.gaps = gaps;
  record.n_gaps = 1;
  record.hits = 9;
  record.created_wall_ms = NOW - 9000;
  record.changed_wall_ms = NOW - 2500;
  record.applied_wall_ms = NOW - 2000;
  return record;
}

static struct rule_view live(void) {
  struct rule_view view = {.has_boot_id = true,
                           .verified_wall_ms = NOW - 1000,
                           .now_wall_ms = NOW,
                           .scope_cgroup = "/test"};
  memcpy(view.boot_id, boot, sizeof boot);
  return view;
}

static struct tlx_arena arena;

static void start(void) {
  tlx_arena_init(&arena, 1 << 20);
}

static void stop(void) {
  tlx_arena_done(&arena);
}

TestSuite(convert_rule, .init = start, .fini = stop);

Test(convert_rule, as_reported) {
  Telovix__Store__V1__RuleRecord record = applied();
  struct rule_view view = live();
  const Telovix__V1__EnforcementRule *rule = convert_rule(&record, &view, &arena);
  cr_assert(rule);
  cr_assert_eq(rule->observed_state, STATE(APPLIED));
  cr_assert_str_eq(rule->observed_reason, "no_file_yet");
  cr_assert_str_eq(rule->observed_detail, "there is no file");
  cr_assert_str_eq(rule->backend, "lsm");
  cr_assert_str_eq(rule->hook, "sys_execve");
  cr_assert_str_eq(rule->action, "Sigkill");
  cr_assert_eq(rule->n_gaps, 1);
  cr_assert_str_eq(rule->gaps[0]->gap, "copy");
  cr_assert_eq(rule->error_number, 5);
  cr_assert_eq(rule->changed_age->seconds, 2);
  cr_assert_eq(rule->changed_age->nanos, 500000000);
  cr_assert(rule->applied_at && rule->verified_at);
  cr_assert_str_eq(rule->scope_cgroup, "/test");
}

/* Whatever makes the report worthless, nothing of it is shown as if it held now. */
static void expect(const Telovix__Store__V1__RuleRecord *record, const struct rule_view *view,
                   Telovix__V1__RuleState state, const char *reason) {
  const Telovix__V1__EnforcementRule *rule = convert_rule(record, view, &arena);
  cr_assert_eq(rule->observed_state, state, "%d", rule->observed_state);
  cr_assert_str_eq(rule->observed_reason, reason);
  cr_assert_str_eq(rule->backend, "");
  cr_assert_str_eq(rule->file, "");
  cr_assert_eq(rule->n_gaps, 0);
  cr_assert_eq(rule->error_number, 0);
  cr_assert_null(rule->verified_at);
  cr_assert_eq(rule->hits, 9);
}

Test(convert_rule, what_no_longer_holds) {
  Telovix__Store__V1__RuleRecord record = applied();
  struct rule_view view = live();
  view.is_silent = true;
  expect(&record, &view, STATE(UNKNOWN), "sensor_silent");
  view = live();
  view.boot_id[0] ^= 1;
  expect(&record, &view, STATE(UNKNOWN), "new_boot");
  view = live();
  view.has_boot_id = false;
  expect(&record, &view, STATE(UNKNOWN), "new_boot");
  view = live();
  view.desired_rollback = true;
  expect(&record, &view, STATE(UNKNOWN), "desired_rollback");
  view = live();
  view.is_engine_down = true;
  expect(&record, &view, STATE(UNKNOWN), "engine_down");
  view = live();
  record.observed_revision = (ProtobufCBinaryData){16, other};
  expect(&record, &view, STATE(PENDING), "");
  view.is_silent = true;
  expect(&record, &view, STATE(PENDING), "sensor_silent");
  view = live();
  record.observed_revision.len = 0;
  expect(&record, &view, STATE(PENDING), "");
  /* Deleted comes before all of it. */
  record = applied();
  record.removing = true;
  expect(&record, &view, STATE(REMOVING), "");
  view.is_silent = true;
  expect(&record, &view, STATE(REMOVING), "sensor_silent");
}

Test(convert_rule, a_containment) {
  Telovix__Store__V1__RuleRecord record = applied();
  struct rule_view view = live();
  char one[] = "in:10.0.0.0/8", two[] = "out:192.0.2.0/24", *allow[] = {one, two};
  record.template_ = (char *)"network-containment";
  record.path = (char *)"";
  record.allow = allow;
  record.n_allow = 2;
  record.on_lost_console = 2;
  const Telovix__V1__EnforcementRule *rule = convert_rule(&record, &view, &arena);
  cr_assert_eq(rule->observed_state, STATE(APPLIED));
  cr_assert_str_eq(rule->template_, "network-containment");
  cr_assert_str_eq(rule->hook, "cgroup_skb");
  cr_assert_str_eq(rule->action, "Deny");
  cr_assert_eq(rule->n_allow, 2);
  cr_assert_str_eq(rule->allow[1], "out:192.0.2.0/24");
  cr_assert_neq(rule->allow[1], two, "copied");
  cr_assert_eq(rule->on_lost_console, TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_RELEASE);
  view.verified_wall_ms = 0;
  expect(&record, &view, STATE(UNKNOWN), "not_verified");
}

Test(convert_rule, an_engine_that_is_down_says_why_a_rule_failed) {
  Telovix__Store__V1__RuleRecord record = applied();
  struct rule_view view = live();
  view.is_engine_down = true;
  record.observed_state = STATE(FAILED);
  const Telovix__V1__EnforcementRule *rule = convert_rule(&record, &view, &arena);
  cr_assert_eq(rule->observed_state, STATE(FAILED));
  cr_assert_str_eq(rule->observed_detail, "there is no file");
}

Test(convert_rule, a_clock_that_stepped_back) {
  Telovix__Store__V1__RuleRecord record = applied();
  struct rule_view view = live();
  view.now_wall_ms = NOW - 60000;
  cr_assert_eq(convert_rule(&record, &view, &arena)->changed_age->seconds, 0);
}

Test(convert_rule, no_room) {
  Telovix__Store__V1__RuleRecord record = applied();
  struct rule_view view = live();
  for (size_t cap = 0; cap < 900; cap += 50) {
    struct tlx_arena small;
    tlx_arena_init(&small, cap);
    const Telovix__V1__EnforcementRule *rule = convert_rule(&record, &view, &small);
    cr_assert(!rule || rule->n_gaps == 1, "all of it or nothing");
    tlx_arena_done(&small);
  }
}

Test(convert_rule, event) {
  Telovix__Store__V1__EventRecord record = TELOVIX__STORE__V1__EVENT_RECORD__INIT;
  record.event_id = (char *)"event_a";
  record.path = (char *)"/a";
  record.type = 2;
  record.uid = 1000;
  record.count = 40;
  record.received_wall_ms = NOW;
  const Telovix__V1__Event *event = convert_event(&record, &arena);
  cr_assert_str_eq(event->event_id, "event_a");
  cr_assert_eq(event->type, TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_EXEC_WOULD_BLOCK);
  cr_assert_eq(event->uid, 1000);
  cr_assert_eq(event->count, 40);
  cr_assert_eq(event->received_at->seconds, (int64_t)(NOW / 1000));
  cr_assert_null(event->happened_at);
}
