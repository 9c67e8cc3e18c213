// SPDX-License-Identifier: GPL-2.0-or-later
/* bench-block-latency: how long a block takes, beside the floor measured in the same run.
 *
 *   bench-block-latency PROFILE HOST:PORT SENSOR_ID SCOPE_CGROUP FOLDER ROUNDS
 *
 * Each round makes a program of its own, orders it blocked, follows the rule with
 * WatchEnforcementRule until the host said "applied", sees by an execution inside SCOPE_CGROUP that
 * it is stopped, deletes the rule and waits until it is gone; only the first part is measured.
 * Beside each round the floor is measured: that of an order (floor.h), one update of an array of
 * maps, which waits until no program of the kernel uses the former map any more, and one
 * execution, since a hook is proved by nothing less. Prints one line of JSON. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/profile.h"
#include "client/rule_view.h"
#include "client/session.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/text.h"
#include "floor.h"
#include "floor_map.h"
#include "measure.h"
#include "sensor/canary.h"
#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/policy.pb-c.h"

struct bench {
  struct session *session;
  const char *sensor_id, *cgroup, *folder;
  char program[4096]; /* what the floor executes */
  struct floor *floor;
  struct floor_map *map;
};

struct sample {
  uint64_t answered_ns, reported_ns, confirmed_ns;
  uint64_t floor_ns, publish_ns; /* publish: the part of the floor that is the update */
};

/* ---- floor ---- */

static void floor_round(struct bench *bench, struct sample *sample) {
  int err = 0;
  uint64_t order_ns = floor_measure(bench->floor);
  sample->publish_ns = floor_map_publish(bench->map);
  uint64_t start_ns = measure_now_ns();
  if (canary_run(bench->program, bench->cgroup, &err) != CANARY_ALIVE)
    measure_need(err ? err : -EPROTO, bench->program);
  sample->floor_ns = order_ns + sample->publish_ns + (measure_now_ns() - start_ns);
}

/* ---- one block ---- */

struct rule {
  char id[TLX_ID_MAX];
  bool ended, applied;
  uint64_t applied_wall_ns; /* by the Console's clock, which is this host's */
  char sentence[RULE_SENTENCE_MAX];
};

static bool take_rule(void *arg, const ProtobufCMessage *message) {
  struct rule *rule = arg;
  snprintf(rule->id, sizeof rule->id, "%s",
           ((const Telovix__V1__EnforcementRuleReply *)message)->rule->rule_id);
  return true;
}

static bool take_state(void *arg, const ProtobufCMessage *message) {
  struct rule *rule = arg;
  const Telovix__V1__EnforcementRule *state = (const Telovix__V1__EnforcementRule *)message;
  rule->ended = rule_view_ended(state);
  if (!rule->ended) return true;
  rule->applied = rule_view_succeeded(state);
  if (state->applied_at)
    rule->applied_wall_ns =
        (uint64_t)state->applied_at->seconds * 1000000000u + (uint64_t)state->applied_at->nanos;
  rule_view_sentence(state, 0, rule->sentence);
  return false;
}

static bool take_any(void *arg, const ProtobufCMessage *message) {
  return true;
}

static _Noreturn void fail(const struct rule *rule, const char *what, const char *words) {
  fprintf(stderr, "bench-block-latency: rule %s: %s: %s\n", rule->id, what, words);
  exit(1);
}

static bool watch(struct bench *bench, struct rule *rule,
                  bool (*take)(void *arg, const ProtobufCMessage *message),
                  struct tlx_status *status) {
  Telovix__V1__GetEnforcementRuleRequest get = TELOVIX__V1__GET_ENFORCEMENT_RULE_REQUEST__INIT;
  get.rule_id = rule->id;
  struct session_call call = {.path = "/telovix.v1.PolicyService/WatchEnforcementRule",
                              .is_stream = true,
                              .request = &get.base,
                              .reply = &telovix__v1__enforcement_rule__descriptor,
                              .timeout_ms = 30000,
                              .message = take,
                              .arg = rule};
  return session_run(bench->session, &call, status);
}

/* The end of the stream says that the host has the rule out of force. */
static void remove_rule(struct bench *bench, struct rule *rule) {
  struct tlx_status status;
  Telovix__V1__DeleteEnforcementRuleRequest request =
      TELOVIX__V1__DELETE_ENFORCEMENT_RULE_REQUEST__INIT;
  request.rule_id = rule->id;
  struct session_call call = {.path = "/telovix.v1.PolicyService/DeleteEnforcementRule",
                              .request = &request.base,
                              .reply = &telovix__v1__enforcement_rule_reply__descriptor,
                              .timeout_ms = 30000,
                              .message = take_any,
                              .arg = rule};
  if (!session_run(bench->session, &call, &status)) fail(rule, "delete", status.message);
  if (!watch(bench, rule, take_any, &status) && status.code != TLX_GRPC_NOT_FOUND)
    fail(rule, "removal", status.message);
}

static void round_run(struct bench *bench, unsigned at, struct sample *sample) {
  struct rule rule = {.id = ""};
  struct tlx_status status;
  char path[4096];
  int err = 0;
  snprintf(path, sizeof path, "%s/program-%u", bench->folder, at);
  measure_need(canary_write(path), path);
  Telovix__V1__BlockBinaryRequest request = TELOVIX__V1__BLOCK_BINARY_REQUEST__INIT;
  request.sensor = (char *)bench->sensor_id;
  request.path = path;
  struct session_call call = {.path = "/telovix.v1.ContainmentService/BlockBinary",
                              .request = &request.base,
                              .reply = &telovix__v1__enforcement_rule_reply__descriptor,
                              .timeout_ms = 30000,
                              .message = take_rule,
                              .arg = &rule};
  uint64_t start_wall_ns = tlx_wall_ms(tlx_clock_system()) * 1000000u;
  uint64_t start_ns = measure_now_ns();
  bool ok = session_run(bench->session, &call, &status);
  sample->answered_ns = measure_now_ns() - start_ns;
  if (ok) ok = watch(bench, &rule, take_state, &status);
  sample->confirmed_ns = measure_now_ns() - start_ns;
  if (!ok || !rule.applied) fail(&rule, status.message, rule.sentence);
  sample->reported_ns =
      rule.applied_wall_ns > start_wall_ns ? rule.applied_wall_ns - start_wall_ns : 0;
  enum canary_result result = canary_run(path, bench->cgroup, &err);
  if (result != CANARY_DENIED && result != CANARY_KILLED)
    fail(&rule, path, "it is said to be applied, and the program was not stopped");
  remove_rule(bench, &rule);
  unlink(path);
  floor_round(bench, sample);
}

int main(int argc, char **argv) {
  uint64_t n;
  if (argc != 7 || tlx_u64_parse(argv[6], 100000, &n) != 0 || n == 0) {
    fprintf(stderr,
            "usage: bench-block-latency PROFILE HOST:PORT SENSOR_ID SCOPE_CGROUP FOLDER ROUNDS\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  struct profile profile;
  struct witness witness = {.n = 0};
  char why[512];
  if (profile_load(argv[1], &profile, why) != 0) {
    fprintf(stderr, "bench-block-latency: %s\n", why);
    return 1;
  }
  struct bench bench = {.sensor_id = argv[3], .cgroup = argv[4], .folder = argv[5]};
  measure_need(session_open(&profile, argv[2], &witness, &bench.session), "session");
  bench.floor = floor_open(bench.folder);
  bench.map = floor_map_open();
  snprintf(bench.program, sizeof bench.program, "%s/program", bench.folder);
  measure_need(canary_write(bench.program), bench.program);
  struct sample *samples = calloc(n, sizeof *samples), warm;
  tlx_require(samples);
  round_run(&bench, 0, &warm);
  for (unsigned i = 0; i < n; i++)
    round_run(&bench, i + 1, &samples[i]);
#define P(field, permille)                                                                         \
  ((double)measure_percentile(&samples[0].field, sizeof *samples, (unsigned)n, permille) / 1e6)
#define SHOW(name, field)                                                                          \
  printf("\"" name "_ms\":{\"p50\":%.3f,\"p99\":%.3f},", P(field, 500), P(field, 990))
  printf("{\"rounds\":%llu,", (unsigned long long)n);
  SHOW("answered", answered_ns);
  SHOW("reported", reported_ns);
  SHOW("confirmed", confirmed_ns);
  SHOW("floor", floor_ns);
  SHOW("publish", publish_ns);
  printf("\"ratio\":{\"p50\":%.2f,\"p99\":%.2f}}\n", P(confirmed_ns, 500) / P(floor_ns, 500),
         P(confirmed_ns, 990) / P(floor_ns, 990));
#undef SHOW
#undef P
  floor_map_close(bench.map);
  floor_close(bench.floor);
  session_close(bench.session);
  profile_done(&profile);
  free(samples);
  return 0;
}
