// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/bytes.h"
#include "rpc/status.h"

/* The gRPC layer over HTTP/2 as pure functions: message framing, time-outs, status text and
 * details. Source: gRPC doc/PROTOCOL-HTTP2.md. No I/O. */

/* ---- framing: 1 byte flag, 4 bytes length, message ---- */
enum tlx_frame_event {
  TLX_FRAME_NEED_MORE, /* all input eaten, no message complete */
  TLX_FRAME_MESSAGE,   /* one message complete; call again with the rest */
  TLX_FRAME_ERROR,     /* status filled; the stream cannot go on */
};
struct tlx_frame_parser {
  struct tlx_buf message; /* of the message being read */
  uint8_t head[5];
  unsigned head_len;
  size_t max;             /* largest message */
  bool encoding_identity; /* the request's grpc-encoding was absent or identity */
};
/* Starts for messages of at most |max| bytes. Never fails. */
void tlx_frame_parser_init(struct tlx_frame_parser *parser, size_t max, bool encoding_identity);
/* Frees; the message handed out last is gone. An all-zero parser is fine. */
void tlx_frame_parser_done(struct tlx_frame_parser *parser);
/* Eats from |*data|/|*len| (both are moved on). With TLX_FRAME_MESSAGE |*ret_message| borrows the
 * message until the next call. With TLX_FRAME_ERROR |status| is what grpc.md §2 asks for:
 * RESOURCE_EXHAUSTED from the five head bytes with both numbers; UNIMPLEMENTED for compression;
 * INTERNAL for other flags. */
enum tlx_frame_event tlx_frame_feed(struct tlx_frame_parser *parser, const uint8_t **data,
                                    size_t *len, struct tlx_bytes *ret_message,
                                    struct tlx_status *status);
/* True when the peer may end the stream here (not inside a message). */
bool tlx_frame_at_boundary(const struct tlx_frame_parser *parser);
/* Five head bytes for an uncompressed message of |message_len| bytes. */
void tlx_frame_head(uint8_t out[5], uint32_t message_len);

/* ---- grpc-timeout ---- */
/* 1–8 digits and one of H M S m u n. 0 with milliseconds (rounded up, except that zero stays zero),
 * or TLX_E_MALFORMED. */
int tlx_grpc_timeout_parse(const char *text, size_t len, uint64_t *ret_ms);
/* Shortest form that is not shorter than |ms|. |out| of 16. */
void tlx_grpc_timeout_format(uint64_t ms, char *out);

/* ---- grpc-message ---- */
/* Percent-encodes only bytes < 0x20, > 0x7E and '%', upper-case hex; |text| is cut at a character
 * boundary so that the result fits |size| with NUL. Returns the length. */
size_t tlx_grpc_message_encode(const char *text, char *out, size_t size);
/* Undoes it; malformed sequences stay as they are. NUL-terminated UTF-8 whatever came, cut to |size|. */
void tlx_grpc_message_decode(const char *text, size_t len, char *out, size_t size);

/* ---- grpc-status-details-bin ---- */
/* Packs google.rpc.Status with BadRequest and ErrorInfo (domain "telovix") and appends unpadded
 * base64. Adds nothing when there are no details. 0 or a negative error. */
int tlx_grpc_details_format(const struct tlx_status *status, struct tlx_buf *buf);
/* Fills violations, reason and metadata from a base64 value; code and message stay. 0 or
 * TLX_E_MALFORMED (and then nothing is filled). */
int tlx_grpc_details_parse(const char *base64, size_t len, struct tlx_status *status);

/* gRPC code for a reply without grpc-status (gRPC doc/http-grpc-status-mapping.md). */
enum tlx_grpc_code tlx_grpc_code_from_http(int http_status);
/* gRPC code for the error of a RST_STREAM (gRPC doc/PROTOCOL-HTTP2.md, "Errors"). */
enum tlx_grpc_code tlx_grpc_code_from_h2(uint32_t h2_error);
/* Whether |text| is application/grpc or application/grpc+proto, each with optional ;parameters. */
bool tlx_grpc_content_type_valid(const char *text, size_t len);
