// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#include "common/arena.h"
#include "common/bytes.h"
#include "rpc/status.h"

/* Checks a raw protobuf message against its descriptor before it is unpacked, because the C library
 * accepts NUL and invalid UTF-8 in strings, cuts silently, and amplifies empty sub-messages. */

/* 0; or TLX_E_MALFORMED / TLX_E_LIMIT with |status| INVALID_ARGUMENT naming the field path (a
 * violation with the path where one is known; "request" otherwise). Unknown fields are skipped.
 * |status| is cleared first. */
int tlx_pb_scan(const ProtobufCMessageDescriptor *descriptor, struct tlx_bytes message,
                struct tlx_status *status);
/* Scans, then unpacks into |arena| (capped; the message lives as long as the arena). 0 with
 * |*ret_message|; else |status| is INVALID_ARGUMENT, or RESOURCE_EXHAUSTED when the arena refused.
 */
int tlx_pb_unpack(const ProtobufCMessageDescriptor *descriptor, struct tlx_bytes message,
                  struct tlx_arena *arena, ProtobufCMessage **ret_message,
                  struct tlx_status *status);
/* Unpacks bytes that need no scan (our own disk, our own packing) into |arena|. 0, TLX_E_MALFORMED,
 * or -ENOMEM when the arena refused. */
int tlx_pb_unpack_trusted(const ProtobufCMessageDescriptor *descriptor, struct tlx_bytes message,
                          struct tlx_arena *arena, ProtobufCMessage **ret_message);
/* Appends the packed message. A failure sticks in |buf|->err. */
void tlx_pb_pack(const ProtobufCMessage *message, struct tlx_buf *buf);
