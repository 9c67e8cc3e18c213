// SPDX-License-Identifier: GPL-2.0-or-later
#include "pki/der.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/err.h"

#define TAG_BOOLEAN 0x01u
#define TAG_INTEGER 0x02u
#define TAG_BIT_STRING 0x03u
#define TAG_OID 0x06u
#define TAG_UTC_TIME 0x17u
#define TAG_GENERALIZED_TIME 0x18u
#define MS_2050 2524608000000ull

static size_t format_len(size_t len, uint8_t out[5]) {
  if (len < 128) {
    out[0] = (uint8_t)len;
    return 1;
  }
  size_t n = len > 0xffffff ? 4 : len > 0xffff ? 3 : len > 0xff ? 2 : 1;
  out[0] = (uint8_t)(0x80 | n);
  for (size_t i = 0; i < n; i++)
    out[1 + i] = (uint8_t)(len >> 8 * (n - 1 - i));
  return n + 1;
}

size_t tlx_der_begin(struct tlx_buf *buf, uint8_t tag) {
  tlx_buf_add_u8(buf, tag);
  return buf->len;
}

void tlx_der_end(struct tlx_buf *buf, size_t mark) {
  uint8_t head[5];
  if (buf->err) return;
  size_t len = buf->len - mark, n = format_len(len, head);
  if (!tlx_buf_reserve(buf, n)) return;
  memmove(buf->data + mark + n, buf->data + mark, len);
  memcpy(buf->data + mark, head, n);
  buf->len += n;
}

void tlx_der_add(struct tlx_buf *buf, uint8_t tag, const void *content, size_t len) {
  uint8_t head[5];
  tlx_buf_add_u8(buf, tag);
  tlx_buf_add(buf, head, format_len(len, head));
  tlx_buf_add(buf, content, len);
}

static void add_base128(struct tlx_buf *buf, unsigned long value) {
  for (int shift = 28; shift > 0; shift -= 7)
    if (value >> shift) tlx_buf_add_u8(buf, (uint8_t)(0x80 | (value >> shift & 0x7f)));
  tlx_buf_add_u8(buf, (uint8_t)(value & 0x7f));
}

void tlx_der_add_oid(struct tlx_buf *buf, const char *dotted) {
  size_t mark = tlx_der_begin(buf, TAG_OID);
  char *next;
  unsigned long first = strtoul(dotted, &next, 10), second = strtoul(next + 1, &next, 10);
  add_base128(buf, first * 40 + second);
  while (*next == '.')
    add_base128(buf, strtoul(next + 1, &next, 10));
  tlx_der_end(buf, mark);
}

void tlx_der_add_uint(struct tlx_buf *buf, const uint8_t *big_endian, size_t len) {
  while (len > 1 && *big_endian == 0) {
    big_endian++;
    len--;
  }
  size_t mark = tlx_der_begin(buf, TAG_INTEGER);
  /* The top bit is the sign. */
  if (len == 0 || *big_endian & 0x80) tlx_buf_add_u8(buf, 0);
  tlx_buf_add(buf, big_endian, len);
  tlx_der_end(buf, mark);
}

void tlx_der_add_time(struct tlx_buf *buf, uint64_t wall_ms) {
  time_t seconds = (time_t)(wall_ms / 1000);
  struct tm parts;
  char text[32];
  bool utc = wall_ms < MS_2050;
  if (!gmtime_r(&seconds, &parts) ||
      strftime(text, sizeof text, utc ? "%y%m%d%H%M%SZ" : "%Y%m%d%H%M%SZ", &parts) == 0) {
    if (!buf->err) buf->err = TLX_E_MALFORMED;
    return;
  }
  tlx_der_add(buf, utc ? TAG_UTC_TIME : TAG_GENERALIZED_TIME, text, strlen(text));
}

void tlx_der_add_bool(struct tlx_buf *buf, int value) {
  uint8_t content = value ? 0xff : 0;
  tlx_der_add(buf, TAG_BOOLEAN, &content, 1);
}

void tlx_der_add_bits(struct tlx_buf *buf, const void *data, size_t len) {
  size_t mark = tlx_der_begin(buf, TAG_BIT_STRING);
  tlx_buf_add_u8(buf, 0);
  tlx_buf_add(buf, data, len);
  tlx_der_end(buf, mark);
}

uint8_t tlx_der_peek(const struct tlx_reader *reader) {
  return tlx_reader_left(reader) ? *reader->at : 0;
}

void tlx_der_read_any(struct tlx_reader *reader, uint8_t *ret_tag, struct tlx_bytes *ret_content,
                      struct tlx_bytes *ret_whole) {
  const uint8_t *start = reader->at;
  uint8_t tag = tlx_read_u8(reader);
  size_t len = tlx_read_u8(reader);
  /* High tag numbers do not occur in what we read. */
  if ((tag & 0x1f) == 0x1f) reader->err = TLX_E_MALFORMED;
  if (len & 0x80) {
    size_t n = len & 0x7f;
    len = 0;
    if (n == 0 || n > 4) reader->err = TLX_E_MALFORMED;
    for (size_t i = 0; i < n && !reader->err; i++) {
      uint8_t byte = tlx_read_u8(reader);
      /* Minimal: no leading zero, and no long form where the short one would do. */
      if (i == 0 && byte == 0) reader->err = TLX_E_MALFORMED;
      len = len << 8 | byte;
    }
    if (len < 128) reader->err = TLX_E_MALFORMED;
  }
  const uint8_t *content = tlx_read_bytes(reader, len);
  if (reader->err) {
    reader->err = TLX_E_MALFORMED;
    *ret_tag = 0;
    *ret_content = *ret_whole = (struct tlx_bytes){0};
    return;
  }
  *ret_tag = tag;
  *ret_content = (struct tlx_bytes){content, len};
  *ret_whole = (struct tlx_bytes){start, (size_t)(reader->at - start)};
}

void tlx_der_read(struct tlx_reader *reader, uint8_t tag, struct tlx_bytes *ret_content) {
  struct tlx_bytes whole;
  uint8_t found;
  *ret_content = (struct tlx_bytes){0};
  if (tlx_der_peek(reader) != tag) {
    reader->err = TLX_E_MALFORMED;
    return;
  }
  tlx_der_read_any(reader, &found, ret_content, &whole);
}

static int two_digits(const uint8_t *at) {
  if (at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9') return -1;
  return (at[0] - '0') * 10 + at[1] - '0';
}

void tlx_der_read_time(struct tlx_reader *reader, uint64_t *ret_wall_ms) {
  struct tlx_bytes content, whole;
  uint8_t tag;
  int year, value[5];
  tlx_der_read_any(reader, &tag, &content, &whole);
  if (reader->err) return;
  size_t year_len = tag == TAG_UTC_TIME ? 2 : 4;
  reader->err = TLX_E_MALFORMED;
  if ((tag != TAG_UTC_TIME && tag != TAG_GENERALIZED_TIME) || content.len != year_len + 11 ||
      content.data[content.len - 1] != 'Z')
    return;
  const uint8_t *at = content.data;
  year = two_digits(at);
  if (year < 0) return;
  if (year_len == 4) {
    int low = two_digits(at + 2);
    if (low < 0) return;
    year = year * 100 + low;
  } else {
    year += year < 50 ? 2000 : 1900; /* RFC 5280 §4.1.2.5.1 */
  }
  for (int i = 0; i < 5; i++)
    if ((value[i] = two_digits(at + year_len + 2 * (size_t)i)) < 0) return;
  struct tm parts = {.tm_year = year - 1900,
                     .tm_mon = value[0] - 1,
                     .tm_mday = value[1],
                     .tm_hour = value[2],
                     .tm_min = value[3],
                     .tm_sec = value[4]};
  if (value[0] < 1 || value[0] > 12 || value[1] < 1 || value[2] > 23 || value[3] > 59 ||
      value[4] > 59)
    return;
  time_t seconds = timegm(&parts);
  /* timegm takes 31 April for 1 May. */
  if (parts.tm_mday != value[1] || seconds < 0) return;
  *ret_wall_ms = (uint64_t)seconds * 1000;
  reader->err = 0;
}
