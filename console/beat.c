// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/beat.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "console/convert.h"
#include "console/limits.h"
#include "rpc/limits.h"

#define ID_LEN 16 /* of a boot, an epoch, a revision, an event stream */
#define DIGEST_LEN 32
#define WORD_MAX 48u    /* a stable word */
#define BACKEND_MAX 32u /* name of a hook */
#define COMM_MAX 64u    /* 15 bytes on the host; escaped ones are longer */
#define DETAIL_MAX 512u /* a sentence */
#define GAPS_MAX 32u
#define CAPABILITIES_MAX 64u
#define ERRNO_MAX 4095u /* MAX_ERRNO of the kernel */

/* ---- checks ---- */

/* |max| counts the NUL. */
static void check_text(struct tlx_status *status, const char *field, const char *text, size_t max) {
  if (strlen(text) >= max)
    tlx_status_add_violation(status, field, "is longer than %zu bytes", max - 1);
}

static void check_blob(struct tlx_status *status, const char *field,
                       const ProtobufCBinaryData *blob, size_t len) {
  if (blob->len != len)
    tlx_status_add_violation(status, field, "has %zu bytes instead of %zu", blob->len, len);
}

static void check_range(struct tlx_status *status, const char *field, uint32_t value,
                        uint32_t least, uint32_t most) {
  if (value < least || value > most)
    tlx_status_add_violation(status, field, "%u is not between %u and %u", value, least, most);
}

static void check_count(struct tlx_status *status, const char *field, size_t n, size_t max) {
  if (n > max) tlx_status_add_violation(status, field, "has %zu entries, at most %zu", n, max);
}

static bool is_full(const struct tlx_status *status) {
  return status->n_violations == TLX_STATUS_VIOLATIONS_MAX;
}

static void check_word(struct tlx_status *status, const char *field, const char *word) {
  size_t len = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_");
  if (word[len] || len >= WORD_MAX)
    tlx_status_add_violation(status, field, "is no word of at most %u of [a-z0-9_]", WORD_MAX - 1);
}

static void check_results(const Telovix__V1__HeartbeatRequest *request, struct tlx_status *status) {
  const struct op_report *op = NULL;
  for (size_t i = 0; i < request->n_kill_results && !is_full(status); i++) {
    const Telovix__V1__KillResult *result = request->kill_results[i];
    char field[64];
    snprintf(field, sizeof field, "kill_results[%zu].order_id", i);
    if (!tlx_id_valid("kill_", result->order_id))
      tlx_status_add_violation(status, field, "is not the id of a kill order");
    snprintf(field, sizeof field, "kill_results[%zu].detail", i);
    check_text(status, field, result->detail, sizeof op->results->detail);
  }
}

/* |list| and |i| name the message whose gaps these are. */
static void check_gaps(struct tlx_status *status, const char *message, Telovix__V1__RuleGap **gaps,
                       size_t n_gaps) {
  char field[64];
  snprintf(field, sizeof field, "%s.gaps", message);
  check_count(status, field, n_gaps, GAPS_MAX);
  for (size_t i = 0; i < n_gaps && !is_full(status); i++) {
    snprintf(field, sizeof field, "%s.gaps[%zu].gap", message, i);
    check_word(status, field, gaps[i]->gap);
    snprintf(field, sizeof field, "%s.gaps[%zu].detail", message, i);
    check_text(status, field, gaps[i]->detail, DETAIL_MAX);
  }
}

static void check_rule(struct tlx_status *status, const char *message,
                       const Telovix__V1__RuleReport *report) {
  char field[64];
#define FIELD(name) (snprintf(field, sizeof field, "%s." name, message), field)
  if (!tlx_id_valid("rule_", report->rule_id))
    tlx_status_add_violation(status, FIELD("rule_id"), "is not the id of a rule");
  check_blob(status, FIELD("revision"), &report->revision, ID_LEN);
  /* UNKNOWN is for containments alone, which the op knows. */
  check_range(status, FIELD("state"), (uint32_t)report->state,
              TELOVIX__V1__RULE_STATE__RULE_STATE_PENDING,
              TELOVIX__V1__RULE_STATE__RULE_STATE_UNKNOWN);
  check_word(status, FIELD("reason"), report->reason);
  check_text(status, FIELD("detail"), report->detail, DETAIL_MAX);
  check_range(status, FIELD("error_number"), report->error_number, 0, ERRNO_MAX);
  check_text(status, FIELD("backend"), report->backend, BACKEND_MAX);
  check_text(status, FIELD("file"), report->file, RULE_PATH_MAX + 1);
#undef FIELD
  check_gaps(status, message, report->gaps, report->n_gaps);
}

static void check_rules(const Telovix__V1__HeartbeatRequest *request, struct tlx_status *status) {
  check_count(status, "rule_reports", request->n_rule_reports, REPORT_RULES_MAX);
  for (size_t i = 0; i < request->n_rule_reports && !is_full(status); i++) {
    char message[32];
    snprintf(message, sizeof message, "rule_reports[%zu]", i);
    check_rule(status, message, request->rule_reports[i]);
  }
}

static void check_engine(const Telovix__V1__HeartbeatRequest *request, struct tlx_status *status) {
  const Telovix__V1__EngineReport *engine = request->engine;
  const uint32_t most = TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_DOWN;
  if (request->engine_beat)
    check_range(status, "engine_beat.state", (uint32_t)request->engine_beat->state, 0, most);
  if (!engine) return;
  check_range(status, "engine.state", (uint32_t)engine->state, 0, most);
  check_text(status, "engine.backend", engine->backend, BACKEND_MAX);
  check_word(status, "engine.reason", engine->reason);
  check_text(status, "engine.detail", engine->detail, DETAIL_MAX);
  check_gaps(status, "engine", engine->gaps, engine->n_gaps);
  check_count(status, "engine.capabilities", engine->n_capabilities, CAPABILITIES_MAX);
  for (size_t i = 0; i < engine->n_capabilities && !is_full(status); i++) {
    char field[64];
    snprintf(field, sizeof field, "engine.capabilities[%zu].name", i);
    check_text(status, field, engine->capabilities[i]->name, WORD_MAX);
    snprintf(field, sizeof field, "engine.capabilities[%zu].detail", i);
    check_text(status, field, engine->capabilities[i]->detail, DETAIL_MAX);
  }
}

static void check_event(struct tlx_status *status, const char *message,
                        const Telovix__V1__EnforcementEvent *event) {
  char field[64];
#define FIELD(name) (snprintf(field, sizeof field, "%s." name, message), field)
  check_range(status, FIELD("type"), (uint32_t)event->type,
              TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_EXEC_BLOCKED,
              TELOVIX__V1__EVENT_TYPE__EVENT_TYPE_ENFORCEMENT_LIFTED);
  if (*event->rule_id && !tlx_id_valid("rule_", event->rule_id))
    tlx_status_add_violation(status, FIELD("rule_id"), "is not the id of a rule");
  check_text(status, FIELD("path"), event->path, RULE_PATH_MAX + 1);
  check_text(status, FIELD("comm"), event->comm, COMM_MAX);
  check_text(status, FIELD("detail"), event->detail, DETAIL_MAX);
#undef FIELD
}

static void check_events(const Telovix__V1__HeartbeatRequest *request, struct tlx_status *status) {
  uint64_t before_seq = 0;
  if (request->event_stream.len || request->n_events)
    check_blob(status, "event_stream", &request->event_stream, ID_LEN);
  for (size_t i = 0; i < request->n_events && !is_full(status); i++) {
    const Telovix__V1__EnforcementEvent *event = request->events[i];
    char message[32], field[64];
    snprintf(message, sizeof message, "events[%zu]", i);
    snprintf(field, sizeof field, "events[%zu].seq", i);
    if (event->seq <= before_seq)
      tlx_status_add_violation(status, field, "%llu does not come after %llu",
                               (unsigned long long)event->seq, (unsigned long long)before_seq);
    before_seq = event->seq;
    check_event(status, message, event);
  }
}

static void check_hazards(const Telovix__V1__HeartbeatRequest *request, struct tlx_status *status) {
  const Telovix__V1__Hazards *hazards = request->hazards;
  if (!hazards) return;
  check_count(status, "hazards.hazards", hazards->n_hazards, REPORT_HAZARDS_MAX);
  for (size_t i = 0; i < hazards->n_hazards && !is_full(status); i++) {
    char field[64];
    snprintf(field, sizeof field, "hazards.hazards[%zu]", i);
    check_word(status, field, hazards->hazards[i]);
    if (!*hazards->hazards[i]) tlx_status_add_violation(status, field, "is empty");
  }
}

void beat_check(const Telovix__V1__HeartbeatRequest *request, struct tlx_status *status) {
  const struct op_report *op = NULL;
  check_blob(status, "boot_id", &request->boot_id, ID_LEN);
  if (request->boot_ns == 0) tlx_status_add_violation(status, "boot_ns", "is missing");
  check_text(status, "sensor_version", request->sensor_version, sizeof op->sensor_version);
  check_text(status, "renewal_error", request->renewal_error, sizeof op->renewal_error);
  check_text(status, "scope_cgroup", request->scope_cgroup, sizeof op->scope_cgroup);
  if (request->facts) {
    check_text(status, "facts.kernel_release", request->facts->kernel_release,
               sizeof op->kernel_release);
    check_text(status, "facts.architecture", request->facts->architecture, sizeof op->architecture);
    check_text(status, "facts.os_name", request->facts->os_name, sizeof op->os_name);
  }
  if (request->in_force) {
    check_blob(status, "in_force.epoch", &request->in_force->epoch, ID_LEN);
    check_blob(status, "in_force.digest", &request->in_force->digest, DIGEST_LEN);
  }
  check_results(request, status);
  check_rules(request, status);
  check_engine(request, status);
  check_events(request, status);
  check_hazards(request, status);
}

/* ---- live ---- */

void beat_live(const Telovix__V1__HeartbeatRequest *request, struct live_beat *ret_beat) {
  struct live_beat beat = {.has_in_force = request->in_force != NULL,
                           .has_beat = request->engine_beat != NULL,
                           .has_counters = request->counters != NULL};
  if (request->in_force) {
    memcpy(beat.in_force.epoch, request->in_force->epoch.data, sizeof beat.in_force.epoch);
    memcpy(beat.in_force.digest, request->in_force->digest.data, sizeof beat.in_force.digest);
    beat.in_force.generation = request->in_force->generation;
  }
  if (request->engine_beat) {
    beat.state = (uint32_t)request->engine_beat->state;
    beat.verified_boot_ns = request->engine_beat->verified_boot_ns;
    beat.proof_waits = request->n_rule_reports || request->n_events;
    beat.repaired_boot_ns = request->engine_beat->repaired_boot_ns;
    beat.desired_rollback = request->engine_beat->desired_rollback;
    beat.coverage_partial = request->engine_beat->coverage_partial;
  }
  if (request->counters) beat.events_lost = request->counters->events_lost;
  *ret_beat = beat;
}

/* ---- what is durable ---- */

bool beat_facts_differ(const Telovix__V1__HeartbeatRequest *request,
                       const Telovix__Store__V1__SensorRecord *record) {
  const Telovix__V1__HostFacts *facts = request->facts;
  return facts && (strcmp(facts->kernel_release, record->kernel_release) != 0 ||
                   strcmp(facts->architecture, record->architecture) != 0 ||
                   strcmp(facts->os_name, record->os_name) != 0 ||
                   strcmp(request->sensor_version, record->sensor_version) != 0 ||
                   strcmp(request->scope_cgroup, record->scope_cgroup) != 0);
}

bool beat_hazards_differ(const Telovix__V1__HeartbeatRequest *request,
                         const Telovix__Store__V1__SensorRecord *record) {
  const Telovix__V1__Hazards *hazards = request->hazards;
  if (!hazards) return false;
  if (hazards->n_hazards != record->n_hazards) return true;
  for (size_t i = 0; i < record->n_hazards; i++)
    if (strcmp(hazards->hazards[i], record->hazards[i]) != 0) return true;
  return false;
}

bool beat_renewal_differs(const Telovix__V1__HeartbeatRequest *request,
                          const Telovix__Store__V1__SensorRecord *record) {
  return strcmp(request->renewal_error, record->renewal_error) != 0;
}

bool beat_is_armed_again(const Telovix__V1__HeartbeatRequest *request,
                         const Telovix__Store__V1__SensorRecord *record) {
  const Telovix__V1__DesiredName *in_force = request->in_force;
  if (!record->lifted_wall_ms || !in_force) return false;
  bool same_epoch =
      record->lifted_epoch.len == in_force->epoch.len &&
      memcmp(record->lifted_epoch.data, in_force->epoch.data, in_force->epoch.len) == 0;
  return !same_epoch || in_force->generation > record->lifted_generation;
}

static void copy_results(const Telovix__V1__HeartbeatRequest *request, struct op_report *op) {
  for (size_t i = 0; i < request->n_kill_results && i < REPORT_RESULTS_MAX; i++) {
    const Telovix__V1__KillResult *from = request->kill_results[i];
    struct report_result *to = &op->results[op->n_results++];
    snprintf(to->order_id, sizeof to->order_id, "%s", from->order_id);
    snprintf(to->detail, sizeof to->detail, "%s", from->detail);
    snprintf(to->process_state, sizeof to->process_state, "%s", from->process_state);
    snprintf(to->comm, sizeof to->comm, "%s", from->comm);
    to->state = (uint32_t)from->state;
    to->error_number = from->error_number;
    to->signalled_boot_ns = from->signalled_boot_ns;
    to->observed_boot_ns = from->observed_boot_ns;
    to->start_ticks = from->start_ticks;
  }
}

static void copy_facts(const Telovix__V1__HeartbeatRequest *request, struct op_report *op) {
  const Telovix__V1__HostFacts *facts = request->facts;
  op->has_facts = true;
  snprintf(op->kernel_release, sizeof op->kernel_release, "%s", facts->kernel_release);
  snprintf(op->architecture, sizeof op->architecture, "%s", facts->architecture);
  snprintf(op->os_name, sizeof op->os_name, "%s", facts->os_name);
  snprintf(op->sensor_version, sizeof op->sensor_version, "%s", request->sensor_version);
  snprintf(op->scope_cgroup, sizeof op->scope_cgroup, "%s", request->scope_cgroup);
}

/* NULL marks the arena, which is looked at once at the end. */
static Telovix__Store__V1__Gap **copy_gaps(struct tlx_arena *arena, Telovix__V1__RuleGap **from,
                                           size_t n) {
  Telovix__Store__V1__Gap **list = tlx_arena_alloc(arena, (n + 1) * sizeof *list);
  Telovix__Store__V1__Gap *gaps = tlx_arena_alloc(arena, (n + 1) * sizeof *gaps);
  if (!list || !gaps) return NULL;
  for (size_t i = 0; i < n; i++) {
    gaps[i] = (Telovix__Store__V1__Gap)TELOVIX__STORE__V1__GAP__INIT;
    gaps[i].gap = tlx_arena_strdup(arena, from[i]->gap);
    gaps[i].detail = tlx_arena_strdup(arena, from[i]->detail);
    gaps[i].by_kernel = from[i]->by_kernel;
    list[i] = &gaps[i];
  }
  return list;
}

static void copy_rules(const Telovix__V1__HeartbeatRequest *request, struct op_report *op) {
  struct tlx_arena *arena = &op->arena;
  op->rules = tlx_arena_zalloc(arena, (request->n_rule_reports + 1) * sizeof *op->rules);
  for (size_t i = 0; op->rules && i < request->n_rule_reports; i++) {
    const Telovix__V1__RuleReport *from = request->rule_reports[i];
    struct report_rule *to = &op->rules[op->n_rules++];
    snprintf(to->rule_id, sizeof to->rule_id, "%s", from->rule_id);
    memcpy(to->revision, from->revision.data, sizeof to->revision);
    to->state = (uint32_t)from->state;
    to->error_number = from->error_number;
    to->reason = tlx_arena_strdup(arena, from->reason);
    to->detail = tlx_arena_strdup(arena, from->detail);
    to->backend = tlx_arena_strdup(arena, from->backend);
    to->file = tlx_arena_strdup(arena, from->file);
    to->gaps = copy_gaps(arena, from->gaps, from->n_gaps);
    to->n_gaps = from->n_gaps;
    to->hits = from->hits;
    to->would_hits = from->would_hits;
  }
}

static void copy_hazards(const Telovix__V1__HeartbeatRequest *request, struct op_report *op) {
  const Telovix__V1__Hazards *hazards = request->hazards;
  op->has_hazards = true;
  op->hazards = tlx_arena_alloc(&op->arena, (hazards->n_hazards + 1) * sizeof *op->hazards);
  for (size_t i = 0; op->hazards && i < hazards->n_hazards; i++)
    op->hazards[op->n_hazards++] = tlx_arena_strdup(&op->arena, hazards->hazards[i]);
}

/* When it happened by the host's wall clock, which the heartbeat read when it was sent. */
static uint64_t happened_wall_ms(const Telovix__V1__HeartbeatRequest *request,
                                 uint64_t event_boot_ns, uint64_t now_wall_ms) {
  uint64_t sent_wall_ms = now_wall_ms, age_ms = 0;
  if (request->wall_time) (void)convert_time_ms(request->wall_time, &sent_wall_ms);
  /* A later one than the sending is of an earlier boot: then its age is not known. */
  if (event_boot_ns && event_boot_ns < request->boot_ns)
    age_ms = (request->boot_ns - event_boot_ns) / 1000000;
  return sent_wall_ms > age_ms ? sent_wall_ms - age_ms : 0;
}

static int copy_events(const Telovix__V1__HeartbeatRequest *request, uint64_t now_wall_ms,
                       struct op_report *op) {
  struct tlx_arena *arena = &op->arena;
  size_t n = request->n_events < REPORT_EVENTS_MAX ? request->n_events : REPORT_EVENTS_MAX;
  op->has_event_stream = request->event_stream.len == sizeof op->event_stream;
  if (op->has_event_stream)
    memcpy(op->event_stream, request->event_stream.data, sizeof op->event_stream);
  op->events = tlx_arena_zalloc(arena, (n + 1) * sizeof *op->events);
  for (size_t i = 0; op->events && i < n; i++) {
    const Telovix__V1__EnforcementEvent *from = request->events[i];
    struct report_event *to = &op->events[op->n_events++];
    Telovix__Store__V1__EventRecord *record = &to->record;
    int err = tlx_id_make("event_", to->event_id, sizeof to->event_id);
    if (err) return err;
    to->seq = from->seq;
    *record = (Telovix__Store__V1__EventRecord)TELOVIX__STORE__V1__EVENT_RECORD__INIT;
    record->happened_wall_ms = happened_wall_ms(request, from->boot_ns, now_wall_ms);
    record->type = (uint32_t)from->type;
    record->rule_id = tlx_arena_strdup(arena, from->rule_id);
    record->path = tlx_arena_strdup(arena, from->path);
    record->pid = from->pid;
    record->parent_pid = from->parent_pid;
    record->uid = from->uid;
    record->comm = tlx_arena_strdup(arena, from->comm);
    record->count = from->count ? from->count : 1;
    record->detail = tlx_arena_strdup(arena, from->detail);
  }
  return 0;
}

int beat_copy(const Telovix__V1__HeartbeatRequest *request, bool has_facts, bool has_hazards,
              uint64_t now_wall_ms, struct op_report *op) {
  /* Not much more than the message, whose size is bounded. */
  tlx_arena_init(&op->arena, TLX_ARENA_MAX);
  copy_results(request, op);
  if (has_facts) copy_facts(request, op);
  if (has_hazards) copy_hazards(request, op);
  if (request->n_rule_reports) copy_rules(request, op);
  int err = copy_events(request, now_wall_ms, op);
  if (err) return err;
  if (request->in_force) {
    op->has_in_force = true;
    memcpy(op->in_force.epoch, request->in_force->epoch.data, sizeof op->in_force.epoch);
    memcpy(op->in_force.digest, request->in_force->digest.data, sizeof op->in_force.digest);
    op->in_force.generation = request->in_force->generation;
  }
  op->op.cost = sizeof *op + op->arena.used;
  return op->arena.refused ? -ENOMEM : 0;
}
