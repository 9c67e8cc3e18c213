// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"

/* Writes and reads DER (X.690). Our own because the library's certificate writer cannot mark
 * basicConstraints critical, which strict verifiers require. Errors stick in the buffer / cursor.
 */

/* Opens a constructed or wrapping element; returns a mark for tlx_der_end, which inserts the
 * length. */
size_t tlx_der_begin(struct tlx_buf *buf, uint8_t tag);
/* Closes the element that |mark| belongs to; elements close in the reverse order of their opening.
 */
void tlx_der_end(struct tlx_buf *buf, size_t mark);
/* A whole element: tag, length, |len| bytes of content. */
void tlx_der_add(struct tlx_buf *buf, uint8_t tag, const void *content, size_t len);
/* OBJECT IDENTIFIER from its dotted form; only forms of pki/oid.h are given to it. */
void tlx_der_add_oid(struct tlx_buf *buf, const char *dotted);
/* Non-negative INTEGER from big-endian bytes (a leading zero is added where needed). */
void tlx_der_add_uint(struct tlx_buf *buf, const uint8_t *big_endian, size_t len);
/* UTCTime before 2050, GeneralizedTime from then on (RFC 5280 §4.1.2.5); cut to seconds. */
void tlx_der_add_time(struct tlx_buf *buf, uint64_t wall_ms);
/* BOOLEAN: 0xff or 0x00. */
void tlx_der_add_bool(struct tlx_buf *buf, int value);
/* BIT STRING with no unused bits. */
void tlx_der_add_bits(struct tlx_buf *buf, const void *data, size_t len);

/* Reads one element with exactly |tag|; |ret_content| borrows its content. Definite, minimal
 * lengths only. Sets reader->err to TLX_E_MALFORMED otherwise. */
void tlx_der_read(struct tlx_reader *reader, uint8_t tag, struct tlx_bytes *ret_content);
/* Tag of the next element, 0 at the end. */
uint8_t tlx_der_peek(const struct tlx_reader *reader);
/* The next element of any tag, its content, and the whole of it (head included); all borrow. At the
 * end or for a malformed one: tag 0, empty, and reader->err. */
void tlx_der_read_any(struct tlx_reader *reader, uint8_t *ret_tag, struct tlx_bytes *ret_content,
                      struct tlx_bytes *ret_whole);
/* UTCTime or GeneralizedTime with seconds and "Z", the forms of RFC 5280 §4.1.2.5. |ret_wall_ms| is
 * untouched when reader->err is set. */
void tlx_der_read_time(struct tlx_reader *reader, uint64_t *ret_wall_ms);
