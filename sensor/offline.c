// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/offline.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "common/check.h"
#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "sensor/engine_int.h"
#include "sensor/hazards.h"
#include "sensor/local.h"
#include "sensor/sensor.h"
#include "sensor/state.h"

/* The Console is told for 2 s, and a pass takes its time under load. */
#define LIFT_TIMEOUT_MS 15000

/* State and core without a sensor around them. */
struct offline {
  uv_loop_t loop;
  struct state *state;
  struct core *core;
};

static int offline_open(struct offline *offline, const char *folder, const char *cgroup,
                        const char *bpffs) {
  struct bpf_caps_paths paths;
  struct engine_options options = {
      .clock = tlx_clock_system(), .state_folder = folder, .scope_folder = cgroup, .paths = &paths};
  sensor_bpf_paths(bpffs, &paths);
  offline->core = calloc(1, sizeof *offline->core);
  int err = offline->core ? uv_loop_init(&offline->loop) : -ENOMEM;
  if (err) return err;
  err = state_open(folder, &offline->loop, options.clock, &offline->state);
  return err ? err : core_init(offline->core, &options);
}

/* What was put is on disk afterwards, or an error was logged. */
static void offline_close(struct offline *offline) {
  if (offline->core) core_done(offline->core);
  if (offline->state) state_close(offline->state, NULL, NULL);
  if (offline->core) {
    uv_run(&offline->loop, UV_RUN_DEFAULT);
    tlx_require(uv_loop_close(&offline->loop) == 0);
  }
  free(offline->core);
}

static int fail(const char *command, const char *folder, int err) {
  fprintf(stderr, "telovix-sensor %s: %s: %s\n", command, folder, tlx_err_text(err));
  return 1;
}

/* ---- restore ---- */

static bool is_held(const struct core_rule *rule) {
  return rule->result.reason == RULE_REASON_UNPROVED;
}

/* None that could be read: what cannot be read may be one. */
static int judge_unreadable(const struct core *core) {
  bool is_missed = !core->has_name;
  for (size_t i = 0; i < core->n_rules; i++)
    is_missed |= core->rules[i]->may_contain && !core->rules[i]->goes_without;
  if (is_missed) tlx_error(RULE, "what is wanted cannot be read, and may be a containment");
  return is_missed ? 1 : 0;
}

static int judge(const struct core *core) {
  const struct core_rule *rule = core_contain_rule(core);
  for (size_t i = 0; i < core->n_rules; i++) {
    const struct rule_result *result = &core->rules[i]->result;
    if (core->rules[i] == rule || result->state == RULE_APPLIED || result->state == RULE_PARTIAL)
      continue;
    tlx_warn(RULE, "rule=%s is not in force: %s %s", core->rules[i]->block.rule_id,
             rule_reason_word(result->reason), result->step);
  }
  if (!rule) return judge_unreadable(core);
  if (is_held(rule)) {
    tlx_notice(RULE, "the containment is in force; the running sensor will prove it");
    return 0;
  }
  if (rule->result.reason == RULE_REASON_LOST_CONSOLE || rule->result.reason == RULE_REASON_HAZARD)
    return 0;
  tlx_error(RULE, "the containment is not in force: %s %s", rule_reason_text(rule->result.reason),
            rule->result.step);
  if (!rule->contain->release_when_lost) return 1;
  tlx_warn(RULE, "its rule says to go without: the network comes up");
  return 0;
}

int offline_restore(const char *state_folder, const char *cgroup, const char *bpffs) {
  struct offline offline = {0};
  int err = offline_open(&offline, state_folder, cgroup, bpffs), ret = 0;
  const struct desired *desired = err ? NULL : state_desired(offline.state);
  const struct state_released *released = err ? NULL : state_released(offline.state);
  if (err == TLX_E_LOCKED) {
    tlx_notice(CORE, "a sensor runs with %s and has done it", state_folder);
  } else if (err && err != -ENOENT) {
    /* What is wanted cannot be read: it may be a containment. */
    ret = fail("restore", state_folder, err);
  } else if (released && released->is_lifted) {
    tlx_notice(RULE, "root lifted all enforcement: nothing is put in force");
  } else if (desired) {
    offline.core->is_boot = true;
    offline.core->net.has_lost = state_released_is_lost(released);
    if (released) offline.core->net.lost = released->name;
    if (released && released->is_hazard) offline.core->net.hazards = (1u << HAZARD_COUNT) - 1;
    core_pass(offline.core, desired);
    ret = judge(offline.core);
  } else if (!err && state_desired_is_broken(offline.state)) {
    ret = 1;
    tlx_error(RULE,
              "what is wanted on this host was damaged on its disk, and may be a containment");
  }
  offline_close(&offline);
  return ret;
}

/* ---- lift ---- */

static int lift_here(const char *state_folder, const char *cgroup, const char *bpffs,
                     const char *tty) {
  struct offline offline = {0};
  struct state_released lifted = {
      .is_lifted = true, .uid = getuid(), .wall_ms = tlx_wall_ms(tlx_clock_system())};
  snprintf(lifted.tty, sizeof lifted.tty, "%s", tty);
  int err = offline_open(&offline, state_folder, cgroup, bpffs);
  bool is_down = false;
  if (!err) {
    state_released_put(offline.state, &lifted);
    offline.core->is_lifted = true;
    core_pass(offline.core, state_desired(offline.state));
    is_down = offline.core->is_down;
  }
  offline_close(&offline);
  if (err) return fail("lift", state_folder, err);
  if (!is_down) {
    fputs("telovix-sensor lift: something could not be taken down: see the lines above\n", stderr);
    return 1;
  }
  puts("all enforcement is down; no sensor runs: the Console is told when one does");
  return 0;
}

int offline_lift(const char *state_folder, const char *cgroup, const char *bpffs) {
  json_t *answer = NULL;
  char line[128], tty[64] = "";
  if (geteuid() != 0) {
    fputs("telovix-sensor lift: only root may do that\n", stderr);
    return 1;
  }
  for (int fd = 0; fd < 3 && !*tty; fd++)
    if (ttyname_r(fd, tty, sizeof tty) != 0) *tty = '\0';
  snprintf(line, sizeof line, "lift %s", tty);
  int err = local_ask(state_folder, line, LIFT_TIMEOUT_MS, &answer);
  if (err == -ENOENT || err == -ECONNREFUSED) return lift_here(state_folder, cgroup, bpffs, tty);
  if (err) return fail("lift", state_folder, err);
  bool is_down = json_is_true(json_object_get(answer, "lifted"));
  const char *error = json_string_value(json_object_get(answer, "error"));
  if (is_down)
    printf("all enforcement is down; the Console %s\n",
           json_is_true(json_object_get(answer, "told"))
               ? "knows"
               : "could not be told: it will be as soon as it can be reached");
  else
    fprintf(stderr, "telovix-sensor lift: %s\n", error ? error : "no answer");
  json_decref(answer);
  return is_down ? 0 : 1;
}
