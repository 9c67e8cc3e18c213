// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs of containments: contain, release (with --wait), allow. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "client/output.h"
#include "client/rule_change.h"
#include "telovix/v1/containment.pb-c.h"

#define MODE(name) TELOVIX__V1__RULE_MODE__RULE_MODE_##name

/* A change of a containment, and whether there is a rule to follow. */
struct containment {
  struct rule_change change;
  bool has_rule;
};

static bool take_stored(void *arg, const ProtobufCMessage *message) {
  struct containment *containment = arg;
  const Telovix__V1__ContainmentReply *reply = (const Telovix__V1__ContainmentReply *)message;
  const struct args *args = &containment->change.client->args;
  char shown[512], allow[TLX_ALLOW_LIST_MAX * TLX_ALLOW_TEXT_MAX];
  containment->has_rule = reply->rule != NULL;
  if (reply->rule) {
    rule_change_stored(&containment->change, message, reply->rule, reply->notice);
    /* What an operator finds is not what another one began with. */
    if (args->format == OUTPUT_TABLE &&
        reply->rule->observed_state != TELOVIX__V1__RULE_STATE__RULE_STATE_REMOVING)
      printf("Let through: %s\n",
             rule_view_allow(reply->rule->allow, reply->rule->n_allow, allow, sizeof allow));
  } else if (args->format == OUTPUT_JSON) {
    output_json(message);
  } else if (args->format != OUTPUT_NAME) {
    puts(tlx_text_escape(reply->notice, SIZE_MAX, shown, sizeof shown));
  }
  return true;
}

/* A release finds nothing to wait for when there is nothing to release. */
static int run_change(struct containment *containment, const char *path,
                      const ProtobufCMessage *request) {
  struct client *client = containment->change.client;
  int ret = client_call(client, client->args.words[0], path, request,
                        &telovix__v1__containment_reply__descriptor, take_stored, containment);
  if (ret != CLIENT_OK || !client->args.wait || !containment->has_rule) return ret;
  return rule_change_wait(&containment->change);
}

int cmd_contain(struct client *client) {
  const struct args *args = &client->args;
  struct containment containment = {.has_rule = false};
  Telovix__V1__ContainSensorRequest request = TELOVIX__V1__CONTAIN_SENSOR_REQUEST__INIT;
  if (args->accept_partial && !args->wait) {
    fprintf(stderr, "telovixctl contain: --accept-partial says how a --wait ends: give both\n");
    return CLIENT_USAGE;
  }
  rule_change_init(&containment.change, client, MODE(ENFORCE));
  containment.change.accept_partial = args->accept_partial;
  request.sensor = (char *)args->words[0];
  request.allow = (char **)args->allow;
  request.n_allow = args->n_allow;
  request.on_lost_console = (Telovix__V1__OnLostConsole)args->on_lost_console;
  request.force = args->force;
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  return run_change(&containment, "/telovix.v1.ContainmentService/ContainSensor", &request.base);
}

int cmd_release(struct client *client) {
  const struct args *args = &client->args;
  struct containment containment = {.has_rule = false};
  Telovix__V1__ReleaseSensorRequest request = TELOVIX__V1__RELEASE_SENSOR_REQUEST__INIT;
  rule_change_init(&containment.change, client, MODE(UNSPECIFIED));
  request.sensor = (char *)args->words[0];
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  return run_change(&containment, "/telovix.v1.ContainmentService/ReleaseSensor", &request.base);
}

/* ---- allow ---- */

static int wrong_usage(const char *word, const char *why) {
  char shown[128];
  fprintf(stderr, "telovixctl allow: %s: %s; see telovixctl allow --help\n",
          tlx_text_escape(word, SIZE_MAX, shown, sizeof shown), why);
  return CLIENT_USAGE;
}

static int set_list(struct client *client) {
  const struct args *args = &client->args;
  struct containment containment = {.has_rule = false};
  Telovix__V1__SetAllowListRequest request = TELOVIX__V1__SET_ALLOW_LIST_REQUEST__INIT;
  for (size_t i = 2; i < args->n_words; i++) {
    struct tlx_allow_entry entry;
    const char *fault;
    if (tlx_allow_parse(args->words[i], &entry, &fault) != 0)
      return wrong_usage(args->words[i], fault);
  }
  rule_change_init(&containment.change, client, MODE(ENFORCE));
  request.sensor = (char *)args->words[0];
  request.allow = (char **)args->words + 2;
  request.n_allow = args->n_words - 2;
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  return run_change(&containment, "/telovix.v1.ContainmentService/SetAllowList", &request.base);
}

static bool show_list(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__AllowList *reply = (const Telovix__V1__AllowList *)message;
  char shown[256];
  if (client->args.format == OUTPUT_JSON)
    output_json(message);
  else
    for (size_t i = 0; i < reply->n_allow; i++)
      puts(tlx_text_escape(reply->allow[i], SIZE_MAX, shown, sizeof shown));
  return true;
}

static int get_list(struct client *client) {
  Telovix__V1__GetAllowListRequest request = TELOVIX__V1__GET_ALLOW_LIST_REQUEST__INIT;
  if (client->args.n_words > 2) return wrong_usage(client->args.words[2], "list takes no entry");
  client->request_id[0] = '\0'; /* nothing is changed */
  request.sensor = (char *)client->args.words[0];
  return client_call(client, client->args.words[0], "/telovix.v1.ContainmentService/GetAllowList",
                     &request.base, &telovix__v1__allow_list__descriptor, show_list, client);
}

int cmd_allow(struct client *client) {
  const char *word = client->args.words[1];
  if (strcmp(word, "set") == 0) return set_list(client);
  if (strcmp(word, "list") == 0) return get_list(client);
  return wrong_usage(word, "want set or list");
}
