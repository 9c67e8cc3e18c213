// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/bytes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define CAP_DEFAULT (1u << 30)
#define CAPACITY_FIRST 256u

void tlx_buf_init(struct tlx_buf *buf, size_t cap) {
  *buf = (struct tlx_buf){.cap = cap};
}

void tlx_buf_done(struct tlx_buf *buf) {
  if (!buf) return;
  free(buf->data);
  *buf = (struct tlx_buf){.cap = buf->cap};
}

uint8_t *tlx_buf_reserve(struct tlx_buf *buf, size_t len) {
  if (buf->err) return NULL;
  size_t cap = buf->cap ? buf->cap : CAP_DEFAULT;
  if (len > cap || buf->len > cap - len) {
    buf->err = TLX_E_TOO_LARGE;
    return NULL;
  }
  size_t wanted = buf->len + len;
  if (wanted > buf->capacity || !buf->data) {
    size_t capacity = buf->capacity ? buf->capacity : CAPACITY_FIRST;
    while (capacity < wanted)
      capacity *= 2;
    if (capacity > cap) capacity = cap;
    if (capacity == 0) capacity = 1;
    uint8_t *data = realloc(buf->data, capacity);
    if (!data) {
      buf->err = -ENOMEM;
      return NULL;
    }
    buf->data = data;
    buf->capacity = capacity;
  }
  return buf->data + buf->len;
}

void tlx_buf_add(struct tlx_buf *buf, const void *data, size_t len) {
  if (len == 0) return;
  uint8_t *at = tlx_buf_reserve(buf, len);
  if (!at) return;
  memcpy(at, data, len);
  buf->len += len;
}

void tlx_buf_add_text(struct tlx_buf *buf, const char *text) {
  tlx_buf_add(buf, text, strlen(text));
}

void tlx_buf_add_u8(struct tlx_buf *buf, uint8_t value) {
  tlx_buf_add(buf, &value, 1);
}

void tlx_buf_add_u32be(struct tlx_buf *buf, uint32_t value) {
  uint8_t out[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                    (uint8_t)value};
  tlx_buf_add(buf, out, sizeof out);
}

void tlx_buf_add_u64be(struct tlx_buf *buf, uint64_t value) {
  tlx_buf_add_u32be(buf, (uint32_t)(value >> 32));
  tlx_buf_add_u32be(buf, (uint32_t)value);
}

void tlx_buf_printf(struct tlx_buf *buf, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int len = vsnprintf(NULL, 0, format, args);
  va_end(args);
  /* One more for the NUL that vsnprintf writes behind; it is not counted. */
  uint8_t *at = len < 0 ? NULL : tlx_buf_reserve(buf, (size_t)len + 1);
  if (at) {
    vsnprintf((char *)at, (size_t)len + 1, format, again);
    buf->len += (size_t)len;
  } else if (len < 0 && !buf->err) {
    buf->err = TLX_E_MALFORMED;
  }
  va_end(again);
}

void tlx_buf_consume(struct tlx_buf *buf, size_t len) {
  if (len >= buf->len) {
    buf->len = 0;
    return;
  }
  memmove(buf->data, buf->data + len, buf->len - len);
  buf->len -= len;
}

char *tlx_buf_take_text(struct tlx_buf *buf) {
  uint8_t *end = tlx_buf_reserve(buf, 1);
  if (!end) return NULL;
  *end = '\0';
  char *ret = (char *)buf->data;
  *buf = (struct tlx_buf){.cap = buf->cap};
  return ret;
}

void tlx_reader_init(struct tlx_reader *reader, const void *data, size_t len) {
  static const uint8_t nothing[1];
  const uint8_t *start = data ? data : nothing;
  *reader = (struct tlx_reader){.at = start, .end = start + (data ? len : 0)};
}

const uint8_t *tlx_read_bytes(struct tlx_reader *reader, size_t len) {
  if (reader->err) return NULL;
  if (len > (size_t)(reader->end - reader->at)) {
    reader->err = TLX_E_MALFORMED;
    return NULL;
  }
  const uint8_t *ret = reader->at;
  reader->at += len;
  return ret;
}

static uint64_t read_be(struct tlx_reader *reader, size_t len) {
  const uint8_t *data = tlx_read_bytes(reader, len);
  uint64_t ret = 0;
  for (size_t i = 0; data && i < len; i++)
    ret = ret << 8 | data[i];
  return ret;
}

uint8_t tlx_read_u8(struct tlx_reader *reader) {
  return (uint8_t)read_be(reader, 1);
}
uint16_t tlx_read_u16be(struct tlx_reader *reader) {
  return (uint16_t)read_be(reader, 2);
}
uint32_t tlx_read_u32be(struct tlx_reader *reader) {
  return (uint32_t)read_be(reader, 4);
}
uint64_t tlx_read_u64be(struct tlx_reader *reader) {
  return read_be(reader, 8);
}

uint64_t tlx_read_varint(struct tlx_reader *reader) {
  uint64_t ret = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    uint8_t byte = tlx_read_u8(reader);
    if (reader->err) return 0;
    /* The tenth byte has room for one bit. */
    if (shift == 63 && byte > 1) break;
    ret |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return ret;
  }
  reader->err = TLX_E_MALFORMED;
  return 0;
}

bool tlx_bytes_equal_secret(const void *a, const void *b, size_t len) {
  const volatile uint8_t *x = a, *y = b;
  uint8_t difference = 0;
  for (size_t i = 0; i < len; i++)
    difference |= (uint8_t)(x[i] ^ y[i]);
  return difference == 0;
}

void tlx_bytes_wipe(void *data, size_t len) {
  if (data && len) explicit_bzero(data, len);
}
