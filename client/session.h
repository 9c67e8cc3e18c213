// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/profile.h"
#include "client/witness.h"
#include "rpc/status.h"

/* One operator's connection, used one call at a time: a call runs the loop until it ends. Main
 * thread. */
struct session;

/* Connects when the first call needs it. |console| overrides the profile's address; NULL = the
 * profile's. |witness| sees every audit head that an answer carries, and must outlive the session.
 * 0, -ENOMEM or another negative error. */
int session_open(const struct profile *profile, const char *console, struct witness *witness,
                 struct session **ret_session);
/* Closes and frees; the loop ends empty. NULL is fine. */
void session_close(struct session *session);

/* One call: what is asked, and what came of it. */
struct session_call {
  const char *path;
  const ProtobufCMessage *request;
  const ProtobufCMessageDescriptor *reply;
  bool is_stream;      /* server-streaming */
  uint64_t timeout_ms; /* 0 = none */
  /* Each message; lives for the callback. False ends the call (as if OK). */
  bool (*message)(void *arg, const ProtobufCMessage *message);
  void *arg;
  /* out: whether the request may have reached the Console */
  bool was_sent;
};
/* Runs the call to its end; |ret_status| is what the Console (or the link) said. Returns true for
 * OK. */
bool session_run(struct session *session, struct session_call *call, struct tlx_status *ret_status);
