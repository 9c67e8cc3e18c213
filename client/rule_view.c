// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/rule_view.h"

#include <stdio.h>
#include <string.h>

#include "common/allow.h"
#include "common/text.h"

#define STATE(name) TELOVIX__V1__RULE_STATE__RULE_STATE_##name

/* The state as the host reported it, the Console's restart left aside. */
static bool is_reported(const Telovix__V1__EnforcementRule *rule) {
  switch (rule->observed_state) {
  case STATE(UNSPECIFIED):
  case STATE(PENDING):
  case STATE(UNKNOWN):
  case STATE(REMOVING):
    return false;
  default:
    return true;
  }
}

bool rule_view_is_containment(const Telovix__V1__EnforcementRule *rule) {
  return strcmp(rule->template_, "network-containment") == 0;
}

const char *rule_view_allow(char *const *allow, size_t n_allow, char *out, size_t size) {
  size_t at = 0;
  snprintf(out, size, "%s", n_allow ? "" : "nothing");
  for (size_t i = 0; i < n_allow && at < size; i++)
    at += (size_t)snprintf(out + at, size - at, "%s%s", i ? " " : "", allow[i]);
  return out;
}

bool rule_view_ended(const Telovix__V1__EnforcementRule *rule) {
  return is_reported(rule) && !rule->unconfirmed_since_restart;
}

bool rule_view_succeeded(const Telovix__V1__EnforcementRule *rule) {
  return rule_view_ended(rule) && rule->observed_state == STATE(APPLIED);
}

static enum output_colour state_colour(const Telovix__V1__EnforcementRule *rule) {
  if (!rule_view_ended(rule)) return COLOUR_WARN;
  return rule_view_succeeded(rule) ? COLOUR_GOOD : COLOUR_BAD;
}

static bool is_observing(const Telovix__V1__EnforcementRule *rule) {
  return rule->desired_mode == TELOVIX__V1__RULE_MODE__RULE_MODE_OBSERVE;
}

/* "pending 12s", "applied (unconfirmed since restart)". |out| of 128. */
static const char *format_observed(const Telovix__V1__EnforcementRule *rule, char *out) {
  char word[64], age[32];
  bool waits = rule->observed_state == STATE(PENDING) || rule->observed_state == STATE(REMOVING);
  output_word(&telovix__v1__rule_state__descriptor, (int)rule->observed_state, word);
  snprintf(out, 128, "%s%s%s%s", word, waits && rule->changed_age ? " " : "",
           waits && rule->changed_age ? output_age(rule->changed_age, age) : "",
           rule->unconfirmed_since_restart ? " (unconfirmed since restart)" : "");
  return out;
}

/* A sensor that has not said its scope may have one: no word is made up for it. */
static const char *scope_of(const Telovix__V1__EnforcementRule *rule, const char *whole) {
  if (*rule->scope_cgroup) return rule->scope_cgroup;
  return is_reported(rule) ? whole : "";
}

const char *rule_view_state(const Telovix__V1__EnforcementRule *rule, char *out) {
  char observed[128], text[512];
  snprintf(text, sizeof text, "%s%s%s%s%s", format_observed(rule, observed),
           *rule->observed_reason ? ", " : "", rule->observed_reason,
           *rule->observed_detail ? ": " : "", rule->observed_detail);
  return tlx_text_escape(text, SIZE_MAX, out, 256);
}

static const char *const heads[] = {"RULE",  "NODE",   "PATH", "DESIRED", "OBSERVED",
                                    "SCOPE", "REASON", "GAPS", "HITS"};
static const char *const heads_wide[] = {
    "RULE", "NODE",      "PATH",    "DESIRED", "OBSERVED", "SCOPE",   "REASON",   "GAPS",
    "HITS", "WOULD HIT", "BACKEND", "FILE",    "FORCE",    "CHANGED", "VERIFIED", "ACTOR"};

struct output_table *rule_view_table(bool wide) {
  return wide ? output_table_new(heads_wide, sizeof heads_wide / sizeof *heads_wide)
              : output_table_new(heads, sizeof heads / sizeof *heads);
}

void rule_view_row(struct output_table *table, const Telovix__V1__EnforcementRule *rule,
                   bool wide) {
  char text[128];
  output_table_cell(table, COLOUR_NONE, rule->rule_id);
  output_table_cell(table, COLOUR_NONE, rule->node_name);
  /* A path begins with a slash: no template passes for one. */
  output_table_cell(table, COLOUR_NONE,
                    rule_view_is_containment(rule) ? rule->template_ : rule->path);
  output_table_cell(
      table, COLOUR_NONE,
      output_word(&telovix__v1__rule_mode__descriptor, (int)rule->desired_mode, text));
  output_table_cell(table, state_colour(rule), format_observed(rule, text));
  output_table_cell(table, COLOUR_NONE, scope_of(rule, "host"));
  output_table_cell(table, COLOUR_NONE, rule->observed_reason);
  /* Before a report "0" would say that there are none. */
  snprintf(text, sizeof text, "%zu", rule->n_gaps);
  output_table_cell(table, rule->n_gaps ? COLOUR_WARN : COLOUR_NONE,
                    is_reported(rule) || rule->n_gaps ? text : "");
  snprintf(text, sizeof text, "%llu", (unsigned long long)rule->hits);
  output_table_cell(table, COLOUR_NONE, text);
  if (!wide) return;
  snprintf(text, sizeof text, "%llu", (unsigned long long)rule->would_hits);
  output_table_cell(table, COLOUR_NONE, text);
  output_table_cell(table, COLOUR_NONE, rule->backend);
  output_table_cell(table, COLOUR_NONE, rule->file);
  output_table_cell(table, COLOUR_NONE, rule->forced ? "yes" : "no");
  output_table_cell(table, COLOUR_NONE,
                    rule->changed_age ? output_age(rule->changed_age, text) : "");
  output_table_cell(table, COLOUR_NONE,
                    output_age_at(rule->verified_at, rule->changed_at, rule->changed_age, text));
  output_table_cell(table, COLOUR_NONE, rule->actor);
}

/* The same of a containment. */
static const char *meaning_of_containment(const Telovix__V1__EnforcementRule *rule) {
  switch (rule->observed_state) {
  case STATE(PENDING):
    return "is not confirmed to be cut off from the network yet";
  case STATE(APPLIED):
    return "is cut off from the network, proved by the host";
  case STATE(PARTIAL):
    return "is cut off from the network only in part";
  case STATE(REFUSED):
    return "is not cut off from the network: the host refuses";
  case STATE(FAILED):
    return "is not proved to be cut off from the network: the host failed";
  case STATE(UNKNOWN):
    return "may or may not be cut off from the network";
  case STATE(REMOVING):
    return "may still be cut off from the network: the host has not confirmed the release";
  default:
    return "is in a state that this telovixctl does not know; use a newer one";
  }
}

/* What the state means for the operator. */
static const char *meaning(const Telovix__V1__EnforcementRule *rule) {
  if (rule_view_is_containment(rule)) return meaning_of_containment(rule);
  bool observing = is_observing(rule);
  switch (rule->observed_state) {
  case STATE(PENDING):
    return observing ? "is not confirmed to be observed yet" : "is not confirmed to be blocked yet";
  case STATE(APPLIED):
    return observing ? "is observed, not blocked" : "is blocked";
  case STATE(PARTIAL):
    return observing ? "is observed only in part" : "is blocked only in part";
  case STATE(REFUSED):
    return observing ? "is not observed: the host refuses" : "is not blocked: the host refuses";
  case STATE(FAILED):
    return observing ? "could not be put under observation" : "could not be blocked";
  case STATE(UNKNOWN):
    return "may or may not be held to the rule: the sensor is silent, or the host has booted since "
           "it reported";
  case STATE(REMOVING):
    return "may still be held to the rule: the host has not confirmed its removal";
  default:
    return "is in a state that this telovixctl does not know; use a newer one";
  }
}

/* Times are of the Console's clock, which can be set back in between: then no span is known. */
static bool apply_ms(const Telovix__V1__EnforcementRule *rule, uint64_t *ret_ms) {
  uint64_t from = output_wall_ms(rule->changed_at), to = output_wall_ms(rule->applied_at);
  if (rule->observed_state != STATE(APPLIED) || !rule->changed_at || !rule->applied_at || to < from)
    return false;
  *ret_ms = to - from;
  return true;
}

static void format_span(const Telovix__V1__EnforcementRule *rule, uint64_t waited_ms, char *out,
                        size_t size) {
  char age[32];
  uint64_t ms;
  out[0] = '\0';
  if (apply_ms(rule, &ms))
    snprintf(out, size, ", %llu ms after the change", (unsigned long long)ms);
  else if (waited_ms)
    snprintf(out, size, ", %llu ms after the command", (unsigned long long)waited_ms);
  else if (rule->changed_age)
    snprintf(out, size, ", changed %s ago", output_age(rule->changed_age, age));
}

static void format_gaps(const Telovix__V1__EnforcementRule *rule, char *out, size_t size) {
  out[0] = '\0';
  if (!rule->n_gaps) return;
  size_t at = (size_t)snprintf(out, size, "; not covered: ");
  for (size_t i = 0; i < rule->n_gaps && at < size; i++)
    at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", rule->gaps[i]->gap);
}

const char *rule_view_sentence(const Telovix__V1__EnforcementRule *rule, uint64_t waited_ms,
                               char *out) {
  char word[64], error[64] = "", span[96], gaps[512], scope[600] = "", text[5200];
  output_word(&telovix__v1__rule_state__descriptor, (int)rule->observed_state, word);
  if (rule->error_number) snprintf(error, sizeof error, " (%s)", strerror((int)rule->error_number));
  format_span(rule, waited_ms, span, sizeof span);
  format_gaps(rule, gaps, sizeof gaps);
  if (*rule->scope_cgroup)
    snprintf(scope, sizeof scope, " [trial scope %.500s]", rule->scope_cgroup);
  const char *why = *rule->observed_detail ? rule->observed_detail : rule->observed_reason;
  if (rule_view_is_containment(rule))
    snprintf(text, sizeof text, "%s: %.253s %s%s%.512s%s%s",
             rule->observed_state == STATE(APPLIED) ? "contained" : word, rule->node_name,
             meaning(rule), *why ? ": " : "", why, error, span);
  else
    snprintf(text, sizeof text, "%s: %.4095s on %.253s %s%s%.512s%s%s", word, rule->path,
             rule->node_name, meaning(rule), *why ? ": " : "", why, error, span);
  tlx_text_escape(text, SIZE_MAX, out, RULE_SENTENCE_MAX - 1024);
  size_t at = strlen(out);
  snprintf(text, sizeof text, "%s%s%s", gaps, scope,
           rule->unconfirmed_since_restart ? " [unconfirmed since restart]" : "");
  tlx_text_escape(text, SIZE_MAX, out + at, RULE_SENTENCE_MAX - at);
  return out;
}

void rule_view_gaps(Telovix__V1__RuleGap *const *gaps, size_t n_gaps) {
  char text[1024];
  for (size_t i = 0; i < n_gaps; i++) {
    snprintf(text, sizeof text, "%s%s: %s", gaps[i]->gap,
             gaps[i]->by_kernel ? " (another kernel would close it)" : "", gaps[i]->detail);
    output_line("  gap", text);
  }
}

static void print_sentence(const Telovix__V1__EnforcementRule *rule, uint64_t waited_ms) {
  char sentence[RULE_SENTENCE_MAX];
  puts(rule_view_sentence(rule, waited_ms, sentence));
}

void rule_view_print_end(const Telovix__V1__EnforcementRule *rule, uint64_t waited_ms) {
  output_line("rule", rule->rule_id);
  rule_view_gaps(rule->gaps, rule->n_gaps);
  print_sentence(rule, waited_ms);
}

static void print_reported(const Telovix__V1__EnforcementRule *rule) {
  char text[256], age[32], time[32];
  output_line("scope", scope_of(rule, "whole host"));
  output_line("reason", rule->observed_reason);
  if (*rule->observed_detail) output_line("detail", rule->observed_detail);
  if (rule->error_number) {
    snprintf(text, sizeof text, "%u: %s", rule->error_number, strerror((int)rule->error_number));
    output_line("errno", text);
  }
  output_line("backend", rule->backend);
  output_line("file", rule->file);
  snprintf(text, sizeof text, "%zu", rule->n_gaps);
  output_line("gaps", is_reported(rule) || rule->n_gaps ? text : "");
  rule_view_gaps(rule->gaps, rule->n_gaps);
  snprintf(text, sizeof text, "%llu stopped, %llu would have been stopped",
           (unsigned long long)rule->hits, (unsigned long long)rule->would_hits);
  output_line("hits", text);
  output_line("applied", output_time(rule->applied_at, time));
  snprintf(text, sizeof text, "%s (%s ago)", output_time(rule->verified_at, time),
           output_age_at(rule->verified_at, rule->changed_at, rule->changed_age, age));
  output_line("verified", rule->verified_at ? text : "");
}

void rule_view_print(const Telovix__V1__EnforcementRule *rule) {
  char mode[64], observed[128], text[256], time[32], age[32];
  output_line("rule", rule->rule_id);
  output_line("name", rule->name);
  output_line("node", rule->node_name);
  output_line("sensor", rule->sensor_id);
  if (rule_view_is_containment(rule)) {
    char allow[TLX_ALLOW_LIST_MAX * TLX_ALLOW_TEXT_MAX];
    output_line("template", rule->template_);
    output_line("allow", rule_view_allow(rule->allow, rule->n_allow, allow, sizeof allow));
    output_line("on lost", output_word(&telovix__v1__on_lost_console__descriptor,
                                       (int)rule->on_lost_console, mode));
  } else {
    output_line("path", rule->path);
  }
  snprintf(text, sizeof text, "%.100s, %.100s (names; the backend is what is really used)",
           rule->hook, rule->action);
  output_line("hook, action", text);
  snprintf(text, sizeof text, "desired %s | observed %s",
           output_word(&telovix__v1__rule_mode__descriptor, (int)rule->desired_mode, mode),
           format_observed(rule, observed));
  output_line("state", text);
  print_reported(rule);
  output_line("force", rule->forced ? "yes" : "no");
  output_line("made by", rule->actor);
  output_line("why", rule->reason);
  output_line("request", rule->request_id);
  output_line("made", output_time(rule->created_at, time));
  snprintf(text, sizeof text, "%s (%s ago)", output_time(rule->changed_at, time),
           output_age(rule->changed_age, age));
  output_line("changed", rule->changed_at ? text : "");
  print_sentence(rule, 0);
}
