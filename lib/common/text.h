// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"

/* Text forms: ids, names, hex, base64, durations, times, escaping. Pure; any thread. */

/* ---- random ids ---- */

/* |len| random bytes from the kernel (getrandom(2)); waits at boot until there are any. 0 or a
 * negative errno. */
int tlx_random(void *out, size_t len);
#define TLX_ID_RANDOM_LEN 16
#define TLX_ID_MAX 32 /* longest id with its NUL, all kinds */
/* "<prefix>" + 16 random characters of [a-z0-9] + NUL, e.g. prefix "kill_". |size| is that of
 * |out|. Each character is equally likely. 0, -ENAMETOOLONG, or the error of tlx_random. */
int tlx_id_make(const char *prefix, char *out, size_t size);
/* Whether |id| is |prefix| and 16 characters of [a-z0-9]. NULL is not. */
bool tlx_id_valid(const char *prefix, const char *id);

/* ---- names (spec §12) ---- */
/* 1 to 253 of [A-Za-z0-9._-], alphanumeric at both ends, and not starting with "sensor_" in any
 * case: a sensor can be named by id or by node name. NULL is not valid, here and below. */
bool tlx_name_node_valid(const char *name);
/* 1 to 63 of [a-z0-9._/-], a lower-case letter or digit at both ends. */
bool tlx_name_label_key_valid(const char *key);
/* 0 to 63 of [A-Za-z0-9._-]. */
bool tlx_name_label_value_valid(const char *value);
/* [a-z0-9][a-z0-9._-]{0,31}, but not "local_root" and nothing that begins with "sensor_": the audit
 * log names other actors so. */
bool tlx_name_operator_valid(const char *name);
/* [A-Za-z0-9._:-]{1,64} */
bool tlx_name_request_id_valid(const char *id);
/* Lower-case copy of a node name for comparison (ASCII). |out| gets at most |size| bytes with NUL.
 */
void tlx_name_node_fold(const char *name, char *out, size_t size);
/* Whether |len| bytes are UTF-8 (RFC 3629: no surrogates, no overlong forms) without a NUL. */
bool tlx_text_utf8_valid(const char *text, size_t len);
/* Makes |text| valid UTF-8 in place, never longer: a character that is cut off at the end goes, any
 * other byte that is part of none becomes '?'. */
void tlx_text_utf8_repair(char *text);
/* Number of characters of valid, NUL-terminated UTF-8. */
size_t tlx_text_utf8_count(const char *text);

/* ---- hex and base64 ---- */
/* Lower-case hex; |out| needs 2 * len + 1. */
void tlx_hex_format(const void *data, size_t len, char *out);
/* Exactly |len| bytes out of 2 * |len| hex digits of either case. 0 or TLX_E_MALFORMED. */
int tlx_hex_parse(const char *hex, void *out, size_t len);
/* Unpadded URL-safe base64, |out| needs (len * 4 + 2) / 3 + 1. Returns the length without NUL. */
size_t tlx_base64url_format(const void *data, size_t len, char *out);
/* Standard alphabet without padding (gRPC -bin headers); sizes as above. */
size_t tlx_base64_format(const void *data, size_t len, char *out);
/* Accepts the standard alphabet and the URL-safe one, padding optional. |out| holds |size| bytes. 0
 * or TLX_E_MALFORMED / TLX_E_TOO_LARGE. */
int tlx_base64_parse(const char *text, size_t text_len, void *out, size_t size, size_t *ret_len);

/* ---- times ---- */
#define TLX_TIME_TEXT_MAX 32
/* RFC 3339, UTC, milliseconds, "Z". |out| of TLX_TIME_TEXT_MAX. */
void tlx_time_format(uint64_t wall_ms, char *out);
/* RFC 3339 with any offset and fraction. 0 or TLX_E_MALFORMED. */
int tlx_time_parse(const char *text, uint64_t *ret_wall_ms);
/* "500ms", "10s", "5m", "24h", "730d", or "1h30m". 0 or TLX_E_MALFORMED. */
int tlx_duration_parse(const char *text, uint64_t *ret_ms);
/* Shortest of the same form with at most two units: "1h30m", "15s", "1.250s" never; below one
 * second in ms. |out| of TLX_TIME_TEXT_MAX. */
void tlx_duration_format(uint64_t ms, char *out);

/* ---- numbers ---- */
/* Decimal without sign or spaces, at most |max|. 0, TLX_E_MALFORMED or TLX_E_TOO_LARGE. */
int tlx_u64_parse(const char *text, uint64_t max, uint64_t *ret_value);

/* ---- escaping ---- */
/* Makes |text| harmless for a terminal or a log: control characters, DEL, bytes that are not UTF-8,
 * bidirectional overrides and backslash become \xNN / \u{…}; cut with "…" when |out| is full. |len|
 * may be SIZE_MAX for NUL-terminated text. Returns |out|. */
char *tlx_text_escape(const char *text, size_t len, char *out, size_t size);

/* ---- addresses ---- */
/* Splits HOST:PORT, [V6]:PORT. |host| of 256. 0 or TLX_E_MALFORMED; port 1–65535. */
int tlx_address_parse(const char *text, char *host, uint16_t *ret_port);
