// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs of rules: block, rules list, get, mode and delete, with --wait. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "client/output.h"
#include "client/pages.h"
#include "client/rule_view.h"
#include "common/clock.h"
#include "common/text.h"
#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/policy.pb-c.h"

#define MODE(name) TELOVIX__V1__RULE_MODE__RULE_MODE_##name

/* A change of a rule, and what is waited for. */
struct change {
  struct client *client;
  Telovix__V1__RuleMode mode; /* wanted; UNSPECIFIED = that the rule is gone */
  uint64_t start_mono_ms;
  char rule_id[TLX_ID_MAX], path[4096], node[254];
  char sentence[RULE_SENTENCE_MAX]; /* the last one that was shown as progress */
  char state[256];                  /* the last state that was heard, and what it waits for */
  bool ended, succeeded, progress;
};

static struct change change_of(struct client *client, Telovix__V1__RuleMode mode) {
  return (struct change){.client = client,
                         .mode = mode,
                         .start_mono_ms = tlx_mono_ms(tlx_clock_system()),
                         .progress = output_is_terminal()};
}

static uint64_t waited_ms(const struct change *change) {
  return tlx_mono_ms(tlx_clock_system()) - change->start_mono_ms +
         1; /* never 0: it is not "none" */
}

/* The change is stored: without --wait that is all there is to say, and how to see the rest. */
static bool show_stored(void *arg, const ProtobufCMessage *message) {
  struct change *change = arg;
  const Telovix__V1__EnforcementRuleReply *reply =
      (const Telovix__V1__EnforcementRuleReply *)message;
  char notice[1024];
  if (!reply->rule) return true;
  snprintf(change->rule_id, sizeof change->rule_id, "%s", reply->rule->rule_id);
  snprintf(change->path, sizeof change->path, "%s", reply->rule->path);
  snprintf(change->node, sizeof change->node, "%s", reply->rule->node_name);
  tlx_text_escape(reply->notice, SIZE_MAX, notice, sizeof notice);
  if (change->client->args.wait) {
    if (change->progress) fprintf(stderr, "%s: %s\n", change->rule_id, notice);
  } else if (change->client->args.format == OUTPUT_JSON) {
    output_json(message);
  } else if (change->client->args.format == OUTPUT_NAME) {
    puts(change->rule_id);
  } else {
    printf("%s: %s\n", change->rule_id, notice);
    printf("It is stored; what the host makes of it: telovixctl rules get %s%s\n", change->rule_id,
           change->mode ? "" : " (until there is no such rule)");
  }
  return true;
}

static void show_end(struct change *change, const Telovix__V1__EnforcementRule *rule) {
  if (change->client->args.format == OUTPUT_JSON)
    output_json(&rule->base);
  else if (change->client->args.format == OUTPUT_NAME)
    puts(rule->rule_id);
  else
    rule_view_print_end(rule, waited_ms(change));
}

/* Takes each state of the rule; false ends the watch. */
static bool take_state(void *arg, const ProtobufCMessage *message) {
  struct change *change = arg;
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
  change->succeeded = !overtaken && rule_view_succeeded(rule);
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
static int removed(struct change *change) {
  struct tlx_status status;
  if (change->mode != MODE(UNSPECIFIED)) {
    tlx_status_set(&status, TLX_GRPC_ABORTED, "rule_overtaken",
                   "the rule was deleted by somebody else meanwhile");
    client_error(change->client, change->rule_id, &status, CLIENT_FAILED);
    return CLIENT_FAILED;
  }
  char text[4600], shown[RULE_SENTENCE_MAX];
  snprintf(text, sizeof text,
           "removed: the rule on %s on %s is out of force, %llu ms after the command", change->path,
           change->node, (unsigned long long)waited_ms(change));
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

/* Follows the rule until the host has said what it makes of the change. */
static int wait_for_host(struct change *change) {
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
  if (status.code == TLX_GRPC_OK || status.code == TLX_GRPC_NOT_FOUND) return removed(change);
  if (status.code == TLX_GRPC_DEADLINE_EXCEEDED || status.code == TLX_GRPC_UNAVAILABLE)
    tlx_status_set(&status, TLX_GRPC_DEADLINE_EXCEEDED, "wait_timeout",
                   "the host has not confirmed it within %llu ms (%s); follow it with "
                   "`telovixctl rules get %s`",
                   (unsigned long long)client_timeout_ms(client),
                   *change->state ? change->state : "no state was heard", change->rule_id);
  /* The change stands; what becomes of it we were not told. */
  client_error(client, change->rule_id, &status, CLIENT_UNKNOWN);
  return CLIENT_UNKNOWN;
}

static int run_change(struct change *change, const char *what, const char *path,
                      const ProtobufCMessage *request) {
  int ret = client_call(change->client, what, path, request,
                        &telovix__v1__enforcement_rule_reply__descriptor, show_stored, change);
  if (ret != CLIENT_OK || !change->client->args.wait) return ret;
  return wait_for_host(change);
}

int cmd_block(struct client *client) {
  const struct args *args = &client->args;
  struct change change = change_of(client, args->observe ? MODE(OBSERVE) : MODE(ENFORCE));
  Telovix__V1__BlockBinaryRequest request = TELOVIX__V1__BLOCK_BINARY_REQUEST__INIT;
  request.sensor = (char *)args->words[0];
  request.path = (char *)args->words[1];
  request.mode = change.mode;
  request.force = args->force;
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  char what[300];
  snprintf(what, sizeof what, "%.100s %.190s", args->words[0], args->words[1]);
  return run_change(&change, what, "/telovix.v1.ContainmentService/BlockBinary", &request.base);
}

int cmd_rules_mode(struct client *client) {
  const struct args *args = &client->args;
  bool enforce = strcmp(args->words[1], "enforce") == 0;
  if (!enforce && strcmp(args->words[1], "observe") != 0) {
    char shown[128];
    fprintf(stderr, "telovixctl rules mode: %s: not a mode; want enforce or observe\n",
            tlx_text_escape(args->words[1], SIZE_MAX, shown, sizeof shown));
    return CLIENT_USAGE;
  }
  struct change change = change_of(client, enforce ? MODE(ENFORCE) : MODE(OBSERVE));
  Telovix__V1__SetEnforcementRuleModeRequest request =
      TELOVIX__V1__SET_ENFORCEMENT_RULE_MODE_REQUEST__INIT;
  request.rule_id = (char *)args->words[0];
  request.mode = change.mode;
  request.force = args->force;
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  return run_change(&change, args->words[0], "/telovix.v1.PolicyService/SetEnforcementRuleMode",
                    &request.base);
}

int cmd_rules_delete(struct client *client) {
  const struct args *args = &client->args;
  struct change change = change_of(client, MODE(UNSPECIFIED));
  Telovix__V1__DeleteEnforcementRuleRequest request =
      TELOVIX__V1__DELETE_ENFORCEMENT_RULE_REQUEST__INIT;
  request.rule_id = (char *)args->words[0];
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  return run_change(&change, args->words[0], "/telovix.v1.PolicyService/DeleteEnforcementRule",
                    &request.base);
}

static bool take_rules(void *arg, const ProtobufCMessage *message) {
  struct pages *pages = arg;
  const Telovix__V1__ListEnforcementRulesReply *reply =
      (const Telovix__V1__ListEnforcementRulesReply *)message;
  for (size_t i = 0; i < reply->n_rules && pages_have_room(pages); i++)
    if (pages_show(pages, &reply->rules[i]->base, reply->rules[i]->rule_id))
      rule_view_row(pages->table, reply->rules[i], pages->client->args.format == OUTPUT_WIDE);
  pages_next(pages, reply->next_page_token);
  return true;
}

int cmd_rules_list(struct client *client) {
  const struct args *args = &client->args;
  struct pages pages;
  pages_init(&pages, client, args->limit);
  if (pages.has_table) pages.table = rule_view_table(args->format == OUTPUT_WIDE);
  int ret;
  do {
    Telovix__V1__ListEnforcementRulesRequest request =
        TELOVIX__V1__LIST_ENFORCEMENT_RULES_REQUEST__INIT;
    request.page_size = pages_size(&pages, 1000);
    request.page_token = pages.token;
    if (args->sensor) request.sensor = (char *)args->sensor;
    ret = client_call(client, args->sensor ? args->sensor : "",
                      "/telovix.v1.PolicyService/ListEnforcementRules", &request.base,
                      &telovix__v1__list_enforcement_rules_reply__descriptor, take_rules, &pages);
  } while (ret == CLIENT_OK && *pages.token);
  pages_done(&pages);
  return ret;
}

static bool show_rule(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__EnforcementRule *rule = (const Telovix__V1__EnforcementRule *)message;
  if (client->args.format == OUTPUT_JSON)
    output_json(message);
  else if (client->args.format == OUTPUT_NAME)
    puts(rule->rule_id);
  else
    rule_view_print(rule);
  return true;
}

int cmd_rules_get(struct client *client) {
  Telovix__V1__GetEnforcementRuleRequest request = TELOVIX__V1__GET_ENFORCEMENT_RULE_REQUEST__INIT;
  request.rule_id = (char *)client->args.words[0];
  return client_call(client, client->args.words[0], "/telovix.v1.PolicyService/GetEnforcementRule",
                     &request.base, &telovix__v1__enforcement_rule__descriptor, show_rule, client);
}
