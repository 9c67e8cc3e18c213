// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/enforcement.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "sensor/engine.h"
#include "sensor/hazards.h"
#include "sensor/net_addresses.h"
#include "sensor/rule_report.h"

/* Events that come one after another go with one heartbeat. */
#define EVENT_BEAT_MS 250u
/* A contained host is denied something all the time: that goes with a heartbeat now and then. */
#define NET_EVENT_BEAT_MS 5000u
#define LIFT_TELL_MS 2000u
/* A third of the minute after which a containment may go: no answer is not to have asked too late.
 */
#define LOST_BEAT_MS 20000u

struct enforcement {
  struct enforcement_options options;
  struct engine *engine;
  uv_timer_t event_timer;
  struct event_queue events;
  struct rule_report report;
  bool unsaved;          /* the set in force is not on disk */
  uint64_t seen_mono_ms; /* last heartbeat that the Console answered, whatever it said */
  uv_timer_t lift_timer;
  uint64_t lift_seq; /* event that tells of it; 0 = none waits */
  void (*lift_done)(void *arg, bool was_told, bool is_down);
  void *lift_arg;
  bool lift_told;
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
  /* Only another desired state puts up again what root took down. */
  const struct state_released *released = state_released(enforcement->options.state);
  engine_set_lifted(enforcement->engine, released && released->is_lifted);
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

static enum rule_reason reason_of_containment(const struct engine_view *view) {
  for (size_t i = 0; i < view->n_rules; i++)
    if (view->rules[i].is_containment) return view->rules[i].result.reason;
  return RULE_REASON_NONE;
}

/* The containment went by itself: a restart must not put it up again under the same desired state.
 * Or a hazard refused it: a boot, which cannot see them all, must not put it up either. */
static void keep_released(struct enforcement *enforcement) {
  struct state *state = enforcement->options.state;
  struct state_released released = {.wall_ms = tlx_wall_ms(enforcement->options.clock)};
  const struct engine_view *view = engine_view(enforcement->engine);
  const struct desired *desired = state_desired(state);
  const struct state_released *kept = state_released(state);
  if (!desired || memcmp(&view->in_force, &desired->name, sizeof desired->name) != 0) return;
  released.is_hazard = reason_of_containment(view) == RULE_REASON_HAZARD;
  if (!kept && (view->net.was_lost || released.is_hazard))
    state_released_put(state, &released);
  else if (kept && kept->is_hazard && view->net.in_force)
    state_released_clear(state);
}

static void finish_lift(struct enforcement *enforcement) {
  const struct engine_view *view = engine_view(enforcement->engine);
  void (*done)(void *arg, bool was_told, bool is_down) = enforcement->lift_done;
  if (!done || !view->is_lifted) return;
  enforcement->lift_done = NULL;
  done(enforcement->lift_arg, enforcement->lift_told, view->is_down);
}

static void on_changed(void *arg) {
  struct enforcement *enforcement = arg;
  keep_released(enforcement);
  finish_lift(enforcement);
  enforcement->options.beat(enforcement->options.arg);
}

static void on_event_timer(uv_timer_t *timer) {
  on_changed(timer->data);
}

static void queue_event(struct enforcement *enforcement, const struct queued_event *event,
                        uint64_t beat_ms) {
  uv_timer_t *timer = &enforcement->event_timer;
  event_queue_add(&enforcement->events, event);
  if (!uv_is_active((uv_handle_t *)timer) || uv_timer_get_due_in(timer) > beat_ms)
    uv_timer_start(timer, on_event_timer, beat_ms, 0);
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
  queue_event(enforcement, &queued, EVENT_BEAT_MS);
  tlx_notice(RULE, "execution %s rule=%s path=%s pid=%u ppid=%u uid=%u comm=%s",
             would ? "observed" : "blocked", queued.rule_id,
             tlx_text_escape(rule ? rule->path : "", SIZE_MAX, path, sizeof path), event->pid,
             event->parent_pid, event->uid,
             tlx_text_escape(queued.comm, SIZE_MAX, comm, sizeof comm));
}

/* "udp out 192.0.2.1 port 53, refused sendmsg". */
static void describe_denial(const struct tlx_net_event *event, char *out, size_t size) {
  static const char *const places[TLX_NET_AT_MAX] = {
      [TLX_NET_AT_CGROUP_OUT] = "out",   [TLX_NET_AT_CGROUP_IN] = "in",
      [TLX_NET_AT_CONNECT] = "connect",  [TLX_NET_AT_SENDMSG] = "sendmsg",
      [TLX_NET_AT_TC_OUT] = "frame out", [TLX_NET_AT_TC_IN] = "frame in"};
  const char *place = event->at < TLX_NET_AT_MAX ? places[event->at] : NULL;
  char protocol[16];
  snprintf(protocol, sizeof protocol, "protocol %u", event->protocol);
  snprintf(out, size, "%s %s, local port %u, device %u",
           event->protocol == IPPROTO_TCP   ? "tcp"
           : event->protocol == IPPROTO_UDP ? "udp"
                                            : protocol,
           place ? place : "?", event->local_port, event->ifindex);
}

static void on_net_event(void *arg, const struct tlx_net_event *event,
                         const struct engine_rule *rule) {
  struct enforcement *enforcement = arg;
  bool would = event->action == TLX_ACTION_WOULD;
  char text[46], remote[80];
  /* The proof, and names that we try to resolve. */
  if (event->pid == (uint32_t)getpid()) return;
  net_address_text(event->remote.bytes, text);
  snprintf(remote, sizeof remote, strchr(text, ':') ? "[%s]:%u" : "%s:%u", text,
           event->remote_port);
  struct queued_event queued = {
      .boot_ns = event->boot_ns,
      .type = would ? TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_NETWORK_WOULD_DENY
                    : TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_NETWORK_DENIED,
      .pid = event->pid,
      .uid = event->uid == TLX_NET_UID_NONE ? 0 : event->uid,
      .path = remote,
  };
  describe_denial(event, queued.detail, sizeof queued.detail);
  snprintf(queued.comm, sizeof queued.comm, "%.15s", event->comm);
  snprintf(queued.rule_id, sizeof queued.rule_id, "%s", rule ? rule->rule_id : "");
  queue_event(enforcement, &queued, NET_EVENT_BEAT_MS);
  tlx_debug(RULE, "network %s remote=%s pid=%u %s", would ? "observed" : "denied", remote,
            event->pid, queued.detail);
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
  queue_event(enforcement, &queued, EVENT_BEAT_MS);
  tlx_error(BPF, "enforcement was tampered with: %s %s", tamper->what, queued.detail);
}

/* ---- lift ---- */

static void queue_lifted(struct enforcement *enforcement) {
  const struct state_released *released = state_released(enforcement->options.state);
  struct queued_event queued = {
      .boot_ns = tlx_boot_ns(enforcement->options.clock),
      .type = TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_ENFORCEMENT_LIFTED,
      .uid = released->uid,
  };
  char at[TLX_TIME_TEXT_MAX];
  tlx_time_format(released->wall_ms, at);
  snprintf(queued.detail, sizeof queued.detail, "uid %u, terminal %s, %s", released->uid,
           *released->tty ? released->tty : "none", at);
  queue_event(enforcement, &queued, EVENT_BEAT_MS);
  enforcement->lift_seq = enforcement->events.last_seq;
}

static void take_down(struct enforcement *enforcement) {
  uv_timer_stop(&enforcement->lift_timer);
  engine_set_lifted(enforcement->engine, true);
  finish_lift(enforcement); /* it was down before */
}

static void on_lift_timer(uv_timer_t *timer) {
  take_down(timer->data);
}

int enforcement_lift(struct enforcement *enforcement, uint32_t uid, const char *tty,
                     void (*done)(void *arg, bool was_told, bool is_down), void *arg) {
  struct state_released lifted = {
      .is_lifted = true, .uid = uid, .wall_ms = tlx_wall_ms(enforcement->options.clock)};
  if (enforcement->lift_done) return -EALREADY;
  snprintf(lifted.tty, sizeof lifted.tty, "%s", tty);
  state_released_put(enforcement->options.state, &lifted);
  tlx_error(RULE, "root takes all enforcement down: uid=%u tty=%s", uid, *tty ? tty : "none");
  enforcement->lift_done = done;
  enforcement->lift_arg = arg;
  enforcement->lift_told = false;
  queue_lifted(enforcement);
  uv_timer_start(&enforcement->lift_timer, on_lift_timer, LIFT_TELL_MS, 0);
  enforcement->options.beat(enforcement->options.arg);
  return 0;
}

static void lift_acknowledged(struct enforcement *enforcement, uint64_t seq) {
  if (!enforcement->lift_seq || seq < enforcement->lift_seq) return;
  enforcement->lift_seq = 0;
  enforcement->lift_told = true;
  state_released_told(enforcement->options.state);
  if (enforcement->lift_done) take_down(enforcement);
}

/* ---- the heartbeat ---- */

void enforcement_fill(struct enforcement *enforcement, Telovix__V1__HeartbeatRequest *request,
                      struct tlx_arena *arena) {
  rule_report_fill(&enforcement->report, request, arena);
}

bool enforcement_reply(struct enforcement *enforcement, const Telovix__V1__HeartbeatReply *reply) {
  bool more = rule_report_arrived(&enforcement->report, reply);
  enforcement->seen_mono_ms = tlx_mono_ms(enforcement->options.clock);
  lift_acknowledged(enforcement, reply->acknowledged_event_seq);
  if (reply->desired_set) take_set(enforcement, reply->desired_set);
  return more;
}

void enforcement_retry(struct enforcement *enforcement, bool was_answered) {
  rule_report_retry(&enforcement->report);
  if (was_answered) enforcement->seen_mono_ms = tlx_mono_ms(enforcement->options.clock);
}

uint64_t enforcement_beat_max_ms(const struct enforcement *enforcement) {
  return engine_view(enforcement->engine)->net.goes_when_lost ? LOST_BEAT_MS : 0;
}

/* ---- status ---- */

static const char *const engine_words[] = {[ENGINE_STARTING] = "starting",
                                           [ENGINE_READY] = "ready",
                                           [ENGINE_UNAVAILABLE] = "unavailable",
                                           [ENGINE_DOWN] = "down"};
static const char *const state_words[] = {
    [RULE_PENDING] = "pending", [RULE_APPLIED] = "applied", [RULE_PARTIAL] = "partial",
    [RULE_REFUSED] = "refused", [RULE_FAILED] = "failed",   [RULE_UNKNOWN] = "unknown"};

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

static json_t *describe_layers(const struct engine_net_view *net) {
  json_t *list = json_array();
  for (unsigned layer = 0; layer < BPF_NET_LAYER_COUNT; layer++)
    json_array_append_new(list, json_pack("{s:s, s:b, s:o}", "name", bpf_net_layer_word(layer),
                                          "attached", (int)(net->layers >> layer & 1), "detail",
                                          text_of(net->layer_why[layer])));
  return list;
}

static json_t *describe_hazards(const struct engine_net_view *net) {
  json_t *list = json_array();
  for (unsigned hazard = 0; hazard < HAZARD_COUNT; hazard++)
    if (net->hazards >> hazard & 1)
      json_array_append_new(list, json_pack("{s:s, s:s}", "hazard", hazard_word(hazard), "detail",
                                            hazard_text(hazard)));
  return list;
}

static void time_of_boot(const struct enforcement *enforcement, uint64_t boot_ns,
                         char out[TLX_TIME_TEXT_MAX]) {
  const struct tlx_clock *clock = enforcement->options.clock;
  *out = '\0';
  if (boot_ns) tlx_time_format(tlx_wall_ms(clock) - (tlx_boot_ns(clock) - boot_ns) / 1000000, out);
}

static json_t *describe_net(const struct enforcement *enforcement,
                            const struct engine_net_view *net) {
  char proved[TLX_TIME_TEXT_MAX];
  uint64_t denied = 0, would = 0;
  time_of_boot(enforcement, net->proved_boot_ns, proved);
  for (unsigned at = 0; at < TLX_NET_AT_MAX; at++) {
    denied += net->stats.denied[at];
    would += net->stats.would[at];
  }
  denied -= net->stats.probes < denied ? net->stats.probes : denied;
  return json_pack("{s:b, s:b, s:b, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:i, s:i, s:i}", "wanted",
                   (int)net->is_wanted, "inForce", (int)net->in_force, "releasedByItself",
                   (int)net->was_lost, "provedAt", proved, "proofLacks", text_of(net->proof),
                   "layers", describe_layers(net), "hazards", describe_hazards(net), "denied",
                   (json_int_t)denied, "wouldDeny", (json_int_t)would, "ownPackets",
                   (json_int_t)net->stats.own, "sweptNamespaces", (int)net->sweep.n_spaces,
                   "sessionsEnded", (int)net->sweep.n_destroyed, "namespacesNotEntered",
                   (int)net->sweep.n_skipped);
}

static json_t *describe_rule(const struct engine_rule *rule) {
  const struct rule_result *result = &rule->result;
  return json_pack(
      "{s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:I, s:I, s:o}", "ruleId", rule->rule_id,
      "path", text_of(rule->path), "mode", rule->mode == TLX_MODE_OBSERVE ? "observe" : "enforce",
      "state", state_words[result->state], "reason", rule_reason_word(result->reason), "reasonText",
      rule_reason_text(result->reason), "step", text_of(result->step), "backend", rule->backend,
      "file", text_of(result->file), "hits", (json_int_t)rule->hits, "wouldHits",
      (json_int_t)rule->would_hits, "gaps", describe_gaps(result->gaps));
}

void enforcement_describe(const struct enforcement *enforcement, json_t *object) {
  const struct engine_view *view = engine_view(enforcement->engine);
  char verified[TLX_TIME_TEXT_MAX];
  time_of_boot(enforcement, view->verified_boot_ns, verified);
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
  json_object_set_new(object, "containment", describe_net(enforcement, &view->net));
  json_object_set_new(object, "lifted", json_boolean(view->is_lifted));
  json_object_set_new(object, "rules", rules);
}

/* ---- life ---- */

static void on_link(void *arg, struct engine_link *ret_link) {
  struct enforcement *enforcement = arg;
  if (enforcement->options.link) enforcement->options.link(enforcement->options.arg, ret_link);
  ret_link->seen_mono_ms = enforcement->seen_mono_ms;
  ret_link->is_unsaved = !state_outlives_restart(enforcement->options.state);
}

static int on_own_socket(void *arg) {
  struct enforcement *enforcement = arg;
  return enforcement->options.own_socket ? enforcement->options.own_socket(enforcement->options.arg)
                                         : -1;
}

bool enforcement_is_contained(const struct enforcement *enforcement) {
  return engine_view(enforcement->engine)->net.is_wanted;
}

static void start_with_what_is_kept(struct enforcement *enforcement) {
  const struct state_released *released = state_released(enforcement->options.state);
  if (state_released_is_lost(released)) engine_set_lost(enforcement->engine, &released->name);
  if (released && released->is_lifted && !released->was_told) queue_lifted(enforcement);
  if (state_desired(enforcement->options.state))
    apply(enforcement);
  else if (released)
    engine_set_lifted(enforcement->engine, released->is_lifted);
}

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
                                  .link = on_link,
                                  .own_socket = on_own_socket,
                                  .changed = on_changed,
                                  .event = on_event,
                                  .net_event = on_net_event,
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
  uv_timer_init(options->loop, &enforcement->lift_timer);
  enforcement->lift_timer.data = enforcement;
  start_with_what_is_kept(enforcement);
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

static void on_lift_timer_closed(uv_handle_t *handle) {
  struct enforcement *enforcement = handle->data;
  uv_close((uv_handle_t *)&enforcement->event_timer, on_event_timer_closed);
}

static void on_engine_closed(void *arg) {
  struct enforcement *enforcement = arg;
  uv_close((uv_handle_t *)&enforcement->lift_timer, on_lift_timer_closed);
}

void enforcement_close(struct enforcement *enforcement, void (*closed)(void *arg), void *arg) {
  enforcement->closed = closed;
  enforcement->closed_arg = arg;
  enforcement->lift_done = NULL;
  engine_close(enforcement->engine, on_engine_closed, enforcement);
}
