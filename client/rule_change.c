// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/rule_change.h"

#include <stdio.h>
#include <string.h>

#include "client/output.h"
#include "common/clock.h"
#include "telovix/v1/fleet.pb-c.h"

#define MODE(name) TELOVIX__V1__RULE_MODE__RULE_MODE_##name

void rule_change_init(struct rule_change *change, struct client *client,
                      Telovix__V1__RuleMode mode) {
  *change = (struct rule_change){.client = client,
                                 .mode = mode,
                                 .start_mono_ms = tlx_mono_ms(tlx_clock_system()),
                                 .progress = output_is_terminal()};
}

static uint64_t waited_ms(const struct rule_change *change) {
  return tlx_mono_ms(tlx_clock_system()) - change->start_mono_ms +
         1; /* never 0: it is not "none" */
}

void rule_change_stored(struct rule_change *change, const ProtobufCMessage *message,
                        const Telovix__V1__EnforcementRule *rule, const char *notice) {
  char shown[1024];
  snprintf(change->rule_id, sizeof change->rule_id, "%s", rule->rule_id);
  snprintf(change->sensor_id, sizeof change->sensor_id, "%s", rule->sensor_id);
  snprintf(change->path, sizeof change->path, "%s", rule->path);
  snprintf(change->node, sizeof change->node, "%s", rule->node_name);
  change->is_containment = rule_view_is_containment(rule);
  tlx_text_escape(notice, SIZE_MAX, shown, sizeof shown);
  if (change->client->args.wait) {
    if (change->progress) fprintf(stderr, "%s: %s\n", change->rule_id, shown);
  } else if (change->client->args.format == OUTPUT_JSON) {
    output_json(message);
  } else if (change->client->args.format == OUTPUT_NAME) {
    puts(change->rule_id);
  } else {
    printf("%s: %s\n", change->rule_id, shown);
    printf("It is stored; what the host makes of it: telovixctl rules get %s%s\n", change->rule_id,
           change->mode ? "" : " (until there is no such rule)");
  }
}

static void show_end(struct rule_change *change, const Telovix__V1__EnforcementRule *rule) {
  if (change->client->args.format == OUTPUT_JSON)
    output_json(&rule->base);
  else if (change->client->args.format == OUTPUT_NAME)
    puts(rule->rule_id);
  else
    rule_view_print_end(rule, waited_ms(change));
}

/* Takes each state of the rule; false ends the watch. */
static bool take_state(void *arg, const ProtobufCMessage *message) {
  struct rule_change *change = arg;
  const Telovix__V1__EnforcementRule *rule = (const Telovix__V1__EnforcementRule *)message;
  char sentence[RULE_SENTENCE_MAX];
  rule_view_state(rule, change->state);
  rule_view_sentence(rule, 0, sentence);
  if (change->progress && strcmp(sentence, change->sentence) != 0)
    fprintf(stderr, "%s\n", sentence);
  strcpy(change->sentence, sentence);
  if (change->mode == MODE(UNSPECIFIED)) return true; /* the end of the stream is what counts */
  bool overtaken = rule->desired_mode != change->mode ||
                   rule->observed_state == TELOVIX__V1__RULE_STATE__RULE_STATE_REMOVING;
  if (!overtaken && !rule_view_ended(rule)) return true;
  change->ended = true;
  bool is_partial = rule->observed_state == TELOVIX__V1__RULE_STATE__RULE_STATE_PARTIAL;
  change->succeeded =
      !overtaken && (rule_view_succeeded(rule) || (is_partial && change->accept_partial));
  show_end(change, rule);
  if (overtaken) {
    struct tlx_status status;
    tlx_status_set(&status, TLX_GRPC_ABORTED, "rule_overtaken",
                   "the rule was changed or deleted by somebody else meanwhile");
    client_error(change->client, change->rule_id, &status, CLIENT_FAILED);
  }
  return false;
}

/* The Console forgets a rule when its host has confirmed that it is out of force. */
static int removed(struct rule_change *change) {
  struct tlx_status status;
  if (change->mode != MODE(UNSPECIFIED)) {
    tlx_status_set(&status, TLX_GRPC_ABORTED, "rule_overtaken",
                   "the rule was deleted by somebody else meanwhile");
    client_error(change->client, change->rule_id, &status, CLIENT_FAILED);
    return CLIENT_FAILED;
  }
  char text[4600], shown[RULE_SENTENCE_MAX];
  if (change->is_containment)
    snprintf(text, sizeof text, "released: %s is out of containment, %llu ms after the command",
             change->node, (unsigned long long)waited_ms(change));
  else
    snprintf(text, sizeof text,
             "removed: the rule on %s on %s is out of force, %llu ms after the command",
             change->path, change->node, (unsigned long long)waited_ms(change));
  if (change->client->args.format == OUTPUT_JSON) {
    /* Nothing is observed of a rule that is no more: only its id and the sentence are told. */
    Telovix__V1__EnforcementRuleReply reply = TELOVIX__V1__ENFORCEMENT_RULE_REPLY__INIT;
    Telovix__V1__EnforcementRule rule = TELOVIX__V1__ENFORCEMENT_RULE__INIT;
    rule.rule_id = change->rule_id;
    rule.node_name = change->node;
    rule.path = change->path;
    reply.rule = &rule;
    reply.notice = text;
    output_json(&reply.base);
  } else if (change->client->args.format == OUTPUT_NAME) {
    puts(change->rule_id);
  } else {
    output_line("rule", change->rule_id);
    puts(tlx_text_escape(text, SIZE_MAX, shown, sizeof shown));
  }
  return CLIENT_OK;
}

static bool take_any(void *arg, const ProtobufCMessage *message) {
  return true;
}

/* False only when the Console says that there is no such sensor. */
static bool is_sensor_there(struct rule_change *change) {
  struct tlx_status status;
  Telovix__V1__GetSensorRequest request = TELOVIX__V1__GET_SENSOR_REQUEST__INIT;
  request.sensor = change->sensor_id;
  struct session_call call = {.path = "/telovix.v1.FleetService/GetSensor",
                              .request = &request.base,
                              .reply = &telovix__v1__sensor__descriptor,
                              .timeout_ms = client_timeout_ms(change->client),
                              .message = take_any};
  return session_run(change->client->session, &call, &status) || status.code != TLX_GRPC_NOT_FOUND;
}

int rule_change_wait(struct rule_change *change) {
  struct client *client = change->client;
  struct tlx_status status;
  Telovix__V1__GetEnforcementRuleRequest request = TELOVIX__V1__GET_ENFORCEMENT_RULE_REQUEST__INIT;
  request.rule_id = change->rule_id;
  struct session_call call = {.path = "/telovix.v1.PolicyService/WatchEnforcementRule",
                              .is_stream = true,
                              .request = &request.base,
                              .reply = &telovix__v1__enforcement_rule__descriptor,
                              .message = take_state,
                              .arg = change};
  uint64_t until_mono_ms = change->start_mono_ms + client_timeout_ms(client);
  if (client_watch(client, &call, &change->ended, until_mono_ms, &status))
    return change->succeeded ? CLIENT_OK : CLIENT_FAILED;
  if (status.code == TLX_GRPC_NOT_FOUND && !is_sensor_there(change)) {
    /* Gone with its sensor: the host has confirmed nothing. */
    tlx_status_set(&status, TLX_GRPC_NOT_FOUND, "unknown_sensor",
                   "%s was deleted meanwhile: what its host makes of the rule nobody will know",
                   change->node);
    client_error(client, change->rule_id, &status, CLIENT_FAILED);
    return CLIENT_FAILED;
  }
  if (status.code == TLX_GRPC_OK || status.code == TLX_GRPC_NOT_FOUND) return removed(change);
  if (status.code == TLX_GRPC_DEADLINE_EXCEEDED || status.code == TLX_GRPC_UNAVAILABLE)
    tlx_status_set(&status, TLX_GRPC_DEADLINE_EXCEEDED, "wait_timeout",
                   "the host has not confirmed it within %llu ms (%s)%s%s; follow it with "
                   "`telovixctl rules get %s`",
                   (unsigned long long)client_timeout_ms(client),
                   *change->state ? change->state : "no state was heard",
                   change->consequence ? "; " : "", change->consequence ? change->consequence : "",
                   change->rule_id);
  /* The change stands; what becomes of it we were not told. */
  client_error(client, change->rule_id, &status, CLIENT_UNKNOWN);
  return CLIENT_UNKNOWN;
}
