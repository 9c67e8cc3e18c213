// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/enforcement.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "sensor/engine.h"
#include "sensor/rule_report.h"

/* Events that come one after another go with one heartbeat. */
#define EVENT_BEAT_MS 250u

struct enforcement {
  struct enforcement_options options;
  struct engine *engine;
  uv_timer_t event_timer;
  struct event_queue events;
  struct rule_report report;
  bool unsaved; /* the set in force is not on disk */
  void (*closed)(void *arg);
  void *closed_arg;
};

/* ---- desired sets ---- */

static struct desired *copy_of(const struct desired *desired) {
  struct desired *copy = NULL;
  (void)desired_new(&desired->name, desired->policies, desired->n, &copy);
  return copy;
}

static void apply(struct enforcement *enforcement) {
  struct desired *copy = copy_of(state_desired(enforcement->options.state));
  if (copy)
    engine_set_desired(enforcement->engine, copy);
  else
    tlx_error(RULE, "out of memory: the desired rules are not applied");
}

/* A full disk must not keep an incident going: what cannot be saved is applied all the same, said,
 * and saved again later. */
static void on_saved(void *arg, int err) {
  struct enforcement *enforcement = arg;
  if (err && !enforcement->unsaved)
    tlx_error(RULE, "the rules are applied but would not survive a restart: %s", tlx_err_text(err));
  bool again = enforcement->unsaved;
  enforcement->unsaved = err != 0;
  if (!again) apply(enforcement);
}

static const char *name_text(const struct desired_name *name, char out[64]) {
  snprintf(out, 64, "%llu (%02x%02x%02x%02x…)", (unsigned long long)name->generation,
           name->digest[0], name->digest[1], name->digest[2], name->digest[3]);
  return out;
}

static int read_set(const Telovix__V1__DesiredSet *set, struct desired **ret_desired) {
  struct desired_name name = {.generation = set->generation};
  if (set->epoch.len != sizeof name.epoch || set->digest.len != sizeof name.digest)
    return TLX_E_MALFORMED;
  memcpy(name.epoch, set->epoch.data, sizeof name.epoch);
  memcpy(name.digest, set->digest.data, sizeof name.digest);
  struct tlx_bytes *policies = calloc(set->n_enforcement_policies + 1, sizeof *policies);
  if (!policies) return -ENOMEM;
  for (size_t i = 0; i < set->n_enforcement_policies; i++)
    policies[i] =
        (struct tlx_bytes){set->enforcement_policies[i].data, set->enforcement_policies[i].len};
  int err = desired_new(&name, policies, set->n_enforcement_policies, ret_desired);
  free(policies);
  return err;
}

static void take_set(struct enforcement *enforcement, const Telovix__V1__DesiredSet *set) {
  const struct desired *kept = state_desired(enforcement->options.state);
  struct desired *desired = NULL;
  char offered[64], held[64];
  int err = read_set(set, &desired);
  if (err) {
    tlx_error(RULE, "the Console's rules are refused, what is in force stays: %s",
              tlx_err_text(err));
    return;
  }
  switch (desired_compare(kept ? &kept->name : NULL, &desired->name)) {
  case DESIRED_SAME:
    enforcement->report.desired_rollback = false;
    desired_free(desired);
    return;
  case DESIRED_ROLLBACK:
    if (!enforcement->report.desired_rollback)
      tlx_error(RULE,
                "the Console offers generation %s and was rolled back, since %s is in force, "
                "which stays",
                name_text(&desired->name, offered), name_text(&kept->name, held));
    enforcement->report.desired_rollback = true;
    desired_free(desired);
    return;
  case DESIRED_NEWER:
    break;
  }
  tlx_notice(RULE, "generation %s wanted, %zu rules", name_text(&desired->name, offered),
             desired->n);
  enforcement->report.desired_rollback = false;
  enforcement->unsaved = false;
  state_desired_put(enforcement->options.state, desired, on_saved, enforcement);
}

/* ---- what the engine tells ---- */

static const struct engine_view *view_of(void *arg) {
  return engine_view(((struct enforcement *)arg)->engine);
}

static void on_changed(void *arg) {
  struct enforcement *enforcement = arg;
  enforcement->options.beat(enforcement->options.arg);
}

static void on_event_timer(uv_timer_t *timer) {
  on_changed(timer->data);
}

static void queue_event(struct enforcement *enforcement, const struct queued_event *event) {
  event_queue_add(&enforcement->events, event);
  if (!uv_is_active((uv_handle_t *)&enforcement->event_timer))
    uv_timer_start(&enforcement->event_timer, on_event_timer, EVENT_BEAT_MS, 0);
}

static void on_event(void *arg, const struct tlx_event *event, const struct engine_rule *rule) {
  struct enforcement *enforcement = arg;
  bool would = event->action == TLX_ACTION_WOULD;
  struct queued_event queued = {
      .boot_ns = event->boot_ns,
      .type = would ? TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_EXEC_WOULD_BLOCK
                    : TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_EXEC_BLOCKED,
      .pid = event->pid,
      .parent_pid = event->parent_pid,
      .uid = event->uid,
      .path = rule ? (char *)rule->path : NULL,
  };
  char comm[64], path[512];
  snprintf(queued.comm, sizeof queued.comm, "%.15s", event->comm);
  snprintf(queued.rule_id, sizeof queued.rule_id, "%s", rule ? rule->rule_id : "");
  queue_event(enforcement, &queued);
  tlx_notice(RULE, "execution %s rule=%s path=%s pid=%u ppid=%u uid=%u comm=%s",
             would ? "observed" : "blocked", queued.rule_id,
             tlx_text_escape(rule ? rule->path : "", SIZE_MAX, path, sizeof path), event->pid,
             event->parent_pid, event->uid,
             tlx_text_escape(queued.comm, SIZE_MAX, comm, sizeof comm));
}

static void on_tampered(void *arg, const struct bpf_tamper *tamper) {
  struct enforcement *enforcement = arg;
  struct queued_event queued = {
      .boot_ns = tlx_boot_ns(enforcement->options.clock),
      .type = TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_ENFORCEMENT_TAMPERED,
      .path = (char *)tamper->what,
  };
  snprintf(queued.detail, sizeof queued.detail, "%s; %s", tamper->how,
           tamper->repaired ? "repaired" : "could not be repaired");
  queue_event(enforcement, &queued);
  tlx_error(BPF, "enforcement was tampered with: %s %s", tamper->what, queued.detail);
}

/* ---- the heartbeat ---- */

void enforcement_fill(struct enforcement *enforcement, Telovix__V1__HeartbeatRequest *request,
                      struct tlx_arena *arena) {
  rule_report_fill(&enforcement->report, request, arena);
}

bool enforcement_reply(struct enforcement *enforcement, const Telovix__V1__HeartbeatReply *reply) {
  bool more = rule_report_arrived(&enforcement->report, reply);
  if (reply->desired_set) take_set(enforcement, reply->desired_set);
  if (enforcement->unsaved) state_desired_save_again(enforcement->options.state);
  return more;
}

void enforcement_retry(struct enforcement *enforcement) {
  rule_report_retry(&enforcement->report);
}

/* ---- status ---- */

static const char *const engine_words[] = {[ENGINE_STARTING] = "starting",
                                           [ENGINE_READY] = "ready",
                                           [ENGINE_UNAVAILABLE] = "unavailable",
                                           [ENGINE_DOWN] = "down"};
static const char *const state_words[] = {[RULE_PENDING] = "pending",
                                          [RULE_APPLIED] = "applied",
                                          [RULE_PARTIAL] = "partial",
                                          [RULE_REFUSED] = "refused",
                                          [RULE_FAILED] = "failed"};

/* jansson takes UTF-8 alone. Whoever shows it escapes it. */
static json_t *text_of(const char *text) {
  char repaired[4096];
  if (tlx_text_utf8_valid(text, strlen(text))) return json_string(text);
  snprintf(repaired, sizeof repaired, "%s", text);
  tlx_text_utf8_repair(repaired);
  return json_string(repaired);
}

static json_t *describe_gaps(uint32_t gaps) {
  json_t *list = json_array();
  for (unsigned gap = 0; gap < RULE_GAP_COUNT; gap++)
    if (gaps >> gap & 1)
      json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "gap", rule_gap_word(gap), "detail",
                                            rule_gap_text(gap), "byKernel",
                                            (int)rule_gap_by_kernel(gap)));
  return list;
}

static json_t *describe_caps(const struct bpf_caps *caps) {
  json_t *list = json_array();
  for (unsigned cap = 0; cap < BPF_CAP_COUNT; cap++) {
    const struct bpf_cap_finding *finding = &caps->findings[cap];
    if (finding->tried)
      json_array_append_new(list,
                            json_pack("{s:s, s:b, s:o}", "name", bpf_cap_word(cap), "available",
                                      (int)finding->available, "detail", text_of(finding->detail)));
  }
  return list;
}

static json_t *describe_rule(const struct engine_rule *rule) {
  const struct rule_result *result = &rule->result;
  return json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:I, s:I, s:o}", "ruleId",
                   rule->rule_id, "path", text_of(rule->path), "mode",
                   rule->mode == TLX_MODE_OBSERVE ? "observe" : "enforce", "state",
                   state_words[result->state], "reason", rule_reason_word(result->reason),
                   "reasonText", rule_reason_text(result->reason), "step", text_of(result->step),
                   "backend", bpf_backend_word(rule->backend), "file", text_of(result->file),
                   "hits", (json_int_t)rule->hits, "wouldHits", (json_int_t)rule->would_hits,
                   "gaps", describe_gaps(result->gaps));
}

void enforcement_describe(const struct enforcement *enforcement, json_t *object) {
  const struct engine_view *view = engine_view(enforcement->engine);
  char verified[TLX_TIME_TEXT_MAX] = "";
  const struct tlx_clock *clock = enforcement->options.clock;
  if (view->verified_boot_ns)
    tlx_time_format(tlx_wall_ms(clock) - (tlx_boot_ns(clock) - view->verified_boot_ns) / 1000000,
                    verified);
  json_t *rules = json_array();
  for (size_t i = 0; i < view->n_rules; i++)
    json_array_append_new(rules, describe_rule(&view->rules[i]));
  json_object_set_new(object, "generation",
                      json_integer(view->has_in_force ? (json_int_t)view->in_force.generation : 0));
  json_object_set_new(
      object, "engine",
      json_pack("{s:s, s:s, s:s, s:o, s:s, s:b, s:o, s:o}", "state", engine_words[view->state],
                "backend", bpf_backend_word(view->backend), "reason", view->reason, "detail",
                text_of(view->detail), "verifiedAt", verified, "desiredRollback",
                (int)enforcement->report.desired_rollback, "gaps", describe_gaps(view->gaps),
                "capabilities", describe_caps(&view->caps)));
  json_object_set_new(object, "rules", rules);
}

/* ---- life ---- */

int enforcement_new(const struct enforcement_options *options,
                    struct enforcement **ret_enforcement) {
  struct enforcement *enforcement = calloc(1, sizeof *enforcement);
  if (!enforcement) return -ENOMEM;
  enforcement->options = *options;
  enforcement->report.view = view_of;
  enforcement->report.arg = enforcement;
  enforcement->report.events = &enforcement->events;
  struct engine_options engine = {.loop = options->loop,
                                  .clock = options->clock,
                                  .state_folder = options->state_folder,
                                  .scope_folder = options->scope_folder,
                                  .paths = &options->paths,
                                  .changed = on_changed,
                                  .event = on_event,
                                  .tampered = on_tampered,
                                  .arg = enforcement};
  int err = event_queue_init(&enforcement->events);
  if (!err) err = engine_new(&engine, &enforcement->engine);
  if (err) {
    event_queue_done(&enforcement->events);
    free(enforcement);
    return err;
  }
  uv_timer_init(options->loop, &enforcement->event_timer);
  enforcement->event_timer.data = enforcement;
  if (state_desired(options->state)) apply(enforcement);
  *ret_enforcement = enforcement;
  return 0;
}

static void on_event_timer_closed(uv_handle_t *handle) {
  struct enforcement *enforcement = handle->data;
  void (*closed)(void *arg) = enforcement->closed;
  void *closed_arg = enforcement->closed_arg;
  event_queue_done(&enforcement->events);
  free(enforcement);
  if (closed) closed(closed_arg);
}

static void on_engine_closed(void *arg) {
  struct enforcement *enforcement = arg;
  uv_close((uv_handle_t *)&enforcement->event_timer, on_event_timer_closed);
}

void enforcement_close(struct enforcement *enforcement, void (*closed)(void *arg), void *arg) {
  enforcement->closed = closed;
  enforcement->closed_arg = arg;
  engine_close(enforcement->engine, on_engine_closed, enforcement);
}
