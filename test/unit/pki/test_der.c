// SPDX-License-Identifier: GPL-2.0-or-later
#include "pki/der.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/err.h"

Test(der, lengths) {
  static const size_t lens[] = {0, 127, 128, 255, 256, 65535, 65536};
  for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
    struct tlx_buf buf = {0};
    struct tlx_reader reader;
    struct tlx_bytes content;
    size_t mark = tlx_der_begin(&buf, 0x30);
    for (size_t k = 0; k < lens[i]; k++)
      tlx_buf_add_u8(&buf, (uint8_t)k);
    tlx_der_end(&buf, mark);
    cr_assert_eq(buf.err, 0);
    tlx_reader_init(&reader, buf.data, buf.len);
    cr_assert_eq(tlx_der_peek(&reader), 0x30);
    tlx_der_read(&reader, 0x30, &content);
    cr_assert_eq(reader.err, 0, "length %zu", lens[i]);
    cr_assert_eq(content.len, lens[i]);
    cr_assert_eq(tlx_reader_left(&reader), 0);
    tlx_buf_done(&buf);
  }
}

Test(der, integers_stay_positive) {
  struct tlx_buf buf = {0};
  tlx_der_add_uint(&buf, (const uint8_t *)"\x80", 1);
  cr_assert_arr_eq(buf.data, "\x02\x02\x00\x80", 4);
  buf.len = 0;
  tlx_der_add_uint(&buf, (const uint8_t *)"\x7f", 1);
  cr_assert_arr_eq(buf.data, "\x02\x01\x7f", 3);
  tlx_buf_done(&buf);
}

Test(der, oid_known_answer) {
  struct tlx_buf buf = {0};
  tlx_der_add_oid(&buf, "1.2.840.10045.2.1");
  cr_assert_arr_eq(buf.data, "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", 9);
  tlx_buf_done(&buf);
}

Test(der, times_change_their_form_in_2050) {
  struct tlx_buf buf = {0};
  struct tlx_reader reader;
  uint64_t wall_ms;
  tlx_der_add_time(&buf, 2524607999000); /* 2049-12-31T23:59:59Z */
  cr_assert_eq(buf.data[0], 0x17);
  size_t first = buf.len;
  tlx_der_add_time(&buf, 2524608000000);
  cr_assert_eq(buf.data[first], 0x18);
  tlx_reader_init(&reader, buf.data, buf.len);
  tlx_der_read_time(&reader, &wall_ms);
  cr_assert_eq(wall_ms, 2524607999000);
  tlx_der_read_time(&reader, &wall_ms);
  cr_assert_eq(wall_ms, 2524608000000);
  cr_assert_eq(reader.err, 0);
  tlx_buf_done(&buf);
}

Test(der, what_is_not_minimal_is_refused) {
  static const struct {
    const char *data;
    size_t len;
  } bad[] = {{"\x30\x81\x01x", 4}, {"\x30\x80\x00\x00", 4}, {"\x30\x05x", 3},
             {"\x30", 1},          {"\x31\x00", 2},         {"\x30\x82\x00\x01x", 5}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct tlx_reader reader;
    struct tlx_bytes content;
    tlx_reader_init(&reader, bad[i].data, bad[i].len);
    tlx_der_read(&reader, 0x30, &content);
    cr_assert_eq(reader.err, TLX_E_MALFORMED, "case %zu", i);
  }
}
