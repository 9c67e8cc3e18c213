// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/grpc.h"

#include <errno.h>
#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/err.h"
#include "common/text.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"

#define HEAD_LEN 5u
#define TIMEOUT_MAX_MS (99999999ull * 3600 * 1000)
#define DETAILS_MAX (16u << 10)
#define ERROR_INFO "type.googleapis.com/google.rpc.ErrorInfo"
#define BAD_REQUEST "type.googleapis.com/google.rpc.BadRequest"

/* ---- framing ---- */

void tlx_frame_parser_init(struct tlx_frame_parser *parser, size_t max, bool encoding_identity) {
  *parser = (struct tlx_frame_parser){.max = max, .encoding_identity = encoding_identity};
  tlx_buf_init(&parser->message, max ? max : 1);
}

void tlx_frame_parser_done(struct tlx_frame_parser *parser) {
  if (!parser) return;
  tlx_buf_done(&parser->message);
}

static size_t announced_len(const struct tlx_frame_parser *parser) {
  const uint8_t *head = parser->head;
  return (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
}

/* Judges the five head bytes. */
static enum tlx_frame_event check_head(struct tlx_frame_parser *parser, struct tlx_status *status) {
  if (parser->head[0] == 1 && !parser->encoding_identity) {
    tlx_status_set(status, TLX_GRPC_UNIMPLEMENTED, "compression_unsupported",
                   "the message is compressed; this server accepts only identity");
    return TLX_FRAME_ERROR;
  }
  if (parser->head[0] == 1) {
    tlx_status_set(status, TLX_GRPC_INTERNAL, "frame_malformed",
                   "the message is marked as compressed, but no grpc-encoding says how");
    return TLX_FRAME_ERROR;
  }
  if (parser->head[0] != 0) {
    tlx_status_set(status, TLX_GRPC_INTERNAL, "frame_malformed", "unknown message flag %u",
                   parser->head[0]);
    return TLX_FRAME_ERROR;
  }
  if (announced_len(parser) > parser->max) {
    tlx_status_set(status, TLX_GRPC_RESOURCE_EXHAUSTED, "message_too_large",
                   "the message has %zu bytes; at most %zu are accepted", announced_len(parser),
                   parser->max);
    return TLX_FRAME_ERROR;
  }
  return TLX_FRAME_NEED_MORE;
}

enum tlx_frame_event tlx_frame_feed(struct tlx_frame_parser *parser, const uint8_t **data,
                                    size_t *len, struct tlx_bytes *ret_message,
                                    struct tlx_status *status) {
  /* The message handed out last is over. */
  if (parser->head_len == HEAD_LEN && parser->message.len == announced_len(parser)) {
    parser->head_len = 0;
    parser->message.len = 0;
  }
  if (parser->head_len < HEAD_LEN) {
    while (parser->head_len < HEAD_LEN && *len) {
      parser->head[parser->head_len++] = *(*data)++;
      --*len;
    }
    if (parser->head_len < HEAD_LEN) return TLX_FRAME_NEED_MORE;
    if (check_head(parser, status) == TLX_FRAME_ERROR) return TLX_FRAME_ERROR;
  }
  size_t missing = announced_len(parser) - parser->message.len, n = *len < missing ? *len : missing;
  tlx_buf_add(&parser->message, *data, n);
  if (parser->message.err) {
    tlx_status_set(status, TLX_GRPC_RESOURCE_EXHAUSTED, "out_of_memory",
                   "no memory for the message");
    return TLX_FRAME_ERROR;
  }
  *data += n;
  *len -= n;
  if (parser->message.len < announced_len(parser)) return TLX_FRAME_NEED_MORE;
  *ret_message = (struct tlx_bytes){parser->message.data, parser->message.len};
  return TLX_FRAME_MESSAGE;
}

bool tlx_frame_at_boundary(const struct tlx_frame_parser *parser) {
  return parser->head_len == 0 ||
         (parser->head_len == HEAD_LEN && parser->message.len == announced_len(parser));
}

void tlx_frame_head(uint8_t out[5], uint32_t message_len) {
  out[0] = 0;
  out[1] = (uint8_t)(message_len >> 24);
  out[2] = (uint8_t)(message_len >> 16);
  out[3] = (uint8_t)(message_len >> 8);
  out[4] = (uint8_t)message_len;
}

/* ---- grpc-timeout ---- */

int tlx_grpc_timeout_parse(const char *text, size_t len, uint64_t *ret_ms) {
  char digits[9];
  uint64_t value;
  if (len < 2 || len > 9 || memchr(text, '\0', len)) return TLX_E_MALFORMED;
  memcpy(digits, text, len - 1);
  digits[len - 1] = '\0';
  if (tlx_u64_parse(digits, UINT64_MAX, &value) != 0) return TLX_E_MALFORMED;
  switch (text[len - 1]) {
  case 'H':
    *ret_ms = value * 3600 * 1000;
    return 0;
  case 'M':
    *ret_ms = value * 60 * 1000;
    return 0;
  case 'S':
    *ret_ms = value * 1000;
    return 0;
  case 'm':
    *ret_ms = value;
    return 0;
  case 'u':
    *ret_ms = (value + 999) / 1000;
    return 0;
  case 'n':
    *ret_ms = (value + 999999) / 1000000;
    return 0;
  default:
    return TLX_E_MALFORMED;
  }
}

void tlx_grpc_timeout_format(uint64_t ms, char *out) {
  static const struct {
    uint64_t ms;
    char unit;
  } units[] = {{1, 'm'}, {1000, 'S'}, {60000, 'M'}, {3600000, 'H'}};
  if (ms > TIMEOUT_MAX_MS) ms = TIMEOUT_MAX_MS;
  /* The finest unit in which it fits eight digits; rounded up. */
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    uint64_t value = (ms + units[i].ms - 1) / units[i].ms;
    if (value > 99999999) continue;
    snprintf(out, 16, "%llu%c", (unsigned long long)value, units[i].unit);
    return;
  }
  strcpy(out, "99999999H");
}

/* ---- grpc-message ---- */

size_t tlx_grpc_message_encode(const char *text, char *out, size_t size) {
  size_t at = 0, character = 0; /* start of the character that is being written */
  if (size == 0) return 0;
  for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
    bool plain = *c >= 0x20 && *c <= 0x7e && *c != '%';
    if ((*c & 0xc0) != 0x80) character = at;
    if (at + (plain ? 1 : 3) + 1 > size) {
      at = character;
      break;
    }
    if (plain)
      out[at++] = (char)*c;
    else
      at += (size_t)snprintf(out + at, 4, "%%%02X", *c);
  }
  out[at] = '\0';
  return at;
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void tlx_grpc_message_decode(const char *text, size_t len, char *out, size_t size) {
  size_t at = 0;
  for (size_t i = 0; i < len && at + 1 < size; i++) {
    if (text[i] == '%' && i + 2 < len && hex_value(text[i + 1]) >= 0 &&
        hex_value(text[i + 2]) >= 0) {
      char decoded = (char)(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
      out[at++] = decoded ? decoded : ' '; /* a NUL would cut the text */
      i += 2;
    } else {
      out[at++] = text[i] ? text[i] : ' ';
    }
  }
  if (size == 0) return;
  out[at] = '\0';
  /* Others print it and put it into JSON. */
  tlx_text_utf8_repair(out);
}

/* ---- grpc-status-details-bin ---- */

static void pack_any(Google__Protobuf__Any *any, const char *type, const ProtobufCMessage *message,
                     struct tlx_buf *buf) {
  tlx_pb_pack(message, buf);
  google__protobuf__any__init(any);
  any->type_url = (char *)type;
  any->value.data = buf->data;
  any->value.len = buf->len;
}

static void pack_violations(const struct tlx_status *status, Google__Protobuf__Any *any,
                            struct tlx_buf *buf) {
  Google__Rpc__BadRequest message = GOOGLE__RPC__BAD_REQUEST__INIT;
  Google__Rpc__BadRequest__FieldViolation items[TLX_STATUS_VIOLATIONS_MAX],
      *list[TLX_STATUS_VIOLATIONS_MAX];
  for (unsigned i = 0; i < status->n_violations; i++) {
    google__rpc__bad_request__field_violation__init(&items[i]);
    items[i].field = (char *)status->violations[i].field;
    items[i].description = (char *)status->violations[i].description;
    list[i] = &items[i];
  }
  message.field_violations = list;
  message.n_field_violations = status->n_violations;
  pack_any(any, BAD_REQUEST, &message.base, buf);
}

static void pack_info(const struct tlx_status *status, Google__Protobuf__Any *any,
                      struct tlx_buf *buf) {
  Google__Rpc__ErrorInfo message = GOOGLE__RPC__ERROR_INFO__INIT;
  Google__Rpc__ErrorInfo__MetadataEntry items[TLX_STATUS_METADATA_MAX],
      *list[TLX_STATUS_METADATA_MAX];
  for (unsigned i = 0; i < status->n_metadata; i++) {
    google__rpc__error_info__metadata_entry__init(&items[i]);
    items[i].key = (char *)status->metadata[i].key;
    items[i].value = (char *)status->metadata[i].value;
    list[i] = &items[i];
  }
  message.reason = (char *)status->reason;
  message.domain = (char *)"telovix";
  message.metadata = list;
  message.n_metadata = status->n_metadata;
  pack_any(any, ERROR_INFO, &message.base, buf);
}

int tlx_grpc_details_format(const struct tlx_status *status, struct tlx_buf *buf) {
  Google__Rpc__Status message = GOOGLE__RPC__STATUS__INIT;
  Google__Protobuf__Any any[2], *list[2] = {&any[0], &any[1]};
  struct tlx_buf packed = {0}, parts[2] = {{0}, {0}};
  if (!*status->reason && status->n_violations == 0) return 0;
  message.code = (int32_t)status->code;
  message.message = (char *)status->message;
  message.details = list;
  if (status->n_violations) pack_violations(status, &any[message.n_details++], &parts[0]);
  if (*status->reason) pack_info(status, &any[message.n_details++], &parts[1]);
  tlx_pb_pack(&message.base, &packed);
  int err = packed.err ? packed.err : parts[0].err ? parts[0].err : parts[1].err;
  if (!err) {
    char *out = (char *)tlx_buf_reserve(buf, (packed.len * 4 + 2) / 3 + 1);
    if (out) buf->len += tlx_base64_format(packed.data, packed.len, out);
    err = buf->err;
  }
  tlx_buf_done(&packed);
  tlx_buf_done(&parts[0]);
  tlx_buf_done(&parts[1]);
  return err;
}

static int take_violations(struct tlx_bytes bytes, struct tlx_arena *arena,
                           struct tlx_status *status) {
  ProtobufCMessage *base;
  int err = tlx_pb_unpack_trusted(&google__rpc__bad_request__descriptor, bytes, arena, &base);
  if (err) return TLX_E_MALFORMED;
  const Google__Rpc__BadRequest *message = (const Google__Rpc__BadRequest *)base;
  for (size_t i = 0;
       i < message->n_field_violations && status->n_violations < TLX_STATUS_VIOLATIONS_MAX; i++) {
    unsigned n = status->n_violations++;
    snprintf(status->violations[n].field, sizeof status->violations->field, "%s",
             message->field_violations[i]->field);
    snprintf(status->violations[n].description, sizeof status->violations->description, "%s",
             message->field_violations[i]->description);
    tlx_text_utf8_repair(status->violations[n].field);
    tlx_text_utf8_repair(status->violations[n].description);
  }
  return 0;
}

static int take_info(struct tlx_bytes bytes, struct tlx_arena *arena, struct tlx_status *status) {
  ProtobufCMessage *base;
  int err = tlx_pb_unpack_trusted(&google__rpc__error_info__descriptor, bytes, arena, &base);
  if (err) return TLX_E_MALFORMED;
  const Google__Rpc__ErrorInfo *message = (const Google__Rpc__ErrorInfo *)base;
  snprintf(status->reason, sizeof status->reason, "%s", message->reason);
  tlx_text_utf8_repair(status->reason);
  for (size_t i = 0; i < message->n_metadata; i++)
    tlx_status_add_metadata(status, message->metadata[i]->key, message->metadata[i]->value);
  return 0;
}

int tlx_grpc_details_parse(const char *base64, size_t len, struct tlx_status *status) {
  struct tlx_status filled = *status;
  struct tlx_arena arena;
  ProtobufCMessage *base;
  size_t n = 0;
  if (len > DETAILS_MAX) return TLX_E_MALFORMED;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  uint8_t *data = tlx_arena_alloc(&arena, len + 1);
  int err = data ? tlx_base64_parse(base64, len, data, len + 1, &n) : -ENOMEM;
  if (!err)
    err = tlx_pb_unpack_trusted(&google__rpc__status__descriptor, (struct tlx_bytes){data, n},
                                &arena, &base);
  if (!err) {
    const Google__Rpc__Status *message = (const Google__Rpc__Status *)base;
    for (size_t i = 0; !err && i < message->n_details; i++) {
      struct tlx_bytes value = {message->details[i]->value.data, message->details[i]->value.len};
      if (strcmp(message->details[i]->type_url, BAD_REQUEST) == 0)
        err = take_violations(value, &arena, &filled);
      if (strcmp(message->details[i]->type_url, ERROR_INFO) == 0)
        err = take_info(value, &arena, &filled);
    }
  }
  tlx_arena_done(&arena);
  if (err) return TLX_E_MALFORMED;
  *status = filled;
  return 0;
}

/* ---- mapping ---- */

enum tlx_grpc_code tlx_grpc_code_from_http(int http_status) {
  switch (http_status) {
  case 400:
    return TLX_GRPC_INTERNAL;
  case 401:
    return TLX_GRPC_UNAUTHENTICATED;
  case 403:
    return TLX_GRPC_PERMISSION_DENIED;
  case 404:
    return TLX_GRPC_UNIMPLEMENTED;
  case 429:
  case 502:
  case 503:
  case 504:
    return TLX_GRPC_UNAVAILABLE;
  default:
    return TLX_GRPC_UNKNOWN;
  }
}

enum tlx_grpc_code tlx_grpc_code_from_h2(uint32_t h2_error) {
  switch (h2_error) {
  case 7: /* REFUSED_STREAM */
    return TLX_GRPC_UNAVAILABLE;
  case 8: /* CANCEL */
    return TLX_GRPC_CANCELLED;
  case 11: /* ENHANCE_YOUR_CALM */
    return TLX_GRPC_RESOURCE_EXHAUSTED;
  case 12: /* INADEQUATE_SECURITY */
    return TLX_GRPC_PERMISSION_DENIED;
  default:
    return TLX_GRPC_INTERNAL;
  }
}

bool tlx_grpc_content_type_valid(const char *text, size_t len) {
  static const char base[] = "application/grpc", proto[] = "+proto";
  size_t at = sizeof base - 1;
  if (len < at || strncasecmp(text, base, at) != 0) return false;
  if (len - at >= sizeof proto - 1 && strncasecmp(text + at, proto, sizeof proto - 1) == 0)
    at += sizeof proto - 1;
  /* Optional white space, then parameters or the end. */
  while (at < len && (text[at] == ' ' || text[at] == '\t'))
    at++;
  return at == len || text[at] == ';';
}
