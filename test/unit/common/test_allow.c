// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/allow.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/err.h"

static const char *canonical(const char *text) {
  static char out[TLX_ALLOW_TEXT_MAX];
  struct tlx_allow_entry entry, again;
  const char *fault = "untouched";
  cr_assert_eq(tlx_allow_parse(text, &entry, &fault), 0, "%s: %s", text, fault);
  cr_assert_str_eq(fault, "untouched");
  tlx_allow_format(&entry, out);
  cr_assert_eq(tlx_allow_parse(out, &again, &fault), 0, "%s: %s", out, fault);
  cr_assert_eq(memcmp(&entry, &again, sizeof entry), 0, "%s is not %s", out, text);
  return out;
}

Test(allow, every_form) {
  static const char *const cases[][2] = {
      {"in:10.0.0.0/8", NULL},
      {"out:10.0.0.0/8", NULL},
      {"out:10.1.2.3/32", NULL},
      {"out:255.255.255.255/32,443/tcp", NULL},
      {"in:10.0.0.0/8,22", NULL},
      {"in:10.0.0.0/8,22-23/udp", NULL},
      {"in:10.0.0.0/8/tcp", NULL},
      {"in:10.0.0.0/8/udp", NULL},
      {"out:128.0.0.0/1", NULL},
      {"out:0.0.0.0/32", NULL},
      {"out:2001:db8::/32", NULL},
      {"out:2001:db8::1/128,53/udp", NULL},
      {"out:::/1", NULL},
      {"in:::1/128,1-65535", NULL},
      {"in:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128,10000-65535/tcp", NULL},
      /* one text for the same */
      {"in:10.0.0.0/8,22-22", "in:10.0.0.0/8,22"},
      {"out:2001:DB8:0:0:0:0:0:1/128", "out:2001:db8::1/128"},
      {"out:2001:0db8::/32,443-443/tcp", "out:2001:db8::/32,443/tcp"},
      {"out:::fffe:0:0/95", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    cr_assert_str_eq(canonical(cases[i][0]), cases[i][1] ? cases[i][1] : cases[i][0]);
}

Test(allow, what_an_entry_means) {
  struct tlx_allow_entry entry;
  const char *fault;
  static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8};
  cr_assert_eq(tlx_allow_parse("in:10.32.0.0/11", &entry, &fault), 0);
  cr_assert(entry.is_in);
  cr_assert_eq(entry.family, 4);
  cr_assert_eq(entry.prefix_len, 11);
  cr_assert_arr_eq(entry.addr, "\x0a\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
  cr_assert_eq(entry.protocol, 0);
  cr_assert(entry.port_first == 0 && entry.port_last == 65535, "every protocol");
  cr_assert_eq(tlx_allow_parse("out:2001:db8::/32,1-65535", &entry, &fault), 0);
  cr_assert_not(entry.is_in);
  cr_assert_eq(entry.family, 6);
  cr_assert_arr_eq(entry.addr, v6, 16);
  cr_assert_eq(entry.protocol, 0);
  cr_assert(entry.port_first == 1 && entry.port_last == 65535, "TCP and UDP, not every protocol");
  cr_assert_eq(tlx_allow_parse("out:10.0.0.1/32,53-54/udp", &entry, &fault), 0);
  cr_assert_eq(entry.protocol, 17);
  cr_assert(entry.port_first == 53 && entry.port_last == 54);
  cr_assert_eq(tlx_allow_parse("out:10.0.0.1/32/tcp", &entry, &fault), 0);
  cr_assert_eq(entry.protocol, 6);
  cr_assert(entry.port_first == 0 && entry.port_last == 65535);
}

Test(allow, faults) {
  static const struct {
    const char *text, *fault;
  } cases[] = {
      {"", "is not in:CIDR or out:CIDR"},
      {"10.0.0.0/8", "is not in:CIDR or out:CIDR"},
      {"IN:10.0.0.0/8", "is not in:CIDR or out:CIDR"},
      {" in:10.0.0.0/8", "is not in:CIDR or out:CIDR"},
      {"both:10.0.0.0/8", "is not in:CIDR or out:CIDR"},
      {"in:", "has no IPv4 or IPv6 address"},
      {"in:/8", "has no IPv4 or IPv6 address"},
      {"in: 10.0.0.0/8", "has no IPv4 or IPv6 address"},
      {"in:host.example/32", "has no IPv4 or IPv6 address"},
      {"in:10.0.0/8", "has no IPv4 or IPv6 address"},
      {"in:010.0.0.0/8", "has no IPv4 or IPv6 address"},
      {"in:10.0.0.256/32", "has no IPv4 or IPv6 address"},
      {"in:[2001:db8::1]/128", "has no IPv4 or IPv6 address"},
      {"in:fe80::1%eth0/128", "has no IPv4 or IPv6 address"},
      {"in:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "has no IPv4 or IPv6 address"},
      {"in:10.0.0.1", "has no prefix length: one address is /32"},
      {"in:10.0.0.1,22", "has no prefix length: one address is /32"},
      {"in:10.0.0.1/tcp", "has no prefix length: one address is /32"},
      {"in:10.0.0.1/", "has no prefix length: one address is /32"},
      {"in:10.0.0.0/-8", "has no prefix length: one address is /32"},
      {"in:2001:db8::1", "has no prefix length: one address is /128"},
      {"in:10.0.0.0/33", "has a prefix length that is not between 1 and 32"},
      {"in:10.0.0.0/08", "has a prefix length that is not between 1 and 32"},
      {"in:10.0.0.0/4294967304", "has a prefix length that is not between 1 and 32"},
      {"in:2001:db8::1/129", "has a prefix length that is not between 1 and 128"},
      {"in:0.0.0.0/0", "is a /0, which would let everything through"},
      {"out:::/0,443/tcp", "is a /0, which would let everything through"},
      {"in:10.0.0.1/31", "has host bits beyond its prefix"},
      {"in:10.0.0.0/4", "has host bits beyond its prefix"},
      {"out:2001:db8::1/127", "has host bits beyond its prefix"},
      {"out:2001:db8::/16", "has host bits beyond its prefix"},
      {"out:::ffff:10.0.0.0/104", "is an IPv4 address in IPv6 form: write it as IPv4"},
      {"out:::ffff:0:0/96", "is an IPv4 address in IPv6 form: write it as IPv4"},
      {"in:10.0.0.0/8,", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8,0", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8,0-65535", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8,65536", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8,022", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8, 22", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8,+22", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8,ssh", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8,22-", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8,22-65536", "has a port that is not between 1 and 65535"},
      {"in:10.0.0.0/8,23-22", "has a range of ports that ends before it begins"},
      {"in:10.0.0.0/8,22/", "has a protocol that is neither tcp nor udp"},
      {"in:10.0.0.0/8,22/TCP", "has a protocol that is neither tcp nor udp"},
      {"in:10.0.0.0/8,22/sctp", "has a protocol that is neither tcp nor udp"},
      {"in:10.0.0.0/8,22/tcp ", "has a protocol that is neither tcp nor udp"},
      {"in:10.0.0.0/8/tcp,22", "has a protocol that is neither tcp nor udp"},
      {"in:10.0.0.0/8,22-23-24",
       "has something behind it that is neither ,PORT[-PORT] nor /tcp nor /udp"},
      {"in:10.0.0.0/8,22,23",
       "has something behind it that is neither ,PORT[-PORT] nor /tcp nor /udp"},
      {"in:10.0.0.0/8 ", "has something behind it that is neither ,PORT[-PORT] nor /tcp nor /udp"},
      {"in:10.0.0.0/8x", "has something behind it that is neither ,PORT[-PORT] nor /tcp nor /udp"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tlx_allow_entry entry = {.prefix_len = 77};
    const char *fault = NULL;
    cr_assert_eq(tlx_allow_parse(cases[i].text, &entry, &fault), TLX_E_MALFORMED, "\"%s\"",
                 cases[i].text);
    cr_assert_str_eq(fault, cases[i].fault, "\"%s\": %s", cases[i].text, fault);
    cr_assert_eq(entry.prefix_len, 77, "untouched on failure");
  }
}

/* Every prefix length of both families: exactly the bits behind it must be zero. */
Test(allow, every_prefix_length) {
  for (unsigned family = 4; family <= 6; family += 2)
    for (unsigned bits = 1; bits <= (family == 4 ? 32u : 128u); bits++) {
      struct tlx_allow_entry entry = {.family = (uint8_t)family,
                                      .prefix_len = (uint8_t)bits,
                                      .port_last = 65535},
                             again;
      char text[TLX_ALLOW_TEXT_MAX];
      const char *fault;
      entry.addr[(bits - 1) / 8] = (uint8_t)(0x80u >> (bits - 1) % 8);
      tlx_allow_format(&entry, text);
      cr_assert_eq(tlx_allow_parse(text, &again, &fault), 0, "%s: %s", text, fault);
      cr_assert_eq(memcmp(&entry, &again, sizeof entry), 0, "%s", text);
      if (bits == 1) continue;
      entry.prefix_len--;
      tlx_allow_format(&entry, text);
      cr_assert_eq(tlx_allow_parse(text, &again, &fault), TLX_E_MALFORMED, "%s", text);
      cr_assert_str_eq(fault, "has host bits beyond its prefix");
    }
}
