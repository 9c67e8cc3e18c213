// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "rpc/status.h"

/* Page tokens: base64url(version, hash of method and filters, last key). They survive restarts and
 * hold no secret. */
#define PAGE_KEY_MAX 320u
/* Writes the token that goes on behind |key| (at most PAGE_KEY_MAX bytes; more ends the process) of
 * the list that |filter| describes: method name and every filter. |out| of 512. */
void page_token_format(const char *filter, const void *key, size_t key_len, char *out);
/* Empty token: |*ret_len| = 0. Other filters or garbage: INVALID_ARGUMENT naming page_token.
 * |ret_key| of PAGE_KEY_MAX. 0 or TLX_E_MALFORMED. */
int page_token_parse(const char *token, const char *filter, uint8_t *ret_key, size_t *ret_len,
                     struct tlx_status *status);
/* page_token_format for lists whose key is a number (8 bytes, most significant first). */
void page_token_format_number(const char *filter, uint64_t number, char *out);
/* Number of a parsed key; untouched when the key holds none. */
void page_key_number(const uint8_t *key, size_t key_len, uint64_t *ret_number);
/* page_token_parse for such lists: a key that is no number is garbage too. |*ret_number| stays when
 * the token is empty. */
int page_token_parse_number(const char *token, const char *filter, uint64_t *ret_number,
                            struct tlx_status *status);
/* How many entries a page may have: 0 = PAGE_DEFAULT; above |max|: cut to |max|. */
uint32_t page_size(uint32_t wanted, uint32_t max);
