// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/sensor_view.h"

#include <criterion/criterion.h>
#include <string.h>

#include "capture.h"

#define CONTAINMENT(name) TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_##name

static struct capture out;
static Google__Protobuf__Timestamp seen, verified;
static Google__Protobuf__Duration age;
static Telovix__V1__DesiredName wanted, found;
static Telovix__V1__EngineReport engine;
static Telovix__V1__Capability btf, lsm, *capabilities[] = {&btf, &lsm};
static Telovix__V1__RuleGap copy, *gaps[] = {&copy};
static uint8_t epoch[16], other_epoch[16] = {1};

/* A sensor in a trial scope whose engine is ready. */
static Telovix__V1__Sensor sensor_ready(void) {
  Telovix__V1__Sensor sensor = TELOVIX__V1__SENSOR__INIT;
  google__protobuf__timestamp__init(&seen);
  google__protobuf__timestamp__init(&verified);
  google__protobuf__duration__init(&age);
  telovix__v1__desired_name__init(&wanted);
  telovix__v1__desired_name__init(&found);
  telovix__v1__engine_report__init(&engine);
  telovix__v1__capability__init(&btf);
  telovix__v1__capability__init(&lsm);
  telovix__v1__rule_gap__init(&copy);
  seen.seconds = 1769850000;
  verified.seconds = 1769849997;
  age.seconds = 2;
  wanted.generation = found.generation = 7;
  wanted.epoch.data = found.epoch.data = epoch;
  wanted.epoch.len = found.epoch.len = sizeof epoch;
  btf.name = (char *)"btf";
  btf.available = true;
  lsm.name = (char *)"lsm";
  lsm.detail = (char *)"bpf is not in lsm=";
  copy.gap = (char *)"copy";
  copy.detail = (char *)"a copy runs";
  engine.state = TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_READY;
  engine.backend = (char *)"fmod_ret";
  engine.capabilities = capabilities;
  engine.n_capabilities = 2;
  engine.gaps = gaps;
  engine.n_gaps = 1;
  sensor.sensor_id = (char *)"sensor_1111111111111111";
  sensor.node_name = (char *)"web-1";
  sensor.last_seen_at = &seen;
  sensor.last_seen_age = &age;
  sensor.scope_cgroup = (char *)"/test/a";
  sensor.desired = &wanted;
  sensor.in_force = &found;
  sensor.engine = &engine;
  sensor.enforcement_verified_at = &verified;
  sensor.rules = 3;
  sensor.containment_state = CONTAINMENT(NONE);
  return sensor;
}

/* The three names are compared together, never a number alone. */
Test(sensor_view, agreement) {
  Telovix__V1__Sensor sensor = sensor_ready();
  uint8_t digest[32] = {1};
  cr_assert_str_eq(sensor_view_agreement(&sensor), "same");
  found.generation = 6;
  cr_assert_str_eq(sensor_view_agreement(&sensor), "differs");
  found.generation = 7;
  found.epoch.data = other_epoch;
  cr_assert_str_eq(sensor_view_agreement(&sensor), "differs");
  found.epoch.data = epoch;
  found.digest.data = digest;
  found.digest.len = sizeof digest;
  cr_assert_str_eq(sensor_view_agreement(&sensor), "differs");
  sensor.in_force = NULL;
  cr_assert_str_eq(sensor_view_agreement(&sensor), "not known");
}

static const char *print(const Telovix__V1__Sensor *sensor) {
  capture_start(&out);
  sensor_view_print(sensor);
  return capture_stop(&out);
}

static void expect(const char *part) {
  cr_assert(strstr(out.text, part), "%s is not in:\n%s", part, out.text);
}

Test(sensor_view, the_engine) {
  Telovix__V1__Sensor sensor = sensor_ready();
  print(&sensor);
  expect("\nengine         ready (fmod_ret) [trial scope /test/a]\n");
  expect("\n  capability   btf: yes\n");
  expect("\n  capability   lsm: no, bpf is not in lsm=\n");
  expect("\n  gap          copy: a copy runs\n");
  expect("\ngeneration     desired 7 | in force 7, same\n");
  expect("\nverified       2026-01-31T08:59:57.000Z (5s ago)\n");
  expect("\nrules          3\n");
  engine.state = TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_UNAVAILABLE;
  engine.backend = (char *)"";
  engine.reason = (char *)"no_btf";
  engine.detail = (char *)"this kernel\033 has no BTF";
  print(&sensor);
  expect("\nengine         unavailable (no_btf) [trial scope /test/a]\n");
  expect("\n  reason       this kernel\\x1B has no BTF\n");
}

/* What the host has not said since the Console's start is not made up. */
Test(sensor_view, nothing_heard_yet) {
  Telovix__V1__Sensor sensor = sensor_ready();
  sensor.engine = NULL;
  sensor.in_force = NULL;
  sensor.enforcement_verified_at = NULL;
  print(&sensor);
  expect("\nengine         not known: not heard since the Console started\n");
  expect("\ngeneration     desired 7 | in force not known\n");
  expect("\nverified       -\n");
}

static const char *table_of(const Telovix__V1__Sensor *sensor, bool wide) {
  capture_start(&out);
  struct output_table *table = sensor_view_table(wide);
  sensor_view_row(table, sensor, wide);
  output_table_print(table);
  return capture_stop(&out);
}

Test(sensor_view, tables) {
  Telovix__V1__Sensor sensor = sensor_ready();
  sensor.status = TELOVIX__V1__SENSOR_STATUS__SENSOR_STATUS_HEALTHY;
  sensor.health_state = TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_HEALTHY;
  sensor.trust_state = TELOVIX__V1__TRUST_STATE__TRUST_STATE_TRUSTED;
  cr_assert_str_eq(
      table_of(&sensor, false),
      "NODE   SENSOR                   STATUS   HEALTH   CONTAIN DESIRED | OBSERVED  LAST "
      "SEEN  REASONS\n"
      "web-1  sensor_1111111111111111  healthy  healthy  no | none                   2s   "
      "      -\n");
  found.epoch.data = other_epoch;
  cr_assert_str_eq(
      table_of(&sensor, true),
      "NODE   SENSOR                   STATUS   HEALTH   CONTAIN DESIRED | OBSERVED  LAST "
      "SEEN  REASONS  TRUST    ORDERS  RULES  ENGINE            DESIRED  IN FORCE     "
      "VERIFIED  SCOPE    VERSION  LABELS\n"
      "web-1  sensor_1111111111111111  healthy  healthy  no | none                   2s   "
      "      -        trusted  0       3      ready (fmod_ret)  7        7 (differs)  5s  "
      "      /test/a  -        -\n");
}

/* Desired and observed side by side, never without the scope in which it holds. */
Test(sensor_view, containment) {
  static const struct {
    int state;
    const char *word;
  } cases[] = {{CONTAINMENT(PENDING), "pending"},
               {CONTAINMENT(CONTAINED), "contained"},
               {CONTAINMENT(PARTIAL), "partial"},
               {CONTAINMENT(FAILED), "failed"},
               {CONTAINMENT(UNKNOWN), "unknown"}};
  Telovix__V1__Sensor sensor = sensor_ready();
  char text[256];
  print(&sensor);
  expect("\ncontainment    desired no | observed none\n");
  expect("\nhazards        -\n");
  sensor.is_contained = true;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sensor.containment_state = (Telovix__V1__ContainmentState)cases[i].state;
    snprintf(text, sizeof text, "  yes | %s [trial scope /test/a]  ", cases[i].word);
    table_of(&sensor, false);
    expect(text);
    print(&sensor);
    snprintf(text, sizeof text,
             "\ncontainment    desired yes | observed %s [trial scope /test/a]\n", cases[i].word);
    expect(text);
  }
  sensor.is_contained = false;
  sensor.containment_state = CONTAINMENT(RELEASE_PENDING);
  sensor.scope_cgroup = (char *)"";
  table_of(&sensor, false);
  expect("  no | release_pending  ");
}

Test(sensor_view, all_of_a_containment) {
  char first[] = "console_host", second[] = "uplink_tunnel", *hazards[] = {first, second};
  Telovix__V1__Sensor sensor = sensor_ready();
  sensor.is_contained = true;
  sensor.containment_state = CONTAINMENT(PARTIAL);
  sensor.containment_reason = (char *)"no_tc";
  sensor.containment_detail = (char *)"this kernel\033 has no tc";
  sensor.containment_gaps = gaps;
  sensor.n_containment_gaps = 1;
  sensor.containment_rule_id = (char *)"rule_1111111111111111";
  sensor.containment_verified_at = &verified;
  sensor.hazards = hazards;
  sensor.n_hazards = 2;
  print(&sensor);
  expect("\n  reason       no_tc: this kernel\\x1B has no tc\n");
  expect("\n  proved       2026-01-31T08:59:57.000Z (5s ago)\n");
  expect("\n  rule         rule_1111111111111111\n");
  expect("\nhazards        console_host, uplink_tunnel\n");
}

Test(sensor_view, a_line) {
  Telovix__V1__Sensor sensor = sensor_ready();
  sensor.node_name = (char *)"web\033";
  sensor.status = TELOVIX__V1__SENSOR_STATUS__SENSOR_STATUS_HEALTHY;
  sensor.health_state = TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_WATCH;
  sensor.trust_state = TELOVIX__V1__TRUST_STATE__TRUST_STATE_TRUSTED;
  sensor.unconfirmed_since_restart = true;
  sensor.connected = true;
  found.generation = 6;
  capture_start(&out);
  sensor_view_line(&sensor);
  cr_assert_str_eq(capture_stop(&out),
                   "web\\x1B  sensor_1111111111111111  healthy  watch  unconfirmed_since_restart  "
                   "trusted, connected  containment: desired no | observed none  engine ready "
                   "(fmod_ret)  rules 3, desired 7 | in force 6, differs  [trial scope /test/a]\n");
  sensor.is_contained = true;
  sensor.containment_state = CONTAINMENT(UNKNOWN);
  sensor.containment_reason = (char *)"new_boot";
  capture_start(&out);
  sensor_view_line(&sensor);
  capture_stop(&out);
  expect("  containment: desired yes | observed unknown, new_boot  ");
}
