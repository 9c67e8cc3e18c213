// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "common/err.h"

/* ---- random ids ---- */

int tlx_random(void *out, size_t len) {
  uint8_t *at = out;
  while (len) {
    ssize_t n = getrandom(at, len, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    at += n;
    len -= (size_t)n;
  }
  return 0;
}

static const char id_alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
#define ID_ALPHABET_LEN 36u

int tlx_id_make(const char *prefix, char *out, size_t size) {
  size_t at = strlen(prefix), end = at + TLX_ID_RANDOM_LEN;
  if (end + 1 > size) return -ENAMETOOLONG;
  memcpy(out, prefix, at);
  while (at < end) {
    uint8_t random[TLX_ID_RANDOM_LEN];
    int err = tlx_random(random, sizeof random);
    if (err) return err;
    /* Bytes above the last multiple of 36 are dropped: each character is equally likely. */
    for (size_t i = 0; i < sizeof random && at < end; i++)
      if (random[i] < 256 / ID_ALPHABET_LEN * ID_ALPHABET_LEN)
        out[at++] = id_alphabet[random[i] % ID_ALPHABET_LEN];
  }
  out[end] = '\0';
  return 0;
}

bool tlx_id_valid(const char *prefix, const char *id) {
  if (!id) return false;
  size_t len = strlen(prefix);
  if (strncmp(id, prefix, len) != 0 || strlen(id) != len + TLX_ID_RANDOM_LEN) return false;
  for (const char *c = id + len; *c; c++)
    if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9'))) return false;
  return true;
}

/* ---- names ---- */

static bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
static bool is_alnum(char c) {
  return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z');
}

bool tlx_name_node_valid(const char *name) {
  if (!name) return false;
  size_t len = strlen(name);
  if (len < 1 || len > 253 || !is_alnum(name[0]) || !is_alnum(name[len - 1])) return false;
  for (size_t i = 0; i < len; i++)
    if (!is_alnum(name[i]) && !strchr("._-", name[i])) return false;
  /* A sensor can be named by id or by node name: one must not look like the other. */
  return strncasecmp(name, "sensor_", 7) != 0;
}

bool tlx_name_label_key_valid(const char *key) {
  if (!key) return false;
  size_t len = strlen(key);
  if (len < 1 || len > 63) return false;
  for (size_t i = 0; i < len; i++) {
    bool plain = is_lower(key[i]) || is_digit(key[i]);
    if (!plain && (i == 0 || i == len - 1 || !strchr("._/-", key[i]))) return false;
  }
  return true;
}

bool tlx_name_label_value_valid(const char *value) {
  if (!value || strlen(value) > 63) return false;
  for (; *value; value++)
    if (!is_alnum(*value) && !strchr("._-", *value)) return false;
  return true;
}

bool tlx_name_operator_valid(const char *name) {
  if (!name) return false;
  size_t len = strlen(name);
  if (len < 1 || len > 32) return false;
  for (size_t i = 0; i < len; i++) {
    bool plain = is_lower(name[i]) || is_digit(name[i]);
    if (!plain && (i == 0 || !strchr("._-", name[i]))) return false;
  }
  return strcmp(name, "local_root") != 0 && strncmp(name, "sensor_", 7) != 0;
}

bool tlx_name_request_id_valid(const char *id) {
  if (!id) return false;
  size_t len = strlen(id);
  if (len < 1 || len > 64) return false;
  for (; *id; id++)
    if (!is_alnum(*id) && !strchr("._:-", *id)) return false;
  return true;
}

void tlx_name_node_fold(const char *name, char *out, size_t size) {
  size_t at = 0;
  for (; *name && at + 1 < size; name++)
    out[at++] = (char)(*name >= 'A' && *name <= 'Z' ? *name - 'A' + 'a' : *name);
  if (size) out[at] = '\0';
}

/* ---- UTF-8 (RFC 3629) ---- */

/* Length of the character at |text|, 0 when it is not valid; |*ret_code| its number. */
static size_t utf8_char(const uint8_t *text, size_t len, uint32_t *ret_code) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  uint8_t first = text[0];
  size_t n = first < 0x80       ? 1
             : first >> 5 == 6  ? 2
             : first >> 4 == 14 ? 3
             : first >> 3 == 30 ? 4
                                : 0;
  if (n == 0 || n > len) return 0;
  uint32_t code = n == 1 ? first : first & (0x7fu >> n);
  for (size_t i = 1; i < n; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
    code = code << 6 | (text[i] & 0x3f);
  }
  if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return 0;
  *ret_code = code;
  return n;
}

bool tlx_text_utf8_valid(const char *text, size_t len) {
  const uint8_t *at = (const uint8_t *)text;
  uint32_t code;
  while (len) {
    size_t n = utf8_char(at, len, &code);
    if (n == 0 || code == 0) return false;
    at += n;
    len -= n;
  }
  return true;
}

/* Whether a valid character could begin with all |len| bytes. */
static bool utf8_is_cut(const uint8_t *text, size_t len) {
  static const uint8_t lowest_and_highest[] = {0x80, 0xbf};
  uint8_t whole[4];
  uint32_t code;
  if (len == 0 || len > 3) return false;
  memcpy(whole, text, len);
  /* What may follow depends on the first bytes; one of the two ends of the range always may. */
  for (size_t i = 0; i < 2; i++) {
    memset(whole + len, lowest_and_highest[i], sizeof whole - len);
    for (size_t n = len + 1; n <= sizeof whole; n++)
      if (utf8_char(whole, n, &code) == n) return true;
  }
  return false;
}

void tlx_text_utf8_repair(char *text) {
  uint8_t *at = (uint8_t *)text;
  size_t len = strlen(text), n;
  uint32_t code;
  for (; len; at += n, len -= n) {
    n = utf8_char(at, len, &code);
    if (n) continue;
    if (utf8_is_cut(at, len)) break;
    *at = '?';
    n = 1;
  }
  *at = '\0';
}

size_t tlx_text_utf8_count(const char *text) {
  size_t n = 0;
  for (; *text; text++)
    if (((uint8_t)*text & 0xc0) != 0x80) n++;
  return n;
}

/* ---- hex and base64 ---- */

void tlx_hex_format(const void *data, size_t len, char *out) {
  static const char digits[] = "0123456789abcdef";
  const uint8_t *at = data;
  for (size_t i = 0; i < len; i++) {
    *out++ = digits[at[i] >> 4];
    *out++ = digits[at[i] & 15];
  }
  *out = '\0';
}

static int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int tlx_hex_parse(const char *hex, void *out, size_t len) {
  uint8_t *at = out;
  if (strlen(hex) != 2 * len) return TLX_E_MALFORMED;
  for (size_t i = 0; i < 2 * len; i++)
    if (hex_digit(hex[i]) < 0) return TLX_E_MALFORMED;
  for (size_t i = 0; i < len; i++)
    at[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
  return 0;
}

static const char base64_standard[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t base64_format(const char *alphabet, const void *data, size_t len, char *out) {
  const uint8_t *at = data;
  char *start = out;
  for (size_t i = 0; i < len; i += 3) {
    size_t n = len - i < 3 ? len - i : 3;
    uint32_t group = (uint32_t)at[i] << 16;
    if (n > 1) group |= (uint32_t)at[i + 1] << 8;
    if (n > 2) group |= at[i + 2];
    for (size_t k = 0; k <= n; k++)
      *out++ = alphabet[group >> (18 - 6 * k) & 63];
  }
  *out = '\0';
  return (size_t)(out - start);
}

size_t tlx_base64url_format(const void *data, size_t len, char *out) {
  return base64_format(base64_url, data, len, out);
}
size_t tlx_base64_format(const void *data, size_t len, char *out) {
  return base64_format(base64_standard, data, len, out);
}

static int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (is_lower(c)) return c - 'a' + 26;
  if (is_digit(c)) return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

int tlx_base64_parse(const char *text, size_t text_len, void *out, size_t size, size_t *ret_len) {
  uint8_t *at = out;
  size_t len = text_len, n = 0;
  /* Padding only where it completes a group of four. */
  while (len && text_len % 4 == 0 && text_len - len < 2 && text[len - 1] == '=')
    len--;
  if (len % 4 == 1) return TLX_E_MALFORMED;
  if (len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0) > size) return TLX_E_TOO_LARGE;
  uint32_t group = 0;
  for (size_t i = 0; i < len; i++) {
    int digit = base64_digit(text[i]);
    if (digit < 0) return TLX_E_MALFORMED;
    group = group << 6 | (uint32_t)digit;
    if (i % 4 == 3) {
      at[n++] = (uint8_t)(group >> 16);
      at[n++] = (uint8_t)(group >> 8);
      at[n++] = (uint8_t)group;
      group = 0;
    }
  }
  if (len % 4 == 2) {
    at[n++] = (uint8_t)(group >> 4);
  } else if (len % 4 == 3) {
    at[n++] = (uint8_t)(group >> 10);
    at[n++] = (uint8_t)(group >> 2);
  }
  *ret_len = n;
  return 0;
}

/* ---- numbers ---- */

int tlx_u64_parse(const char *text, uint64_t max, uint64_t *ret_value) {
  uint64_t value = 0;
  if (!*text) return TLX_E_MALFORMED;
  for (const char *c = text; *c; c++)
    if (!is_digit(*c)) return TLX_E_MALFORMED;
  for (; *text; text++) {
    uint64_t digit = (uint64_t)(*text - '0');
    if (value > (UINT64_MAX - digit) / 10) return TLX_E_TOO_LARGE;
    value = value * 10 + digit;
  }
  if (value > max) return TLX_E_TOO_LARGE;
  *ret_value = value;
  return 0;
}

/* ---- escaping ---- */

/* Characters that change how others are shown: bidirectional controls, zero-width, line separators.
 */
static bool is_deceptive(uint32_t code) {
  return (code >= 0x80 && code <= 0x9f) || code == 0xad || code == 0x61c ||
         (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
         (code >= 0xfff9 && code <= 0xfffb) || (code >= 0xe0000 && code <= 0xe007f);
}

char *tlx_text_escape(const char *text, size_t len, char *out, size_t size) {
  static const char cut[] = "\xe2\x80\xa6"; /* an ellipsis */
  const uint8_t *in = (const uint8_t *)text;
  size_t at = 0, safe = 0;
  if (size == 0) return out;
  if (len == SIZE_MAX) len = text ? strlen(text) : 0;
  while (len) {
    char piece[16];
    uint32_t code;
    size_t n = utf8_char(in, len, &code), piece_len;
    if (n == 0) {
      n = 1;
      piece_len = (size_t)snprintf(piece, sizeof piece, "\\x%02X", in[0]);
    } else if (code < 0x20 || code == 0x7f || code == '\\') {
      piece_len = (size_t)snprintf(piece, sizeof piece, "\\x%02X", (unsigned)code);
    } else if (is_deceptive(code)) {
      piece_len = (size_t)snprintf(piece, sizeof piece, "\\u{%X}", (unsigned)code);
    } else {
      memcpy(piece, in, n);
      piece_len = n;
    }
    if (at + piece_len + 1 > size) {
      /* Back to where the mark fits. */
      at = safe;
      if (at + sizeof cut <= size) {
        memcpy(out + at, cut, sizeof cut - 1);
        at += sizeof cut - 1;
      }
      break;
    }
    memcpy(out + at, piece, piece_len);
    at += piece_len;
    if (at + sizeof cut <= size) safe = at;
    in += n;
    len -= n;
  }
  out[at] = '\0';
  return out;
}

/* ---- addresses ---- */

int tlx_address_parse(const char *text, char *host, uint16_t *ret_port) {
  const char *start = text, *end, *colon = strrchr(text, ':');
  uint64_t port;
  if (!colon || tlx_u64_parse(colon + 1, 65535, &port) != 0 || port == 0) return TLX_E_MALFORMED;
  end = colon;
  if (*start == '[') {
    if (end - start < 3 || end[-1] != ']') return TLX_E_MALFORMED;
    start++;
    end--;
    if (!memchr(start, ':', (size_t)(end - start))) return TLX_E_MALFORMED;
  } else if (memchr(start, ':', (size_t)(end - start))) {
    return TLX_E_MALFORMED; /* a bare IPv6 address: which colon is the port's? */
  }
  size_t len = (size_t)(end - start);
  if (len == 0 || len > 255) return TLX_E_MALFORMED;
  for (size_t i = 0; i < len; i++)
    if (!is_alnum(start[i]) && !strchr("._-:%", start[i])) return TLX_E_MALFORMED;
  memcpy(host, start, len);
  host[len] = '\0';
  *ret_port = (uint16_t)port;
  return 0;
}
