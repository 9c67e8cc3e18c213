// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

/* The protobuf JSON form of a message, by descriptor (protobuf.dev "ProtoJSON"): lowerCamelCase,
 * 64-bit numbers as strings, enums by name, bytes as base64, Timestamp and Duration as text, maps
 * as objects, fields without presence always printed; absent messages left out. */

/* New reference, owned by the caller; NULL when out of memory. */
json_t *tlx_pb_json(const ProtobufCMessage *message);
/* One line, compact, order of the fields kept; heap, the caller frees; NULL when out of memory. */
char *tlx_pb_json_line(const ProtobufCMessage *message);
