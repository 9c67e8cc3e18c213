// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "bpf-progs/tlx_abi.h"
#include "bpf-progs/tlx_net_abi.h"
#include "common/clock.h"
#include "sensor/bpf_caps.h"
#include "sensor/bpf_net.h"
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

/* The way to the Console, as a pass needs it. */
#define ENGINE_CONSOLE_MAX 16u
struct engine_link {
  int fd; /* of the connection, for the pass to close; -1 = none */
  struct {
    uint8_t address[16]; /* v4-mapped */
    uint16_t port;
  } console[ENGINE_CONSOLE_MAX]; /* that are known as numbers */
  unsigned n_console;
  uint64_t seen_mono_ms; /* last heartbeat that was answered, with whatever; 0 = none yet */
  bool is_refused;       /* the Console answers, and refuses this sensor */
  bool is_unsaved;       /* what is wanted, or what was taken down, is not on disk */
};

/* One rule as observed. */
struct engine_rule {
  char rule_id[32], path[4096];
  bool is_containment;
  uint8_t revision[16];
  uint32_t slot;
  uint32_t mode; /* TLX_MODE_* in force or wanted */
  struct rule_result result;
  const char *backend; /* in use for it, static storage; empty when not in force */
  uint64_t hits, would_hits, since_boot_ns;
};

/* The containment in detail. */
struct engine_net_view {
  bool is_wanted, in_force;
  uint32_t layers; /* bit n = enum bpf_net_layer n: attached */
  char layer_why[BPF_NET_LAYER_COUNT][160];
  uint64_t proved_boot_ns; /* last whole proof of what is in force; 0 = none */
  char proof[240];         /* why the last one was not whole; empty = it was */
  uint32_t hazards;        /* bit n = enum hazard n */
  bool knows_hazards;
  bool goes_when_lost; /* it is wanted, and its rule releases it for want of a Console */
  bool was_lost;       /* released by itself under the set that is wanted */
  struct tlx_net_stats stats;
  struct net_sweep_counts {
    unsigned n_spaces, n_destroyed, n_skipped;
  } sweep;
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
  struct engine_net_view net;
  bool is_lifted, is_down; /* lifted; and nothing is in force any more */
  uint32_t n_passes;       /* counts up with every pass */
};

struct engine_options {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  const char *state_folder;           /* holds the canary */
  const char *scope_folder;           /* cgroup2 folder in the file system; NULL = the whole host */
  const struct bpf_caps_paths *paths; /* seam; copied */
  /* The way to the Console, asked for before each pass; may be NULL. */
  void (*link)(void *arg, struct engine_link *ret_link);
  /* Descriptor of the connection as it is now, borrowed; -1 = none. After each pass it is marked
   * again, since one that was made while a pass ran found no map to be marked in. May be NULL. */
  int (*own_socket)(void *arg);
  /* The view changed in something that the Console should hear at once. */
  void (*changed)(void *arg);
  /* Something was stopped, or would have been. |rule| NULL = the rule is gone by now. */
  void (*event)(void *arg, const struct tlx_event *event, const struct engine_rule *rule);
  /* A containment denied something, or would have. |rule| NULL = it is gone by now. */
  void (*net_event)(void *arg, const struct tlx_net_event *event, const struct engine_rule *rule);
  /* Something was altered behind our back. */
  void (*tampered)(void *arg, const struct bpf_tamper *tamper);
  void *arg;
};

/* Begins with a pass at once, without rules until engine_set_desired. 0, -ENOMEM, or the errors of
 * host_cgroup_id for the scope. The strings of |options| are copied. */
int engine_new(const struct engine_options *options, struct engine **ret_engine);
/* Takes |desired| (heap, desired_new). The latest one wins; a pass that runs is not disturbed. */
void engine_set_desired(struct engine *engine, struct desired *desired);
/* Root on the host takes everything down, at once; or a new desired state, which comes with the
 * next engine_set_desired, puts it up again. */
void engine_set_lifted(struct engine *engine, bool is_lifted);
/* The set under which the containment was released by itself, as it was kept; before the first
 * engine_set_desired. */
void engine_set_lost(struct engine *engine, const struct desired_name *name);
/* Never NULL. */
const struct engine_view *engine_view(const struct engine *engine);
/* Stops the passes; what is pinned stays in force. |closed| when the memory is gone. */
void engine_close(struct engine *engine, void (*closed)(void *arg), void *arg);
