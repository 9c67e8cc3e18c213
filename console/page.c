// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/page.h"

#include <string.h>

#include "common/check.h"
#include "common/err.h"
#include "common/text.h"
#include "console/limits.h"
#include "pki/digest.h"

#define VERSION 1
#define HASH_LEN 16 /* of the filter: told apart, not secret */
#define HEAD_LEN (1 + HASH_LEN)

static void hash_filter(const char *filter, uint8_t ret_hash[TLX_SHA256_LEN]) {
  tlx_sha256(filter, strlen(filter), ret_hash);
}

void page_token_format(const char *filter, const void *key, size_t key_len, char *out) {
  uint8_t raw[HEAD_LEN + PAGE_KEY_MAX], hash[TLX_SHA256_LEN];
  /* A cut key would make the next page begin elsewhere. */
  tlx_require(key_len <= PAGE_KEY_MAX);
  hash_filter(filter, hash);
  raw[0] = VERSION;
  memcpy(raw + 1, hash, HASH_LEN);
  memcpy(raw + HEAD_LEN, key, key_len);
  tlx_base64url_format(raw, HEAD_LEN + key_len, out);
}

int page_token_parse(const char *token, const char *filter, uint8_t *ret_key, size_t *ret_len,
                     struct tlx_status *status) {
  uint8_t raw[HEAD_LEN + PAGE_KEY_MAX], hash[TLX_SHA256_LEN];
  size_t len;
  if (!*token) {
    *ret_len = 0;
    return 0;
  }
  hash_filter(filter, hash);
  if (tlx_base64_parse(token, strlen(token), raw, sizeof raw, &len) != 0 || len <= HEAD_LEN ||
      raw[0] != VERSION) {
    tlx_status_add_violation(status, "page_token", "is not a token of this list");
    return TLX_E_MALFORMED;
  }
  if (memcmp(raw + 1, hash, HASH_LEN) != 0) {
    tlx_status_add_violation(status, "page_token",
                             "belongs to a list with other filters: begin without it");
    return TLX_E_MALFORMED;
  }
  memcpy(ret_key, raw + HEAD_LEN, len - HEAD_LEN);
  *ret_len = len - HEAD_LEN;
  return 0;
}

void page_token_format_number(const char *filter, uint64_t number, char *out) {
  uint8_t key[8];
  for (unsigned i = 0; i < sizeof key; i++)
    key[i] = (uint8_t)(number >> (56 - 8 * i));
  page_token_format(filter, key, sizeof key, out);
}

void page_key_number(const uint8_t *key, size_t key_len, uint64_t *ret_number) {
  uint64_t number = 0;
  if (key_len != 8) return;
  for (unsigned i = 0; i < 8; i++)
    number = number << 8 | key[i];
  *ret_number = number;
}

int page_token_parse_number(const char *token, const char *filter, uint64_t *ret_number,
                            struct tlx_status *status) {
  uint8_t key[PAGE_KEY_MAX];
  size_t key_len;
  int err = page_token_parse(token, filter, key, &key_len, status);
  if (err || key_len == 0) return err;
  if (key_len != 8) {
    tlx_status_add_violation(status, "page_token", "is not a token of this list");
    return TLX_E_MALFORMED;
  }
  page_key_number(key, key_len, ret_number);
  return 0;
}

uint32_t page_size(uint32_t wanted, uint32_t max) {
  if (wanted == 0) return PAGE_DEFAULT;
  return wanted < max ? wanted : max;
}
