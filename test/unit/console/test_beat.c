// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/beat.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "console/limits.h"

/* The edges of what a heartbeat may say; test_rules.py sends the rest of them over the wire. */

#define RULE "rule_0123456789abcdef"
#define NOW 1700000000000ull

static uint8_t id[16] = {1}, digest[32] = {2};
#define BLOB(bytes) ((ProtobufCBinaryData){sizeof bytes, bytes})

static Telovix__V1__HeartbeatRequest request;
static Telovix__V1__RuleReport rule;
static Telovix__V1__RuleReport *rules[REPORT_RULES_MAX + 1];
static Telovix__V1__EnforcementEvent events[REPORT_EVENTS_MAX + 10];
static Telovix__V1__EnforcementEvent *event_list[REPORT_EVENTS_MAX + 10];
static Telovix__V1__DesiredName in_force;
static Telovix__V1__EngineBeat engine_beat;
static Telovix__V1__SensorCounters counters;

static void start(void) {
  request = (Telovix__V1__HeartbeatRequest)TELOVIX__V1__HEARTBEAT_REQUEST__INIT;
  request.boot_id = BLOB(id);
  request.boot_ns = 1000000000000;
  rule = (Telovix__V1__RuleReport)TELOVIX__V1__RULE_REPORT__INIT;
  rule.rule_id = (char *)RULE;
  rule.revision = BLOB(id);
  rule.state = TELOVIX__V1__RULE_STATE__RULE_STATE_APPLIED;
  for (size_t i = 0; i < REPORT_RULES_MAX + 1; i++)
    rules[i] = &rule;
  request.rule_reports = rules;
  for (size_t i = 0; i < REPORT_EVENTS_MAX + 10; i++) {
    events[i] = (Telovix__V1__EnforcementEvent)TELOVIX__V1__ENFORCEMENT_EVENT__INIT;
    events[i].seq = i + 1;
    events[i].type = TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_EXEC_BLOCKED;
    event_list[i] = &events[i];
  }
  request.events = event_list;
  request.event_stream = BLOB(id);
  in_force = (Telovix__V1__DesiredName)TELOVIX__V1__DESIRED_NAME__INIT;
  in_force.epoch = BLOB(id);
  in_force.digest = BLOB(digest);
  in_force.generation = 7;
  engine_beat = (Telovix__V1__EngineBeat)TELOVIX__V1__ENGINE_BEAT__INIT;
  counters = (Telovix__V1__SensorCounters)TELOVIX__V1__SENSOR_COUNTERS__INIT;
}

TestSuite(beat, .init = start);

/* The first field that is found wrong, "" = none. */
static const char *fault(void) {
  static struct tlx_status status;
  tlx_status_clear(&status);
  beat_check(&request, &status);
  return status.n_violations ? status.violations[0].field : "";
}

Test(beat, a_bare_one_is_fine) {
  request.event_stream.len = 0;
  cr_assert_str_eq(fault(), "");
  request.boot_id.len = 15;
  cr_assert_str_eq(fault(), "boot_id");
  request.boot_id.len = 16;
  request.boot_ns = 0;
  cr_assert_str_eq(fault(), "boot_ns");
}

Test(beat, rules) {
  static char text[RULE_PATH_MAX + 2];
  request.n_rule_reports = REPORT_RULES_MAX;
  cr_assert_str_eq(fault(), "");
  request.n_rule_reports++;
  cr_assert_str_eq(fault(), "rule_reports");
  request.n_rule_reports = 1;
  for (int state = 0; state < 10; state++) {
    rule.state = (Telovix__V1__RuleState)state;
    cr_assert_str_eq(fault(), state >= 1 && state <= 6 ? "" : "rule_reports[0].state", "%d", state);
  }
  rule.state = TELOVIX__V1__RULE_STATE__RULE_STATE_FAILED;
  rule.error_number = 4095;
  cr_assert_str_eq(fault(), "");
  rule.error_number = 4096;
  cr_assert_str_eq(fault(), "rule_reports[0].error_number");
  rule.error_number = 0;
  rule.reason = text;
  memset(text, 'a', sizeof text - 1);
  text[47] = 0;
  cr_assert_str_eq(fault(), "");
  text[3] = '-';
  cr_assert_str_eq(fault(), "rule_reports[0].reason");
  text[3] = text[47] = 'a';
  text[48] = 0;
  cr_assert_str_eq(fault(), "rule_reports[0].reason");
  text[48] = 'a';
  rule.reason = (char *)"";
  rule.file = text;
  text[RULE_PATH_MAX] = 0;
  cr_assert_str_eq(fault(), "");
  text[RULE_PATH_MAX] = 'a';
  cr_assert_str_eq(fault(), "rule_reports[0].file");
  rule.file = (char *)"";
  rule.detail = text;
  text[511] = 0;
  cr_assert_str_eq(fault(), "");
  text[511] = 'a';
  text[512] = 0;
  cr_assert_str_eq(fault(), "rule_reports[0].detail");
  rule.detail = (char *)"";
  rule.backend = text;
  text[31] = 0;
  cr_assert_str_eq(fault(), "");
  text[31] = 'a';
  text[32] = 0;
  cr_assert_str_eq(fault(), "rule_reports[0].backend");
}

Test(beat, many_faults_are_a_few_words) {
  struct tlx_status status;
  request.n_rule_reports = REPORT_RULES_MAX;
  rule.rule_id = (char *)"x";
  rule.state = (Telovix__V1__RuleState)77;
  tlx_status_clear(&status);
  beat_check(&request, &status);
  cr_assert_eq(status.code, TLX_GRPC_INVALID_ARGUMENT);
  cr_assert_eq(status.n_violations, TLX_STATUS_VIOLATIONS_MAX);
}

Test(beat, events) {
  request.n_events = REPORT_EVENTS_MAX + 10;
  cr_assert_str_eq(fault(), "", "what is too much is left for the next one");
  events[5].seq = events[4].seq;
  cr_assert_str_eq(fault(), "events[5].seq");
  events[5].seq = 1000;
  cr_assert_str_eq(fault(), "events[6].seq");
  start();
  request.n_events = 1;
  events[0].seq = 0;
  cr_assert_str_eq(fault(), "events[0].seq");
  events[0].seq = UINT64_MAX;
  cr_assert_str_eq(fault(), "");
  for (int type = 0; type < 8; type++) {
    events[0].type = (Telovix__V1__EventType)type;
    cr_assert_str_eq(fault(), type >= 1 && type <= 6 ? "" : "events[0].type", "%d", type);
  }
  events[0].type = TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_EXEC_BLOCKED;
  request.event_stream.len = 0;
  cr_assert_str_eq(fault(), "event_stream");
}

Test(beat, names_and_engine) {
  request.in_force = &in_force;
  request.engine_beat = &engine_beat;
  cr_assert_str_eq(fault(), "");
  in_force.epoch.len = 0;
  cr_assert_str_eq(fault(), "in_force.epoch");
  in_force.epoch.len = 16;
  in_force.digest.len = 31;
  cr_assert_str_eq(fault(), "in_force.digest");
  in_force.digest.len = 32;
  engine_beat.state = (Telovix__V1__EngineState)5;
  cr_assert_str_eq(fault(), "");
  engine_beat.state = (Telovix__V1__EngineState)6;
  cr_assert_str_eq(fault(), "engine_beat.state");
}

/* ---- copies ---- */

Test(beat, live) {
  struct live_beat beat;
  beat_live(&request, &beat);
  cr_assert_not(beat.has_in_force || beat.has_beat || beat.has_counters);
  request.in_force = &in_force;
  request.engine_beat = &engine_beat;
  request.counters = &counters;
  engine_beat.state = TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_READY;
  engine_beat.verified_boot_ns = 11;
  engine_beat.repaired_boot_ns = 12;
  engine_beat.desired_rollback = engine_beat.coverage_partial = true;
  counters.events_lost = 13;
  beat_live(&request, &beat);
  cr_assert(beat.has_in_force && beat.has_beat && beat.has_counters);
  cr_assert_eq(beat.in_force.generation, 7);
  cr_assert_arr_eq(beat.in_force.epoch, id, 16);
  cr_assert_arr_eq(beat.in_force.digest, digest, 32);
  cr_assert_eq(beat.state, 3);
  cr_assert_eq(beat.verified_boot_ns, 11);
  cr_assert_eq(beat.repaired_boot_ns, 12);
  cr_assert(beat.desired_rollback && beat.coverage_partial);
  cr_assert_eq(beat.events_lost, 13);
  /* What is to be stored is stored before its proof counts. */
  cr_assert_not(beat.proof_waits);
  request.n_rule_reports = 1;
  beat_live(&request, &beat);
  cr_assert(beat.proof_waits);
  request.n_rule_reports = 0;
  request.n_events = 1;
  beat_live(&request, &beat);
  cr_assert(beat.proof_waits);
  request.n_events = 0;
}

Test(beat, copy_outlives_the_message) {
  struct op_report *op = calloc(1, sizeof *op);
  char detail[] = "a sentence", path[] = "/bin/x", gap_text[] = "copy";
  Telovix__V1__RuleGap gap = TELOVIX__V1__RULE_GAP__INIT, *gaps[] = {&gap};
  Google__Protobuf__Timestamp sent = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  gap.gap = gap_text;
  rule.detail = detail;
  rule.gaps = gaps;
  rule.n_gaps = 1;
  request.n_rule_reports = 2;
  request.n_events = REPORT_EVENTS_MAX + 10;
  request.in_force = &in_force;
  events[0].path = path;
  events[0].boot_ns = request.boot_ns - 3000000000;
  events[1].boot_ns = request.boot_ns + 1;
  events[1].count = 40;
  sent.seconds = 1600000000;
  request.wall_time = &sent;
  cr_assert_eq(beat_copy(&request, false, false, NOW, op), 0);
  memset(detail, 'x', sizeof detail - 1);
  memset(path, 'x', sizeof path - 1);
  memset(gap_text, 'x', sizeof gap_text - 1);
  cr_assert_eq(op->n_rules, 2);
  cr_assert_str_eq(op->rules[1].rule_id, RULE);
  cr_assert_str_eq(op->rules[1].detail, "a sentence");
  cr_assert_str_eq(op->rules[1].gaps[0]->gap, "copy");
  cr_assert_eq(op->rules[1].state, 2);
  cr_assert_eq(op->n_events, REPORT_EVENTS_MAX);
  cr_assert(tlx_id_valid("event_", op->events[0].event_id));
  cr_assert_str_neq(op->events[0].event_id, op->events[1].event_id);
  cr_assert_str_eq(op->events[0].record.path, "/bin/x");
  cr_assert_eq(op->events[0].record.happened_wall_ms, 1599999997000, "by the host's clock");
  cr_assert_eq(op->events[1].record.happened_wall_ms, 1600000000000, "its age is not known");
  cr_assert_eq(op->events[0].record.count, 1);
  cr_assert_eq(op->events[1].record.count, 40);
  cr_assert(op->has_event_stream && op->has_in_force);
  cr_assert_eq(op->in_force.generation, 7);
  cr_assert_geq(op->op.cost, sizeof *op + sizeof *op->events * REPORT_EVENTS_MAX);
  op_report_free(op);
}

Test(beat, without_the_hosts_clock) {
  struct op_report *op = calloc(1, sizeof *op);
  request.n_events = 2;
  events[0].boot_ns = request.boot_ns - 5000000000;
  cr_assert_eq(beat_copy(&request, false, false, NOW, op), 0);
  cr_assert_eq(op->events[0].record.happened_wall_ms, NOW - 5000);
  cr_assert_eq(op->events[1].record.happened_wall_ms, NOW);
  op_report_free(op);
}

Test(beat, facts) {
  Telovix__Store__V1__SensorRecord record = TELOVIX__STORE__V1__SENSOR_RECORD__INIT;
  Telovix__V1__HostFacts facts = TELOVIX__V1__HOST_FACTS__INIT;
  cr_assert_not(beat_facts_differ(&request, &record));
  request.facts = &facts;
  cr_assert_not(beat_facts_differ(&request, &record));
  request.scope_cgroup = (char *)"/test";
  cr_assert(beat_facts_differ(&request, &record));
  record.scope_cgroup = (char *)"/test";
  facts.kernel_release = (char *)"6.1";
  cr_assert(beat_facts_differ(&request, &record));
  struct op_report *op = calloc(1, sizeof *op);
  cr_assert_eq(beat_copy(&request, true, false, NOW, op), 0);
  cr_assert(op->has_facts);
  cr_assert_str_eq(op->kernel_release, "6.1");
  cr_assert_str_eq(op->scope_cgroup, "/test");
  op_report_free(op);
}

Test(beat, renewal) {
  Telovix__Store__V1__SensorRecord record = TELOVIX__STORE__V1__SENSOR_RECORD__INIT;
  char text[RENEWAL_ERROR_MAX + 1];
  cr_assert_not(beat_renewal_differs(&request, &record));
  record.renewal_error = (char *)"no room";
  cr_assert(beat_renewal_differs(&request, &record), "it ended");
  request.renewal_error = (char *)"no room";
  cr_assert_not(beat_renewal_differs(&request, &record));
  memset(text, 'x', sizeof text);
  text[RENEWAL_ERROR_MAX - 1] = 0;
  request.event_stream.len = 0;
  request.renewal_error = text;
  cr_assert_str_eq(fault(), "");
  text[RENEWAL_ERROR_MAX - 1] = 'x';
  text[RENEWAL_ERROR_MAX] = 0;
  cr_assert_str_eq(fault(), "renewal_error");
}

/* ---- hazards, and the end of a lift ---- */

Test(beat, hazards) {
  Telovix__Store__V1__SensorRecord record = TELOVIX__STORE__V1__SENSOR_RECORD__INIT;
  Telovix__V1__Hazards hazards = TELOVIX__V1__HAZARDS__INIT;
  char word[] = "console_host", stored[] = "console_host", *words[REPORT_HAZARDS_MAX + 1],
       *stored_words[] = {stored};
  for (size_t i = 0; i < REPORT_HAZARDS_MAX + 1; i++)
    words[i] = word;
  record.hazards = stored_words;
  record.n_hazards = 1;
  cr_assert_not(beat_hazards_differ(&request, &record), "unsaid is no change");
  request.hazards = &hazards;
  cr_assert_str_eq(fault(), "");
  cr_assert(beat_hazards_differ(&request, &record), "there are none any more");
  hazards.hazards = words;
  hazards.n_hazards = REPORT_HAZARDS_MAX;
  cr_assert_str_eq(fault(), "");
  cr_assert(beat_hazards_differ(&request, &record));
  hazards.n_hazards++;
  cr_assert_str_eq(fault(), "hazards.hazards");
  hazards.n_hazards = 1;
  cr_assert_not(beat_hazards_differ(&request, &record));
  struct op_report *op = calloc(1, sizeof *op);
  cr_assert_eq(beat_copy(&request, false, true, NOW, op), 0);
  word[0] = 'X';
  cr_assert(op->has_hazards);
  cr_assert_eq(op->n_hazards, 1);
  cr_assert_str_eq(op->hazards[0], "console_host");
  op_report_free(op);
  cr_assert(beat_hazards_differ(&request, &record));
  cr_assert_str_eq(fault(), "hazards.hazards[0]");
  word[0] = 0;
  cr_assert_str_eq(fault(), "hazards.hazards[0]");
}

Test(beat, armed_again) {
  Telovix__Store__V1__SensorRecord record = TELOVIX__STORE__V1__SENSOR_RECORD__INIT;
  uint8_t epoch[16] = {1};
  cr_assert_not(beat_is_armed_again(&request, &record));
  record.lifted_wall_ms = NOW;
  record.lifted_epoch = BLOB(epoch);
  record.lifted_generation = 7;
  cr_assert_not(beat_is_armed_again(&request, &record), "not said");
  request.in_force = &in_force;
  cr_assert_not(beat_is_armed_again(&request, &record), "the one that was lifted");
  in_force.generation = 6;
  cr_assert_not(beat_is_armed_again(&request, &record));
  in_force.generation = 8;
  cr_assert(beat_is_armed_again(&request, &record));
  in_force.generation = 1;
  epoch[0] = 9;
  cr_assert(beat_is_armed_again(&request, &record), "another epoch");
  record.lifted_wall_ms = 0;
  cr_assert_not(beat_is_armed_again(&request, &record), "never lifted");
}
