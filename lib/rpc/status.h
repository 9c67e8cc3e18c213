// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an API caller is told: gRPC code, stable reason, sentence, field violations. Fixed size,
 * filled by handlers, and on the client side filled from the wire. Codes: gRPC doc/statuscodes.md.
 */

#define TLX_GRPC_MAP(X)                                                                            \
  X(OK, 0)                                                                                         \
  X(CANCELLED, 1) X(UNKNOWN, 2) X(INVALID_ARGUMENT, 3) X(DEADLINE_EXCEEDED, 4) X(NOT_FOUND, 5)     \
      X(ALREADY_EXISTS, 6) X(PERMISSION_DENIED, 7) X(RESOURCE_EXHAUSTED, 8)                        \
          X(FAILED_PRECONDITION, 9) X(ABORTED, 10) X(OUT_OF_RANGE, 11) X(UNIMPLEMENTED, 12)        \
              X(INTERNAL, 13) X(UNAVAILABLE, 14) X(DATA_LOSS, 15) X(UNAUTHENTICATED, 16)

enum tlx_grpc_code {
#define X(name, number) TLX_GRPC_##name = (number),
  TLX_GRPC_MAP(X)
#undef X
};
/* "INVALID_ARGUMENT"; "UNKNOWN" for numbers out of range. Static storage. */
const char *tlx_grpc_code_name(int code);

#define TLX_STATUS_MESSAGE_MAX 512
#define TLX_STATUS_VIOLATIONS_MAX 8
#define TLX_STATUS_METADATA_MAX 4

/* One answer. Copied by value; owns nothing. */
struct tlx_status {
  enum tlx_grpc_code code;
  int http_status;                      /* 0 = 200; 401, 413, … where grpc.md names one */
  char reason[48];                      /* ErrorInfo.reason; empty = none */
  char message[TLX_STATUS_MESSAGE_MAX]; /* UTF-8 */
  struct {
    char field[64], description[192];
  } violations[TLX_STATUS_VIOLATIONS_MAX]; /* google.rpc.BadRequest */
  unsigned n_violations;
  struct {
    char key[32], value[128];
  } metadata[TLX_STATUS_METADATA_MAX]; /* ErrorInfo.metadata */
  unsigned n_metadata;
};

/* All OK and empty. */
void tlx_status_clear(struct tlx_status *status);
/* Sets code, reason (may be NULL) and a printf sentence, cut at a character boundary; clears the
 * rest. */
void tlx_status_set(struct tlx_status *status, enum tlx_grpc_code code, const char *reason,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Adds a field violation; the first one also makes status INVALID_ARGUMENT with reason
 * "invalid_argument" and a sentence "FIELD: DESCRIPTION". More than the maximum are dropped. */
void tlx_status_add_violation(struct tlx_status *status, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds ErrorInfo metadata; cut to size; more than the maximum are dropped. */
void tlx_status_add_metadata(struct tlx_status *status, const char *key, const char *value);
