// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/pb_scan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"
#include "rpc/limits.h"

#define PATH_MAX_LEN 128u

struct scan {
  struct tlx_status *status;
  unsigned n_elements;
};

/* Where we are: "guards.exe", "labels[3].key". */
struct path {
  const struct path *parent;
  const char *name;
  int index; /* -1 = not repeated */
};

static size_t format_path(const struct path *path, char *out, size_t size) {
  size_t at = path->parent ? format_path(path->parent, out, size) : 0;
  if (!path->name || at >= size) return at;
  int n = path->index < 0
              ? snprintf(out + at, size - at, "%s%s", at ? "." : "", path->name)
              : snprintf(out + at, size - at, "%s%s[%d]", at ? "." : "", path->name, path->index);
  return n < 0 ? at : at + (size_t)n < size ? at + (size_t)n : size - 1;
}

static int fail(struct scan *scan, const struct path *path, int err, const char *what) {
  char text[PATH_MAX_LEN] = "";
  format_path(path, text, sizeof text);
  tlx_status_add_violation(scan->status, *text ? text : "request", "%s", what);
  return err;
}

static uint8_t wire_type_of(ProtobufCType type) {
  switch (type) {
  case PROTOBUF_C_TYPE_SFIXED32:
  case PROTOBUF_C_TYPE_FIXED32:
  case PROTOBUF_C_TYPE_FLOAT:
    return 5;
  case PROTOBUF_C_TYPE_SFIXED64:
  case PROTOBUF_C_TYPE_FIXED64:
  case PROTOBUF_C_TYPE_DOUBLE:
    return 1;
  case PROTOBUF_C_TYPE_STRING:
  case PROTOBUF_C_TYPE_BYTES:
  case PROTOBUF_C_TYPE_MESSAGE:
    return 2;
  default:
    return 0;
  }
}

static int scan_message(struct scan *scan, const ProtobufCMessageDescriptor *descriptor,
                        struct tlx_bytes message, const struct path *path, unsigned depth);

/* Counts the elements of a packed field; each must be whole. */
static int scan_packed(struct scan *scan, uint8_t wire_type, struct tlx_bytes content,
                       const struct path *path) {
  struct tlx_reader reader;
  tlx_reader_init(&reader, content.data, content.len);
  while (!reader.err && tlx_reader_left(&reader)) {
    if (wire_type == 0)
      tlx_read_varint(&reader);
    else
      tlx_read_bytes(&reader, wire_type == 1 ? 8 : 4);
    if (++scan->n_elements > TLX_MESSAGE_ELEMENTS_MAX)
      return fail(scan, path, TLX_E_LIMIT, "too many elements");
  }
  return reader.err ? fail(scan, path, TLX_E_MALFORMED, "is cut short") : 0;
}

static int scan_content(struct scan *scan, const ProtobufCFieldDescriptor *field,
                        struct tlx_bytes content, const struct path *path, unsigned depth) {
  if (field->type == PROTOBUF_C_TYPE_MESSAGE)
    return scan_message(scan, field->descriptor, content, path, depth + 1);
  if (field->type != PROTOBUF_C_TYPE_STRING) return 0;
  if (content.len && memchr(content.data, 0, content.len))
    return fail(scan, path, TLX_E_MALFORMED, "contains a NUL character");
  if (!tlx_text_utf8_valid((const char *)content.data, content.len))
    return fail(scan, path, TLX_E_MALFORMED, "is not valid UTF-8");
  return 0;
}

/* A tag or a length. Both have 32 bits and are written in at most five bytes; a longer spelling is
 * refused by the library, so it must not pass here as sound. */
static uint64_t read_short_varint(struct tlx_reader *reader) {
  const uint8_t *start = reader->at;
  uint64_t value = tlx_read_varint(reader);
  if (!reader->err && reader->at - start > 5) reader->err = TLX_E_MALFORMED;
  return reader->err ? 0 : value;
}

/* Reads one value of |wire_type|; |ret_content| is set for length-delimited ones. */
static int skip_value(struct tlx_reader *reader, uint8_t wire_type, struct tlx_bytes *ret_content) {
  uint64_t len;
  switch (wire_type) {
  case 0:
    tlx_read_varint(reader);
    return reader->err;
  case 1:
    tlx_read_bytes(reader, 8);
    return reader->err;
  case 2:
    len = read_short_varint(reader);
    if (len > tlx_reader_left(reader)) return TLX_E_MALFORMED;
    ret_content->data = tlx_read_bytes(reader, (size_t)len);
    ret_content->len = (size_t)len;
    return reader->err;
  case 5:
    tlx_read_bytes(reader, 4);
    return reader->err;
  default:
    return TLX_E_MALFORMED; /* groups (3, 4) and what does not exist */
  }
}

static int scan_field(struct scan *scan, const ProtobufCMessageDescriptor *descriptor,
                      struct tlx_reader *reader, const struct path *parent, unsigned depth,
                      int *counts) {
  uint64_t tag = read_short_varint(reader);
  uint8_t wire_type = tag & 7;
  struct tlx_bytes content = {0};
  if (reader->err) return fail(scan, parent, TLX_E_MALFORMED, "is malformed or cut short");
  if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
    return fail(scan, parent, TLX_E_MALFORMED, "has an invalid field number");
  const ProtobufCFieldDescriptor *field =
      protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
  struct path path = {.parent = parent, .name = field ? field->name : NULL, .index = -1};
  if (skip_value(reader, wire_type, &content) != 0)
    return fail(scan, &path, TLX_E_MALFORMED, "is malformed or cut short");
  if (++scan->n_elements > TLX_MESSAGE_ELEMENTS_MAX)
    return fail(scan, &path, TLX_E_LIMIT, "too many elements");
  if (!field) return 0;
  uint8_t wanted = wire_type_of(field->type);
  if (field->label == PROTOBUF_C_LABEL_REPEATED)
    path.index = counts ? counts[field - descriptor->fields]++ : 0;
  if (wire_type == 2 && wanted != 2 && field->label == PROTOBUF_C_LABEL_REPEATED)
    return scan_packed(scan, wanted, content, &path);
  if (wire_type != wanted) return fail(scan, &path, TLX_E_MALFORMED, "has the wrong wire type");
  return wanted == 2 ? scan_content(scan, field, content, &path, depth) : 0;
}

static int scan_message(struct scan *scan, const ProtobufCMessageDescriptor *descriptor,
                        struct tlx_bytes message, const struct path *path, unsigned depth) {
  int counts[64] = {0};
  struct tlx_reader reader;
  if (depth > TLX_MESSAGE_DEPTH_MAX) return fail(scan, path, TLX_E_LIMIT, "is nested too deeply");
  tlx_reader_init(&reader, message.data, message.len);
  while (tlx_reader_left(&reader)) {
    int err = scan_field(scan, descriptor, &reader, path, depth,
                         descriptor->n_fields <= 64 ? counts : NULL);
    if (err) return err;
  }
  return 0;
}

int tlx_pb_scan(const ProtobufCMessageDescriptor *descriptor, struct tlx_bytes message,
                struct tlx_status *status) {
  struct scan scan = {.status = status};
  static const struct path root = {.index = -1};
  tlx_status_clear(status);
  return scan_message(&scan, descriptor, message, &root, 0);
}

static void *arena_alloc(void *arg, size_t len) {
  return tlx_arena_alloc(arg, len);
}
static void arena_free(void *arg, void *pointer) {
  /* The arena frees everything at once. */
}

int tlx_pb_unpack_trusted(const ProtobufCMessageDescriptor *descriptor, struct tlx_bytes message,
                          struct tlx_arena *arena, ProtobufCMessage **ret_message) {
  static const uint8_t nothing[1];
  ProtobufCAllocator allocator = {
      .alloc = arena_alloc, .free = arena_free, .allocator_data = arena};
  arena->refused = false;
  ProtobufCMessage *unpacked = protobuf_c_message_unpack(descriptor, &allocator, message.len,
                                                         message.data ? message.data : nothing);
  if (!unpacked) return arena->refused ? -ENOMEM : TLX_E_MALFORMED;
  *ret_message = unpacked;
  return 0;
}

int tlx_pb_unpack(const ProtobufCMessageDescriptor *descriptor, struct tlx_bytes message,
                  struct tlx_arena *arena, ProtobufCMessage **ret_message,
                  struct tlx_status *status) {
  int err = tlx_pb_scan(descriptor, message, status);
  if (err) return err;
  err = tlx_pb_unpack_trusted(descriptor, message, arena, ret_message);
  if (err == -ENOMEM)
    tlx_status_set(status, TLX_GRPC_RESOURCE_EXHAUSTED, "message_too_large",
                   "the message takes too much memory unpacked");
  else if (err)
    tlx_status_add_violation(status, "request", "is not a valid %s", descriptor->name);
  return err;
}

void tlx_pb_pack(const ProtobufCMessage *message, struct tlx_buf *buf) {
  size_t len = protobuf_c_message_get_packed_size(message);
  uint8_t *out = tlx_buf_reserve(buf, len ? len : 1);
  if (out) buf->len += protobuf_c_message_pack(message, out);
}
