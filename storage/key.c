// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/key.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"

/* KEY_LAYOUT: this file is the only one that puts the fields of a key side by side. */

static void add_number(struct tlx_db_key *key, uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8)
    key->data[key->len++] = (uint8_t)(number >> shift);
}

/* |max| is the longest text, |width| what it is padded to. */
static bool add_text(struct tlx_db_key *key, const char *text, size_t max, size_t width) {
  size_t len = text ? strnlen(text, max + 1) : 0;
  if (len == 0 || len > max) return false;
  memcpy(key->data + key->len, text, len);
  memset(key->data + key->len + len, 0, width - len);
  key->len += width;
  return true;
}

static bool add_id(struct tlx_db_key *key, const char *id) {
  return add_text(key, id, TLX_DB_KEY_ID_WIDTH - 1, TLX_DB_KEY_ID_WIDTH);
}

static bool add_operator(struct tlx_db_key *key, const char *name) {
  return add_text(key, name, TLX_DB_KEY_OPERATOR_WIDTH, TLX_DB_KEY_OPERATOR_WIDTH);
}

static bool add_request(struct tlx_db_key *key, const char *request_id) {
  return add_text(key, request_id, TLX_DB_KEY_REQUEST_WIDTH, TLX_DB_KEY_REQUEST_WIDTH);
}

static bool take(bool ok, const struct tlx_db_key *key, struct tlx_db_key *ret_key) {
  if (!ok) return false;
  ret_key->len = key->len;
  memcpy(ret_key->data, key->data, key->len);
  return true;
}

bool tlx_db_key_id(const char *id, struct tlx_db_key *ret_key) {
  struct tlx_db_key key;
  key.len = 0;
  return take(add_id(&key, id), &key, ret_key);
}

void tlx_db_key_number(uint64_t number, struct tlx_db_key *ret_key) {
  ret_key->len = 0;
  add_number(ret_key, number);
}

bool tlx_db_key_blob(const uint8_t *data, size_t len, struct tlx_db_key *ret_key) {
  if (!data || (len != 16 && len != 32)) return false;
  ret_key->len = len;
  memcpy(ret_key->data, data, len);
  return true;
}

bool tlx_db_key_node(const char *node_name, const char *id, struct tlx_db_key *ret_key) {
  struct tlx_db_key key;
  char folded[TLX_DB_KEY_NODE_MAX + 1];
  size_t len = node_name ? strnlen(node_name, TLX_DB_KEY_NODE_MAX + 1) : 0;
  if (len == 0 || len > TLX_DB_KEY_NODE_MAX) return false;
  tlx_name_node_fold(node_name, folded, sizeof folded);
  key.len = 0;
  /* The NUL sorts before every character, so that "a" and all its ids come before "aa". */
  if (!add_text(&key, folded, TLX_DB_KEY_NODE_MAX, strlen(folded) + 1)) return false;
  return take(!id || add_id(&key, id), &key, ret_key);
}

bool tlx_db_key_sensor_no(const char *sensor_id, uint64_t number, struct tlx_db_key *ret_key) {
  struct tlx_db_key key;
  key.len = 0;
  if (!add_id(&key, sensor_id)) return false;
  add_number(&key, number);
  return take(true, &key, ret_key);
}

bool tlx_db_key_sensor_rule(const char *sensor_id, const char *rule_id,
                            struct tlx_db_key *ret_key) {
  struct tlx_db_key key;
  key.len = 0;
  return take(add_id(&key, sensor_id) && (!rule_id || add_id(&key, rule_id)), &key, ret_key);
}

bool tlx_db_key_token_use(const char *token_id, const uint8_t key_hash[32],
                          struct tlx_db_key *ret_key) {
  struct tlx_db_key key;
  key.len = 0;
  if (!add_id(&key, token_id)) return false;
  if (key_hash) {
    memcpy(key.data + key.len, key_hash, 32);
    key.len += 32;
  }
  return take(true, &key, ret_key);
}

bool tlx_db_key_operator(const char *name, struct tlx_db_key *ret_key) {
  struct tlx_db_key key;
  key.len = 0;
  return take(add_operator(&key, name), &key, ret_key);
}

bool tlx_db_key_request(const char *operator_name, const char *request_id,
                        struct tlx_db_key *ret_key) {
  struct tlx_db_key key;
  key.len = 0;
  return take(add_operator(&key, operator_name) && add_request(&key, request_id), &key, ret_key);
}

bool tlx_db_key_request_time(const char *operator_name, uint64_t wall_ms, const char *request_id,
                             struct tlx_db_key *ret_key) {
  struct tlx_db_key key;
  key.len = 0;
  if (!add_operator(&key, operator_name)) return false;
  add_number(&key, wall_ms);
  return take(add_request(&key, request_id), &key, ret_key);
}

bool tlx_db_key_has_prefix(const struct tlx_db_key *key, const struct tlx_db_key *prefix,
                           size_t len) {
  return len <= prefix->len && key->len >= len && memcmp(key->data, prefix->data, len) == 0;
}

/* Cursor over the bytes of a key; a field that does not fit makes |at| NULL for good. */
struct key_reader {
  const uint8_t *at;
  size_t left;
};

static const uint8_t *read_field(struct key_reader *reader, size_t width) {
  const uint8_t *field = reader->at;
  if (!field || reader->left < width) {
    reader->at = NULL;
    return NULL;
  }
  reader->at += width;
  reader->left -= width;
  return field;
}

static void read_number(struct key_reader *reader, uint64_t *number) {
  const uint8_t *field = read_field(reader, 8);
  *number = 0;
  for (int i = 0; field && i < 8; i++)
    *number = *number << 8 | field[i];
}

/* |out| holds |max| characters and a NUL. */
static void read_text(struct key_reader *reader, size_t width, size_t max, char *out) {
  const uint8_t *field = read_field(reader, width);
  if (!field) return;
  size_t len = strnlen((const char *)field, width);
  bool ok = len > 0 && len <= max;
  for (size_t i = len; i < width; i++)
    ok = ok && field[i] == 0;
  if (!ok) {
    reader->at = NULL;
    return;
  }
  memcpy(out, field, len);
  out[len] = 0;
}

static void read_blob(struct key_reader *reader, size_t width, uint8_t *out) {
  const uint8_t *field = read_field(reader, width);
  if (field) memcpy(out, field, width);
}

bool tlx_db_key_parse(enum tlx_db_key_layout layout, const void *data, size_t len,
                      struct tlx_db_key_parts *ret_parts) {
  struct key_reader reader = {.at = data, .left = len};
  struct tlx_db_key_parts parts = {0};
  switch (layout) {
  case TLX_DB_KEY_ID:
    read_text(&reader, TLX_DB_KEY_ID_WIDTH, TLX_DB_KEY_ID_WIDTH - 1, parts.id);
    break;
  case TLX_DB_KEY_NUMBER:
    read_number(&reader, &parts.number);
    break;
  case TLX_DB_KEY_SERIAL:
    read_blob(&reader, 16, parts.blob);
    break;
  case TLX_DB_KEY_HASH:
    read_blob(&reader, 32, parts.blob);
    break;
  case TLX_DB_KEY_NODE:
    if (len <= TLX_DB_KEY_ID_WIDTH) return false;
    read_text(&reader, len - TLX_DB_KEY_ID_WIDTH, TLX_DB_KEY_NODE_MAX, parts.name);
    /* Exactly one NUL ends the name: more would be another key with the same words. */
    if (strlen(parts.name) + 1 != len - TLX_DB_KEY_ID_WIDTH) return false;
    read_text(&reader, TLX_DB_KEY_ID_WIDTH, TLX_DB_KEY_ID_WIDTH - 1, parts.id);
    break;
  case TLX_DB_KEY_SENSOR_NO:
    read_text(&reader, TLX_DB_KEY_ID_WIDTH, TLX_DB_KEY_ID_WIDTH - 1, parts.id);
    read_number(&reader, &parts.number);
    break;
  case TLX_DB_KEY_SENSOR_RULE:
    read_text(&reader, TLX_DB_KEY_ID_WIDTH, TLX_DB_KEY_ID_WIDTH - 1, parts.id);
    read_text(&reader, TLX_DB_KEY_ID_WIDTH, TLX_DB_KEY_ID_WIDTH - 1, parts.rule_id);
    break;
  case TLX_DB_KEY_TOKEN_USE:
    read_text(&reader, TLX_DB_KEY_ID_WIDTH, TLX_DB_KEY_ID_WIDTH - 1, parts.id);
    read_blob(&reader, 32, parts.blob);
    break;
  case TLX_DB_KEY_OPERATOR:
    read_text(&reader, TLX_DB_KEY_OPERATOR_WIDTH, TLX_DB_KEY_OPERATOR_WIDTH, parts.name);
    break;
  case TLX_DB_KEY_REQUEST:
    read_text(&reader, TLX_DB_KEY_OPERATOR_WIDTH, TLX_DB_KEY_OPERATOR_WIDTH, parts.name);
    read_text(&reader, TLX_DB_KEY_REQUEST_WIDTH, TLX_DB_KEY_REQUEST_WIDTH, parts.request_id);
    break;
  case TLX_DB_KEY_REQUEST_TIME:
    read_text(&reader, TLX_DB_KEY_OPERATOR_WIDTH, TLX_DB_KEY_OPERATOR_WIDTH, parts.name);
    read_number(&reader, &parts.number);
    read_text(&reader, TLX_DB_KEY_REQUEST_WIDTH, TLX_DB_KEY_REQUEST_WIDTH, parts.request_id);
    break;
  }
  if (!reader.at || reader.left != 0) return false;
  *ret_parts = parts;
  return true;
}

char *tlx_db_key_format(enum tlx_db_key_layout layout, const void *data, size_t len, char *out,
                        size_t size) {
  struct tlx_db_key_parts parts;
  char text[TLX_DB_KEY_MAX * 2 + 64];
  char hex[TLX_DB_KEY_MAX * 2 + 1];
  if (!tlx_db_key_parse(layout, data, len, &parts)) {
    tlx_hex_format(data, len < TLX_DB_KEY_MAX ? len : TLX_DB_KEY_MAX, hex);
    snprintf(text, sizeof text, "0x%s", hex);
    return tlx_text_escape(text, SIZE_MAX, out, size);
  }
  switch (layout) {
  case TLX_DB_KEY_ID:
    snprintf(text, sizeof text, "%s", parts.id);
    break;
  case TLX_DB_KEY_NUMBER:
    snprintf(text, sizeof text, "%llu", (unsigned long long)parts.number);
    break;
  case TLX_DB_KEY_SERIAL:
  case TLX_DB_KEY_HASH:
    tlx_hex_format(data, len, hex);
    snprintf(text, sizeof text, "%s", hex);
    break;
  case TLX_DB_KEY_NODE:
    snprintf(text, sizeof text, "%s/%s", parts.name, parts.id);
    break;
  case TLX_DB_KEY_SENSOR_NO:
    snprintf(text, sizeof text, "%s/%llu", parts.id, (unsigned long long)parts.number);
    break;
  case TLX_DB_KEY_SENSOR_RULE:
    snprintf(text, sizeof text, "%s/%s", parts.id, parts.rule_id);
    break;
  case TLX_DB_KEY_TOKEN_USE:
    tlx_hex_format(parts.blob, 32, hex);
    snprintf(text, sizeof text, "%s/%s", parts.id, hex);
    break;
  case TLX_DB_KEY_OPERATOR:
    snprintf(text, sizeof text, "%s", parts.name);
    break;
  case TLX_DB_KEY_REQUEST:
    snprintf(text, sizeof text, "%s/%s", parts.name, parts.request_id);
    break;
  case TLX_DB_KEY_REQUEST_TIME:
    snprintf(text, sizeof text, "%s/%llu/%s", parts.name, (unsigned long long)parts.number,
             parts.request_id);
    break;
  }
  return tlx_text_escape(text, SIZE_MAX, out, size);
}
