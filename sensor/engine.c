// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/file.h"
#include "common/log.h"
#include "sensor/bpf_event.h"
#include "sensor/engine_int.h"
#include "sensor/host.h"

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
  struct bpf_event *events;
  uint32_t events_of;               /* core.n_objects when it was opened */
  const struct engine_view *former; /* events are read that may be of before the last pass */
  uv_timer_t timer;
  uv_work_t work;
  bool is_passing, is_filled, closing;
  uint64_t pass_mono_ms; /* when the one that runs began */
  void (*closed)(void *arg);
  void *closed_arg;
};

/* ---- the view ---- */

static void fill_rule(struct engine_rule *to, struct core_rule *from, enum bpf_backend backend,
                      struct bpf_object *object) {
  snprintf(to->rule_id, sizeof to->rule_id, "%s", from->block.rule_id);
  snprintf(to->path, sizeof to->path, "%s", from->block.path);
  memcpy(to->revision, from->revision, sizeof to->revision);
  to->slot = from->slot;
  to->mode = from->mode;
  to->result = from->result;
  to->since_boot_ns = from->since_boot_ns;
  bool in_force = from->result.state == RULE_APPLIED || from->result.state == RULE_PARTIAL;
  to->backend = in_force ? backend : BPF_BACKEND_NONE;
  if (object && from->slot) (void)bpf_maps_count(object, from->slot, &from->count);
  to->hits = from->count.acted;
  to->would_hits = from->count.would;
}

static bool lacks_kernel(const struct rule_result *result) {
  if (result->reason == RULE_REASON_SCRIPT || result->reason == RULE_REASON_NAMES_UNREADABLE ||
      result->reason == RULE_REASON_NO_ENFORCEMENT)
    return true;
  for (unsigned gap = 0; gap < RULE_GAP_COUNT; gap++)
    if ((result->gaps >> gap & 1) && rule_gap_by_kernel(gap)) return true;
  return false;
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
                               .verified_boot_ns = core->verified_boot_ns,
                               .repaired_boot_ns = core->repaired_boot_ns,
                               .n_passes = core->n_passes};
  snprintf(view->detail, sizeof view->detail, "%s", core->detail);
  view->state = core->backend ? ENGINE_READY : core->was_proved ? ENGINE_DOWN : ENGINE_UNAVAILABLE;
  if (core->backend == BPF_BACKEND_TRACEPOINT)
    view->gaps = 1u << RULE_GAP_LOADER | 1u << RULE_GAP_GLOBAL_INIT | 1u << RULE_GAP_SCRIPT_FILE;
  if (core->object && !bpf_object_reads_names(core->object))
    view->gaps |= 1u << RULE_GAP_NAMES | 1u << RULE_GAP_OVERLAY;
  for (size_t i = 0; i < core->n_rules; i++) {
    fill_rule(&rules[i], core->rules[i], core->backend, core->object);
    view->coverage_partial |= lacks_kernel(&rules[i].result);
  }
  if (core->object) (void)bpf_maps_stats(core->object, &view->stats);
  return true;
}

/* Whether the Console should hear of it before its next heartbeat. Times of verification can wait.
 */
static bool is_news(const struct engine_view *a, const struct engine_view *b) {
  if (a->state != b->state || a->backend != b->backend || a->gaps != b->gaps ||
      a->has_in_force != b->has_in_force || a->coverage_partial != b->coverage_partial ||
      a->repaired_boot_ns != b->repaired_boot_ns || a->n_rules != b->n_rules ||
      a->stats.acted != b->stats.acted || a->stats.would != b->stats.would ||
      strcmp(a->reason, b->reason) != 0 ||
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

/* After a pass. What waited while rules changed is of rules of now or of |before|. */
static void open_events(struct engine *engine, const struct engine_view *before) {
  engine->former = before;
  if (engine->events) bpf_event_resume(engine->events);
  engine->former = NULL;
  if (!engine->core.object || (engine->events && engine->events_of == engine->core.n_objects))
    return;
  bpf_event_close(engine->events);
  engine->events = NULL;
  engine->events_of = engine->core.n_objects;
  int err = bpf_event_new(engine->options.loop, bpf_object_events_fd(engine->core.object), on_event,
                          engine, &engine->events);
  if (err) tlx_error(BPF, "events cannot be read: %s", tlx_err_text(err));
}

/* ---- passes ---- */

static void start_pass(struct engine *engine);

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
  for (unsigned i = 0; i < engine->core.tampers.n; i++)
    engine->options.tampered(engine->options.arg, &engine->core.tampers.list[i]);
  if (is_news(before, engine_view(engine))) engine->options.changed(engine->options.arg);
  if (engine->wanted) start_pass(engine);
}

static void start_pass(struct engine *engine) {
  if (engine->is_passing || engine->closing) return;
  engine->passing = engine->wanted;
  engine->wanted = NULL;
  /* Until the pass ends nobody knows whose the new slots are. */
  if (engine->passing && engine->events) bpf_event_pause(engine->events);
  engine->pass_mono_ms = tlx_mono_ms(engine->options.clock);
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
    snprintf(rule->result.step, sizeof rule->result.step, "%s", view->detail);
    rule->backend = BPF_BACKEND_NONE;
    rule->since_boot_ns = tlx_boot_ns(engine->options.clock);
  }
  engine->options.changed(engine->options.arg);
}

static void on_timer(uv_timer_t *timer) {
  struct engine *engine = timer->data;
  if (engine->is_passing && tlx_mono_ms(engine->options.clock) - engine->pass_mono_ms >= STALL_MS)
    tell_stall(engine);
  start_pass(engine);
}

void engine_set_desired(struct engine *engine, struct desired *desired) {
  desired_free(engine->wanted);
  engine->wanted = desired;
  start_pass(engine);
}

const struct engine_view *engine_view(const struct engine *engine) {
  return &engine->views[engine->shown];
}

/* ---- life ---- */

static int fill_core(struct core *core, const struct engine_options *options) {
  core->clock = options->clock;
  core->reason = "";
  core->lock_fd = -1;
  core->whole_host = !options->scope_folder;
  core->pin_folder = tlx_path_join(options->paths->bpffs, "telovix");
  core->canary_path = tlx_path_join(options->state_folder, "canary");
  core->btf_path = strdup(options->paths->btf);
  core->securityfs = strdup(options->paths->securityfs);
  core->bpffs = strdup(options->paths->bpffs);
  if (!core->pin_folder || !core->canary_path || !core->btf_path || !core->securityfs ||
      !core->bpffs)
    return -ENOMEM;
  if (!options->scope_folder) return 0;
  core->scope_folder = strdup(options->scope_folder);
  if (!core->scope_folder) return -ENOMEM;
  return host_cgroup_id(options->scope_folder, &core->scope_cgroup_id, &core->scope_level);
}

int engine_new(const struct engine_options *options, struct engine **ret_engine) {
  struct engine *engine = calloc(1, sizeof *engine);
  if (!engine) return -ENOMEM;
  engine->options = *options;
  for (unsigned i = 0; i < 2; i++)
    engine->views[i] = (struct engine_view){.state = ENGINE_STARTING, .reason = "starting"};
  int err = fill_core(&engine->core, options);
  if (err) {
    core_done(&engine->core);
    free(engine);
    return err;
  }
  uv_timer_init(options->loop, &engine->timer);
  engine->timer.data = engine;
  uv_timer_start(&engine->timer, on_timer, 0, ENGINE_VERIFY_MS);
  *ret_engine = engine;
  return 0;
}

void engine_close(struct engine *engine, void (*closed)(void *arg), void *arg) {
  engine->closing = true;
  engine->closed = closed;
  engine->closed_arg = arg;
  uv_timer_stop(&engine->timer);
  bpf_event_close(engine->events);
  engine->events = NULL;
  if (!engine->is_passing) uv_close((uv_handle_t *)&engine->timer, on_timer_closed);
}
