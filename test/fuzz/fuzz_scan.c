// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages of a peer (rpc/pb_scan.h, rpc/pb_json.h): what the scan lets through unpacks, holds only
 * sound text, packs to something that passes again, and has a JSON form. The first byte picks the
 * message, the second the memory it may take; the rest is the packed message. */
#include <errno.h>
#include <jansson.h>

#include "common/err.h"
#include "common/text.h"
#include "fuzz.h"
#include "google/rpc/error_details.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "rpc/limits.h"
#include "rpc/pb_json.h"
#include "rpc/pb_scan.h"
#include "telovix/v1/audit.pb-c.h"
#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/fleet.pb-c.h"
#include "telovix/v1/operator.pb-c.h"
#include "telovix/v1/sensor.pb-c.h"
#include "telovix/v1/token.pb-c.h"

/* Append only: the corpus picks by number. */
static const ProtobufCMessageDescriptor *const messages[] = {
    &telovix__v1__heartbeat_request__descriptor,
    &telovix__v1__heartbeat_reply__descriptor,
    &telovix__v1__enroll_request__descriptor,
    &telovix__v1__enroll_reply__descriptor,
    &telovix__v1__kill_process_request__descriptor,
    &telovix__v1__kill_order__descriptor,
    &telovix__v1__list_sensors_request__descriptor,
    &telovix__v1__fleet_event__descriptor,
    &telovix__v1__create_enrollment_token_request__descriptor,
    &telovix__v1__list_enrollment_tokens_reply__descriptor,
    &telovix__v1__list_audit_request__descriptor,
    &telovix__v1__list_audit_reply__descriptor,
    &telovix__v1__who_am_ireply__descriptor,
    &grpc__reflection__v1__server_reflection_request__descriptor,
    &grpc__reflection__v1__server_reflection_response__descriptor,
    &google__rpc__bad_request__descriptor,
};

/* Every text in |message| and below is UTF-8; a NUL would have cut it short. */
static size_t look_at_message(const ProtobufCMessage *message, unsigned depth);

static size_t look_at_value(const ProtobufCFieldDescriptor *field, const void *at, unsigned depth) {
  if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
    const ProtobufCMessage *inner = *(ProtobufCMessage *const *)at;
    return inner ? look_at_message(inner, depth + 1) : 0;
  }
  if (field->type != PROTOBUF_C_TYPE_STRING) return 0;
  const char *text = *(char *const *)at;
  must(text && tlx_text_utf8_valid(text, strlen(text)));
  return strlen(text);
}

static size_t look_at_message(const ProtobufCMessage *message, unsigned depth) {
  size_t text_len = 0;
  must(depth <= TLX_MESSAGE_DEPTH_MAX);
  for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
    const char *base = (const char *)message, *at = base + field->offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
      size_t n = *(const size_t *)(base + field->quantifier_offset);
      must(n <= TLX_MESSAGE_ELEMENTS_MAX);
      if (field->type != PROTOBUF_C_TYPE_MESSAGE && field->type != PROTOBUF_C_TYPE_STRING) continue;
      for (size_t k = 0; k < n; k++)
        text_len += look_at_value(field, *(char *const *)at + k * sizeof(void *), depth);
    } else if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
               *(const uint32_t *)(base + field->quantifier_offset) == field->id) {
      text_len += look_at_value(field, at, depth);
    }
  }
  return text_len;
}

/* ---- JSON ---- */

/* Timestamps and Durations have text forms with ranges (protobuf.dev "ProtoJSON"). */
static void look_at_times(const ProtobufCMessage *message, const json_t *json);

static void look_at_time_value(const ProtobufCMessage *inner, const json_t *json) {
  uint64_t wall_ms;
  const char *name = inner->descriptor->name;
  if (strcmp(name, "google.protobuf.Timestamp") == 0) {
    const Google__Protobuf__Timestamp *time = (const void *)inner;
    must(tlx_time_parse(json_string_value(json), &wall_ms) == 0);
    if (time->seconds >= 0 && time->seconds <= 253402300799 && time->nanos >= 0 &&
        time->nanos <= 999999999)
      must(wall_ms == (uint64_t)time->seconds * 1000 + (uint64_t)time->nanos / 1000000);
  } else if (strcmp(name, "google.protobuf.Duration") == 0) {
    const char *text = json_string_value(json);
    size_t len = strlen(text);
    must(len > 1 && text[len - 1] == 's');
    must(strspn(text + (*text == '-'), "0123456789.") == len - 1 - (*text == '-'));
  } else {
    look_at_times(inner, json);
  }
}

static void look_at_times(const ProtobufCMessage *message, const json_t *json) {
  must(json_is_object(json));
  for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
    char key[64], *out = key;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE || field->label == PROTOBUF_C_LABEL_REPEATED ||
        (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
      continue;
    const ProtobufCMessage *inner =
        *(ProtobufCMessage *const *)((const char *)message + field->offset);
    if (!inner) continue;
    for (const char *c = field->name; *c; c++)
      *out++ = *c == '_' ? (char)(*++c - 'a' + 'A') : *c;
    *out = '\0';
    must(json_object_get(json, key));
    look_at_time_value(inner, json_object_get(json, key));
  }
}

static void look_at_json(const ProtobufCMessage *message) {
  json_error_t error;
  char *line = tlx_pb_json_line(message);
  must(line && !strpbrk(line, "\n\r"));
  json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, &error);
  must(json_is_object(json));
  look_at_times(message, json);
  json_decref(json);
  free(line);
}

/* ---- one message ---- */

static void look_at_accepted(const ProtobufCMessageDescriptor *descriptor,
                             const ProtobufCMessage *message, size_t packed_len) {
  struct tlx_buf packed = {0}, again = {0};
  struct tlx_status status;
  struct tlx_arena arena;
  ProtobufCMessage *second;
  must(look_at_message(message, 0) <= packed_len);
  look_at_json(message);
  tlx_pb_pack(message, &packed);
  must(!packed.err);
  struct tlx_bytes bytes = {packed.data, packed.len};
  tlx_arena_init(&arena, 2 * TLX_ARENA_MAX);
  must(tlx_pb_unpack(descriptor, bytes, &arena, &second, &status) == 0);
  tlx_pb_pack(second, &again);
  must(bytes_equal(bytes, (struct tlx_bytes){again.data, again.len}));
  tlx_arena_done(&arena);
  tlx_buf_done(&packed);
  tlx_buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  const ProtobufCMessageDescriptor *descriptor =
      messages[input_u8(&input) % (sizeof messages / sizeof *messages)];
  /* Mostly as much as in the servers, sometimes too little. */
  uint8_t memory = input_u8(&input);
  size_t cap = memory & 0x80 ? (size_t)(memory & 0x7f) * 64 : TLX_ARENA_MAX;
  uint8_t *copy = exact_copy((struct tlx_bytes){input.at, input.left});
  struct tlx_bytes bytes = {copy, input.left};
  struct tlx_status status, scanned_status;
  struct tlx_arena arena;
  ProtobufCMessage *message = NULL;
  tlx_arena_init(&arena, cap);
  int scanned = tlx_pb_scan(descriptor, bytes, &scanned_status);
  int err = tlx_pb_unpack(descriptor, bytes, &arena, &message, &status);
  must(arena.used <= cap);
  if (scanned) {
    must(scanned == TLX_E_MALFORMED || scanned == TLX_E_LIMIT);
    must(err == scanned && !message);
    must(scanned_status.code == TLX_GRPC_INVALID_ARGUMENT && scanned_status.n_violations == 1);
    must(*scanned_status.violations[0].field && *scanned_status.violations[0].description);
  } else if (err) {
    /* What the scan accepts unpacks, or its memory is used up. */
    must(err == -ENOMEM && arena.refused && !message);
    must(status.code == TLX_GRPC_RESOURCE_EXHAUSTED);
  } else {
    must(message && status.code == TLX_GRPC_OK);
    look_at_accepted(descriptor, message, bytes.len);
  }
  tlx_arena_done(&arena);
  free(copy);
  return 0;
}
