// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "pki/cert.h"
#include "rpc/status.h"

/* A call on the server, as its handler sees it. It has two ends, the stream and the handler; either may
 * finish first. The handler ends it exactly once with tlx_call_reply, tlx_call_end or tlx_call_fail; on a
 * call whose stream is gone these do nothing but finish the handler's end. The object lives until both
 * ends are finished and every reference is gone. Loop thread. */
struct tlx_call;

/* Who and what. Borrowed, live with the call. */
const char *tlx_call_method(const struct tlx_call *call);     /* "/telovix.v1.FleetService/GetSensor" */
const char *tlx_call_client_ip(const struct tlx_call *call);
const char *tlx_call_user_agent(const struct tlx_call *call); /* empty = none */
/* Parsed client certificate; NULL when none was presented. */
const struct tlx_cert *tlx_call_peer_cert(const struct tlx_call *call);
/* The application's zeroed storage of server option call_data_len, conn_data_len. */
void *tlx_call_data(struct tlx_call *call);
void *tlx_call_conn_data(struct tlx_call *call);
/* Pointer given to the server. */
void *tlx_call_ctx(const struct tlx_call *call);
/* A number that is the same for all calls of one connection and never used again. */
uint64_t tlx_call_conn_id(const struct tlx_call *call);
/* Arena of the request message, for replies too; freed when the call is. */
struct tlx_arena *tlx_call_arena(struct tlx_call *call);
/* The raw request bytes (unary, server-streaming); borrowed, live with the call. */
struct tlx_bytes tlx_call_request_bytes(const struct tlx_call *call);
/* Milliseconds until the deadline; UINT64_MAX = none. */
uint64_t tlx_call_time_left_ms(const struct tlx_call *call);

/* For what goes on after the handler returned (an op in the writer). */
struct tlx_call *tlx_call_ref(struct tlx_call *call);
void tlx_call_unref(struct tlx_call *call);
/* False once the peer cancelled, the deadline passed, or the connection is gone. */
bool tlx_call_alive(const struct tlx_call *call);
/* Told once when the stream ends before the handler did (cancel, deadline, lost connection); never after
 * the handler's own end. The handler must still end the call. NULL removes it. */
void tlx_call_on_cancel(struct tlx_call *call, void (*cb)(struct tlx_call *call, void *arg), void *arg);

/* Adds a trailer to the final status; name in lower case, value printable ASCII; copied. */
void tlx_call_add_trailer(struct tlx_call *call, const char *name, const char *value);
/* Unary: one message and OK. */
void tlx_call_reply(struct tlx_call *call, const ProtobufCMessage *message);
/* The same with already packed bytes (idempotent replay). */
void tlx_call_reply_bytes(struct tlx_call *call, const void *message, size_t len);
/* Any kind: ends with an error. */
void tlx_call_fail(struct tlx_call *call, const struct tlx_status *status);

/* Server streams: response head at once, so that clients learn that the call stands. Called by itself
 * before the first message. */
void tlx_call_start_stream(struct tlx_call *call);
/* One message. 0; TLX_E_CLOSED when the stream is gone; TLX_E_LIMIT when more than TLX_STREAM_QUEUE_MAX
 * bytes wait: the handler then ends the call with RESOURCE_EXHAUSTED or waits for |writable|. */
int tlx_call_send(struct tlx_call *call, const ProtobufCMessage *message);
/* Bytes that wait to be sent on this stream. */
size_t tlx_call_queued(const struct tlx_call *call);
/* Told when the queue fell below TLX_UNSENT_LOW after it was above. NULL removes it. */
void tlx_call_on_writable(struct tlx_call *call, void (*cb)(struct tlx_call *call, void *arg),
                          void *arg);
/* Ends a stream with OK. */
void tlx_call_end(struct tlx_call *call);
