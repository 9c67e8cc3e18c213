// SPDX-License-Identifier: GPL-2.0-or-later
/* Tokens that a caller hands back (console/page.h): only a token that this Console made for this
 * list is taken, and it means what it meant. The secret of an enrollment token has no parser: it is
 * hashed, and its hash is looked up (fuzz_record). Input: kind, a filter, a key or a token. */
#include "common/err.h"
#include "common/text.h"
#include "console/page.h"
#include "fuzz.h"

#define TOKEN_MAX 512u

/* Bytes as they come from a peer. */
static void token_in(const char *filter, struct tlx_bytes bytes) {
  char *token = exact_text(bytes), again[TOKEN_MAX];
  uint8_t key[PAGE_KEY_MAX], again_key[PAGE_KEY_MAX];
  size_t len = SIZE_MAX, again_len = SIZE_MAX;
  struct tlx_status status;
  tlx_status_clear(&status);
  int err = page_token_parse(token, filter, key, &len, &status);
  if (err) {
    must(err == TLX_E_MALFORMED && len == SIZE_MAX && status.code == TLX_GRPC_INVALID_ARGUMENT);
    must(strcmp(status.violations[0].field, "page_token") == 0);
  } else if (!*token) {
    must(len == 0 && status.code == TLX_GRPC_OK);
  } else {
    must(len > 0 && len <= PAGE_KEY_MAX && status.code == TLX_GRPC_OK);
    page_token_format(filter, key, len, again);
    must(page_token_parse(again, filter, again_key, &again_len, &status) == 0);
    must(len == again_len && memcmp(key, again_key, len) == 0);
  }
  free(token);
}

/* A key of ours goes out and comes back; changed, cut or for another list it is refused. */
static void token_out(const char *filter, struct tlx_bytes bytes, uint8_t change) {
  uint8_t key[PAGE_KEY_MAX];
  char token[TOKEN_MAX], other[300];
  size_t len = SIZE_MAX;
  struct tlx_status status;
  tlx_status_clear(&status);
  if (bytes.len == 0 || bytes.len > PAGE_KEY_MAX) return;
  page_token_format(filter, bytes.data, bytes.len, token);
  size_t token_len = strlen(token);
  must(token_len < sizeof token);
  must(page_token_parse(token, filter, key, &len, &status) == 0);
  must(bytes_equal((struct tlx_bytes){key, len}, bytes));
  snprintf(other, sizeof other, "%s+", filter);
  must(page_token_parse(token, other, key, &len, &status) == TLX_E_MALFORMED);
  /* Within version and filter hash, the first 22 characters, every change is seen. */
  size_t at = change % 22;
  token[at] = token[at] == 'A' ? 'B' : 'A';
  must(page_token_parse(token, filter, key, &len, &status) == TLX_E_MALFORMED);
}

static void number(const char *filter, uint64_t value) {
  uint8_t key[PAGE_KEY_MAX];
  char token[TOKEN_MAX];
  size_t len;
  uint64_t again = ~value;
  struct tlx_status status;
  page_token_format_number(filter, value, token);
  must(page_token_parse(token, filter, key, &len, &status) == 0);
  page_key_number(key, len, &again);
  must(again == value);
}

/* The fuzzer need not find the filter's hash: a valid head with any tail behind it. */
static void token_tail(const char *filter, struct tlx_bytes bytes) {
  char token[TOKEN_MAX], *joined = malloc(TOKEN_MAX + bytes.len);
  must(joined);
  page_token_format(filter, "key", 3, token);
  memcpy(joined, token, 24); /* version, hash and the first key byte */
  memcpy(joined + 24, bytes.data, bytes.len);
  token_in(filter, (struct tlx_bytes){(const uint8_t *)joined, 24 + bytes.len});
  free(joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  uint8_t kind = input_u8(&input);
  char *filter = exact_text(input_piece(&input));
  struct tlx_bytes rest = {input.at, input.left};
  if (kind % 4 == 0)
    token_in(filter, rest);
  else if (kind % 4 == 1)
    token_out(filter, rest, kind / 4);
  else if (kind % 4 == 2)
    number(filter, input_u64(&input));
  else if (rest.len)
    token_tail(filter, rest);
  free(filter);
  return 0;
}
