// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/channel.h"
#include "rpc/status.h"

/* A call on a client channel: unary or server-streaming. Loop thread. */
struct tlx_client_call;

struct tlx_client_call_options {
  struct tlx_channel *channel;
  const char *path;                /* "/package.Service/Method"; static */
  const ProtobufCMessage *request; /* packed before the function returns */
  const ProtobufCMessageDescriptor *reply;
  bool is_stream;      /* server-streaming */
  uint64_t timeout_ms; /* sent as grpc-timeout and kept here; 0 = none */
  bool wait_for_ready; /* false: fails UNAVAILABLE at once in TLX_CHANNEL_FAILURE */
  size_t max_message;  /* 0 = TLX_MESSAGE_MAX */
  /* The server's response head arrived (may be NULL): the call stands. */
  void (*started)(struct tlx_client_call *call, void *arg);
  /* Each message; lives for the callback. Unary calls get it exactly once before an OK end. */
  void (*message)(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg);
  /* A trailer or head field of the application, e.g. "telovix-audit-head" (may be NULL). */
  void (*metadata)(struct tlx_client_call *call, const char *name, const char *value, void *arg);
  /* The end, exactly once; the call must not be used afterwards. */
  void (*done)(struct tlx_client_call *call, const struct tlx_status *status, void *arg);
  void *arg;
};

/* Starts; callbacks never run before it returned. A call that never reached a server
 * (REFUSED_STREAM, above the last id of GOAWAY, connection lost before its headers were written) is
 * sent again by itself once; others end UNAVAILABLE. 0 with |*ret_call|, which lives until `done`
 * has returned; TLX_E_TOO_LARGE (the request is above TLX_MESSAGE_MAX) or -ENOMEM, and then no
 * callback runs. */
int tlx_client_call_start(const struct tlx_client_call_options *options,
                          struct tlx_client_call **ret_call);
/* RST_STREAM CANCEL; `done` comes with CANCELLED in a later turn. No-op on a call that is ending.
 */
void tlx_client_call_cancel(struct tlx_client_call *call);
/* True when the request may have reached the server (for "outcome unknown"). Usable inside `done`.
 */
bool tlx_client_call_was_sent(const struct tlx_client_call *call);
/* True when the server answered, whatever it said: the status does not tell that from a failure
 * that was made here. Usable inside `done`. */
bool tlx_client_call_was_answered(const struct tlx_client_call *call);
