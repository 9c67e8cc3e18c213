// SPDX-License-Identifier: GPL-2.0-or-later
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"
#include "rpc/server_int.h"

/* The stream's end of a call: from a header block to a handler (grpc.md §1, §2). The order is
 * fixed: content type, method, path, time-out, authorization, and only then the body. */

/* ---- the request's head ---- */

struct request_head {
  struct tlx_bytes method, path, content_type, timeout, encoding, user_agent;
};

static void take_field(struct request_head *head, const struct tlx_h2_header *field) {
  static const struct {
    const char *name;
    size_t offset;
  } fields[] = {
      {":method", offsetof(struct request_head, method)},
      {":path", offsetof(struct request_head, path)},
      {"content-type", offsetof(struct request_head, content_type)},
      {"grpc-timeout", offsetof(struct request_head, timeout)},
      {"grpc-encoding", offsetof(struct request_head, encoding)},
      {"user-agent", offsetof(struct request_head, user_agent)},
  };
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    if (field->name.len == strlen(fields[i].name) &&
        memcmp(field->name.data, fields[i].name, field->name.len) == 0)
      *(struct tlx_bytes *)((char *)head + fields[i].offset) = field->value;
}

static bool bytes_are(struct tlx_bytes bytes, const char *text) {
  return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

static char *copy_text(struct tlx_arena *arena, struct tlx_bytes bytes, size_t max) {
  size_t len = bytes.len < max ? bytes.len : max;
  char *text = tlx_arena_alloc(arena, len + 1);
  if (!text) return NULL;
  if (len) memcpy(text, bytes.data, len);
  text[len] = '\0';
  return text;
}

/* Answers that are not gRPC: the caller is not a gRPC client. */
static void refuse_http(struct server_conn *sconn, struct tlx_h2_stream *stream, const char *status,
                        bool allow_post) {
  struct tlx_h2_header fields[2] = {
      {{(const uint8_t *)":status", 7}, {(const uint8_t *)status, 3}},
      {{(const uint8_t *)"allow", 5}, {(const uint8_t *)"POST", 4}},
  };
  struct tlx_h2 *h2 = tlx_conn_h2(sconn->conn);
  tlx_debug(RPC, "not gRPC: status=%s client=%s", status, tlx_conn_peer_ip(sconn->conn));
  if (!h2) return;
  tlx_h2_discard(h2, stream);
  if (tlx_h2_respond(h2, stream, fields, allow_post ? 2 : 1, true) != 0)
    tlx_h2_reset(h2, stream, 2 /* INTERNAL_ERROR */);
}

/* ---- deadlines ---- */

static void on_deadline(struct tlx_deadline *deadline) {
  struct tlx_call *call =
      (struct tlx_call *)((char *)deadline - offsetof(struct tlx_call, deadline));
  struct tlx_status status;
  if (call->due_mono_ms != UINT64_MAX)
    tlx_status_set(&status, TLX_GRPC_DEADLINE_EXCEEDED, "deadline_exceeded",
                   "the deadline of the call has passed; a change may still be stored");
  else
    tlx_status_set(&status, TLX_GRPC_DEADLINE_EXCEEDED, "request_too_slow",
                   "the request was not complete after %u s", TLX_REQUEST_TIMEOUT_MS / 1000);
  tlx_call_cut(call, &status);
}

static bool set_deadline(struct tlx_call *call, struct tlx_bytes timeout,
                         struct tlx_status *status) {
  struct tlx_server *server = call->sconn->server;
  uint64_t now_mono_ms = tlx_mono_ms(server->options.clock);
  uint64_t ms, due_mono_ms = now_mono_ms + TLX_REQUEST_TIMEOUT_MS;
  call->deadline.expired = on_deadline;
  if (timeout.data) {
    if (tlx_grpc_timeout_parse((const char *)timeout.data, timeout.len, &ms) != 0) {
      tlx_status_set(status, TLX_GRPC_INTERNAL, "timeout_malformed",
                     "the header grpc-timeout is malformed");
      return false;
    }
    if (ms == 0) {
      tlx_status_set(status, TLX_GRPC_DEADLINE_EXCEEDED, "deadline_exceeded",
                     "the deadline of the call has passed before it began");
      return false;
    }
    call->due_mono_ms = due_mono_ms = now_mono_ms + ms;
  }
  tlx_deadline_set(&server->deadlines, &call->deadline, due_mono_ms);
  return true;
}

/* ---- from head to handler ---- */

static bool accept_head(struct tlx_call *call, const struct request_head *head, bool overflow,
                        struct tlx_status *status) {
  struct server_conn *sconn = call->sconn;
  const struct tlx_server_options *options = &sconn->server->options;
  size_t max_message = TLX_MESSAGE_MAX;
  char shown[200];
  if (overflow) {
    tlx_status_set(status, TLX_GRPC_RESOURCE_EXHAUSTED, "header_list_too_large",
                   "the header list is larger than %u bytes", TLX_HEADER_LIST_MAX);
    status->http_status = 431;
    return false;
  }
  call->method = tlx_server_find_method(sconn->server, call->path);
  if (!call->method) {
    tlx_status_set(status, TLX_GRPC_UNIMPLEMENTED, "unknown_method", "there is no method %s",
                   tlx_text_escape(call->path, SIZE_MAX, shown, sizeof shown));
    return false;
  }
  if (!set_deadline(call, head->timeout, status)) return false;
  if (tlx_h2_total_queued(tlx_conn_h2(sconn->conn)) > TLX_CONN_QUEUE_MAX) {
    tlx_status_set(status, TLX_GRPC_RESOURCE_EXHAUSTED, "connection_queue_full",
                   "the answers to earlier calls on this connection were not read");
    return false;
  }
  if (options->authorize && !options->authorize(call, &max_message, status)) return false;
  tlx_frame_parser_init(&call->parser, max_message,
                        !head->encoding.data || bytes_are(head->encoding, "identity"));
  return true;
}

static void request_ended(struct tlx_call *call);

static void start_handler(struct tlx_call *call, const ProtobufCMessage *message) {
  if (!call->handler_active) {
    call->handler_active = true;
    tlx_call_ref(call);
  }
  call->method->handler(call, message);
}

static void new_call(struct server_conn *sconn, struct tlx_h2_stream *stream,
                     const struct request_head *head, bool end_stream, bool overflow) {
  struct tlx_status status;
  struct tlx_call *call = tlx_call_new(sconn, stream);
  if (!call) {
    tlx_h2_reset(tlx_conn_h2(sconn->conn), stream, 11 /* ENHANCE_YOUR_CALM */);
    return;
  }
  static const char with_proto[] = "application/grpc+proto";
  call->proto_suffix =
      head->content_type.len >= sizeof with_proto - 1 &&
      strncasecmp((const char *)head->content_type.data, with_proto, sizeof with_proto - 1) == 0;
  const char *path = copy_text(&call->arena, head->path, 512);
  const char *user_agent = copy_text(&call->arena, head->user_agent, 200);
  if (path) call->path = path;
  if (user_agent) call->user_agent = user_agent;
  tlx_call_ref(call);
  if (!accept_head(call, head, overflow, &status))
    tlx_call_fail(call, &status);
  else if (end_stream)
    request_ended(call);
  tlx_call_unref(call);
}

static void on_headers(void *ctx, struct tlx_h2_stream *stream, const struct tlx_h2_header *headers,
                       size_t n, bool trailers, bool end_stream, bool overflow) {
  struct server_conn *sconn = ctx;
  struct request_head head = {0};
  struct tlx_call *call = tlx_h2_user(stream);
  if (trailers) {
    /* Request trailers end the request; what they say is of no use. */
    if (call && call->state == CALL_OPEN && end_stream) request_ended(call);
    return;
  }
  for (size_t i = 0; i < n; i++)
    take_field(&head, &headers[i]);
  if (!overflow &&
      !tlx_grpc_content_type_valid((const char *)head.content_type.data, head.content_type.len))
    refuse_http(sconn, stream, "415", false);
  else if (!overflow && !bytes_are(head.method, "POST"))
    refuse_http(sconn, stream, "405", true);
  else
    new_call(sconn, stream, &head, end_stream, overflow);
}

/* ---- messages ---- */

static bool unpack(struct tlx_call *call, struct tlx_bytes message, struct tlx_arena *arena,
                   ProtobufCMessage **ret_request) {
  struct tlx_status status;
  tlx_status_clear(&status);
  if (tlx_pb_unpack(call->method->request, message, arena, ret_request, &status) == 0) return true;
  tlx_call_fail(call, &status);
  return false;
}

/* One message of a bidirectional call. */
static void bidi_message(struct tlx_call *call, struct tlx_bytes message) {
  ProtobufCMessage *request;
  tlx_arena_reset(&call->message_arena);
  tlx_deadline_set(&call->sconn->server->deadlines, &call->deadline, call->due_mono_ms);
  if (!unpack(call, message, &call->message_arena, &request)) return;
  tlx_call_start_stream(call);
  start_handler(call, request);
}

static void take_message(struct tlx_call *call, struct tlx_bytes message) {
  struct tlx_status status;
  if (call->method->kind == TLX_BIDI) {
    bidi_message(call, message);
  } else if (call->has_message) {
    tlx_status_set(&status, TLX_GRPC_UNIMPLEMENTED, "too_many_messages",
                   "the method takes one message, and two were sent");
    tlx_call_fail(call, &status);
  } else {
    call->has_message = true;
    call->request = message;
  }
}

/* A control runs on a whole request only: message complete and END_STREAM (grpc.md §2). */
static void request_ended(struct tlx_call *call) {
  struct tlx_status status;
  ProtobufCMessage *request;
  if (!tlx_frame_at_boundary(&call->parser)) {
    tlx_status_set(&status, TLX_GRPC_INTERNAL, "frame_malformed",
                   "the stream ended inside a message");
    tlx_call_fail(call, &status);
  } else if (call->method->kind == TLX_BIDI) {
    tlx_call_start_stream(call);
    start_handler(call, NULL);
  } else if (!call->has_message) {
    tlx_status_set(&status, TLX_GRPC_UNIMPLEMENTED, "message_missing",
                   "the method takes one message, and none was sent");
    tlx_call_fail(call, &status);
  } else if (unpack(call, call->request, &call->arena, &request)) {
    /* From here on only the client's own deadline counts. */
    tlx_deadline_set(&call->sconn->server->deadlines, &call->deadline, call->due_mono_ms);
    start_handler(call, request);
  }
}

static void on_data(void *ctx, struct tlx_h2_stream *stream, const uint8_t *data, size_t len,
                    bool end_stream) {
  struct server_conn *sconn = ctx;
  struct tlx_call *call = tlx_h2_user(stream);
  struct tlx_h2 *h2 = tlx_conn_h2(sconn->conn);
  struct tlx_status status;
  if (!h2 || !call || call->state != CALL_OPEN) {
    if (h2) tlx_h2_consume(h2, stream, len);
    return;
  }
  tlx_call_ref(call);
  /* The parser copies what it keeps, at most one message. */
  tlx_h2_consume(h2, stream, len);
  while (call->state == CALL_OPEN && len) {
    struct tlx_bytes message;
    enum tlx_frame_event event = tlx_frame_feed(&call->parser, &data, &len, &message, &status);
    if (event == TLX_FRAME_NEED_MORE) break;
    if (event == TLX_FRAME_ERROR)
      tlx_call_fail(call, &status);
    else
      take_message(call, message);
  }
  if (end_stream && call->state == CALL_OPEN) request_ended(call);
  tlx_call_unref(call);
}

/* ---- end and flow ---- */

static void on_writable(void *ctx, struct tlx_h2_stream *stream) {
  struct tlx_call *call = tlx_h2_user(stream);
  if (call && call->state == CALL_OPEN && call->writable) call->writable(call, call->writable_arg);
}

static void on_stream_closed(void *ctx, struct tlx_h2_stream *stream, uint32_t error, bool by_peer,
                             bool refused) {
  struct server_conn *sconn = ctx;
  struct tlx_call *call = tlx_h2_user(stream);
  struct tlx_h2 *h2 = tlx_conn_h2(sconn->conn);
  if (!call) return;
  call->stream = NULL;
  *call->prev = call->next;
  if (call->next) call->next->prev = call->prev;
  if (call->state == CALL_OPEN) {
    tlx_debug(RPC, "call cut: method=%s error=%u by_peer=%d", call->path, error, by_peer);
    tlx_call_cut(call, NULL);
  } else if (call->state == CALL_ANSWERED) {
    if (h2) tlx_h2_forgive(h2);
    tlx_call_set_state(call, CALL_DEAD);
  }
  tlx_call_unref(call);
}

static void on_pong(void *ctx, const uint8_t opaque[8]) {
  tlx_server_conn_pong(ctx);
}

const struct tlx_h2_events tlx_call_h2_events = {
    .headers = on_headers,
    .data = on_data,
    .writable = on_writable,
    .closed = on_stream_closed,
    .pong = on_pong,
};
