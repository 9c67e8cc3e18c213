// SPDX-License-Identifier: GPL-2.0-or-later
#include "pki/pem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/coding.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "common/err.h"

#define LABEL_MAX 63u

static const char *find(const char *text, size_t len, const char *wanted) {
  return len ? memmem(text, len, wanted, strlen(wanted)) : NULL;
}

int tlx_pem_next(const char **text, size_t *len, char *label, struct tlx_buf *der) {
  static const char begin[] = "-----BEGIN ";
  const char *end = *text + *len, *at = find(*text, *len, begin);
  if (!at) return -ENOENT;
  at += sizeof begin - 1;
  const char *dashes = find(at, (size_t)(end - at), "-----");
  if (!dashes || (size_t)(dashes - at) > LABEL_MAX) return TLX_E_MALFORMED;
  char found[LABEL_MAX + 1], closing[LABEL_MAX + 20];
  memcpy(found, at, (size_t)(dashes - at));
  found[dashes - at] = '\0';
  snprintf(closing, sizeof closing, "-----END %s-----", found);
  const char *body = dashes + 5, *close = find(body, (size_t)(end - body), closing);
  if (!close) return TLX_E_MALFORMED;
  size_t body_len = (size_t)(close - body);
  if (body_len > (1u << 20)) return TLX_E_TOO_LARGE;
  uint8_t *out = tlx_buf_reserve(der, body_len + 4);
  if (!out) return der->err;
  word32 out_len = (word32)(body_len + 4);
  if (Base64_Decode((const byte *)body, (word32)body_len, out, &out_len) != 0 || out_len == 0)
    return TLX_E_MALFORMED;
  der->len += out_len;
  strcpy(label, found);
  *text = close + strlen(closing);
  *len = (size_t)(end - *text);
  return 0;
}

int tlx_pem_format(const char *label, struct tlx_bytes der, struct tlx_buf *buf) {
  word32 len = 0;
  if (der.len > (1u << 20)) return TLX_E_TOO_LARGE;
  if (Base64_Encode(der.data, (word32)der.len, NULL, &len) != LENGTH_ONLY_E) return TLX_E_CRYPTO;
  tlx_buf_printf(buf, "-----BEGIN %s-----\n", label);
  uint8_t *out = tlx_buf_reserve(buf, len);
  if (!out) return buf->err;
  if (Base64_Encode(der.data, (word32)der.len, out, &len) != 0) return TLX_E_CRYPTO;
  buf->len += len;
  tlx_buf_printf(buf, "-----END %s-----\n", label);
  return buf->err;
}
