// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
/* Error codes. Every function that can fail returns 0 or a negative code: a negative errno, or one
 * of our own below -1000. Enum, names and texts come from this one list. */

#define TLX_ERR_MAP(X)                                                                             \
  X(MALFORMED, -1001, "the bytes do not have the expected form")                                   \
  X(TOO_LARGE, -1002, "the data is larger than its limit")                                         \
  X(LIMIT, -1003, "a limit is reached")                                                            \
  X(CORRUPT, -1004, "stored data does not match its checksum or index")                            \
  X(SCHEMA_NEWER, -1005, "the data was written by a newer version")                                \
  X(SCHEMA_OLDER, -1006, "the data was written by an older version and needs migration")           \
  X(LOCKED, -1007, "another process uses it")                                                      \
  X(EXISTS, -1008, "it exists already")                                                            \
  X(NOT_FOUND, -1009, "it does not exist")                                                         \
  X(CONFLICT, -1010, "its present state does not allow this")                                      \
  X(TLS, -1011, "TLS failed")                                                                      \
  X(TLS_ALPN, -1012, "the peer does not speak HTTP/2 (ALPN h2)")                                   \
  X(CERT_UNTRUSTED, -1013, "the certificate does not chain to the fleet CA")                       \
  X(CERT_EXPIRED, -1014, "the certificate is expired")                                             \
  X(CERT_NOT_YET_VALID, -1015, "the certificate is not yet valid")                                 \
  X(CERT_PURPOSE, -1016, "the certificate is not made for this use")                               \
  X(CERT_IDENTITY, -1017, "the certificate names another identity")                                \
  X(CERT_PIN, -1018, "no CA certificate in the peer's chain has the pinned key")                   \
  X(KEY_MISMATCH, -1019, "the private key does not belong to the certificate")                     \
  X(PROTOCOL, -1020, "the peer broke the protocol")                                                \
  X(CLOSED, -1021, "the connection is closed")                                                     \
  X(CRYPTO, -1022, "a cryptographic operation failed")                                             \
  X(MODE, -1023, "the file's owner or mode is too open")                                           \
  X(REPLAY, -1024, "the same request was answered before")                                         \
  X(REUSED, -1025, "the same request id came with another request")                                \
  X(CLOCK, -1026, "a clock cannot be read")

enum tlx_err {
#define X(name, number, text) TLX_E_##name = (number),
  TLX_ERR_MAP(X)
#undef X
};

/* Short name of |err| ("ENOENT", "TLX_E_CORRUPT"); "UNKNOWN" for others. Static storage; any
 * thread. |err| may have either sign. */
const char *tlx_err_name(int err);

/* Sentence for |err|, lower case, without a final stop: ours from the list, the C library's for an
 * errno. |err| may have either sign. Lives for the process; any thread. */
const char *tlx_err_text(int err);
