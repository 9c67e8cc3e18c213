// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/log.h"
#include "sensor/bpf_event.h"
#include "sensor/engine_int.h"
#include "sensor/net_own.h"
#include "sensor/net_watch.h"

/* A pass takes some milliseconds, and seconds where nothing can be proved. One that takes longer
 * hangs, as in a file system that does not answer. */
#define STALL_MS 30000u

struct engine {
  struct engine_options options;
  struct core core;
  /* Two views: the loop reads one while a pass fills the other. */
  struct engine_view views[2];
  struct engine_rule *rules[2];
  unsigned shown;
  struct desired *wanted;  /* the next pass takes it */
  struct desired *passing; /* the pass that runs has it */
  struct bpf_event *events, *net_events;
  uint32_t events_of;               /* core.n_objects when |events| was opened */
  const struct engine_view *former; /* events are read that may be of before the last pass */
  unsigned net_events_of;           /* core_net.n_opened of |net_events| */
  struct net_watch *watch;
  uv_timer_t timer;
  uv_work_t work;
  bool is_passing, is_filled, closing;
  uint64_t pass_mono_ms; /* when the one that runs began */
  bool is_lifted;        /* for the next pass */
  bool wants_net_pass;   /* something of the network changed while a pass ran */
  uint64_t full_mono_ms; /* when the last pass of all parts began */
  void (*closed)(void *arg);
  void *closed_arg;
};

/* ---- the view ---- */

/* The first three: what a backend is known by. */
static const char *layers_text(uint32_t layers) {
  static const char *const texts[] = {"",   "cgroup_skb",    "connect",    "cgroup_skb+connect",
                                      "tc", "cgroup_skb+tc", "connect+tc", "cgroup_skb+connect+tc"};
  return texts[layers & 7];
}
_Static_assert(BPF_NET_LAYER_CGROUP_SKB == 0 && BPF_NET_LAYER_CONNECT == 1 && BPF_NET_LAYER_TC == 2,
               "layers_text counts on this order");

static void fill_containment(struct engine_rule *to, const struct core *core, bool in_force) {
  to->is_containment = true;
  to->backend = in_force && core->net.net ? layers_text(bpf_net_layers(core->net.net)) : "";
  if (!core->net.net) return;
  for (unsigned at = 0; at < TLX_NET_AT_MAX; at++) {
    to->hits += core->net.stats.denied[at];
    to->would_hits += core->net.stats.would[at];
  }
  /* The proof denies itself something every 5 s. */
  to->hits -= core->net.stats.probes < to->hits ? core->net.stats.probes : to->hits;
}

static void fill_rule(struct engine_rule *to, struct core_rule *from, const struct core *core) {
  snprintf(to->rule_id, sizeof to->rule_id, "%s", from->block.rule_id);
  snprintf(to->path, sizeof to->path, "%s", from->block.path ? from->block.path : "");
  memcpy(to->revision, from->revision, sizeof to->revision);
  to->slot = from->slot;
  to->mode = from->mode;
  to->result = from->result;
  to->since_boot_ns = from->since_boot_ns;
  bool in_force = from->result.state == RULE_APPLIED || from->result.state == RULE_PARTIAL;
  if (from->kind == RULE_KIND_CONTAIN) {
    fill_containment(to, core, from == core_contain_rule(core));
    return;
  }
  to->backend = bpf_backend_word(in_force ? core->backend : BPF_BACKEND_NONE);
  if (core->object && from->slot) (void)bpf_maps_count(core->object, from->slot, &from->count);
  to->hits = from->count.acted;
  to->would_hits = from->count.would;
}

/* A trial covers less because it is one, not because of the kernel. */
static bool lacks_kernel(const struct rule_result *result) {
  if (result->gaps >> RULE_GAP_TRIAL_SCOPE & 1) return false;
  if (result->reason == RULE_REASON_SCRIPT || result->reason == RULE_REASON_NAMES_UNREADABLE ||
      result->reason == RULE_REASON_NO_ENFORCEMENT)
    return true;
  for (unsigned gap = 0; gap < RULE_GAP_COUNT; gap++)
    if ((result->gaps >> gap & 1) && rule_gap_by_kernel(gap)) return true;
  return false;
}

static void fill_net(struct engine_net_view *to, const struct core *core) {
  const struct core_net *net = &core->net;
  const struct core_rule *rule = core_contain_rule(core);
  bool is_wanted = core_may_contain(core);
  *to = (struct engine_net_view){
      .is_wanted = is_wanted,
      .goes_when_lost = is_wanted && (rule ? rule->contain : &net->published)->release_when_lost,
      .in_force = net->net && net->is_published,
      .layers = net->net ? bpf_net_layers(net->net) : 0,
      .proved_boot_ns = net->proved_boot_ns,
      .hazards = net->hazards,
      .knows_hazards = net->knows_hazards,
      .was_lost = net->has_lost && memcmp(&net->lost, &core->name, sizeof core->name) == 0,
      .stats = net->stats,
      .sweep = {net->sweep.n_spaces, net->sweep.n_destroyed, net->sweep.n_skipped}};
  snprintf(to->proof, sizeof to->proof, "%s", net->proof);
  for (unsigned layer = 0; net->net && layer < BPF_NET_LAYER_COUNT; layer++) {
    const char *why = bpf_net_layer_why(net->net, layer);
    snprintf(to->layer_why[layer], sizeof to->layer_why[layer], "%.*s",
             (int)sizeof to->layer_why[layer] - 1, why ? why : "");
  }
}

/* When everything that is wanted was last seen to hold: the older of both times. */
static uint64_t verified_boot_ns(const struct core *core, const struct engine_net_view *net) {
  if (!net->is_wanted) return core->verified_boot_ns;
  if (!core->backend || net->proved_boot_ns < core->verified_boot_ns) return net->proved_boot_ns;
  return core->verified_boot_ns;
}

/* Worker, at the end of a pass. False without memory: the former view stays and grows old, which
 * shows. */
static bool fill_view(struct engine *engine, unsigned which) {
  struct core *core = &engine->core;
  struct engine_view *view = &engine->views[which];
  struct engine_rule *rules = calloc(core->n_rules + 1, sizeof *rules);
  if (!rules) return false;
  free(engine->rules[which]);
  engine->rules[which] = rules;
  *view = (struct engine_view){.backend = core->backend,
                               .reason = core->reason,
                               .caps = core->caps,
                               .has_in_force = core->in_force,
                               .in_force = core->name,
                               .rules = rules,
                               .n_rules = core->n_rules,
                               .is_lifted = core->is_lifted,
                               .is_down = core->is_down,
                               .repaired_boot_ns = core->repaired_boot_ns,
                               .n_passes = core->n_passes};
  snprintf(view->detail, sizeof view->detail, "%s", core->detail);
  view->state = core->backend ? ENGINE_READY : core->was_proved ? ENGINE_DOWN : ENGINE_UNAVAILABLE;
  if (core->backend == BPF_BACKEND_TRACEPOINT)
    view->gaps = 1u << RULE_GAP_LOADER | 1u << RULE_GAP_GLOBAL_INIT | 1u << RULE_GAP_SCRIPT_FILE;
  if (core->object && !bpf_object_reads_names(core->object))
    view->gaps |= 1u << RULE_GAP_NAMES | 1u << RULE_GAP_OVERLAY;
  for (size_t i = 0; i < core->n_rules; i++) {
    fill_rule(&rules[i], core->rules[i], core);
    view->coverage_partial |= lacks_kernel(&rules[i].result);
  }
  if (core->object) (void)bpf_maps_stats(core->object, &view->stats);
  fill_net(&view->net, core);
  view->verified_boot_ns = verified_boot_ns(core, &view->net);
  return true;
}

/* Whether the Console should hear of it before its next heartbeat. Times of verification can wait.
 */
static bool is_news(const struct engine_view *a, const struct engine_view *b) {
  if (a->state != b->state || a->backend != b->backend || a->gaps != b->gaps ||
      a->has_in_force != b->has_in_force || a->coverage_partial != b->coverage_partial ||
      a->repaired_boot_ns != b->repaired_boot_ns || a->n_rules != b->n_rules ||
      a->stats.acted != b->stats.acted || a->stats.would != b->stats.would ||
      a->net.hazards != b->net.hazards || a->net.knows_hazards != b->net.knows_hazards ||
      a->is_lifted != b->is_lifted || strcmp(a->reason, b->reason) != 0 ||
      memcmp(&a->in_force, &b->in_force, sizeof a->in_force) != 0)
    return true;
  for (size_t i = 0; i < a->n_rules; i++)
    if (a->rules[i].since_boot_ns != b->rules[i].since_boot_ns ||
        memcmp(a->rules[i].revision, b->rules[i].revision, sizeof a->rules[i].revision) != 0)
      return true;
  return false;
}

/* ---- events ---- */

static const struct engine_rule *rule_of_slot(const struct engine_view *view, uint32_t slot) {
  for (size_t i = 0; i < view->n_rules; i++)
    if (view->rules[i].slot == slot) return &view->rules[i];
  return NULL;
}

static void on_event(void *arg, const struct tlx_event *event) {
  struct engine *engine = arg;
  if (event->slot == TLX_SLOT_CANARY || engine->closing) return;
  const struct engine_rule *rule = rule_of_slot(engine_view(engine), event->slot);
  if (!rule && engine->former) rule = rule_of_slot(engine->former, event->slot);
  engine->options.event(engine->options.arg, event, rule);
}

static const struct engine_rule *containment_of(const struct engine_view *view) {
  for (size_t i = 0; i < view->n_rules; i++)
    if (view->rules[i].is_containment) return &view->rules[i];
  return NULL;
}

static void on_net_event(void *arg, const struct tlx_net_event *event) {
  struct engine *engine = arg;
  if (engine->closing || !engine->options.net_event) return;
  engine->options.net_event(engine->options.arg, event, containment_of(engine_view(engine)));
}

/* The ring goes with the maps: a containment that is put up anew has another one. */
static void open_net_events(struct engine *engine) {
  const struct core_net *net = &engine->core.net;
  if (engine->net_events && net->net && net->n_opened == engine->net_events_of) return;
  bpf_event_close(engine->net_events);
  engine->net_events = NULL;
  if (!net->net) return;
  int err = bpf_event_net_new(engine->options.loop, bpf_net_events_fd(net->net), on_net_event,
                              engine, &engine->net_events);
  if (err) tlx_error(BPF, "events of the containment cannot be read: %s", tlx_err_text(err));
  engine->net_events_of = net->n_opened;
}

/* After a pass. What waited while rules changed is of rules of now or of |before|. */
static void open_events(struct engine *engine, const struct engine_view *before) {
  engine->former = before;
  if (engine->events) bpf_event_resume(engine->events);
  engine->former = NULL;
  if (engine->events && engine->core.object && engine->events_of == engine->core.n_objects) return;
  bpf_event_close(engine->events);
  engine->events = NULL;
  if (!engine->core.object) return;
  engine->events_of = engine->core.n_objects;
  int err = bpf_event_new(engine->options.loop, bpf_object_events_fd(engine->core.object), on_event,
                          engine, &engine->events);
  if (err) tlx_error(BPF, "events cannot be read: %s", tlx_err_text(err));
}

/* ---- passes ---- */

/* Hosts that make and unmake containers all the time shall not look at devices all the time. */
#define NET_GAP_MS 100u

static void start_pass(struct engine *engine, bool net_only);
static void on_timer(uv_timer_t *timer);

static void do_pass(uv_work_t *work) {
  struct engine *engine = work->data;
  core_pass(&engine->core, engine->passing);
  engine->is_filled = fill_view(engine, !engine->shown);
}

static void finish_close(struct engine *engine) {
  void (*closed)(void *arg) = engine->closed;
  void *arg = engine->closed_arg;
  desired_free(engine->wanted);
  free(engine->rules[0]);
  free(engine->rules[1]);
  core_leave(&engine->core);
  core_done(&engine->core);
  free(engine);
  if (closed) closed(arg);
}

static void on_timer_closed(uv_handle_t *handle) {
  finish_close(handle->data);
}

/* A connection that was made while the pass had no map yet has no mark: it heals with its next
 * packet. */
static void mark_own(struct engine *engine) {
  int fd = engine->core.net.net && engine->options.own_socket
               ? engine->options.own_socket(engine->options.arg)
               : -1;
  if (fd >= 0) net_own_mark(engine->core.pin_folder, fd);
}

static void on_passed(uv_work_t *work, int status) {
  struct engine *engine = work->data;
  engine->is_passing = false;
  desired_free(engine->passing);
  engine->passing = NULL;
  if (engine->closing) {
    uv_close((uv_handle_t *)&engine->timer, on_timer_closed);
    return;
  }
  const struct engine_view *before = engine_view(engine);
  if (engine->is_filled) engine->shown = !engine->shown;
  open_events(engine, before);
  open_net_events(engine);
  mark_own(engine);
  for (unsigned i = 0; i < engine->core.tampers.n; i++)
    engine->options.tampered(engine->options.arg, &engine->core.tampers.list[i]);
  if (is_news(before, engine_view(engine))) engine->options.changed(engine->options.arg);
  if (engine->wanted || engine->is_lifted != engine->core.is_lifted)
    start_pass(engine, false);
  else if (engine->core.net.wants_again)
    start_pass(engine, true);
  else if (engine->wants_net_pass)
    uv_timer_start(&engine->timer, on_timer, NET_GAP_MS, ENGINE_VERIFY_MS);
}

static void start_pass(struct engine *engine, bool net_only) {
  struct core *core = &engine->core;
  if (engine->closing) return;
  if (engine->is_passing) {
    engine->wants_net_pass |= net_only;
    return;
  }
  engine->wants_net_pass = false;
  engine->passing = engine->wanted;
  engine->wanted = NULL;
  /* Until the pass ends nobody knows whose the new slots are. */
  if (engine->passing && engine->events) bpf_event_pause(engine->events);
  engine->pass_mono_ms = tlx_mono_ms(engine->options.clock);
  core->net_only = net_only;
  if (!net_only) engine->full_mono_ms = tlx_mono_ms(engine->options.clock);
  core->is_lifted = engine->is_lifted;
  if (core->link.fd >= 0) close(core->link.fd);
  core->link = (struct engine_link){.fd = -1};
  if (engine->options.link) engine->options.link(engine->options.arg, &core->link);
  engine->work.data = engine;
  engine->is_passing = uv_queue_work(engine->options.loop, &engine->work, do_pass, on_passed) == 0;
}

/* Nothing is proved any more while a pass hangs, and heartbeats that go on must not hide it. What
 * is shown belongs to the loop; the pass brings its own view when it ends. */
static void tell_stall(struct engine *engine) {
  struct engine_view *view = &engine->views[engine->shown];
  if (view->state == ENGINE_DOWN) return;
  view->state = ENGINE_DOWN;
  view->reason = "stalled";
  snprintf(view->detail, sizeof view->detail,
           "the verification hangs: does a file system with a blocked file not answer?");
  tlx_error(BPF, "enforcement is not proved any more: %s", view->detail);
  for (size_t i = 0; i < view->n_rules; i++) {
    struct engine_rule *rule = &engine->rules[engine->shown][i];
    if (rule->result.state != RULE_APPLIED && rule->result.state != RULE_PARTIAL) continue;
    rule_result_set(&rule->result, RULE_REASON_ENGINE_DOWN);
    /* It needs no pass to hold: nobody may take the host for open. */
    if (rule->is_containment) rule->result.state = RULE_UNKNOWN;
    snprintf(rule->result.step, sizeof rule->result.step, "%s", view->detail);
    rule->backend = "";
    rule->since_boot_ns = tlx_boot_ns(engine->options.clock);
  }
  engine->options.changed(engine->options.arg);
}

static void on_timer(uv_timer_t *timer) {
  struct engine *engine = timer->data;
  uint64_t age_ms = tlx_mono_ms(engine->options.clock) - engine->full_mono_ms;
  if (engine->is_passing && tlx_mono_ms(engine->options.clock) - engine->pass_mono_ms >= STALL_MS)
    tell_stall(engine);
  start_pass(engine, engine->wants_net_pass && age_ms < ENGINE_VERIFY_MS - NET_GAP_MS);
}

/* A device or an address that is new shall not stay open for longer than it takes to look. */
static void on_net_changed(void *arg) {
  struct engine *engine = arg;
  if (engine_view(engine)->net.is_wanted) start_pass(engine, true);
}

void engine_set_desired(struct engine *engine, struct desired *desired) {
  desired_free(engine->wanted);
  engine->wanted = desired;
  start_pass(engine, false);
}

void engine_set_lifted(struct engine *engine, bool is_lifted) {
  if (engine->is_lifted == is_lifted) return;
  engine->is_lifted = is_lifted;
  if (is_lifted) start_pass(engine, false);
}

void engine_set_lost(struct engine *engine, const struct desired_name *name) {
  engine->core.net.has_lost = true;
  engine->core.net.lost = *name;
}

const struct engine_view *engine_view(const struct engine *engine) {
  return &engine->views[engine->shown];
}

/* ---- life ---- */

int engine_new(const struct engine_options *options, struct engine **ret_engine) {
  struct engine *engine = calloc(1, sizeof *engine);
  if (!engine) return -ENOMEM;
  engine->options = *options;
  for (unsigned i = 0; i < 2; i++)
    engine->views[i] = (struct engine_view){.state = ENGINE_STARTING, .reason = "starting"};
  int err = core_init(&engine->core, options);
  if (err) {
    core_done(&engine->core);
    free(engine);
    return err;
  }
  uv_timer_init(options->loop, &engine->timer);
  engine->timer.data = engine;
  uv_timer_start(&engine->timer, on_timer, 0, ENGINE_VERIFY_MS);
  err = net_watch_new(options->loop, on_net_changed, engine, &engine->watch);
  if (err)
    tlx_warn(RULE, "new devices are followed every %u s only: %s", ENGINE_VERIFY_MS / 1000,
             tlx_err_text(err));
  *ret_engine = engine;
  return 0;
}

void engine_close(struct engine *engine, void (*closed)(void *arg), void *arg) {
  engine->closing = true;
  engine->closed = closed;
  engine->closed_arg = arg;
  uv_timer_stop(&engine->timer);
  net_watch_close(engine->watch);
  engine->watch = NULL;
  bpf_event_close(engine->events);
  bpf_event_close(engine->net_events);
  engine->events = engine->net_events = NULL;
  if (!engine->is_passing) uv_close((uv_handle_t *)&engine->timer, on_timer_closed);
}
