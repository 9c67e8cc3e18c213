// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/rule_report.h"

#include <string.h>

#include "common/text.h"
#include "rpc/pb_scan.h"
#include "sensor/hazards.h"

/* FNV-1a, so that what was told can be compared without being kept. 0 stands for "nothing". */
static uint64_t digest_of(const ProtobufCMessage *message) {
  struct tlx_buf packed = {0};
  uint64_t hash = 0xcbf29ce484222325u;
  tlx_pb_pack(message, &packed);
  for (size_t i = 0; i < packed.len; i++)
    hash = (hash ^ packed.data[i]) * 0x100000001b3u;
  hash = packed.err ? 0 : hash | 1;
  tlx_buf_done(&packed);
  return hash;
}

/* ---- gaps ---- */

static Telovix__V1__RuleGap **make_gaps(uint32_t gaps, size_t *ret_n, struct tlx_arena *arena) {
  Telovix__V1__RuleGap **list = tlx_arena_alloc(arena, RULE_GAP_COUNT * sizeof *list);
  *ret_n = 0;
  for (unsigned gap = 0; list && gap < RULE_GAP_COUNT; gap++) {
    if (!(gaps >> gap & 1)) continue;
    Telovix__V1__RuleGap *to = tlx_arena_alloc(arena, sizeof *to);
    if (!to) break;
    *to = (Telovix__V1__RuleGap)TELOVIX__V1__RULE_GAP__INIT;
    to->gap = (char *)rule_gap_word(gap);
    to->detail = (char *)rule_gap_text(gap);
    to->by_kernel = rule_gap_by_kernel(gap);
    list[(*ret_n)++] = to;
  }
  return list;
}

/* A file may have any name; the wire takes UTF-8 alone. Whoever shows it escapes it. */
static char *wire_text(const char *text, struct tlx_arena *arena) {
  static char empty[] = "";
  if (tlx_text_utf8_valid(text, strlen(text))) return (char *)text;
  char *out = tlx_arena_strdup(arena, text);
  if (!out) return empty;
  tlx_text_utf8_repair(out);
  return out;
}

/* ---- rules ---- */

static char *make_detail(const struct rule_result *result, struct tlx_arena *arena) {
  const char *text = rule_reason_text(result->reason);
  char *detail = tlx_arena_printf(arena, "%s%s%s", text, *text && *result->step ? ": " : "",
                                  wire_text(result->step, arena));
  return detail ? detail : (char *)text;
}

static Telovix__V1__RuleReport *make_report(const struct engine_rule *rule,
                                            struct tlx_arena *arena) {
  Telovix__V1__RuleReport *to = tlx_arena_alloc(arena, sizeof *to);
  if (!to) return NULL;
  *to = (Telovix__V1__RuleReport)TELOVIX__V1__RULE_REPORT__INIT;
  to->rule_id = (char *)rule->rule_id;
  to->revision = (ProtobufCBinaryData){sizeof rule->revision, (uint8_t *)rule->revision};
  to->state = (Telovix__V1__RuleState)rule->result.state;
  to->reason = (char *)rule_reason_word(rule->result.reason);
  to->detail = make_detail(&rule->result, arena);
  to->error_number = (uint32_t)-rule->result.err;
  to->backend = (char *)rule->backend;
  to->gaps = make_gaps(rule->result.gaps, &to->n_gaps, arena);
  to->file = wire_text(rule->result.file, arena);
  to->hits = rule->hits;
  to->would_hits = rule->would_hits;
  to->since_boot_ns = rule->since_boot_ns;
  return to;
}

static bool was_told(const struct rule_report *report, const char *rule_id, uint64_t digest) {
  for (unsigned i = 0; i < report->n_told; i++)
    if (strcmp(report->told[i].rule_id, rule_id) == 0) return report->told[i].digest == digest;
  return false;
}

static void fill_rules(struct rule_report *report, const struct engine_view *view,
                       Telovix__V1__HeartbeatRequest *request, struct tlx_arena *arena) {
  report->n_in_flight = 0;
  report->has_more = false;
  request->rule_reports = tlx_arena_alloc(arena, RULE_REPORTS_MAX * sizeof(void *));
  for (size_t i = 0; request->rule_reports && i < view->n_rules; i++) {
    const struct engine_rule *rule = &view->rules[i];
    /* Never looked at: there is nothing true to say yet. One without an id could not be read. */
    if (!rule->since_boot_ns || !*rule->rule_id) continue;
    Telovix__V1__RuleReport *made = make_report(rule, arena);
    uint64_t digest = made ? digest_of(&made->base) : 0;
    if (!digest || was_told(report, rule->rule_id, digest)) continue;
    if (report->n_in_flight == RULE_REPORTS_MAX) {
      report->has_more = true;
      break;
    }
    struct told *told = &report->in_flight[report->n_in_flight++];
    memcpy(told->rule_id, rule->rule_id, sizeof told->rule_id);
    told->digest = digest;
    request->rule_reports[request->n_rule_reports++] = made;
  }
}

/* ---- the engine ---- */

static void fill_engine(struct rule_report *report, const struct engine_view *view,
                        Telovix__V1__HeartbeatRequest *request, struct tlx_arena *arena) {
  Telovix__V1__EngineReport *engine = tlx_arena_alloc(arena, sizeof *engine);
  report->engine_in_flight = 0;
  if (!engine) return;
  *engine = (Telovix__V1__EngineReport)TELOVIX__V1__ENGINE_REPORT__INIT;
  engine->state = (Telovix__V1__EngineState)view->state;
  engine->backend = (char *)bpf_backend_word(view->backend);
  engine->reason = (char *)view->reason;
  engine->detail = wire_text(view->detail, arena);
  engine->gaps = make_gaps(view->gaps, &engine->n_gaps, arena);
  engine->capabilities = tlx_arena_alloc(arena, BPF_CAP_COUNT * sizeof(void *));
  for (unsigned cap = 0; engine->capabilities && cap < BPF_CAP_COUNT; cap++) {
    const struct bpf_cap_finding *finding = &view->caps.findings[cap];
    Telovix__V1__Capability *to = finding->tried ? tlx_arena_alloc(arena, sizeof *to) : NULL;
    if (!to) continue;
    *to = (Telovix__V1__Capability)TELOVIX__V1__CAPABILITY__INIT;
    to->name = (char *)bpf_cap_word(cap);
    to->available = finding->available;
    to->detail = wire_text(finding->detail, arena);
    engine->capabilities[engine->n_capabilities++] = to;
  }
  uint64_t digest = digest_of(&engine->base);
  if (!digest || digest == report->engine_told) return;
  report->engine_in_flight = digest;
  request->engine = engine;
}

static void fill_beat(const struct rule_report *report, const struct engine_view *view,
                      Telovix__V1__HeartbeatRequest *request, struct tlx_arena *arena) {
  Telovix__V1__EngineBeat *beat = tlx_arena_alloc(arena, sizeof *beat);
  Telovix__V1__DesiredName *name = view->has_in_force ? tlx_arena_alloc(arena, sizeof *name) : NULL;
  if (beat) {
    *beat = (Telovix__V1__EngineBeat)TELOVIX__V1__ENGINE_BEAT__INIT;
    beat->state = (Telovix__V1__EngineState)view->state;
    beat->verified_boot_ns = view->verified_boot_ns;
    beat->repaired_boot_ns = view->repaired_boot_ns;
    beat->desired_rollback = report->desired_rollback;
    beat->coverage_partial = view->coverage_partial;
    request->engine_beat = beat;
  }
  if (!name) return;
  *name = (Telovix__V1__DesiredName)TELOVIX__V1__DESIRED_NAME__INIT;
  name->epoch = (ProtobufCBinaryData){sizeof view->in_force.epoch, (uint8_t *)view->in_force.epoch};
  name->generation = view->in_force.generation;
  name->digest =
      (ProtobufCBinaryData){sizeof view->in_force.digest, (uint8_t *)view->in_force.digest};
  request->in_force = name;
}

/* ---- hazards ---- */

static void fill_hazards(struct rule_report *report, const struct engine_view *view,
                         Telovix__V1__HeartbeatRequest *request, struct tlx_arena *arena) {
  const struct engine_net_view *net = &view->net;
  report->knows_in_flight = false;
  if (!net->knows_hazards || (report->knows_told && report->hazards_told == net->hazards)) return;
  Telovix__V1__Hazards *to = tlx_arena_alloc(arena, sizeof *to);
  char **list = tlx_arena_alloc(arena, HAZARD_COUNT * sizeof *list);
  if (!to || !list) return;
  *to = (Telovix__V1__Hazards)TELOVIX__V1__HAZARDS__INIT;
  to->hazards = list;
  for (unsigned hazard = 0; hazard < HAZARD_COUNT; hazard++)
    if (net->hazards >> hazard & 1) list[to->n_hazards++] = (char *)hazard_word(hazard);
  report->hazards_in_flight = net->hazards;
  report->knows_in_flight = true;
  request->hazards = to;
}

/* ---- events ---- */

static void fill_events(struct event_queue *queue, Telovix__V1__HeartbeatRequest *request,
                        struct tlx_arena *arena) {
  unsigned n = event_queue_count(queue);
  if (n > EVENT_BATCH_MAX) n = EVENT_BATCH_MAX;
  request->events = n ? tlx_arena_alloc(arena, n * sizeof(void *)) : NULL;
  for (unsigned i = 0; request->events && i < n; i++) {
    const struct queued_event *event = event_queue_send(queue, i);
    Telovix__V1__EnforcementEvent *to = tlx_arena_alloc(arena, sizeof *to);
    if (!to) break;
    *to = (Telovix__V1__EnforcementEvent)TELOVIX__V1__ENFORCEMENT_EVENT__INIT;
    to->seq = event->seq;
    to->boot_ns = event->boot_ns;
    to->type = (Telovix__V1__EventType)event->type;
    to->rule_id = (char *)event->rule_id;
    to->path = wire_text(event->path, arena);
    to->pid = event->pid;
    to->parent_pid = event->parent_pid;
    to->uid = event->uid;
    to->comm = wire_text(event->comm, arena);
    to->count = event->count;
    to->detail = wire_text(event->detail, arena);
    request->events[request->n_events++] = to;
  }
  if (request->n_events)
    request->event_stream = (ProtobufCBinaryData){sizeof queue->stream, queue->stream};
}

static void fill_counters(const struct rule_report *report, const struct engine_view *view,
                          Telovix__V1__HeartbeatRequest *request) {
  if (!request->counters) return;
  request->counters->events_seen = report->events->n_seen;
  request->counters->events_lost = report->events->n_lost + view->stats.failed[TLX_HELPER_EVENT];
  request->counters->blocked_executions = view->stats.acted;
  request->counters->would_block_executions = view->stats.would;
}

void rule_report_fill(struct rule_report *report, Telovix__V1__HeartbeatRequest *request,
                      struct tlx_arena *arena) {
  const struct engine_view *view = report->view(report->arg);
  fill_beat(report, view, request, arena);
  fill_engine(report, view, request, arena);
  fill_rules(report, view, request, arena);
  fill_hazards(report, view, request, arena);
  fill_events(report->events, request, arena);
  fill_counters(report, view, request);
}

/* ---- the answer ---- */

static void remember(struct rule_report *report, const struct told *told) {
  for (unsigned i = 0; i < report->n_told; i++) {
    if (strcmp(report->told[i].rule_id, told->rule_id) != 0) continue;
    report->told[i] = *told;
    return;
  }
  /* Rules that are gone make room: told again at worst. */
  if (report->n_told == DESIRED_RULES_MAX) report->n_told = 0;
  report->told[report->n_told++] = *told;
}

bool rule_report_arrived(struct rule_report *report, const Telovix__V1__HeartbeatReply *reply) {
  for (unsigned i = 0; i < report->n_in_flight; i++)
    remember(report, &report->in_flight[i]);
  if (report->engine_in_flight) report->engine_told = report->engine_in_flight;
  if (report->knows_in_flight) {
    report->knows_told = true;
    report->hazards_told = report->hazards_in_flight;
  }
  event_queue_acknowledge(report->events, reply->acknowledged_event_seq);
  bool more = report->has_more;
  more |= event_queue_count(report->events) > 0 &&
          report->events->sent_seq < report->events->last_seq && reply->acknowledged_event_seq > 0;
  rule_report_retry(report);
  if (!reply->report_all) return more;
  report->n_told = 0;
  report->engine_told = 0;
  report->knows_told = false;
  return true;
}

void rule_report_retry(struct rule_report *report) {
  report->n_in_flight = 0;
  report->engine_in_flight = 0;
  report->knows_in_flight = false;
}
