// SPDX-License-Identifier: GPL-2.0-or-later
/* events list, once or with --follow: what enforcement did on hosts. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "client/event_view.h"
#include "client/output.h"
#include "client/pages.h"
#include "telovix/v1/event.pb-c.h"

#define LIMIT_DEFAULT 50u

static bool take_events(void *arg, const ProtobufCMessage *message) {
  struct pages *pages = arg;
  const Telovix__V1__ListEventsReply *reply = (const Telovix__V1__ListEventsReply *)message;
  for (size_t i = 0; i < reply->n_events && pages_have_room(pages); i++)
    if (pages_show(pages, &reply->events[i]->base, reply->events[i]->event_id))
      event_view_row(pages->table, reply->events[i], pages->client->args.format == OUTPUT_WIDE);
  pages_next(pages, reply->next_page_token);
  return true;
}

static int list(struct client *client, const char *sensor) {
  struct pages pages;
  pages_init(&pages, client, client->args.limit ? client->args.limit : LIMIT_DEFAULT);
  if (pages.has_table) pages.table = event_view_table(client->args.format == OUTPUT_WIDE);
  int ret;
  do {
    Telovix__V1__ListEventsRequest request = TELOVIX__V1__LIST_EVENTS_REQUEST__INIT;
    request.page_size = pages_size(&pages, 1000);
    request.page_token = pages.token;
    request.sensor = (char *)sensor;
    ret = client_call(client, sensor, "/telovix.v1.EventService/ListEvents", &request.base,
                      &telovix__v1__list_events_reply__descriptor, take_events, &pages);
  } while (ret == CLIENT_OK && *pages.token);
  pages_done(&pages);
  return ret;
}

static bool take_event(void *arg, const ProtobufCMessage *message) {
  struct pages *pages = arg;
  const Telovix__V1__Event *event = (const Telovix__V1__Event *)message;
  if (pages_show(pages, message, event->event_id)) event_view_line(event);
  fflush(stdout);
  return pages_have_room(pages);
}

/* What happened while a connection was down would be missing without a word: it is not taken up
 * again. */
static int follow(struct client *client, const char *sensor) {
  struct pages pages;
  pages_init(&pages, client, client->args.limit);
  Telovix__V1__WatchEventsRequest request = TELOVIX__V1__WATCH_EVENTS_REQUEST__INIT;
  request.sensor = (char *)sensor;
  struct session_call call = {.path = "/telovix.v1.EventService/WatchEvents",
                              .is_stream = true,
                              .request = &request.base,
                              .reply = &telovix__v1__event__descriptor,
                              .timeout_ms = client->args.timeout_ms, /* none unless asked for */
                              .message = take_event,
                              .arg = &pages};
  struct tlx_status status;
  if (session_run(client->session, &call, &status)) return CLIENT_OK;
  /* The end that was asked for is not a failure. */
  if (client->args.timeout_ms && status.code == TLX_GRPC_DEADLINE_EXCEEDED) return CLIENT_OK;
  client_error(client, sensor, &status, CLIENT_FAILED);
  return CLIENT_FAILED;
}

int cmd_events_list(struct client *client) {
  const char *sensor = client->args.sensor ? client->args.sensor : "";
  return client->args.follow ? follow(client, sensor) : list(client, sensor);
}
