// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A second opinion on text, written from the grammar of RFC 3629 and not from our code. */

/* One row of UTF8-octets: the ranges of the first two bytes, and how many bytes there are. */
static const struct {
  uint8_t first_min, first_max, second_min, second_max;
  unsigned n;
} model_rows[] = {
    {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* Length of the character at |at|; 0 = none. */
static inline size_t model_character(const uint8_t *at, size_t len) {
  for (size_t i = 0; i < sizeof model_rows / sizeof *model_rows; i++) {
    if (at[0] < model_rows[i].first_min || at[0] > model_rows[i].first_max) continue;
    if (len < model_rows[i].n) return 0;
    if (model_rows[i].n > 1 &&
        (at[1] < model_rows[i].second_min || at[1] > model_rows[i].second_max))
      return 0;
    for (unsigned k = 2; k < model_rows[i].n; k++)
      if (at[k] < 0x80 || at[k] > 0xbf) return 0;
    return model_rows[i].n;
  }
  return 0;
}

static inline bool model_utf8(const uint8_t *at, size_t len, size_t *ret_n) {
  *ret_n = 0;
  for (size_t n; len; at += n, len -= n, ++*ret_n)
    if ((n = model_character(at, len)) == 0) return false;
  return true;
}

/* No control character, and none that reorders or hides its neighbours. */
static inline bool model_is_harmless(const char *text) {
  static const char *const harmful[] = {"\u200b", "\u200e", "\u200f", "\u2028", "\u2029", "\u202a",
                                        "\u202e", "\u2066", "\u2069", "\ufeff", "\u061c", "\u00ad"};
  for (const char *c = text; *c; c++)
    if ((uint8_t)*c < 0x20 || *c == 0x7f) return false;
  for (size_t i = 0; i < sizeof harmful / sizeof *harmful; i++)
    if (strstr(text, harmful[i])) return false;
  for (const char *c = text; (c = strchr(c, '\xc2')); c++)
    if ((uint8_t)c[1] >= 0x80 && (uint8_t)c[1] <= 0x9f) return false; /* C1 controls */
  return true;
}

static inline size_t model_encode(unsigned long code, char *out) {
  size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const uint8_t heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = n; i-- > 1; code >>= 6)
    out[i] = (char)(0x80 | (code & 0x3f));
  out[0] = (char)(heads[n] | code);
  return n;
}

/* Undoes the escapes \xNN and \u{…}; |out| holds strlen(text) bytes. Returns how many came out. */
static inline size_t model_unescape(const char *text, char *out) {
  char *at = out;
  while (*text) {
    if (text[0] == '\\' && text[1] == 'x') {
      char digits[3] = {text[2], text[3], 0};
      *at++ = (char)strtoul(digits, NULL, 16);
      text += 4;
    } else if (text[0] == '\\' && text[1] == 'u') {
      char *end;
      at += model_encode(strtoul(text + 3, &end, 16), at);
      text = end + 1;
    } else {
      *at++ = *text++;
    }
  }
  return (size_t)(at - out);
}
