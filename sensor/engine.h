// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "bpf-progs/tlx_abi.h"
#include "common/clock.h"
#include "sensor/bpf_caps.h"
#include "sensor/bpf_object.h"
#include "sensor/desired.h"
#include "sensor/rule_result.h"

/* Makes the host match the desired state, and says truthfully whether it does.
 *
 * desired    what the Console wants: saved on disk before it comes here.
 * observed   what is in force: known from reading back and from the canary, never from having asked
 * for it. pass       one run of the worker: attach if need be, compile the rules, publish, read
 * back, canary, verify. One at a time; it owns all kernel objects while it runs. A pass begins when
 * the desired state changed and every 5 s.
 *
 * Tightening comes before loosening: programs are proved before rules are published, new links
 * stand before old ones go, and a failed publication leaves the former image. Programs are
 * loaded and proved at the start, before there is a rule: the first one of an incident is fast, and
 * an operator knows beforehand what a host can do. Loop thread. */
struct engine;

#define ENGINE_VERIFY_MS 5000u

/* Numbers of telovix.v1.EngineState. */
enum engine_state {
  ENGINE_STARTING = 2,
  ENGINE_READY = 3,
  ENGINE_UNAVAILABLE = 4,
  ENGINE_DOWN = 5,
};

/* One rule as observed. */
struct engine_rule {
  char rule_id[32], path[4096];
  uint8_t revision[16];
  uint32_t slot;
  uint32_t mode; /* TLX_MODE_* in force or wanted */
  struct rule_result result;
  enum bpf_backend backend; /* in use for it; NONE when not in force */
  uint64_t hits, would_hits, since_boot_ns;
};

/* The snapshot that the last pass left. Valid until the next |changed|. */
struct engine_view {
  enum engine_state state;
  enum bpf_backend backend;
  const char *reason; /* stable word when not ready; static storage */
  char detail[240];
  uint32_t gaps; /* that every rule has on this kernel */
  struct bpf_caps caps;
  bool has_in_force;
  struct desired_name in_force; /* whose rules were all looked at and published */
  const struct engine_rule *rules;
  size_t n_rules;
  bool coverage_partial;
  uint64_t verified_boot_ns, repaired_boot_ns;
  struct tlx_stats stats;
  uint32_t n_passes; /* counts up with every pass */
};

struct engine_options {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  const char *state_folder;           /* holds the canary */
  const char *scope_folder;           /* cgroup2 folder in the file system; NULL = the whole host */
  const struct bpf_caps_paths *paths; /* seam; copied */
  /* The view changed in something that the Console should hear at once. */
  void (*changed)(void *arg);
  /* Something was stopped, or would have been. |rule| NULL = the rule is gone by now. */
  void (*event)(void *arg, const struct tlx_event *event, const struct engine_rule *rule);
  /* Something was altered behind our back. */
  void (*tampered)(void *arg, const struct bpf_tamper *tamper);
  void *arg;
};

/* Begins with a pass at once, without rules until engine_set_desired. 0, -ENOMEM, or the errors of
 * host_cgroup_id for the scope. The strings of |options| are copied. */
int engine_new(const struct engine_options *options, struct engine **ret_engine);
/* Takes |desired| (heap, desired_new). The latest one wins; a pass that runs is not disturbed. */
void engine_set_desired(struct engine *engine, struct desired *desired);
/* Never NULL. */
const struct engine_view *engine_view(const struct engine *engine);
/* Stops the passes; what is pinned stays in force. |closed| when the memory is gone. */
void engine_close(struct engine *engine, void (*closed)(void *arg), void *arg);
