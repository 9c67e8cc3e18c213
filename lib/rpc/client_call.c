// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/client_call.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/err.h"
#include "rpc/channel_int.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"

void tlx_client_call_set_state(struct tlx_client_call *call, enum client_call_state to) {
  static const bool allowed[4][4] = {
      [CLIENT_CALL_WAITING] =
          {[CLIENT_CALL_OPEN] = true, [CLIENT_CALL_ENDING] = true, [CLIENT_CALL_DONE] = true},
      [CLIENT_CALL_OPEN] =
          {[CLIENT_CALL_WAITING] = true, [CLIENT_CALL_ENDING] = true, [CLIENT_CALL_DONE] = true},
      [CLIENT_CALL_ENDING] = {[CLIENT_CALL_DONE] = true},
  };
  tlx_require(allowed[call->state][to]);
  call->state = to;
}

/* Lets go of the stream; the peer is told that nobody waits. */
static void leave_stream(struct tlx_client_call *call) {
  if (!call->stream) return;
  struct tlx_h2 *h2 = tlx_conn_h2(call->cconn->conn);
  call->was_sent |= tlx_h2_sent(call->stream);
  tlx_h2_set_user(call->stream, NULL);
  if (h2) {
    tlx_h2_reset(h2, call->stream, 8 /* CANCEL */);
    tlx_conn_flush(call->cconn->conn);
  }
  call->stream = NULL;
}

void tlx_client_call_finish(struct tlx_client_call *call, const struct tlx_status *status) {
  tlx_client_call_set_state(call, CLIENT_CALL_DONE);
  leave_stream(call);
  tlx_deadline_clear(&call->deadline);
  *call->prev = call->next;
  if (call->next) call->next->prev = call->prev;
  call->options.done(call, status, call->options.arg);
  tlx_buf_done(&call->request);
  tlx_frame_parser_done(&call->parser);
  free(call);
}

/* `done` in a later turn. */
static void finish_later(struct tlx_client_call *call, enum tlx_grpc_code code, const char *reason,
                         const char *message) {
  tlx_status_set(&call->status, code, reason, "%s", message);
  tlx_client_call_set_state(call, CLIENT_CALL_ENDING);
  leave_stream(call);
  tlx_deadline_set(&call->options.channel->deadlines, &call->deadline, 0);
}

static void on_deadline(struct tlx_deadline *deadline) {
  struct tlx_client_call *call =
      (struct tlx_client_call *)((char *)deadline - offsetof(struct tlx_client_call, deadline));
  struct tlx_status status;
  if (call->state == CLIENT_CALL_ENDING)
    status = call->status;
  else if (call->state == CLIENT_CALL_WAITING && *call->options.channel->last_error)
    tlx_status_set(&status, TLX_GRPC_DEADLINE_EXCEEDED, "deadline_exceeded",
                   "no connection within the time allowed: %s", call->options.channel->last_error);
  else
    tlx_status_set(&status, TLX_GRPC_DEADLINE_EXCEEDED, "deadline_exceeded",
                   "no answer within the time allowed");
  tlx_client_call_finish(call, &status);
}

void tlx_client_call_requeue(struct tlx_client_call *call) {
  call->stream = NULL;
  call->cconn = NULL;
  call->was_retried = true;
  call->was_sent = false;
  tlx_client_call_set_state(call, CLIENT_CALL_WAITING);
  tlx_channel_want(call->options.channel);
}

void tlx_client_calls_fail_waiting(struct tlx_channel *channel, bool all,
                                   const struct tlx_status *status) {
  /* `done` may start and end calls: begin again after each. */
  for (struct tlx_client_call *call = channel->calls; call;) {
    bool hit = all ? call->state != CLIENT_CALL_DONE
                   : call->state == CLIENT_CALL_WAITING && !call->options.wait_for_ready;
    if (!hit) {
      call = call->next;
      continue;
    }
    tlx_client_call_finish(call, status);
    call = channel->calls;
  }
}

static int frame_request(struct tlx_client_call *call) {
  uint8_t head[5];
  size_t len = protobuf_c_message_get_packed_size(call->options.request);
  if (len > TLX_MESSAGE_MAX) return TLX_E_TOO_LARGE;
  tlx_frame_head(head, (uint32_t)len);
  tlx_buf_add(&call->request, head, sizeof head);
  tlx_pb_pack(call->options.request, &call->request);
  return call->request.err;
}

int tlx_client_call_start(const struct tlx_client_call_options *options,
                          struct tlx_client_call **ret_call) {
  struct tlx_channel *channel = options->channel;
  struct tlx_client_call *call = calloc(1, sizeof *call);
  if (!call) return -ENOMEM;
  call->options = *options;
  if (!call->options.max_message) call->options.max_message = TLX_MESSAGE_MAX;
  int err = frame_request(call);
  if (err) {
    tlx_buf_done(&call->request);
    free(call);
    return err;
  }
  call->options.request = NULL;
  tlx_frame_parser_init(&call->parser, call->options.max_message, true);
  call->next = channel->calls;
  call->prev = &channel->calls;
  if (channel->calls) channel->calls->prev = &call->next;
  channel->calls = call;
  call->deadline.expired = on_deadline;
  call->due_mono_ms =
      options->timeout_ms ? tlx_mono_ms(channel->options.clock) + options->timeout_ms : UINT64_MAX;
  tlx_deadline_set(&channel->deadlines, &call->deadline, call->due_mono_ms);
  *ret_call = call;
  if (channel->closing)
    finish_later(call, TLX_GRPC_CANCELLED, "channel_closed", "the channel was closed");
  else if (channel->state == TLX_CHANNEL_FAILURE && !options->wait_for_ready)
    finish_later(call, TLX_GRPC_UNAVAILABLE, "connection_failed", channel->last_error);
  else if (channel->state == TLX_CHANNEL_READY && channel->current)
    (void)tlx_client_call_send(call, channel->current); /* else it waits */
  else
    tlx_channel_want(channel);
  return 0;
}

void tlx_client_call_cancel(struct tlx_client_call *call) {
  if (call->state == CLIENT_CALL_WAITING || call->state == CLIENT_CALL_OPEN)
    finish_later(call, TLX_GRPC_CANCELLED, "cancelled", "the call was cancelled");
}

bool tlx_client_call_was_sent(const struct tlx_client_call *call) {
  return call->was_sent || (call->stream && tlx_h2_sent(call->stream));
}

bool tlx_client_call_was_answered(const struct tlx_client_call *call) {
  return call->has_head;
}
