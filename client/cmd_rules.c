// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs of rules: block, rules list, get, mode and delete, with --wait. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "client/output.h"
#include "client/pages.h"
#include "client/rule_change.h"
#include "client/rule_view.h"
#include "common/text.h"
#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/policy.pb-c.h"

#define MODE(name) TELOVIX__V1__RULE_MODE__RULE_MODE_##name

/* The change is stored. */
static bool take_stored(void *arg, const ProtobufCMessage *message) {
  const Telovix__V1__EnforcementRuleReply *reply =
      (const Telovix__V1__EnforcementRuleReply *)message;
  if (reply->rule) rule_change_stored(arg, message, reply->rule, reply->notice);
  return true;
}

static int run_change(struct rule_change *change, const char *what, const char *path,
                      const ProtobufCMessage *request) {
  int ret = client_call(change->client, what, path, request,
                        &telovix__v1__enforcement_rule_reply__descriptor, take_stored, change);
  if (ret != CLIENT_OK || !change->client->args.wait) return ret;
  return rule_change_wait(change);
}

int cmd_block(struct client *client) {
  const struct args *args = &client->args;
  struct rule_change change;
  rule_change_init(&change, client, args->observe ? MODE(OBSERVE) : MODE(ENFORCE));
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
  struct rule_change change;
  rule_change_init(&change, client, enforce ? MODE(ENFORCE) : MODE(OBSERVE));
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
  struct rule_change change;
  rule_change_init(&change, client, MODE(UNSPECIFIED));
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
