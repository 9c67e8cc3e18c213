// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/bytes.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

Test(bytes, buffer_grows_and_stops_at_its_cap) {
  struct tlx_buf buf;
  tlx_buf_init(&buf, 8);
  tlx_buf_add_u32be(&buf, 0x01020304);
  tlx_buf_add_u8(&buf, 5);
  cr_assert_arr_eq(buf.data, "\1\2\3\4\5", 5);
  tlx_buf_add_text(&buf, "1234");
  cr_assert_eq(buf.err, TLX_E_TOO_LARGE);
  cr_assert_eq(buf.len, 5, "a refused append leaves nothing behind");
  tlx_buf_add_u8(&buf, 6);
  cr_assert_eq(buf.len, 5, "the error sticks");
  tlx_buf_done(&buf);
}

Test(bytes, buffer_forms) {
  struct tlx_buf buf = {0};
  tlx_buf_add_u64be(&buf, 0x0102030405060708);
  cr_assert_arr_eq(buf.data, "\1\2\3\4\5\6\7\10", 8);
  tlx_buf_consume(&buf, 6);
  cr_assert_eq(buf.len, 2);
  cr_assert_arr_eq(buf.data, "\7\10", 2);
  buf.len = 0;
  tlx_buf_printf(&buf, "%s=%d", "x", 12);
  char *text = tlx_buf_take_text(&buf);
  cr_assert_str_eq(text, "x=12");
  cr_assert_eq(buf.len, 0);
  free(text);
  tlx_buf_done(&buf);
}

Test(bytes, reader_error_sticks) {
  struct tlx_reader reader;
  tlx_reader_init(&reader, "\1\0\2\0\0\0\3", 7);
  cr_assert_eq(tlx_read_u8(&reader), 1);
  cr_assert_eq(tlx_read_u16be(&reader), 2);
  cr_assert_eq(tlx_read_u32be(&reader), 3);
  cr_assert_eq(tlx_reader_left(&reader), 0);
  cr_assert_eq(reader.err, 0);
  cr_assert_eq(tlx_read_u64be(&reader), 0);
  cr_assert_eq(reader.err, TLX_E_MALFORMED);
  cr_assert_null(tlx_read_bytes(&reader, 0));
}

Test(bytes, varint_edges) {
  static const struct {
    const char *data;
    size_t len;
    uint64_t value;
    int err;
  } cases[] = {
      {"\0", 1, 0, 0},
      {"\x7f", 1, 127, 0},
      {"\x80\1", 2, 128, 0},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 10, UINT64_MAX, 0},
      {"\x80", 1, 0, TLX_E_MALFORMED},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11, 0, TLX_E_MALFORMED},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tlx_reader reader;
    tlx_reader_init(&reader, cases[i].data, cases[i].len);
    cr_assert_eq(tlx_read_varint(&reader), cases[i].value, "case %zu", i);
    cr_assert_eq(reader.err, cases[i].err, "case %zu", i);
  }
}

Test(bytes, secrets) {
  char key[4] = "abc";
  cr_assert(tlx_bytes_equal_secret("abc", key, 3));
  cr_assert_not(tlx_bytes_equal_secret("abd", key, 3));
  cr_assert(tlx_bytes_equal_secret("x", "y", 0));
  tlx_bytes_wipe(key, sizeof key);
  cr_assert_arr_eq(key, "\0\0\0\0", 4);
}
