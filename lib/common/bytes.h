// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes, a growing buffer, and cursors whose error sticks: a parser is a list of reads
 * with one check at the end. */

/* Bytes that somebody else owns; whoever hands them out says how long they live. */
struct tlx_bytes {
  const uint8_t *data;
  size_t len;
};

/* Growing buffer with a cap. err sticks: -ENOMEM or TLX_E_TOO_LARGE; later appends do nothing. */
struct tlx_buf {
  uint8_t *data;
  size_t len, capacity, cap; /* used, allocated, at most to be allocated (0 = 1 GiB) */
  int err;
};
/* Starts empty; |cap| in bytes, 0 = 1 GiB. Nothing is allocated, so nothing can fail. An all-zero
 * struct is an empty buffer too. */
void tlx_buf_init(struct tlx_buf *buf, size_t cap);
/* Frees the memory and clears len and err; the cap stays, and the buffer can be filled again. NULL
 * and all-zero are fine. */
void tlx_buf_done(struct tlx_buf *buf);
/* Append: bytes (|data| may be NULL when |len| is 0), the text without its NUL, one byte, numbers
 * most significant byte first, and a printf text without its NUL. They report nothing: a failure
 * sticks in err, and whoever built the whole buffer looks once. */
void tlx_buf_add(struct tlx_buf *buf, const void *data, size_t len);
void tlx_buf_add_text(struct tlx_buf *buf, const char *text);
void tlx_buf_add_u8(struct tlx_buf *buf, uint8_t value);
void tlx_buf_add_u32be(struct tlx_buf *buf, uint32_t value);
void tlx_buf_add_u64be(struct tlx_buf *buf, uint64_t value);
void tlx_buf_printf(struct tlx_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Room for |len| more bytes; returns where to write them, or NULL with err set. The caller then
 * adds what it wrote to buf->len. */
uint8_t *tlx_buf_reserve(struct tlx_buf *buf, size_t len);
/* Drops |len| bytes from the front; all of them when there are fewer. */
void tlx_buf_consume(struct tlx_buf *buf, size_t len);
/* Adds a NUL past the end (not counted) and hands the memory over to the caller, who frees it; the
 * buffer is empty afterwards. NULL when err is set. */
char *tlx_buf_take_text(struct tlx_buf *buf);

/* Reading cursor. After an error every read returns 0 or NULL and err stays TLX_E_MALFORMED. */
struct tlx_reader {
  const uint8_t *at, *end;
  int err;
};
/* Reads |len| bytes of |data|, which must outlive the reader; NULL is an empty input. */
void tlx_reader_init(struct tlx_reader *reader, const void *data, size_t len);
/* The next number, most significant byte first. Past the end: 0, and err is TLX_E_MALFORMED. */
uint8_t tlx_read_u8(struct tlx_reader *reader);
uint16_t tlx_read_u16be(struct tlx_reader *reader);
uint32_t tlx_read_u32be(struct tlx_reader *reader);
uint64_t tlx_read_u64be(struct tlx_reader *reader);
/* Borrows |len| bytes of the input; they live as long as the input. Past the end: NULL and err. */
const uint8_t *tlx_read_bytes(struct tlx_reader *reader, size_t len);
/* Protobuf varint of at most 10 bytes and 64 bits (protobuf.dev, "Encoding"); longer ones are
 * malformed. */
uint64_t tlx_read_varint(struct tlx_reader *reader);
/* Bytes not read yet; 0 after an error. */
static inline size_t tlx_reader_left(const struct tlx_reader *reader) {
  return reader->err ? 0 : (size_t)(reader->end - reader->at);
}

/* Whether |len| bytes are the same, without a branch that depends on them: the time taken tells
 * nothing about a secret. */
bool tlx_bytes_equal_secret(const void *a, const void *b, size_t len);
/* Overwrites with zeros in a way that the compiler does not drop. NULL is fine. */
void tlx_bytes_wipe(void *data, size_t len);
