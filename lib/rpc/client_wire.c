// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/err.h"
#include "common/text.h"
#include "rpc/channel_int.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"

/* The stream's end of a client call: header fields and frames into callbacks. */

#define H(n, v)                                                                                    \
  (struct tlx_h2_header) {                                                                         \
    {(const uint8_t *)(n), strlen(n)}, {                                                           \
      (const uint8_t *)(v), strlen(v)                                                              \
    }                                                                                              \
  }

int tlx_client_call_send(struct tlx_client_call *call, struct channel_conn *cconn) {
  struct tlx_channel *channel = cconn->channel;
  struct tlx_h2 *h2 = tlx_conn_h2(cconn->conn);
  struct tlx_h2_header fields[8];
  char timeout[16];
  size_t n = 0;
  if (!h2) return TLX_E_CLOSED;
  fields[n++] = H(":method", "POST");
  fields[n++] = H(":scheme", "https");
  fields[n++] = H(":path", call->options.path);
  fields[n++] = H(":authority", tlx_conn_peer_address(cconn->conn));
  fields[n++] = H("te", "trailers");
  fields[n++] = H("content-type", "application/grpc");
  fields[n++] = H("user-agent", channel->user_agent);
  if (call->due_mono_ms != UINT64_MAX) {
    uint64_t now_mono_ms = tlx_mono_ms(channel->options.clock);
    tlx_grpc_timeout_format(call->due_mono_ms > now_mono_ms ? call->due_mono_ms - now_mono_ms : 1,
                            timeout);
    fields[n++] = H("grpc-timeout", timeout);
  }
  int err = tlx_h2_request(h2, fields, n, call, &call->stream);
  if (err) {
    call->stream = NULL;
    return err;
  }
  call->cconn = cconn;
  tlx_client_call_set_state(call, CLIENT_CALL_OPEN);
  err = tlx_h2_send(h2, call->stream, call->request.data, call->request.len);
  if (!err) err = tlx_h2_finish(h2, call->stream, NULL, 0);
  if (err) tlx_h2_reset(h2, call->stream, 2 /* INTERNAL_ERROR */);
  tlx_conn_flush(cconn->conn);
  return 0;
}

/* ---- messages ---- */

static void fail(struct tlx_client_call *call, enum tlx_grpc_code code, const char *reason,
                 const char *message) {
  struct tlx_status status;
  tlx_status_set(&status, code, reason, "%s", message);
  tlx_client_call_finish(call, &status);
}

/* Hands one message to the application. False when the call is over because of it. */
static bool deliver(struct tlx_client_call *call, struct tlx_bytes bytes) {
  struct tlx_arena arena;
  struct tlx_status status;
  ProtobufCMessage *message;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  int err = tlx_pb_unpack(call->options.reply, bytes, &arena, &message, &status);
  if (err) {
    tlx_arena_done(&arena);
    fail(call, TLX_GRPC_INTERNAL, "reply_malformed", "the server sent a malformed message");
    return false;
  }
  if (call->options.message) call->options.message(call, message, call->options.arg);
  tlx_arena_done(&arena);
  return true;
}

static void on_data(void *ctx, struct tlx_h2_stream *stream, const uint8_t *data, size_t len,
                    bool end_stream) {
  struct channel_conn *cconn = ctx;
  struct tlx_client_call *call = tlx_h2_user(stream);
  struct tlx_h2 *h2 = tlx_conn_h2(cconn->conn);
  struct tlx_status status;
  if (h2) tlx_h2_consume(h2, stream, len);
  if (!call || call->state != CLIENT_CALL_OPEN) return;
  while (len) {
    struct tlx_bytes message;
    enum tlx_frame_event event = tlx_frame_feed(&call->parser, &data, &len, &message, &status);
    if (event == TLX_FRAME_NEED_MORE) break;
    if (event == TLX_FRAME_ERROR) {
      tlx_client_call_finish(call, &status);
      return;
    }
    call->n_messages++;
    if (call->options.is_stream) {
      if (!deliver(call, message)) return;
      /* The application may have cancelled. */
      if (tlx_h2_user(stream) != call || call->state != CLIENT_CALL_OPEN) return;
    } else if (call->n_messages > 1) {
      fail(call, TLX_GRPC_INTERNAL, "too_many_messages", "the server sent two replies");
      return;
    } else {
      call->reply = message;
    }
  }
  if (end_stream)
    fail(call, TLX_GRPC_INTERNAL, "status_missing", "the server ended the stream without a status");
}

/* ---- head and trailers ---- */

static bool name_is(const struct tlx_h2_header *field, const char *name) {
  return field->name.len == strlen(name) && memcmp(field->name.data, name, field->name.len) == 0;
}

static void take_number(const struct tlx_h2_header *field, int *ret_value) {
  char text[12];
  uint64_t value;
  if (field->value.len >= sizeof text) return;
  memcpy(text, field->value.data, field->value.len);
  text[field->value.len] = '\0';
  if (tlx_u64_parse(text, 999, &value) == 0) *ret_value = (int)value;
}

static void tell_metadata(struct tlx_client_call *call, const struct tlx_h2_header *field) {
  char name[64], value[512];
  if (!call->options.metadata || field->name.len >= sizeof name ||
      field->value.len >= sizeof value || field->name.data[0] == ':')
    return;
  memcpy(name, field->name.data, field->name.len);
  name[field->name.len] = '\0';
  memcpy(value, field->value.data, field->value.len);
  value[field->value.len] = '\0';
  call->options.metadata(call, name, value, call->options.arg);
}

static void take_fields(struct tlx_client_call *call, const struct tlx_h2_header *fields,
                        size_t n) {
  const struct tlx_h2_header *details = NULL;
  int code = -1;
  for (size_t i = 0; i < n; i++) {
    const struct tlx_h2_header *field = &fields[i];
    const char *value = (const char *)field->value.data;
    if (name_is(field, ":status"))
      take_number(field, &call->http_status);
    else if (name_is(field, "grpc-status"))
      take_number(field, &code);
    else if (name_is(field, "grpc-message"))
      tlx_grpc_message_decode(value, field->value.len, call->status.message,
                              sizeof call->status.message);
    else if (name_is(field, "grpc-status-details-bin"))
      details = field;
    else
      tell_metadata(call, field);
  }
  if (code < 0) return;
  call->has_status = true;
  call->status.code =
      code <= TLX_GRPC_UNAUTHENTICATED ? (enum tlx_grpc_code)code : TLX_GRPC_UNKNOWN;
  /* Details that cannot be read leave code and message, which stand on their own. */
  if (details)
    (void)tlx_grpc_details_parse((const char *)details->value.data, details->value.len,
                                 &call->status);
}

/* The stream has ended in order; says how the call did. */
static void conclude(struct tlx_client_call *call) {
  struct tlx_status status = call->status;
  if (!call->has_status) {
    tlx_status_set(&status,
                   call->http_status != 200 ? tlx_grpc_code_from_http(call->http_status)
                                            : TLX_GRPC_INTERNAL,
                   "status_missing", "the server answered with HTTP status %d and no gRPC status",
                   call->http_status);
  } else if (status.code == TLX_GRPC_OK && !call->options.is_stream) {
    if (call->n_messages != 1 || !tlx_frame_at_boundary(&call->parser)) {
      fail(call, TLX_GRPC_INTERNAL, "reply_missing", "the server answered OK without a reply");
      return;
    }
    if (!deliver(call, call->reply)) return;
  }
  tlx_client_call_finish(call, &status);
}

static void on_headers(void *ctx, struct tlx_h2_stream *stream, const struct tlx_h2_header *headers,
                       size_t n, bool trailers, bool end_stream, bool overflow) {
  struct tlx_client_call *call = tlx_h2_user(stream);
  if (!call || call->state != CLIENT_CALL_OPEN) return;
  call->has_head = true;
  call->was_sent = true;
  take_fields(call, headers, n);
  if (!trailers && !end_stream && call->options.started)
    call->options.started(call, call->options.arg);
  if (end_stream && tlx_h2_user(stream) == call) conclude(call);
}

/* ---- end ---- */

static void on_closed(void *ctx, struct tlx_h2_stream *stream, uint32_t error, bool by_peer,
                      bool refused) {
  struct channel_conn *cconn = ctx;
  struct tlx_channel *channel = cconn->channel;
  struct tlx_client_call *call = tlx_h2_user(stream);
  bool is_lost = !tlx_conn_h2(cconn->conn);
  char why[96];
  if (call && call->state == CLIENT_CALL_OPEN) {
    call->was_sent |= tlx_h2_sent(stream);
    call->stream = NULL;
    if (refused && !call->has_head && !call->was_retried && !channel->closing) {
      tlx_client_call_requeue(call);
    } else if (is_lost) {
      fail(call, TLX_GRPC_UNAVAILABLE, "connection_lost",
           "the connection was lost before the answer came");
    } else {
      snprintf(why, sizeof why, "the server ended the stream with HTTP/2 error %u", error);
      fail(call, tlx_grpc_code_from_h2(error), "stream_reset", why);
    }
  }
  /* A stream is free again. */
  if (!is_lost && channel->current == cconn) tlx_channel_send_waiting(channel);
}

static void on_goaway(void *ctx, int32_t last_stream_id, uint32_t error, const uint8_t *debug,
                      size_t len) {
  tlx_channel_goaway(ctx, error, debug, len);
}

const struct tlx_h2_events tlx_client_h2_events = {
    .headers = on_headers, .data = on_data, .closed = on_closed, .goaway = on_goaway};
