// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/err.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"
#include "rpc/server_int.h"

/* The handler's end of a call. */

/* ---- life ---- */

struct tlx_call *tlx_call_new(struct server_conn *sconn, struct tlx_h2_stream *stream) {
  struct tlx_call *call = calloc(1, sizeof *call + sconn->server->options.call_data_len);
  if (!call) return NULL;
  call->sconn = sconn;
  call->stream = stream;
  call->n_refs = 1;
  tlx_server_conn_ref(sconn);
  call->due_mono_ms = UINT64_MAX;
  call->path = call->user_agent = "";
  tlx_arena_init(&call->arena, TLX_ARENA_MAX);
  tlx_arena_init(&call->message_arena, TLX_ARENA_MAX);
  call->next = sconn->calls;
  call->prev = &sconn->calls;
  if (sconn->calls) sconn->calls->prev = &call->next;
  sconn->calls = call;
  tlx_h2_set_user(stream, call);
  return call;
}

struct tlx_call *tlx_call_ref(struct tlx_call *call) {
  call->n_refs++;
  return call;
}

void tlx_call_unref(struct tlx_call *call) {
  if (--call->n_refs) return;
  tlx_deadline_clear(&call->deadline);
  tlx_frame_parser_done(&call->parser);
  tlx_arena_done(&call->arena);
  tlx_arena_done(&call->message_arena);
  tlx_server_conn_unref(call->sconn);
  free(call);
}

void tlx_call_set_state(struct tlx_call *call, enum call_state to) {
  static const bool allowed[4][4] = {
      [CALL_OPEN] = {[CALL_ANSWERED] = true, [CALL_CUT] = true, [CALL_DEAD] = true},
      [CALL_ANSWERED] = {[CALL_DEAD] = true},
      [CALL_CUT] = {[CALL_DEAD] = true},
  };
  tlx_require(allowed[call->state][to]);
  call->state = to;
}

/* The handler is done with the call, whatever became of the stream. */
static void end_handler(struct tlx_call *call) {
  if (call->state == CALL_OPEN) {
    tlx_call_set_state(call, CALL_ANSWERED);
    tlx_deadline_clear(&call->deadline);
  } else if (call->state == CALL_CUT) {
    tlx_call_set_state(call, CALL_DEAD);
  }
  call->cancelled = NULL;
  call->writable = NULL;
  if (!call->handler_active) return;
  call->handler_active = false;
  tlx_call_unref(call);
}

static void tell_cancelled(struct tlx_call *call) {
  void (*cancelled)(struct tlx_call *, void *) = call->cancelled;
  call->cancelled = NULL;
  if (cancelled) cancelled(call, call->cancelled_arg);
}

void tlx_call_cut(struct tlx_call *call, const struct tlx_status *status) {
  if (call->state != CALL_OPEN) return;
  if (status) tlx_call_submit_status(call, status);
  tlx_deadline_clear(&call->deadline);
  if (!call->handler_active) {
    tlx_call_set_state(call, status ? CALL_ANSWERED : CALL_DEAD);
    return;
  }
  tlx_call_set_state(call, CALL_CUT);
  tlx_call_ref(call);
  bool told = call->cancelled != NULL;
  tell_cancelled(call);
  /* A bidirectional handler without an own cancel callback keeps nothing between its messages. */
  if (!told && call->method->kind == TLX_BIDI && call->handler_active) end_handler(call);
  tlx_call_unref(call);
}

/* ---- what goes out ---- */

static struct tlx_h2 *h2_of(const struct tlx_call *call) {
  return call->stream ? tlx_conn_h2(call->sconn->conn) : NULL;
}

#define H(n, v)                                                                                    \
  (struct tlx_h2_header) {                                                                         \
    {(const uint8_t *)(n), strlen(n)}, {                                                           \
      (const uint8_t *)(v), strlen(v)                                                              \
    }                                                                                              \
  }

static size_t head_fields(const struct tlx_call *call, int http_status, char status_text[8],
                          struct tlx_h2_header *fields) {
  snprintf(status_text, 8, "%d", http_status ? http_status : 200);
  fields[0] = H(":status", status_text);
  fields[1] = H("content-type", call->proto_suffix ? "application/grpc+proto" : "application/grpc");
  fields[2] = H("grpc-accept-encoding", "identity");
  return 3;
}

void tlx_call_submit_status(struct tlx_call *call, const struct tlx_status *status) {
  struct tlx_h2 *h2 = h2_of(call);
  struct tlx_h2_header fields[3 + 3 + CALL_TRAILERS_MAX];
  char http[8], code[8], message[3 * TLX_STATUS_MESSAGE_MAX];
  struct tlx_buf details = {0};
  if (!h2) return;
  size_t n = call->head_sent ? 0 : head_fields(call, status->http_status, http, fields);
  snprintf(code, sizeof code, "%d", (int)status->code);
  fields[n++] = H("grpc-status", code);
  if (*status->message && tlx_grpc_message_encode(status->message, message, sizeof message))
    fields[n++] = H("grpc-message", message);
  tlx_buf_init(&details, TLX_TRAILERS_MAX);
  if (status->code != TLX_GRPC_OK && tlx_grpc_details_format(status, &details) == 0 && details.len)
    fields[n++] = (struct tlx_h2_header){{(const uint8_t *)"grpc-status-details-bin", 23},
                                         {details.data, details.len}};
  for (unsigned i = 0; i < call->n_trailers; i++)
    fields[n++] = H(call->trailers[i].name, call->trailers[i].value);
  int err = call->head_sent ? tlx_h2_finish(h2, call->stream, fields, n)
                            : tlx_h2_respond(h2, call->stream, fields, n, true);
  if (err) tlx_h2_reset(h2, call->stream, 2 /* INTERNAL_ERROR */);
  call->head_sent = true;
  tlx_h2_discard(h2, call->stream);
  tlx_buf_done(&details);
  tlx_conn_flush(call->sconn->conn);
}

void tlx_call_start_stream(struct tlx_call *call) {
  struct tlx_h2 *h2 = h2_of(call);
  struct tlx_h2_header fields[3];
  char http[8];
  if (!h2 || call->head_sent || call->state != CALL_OPEN) return;
  size_t n = head_fields(call, 200, http, fields);
  if (tlx_h2_respond(h2, call->stream, fields, n, false) != 0)
    tlx_h2_reset(h2, call->stream, 2 /* INTERNAL_ERROR */);
  call->head_sent = true;
  tlx_conn_flush(call->sconn->conn);
}

static int send_bytes(struct tlx_call *call, const void *message, size_t len) {
  struct tlx_h2 *h2 = h2_of(call);
  uint8_t head[5];
  if (!h2 || call->state != CALL_OPEN) return TLX_E_CLOSED;
  tlx_call_start_stream(call);
  tlx_frame_head(head, (uint32_t)len);
  int err = tlx_h2_send(h2, call->stream, head, sizeof head);
  if (!err && len) err = tlx_h2_send(h2, call->stream, message, len);
  tlx_conn_flush(call->sconn->conn);
  return err;
}

int tlx_call_send(struct tlx_call *call, const ProtobufCMessage *message) {
  struct tlx_buf packed = {0};
  if (call->state != CALL_OPEN || !call->stream) return TLX_E_CLOSED;
  if (tlx_h2_queued(call->stream) > TLX_STREAM_QUEUE_MAX) return TLX_E_LIMIT;
  tlx_pb_pack(message, &packed);
  int err = packed.err ? packed.err : send_bytes(call, packed.data, packed.len);
  tlx_buf_done(&packed);
  return err;
}

size_t tlx_call_queued(const struct tlx_call *call) {
  return call->stream ? tlx_h2_queued(call->stream) : 0;
}

void tlx_call_reply_bytes(struct tlx_call *call, const void *message, size_t len) {
  struct tlx_status status;
  tlx_status_clear(&status);
  int err = call->state == CALL_OPEN && call->stream ? send_bytes(call, message, len) : 0;
  if (err && err != TLX_E_CLOSED) {
    tlx_status_set(&status, TLX_GRPC_RESOURCE_EXHAUSTED, "no_memory", "no memory for the reply");
  }
  if (call->state == CALL_OPEN) tlx_call_submit_status(call, &status);
  end_handler(call);
}

void tlx_call_reply(struct tlx_call *call, const ProtobufCMessage *message) {
  struct tlx_buf packed = {0};
  struct tlx_status status;
  tlx_pb_pack(message, &packed);
  if (packed.err) {
    tlx_status_set(&status, TLX_GRPC_RESOURCE_EXHAUSTED, "no_memory", "no memory for the reply");
    tlx_call_fail(call, &status);
  } else {
    tlx_call_reply_bytes(call, packed.data, packed.len);
  }
  tlx_buf_done(&packed);
}

void tlx_call_fail(struct tlx_call *call, const struct tlx_status *status) {
  const struct tlx_server_options *options = &call->sconn->server->options;
  if (call->state == CALL_OPEN) {
    if (options->failed) options->failed(call, status);
    tlx_call_submit_status(call, status);
  }
  end_handler(call);
}

void tlx_call_end(struct tlx_call *call) {
  struct tlx_status status;
  tlx_status_clear(&status);
  if (call->state == CALL_OPEN) {
    /* A stream without a message still has a head, then trailers. */
    tlx_call_start_stream(call);
    tlx_call_submit_status(call, &status);
  }
  end_handler(call);
}

void tlx_call_add_trailer(struct tlx_call *call, const char *name, const char *value) {
  if (call->n_trailers == CALL_TRAILERS_MAX) return;
  snprintf(call->trailers[call->n_trailers].name, sizeof call->trailers->name, "%s", name);
  snprintf(call->trailers[call->n_trailers].value, sizeof call->trailers->value, "%s", value);
  call->n_trailers++;
}

/* ---- facts ---- */

const char *tlx_call_method(const struct tlx_call *call) {
  return call->path;
}

const char *tlx_call_client_ip(const struct tlx_call *call) {
  return tlx_conn_peer_ip(call->sconn->conn);
}

const char *tlx_call_user_agent(const struct tlx_call *call) {
  return call->user_agent;
}

const struct tlx_cert *tlx_call_peer_cert(const struct tlx_call *call) {
  return call->sconn->has_cert ? &call->sconn->cert : NULL;
}

void *tlx_call_data(struct tlx_call *call) {
  return call->data;
}

void *tlx_call_conn_data(struct tlx_call *call) {
  return call->sconn->data;
}

void *tlx_call_ctx(const struct tlx_call *call) {
  return call->sconn->server->options.ctx;
}

uint64_t tlx_call_conn_id(const struct tlx_call *call) {
  return call->sconn->id;
}

struct tlx_arena *tlx_call_arena(struct tlx_call *call) {
  return &call->arena;
}

struct tlx_bytes tlx_call_request_bytes(const struct tlx_call *call) {
  return call->request;
}

uint64_t tlx_call_time_left_ms(const struct tlx_call *call) {
  if (call->due_mono_ms == UINT64_MAX) return UINT64_MAX;
  uint64_t now_mono_ms = tlx_mono_ms(call->sconn->server->options.clock);
  return call->due_mono_ms > now_mono_ms ? call->due_mono_ms - now_mono_ms : 0;
}

bool tlx_call_alive(const struct tlx_call *call) {
  return call->state == CALL_OPEN && call->stream;
}

void tlx_call_on_cancel(struct tlx_call *call, void (*cb)(struct tlx_call *call, void *arg),
                        void *arg) {
  call->cancelled = cb;
  call->cancelled_arg = arg;
}

void tlx_call_on_writable(struct tlx_call *call, void (*cb)(struct tlx_call *call, void *arg),
                          void *arg) {
  call->writable = cb;
  call->writable_arg = arg;
}
