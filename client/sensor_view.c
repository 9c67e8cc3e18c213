// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/sensor_view.h"

#include <stdio.h>
#include <string.h>

#include "client/rule_view.h"
#include "common/text.h"

static enum output_colour health_colour(unsigned state) {
  switch (state) {
  case TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_HEALTHY:
    return COLOUR_GOOD;
  case TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_WATCH:
  case TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_DEGRADED:
    return COLOUR_WARN;
  default:
    return COLOUR_BAD;
  }
}

static void format_reasons(const Telovix__V1__Sensor *sensor, char *out, size_t size) {
  size_t at = 0;
  out[0] = '\0';
  for (size_t i = 0; i < sensor->n_health_reasons && at < size; i++)
    at += (size_t)snprintf(out + at, size - at, "%s%s", i ? "," : "",
                           sensor->health_reasons[i]->reason);
  if (sensor->unconfirmed_since_restart && at < size)
    snprintf(out + at, size - at, "%sunconfirmed_since_restart", at ? "," : "");
}

static void format_labels(const Telovix__V1__Sensor *sensor, char *out, size_t size) {
  size_t at = 0;
  out[0] = '\0';
  for (size_t i = 0; i < sensor->n_labels && at < size; i++)
    at += (size_t)snprintf(out + at, size - at, "%s%s=%s", i ? "," : "", sensor->labels[i]->key,
                           sensor->labels[i]->value);
}

#define CONTAINMENT_HEAD "CONTAIN DESIRED | OBSERVED"
static const char *const heads[] = {"NODE",           "SENSOR",    "STATUS", "HEALTH",
                                    CONTAINMENT_HEAD, "LAST SEEN", "REASONS"};
static const char *const heads_wide[] = {
    "NODE",     "SENSOR",   "STATUS", "HEALTH",  CONTAINMENT_HEAD, "LAST SEEN",
    "REASONS",  "TRUST",    "ORDERS", "RULES",   "ENGINE",         "DESIRED",
    "IN FORCE", "VERIFIED", "SCOPE",  "VERSION", "LABELS"};

/* A sensor says its scope with its first heartbeat; before that nobody knows it. */
static const char *scope_of(const Telovix__V1__Sensor *sensor, const char *whole) {
  if (!sensor->last_seen_at) return "-";
  return *sensor->scope_cgroup ? sensor->scope_cgroup : whole;
}

static enum output_colour containment_colour(const Telovix__V1__Sensor *sensor) {
  switch (sensor->containment_state) {
  case TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_NONE:
    return COLOUR_NONE;
  case TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_CONTAINED:
    return COLOUR_GOOD;
  case TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_PENDING:
  case TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_PARTIAL:
  case TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_RELEASE_PENDING:
    return COLOUR_WARN;
  default:
    return COLOUR_BAD;
  }
}

/* "contained [trial scope /x]": what holds only inside a scope is never shown without it. */
static void format_containment(const Telovix__V1__Sensor *sensor, char *out, size_t size) {
  char word[64];
  output_word(&telovix__v1__containment_state__descriptor, (int)sensor->containment_state, word);
  bool has_scope = *sensor->scope_cgroup && strcmp(word, "none") != 0;
  snprintf(out, size, "%s%s%.255s%s", word, has_scope ? " [trial scope " : "",
           has_scope ? sensor->scope_cgroup : "", has_scope ? "]" : "");
}

/* "ready (lsm)"; empty when the host has not said since the Console's start. */
static void format_engine(const Telovix__V1__Sensor *sensor, char *out, size_t size) {
  const Telovix__V1__EngineReport *engine = sensor->engine;
  char word[64];
  out[0] = '\0';
  if (!engine) return;
  output_word(&telovix__v1__engine_state__descriptor, (int)engine->state, word);
  const char *inner = *engine->backend ? engine->backend : engine->reason;
  snprintf(out, size, "%s%s%s%s", word, *inner ? " (" : "", inner, *inner ? ")" : "");
}

static enum output_colour engine_colour(const Telovix__V1__Sensor *sensor) {
  switch (sensor->engine ? sensor->engine->state
                         : TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_UNSPECIFIED) {
  case TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_UNSPECIFIED:
    return COLOUR_NONE;
  case TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_STARTING:
    return COLOUR_WARN;
  case TELOVIX__V1__ENGINE_STATE__ENGINE_STATE_READY:
    return COLOUR_GOOD;
  default:
    return COLOUR_BAD;
  }
}

static bool same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b) {
  return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

const char *sensor_view_agreement(const Telovix__V1__Sensor *sensor) {
  const Telovix__V1__DesiredName *wanted = sensor->desired, *found = sensor->in_force;
  if (!wanted || !found) return "not known";
  bool same = wanted->generation == found->generation &&
              same_bytes(&wanted->epoch, &found->epoch) &&
              same_bytes(&wanted->digest, &found->digest);
  return same ? "same" : "differs";
}

/* A number alone would hide another epoch or digest under the same generation. */
static void format_in_force(const Telovix__V1__Sensor *sensor, char *out, size_t size) {
  out[0] = '\0';
  if (!sensor->in_force) return;
  bool differs = strcmp(sensor_view_agreement(sensor), "differs") == 0;
  snprintf(out, size, "%llu%s", (unsigned long long)sensor->in_force->generation,
           differs ? " (differs)" : "");
}

struct output_table *sensor_view_table(bool wide) {
  return wide ? output_table_new(heads_wide, sizeof heads_wide / sizeof *heads_wide)
              : output_table_new(heads, sizeof heads / sizeof *heads);
}

static void wide_cells(struct output_table *table, const Telovix__V1__Sensor *sensor) {
  char word[64], age[32], text[512];
  output_table_cell(
      table, COLOUR_NONE,
      output_word(&telovix__v1__trust_state__descriptor, (int)sensor->trust_state, word));
  snprintf(text, sizeof text, "%u", sensor->open_orders);
  output_table_cell(table, COLOUR_NONE, text);
  snprintf(text, sizeof text, "%u", sensor->rules);
  output_table_cell(table, COLOUR_NONE, text);
  format_engine(sensor, text, sizeof text);
  output_table_cell(table, engine_colour(sensor), text);
  snprintf(text, sizeof text, "%llu",
           sensor->desired ? (unsigned long long)sensor->desired->generation : 0);
  output_table_cell(table, COLOUR_NONE, sensor->desired ? text : "");
  format_in_force(sensor, text, sizeof text);
  output_table_cell(table, COLOUR_NONE, text);
  output_table_cell(table, COLOUR_NONE,
                    output_age_at(sensor->enforcement_verified_at, sensor->last_seen_at,
                                  sensor->last_seen_age, age));
  output_table_cell(table, COLOUR_NONE, scope_of(sensor, "host"));
  output_table_cell(table, COLOUR_NONE, sensor->facts ? sensor->facts->sensor_version : "");
  format_labels(sensor, text, sizeof text);
  output_table_cell(table, COLOUR_NONE, text);
}

void sensor_view_row(struct output_table *table, const Telovix__V1__Sensor *sensor, bool wide) {
  char word[64], age[32], text[512];
  output_table_cell(table, COLOUR_NONE, sensor->node_name);
  output_table_cell(table, COLOUR_NONE, sensor->sensor_id);
  output_table_cell(
      table, COLOUR_NONE,
      output_word(&telovix__v1__sensor_status__descriptor, (int)sensor->status, word));
  output_table_cell(
      table, health_colour(sensor->health_state),
      output_word(&telovix__v1__health_state__descriptor, (int)sensor->health_state, word));
  char observed[384];
  format_containment(sensor, observed, sizeof observed);
  snprintf(text, sizeof text, "%s | %s", sensor->is_contained ? "yes" : "no", observed);
  output_table_cell(table, containment_colour(sensor), text);
  output_table_cell(table, COLOUR_NONE, output_age(sensor->last_seen_age, age));
  format_reasons(sensor, text, sizeof text);
  output_table_cell(table, COLOUR_NONE, text);
  if (wide) wide_cells(table, sensor);
}

/* "desired 7 | in force 6, differs". */
static void format_generation(const Telovix__V1__Sensor *sensor, char *out, size_t size) {
  char wanted[32] = "none", found[32] = "not known";
  if (sensor->desired)
    snprintf(wanted, sizeof wanted, "%llu", (unsigned long long)sensor->desired->generation);
  if (sensor->in_force)
    snprintf(found, sizeof found, "%llu", (unsigned long long)sensor->in_force->generation);
  snprintf(out, size, "desired %s | in force %s%s%s", wanted, found, sensor->in_force ? ", " : "",
           sensor->in_force ? sensor_view_agreement(sensor) : "");
}

/* Whatever a watch tells of stands in the line: two lines that are the same would say nothing. */
void sensor_view_line(const Telovix__V1__Sensor *sensor) {
  char status[64], health[64], trust[64], coloured[96], engine[256], generation[128], contained[64];
  char node[1024], reasons[512], rest[2048], shown[4096];
  format_reasons(sensor, reasons, sizeof reasons);
  format_engine(sensor, engine, sizeof engine);
  format_generation(sensor, generation, sizeof generation);
  output_word(&telovix__v1__containment_state__descriptor, (int)sensor->containment_state,
              contained);
  snprintf(
      rest, sizeof rest,
      "%s  %s, %s  containment: desired %s | observed %s%s%s  engine %s  rules %u, %s%s%.512s%s",
      *reasons ? reasons : "-",
      output_word(&telovix__v1__trust_state__descriptor, (int)sensor->trust_state, trust),
      sensor->connected ? "connected" : "not connected", sensor->is_contained ? "yes" : "no",
      contained, *sensor->containment_reason ? ", " : "", sensor->containment_reason,
      *engine ? engine : "not known", sensor->rules, generation,
      *sensor->scope_cgroup ? "  [trial scope " : "", sensor->scope_cgroup,
      *sensor->scope_cgroup ? "]" : "");
  printf("%s  %s  %s  %s  %s\n", tlx_text_escape(sensor->node_name, SIZE_MAX, node, sizeof node),
         sensor->sensor_id,
         output_word(&telovix__v1__sensor_status__descriptor, (int)sensor->status, status),
         output_colour(
             health_colour(sensor->health_state),
             output_word(&telovix__v1__health_state__descriptor, (int)sensor->health_state, health),
             coloured, sizeof coloured),
         tlx_text_escape(rest, SIZE_MAX, shown, sizeof shown));
  fflush(stdout);
}

void sensor_view_removed(const Telovix__V1__Sensor *sensor) {
  char node[1024];
  bool is_revoked = sensor->status == TELOVIX__V1__SENSOR_STATUS__SENSOR_STATUS_REVOKED;
  printf("%s  %s  %s\n", tlx_text_escape(sensor->node_name, SIZE_MAX, node, sizeof node),
         sensor->sensor_id, is_revoked ? "revoked: no longer watched (see --all)" : "deleted");
  fflush(stdout);
}

/* What is desired and what was observed, and why; what would make a containment dangerous. */
static void print_containment(const Telovix__V1__Sensor *sensor) {
  char observed[384], text[1024], time[32], age[32];
  size_t at = 0;
  format_containment(sensor, observed, sizeof observed);
  snprintf(text, sizeof text, "desired %s | observed %s", sensor->is_contained ? "yes" : "no",
           observed);
  output_line("containment", text);
  if (*sensor->containment_reason || *sensor->containment_detail) {
    snprintf(text, sizeof text, "%s%s%s", sensor->containment_reason,
             *sensor->containment_reason && *sensor->containment_detail ? ": " : "",
             sensor->containment_detail);
    output_line("  reason", text);
  }
  rule_view_gaps(sensor->containment_gaps, sensor->n_containment_gaps);
  if (sensor->containment_verified_at) {
    snprintf(text, sizeof text, "%s (%s ago)", output_time(sensor->containment_verified_at, time),
             output_age_at(sensor->containment_verified_at, sensor->last_seen_at,
                           sensor->last_seen_age, age));
    output_line("  proved", text);
  }
  if (*sensor->containment_rule_id) output_line("  rule", sensor->containment_rule_id);
  text[0] = '\0';
  for (size_t i = 0; i < sensor->n_hazards && at < sizeof text; i++)
    at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? ", " : "", sensor->hazards[i]);
  output_line("hazards", text);
}

/* What was asked of the kernel, and what no rule covers there. */
static void print_engine(const Telovix__V1__Sensor *sensor) {
  const Telovix__V1__EngineReport *engine = sensor->engine;
  char state[256], text[2048], age[32], time[32];
  format_engine(sensor, state, sizeof state);
  snprintf(text, sizeof text, "%s%s%s%s", state, *sensor->scope_cgroup ? " [trial scope " : "",
           sensor->scope_cgroup, *sensor->scope_cgroup ? "]" : "");
  output_line("engine", engine ? text : "not known: not heard since the Console started");
  if (engine && *engine->detail) output_line("  reason", engine->detail);
  for (size_t i = 0; engine && i < engine->n_capabilities; i++) {
    const Telovix__V1__Capability *capability = engine->capabilities[i];
    snprintf(text, sizeof text, "%s: %s%s%s", capability->name,
             capability->available ? "yes" : "no", *capability->detail ? ", " : "",
             capability->detail);
    output_line("  capability", text);
  }
  if (engine) rule_view_gaps(engine->gaps, engine->n_gaps);
  format_generation(sensor, text, sizeof text);
  output_line("generation", text);
  snprintf(text, sizeof text, "%s (%s ago)", output_time(sensor->enforcement_verified_at, time),
           output_age_at(sensor->enforcement_verified_at, sensor->last_seen_at,
                         sensor->last_seen_age, age));
  output_line("verified", sensor->enforcement_verified_at ? text : "");
  snprintf(text, sizeof text, "%u", sensor->rules);
  output_line("rules", text);
}

void sensor_view_print(const Telovix__V1__Sensor *sensor) {
  char word[64], time[32], age[32], text[512];
  output_line("node", sensor->node_name);
  output_line("sensor", sensor->sensor_id);
  output_line("status",
              output_word(&telovix__v1__sensor_status__descriptor, (int)sensor->status, word));
  output_line("health",
              output_word(&telovix__v1__health_state__descriptor, (int)sensor->health_state, word));
  for (size_t i = 0; i < sensor->n_health_reasons; i++) {
    const Telovix__V1__HealthReason *reason = sensor->health_reasons[i];
    snprintf(text, sizeof text, "%s: %s (limit %s)", reason->reason, reason->value, reason->limit);
    output_line("  reason", text);
  }
  if (sensor->unconfirmed_since_restart)
    output_line("  mark", "unconfirmed_since_restart: no heartbeat since the Console started");
  output_line("trust",
              output_word(&telovix__v1__trust_state__descriptor, (int)sensor->trust_state, word));
  output_line("trust health",
              output_word(&telovix__v1__trust_health__descriptor, (int)sensor->trust_health, word));
  output_line("certificate", output_time(sensor->certificate_expires_at, time));
  output_line("enrolled", output_time(sensor->enrolled_at, time));
  snprintf(text, sizeof text, "%s (%s ago)", output_time(sensor->last_seen_at, time),
           output_age(sensor->last_seen_age, age));
  output_line("last seen", sensor->last_seen_at ? text : "never");
  output_line("connected", sensor->connected ? "yes" : "no");
  output_line("address", sensor->peer_address);
  output_line("scope", scope_of(sensor, "whole host"));
  snprintf(text, sizeof text, "%u", sensor->open_orders);
  output_line("open orders", text);
  print_containment(sensor);
  print_engine(sensor);
  if (sensor->facts) {
    snprintf(text, sizeof text, "%s, Linux %s, %s", sensor->facts->os_name,
             sensor->facts->kernel_release, sensor->facts->architecture);
    output_line("host", text);
    output_line("version", sensor->facts->sensor_version);
  }
  format_labels(sensor, text, sizeof text);
  output_line("labels", text);
}
