// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"

Test(text, ids) {
  char id[TLX_ID_MAX], other[TLX_ID_MAX];
  cr_assert_eq(tlx_id_make("kill_", id, sizeof id), 0);
  cr_assert_eq(tlx_id_make("kill_", other, sizeof other), 0);
  cr_assert(tlx_id_valid("kill_", id));
  cr_assert_str_neq(id, other);
  cr_assert_not(tlx_id_valid("rule_", id));
  cr_assert_not(tlx_id_valid("kill_", "kill_ABCDEFGHIJKLMNOP"));
  cr_assert_not(tlx_id_valid("kill_", "kill_short"));
  cr_assert_not(tlx_id_valid("kill_", NULL));
  char small[8];
  cr_assert_lt(tlx_id_make("kill_", small, sizeof small), 0);
}

Test(text, names) {
  char longest[255];
  memset(longest, 'a', sizeof longest);
  longest[253] = 0;
  cr_assert(tlx_name_node_valid(longest));
  longest[253] = 'a';
  longest[254] = 0;
  cr_assert_not(tlx_name_node_valid(longest));
  static const struct {
    bool (*valid)(const char *name);
    const char *good[4], *bad[6];
  } cases[] = {
      {tlx_name_node_valid, {"web-1", "A", "a.b_c"}, {"", "-a", "a-", "sensor_x", "a b", "a/b"}},
      {tlx_name_label_key_valid, {"env", "a/b.c-d_e", "0"}, {"", "Env", "-a", "a-", "a b"}},
      {tlx_name_label_value_valid, {"", "Prod-1", "a.b"}, {"a b", "ä", "a/b"}},
      {tlx_name_operator_valid,
       {"a", "bob.smith", "0-9", "local_roots"},
       {"", "Bob", ".a", "a b", "local_root", "sensor_a"}},
      {tlx_name_request_id_valid, {"a", "A.b:c-d_e"}, {"", "a b", "a/b"}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (int k = 0; k < 4 && cases[i].good[k]; k++)
      cr_assert(cases[i].valid(cases[i].good[k]), "%zu %s", i, cases[i].good[k]);
    for (int k = 0; k < 6 && cases[i].bad[k]; k++)
      cr_assert_not(cases[i].valid(cases[i].bad[k]), "%zu %s", i, cases[i].bad[k]);
  }
  char folded[16];
  tlx_name_node_fold("WEB-Ä", folded, sizeof folded);
  cr_assert_str_eq(folded, "web-Ä");
}

Test(text, hex_and_base64) {
  /* RFC 4648 §10. */
  static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
  static const char *const coded[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
  char out[64];
  uint8_t back[16];
  size_t len;
  for (int i = 0; i < 7; i++) {
    cr_assert_eq(tlx_base64url_format(plain[i], strlen(plain[i]), out), strlen(coded[i]));
    cr_assert_str_eq(out, coded[i]);
    cr_assert_eq(tlx_base64_parse(coded[i], strlen(coded[i]), back, sizeof back, &len), 0);
    cr_assert_eq(len, strlen(plain[i]));
    cr_assert_arr_eq(back, plain[i], len);
  }
  cr_assert_eq(tlx_base64_parse("Zg==", 4, back, sizeof back, &len), 0);
  cr_assert_eq(tlx_base64_parse("Z", 1, back, sizeof back, &len), TLX_E_MALFORMED);
  cr_assert_eq(tlx_base64_parse("Z!==", 4, back, sizeof back, &len), TLX_E_MALFORMED);
  cr_assert_eq(tlx_base64_parse("Zm9vYmFy", 8, back, 3, &len), TLX_E_TOO_LARGE);
  tlx_base64url_format("\xfb\xff", 2, out);
  cr_assert_str_eq(out, "-_8");
  tlx_base64_format("\xfb\xff", 2, out);
  cr_assert_str_eq(out, "+/8");
  tlx_hex_format("\x01\xaB", 2, out);
  cr_assert_str_eq(out, "01ab");
  cr_assert_eq(tlx_hex_parse("01aB", back, 2), 0);
  cr_assert_arr_eq(back, "\x01\xab", 2);
  cr_assert_eq(tlx_hex_parse("01a", back, 2), TLX_E_MALFORMED);
  cr_assert_eq(tlx_hex_parse("01abc", back, 2), TLX_E_MALFORMED);
  cr_assert_eq(tlx_hex_parse("01ag", back, 2), TLX_E_MALFORMED);
}

Test(text, numbers) {
  uint64_t value;
  cr_assert_eq(tlx_u64_parse("18446744073709551615", UINT64_MAX, &value), 0);
  cr_assert_eq(value, UINT64_MAX);
  cr_assert_eq(tlx_u64_parse("18446744073709551616", UINT64_MAX, &value), TLX_E_TOO_LARGE);
  cr_assert_eq(tlx_u64_parse("101", 100, &value), TLX_E_TOO_LARGE);
  static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x1"};
  for (int i = 0; i < 6; i++)
    cr_assert_eq(tlx_u64_parse(bad[i], UINT64_MAX, &value), TLX_E_MALFORMED, "%s", bad[i]);
}

Test(text, utf8) {
  cr_assert(tlx_text_utf8_valid("aä€😀", strlen("aä€😀")));
  cr_assert_eq(tlx_text_utf8_count("aä€😀"), 4);
  static const char *const bad[] = {"\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"};
  for (int i = 0; i < 5; i++)
    cr_assert_not(tlx_text_utf8_valid(bad[i], strlen(bad[i])), "case %d", i);
  cr_assert_not(tlx_text_utf8_valid("a\0b", 3));
}

Test(text, utf8_repair) {
  static const char *const cases[][2] = {
      {"", ""},
      {"plain", "plain"},
      {"\xc3\xa4", "\xc3\xa4"},
      {"a\xc3", "a"},
      {"a\xf0\x9f\x98", "a"},
      {"\xff"
       "a\xc3(",
       "?a?("},
      {"a\xed\xa0", "a??"},
      {"a\xf4\x90", "a??"},
      {"a\xe0", "a"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[16];
    strcpy(text, cases[i][0]);
    tlx_text_utf8_repair(text);
    cr_assert_str_eq(text, cases[i][1], "case %zu", i);
  }
}

Test(text, escape_makes_harmless) {
  char out[64];
  tlx_text_escape("a\x1b[31m\n\x7f\\", SIZE_MAX, out, sizeof out);
  for (const char *at = out; *at; at++)
    cr_assert(*at >= 0x20 && *at != 0x7f, "%s", out);
  cr_assert(strstr(out, "[31m"));
  tlx_text_escape("\xe2\x80\xae"
                  "x",
                  SIZE_MAX, out, sizeof out);
  cr_assert_not(strstr(out, "\xe2\x80\xae"), "a bidirectional override survived");
  tlx_text_escape("\xff", 1, out, sizeof out);
  cr_assert_str_eq(out, "\\xFF");
  tlx_text_escape("0123456789", SIZE_MAX, out, 8);
  cr_assert_lt(strlen(out), 8);
}

Test(text, addresses) {
  char host[256];
  uint16_t port;
  cr_assert_eq(tlx_address_parse("[::1]:443", host, &port), 0);
  cr_assert_str_eq(host, "::1");
  cr_assert_eq(port, 443);
  cr_assert_eq(tlx_address_parse("a.example:1", host, &port), 0);
  static const char *const bad[] = {"a", "a:", "a:0", "a:65536", ":1", "[::1", "::1:443"};
  for (int i = 0; i < 7; i++)
    cr_assert_eq(tlx_address_parse(bad[i], host, &port), TLX_E_MALFORMED, "%s", bad[i]);
}
