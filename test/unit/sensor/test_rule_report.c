// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/rule_report.h"

#include <criterion/criterion.h>
#include <string.h>

/* ---- one sensor with two rules ---- */

struct world {
  struct engine_rule rules[2];
  struct engine_view view;
  struct event_queue events;
  struct rule_report report;
  struct tlx_arena arena;
  Telovix__V1__HeartbeatRequest request;
};

static const struct engine_view *view_of(void *arg) {
  return &((struct world *)arg)->view;
}

static struct world *world_new(void) {
  struct world *world = calloc(1, sizeof *world);
  cr_assert(world);
  cr_assert_eq(event_queue_init(&world->events), 0);
  tlx_arena_init(&world->arena, 1 << 20);
  for (unsigned i = 0; i < 2; i++) {
    snprintf(world->rules[i].rule_id, sizeof world->rules[i].rule_id, "rule_%u", i);
    strcpy(world->rules[i].path, "/usr/bin/nc");
    world->rules[i].result.state = RULE_APPLIED;
    world->rules[i].backend = bpf_backend_word(BPF_BACKEND_LSM);
    world->rules[i].since_boot_ns = 5;
    world->rules[i].revision[0] = (uint8_t)(i + 1);
  }
  world->view = (struct engine_view){
      .state = ENGINE_READY, .reason = "", .rules = world->rules, .n_rules = 2};
  world->report = (struct rule_report){.view = view_of, .arg = world, .events = &world->events};
  return world;
}

static void world_free(struct world *world) {
  event_queue_done(&world->events);
  tlx_arena_done(&world->arena);
  free(world);
}

static void fill(struct world *world) {
  tlx_arena_reset(&world->arena);
  world->request = (Telovix__V1__HeartbeatRequest)TELOVIX__V1__HEARTBEAT_REQUEST__INIT;
  rule_report_fill(&world->report, &world->request, &world->arena);
}

static bool arrive(struct world *world, bool report_all, uint64_t acknowledged) {
  Telovix__V1__HeartbeatReply reply = TELOVIX__V1__HEARTBEAT_REPLY__INIT;
  reply.report_all = report_all;
  reply.acknowledged_event_seq = acknowledged;
  return rule_report_arrived(&world->report, &reply);
}

Test(rule_report, a_result_is_told_until_it_arrived_and_then_no_more) {
  struct world *world = world_new();
  fill(world);
  cr_assert_eq(world->request.n_rule_reports, 2u);
  cr_assert(world->request.engine);
  rule_report_retry(&world->report);
  fill(world);
  cr_assert_eq(world->request.n_rule_reports, 2u, "it may not have arrived");
  cr_assert_not(arrive(world, false, 0));
  fill(world);
  cr_assert_eq(world->request.n_rule_reports, 0u);
  cr_assert_null(world->request.engine);
  cr_assert_eq(world->request.engine_beat->state, TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_READY);
  world_free(world);
}

Test(rule_report, what_changed_is_told_alone) {
  struct world *world = world_new();
  fill(world);
  arrive(world, false, 0);
  rule_result_set(&world->rules[1].result, RULE_REASON_NEEDS_FORCE);
  world->rules[1].result.gaps = 1u << RULE_GAP_COPY;
  world->rules[1].backend = "";
  fill(world);
  cr_assert_eq(world->request.n_rule_reports, 1u);
  const Telovix__V1__RuleReport *report = world->request.rule_reports[0];
  cr_assert_str_eq(report->rule_id, "rule_1");
  cr_assert_eq(report->state, TELOVIX__V1__RULE_STATE__RULE_STATE_REFUSED);
  cr_assert_str_eq(report->reason, "needs_force");
  cr_assert(strstr(report->detail, "force"));
  cr_assert_str_eq(report->backend, "");
  cr_assert_eq(report->revision.data[0], 2);
  cr_assert_eq(report->n_gaps, 1u);
  cr_assert_str_eq(report->gaps[0]->gap, "copy");
  world->rules[1].hits++;
  fill(world);
  arrive(world, false, 0);
  fill(world);
  cr_assert_eq(world->request.n_rule_reports, 0u);
  world_free(world);
}

Test(rule_report, nothing_is_said_of_a_rule_nobody_looked_at) {
  struct world *world = world_new();
  world->rules[0].since_boot_ns = 0;
  fill(world);
  cr_assert_eq(world->request.n_rule_reports, 1u);
  cr_assert_null(world->request.in_force);
  world->view.has_in_force = true;
  world->view.in_force.generation = 4;
  fill(world);
  cr_assert_eq(world->request.in_force->generation, 4u);
  world_free(world);
}

Test(rule_report, all_again_when_the_console_asks) {
  struct world *world = world_new();
  fill(world);
  cr_assert(arrive(world, true, 0), "at once");
  fill(world);
  cr_assert_eq(world->request.n_rule_reports, 2u);
  cr_assert(world->request.engine);
  world_free(world);
}

Test(rule_report, names_that_are_no_text) {
  struct world *world = world_new();
  strcpy(world->rules[0].result.file, "/tmp/\xff\xfe");
  strcpy(world->rules[0].result.step, "cannot open /tmp/\xff");
  fill(world);
  cr_assert_str_eq(world->request.rule_reports[0]->file, "/tmp/??");
  cr_assert_null(strchr(world->request.rule_reports[0]->detail, '\xff'));
  world_free(world);
}

Test(rule_report, events_until_they_are_durable) {
  struct world *world = world_new();
  char path[] = "/x";
  for (unsigned i = 0; i < EVENT_BATCH_MAX + 3; i++) {
    struct queued_event event = {.type = 1, .path = path};
    snprintf(event.rule_id, sizeof event.rule_id, "rule_%u", i);
    event_queue_add(&world->events, &event);
  }
  fill(world);
  cr_assert_eq(world->request.n_events, EVENT_BATCH_MAX);
  cr_assert_eq(world->request.event_stream.len, 16u);
  cr_assert_not(arrive(world, false, 0), "nothing was acknowledged: the next interval");
  fill(world);
  cr_assert_eq(world->request.n_events, EVENT_BATCH_MAX);
  cr_assert_eq(world->request.events[0]->seq, 1u);
  cr_assert(arrive(world, false, EVENT_BATCH_MAX), "more wait");
  fill(world);
  cr_assert_eq(world->request.n_events, 3u);
  cr_assert_not(arrive(world, false, EVENT_BATCH_MAX + 3));
  fill(world);
  cr_assert_eq(world->request.n_events, 0u);
  cr_assert_eq(world->request.event_stream.len, 0u);
  world_free(world);
}
