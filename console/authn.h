// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "console/console.h"
#include "console/reasons.h"
#include "rpc/call.h"

/* Who calls, found out afresh for each request from the certificate of the connection and the store
 * (spec §2), and whether that caller may call this method (console/authz.h). Loop thread. */

/* What the certificate makes of the caller. */
enum caller_kind { CALLER_ANONYMOUS, CALLER_SENSOR, CALLER_OPERATOR };
/* Lives with the call (tlx_call_data). */
struct caller {
  enum caller_kind kind;
  char name[64];     /* sensor id or operator name; what the certificate says, also when refused */
  unsigned role;     /* of operators: telovix.v1.Role */
  bool is_first_use; /* the certificate is good, newer than the one before, and was not used yet */
  bool is_clone;     /* refused: an older certificate came back after a newer one was used */
  bool audited;      /* an op of this call writes its own audit record, also when it refuses */
};
/* Lives with the connection: the chain is judged once, since neither it nor the CA changes under
 * it. */
struct caller_conn {
  bool judged;
  int verdict;
  uint64_t first_mono_ms; /* of its first call with a certificate; 0 = none yet */
  /* Whose certificate it is, since the first call that needed one; CALLER_ANONYMOUS before. */
  enum caller_kind kind;
  char name[64];
  char sensor_id[32]; /* counted as a connection of this sensor; empty = none */
};

/* The server's authorize hook: runs before the body of a request is read. Looks the method up, then
 * the certificate (chain, purpose, times, fleet, identity), the identity's record and the serial in
 * the store, and last kind and role. False with |status| set: UNAUTHENTICATED (HTTP 401) or
 * PERMISSION_DENIED, or STORE_FAILED. A sensor whose certificate ended at most SENSOR_CERT_LATE_MS
 * ago may call RenewCertificate alone. |*max_message| is lowered for methods that anybody may call.
 */
bool authn_authorize(struct tlx_call *call, size_t *max_message, struct tlx_status *status);
/* The Console that serves |call|. */
static inline struct console *console_of(const struct tlx_call *call) {
  return tlx_call_ctx(call);
}
/* Who calls; filled by authn_authorize, all zero (CALLER_ANONYMOUS) before. Lives with the call. */
static inline struct caller *caller_of(struct tlx_call *call) {
  return tlx_call_data(call);
}
/* Ends what the identity has open, after its revocation was committed: its calls and streams with
 * |reason|, then its connections (GOAWAY and close). Whatever it tries next is refused by the store
 * anyway; nobody else's connection is touched. A call that was answered before keeps its answer:
 * who revokes himself replies first. */
void authn_end_identity(struct console *console, enum caller_kind kind, const char *name,
                        enum reason reason);
/* Ends the calls and streams of the operator |name| for which |role| is too low, after that became
 * its role: role_too_low. Connections, and what it may still do, stay. */
void authn_end_calls_above(struct console *console, const char *name, unsigned role);
/* Fills who asks and when, and the hash of method and request by which a retry is known; |reason|
 * and |request_id| may be NULL. Everything is copied. */
void authn_fill_actor(struct tlx_call *call, const char *reason, const char *request_id,
                      struct op_actor *ret_actor);
