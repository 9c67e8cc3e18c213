// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>

/* SHA-256. The only header of this folder that storage/ may include; it shows no type of the
 * cryptographic library. */
#define TLX_SHA256_LEN 32

/* Room for the library's context. */
struct tlx_sha256 {
  _Alignas(16) unsigned char opaque[512];
};
/* Streaming: init, any number of adds (|data| may be NULL when |len| is 0), final, which also ends
 * the context. One thread a context. They cannot fail; a library that says otherwise ends the
 * process. */
void tlx_sha256_init(struct tlx_sha256 *ctx);
void tlx_sha256_add(struct tlx_sha256 *ctx, const void *data, size_t len);
void tlx_sha256_final(struct tlx_sha256 *ctx, uint8_t out[TLX_SHA256_LEN]);
/* The digest of |len| bytes in one go. */
void tlx_sha256(const void *data, size_t len, uint8_t out[TLX_SHA256_LEN]);
