// SPDX-License-Identifier: GPL-2.0-or-later
#include "pki/digest.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include "common/check.h"

_Static_assert(sizeof(wc_Sha256) <= sizeof(((struct tlx_sha256 *)0)->opaque),
               "the library's context must fit");

static wc_Sha256 *context(struct tlx_sha256 *ctx) {
  return (wc_Sha256 *)(void *)ctx->opaque;
}

/* In software these cannot fail; a build with an accelerator that can must not go unnoticed. */
void tlx_sha256_init(struct tlx_sha256 *ctx) {
  tlx_require(wc_InitSha256(context(ctx)) == 0);
}

void tlx_sha256_add(struct tlx_sha256 *ctx, const void *data, size_t len) {
  const uint8_t *at = data;
  while (len) {
    size_t n = len < (1u << 30) ? len : 1u << 30;
    tlx_require(wc_Sha256Update(context(ctx), at, (word32)n) == 0);
    at += n;
    len -= n;
  }
}

void tlx_sha256_final(struct tlx_sha256 *ctx, uint8_t out[TLX_SHA256_LEN]) {
  tlx_require(wc_Sha256Final(context(ctx), out) == 0);
  wc_Sha256Free(context(ctx));
}

void tlx_sha256(const void *data, size_t len, uint8_t out[TLX_SHA256_LEN]) {
  struct tlx_sha256 ctx;
  tlx_sha256_init(&ctx);
  tlx_sha256_add(&ctx, data, len);
  tlx_sha256_final(&ctx, out);
}
