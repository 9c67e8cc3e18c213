// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs that only read: whoami, sensors, kills, audit list and head. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "client/kill_view.h"
#include "client/output.h"
#include "client/pages.h"
#include "client/sensor_view.h"
#include "common/text.h"
#include "telovix/v1/audit.pb-c.h"
#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/fleet.pb-c.h"
#include "telovix/v1/operator.pb-c.h"

#define AUDIT_LIMIT_DEFAULT 50u

/* ---- whoami ---- */

static bool show_whoami(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__WhoAmIReply *reply = (const Telovix__V1__WhoAmIReply *)message;
  char role[64], until[32], fleet[256], name[256];
  if (client->args.format == OUTPUT_JSON) {
    output_json(message);
  } else if (client->args.format == OUTPUT_NAME) {
    puts(tlx_text_escape(reply->name, SIZE_MAX, name, sizeof name));
  } else {
    printf("operator     %s\n", tlx_text_escape(reply->name, SIZE_MAX, name, sizeof name));
    printf("role         %s\n",
           output_word(&telovix__v1__role__descriptor, (int)reply->role, role));
    printf("fleet        %s (%s)\n",
           tlx_text_escape(reply->fleet_name, SIZE_MAX, fleet, sizeof fleet), reply->fleet_id);
    printf("certificate  until %s\n", output_time(reply->certificate_expires_at, until));
    printf("console      %s\n",
           tlx_text_escape(reply->console_version, SIZE_MAX, name, sizeof name));
  }
  return true;
}

int cmd_whoami(struct client *client) {
  Telovix__V1__WhoAmIRequest request = TELOVIX__V1__WHO_AM_IREQUEST__INIT;
  return client_call(client, "", "/telovix.v1.OperatorService/WhoAmI", &request.base,
                     &telovix__v1__who_am_ireply__descriptor, show_whoami, client);
}

/* ---- sensors ---- */

static bool take_sensors(void *arg, const ProtobufCMessage *message) {
  struct pages *pages = arg;
  const Telovix__V1__ListSensorsReply *reply = (const Telovix__V1__ListSensorsReply *)message;
  for (size_t i = 0; i < reply->n_sensors && pages_have_room(pages); i++)
    if (pages_show(pages, &reply->sensors[i]->base, reply->sensors[i]->sensor_id))
      sensor_view_row(pages->table, reply->sensors[i], pages->client->args.format == OUTPUT_WIDE);
  pages_next(pages, reply->next_page_token);
  return true;
}

int cmd_sensors_list(struct client *client) {
  const struct args *args = &client->args;
  struct pages pages;
  pages_init(&pages, client, args->limit);
  if (pages.has_table) pages.table = sensor_view_table(args->format == OUTPUT_WIDE);
  Telovix__V1__ListSensorsRequest__LabelsEntry labels[ARGS_LABELS_MAX],
      *label_list[ARGS_LABELS_MAX];
  for (size_t i = 0; i < args->n_labels; i++) {
    telovix__v1__list_sensors_request__labels_entry__init(&labels[i]);
    labels[i].key = (char *)args->labels[i].key;
    labels[i].value = (char *)args->labels[i].value;
    label_list[i] = &labels[i];
  }
  int ret;
  do {
    Telovix__V1__ListSensorsRequest request = TELOVIX__V1__LIST_SENSORS_REQUEST__INIT;
    request.page_size = pages_size(&pages, 1000);
    request.page_token = pages.token;
    request.status = args->status;
    request.health_state = args->health;
    request.labels = label_list;
    request.n_labels = args->n_labels;
    request.include_revoked = args->all;
    ret = client_call(client, "", "/telovix.v1.FleetService/ListSensors", &request.base,
                      &telovix__v1__list_sensors_reply__descriptor, take_sensors, &pages);
  } while (ret == CLIENT_OK && *pages.token);
  pages_done(&pages);
  return ret;
}

static bool show_sensor(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__Sensor *sensor = (const Telovix__V1__Sensor *)message;
  if (client->args.format == OUTPUT_JSON)
    output_json(message);
  else if (client->args.format == OUTPUT_NAME)
    puts(sensor->sensor_id);
  else
    sensor_view_print(sensor);
  return true;
}

int cmd_sensors_get(struct client *client) {
  Telovix__V1__GetSensorRequest request = TELOVIX__V1__GET_SENSOR_REQUEST__INIT;
  request.sensor = (char *)client->args.words[0];
  return client_call(client, client->args.words[0], "/telovix.v1.FleetService/GetSensor",
                     &request.base, &telovix__v1__sensor__descriptor, show_sensor, client);
}

static bool show_event(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__FleetEvent *event = (const Telovix__V1__FleetEvent *)message;
  if (client->args.format == OUTPUT_JSON) {
    output_json(message);
    return true;
  }
  if (event->sensor && event->removed)
    sensor_view_removed(event->sensor);
  else if (event->sensor)
    sensor_view_line(event->sensor);
  return true;
}

int cmd_sensors_watch(struct client *client) {
  Telovix__V1__WatchFleetRequest request = TELOVIX__V1__WATCH_FLEET_REQUEST__INIT;
  request.include_revoked = client->args.all;
  struct session_call call = {.path = "/telovix.v1.FleetService/WatchFleet",
                              .is_stream = true,
                              .request = &request.base,
                              .reply = &telovix__v1__fleet_event__descriptor,
                              .timeout_ms = client->args.timeout_ms, /* none unless asked for */
                              .message = show_event,
                              .arg = client};
  struct tlx_status status;
  if (session_run(client->session, &call, &status)) return CLIENT_OK;
  /* The end that was asked for is not a failure. */
  if (client->args.timeout_ms && status.code == TLX_GRPC_DEADLINE_EXCEEDED) return CLIENT_OK;
  client_error(client, "", &status, CLIENT_FAILED);
  return CLIENT_FAILED;
}

/* ---- kills ---- */

static bool take_kills(void *arg, const ProtobufCMessage *message) {
  struct pages *pages = arg;
  const Telovix__V1__ListKillsReply *reply = (const Telovix__V1__ListKillsReply *)message;
  for (size_t i = 0; i < reply->n_orders && pages_have_room(pages); i++)
    if (pages_show(pages, &reply->orders[i]->base, reply->orders[i]->order_id))
      kill_view_row(pages->table, reply->orders[i]);
  pages_next(pages, reply->next_page_token);
  return true;
}

int cmd_kills_list(struct client *client) {
  struct pages pages;
  pages_init(&pages, client, client->args.limit);
  if (pages.has_table) pages.table = kill_view_table();
  int ret;
  do {
    Telovix__V1__ListKillsRequest request = TELOVIX__V1__LIST_KILLS_REQUEST__INIT;
    request.page_size = pages_size(&pages, 1000);
    request.page_token = pages.token;
    if (client->args.sensor) request.sensor = (char *)client->args.sensor;
    ret = client_call(client, client->args.sensor ? client->args.sensor : "",
                      "/telovix.v1.ContainmentService/ListKills", &request.base,
                      &telovix__v1__list_kills_reply__descriptor, take_kills, &pages);
  } while (ret == CLIENT_OK && *pages.token);
  pages_done(&pages);
  return ret;
}

static bool show_kill(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__KillOrder *order = (const Telovix__V1__KillOrder *)message;
  if (client->args.format == OUTPUT_JSON)
    output_json(message);
  else if (client->args.format == OUTPUT_NAME)
    puts(order->order_id);
  else
    kill_view_print(order);
  return true;
}

int cmd_kills_get(struct client *client) {
  Telovix__V1__GetKillRequest request = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  request.order_id = (char *)client->args.words[0];
  return client_call(client, client->args.words[0], "/telovix.v1.ContainmentService/GetKill",
                     &request.base, &telovix__v1__kill_order__descriptor, show_kill, client);
}

/* ---- audit ---- */

static const char *const audit_heads[] = {"SEQ",   "TIME",   "ACTION", "OUTCOME",
                                          "ACTOR", "SENSOR", "DETAIL"};

static bool take_audit(void *arg, const ProtobufCMessage *message) {
  struct pages *pages = arg;
  const Telovix__V1__ListAuditReply *reply = (const Telovix__V1__ListAuditReply *)message;
  for (size_t i = 0; i < reply->n_records && pages_have_room(pages); i++) {
    const Telovix__V1__AuditRecord *record = reply->records[i];
    char seq[32], word[64];
    snprintf(seq, sizeof seq, "%llu", (unsigned long long)record->seq);
    if (!pages_show(pages, &record->base, seq)) continue;
    output_table_cell(pages->table, COLOUR_NONE, seq);
    output_table_cell(pages->table, COLOUR_NONE, record->created_at);
    output_table_cell(pages->table, COLOUR_NONE, record->action_type);
    output_table_cell(
        pages->table,
        record->outcome == TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_SUCCESS ? COLOUR_NONE
                                                                             : COLOUR_WARN,
        output_word(&telovix__v1__audit_outcome__descriptor, (int)record->outcome, word));
    output_table_cell(pages->table, COLOUR_NONE, record->actor);
    output_table_cell(pages->table, COLOUR_NONE, record->sensor_id);
    output_table_cell(pages->table, COLOUR_NONE, record->detail);
  }
  pages_next(pages, reply->next_page_token);
  return true;
}

int cmd_audit_list(struct client *client) {
  const struct args *args = &client->args;
  struct pages pages;
  pages_init(&pages, client, args->limit ? args->limit : AUDIT_LIMIT_DEFAULT);
  if (pages.has_table)
    pages.table = output_table_new(audit_heads, sizeof audit_heads / sizeof *audit_heads);
  Google__Protobuf__Timestamp since, until;
  int ret;
  do {
    Telovix__V1__ListAuditRequest request = TELOVIX__V1__LIST_AUDIT_REQUEST__INIT;
    request.page_size = pages_size(&pages, 5000);
    request.page_token = pages.token;
    if (args->actor) request.actor = (char *)args->actor;
    if (args->action) request.action_type = (char *)args->action;
    if (args->sensor) request.sensor = (char *)args->sensor;
    request.outcome = args->outcome;
    request.since = output_timestamp(args->since_wall_ms, &since);
    request.until = output_timestamp(args->until_wall_ms, &until);
    ret = client_call(client, "", "/telovix.v1.AuditService/ListAudit", &request.base,
                      &telovix__v1__list_audit_reply__descriptor, take_audit, &pages);
  } while (ret == CLIENT_OK && *pages.token);
  pages_done(&pages);
  return ret;
}

static bool show_head(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  const Telovix__V1__AuditHead *head = (const Telovix__V1__AuditHead *)message;
  char hex[65] = "";
  if (head->hash.len == 32) tlx_hex_format(head->hash.data, 32, hex);
  if (client->args.format == OUTPUT_JSON)
    output_json(message);
  else
    printf("%llu:%s\n", (unsigned long long)head->seq, hex);
  return true;
}

int cmd_audit_head(struct client *client) {
  Telovix__V1__GetAuditHeadRequest request = TELOVIX__V1__GET_AUDIT_HEAD_REQUEST__INIT;
  return client_call(client, "", "/telovix.v1.AuditService/GetAuditHead", &request.base,
                     &telovix__v1__audit_head__descriptor, show_head, client);
}
