// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/page.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"
#include "console/limits.h"
#include "pki/digest.h"

static int parse(const char *token, const char *filter, uint8_t *key, size_t *len,
                 struct tlx_status *status) {
  tlx_status_clear(status);
  return page_token_parse(token, filter, key, len, status);
}

static void expect_refused(const char *token, const char *filter) {
  struct tlx_status status;
  uint8_t key[PAGE_KEY_MAX] = {42};
  size_t len = 99;
  cr_assert_eq(parse(token, filter, key, &len, &status), TLX_E_MALFORMED, "%s", token);
  cr_assert_eq(status.code, TLX_GRPC_INVALID_ARGUMENT);
  cr_assert_eq(status.n_violations, 1);
  cr_assert_str_eq(status.violations[0].field, "page_token");
  cr_assert_gt(strlen(status.violations[0].description), 0);
  cr_assert_eq(len, 99, "untouched");
  cr_assert_eq(key[0], 42, "untouched");
}

Test(page, round_trip_of_every_length) {
  uint8_t key[PAGE_KEY_MAX], got[PAGE_KEY_MAX];
  struct tlx_status status;
  char token[512];
  for (size_t i = 0; i < sizeof key; i++)
    key[i] = (uint8_t)(i * 37); /* zeros and high bytes too */
  for (size_t len = 1; len <= PAGE_KEY_MAX; len++) {
    size_t got_len = 0;
    page_token_format("list|a", key, len, token);
    cr_assert_lt(strlen(token), sizeof token);
    cr_assert_eq(strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
                 strlen(token), "safe in a URL");
    cr_assert_eq(parse(token, "list|a", got, &got_len, &status), 0, "%zu", len);
    cr_assert_eq(got_len, len);
    cr_assert_arr_eq(got, key, len);
    cr_assert_eq(status.code, TLX_GRPC_OK);
  }
}

/* Clients keep tokens over an update of the Console. */
Test(page, form_of_the_token) {
  uint8_t raw[64], hash[TLX_SHA256_LEN];
  char token[512];
  size_t len;
  page_token_format("list|a", "key", 3, token);
  cr_assert_eq(tlx_base64_parse(token, strlen(token), raw, sizeof raw, &len), 0);
  cr_assert_eq(len, 1 + 16 + 3);
  cr_assert_eq(raw[0], 1);
  tlx_sha256("list|a", 6, hash);
  cr_assert_arr_eq(raw + 1, hash, 16);
  cr_assert_arr_eq(raw + 17, "key", 3);
}

Test(page, an_empty_token_is_the_beginning) {
  struct tlx_status status;
  uint8_t key[PAGE_KEY_MAX];
  size_t len = 99;
  cr_assert_eq(parse("", "list|a", key, &len, &status), 0);
  cr_assert_eq(len, 0);
  cr_assert_eq(status.code, TLX_GRPC_OK);
}

Test(page, other_filters) {
  char token[512];
  page_token_format("list|a", "key", 3, token);
  expect_refused(token, "list|b");
  expect_refused(token, "list|a|");
  expect_refused(token, "");
}

Test(page, garbage) {
  uint8_t raw[600], hash[TLX_SHA256_LEN];
  char token[1024];
  static const char *const bad[] = {"x", "garbage!", "AAAA", "AQ", " ", "=", "\xff\xff\xff\xff"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    expect_refused(bad[i], "list|a");
  tlx_sha256("list|a", 6, hash);
  memset(raw, 7, sizeof raw);
  memcpy(raw + 1, hash, 16);
  raw[0] = 1;
  tlx_base64url_format(raw, 17, token);
  expect_refused(token, "list|a"); /* no key */
  tlx_base64url_format(raw, 16, token);
  expect_refused(token, "list|a"); /* half a hash */
  tlx_base64url_format(raw, 17 + PAGE_KEY_MAX + 1, token);
  expect_refused(token, "list|a"); /* a key that is too long */
  for (int version = 0; version < 256; version++) {
    if (version == 1) continue;
    raw[0] = (uint8_t)version;
    tlx_base64url_format(raw, 20, token);
    expect_refused(token, "list|a");
  }
}

Test(page, a_key_that_is_too_long_is_never_cut, .signal = SIGABRT) {
  static uint8_t key[PAGE_KEY_MAX + 1];
  char token[512];
  page_token_format("list|a", key, sizeof key, token);
}

Test(page, numbers) {
  static const uint64_t numbers[] = {0, 1, 255, 256, 0x0102030405060708, UINT64_MAX};
  struct tlx_status status;
  uint8_t key[PAGE_KEY_MAX];
  char token[512];
  size_t len;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    uint64_t number = 42;
    page_token_format_number("n", numbers[i], token);
    cr_assert_eq(parse(token, "n", key, &len, &status), 0);
    page_key_number(key, len, &number);
    cr_assert_eq(number, numbers[i]);
  }
  static const size_t other_lengths[] = {0, 1, 7, 9, PAGE_KEY_MAX};
  for (size_t i = 0; i < sizeof other_lengths / sizeof *other_lengths; i++) {
    uint64_t number = 42;
    memset(key, 1, sizeof key);
    page_key_number(key, other_lengths[i], &number);
    cr_assert_eq(number, 42, "%zu bytes hold no number", other_lengths[i]);
  }
}

Test(page, size) {
  cr_assert_eq(page_size(0, PAGE_MAX), PAGE_DEFAULT);
  cr_assert_eq(page_size(1, PAGE_MAX), 1);
  cr_assert_eq(page_size(PAGE_MAX - 1, PAGE_MAX), PAGE_MAX - 1);
  cr_assert_eq(page_size(PAGE_MAX, PAGE_MAX), PAGE_MAX);
  cr_assert_eq(page_size(PAGE_MAX + 1, PAGE_MAX), PAGE_MAX);
  cr_assert_eq(page_size(UINT32_MAX, PAGE_AUDIT_MAX), PAGE_AUDIT_MAX);
}
