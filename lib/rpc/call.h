// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "pki/cert.h"
#include "rpc/status.h"

/* A call on the server, as its handler sees it. It has two ends, the stream and the handler; either
 * may finish first. The handler ends it exactly once with tlx_call_reply, tlx_call_end or
 * tlx_call_fail; on a call whose stream is gone these do nothing but finish the handler's end. The
 * object lives until both ends are finished and every reference is gone. Loop thread. */
struct tlx_call;

/* The path that was asked for, e.g. "/telovix.v1.FleetService/GetSensor", cut at 512 bytes; empty
 * when there was none. Not escaped. Borrowed, lives with the call, as the next two. */
const char *tlx_call_method(const struct tlx_call *call);
/* Address of the peer without its port, as tlx_conn_peer_ip has it. */
const char *tlx_call_client_ip(const struct tlx_call *call);
/* The header user-agent, cut at 200 bytes; empty = none. The peer chose it: not escaped. */
const char *tlx_call_user_agent(const struct tlx_call *call);
/* Parsed client certificate; NULL when none was presented. TLS has found it good but for an expired
 * leaf; whose it is, and whether it may call, is for the application to say. Lives with the call.
 */
const struct tlx_cert *tlx_call_peer_cert(const struct tlx_call *call);
/* The application's storage, zeroed at the start of the call (option call_data_len). */
void *tlx_call_data(struct tlx_call *call);
/* The same of the connection (option conn_data_len); shared by its calls. */
void *tlx_call_conn_data(struct tlx_call *call);
/* Option ctx of the server. */
void *tlx_call_ctx(const struct tlx_call *call);
/* A number that is the same for all calls of one connection and never used again. */
uint64_t tlx_call_conn_id(const struct tlx_call *call);
/* Arena of the request message, for replies too; at most TLX_ARENA_MAX, freed when the call is.
 * What a long stream needs for one message belongs elsewhere. */
struct tlx_arena *tlx_call_arena(struct tlx_call *call);
/* The raw request bytes (unary, server-streaming); borrowed, live with the call. */
struct tlx_bytes tlx_call_request_bytes(const struct tlx_call *call);
/* Milliseconds until the deadline; UINT64_MAX = none. */
uint64_t tlx_call_time_left_ms(const struct tlx_call *call);

/* A further reference, for what goes on after the handler returned (an op in the writer). Returns
 * |call|. */
struct tlx_call *tlx_call_ref(struct tlx_call *call);
/* Gives one back; the last one frees. Not NULL. */
void tlx_call_unref(struct tlx_call *call);
/* False once the peer cancelled, the deadline passed, or the connection is gone. */
bool tlx_call_alive(const struct tlx_call *call);
/* Told once when the stream ends before the handler did (cancel, deadline, lost connection); never
 * after the handler's own end. The handler must still end the call. NULL removes it. */
void tlx_call_on_cancel(struct tlx_call *call, void (*cb)(struct tlx_call *call, void *arg),
                        void *arg);

/* Adds a trailer to the final status; name in lower case (at most 31 bytes), value printable ASCII
 * (at most 159); copied. A fifth one is dropped. */
void tlx_call_add_trailer(struct tlx_call *call, const char *name, const char *value);
/* Unary: one message and OK; RESOURCE_EXHAUSTED no_memory when it cannot be packed. |message| is
 * packed before the function returns. Ends the call. */
void tlx_call_reply(struct tlx_call *call, const ProtobufCMessage *message);
/* The same with |len| already packed bytes (idempotent replay), which are copied. */
void tlx_call_reply_bytes(struct tlx_call *call, const void *message, size_t len);
/* Any kind of call: ends it with |status| (copied), after the server's `failed` hook has seen it.
 */
void tlx_call_fail(struct tlx_call *call, const struct tlx_status *status);

/* Server streams: response head at once, so that clients learn that the call stands. Called by
 * itself before the first message. */
void tlx_call_start_stream(struct tlx_call *call);
/* One message. 0; TLX_E_CLOSED when the stream is gone; TLX_E_LIMIT when more than
 * TLX_STREAM_QUEUE_MAX bytes wait: the handler then ends the call with RESOURCE_EXHAUSTED or waits
 * for |writable|. */
int tlx_call_send(struct tlx_call *call, const ProtobufCMessage *message);
/* Bytes that wait to be sent on this stream; 0 when it is gone. */
size_t tlx_call_queued(const struct tlx_call *call);
/* Told when the queue fell below TLX_UNSENT_LOW after it was above. NULL removes it. */
void tlx_call_on_writable(struct tlx_call *call, void (*cb)(struct tlx_call *call, void *arg),
                          void *arg);
/* Ends a stream with OK. */
void tlx_call_end(struct tlx_call *call);
