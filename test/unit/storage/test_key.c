// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/key.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static int compare(const struct tlx_db_key *a, const struct tlx_db_key *b) {
  size_t len = a->len < b->len ? a->len : b->len;
  int order = memcmp(a->data, b->data, len);
  return order ? order : (a->len > b->len) - (a->len < b->len);
}

static void fill(char *text, size_t len) {
  memset(text, 'a', len);
  text[len] = 0;
}

Test(key, id) {
  struct tlx_db_key key = {.len = 7};
  struct tlx_db_key_parts parts;
  char text[40];
  cr_assert_not(tlx_db_key_id(NULL, &key));
  cr_assert_not(tlx_db_key_id("", &key));
  fill(text, 32);
  cr_assert_not(tlx_db_key_id(text, &key));
  cr_assert_eq(key.len, 7, "untouched on refusal");
  fill(text, 31);
  cr_assert(tlx_db_key_id(text, &key));
  cr_assert_eq(key.len, 32);
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_ID, key.data, key.len, &parts));
  cr_assert_str_eq(parts.id, text);
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_ID, key.data, 31, &parts));
  /* Bytes behind the first NUL would be another key with the same words. */
  cr_assert(tlx_db_key_id("ab", &key));
  key.data[9] = 'x';
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_ID, key.data, key.len, &parts));
  memset(key.data, 'a', 32);
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_ID, key.data, 32, &parts));
  memset(key.data, 0, 32);
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_ID, key.data, 32, &parts));
}

Test(key, number_is_big_endian) {
  struct tlx_db_key a, b;
  struct tlx_db_key_parts parts;
  tlx_db_key_number(0x0102030405060708ull, &a);
  cr_assert_eq(a.len, 8);
  cr_assert_arr_eq(a.data, ((uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8}), 8);
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_NUMBER, a.data, 8, &parts));
  cr_assert_eq(parts.number, 0x0102030405060708ull);
  tlx_db_key_number(255, &a);
  tlx_db_key_number(256, &b);
  cr_assert_lt(compare(&a, &b), 0);
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_NUMBER, a.data, 7, &parts));
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_NUMBER, a.data, 9, &parts));
}

Test(key, blob) {
  struct tlx_db_key key;
  struct tlx_db_key_parts parts;
  uint8_t data[32] = {9, 8, 7};
  cr_assert(tlx_db_key_blob(data, 16, &key));
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_SERIAL, key.data, key.len, &parts));
  cr_assert_arr_eq(parts.blob, data, 16);
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_HASH, key.data, key.len, &parts));
  cr_assert(tlx_db_key_blob(data, 32, &key));
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_HASH, key.data, key.len, &parts));
  cr_assert_not(tlx_db_key_blob(data, 17, &key));
  cr_assert_not(tlx_db_key_blob(NULL, 16, &key));
}

Test(key, node) {
  struct tlx_db_key key, other;
  struct tlx_db_key_parts parts;
  char name[260];
  cr_assert(tlx_db_key_node("WEB-1", "sensor_a", &key));
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_NODE, key.data, key.len, &parts));
  cr_assert_str_eq(parts.name, "web-1");
  cr_assert_str_eq(parts.id, "sensor_a");
  /* "a" with any id comes before "aa", and "a-…" behind "a". */
  cr_assert(tlx_db_key_node("a", "zzz", &key));
  cr_assert(tlx_db_key_node("aa", "aaa", &other));
  cr_assert_lt(compare(&key, &other), 0);
  cr_assert(tlx_db_key_node("a-b", "aaa", &other));
  cr_assert_lt(compare(&key, &other), 0);
  /* The prefix of one name is not that of a longer one. */
  cr_assert(tlx_db_key_node("a", NULL, &other));
  cr_assert_eq(other.len, 2);
  cr_assert(tlx_db_key_has_prefix(&key, &other, other.len));
  cr_assert(tlx_db_key_node("ab", "x", &key));
  cr_assert_not(tlx_db_key_has_prefix(&key, &other, other.len));
  cr_assert_not(tlx_db_key_node(NULL, "x", &key));
  cr_assert_not(tlx_db_key_node("", "x", &key));
  cr_assert_not(tlx_db_key_node("a", "", &key));
  fill(name, 254);
  cr_assert_not(tlx_db_key_node(name, "x", &key));
  fill(name, 253);
  cr_assert(tlx_db_key_node(name, "x", &key));
  cr_assert_eq(key.len, 253u + 1 + 32);
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_NODE, key.data, key.len, &parts));
  cr_assert_str_eq(parts.name, name);
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_NODE, key.data, 32, &parts));
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_NODE, key.data, 33, &parts));
  /* Two NULs between name and id. */
  cr_assert(tlx_db_key_node("a", "x", &key));
  memmove(key.data + 2, key.data + 1, key.len - 1);
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_NODE, key.data, key.len + 1, &parts));
}

Test(key, sensor_no) {
  struct tlx_db_key a, b;
  struct tlx_db_key_parts parts;
  cr_assert(tlx_db_key_sensor_no("sensor_a", 258, &a));
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_SENSOR_NO, a.data, a.len, &parts));
  cr_assert_str_eq(parts.id, "sensor_a");
  cr_assert_eq(parts.number, 258);
  cr_assert(tlx_db_key_sensor_no("sensor_a", 1000, &b));
  cr_assert_lt(compare(&a, &b), 0);
  cr_assert(tlx_db_key_has_prefix(&a, &b, TLX_DB_KEY_ID_WIDTH));
  cr_assert(tlx_db_key_sensor_no("sensor_ab", 0, &b));
  cr_assert_not(tlx_db_key_has_prefix(&a, &b, TLX_DB_KEY_ID_WIDTH));
  cr_assert_not(tlx_db_key_sensor_no("", 1, &b));
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_SENSOR_NO, a.data, a.len - 1, &parts));
}

Test(key, sensor_rule) {
  struct tlx_db_key a, b;
  struct tlx_db_key_parts parts;
  char text[64], id[40];
  cr_assert(tlx_db_key_sensor_rule("sensor_a", "rule_b", &a));
  cr_assert_eq(a.len, 64);
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_SENSOR_RULE, a.data, a.len, &parts));
  cr_assert_str_eq(parts.id, "sensor_a");
  cr_assert_str_eq(parts.rule_id, "rule_b");
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_SENSOR_RULE, a.data, a.len, text, sizeof text),
                   "sensor_a/rule_b");
  cr_assert(tlx_db_key_sensor_rule("sensor_a", "rule_c", &b));
  cr_assert_lt(compare(&a, &b), 0);
  cr_assert(tlx_db_key_sensor_rule("sensor_a", NULL, &b));
  cr_assert_eq(b.len, TLX_DB_KEY_ID_WIDTH);
  cr_assert(tlx_db_key_has_prefix(&a, &b, b.len));
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_SENSOR_RULE, b.data, b.len, &parts), "only a prefix");
  cr_assert(tlx_db_key_sensor_rule("sensor_ab", NULL, &b));
  cr_assert_not(tlx_db_key_has_prefix(&a, &b, b.len));
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_SENSOR_RULE, a.data, a.len - 1, &parts));
  fill(id, 32);
  cr_assert_not(tlx_db_key_sensor_rule(id, "rule_b", &b));
  cr_assert_not(tlx_db_key_sensor_rule("sensor_a", id, &b));
  cr_assert_not(tlx_db_key_sensor_rule("sensor_a", "", &b));
  cr_assert_not(tlx_db_key_sensor_rule(NULL, "rule_b", &b));
}

Test(key, operator_and_request) {
  struct tlx_db_key key;
  struct tlx_db_key_parts parts;
  char name[40], request[70];
  fill(name, 32);
  fill(request, 64);
  cr_assert(tlx_db_key_operator(name, &key));
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_OPERATOR, key.data, key.len, &parts));
  cr_assert_str_eq(parts.name, name);
  cr_assert(tlx_db_key_request(name, request, &key));
  cr_assert_eq(key.len, 96);
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_REQUEST, key.data, key.len, &parts));
  cr_assert_str_eq(parts.name, name);
  cr_assert_str_eq(parts.request_id, request);
  cr_assert(tlx_db_key_request_time(name, 77, request, &key));
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_REQUEST_TIME, key.data, key.len, &parts));
  cr_assert_eq(parts.number, 77);
  cr_assert_str_eq(parts.request_id, request);
  fill(name, 33);
  cr_assert_not(tlx_db_key_operator(name, &key));
  cr_assert_not(tlx_db_key_request(name, "r", &key));
  cr_assert_not(tlx_db_key_request_time(name, 1, "r", &key));
  fill(request, 65);
  cr_assert_not(tlx_db_key_request("anna", request, &key));
  cr_assert_not(tlx_db_key_request_time("anna", 1, request, &key));
  cr_assert_not(tlx_db_key_request("anna", "", &key));
}

Test(key, prefix_length) {
  struct tlx_db_key a = {.len = 2, .data = {1, 2}}, b = {.len = 3, .data = {1, 2, 3}};
  cr_assert(tlx_db_key_has_prefix(&b, &a, 2));
  cr_assert_not(tlx_db_key_has_prefix(&a, &b, 3), "the key is shorter");
  cr_assert_not(tlx_db_key_has_prefix(&b, &a, 3), "the prefix is shorter");
  cr_assert(tlx_db_key_has_prefix(&a, &b, 0));
}

Test(key, format) {
  struct tlx_db_key key;
  char out[128];
  cr_assert(tlx_db_key_id("sensor_a", &key));
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_ID, key.data, key.len, out, sizeof out),
                   "sensor_a");
  tlx_db_key_number(12, &key);
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_NUMBER, key.data, key.len, out, sizeof out), "12");
  cr_assert(tlx_db_key_node("Web", "sensor_a", &key));
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_NODE, key.data, key.len, out, sizeof out),
                   "web/sensor_a");
  cr_assert(tlx_db_key_sensor_no("sensor_a", 3, &key));
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_SENSOR_NO, key.data, key.len, out, sizeof out),
                   "sensor_a/3");
  cr_assert(tlx_db_key_operator("anna", &key));
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_OPERATOR, key.data, key.len, out, sizeof out),
                   "anna");
  cr_assert(tlx_db_key_request("anna", "r1", &key));
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_REQUEST, key.data, key.len, out, sizeof out),
                   "anna/r1");
  cr_assert(tlx_db_key_request_time("anna", 5, "r1", &key));
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_REQUEST_TIME, key.data, key.len, out, sizeof out),
                   "anna/5/r1");
  const uint8_t serial[16] = {0xab, 1};
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_SERIAL, serial, 16, out, sizeof out),
                   "ab010000000000000000000000000000");
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_ID, "\x01\x02", 2, out, sizeof out), "0x0102");
  /* What a damaged file holds does not reach a terminal as it is. */
  cr_assert(tlx_db_key_id("a\033[2J", &key));
  tlx_db_key_format(TLX_DB_KEY_ID, key.data, key.len, out, sizeof out);
  cr_assert_null(strchr(out, '\033'));
  /* Longer than any key. */
  static const uint8_t huge[1000];
  cr_assert_eq(tlx_db_key_format(TLX_DB_KEY_ID, huge, sizeof huge, out, sizeof out), out);
}

Test(key, token_use) {
  const uint8_t hash[32] = {1, 2, 3}, other[32] = {1, 2, 4};
  struct tlx_db_key a, b;
  struct tlx_db_key_parts parts;
  char text[160];
  cr_assert(tlx_db_key_token_use("token_a", hash, &a));
  cr_assert_eq(a.len, 64);
  cr_assert(tlx_db_key_parse(TLX_DB_KEY_TOKEN_USE, a.data, a.len, &parts));
  cr_assert_str_eq(parts.id, "token_a");
  cr_assert_arr_eq(parts.blob, hash, 32);
  cr_assert_str_eq(tlx_db_key_format(TLX_DB_KEY_TOKEN_USE, a.data, a.len, text, sizeof text),
                   "token_a/0102030000000000000000000000000000000000000000000000000000000000");
  cr_assert(tlx_db_key_token_use("token_a", other, &b));
  cr_assert_lt(memcmp(a.data, b.data, a.len), 0);
  cr_assert(tlx_db_key_token_use("token_a", NULL, &b));
  cr_assert(tlx_db_key_has_prefix(&a, &b, b.len));
  cr_assert_not(tlx_db_key_parse(TLX_DB_KEY_TOKEN_USE, b.data, b.len, &parts), "only a prefix");
  cr_assert_not(tlx_db_key_token_use("", hash, &b));
  cr_assert_not(tlx_db_key_token_use(NULL, hash, &b));
}
