// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/pb_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/text.h"

/* One recursion over the descriptor; NULL of anything inside makes the whole NULL. */

static json_t *message_json(const ProtobufCMessage *message);

/* ---- scalars ---- */

static json_t *double_json(double value) {
  if (isnan(value)) return json_string("NaN");
  if (isinf(value)) return json_string(value > 0 ? "Infinity" : "-Infinity");
  return json_real(value);
}

static json_t *bytes_json(const ProtobufCBinaryData *bytes) {
  size_t size = (bytes->len + 2) / 3 * 4 + 1;
  char *text TLX_AUTOFREE = malloc(size);
  if (!text) return NULL;
  /* JSON's form is padded, that of gRPC headers is not. */
  size_t len = tlx_base64_format(bytes->data, bytes->len, text);
  while (len % 4)
    text[len++] = '=';
  return json_stringn(text, len);
}

static json_t *enum_json(const ProtobufCEnumDescriptor *descriptor, int value) {
  const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(descriptor, value);
  return found ? json_string(found->name) : json_integer(value);
}

static json_t *value_json(const ProtobufCFieldDescriptor *field, const void *at) {
  switch (field->type) {
  case PROTOBUF_C_TYPE_INT32:
  case PROTOBUF_C_TYPE_SINT32:
  case PROTOBUF_C_TYPE_SFIXED32:
    return json_integer(*(const int32_t *)at);
  case PROTOBUF_C_TYPE_UINT32:
  case PROTOBUF_C_TYPE_FIXED32:
    return json_integer(*(const uint32_t *)at);
  case PROTOBUF_C_TYPE_INT64:
  case PROTOBUF_C_TYPE_SINT64:
  case PROTOBUF_C_TYPE_SFIXED64:
    return json_sprintf("%" PRId64, *(const int64_t *)at);
  case PROTOBUF_C_TYPE_UINT64:
  case PROTOBUF_C_TYPE_FIXED64:
    return json_sprintf("%" PRIu64, *(const uint64_t *)at);
  case PROTOBUF_C_TYPE_FLOAT:
    return double_json(*(const float *)at);
  case PROTOBUF_C_TYPE_DOUBLE:
    return double_json(*(const double *)at);
  case PROTOBUF_C_TYPE_BOOL:
    return json_boolean(*(const protobuf_c_boolean *)at);
  case PROTOBUF_C_TYPE_ENUM:
    return enum_json(field->descriptor, *(const int *)at);
  case PROTOBUF_C_TYPE_STRING:
    return json_string(*(char *const *)at ? *(char *const *)at : "");
  case PROTOBUF_C_TYPE_BYTES:
    return bytes_json(at);
  case PROTOBUF_C_TYPE_MESSAGE:
    return message_json(*(ProtobufCMessage *const *)at);
  }
  return NULL;
}

static size_t value_size(ProtobufCType type) {
  switch (type) {
  case PROTOBUF_C_TYPE_INT64:
  case PROTOBUF_C_TYPE_SINT64:
  case PROTOBUF_C_TYPE_SFIXED64:
  case PROTOBUF_C_TYPE_UINT64:
  case PROTOBUF_C_TYPE_FIXED64:
  case PROTOBUF_C_TYPE_DOUBLE:
    return 8;
  case PROTOBUF_C_TYPE_BOOL:
    return sizeof(protobuf_c_boolean);
  case PROTOBUF_C_TYPE_STRING:
  case PROTOBUF_C_TYPE_MESSAGE:
    return sizeof(void *);
  case PROTOBUF_C_TYPE_BYTES:
    return sizeof(ProtobufCBinaryData);
  default:
    return 4;
  }
}

/* ---- lists and maps ---- */

/* A map field comes as a list of messages "…Entry" with the fields key and value. */
static bool is_map(const ProtobufCFieldDescriptor *field) {
  if (field->type != PROTOBUF_C_TYPE_MESSAGE) return false;
  const ProtobufCMessageDescriptor *entry = field->descriptor;
  size_t len = strlen(entry->short_name);
  return entry->n_fields == 2 && len > 5 && strcmp(entry->short_name + len - 5, "Entry") == 0 &&
         strcmp(entry->fields[0].name, "key") == 0 && strcmp(entry->fields[1].name, "value") == 0;
}

static json_t *map_json(ProtobufCMessage *const *entries, size_t n) {
  json_t *object = json_object();
  for (size_t i = 0; object && i < n; i++) {
    const ProtobufCMessageDescriptor *entry = entries[i]->descriptor;
    json_t *key = value_json(&entry->fields[0], (const char *)entries[i] + entry->fields[0].offset);
    json_t *value =
        value_json(&entry->fields[1], (const char *)entries[i] + entry->fields[1].offset);
    char *text TLX_AUTOFREE =
        json_is_string(key) ? strdup(json_string_value(key)) : json_dumps(key, JSON_ENCODE_ANY);
    json_decref(key);
    if (!text || json_object_set_new(object, text, value) != 0) {
      json_decref(object);
      object = NULL;
    }
  }
  return object;
}

static json_t *list_json(const ProtobufCFieldDescriptor *field, const char *values, size_t n) {
  json_t *list = json_array();
  for (size_t i = 0; list && i < n; i++)
    if (json_array_append_new(list, value_json(field, values + i * value_size(field->type))) != 0) {
      json_decref(list);
      list = NULL;
    }
  return list;
}

/* ---- well-known types ---- */

static int64_t seconds_of(const ProtobufCMessage *message) {
  const ProtobufCFieldDescriptor *field = &message->descriptor->fields[0];
  return *(const int64_t *)((const char *)message + field->offset);
}

static int32_t nanos_of(const ProtobufCMessage *message) {
  const ProtobufCFieldDescriptor *field = &message->descriptor->fields[1];
  return *(const int32_t *)((const char *)message + field->offset);
}

#define TIMESTAMP_SECONDS_MAX 253402300799 /* the end of the year 9999 */

static json_t *timestamp_json(const ProtobufCMessage *message) {
  char text[TLX_TIME_TEXT_MAX];
  int64_t seconds = seconds_of(message);
  int32_t nanos = nanos_of(message);
  /* What the type does not allow becomes the nearest time that the text can say. */
  if (seconds < 0) seconds = nanos = 0;
  if (seconds > TIMESTAMP_SECONDS_MAX) seconds = TIMESTAMP_SECONDS_MAX, nanos = 999999999;
  if (nanos < 0) nanos = 0;
  if (nanos > 999999999) nanos = 999999999;
  tlx_time_format((uint64_t)seconds * 1000 + (uint64_t)nanos / 1000000, text);
  return json_string(text);
}

static json_t *duration_json(const ProtobufCMessage *message) {
  int64_t seconds = seconds_of(message);
  int32_t nanos = nanos_of(message);
  const char *sign = seconds < 0 || nanos < 0 ? "-" : "";
  /* Negated as unsigned: the least numbers have no positive counterpart. */
  uint64_t whole = seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds;
  uint32_t part = nanos < 0 ? 0 - (uint32_t)nanos : (uint32_t)nanos;
  whole += part / 1000000000;
  part %= 1000000000;
  /* Three, six or nine digits, as the form has it. */
  if (part == 0) return json_sprintf("%s%" PRIu64 "s", sign, whole);
  if (part % 1000000 == 0) return json_sprintf("%s%" PRIu64 ".%03us", sign, whole, part / 1000000);
  if (part % 1000 == 0) return json_sprintf("%s%" PRIu64 ".%06us", sign, whole, part / 1000);
  return json_sprintf("%s%" PRIu64 ".%09us", sign, whole, part);
}

/* ---- messages ---- */

static void camel_case(const char *name, char *out, size_t size) {
  size_t n = 0;
  bool upper = false;
  for (; *name && n + 1 < size; name++) {
    if (*name == '_') {
      upper = true;
      continue;
    }
    out[n++] = (char)(upper && *name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name);
    upper = false;
  }
  out[n] = '\0';
}

/* The field's value, or NULL with |*ret_absent| when it is not to be printed. */
static json_t *field_json(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          bool *ret_absent) {
  const char *base = (const char *)message, *at = base + field->offset;
  *ret_absent = false;
  if (field->label == PROTOBUF_C_LABEL_REPEATED) {
    size_t n = *(const size_t *)(base + field->quantifier_offset);
    void *values = *(void *const *)at;
    return is_map(field) ? map_json(values, n) : list_json(field, values, n);
  }
  if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
    *ret_absent = *(const uint32_t *)(base + field->quantifier_offset) != field->id;
  else if (field->type == PROTOBUF_C_TYPE_MESSAGE)
    *ret_absent = *(ProtobufCMessage *const *)at == NULL;
  return *ret_absent ? NULL : value_json(field, at);
}

static json_t *message_json(const ProtobufCMessage *message) {
  const ProtobufCMessageDescriptor *descriptor = message->descriptor;
  char name[128];
  if (strcmp(descriptor->name, "google.protobuf.Timestamp") == 0) return timestamp_json(message);
  if (strcmp(descriptor->name, "google.protobuf.Duration") == 0) return duration_json(message);
  json_t *object = json_object();
  for (unsigned i = 0; object && i < descriptor->n_fields; i++) {
    const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
    bool absent;
    json_t *value = field_json(message, field, &absent);
    if (absent) continue;
    camel_case(field->name, name, sizeof name);
    if (json_object_set_new(object, name, value) != 0) {
      json_decref(object);
      object = NULL;
    }
  }
  return object;
}

json_t *tlx_pb_json(const ProtobufCMessage *message) {
  return message_json(message);
}

char *tlx_pb_json_line(const ProtobufCMessage *message) {
  json_t *json = message_json(message);
  char *line = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
  json_decref(json);
  return line;
}
