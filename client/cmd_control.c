// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs that stop things: kill (with --wait) and kills cancel. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/kill_view.h"
#include "client/output.h"
#include "common/clock.h"
#include "common/text.h"
#include "telovix/v1/containment.pb-c.h"

#define PID_MAX 4294967295u

struct kill {
  struct client *client;
  char order_id[TLX_ID_MAX], sentence[1024];
  bool ended, succeeded, progress;
};

static bool show_queued(void *arg, const ProtobufCMessage *message) {
  struct kill *kill = arg;
  const Telovix__V1__KillProcessReply *reply = (const Telovix__V1__KillProcessReply *)message;
  char notice[512];
  if (!reply->order) return true;
  snprintf(kill->order_id, sizeof kill->order_id, "%s", reply->order->order_id);
  tlx_text_escape(reply->notice, SIZE_MAX, notice, sizeof notice);
  if (kill->client->args.wait) {
    if (kill->progress) fprintf(stderr, "%s: %s\n", kill->order_id, notice);
  } else if (kill->client->args.format == OUTPUT_JSON) {
    output_json(message);
  } else if (kill->client->args.format == OUTPUT_NAME) {
    puts(kill->order_id);
  } else {
    printf("%s: %s\n", kill->order_id, notice);
  }
  return true;
}

/* Takes each state of the order; false ends the watch. */
static bool take_state(void *arg, const ProtobufCMessage *message) {
  struct kill *kill = arg;
  const Telovix__V1__KillOrder *order = (const Telovix__V1__KillOrder *)message;
  if (!kill_view_ended(order)) {
    kill_view_sentence(order, kill->sentence);
    if (kill->progress) fprintf(stderr, "%s\n", kill->sentence);
    return true;
  }
  kill->ended = true;
  kill->succeeded = kill_view_succeeded(order);
  if (kill->client->args.format == OUTPUT_JSON)
    output_json(message);
  else if (kill->client->args.format == OUTPUT_NAME)
    puts(order->order_id);
  else
    kill_view_print(order);
  return false;
}

/* Follows the order to its end; a lost connection is taken up again until the time is over. */
static int wait_for_end(struct kill *kill, uint64_t until_mono_ms) {
  struct tlx_status status;
  Telovix__V1__GetKillRequest request = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  request.order_id = kill->order_id;
  struct session_call call = {.path = "/telovix.v1.ContainmentService/WatchKill",
                              .is_stream = true,
                              .request = &request.base,
                              .reply = &telovix__v1__kill_order__descriptor,
                              .message = take_state,
                              .arg = kill};
  if (client_watch(kill->client, &call, &kill->ended, until_mono_ms, &status))
    return kill->succeeded ? CLIENT_OK : CLIENT_FAILED;
  if (status.code == TLX_GRPC_OK)
    tlx_status_set(&status, TLX_GRPC_INTERNAL, "watch_ended",
                   "the Console ended the watch before the order ended");
  if (status.code != TLX_GRPC_UNAVAILABLE && status.code != TLX_GRPC_DEADLINE_EXCEEDED) {
    /* The order stands; what becomes of it we were not told. */
    client_error(kill->client, kill->order_id, &status, CLIENT_UNKNOWN);
    return CLIENT_UNKNOWN;
  }
  tlx_status_set(
      &status, TLX_GRPC_DEADLINE_EXCEEDED, "wait_timeout",
      "the order has not ended within %llu ms (%s); follow it with `telovixctl kills get %s`",
      (unsigned long long)client_timeout_ms(kill->client),
      *kill->sentence ? kill->sentence : "no state was heard", kill->order_id);
  client_error(kill->client, kill->order_id, &status, CLIENT_UNKNOWN);
  return CLIENT_UNKNOWN;
}

int cmd_kill(struct client *client) {
  const struct args *args = &client->args;
  struct kill kill = {.client = client, .progress = output_is_terminal()};
  uint64_t pid;
  if (tlx_u64_parse(args->words[1], PID_MAX, &pid) != 0) {
    char shown[64];
    fprintf(stderr, "telovixctl kill: %s: not a process id; want a number above 1\n",
            tlx_text_escape(args->words[1], SIZE_MAX, shown, sizeof shown));
    return CLIENT_USAGE;
  }
  uint64_t until_mono_ms = tlx_mono_ms(tlx_clock_system()) + client_timeout_ms(client);
  Google__Protobuf__Duration life = GOOGLE__PROTOBUF__DURATION__INIT;
  Telovix__V1__KillProcessRequest request = TELOVIX__V1__KILL_PROCESS_REQUEST__INIT;
  request.sensor = (char *)args->words[0];
  request.pid = (uint32_t)pid;
  request.start_ticks = args->start_ticks;
  if (args->exe) request.exe = (char *)args->exe;
  if (args->life_ms) {
    life.seconds = (int64_t)(args->life_ms / 1000);
    life.nanos = (int32_t)(args->life_ms % 1000 * 1000000);
    request.life = &life;
  }
  if (args->reason) request.reason = (char *)args->reason;
  request.request_id = client->request_id;
  char what[300];
  snprintf(what, sizeof what, "%.200s %s", args->words[0], args->words[1]);
  int ret = client_call(client, what, "/telovix.v1.ContainmentService/KillProcess", &request.base,
                        &telovix__v1__kill_process_reply__descriptor, show_queued, &kill);
  if (ret != CLIENT_OK || !args->wait) return ret;
  return wait_for_end(&kill, until_mono_ms);
}

static bool show_cancelled(void *arg, const ProtobufCMessage *message) {
  const struct client *client = arg;
  char sentence[1024];
  if (client->args.format == OUTPUT_JSON)
    output_json(message);
  else
    puts(kill_view_sentence((const Telovix__V1__KillOrder *)message, sentence));
  return true;
}

int cmd_kills_cancel(struct client *client) {
  Telovix__V1__CancelKillRequest request = TELOVIX__V1__CANCEL_KILL_REQUEST__INIT;
  request.order_id = (char *)client->args.words[0];
  if (client->args.reason) request.reason = (char *)client->args.reason;
  request.request_id = client->request_id;
  return client_call(client, client->args.words[0], "/telovix.v1.ContainmentService/CancelKill",
                     &request.base, &telovix__v1__kill_order__descriptor, show_cancelled, client);
}
