// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/pb_scan.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "rpc/limits.h"
#include "telovix/v1/containment.pb-c.h"
#include "telovix/v1/sensor.pb-c.h"

static const ProtobufCMessageDescriptor *const kill =
    &telovix__v1__kill_process_request__descriptor;
static const ProtobufCMessageDescriptor *const beat = &telovix__v1__heartbeat_request__descriptor;

Test(pb_scan, table) {
  static const struct {
    const char *name;
    const char *data;
    size_t len;
    int err;
    const char *field;
  } cases[] = {
      {"empty", "", 0, 0, ""},
      {"sensor",
       "\x0a\x01"
       "a",
       3, 0, ""},
      {"unknown field", "\xf8\x01\x05", 3, 0, ""},
      {"unknown bytes", "\xfa\x01\x02xy", 5, 0, ""},
      {"NUL",
       "\x0a\x03"
       "a\0b",
       5, TLX_E_MALFORMED, "sensor"},
      {"not UTF-8", "\x0a\x02\xc3\x28", 4, TLX_E_MALFORMED, "sensor"},
      {"cut short",
       "\x0a\x05"
       "a",
       3, TLX_E_MALFORMED, "sensor"},
      {"cut tag", "\xff", 1, TLX_E_MALFORMED, "request"},
      {"field 0", "\x02\x00", 2, TLX_E_MALFORMED, "request"},
      {"wrong wire type",
       "\x12\x01"
       "a",
       3, TLX_E_MALFORMED, "pid"},
      {"group", "\x0b", 1, TLX_E_MALFORMED, "sensor"},
      {"long varint", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, TLX_E_MALFORMED,
       "pid"},
      {"in a sub-message", "\x2a\x01\x0a", 3, TLX_E_MALFORMED, "life"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tlx_status status;
    tlx_status_clear(&status);
    int err = tlx_pb_scan(kill, (struct tlx_bytes){(const uint8_t *)cases[i].data, cases[i].len},
                          &status);
    cr_assert_eq(err, cases[i].err, "%s: %d", cases[i].name, err);
    if (!err) continue;
    cr_assert_eq(status.code, TLX_GRPC_INVALID_ARGUMENT);
    cr_assert(strncmp(status.violations[0].field, cases[i].field, strlen(cases[i].field)) == 0,
              "%s: %s", cases[i].name, status.violations[0].field);
  }
}

Test(pb_scan, path_names_the_element) {
  struct tlx_status status;
  tlx_status_clear(&status);
  /* kill_results[1].order_id with a NUL */
  static const char data[] = "\x32\x00\x32\x03\x0a\x01\x00";
  cr_assert_eq(
      tlx_pb_scan(beat, (struct tlx_bytes){(const uint8_t *)data, sizeof data - 1}, &status),
      TLX_E_MALFORMED);
  cr_assert_str_eq(status.violations[0].field, "kill_results[1].order_id");
}

Test(pb_scan, amplification_is_bounded) {
  size_t n = TLX_MESSAGE_ELEMENTS_MAX + 1, len = 2 * n;
  uint8_t *data = malloc(len);
  struct tlx_arena arena;
  struct tlx_status status;
  ProtobufCMessage *message;
  for (size_t i = 0; i < n; i++)
    memcpy(data + 2 * i, "\x32\x00", 2); /* empty kill_results */
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  cr_assert_eq(tlx_pb_unpack(beat, (struct tlx_bytes){data, len}, &arena, &message, &status),
               TLX_E_LIMIT);
  cr_assert_eq(status.code, TLX_GRPC_INVALID_ARGUMENT);
  /* Under the count, but over the memory. */
  struct tlx_arena small;
  tlx_arena_init(&small, 4096);
  cr_assert_eq(tlx_pb_unpack(beat, (struct tlx_bytes){data, 2000}, &small, &message, &status),
               -ENOMEM);
  cr_assert_eq(status.code, TLX_GRPC_RESOURCE_EXHAUSTED);
  tlx_arena_done(&small);
  tlx_arena_done(&arena);
  free(data);
}

Test(pb_scan, pack_and_unpack) {
  Telovix__V1__KillProcessRequest request = TELOVIX__V1__KILL_PROCESS_REQUEST__INIT;
  struct tlx_buf packed = {0};
  struct tlx_arena arena;
  struct tlx_status status;
  ProtobufCMessage *message;
  request.sensor = (char *)"web-1";
  request.pid = 4242;
  tlx_pb_pack(&request.base, &packed);
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  cr_assert_eq(
      tlx_pb_unpack(kill, (struct tlx_bytes){packed.data, packed.len}, &arena, &message, &status),
      0);
  cr_assert_str_eq(((Telovix__V1__KillProcessRequest *)message)->sensor, "web-1");
  cr_assert_eq(((Telovix__V1__KillProcessRequest *)message)->pid, 4242);
  cr_assert_eq(tlx_pb_unpack(kill, (struct tlx_bytes){NULL, 0}, &arena, &message, &status), 0);
  tlx_arena_done(&arena);
  tlx_buf_done(&packed);
}
