// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "common/arena.h"
#include "common/clock.h"
#include "sensor/bpf_caps.h"
#include "sensor/engine.h"
#include "sensor/state.h"
#include "telovix/v1/sensor.pb-c.h"

/* Desired sets in, truthful reports out: takes what the Console wants, keeps it on disk, hands it
 * to the engine, and tells what became of it. Loop thread. */
struct enforcement;

struct enforcement_options {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  struct state *state; /* outlives this */
  const char *state_folder;
  const char *scope_folder;    /* cgroup2 folder; NULL = the whole host */
  struct bpf_caps_paths paths; /* strings outlive this */
  void (*beat)(void *arg);     /* something is to be told at once */
  /* The way to the Console as engine.h asks for it; seen_mono_ms is filled here. */
  void (*link)(void *arg, struct engine_link *ret_link);
  int (*own_socket)(void *arg);
  void *arg;
};

/* Starts with the set that is on disk. 0 or a negative error; -EXDEV: the scope's mount does not
 * show the cgroup2 root. */
int enforcement_new(const struct enforcement_options *options,
                    struct enforcement **ret_enforcement);
/* The enforcement part of a heartbeat, out of |arena|. */
void enforcement_fill(struct enforcement *enforcement, Telovix__V1__HeartbeatRequest *request,
                      struct tlx_arena *arena);
/* What was filled has arrived, and this is the answer. Whether more is to be told at once. */
bool enforcement_reply(struct enforcement *enforcement, const Telovix__V1__HeartbeatReply *reply);
/* What was filled may not have arrived. |was_answered|: the Console is there, and said so. */
void enforcement_retry(struct enforcement *enforcement, bool was_answered);
/* The longest time between two heartbeats: a containment that goes without a Console asks for it
 * several times before it does. 0 = any time. */
uint64_t enforcement_beat_max_ms(const struct enforcement *enforcement);
/* Whether a containment is wanted: then names cannot be resolved. */
bool enforcement_is_contained(const struct enforcement *enforcement);
/* Root on the host takes everything down: kept on disk, told to the Console for at most 2 s, then
 * done. |done| with whether the Console knows, and whether nothing is in force any more; -EALREADY
 * when one runs. */
int enforcement_lift(struct enforcement *enforcement, uint32_t uid, const char *tty,
                     void (*done)(void *arg, bool was_told, bool is_down), void *arg);
/* Adds "engine", "containment" and "rules" to |object|, for `telovix-sensor status`. */
void enforcement_describe(const struct enforcement *enforcement, json_t *object);
/* What is pinned stays in force. |closed| when the memory is gone. */
void enforcement_close(struct enforcement *enforcement, void (*closed)(void *arg), void *arg);
