// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/grpc.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/err.h"

/* ---- framing ---- */

static enum tlx_frame_event feed(const char *bytes, size_t len, size_t max, bool identity,
                                 size_t step, struct tlx_status *status, size_t *ret_messages) {
  struct tlx_frame_parser parser;
  enum tlx_frame_event event = TLX_FRAME_NEED_MORE;
  tlx_frame_parser_init(&parser, max, identity);
  *ret_messages = 0;
  for (size_t at = 0; at < len && event != TLX_FRAME_ERROR; at += step) {
    const uint8_t *data = (const uint8_t *)bytes + at;
    size_t left = len - at < step ? len - at : step;
    struct tlx_bytes message;
    do {
      event = tlx_frame_feed(&parser, &data, &left, &message, status);
      if (event == TLX_FRAME_MESSAGE) ++*ret_messages;
    } while (event == TLX_FRAME_MESSAGE && left);
  }
  if (event != TLX_FRAME_ERROR && !tlx_frame_at_boundary(&parser)) event = TLX_FRAME_NEED_MORE;
  tlx_frame_parser_done(&parser);
  return event;
}

Test(grpc, frames_at_any_split) {
  static const char two[] = "\0\0\0\0\3abc\0\0\0\0\0";
  struct tlx_status status;
  size_t n;
  for (size_t step = 1; step < sizeof two; step++) {
    cr_assert_eq(feed(two, sizeof two - 1, 3, true, step, &status, &n), TLX_FRAME_MESSAGE);
    cr_assert_eq(n, 2, "step %zu", step);
  }
}

Test(grpc, frame_errors) {
  static const struct {
    const char *head;
    bool identity;
    enum tlx_grpc_code code;
  } cases[] = {{"\1\0\0\0\0", true, TLX_GRPC_INTERNAL},
               {"\1\0\0\0\0", false, TLX_GRPC_UNIMPLEMENTED},
               {"\2\0\0\0\0", true, TLX_GRPC_INTERNAL},
               {"\0\0\0\0\4", true, TLX_GRPC_RESOURCE_EXHAUSTED},
               {"\0\xff\xff\xff\xff", true, TLX_GRPC_RESOURCE_EXHAUSTED}};
  struct tlx_status status;
  size_t n;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    cr_assert_eq(feed(cases[i].head, 5, 3, cases[i].identity, 5, &status, &n), TLX_FRAME_ERROR);
    cr_assert_eq(status.code, cases[i].code, "case %zu", i);
  }
  cr_assert(strstr(status.message, "4294967295") && strstr(status.message, "3"), "both numbers");
  cr_assert_eq(feed("\0\0\0\0\3ab", 7, 3, true, 7, &status, &n), TLX_FRAME_NEED_MORE);
}

/* ---- grpc-timeout ---- */

Test(grpc, timeouts) {
  static const struct {
    const char *text;
    uint64_t ms;
  } good[] = {{"5S", 5000},  {"301m", 301}, {"4995910u", 4996},
              {"0m", 0},     {"1n", 1},     {"99999999H", 99999999ull * 3600000},
              {"2M", 120000}};
  static const char *const bad[] = {"",    "5",   "S",   "5x",   "123456789S",
                                    "-1S", "+1S", " 1S", "1.5S", "1 S"};
  uint64_t ms;
  char out[16];
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    cr_assert_eq(tlx_grpc_timeout_parse(good[i].text, strlen(good[i].text), &ms), 0);
    cr_assert_eq(ms, good[i].ms, "%s", good[i].text);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    cr_assert_eq(tlx_grpc_timeout_parse(bad[i], strlen(bad[i]), &ms), TLX_E_MALFORMED, "%s",
                 bad[i]);
  static const uint64_t times[] = {1, 99999999, 100000000, 99999999000, 360000000000, UINT64_MAX};
  for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
    tlx_grpc_timeout_format(times[i], out);
    cr_assert_leq(strlen(out), 9);
    cr_assert_eq(tlx_grpc_timeout_parse(out, strlen(out), &ms), 0, "%s", out);
    cr_assert(ms >= times[i] || times[i] > 99999999ull * 3600000, "%s is shorter", out);
  }
}

/* ---- grpc-message ---- */

Test(grpc, message_encoding) {
  static const struct {
    const char *text, *coded;
  } cases[] = {{"plain: text", "plain: text"},
               {"100%", "100%25"},
               {"a\nb", "a%0Ab"},
               {"ä", "%C3%A4"},
               {"\x7f", "%7F"},
               {"~ ", "~ "}};
  char out[64], back[64];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tlx_grpc_message_encode(cases[i].text, out, sizeof out);
    cr_assert_str_eq(out, cases[i].coded);
    tlx_grpc_message_decode(out, strlen(out), back, sizeof back);
    cr_assert_str_eq(back, cases[i].text);
  }
  /* Never half a character: some clients then report another error than ours. */
  for (size_t size = 1; size < 20; size++) {
    cr_assert_lt(tlx_grpc_message_encode("aää", out, size), size);
    cr_assert_eq((strlen(out) + 5) % 6 == 0 || strlen(out) == 0, true, "%zu: %s", size, out);
  }
  tlx_grpc_message_decode("%4", 2, back, sizeof back);
  cr_assert_str_eq(back, "%4");
  tlx_grpc_message_decode("%zz%41", 6, back, sizeof back);
  cr_assert_str_eq(back, "%zzA");
}

/* ---- details ---- */

Test(grpc, details_come_back) {
  struct tlx_status status, back;
  struct tlx_buf buf = {0};
  tlx_status_clear(&status);
  tlx_status_add_violation(&status, "pid", "must be above %d", 1);
  tlx_status_add_violation(&status, "life", "is too long");
  tlx_status_add_metadata(&status, "id", "x");
  cr_assert_eq(tlx_grpc_details_format(&status, &buf), 0);
  cr_assert_gt(buf.len, 0);
  cr_assert_null(memchr(buf.data, '=', buf.len), "unpadded");
  tlx_status_clear(&back);
  cr_assert_eq(tlx_grpc_details_parse((char *)buf.data, buf.len, &back), 0);
  cr_assert_str_eq(back.reason, "invalid_argument");
  cr_assert_eq(back.n_violations, 2);
  cr_assert_str_eq(back.violations[0].field, "pid");
  cr_assert_str_eq(back.violations[0].description, "must be above 1");
  cr_assert_eq(back.n_metadata, 1);
  cr_assert_str_eq(back.metadata[0].value, "x");
  buf.data[0] ^= 0x40;
  tlx_status_clear(&back);
  if (tlx_grpc_details_parse((char *)buf.data, buf.len, &back) != 0)
    cr_assert_eq(back.n_violations, 0);
  tlx_buf_done(&buf);
}

Test(grpc, mappings) {
  cr_assert_eq(tlx_grpc_code_from_http(401), TLX_GRPC_UNAUTHENTICATED);
  cr_assert_eq(tlx_grpc_code_from_http(403), TLX_GRPC_PERMISSION_DENIED);
  cr_assert_eq(tlx_grpc_code_from_http(404), TLX_GRPC_UNIMPLEMENTED);
  cr_assert_eq(tlx_grpc_code_from_http(503), TLX_GRPC_UNAVAILABLE);
  cr_assert_eq(tlx_grpc_code_from_http(415), TLX_GRPC_UNKNOWN);
  cr_assert_eq(tlx_grpc_code_from_h2(7), TLX_GRPC_UNAVAILABLE);
  cr_assert_eq(tlx_grpc_code_from_h2(8), TLX_GRPC_CANCELLED);
  cr_assert_eq(tlx_grpc_code_from_h2(11), TLX_GRPC_RESOURCE_EXHAUSTED);
  cr_assert_eq(tlx_grpc_code_from_h2(1), TLX_GRPC_INTERNAL);
  static const char *const good[] = {"application/grpc", "application/grpc+proto",
                                     "application/grpc; a=b"};
  static const char *const bad[] = {"", "application/grpc-web", "application/grpc+json",
                                    "application/grpcx", "application/json"};
  for (int i = 0; i < 3; i++)
    cr_assert(tlx_grpc_content_type_valid(good[i], strlen(good[i])), "%s", good[i]);
  for (int i = 0; i < 5; i++)
    cr_assert_not(tlx_grpc_content_type_valid(bad[i], strlen(bad[i])), "%s", bad[i]);
}

/* ---- status ---- */

Test(grpc, status_is_cut_at_a_character) {
  struct tlx_status status;
  char text[2 * TLX_STATUS_MESSAGE_MAX + 1];
  for (size_t i = 0; i + 1 < sizeof text; i += 2)
    memcpy(text + i, "ä", 2);
  text[sizeof text - 1] = 0;
  tlx_status_set(&status, TLX_GRPC_NOT_FOUND, "x", "%s", text);
  cr_assert_lt(strlen(status.message), sizeof status.message);
  cr_assert_eq(strlen(status.message) % 2, 0);
  cr_assert_str_eq(tlx_grpc_code_name(3), "INVALID_ARGUMENT");
  cr_assert_str_eq(tlx_grpc_code_name(17), "UNKNOWN");
  tlx_status_clear(&status);
  for (int i = 0; i < 20; i++)
    tlx_status_add_violation(&status, "f", "x");
  cr_assert_eq(status.n_violations, TLX_STATUS_VIOLATIONS_MAX);
}
