// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs that decide who is part of the fleet: disable, enable, revoke, delete; fleet health. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "client/confirm.h"
#include "client/output.h"
#include "client/rule_change.h"
#include "common/text.h"
#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/fleet.pb-c.h"

#define MODE(name) TELOVIX__V1__RULE_MODE__RULE_MODE_##name
#define CONTAINMENT(name) TELOVIX__V1__CONTAINMENT_STATE__CONTAINMENT_STATE_##name
#define NOTICE_MAX 2048u

static bool show_control(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__FleetControlReply *reply = (const Telovix__V1__FleetControlReply *)message;
  char shown[NOTICE_MAX];
  if (client->args.format == OUTPUT_JSON) {
    output_json(message);
  } else if (client->args.format == OUTPUT_NAME) {
    puts(reply->sensor_id);
  } else {
    puts(tlx_text_escape(reply->notice, SIZE_MAX, shown, sizeof shown));
    if (reply->cancelled_orders || reply->unknown_orders)
      printf("Kill orders: %u cancelled, %u whose result nobody will know.\n",
             reply->cancelled_orders, reply->unknown_orders);
  }
  return true;
}

/* ---- disable, enable ---- */

int cmd_disable(struct client *client) {
  Telovix__V1__DisableSensorRequest request = TELOVIX__V1__DISABLE_SENSOR_REQUEST__INIT;
  request.sensor = (char *)client->args.words[0];
  if (client->args.reason) request.reason = (char *)client->args.reason;
  request.request_id = client->request_id;
  return client_call(client, client->args.words[0], "/telovix.v1.FleetService/DisableSensor",
                     &request.base, &telovix__v1__fleet_control_reply__descriptor, show_control,
                     client);
}

int cmd_enable(struct client *client) {
  Telovix__V1__EnableSensorRequest request = TELOVIX__V1__ENABLE_SENSOR_REQUEST__INIT;
  request.sensor = (char *)client->args.words[0];
  if (client->args.reason) request.reason = (char *)client->args.reason;
  request.request_id = client->request_id;
  return client_call(client, client->args.words[0], "/telovix.v1.FleetService/EnableSensor",
                     &request.base, &telovix__v1__fleet_control_reply__descriptor, show_control,
                     client);
}

/* ---- the sensor that is meant ---- */

struct target {
  char sensor[256];    /* as the requests name it */
  char node_name[256]; /* as they confirm it */
  Telovix__V1__ContainmentState containment;
};

static bool take_sensor(void *arg, const ProtobufCMessage *message) {
  struct target *target = arg;
  const Telovix__V1__Sensor *sensor = (const Telovix__V1__Sensor *)message;
  snprintf(target->sensor, sizeof target->sensor, "%s", sensor->sensor_id);
  snprintf(target->node_name, sizeof target->node_name, "%s", sensor->node_name);
  target->containment = sensor->containment_state;
  return true;
}

/* A sensor that is gone, asked for by a repetition: what the first try did is in the log alone. */
static int gone(struct client *client) {
  struct tlx_status status;
  tlx_status_set(&status, TLX_GRPC_NOT_FOUND, "unknown_sensor",
                 "there is no such sensor any more; whether request %s was carried out: telovixctl "
                 "audit list --action sensor_%sd",
                 client->request_id, client->verb);
  client_error(client, client->args.words[0], &status, CLIENT_UNKNOWN);
  return CLIENT_UNKNOWN;
}

/* Reads the sensor |word|, an id or a node name; the error is printed. Nothing is changed by it. */
static int find(struct client *client, const char *word, struct target *ret_target) {
  struct tlx_status status;
  Telovix__V1__GetSensorRequest request = TELOVIX__V1__GET_SENSOR_REQUEST__INIT;
  request.sensor = (char *)word;
  struct session_call call = {.path = "/telovix.v1.FleetService/GetSensor",
                              .request = &request.base,
                              .reply = &telovix__v1__sensor__descriptor,
                              .timeout_ms = client_timeout_ms(client),
                              .message = take_sensor,
                              .arg = ret_target};
  if (session_run(client->session, &call, &status)) return CLIENT_OK;
  if (status.code == TLX_GRPC_NOT_FOUND && client->args.request_id) return gone(client);
  client_error(client, client->args.words[0], &status, CLIENT_FAILED);
  return CLIENT_FAILED;
}

/* Settles whom the requests name, and with which node name; asks for it unless --yes was given. A
 * node name may be another sensor's a moment later, so what somebody was asked about, and what
 * |is_in_steps|, is named by its id. One request with --yes is the words of the command line, so
 * that a retry is the same request also when the sensor is gone meanwhile. */
static int choose(struct client *client, bool is_in_steps, struct target *ret_target) {
  const char *word = client->args.words[0];
  if (!client->args.yes && !confirm_can_ask()) return confirm_refuse(client);
  if (client->args.yes && !is_in_steps && strncmp(word, "sensor_", 7) != 0) {
    *ret_target = (struct target){.containment = CONTAINMENT(UNSPECIFIED)};
    snprintf(ret_target->sensor, sizeof ret_target->sensor, "%s", word);
    snprintf(ret_target->node_name, sizeof ret_target->node_name, "%s", word);
    return CLIENT_OK;
  }
  int ret = find(client, word, ret_target);
  if (ret != CLIENT_OK || client->args.yes) return ret;
  return confirm_node(client, ret_target->sensor, ret_target->node_name) ? CLIENT_OK
                                                                         : CLIENT_FAILED;
}

/* ---- revoke ---- */

/* What is done to the host before its sensor is revoked: afterwards nobody can. */
struct first {
  struct rule_change change;
  bool has_rule;
};

static bool take_stored(void *arg, const ProtobufCMessage *message) {
  struct first *first = arg;
  const Telovix__V1__ContainmentReply *reply = (const Telovix__V1__ContainmentReply *)message;
  first->has_rule = reply->rule != NULL;
  if (reply->rule) rule_change_stored(&first->change, message, reply->rule, reply->notice);
  return true;
}

static int not_reached(struct client *client, const struct target *found, const char *wanted) {
  struct tlx_status status;
  char word[64];
  tlx_status_set(
      &status, TLX_GRPC_FAILED_PRECONDITION, "not_observed",
      "the host is not observed to be %s (containment: %s); nothing was revoked", wanted,
      output_word(&telovix__v1__containment_state__descriptor, (int)found->containment, word));
  client_error(client, client->args.words[0], &status, CLIENT_FAILED);
  return CLIENT_FAILED;
}

/* Orders the containment or the release, and waits until the host is observed to be so. */
static int do_first(struct client *client, const struct target *target) {
  const struct args *args = &client->args;
  struct first first = {.has_rule = false};
  struct target found;
  /* Of this order alone: what is named to the operator is the id that repeats the whole command. */
  char order_id[sizeof client->request_id + 8];
  snprintf(order_id, sizeof order_id, "%s%s", client->request_id,
           args->contain_first ? ".contain" : ".release");
  client->args.wait = true;
  rule_change_init(&first.change, client, args->contain_first ? MODE(ENFORCE) : MODE(UNSPECIFIED));
  first.change.accept_partial = args->accept_partial;
  first.change.consequence = "nothing was revoked";
  Telovix__V1__ContainSensorRequest contain = TELOVIX__V1__CONTAIN_SENSOR_REQUEST__INIT;
  Telovix__V1__ReleaseSensorRequest release = TELOVIX__V1__RELEASE_SENSOR_REQUEST__INIT;
  contain.sensor = release.sensor = (char *)target->sensor;
  if (args->reason) contain.reason = release.reason = (char *)args->reason;
  contain.request_id = release.request_id = order_id;
  int ret = client_call(client, args->words[0],
                        args->contain_first ? "/telovix.v1.ContainmentService/ContainSensor"
                                            : "/telovix.v1.ContainmentService/ReleaseSensor",
                        args->contain_first ? &contain.base : &release.base,
                        &telovix__v1__containment_reply__descriptor, take_stored, &first);
  bool ended = ret == CLIENT_OK && first.has_rule;
  if (ended) ret = rule_change_wait(&first.change);
  /* An end that is not the wanted one was shown, and not yet said to be a failure. */
  if (ret != CLIENT_OK && !(ended && first.change.ended)) return ret;
  ret = find(client, target->sensor, &found);
  if (ret != CLIENT_OK) return ret;
  bool reached = args->contain_first
                     ? found.containment == CONTAINMENT(CONTAINED) ||
                           (found.containment == CONTAINMENT(PARTIAL) && args->accept_partial)
                     : found.containment == CONTAINMENT(NONE);
  return reached ? CLIENT_OK
                 : not_reached(client, &found, args->contain_first ? "contained" : "released");
}

int cmd_revoke(struct client *client) {
  const struct args *args = &client->args;
  struct target target;
  bool has_first = args->contain_first || args->release_first;
  if (args->contain_first && args->release_first) {
    fprintf(stderr, "telovixctl revoke: --contain-first and --release-first: give one of them\n");
    return CLIENT_USAGE;
  }
  if (args->accept_partial && !args->contain_first) {
    fprintf(stderr, "telovixctl revoke: --accept-partial says what --contain-first waits for: "
                    "give both\n");
    return CLIENT_USAGE;
  }
  if (has_first && strlen(client->request_id) > 56) {
    fprintf(stderr, "telovixctl revoke: --request-id: at most 56 characters here, since the order "
                    "before it gets one made of it\n");
    return CLIENT_USAGE;
  }
  int ret = choose(client, has_first, &target);
  if (ret == CLIENT_OK && has_first) ret = do_first(client, &target);
  if (ret != CLIENT_OK) return ret;
  Telovix__V1__RevokeSensorRequest request = TELOVIX__V1__REVOKE_SENSOR_REQUEST__INIT;
  request.sensor = target.sensor;
  request.confirm_node_name = target.node_name;
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  return client_call(client, args->words[0], "/telovix.v1.FleetService/RevokeSensor", &request.base,
                     &telovix__v1__fleet_control_reply__descriptor, show_control, client);
}

/* ---- delete ---- */

static bool show_deletion(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__DeleteSensorReply *reply = (const Telovix__V1__DeleteSensorReply *)message;
  char shown[NOTICE_MAX];
  if (client->args.format == OUTPUT_JSON) {
    output_json(message);
  } else if (client->args.format == OUTPUT_NAME) {
    puts(reply->sensor_id);
  } else {
    puts(tlx_text_escape(reply->notice, SIZE_MAX, shown, sizeof shown));
    printf("Removed with it: %u rules, %u kill orders, %u events, %u tokens. Audit records stay.\n",
           reply->rules, reply->orders, reply->events, reply->tokens);
  }
  return true;
}

int cmd_delete(struct client *client) {
  const struct args *args = &client->args;
  struct target target;
  int ret = choose(client, false, &target);
  if (ret != CLIENT_OK) return ret;
  Telovix__V1__DeleteSensorRequest request = TELOVIX__V1__DELETE_SENSOR_REQUEST__INIT;
  request.sensor = target.sensor;
  request.confirm_node_name = target.node_name;
  request.force = args->force;
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  return client_call(client, args->words[0], "/telovix.v1.FleetService/DeleteSensor", &request.base,
                     &telovix__v1__delete_sensor_reply__descriptor, show_deletion, client);
}

/* ---- fleet health ---- */

static void count_line(const char *name, uint32_t n) {
  char text[32];
  snprintf(text, sizeof text, "%u", n);
  output_line(name, text);
}

static void print_reasons(const Telovix__V1__FleetHealth *health) {
  static const char *const heads[] = {"REASON", "HEALTH", "SENSORS", "NODES"};
  struct output_table *table = output_table_new(heads, sizeof heads / sizeof *heads);
  for (size_t i = 0; i < health->n_reasons; i++) {
    const Telovix__V1__FleetHealthReason *reason = health->reasons[i];
    char word[64], number[32], nodes[1024];
    size_t at = 0;
    output_table_cell(table, COLOUR_NONE, reason->reason);
    output_table_cell(
        table, COLOUR_NONE,
        output_word(&telovix__v1__health_state__descriptor, (int)reason->state, word));
    snprintf(number, sizeof number, "%u", reason->sensors);
    output_table_cell(table, COLOUR_NONE, number);
    nodes[0] = '\0';
    for (size_t k = 0; k < reason->n_node_names && at < sizeof nodes; k++)
      at += (size_t)snprintf(nodes + at, sizeof nodes - at, "%s%s", k ? " " : "",
                             reason->node_names[k]);
    if (reason->sensors > reason->n_node_names && at < sizeof nodes)
      snprintf(nodes + at, sizeof nodes - at, " ...");
    output_table_cell(table, COLOUR_NONE, nodes);
  }
  output_table_print(table);
}

static bool show_health(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__FleetHealth *health = (const Telovix__V1__FleetHealth *)message;
  char word[64];
  output_word(&telovix__v1__health_state__descriptor, (int)health->state, word);
  if (client->args.format == OUTPUT_JSON) {
    output_json(message);
    return true;
  }
  if (client->args.format == OUTPUT_NAME) {
    puts(word);
    return true;
  }
  output_line("fleet", health->fleet_name);
  output_line("health", word);
  count_line("sensors", health->sensors);
  count_line("  critical", health->critical);
  count_line("  offline", health->offline);
  count_line("  degraded", health->degraded);
  count_line("  watch", health->watch);
  count_line("  healthy", health->healthy);
  count_line("stale", health->stale);
  count_line("unconfirmed", health->unconfirmed_since_restart);
  count_line("contained", health->contained);
  count_line("disabled", health->disabled);
  count_line("revoked", health->revoked);
  if (health->n_reasons) print_reasons(health);
  return true;
}

int cmd_fleet_health(struct client *client) {
  Telovix__V1__GetFleetHealthRequest request = TELOVIX__V1__GET_FLEET_HEALTH_REQUEST__INIT;
  return client_call(client, "", "/telovix.v1.FleetService/GetFleetHealth", &request.base,
                     &telovix__v1__fleet_health__descriptor, show_health, client);
}
