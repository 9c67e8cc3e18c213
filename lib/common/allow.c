// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/allow.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"

#define PORT_MAX 65535u

static const char in_word[] = "in:", out_word[] = "out:";

static int fail(const char **ret_fault, const char *fault) {
  *ret_fault = fault;
  return TLX_E_MALFORMED;
}

/* A number without sign and leading zero, at most |max|. Returns what follows, NULL when there is
 * none. */
static const char *read_number(const char *text, unsigned max, unsigned *ret_number) {
  unsigned number = 0;
  if (*text < '0' || *text > '9' || (text[0] == '0' && text[1] >= '0' && text[1] <= '9'))
    return NULL;
  for (; *text >= '0' && *text <= '9'; text++) {
    number = number * 10 + (unsigned)(*text - '0');
    if (number > max) return NULL;
  }
  *ret_number = number;
  return text;
}

/* ---- CIDR ---- */

static bool has_host_bits(const struct tlx_allow_entry *entry) {
  unsigned len = entry->family == 4 ? 4 : 16;
  for (unsigned i = 0; i < len; i++) {
    unsigned kept = entry->prefix_len > 8 * i ? entry->prefix_len - 8 * i : 0;
    if (kept < 8 && (entry->addr[i] & (0xffu >> kept))) return true;
  }
  return false;
}

static bool is_mapped(const struct tlx_allow_entry *entry) {
  struct in6_addr addr;
  memcpy(&addr, entry->addr, sizeof addr);
  return entry->family == 6 && entry->prefix_len >= 96 && IN6_IS_ADDR_V4MAPPED(&addr);
}

static int parse_cidr(const char **at, struct tlx_allow_entry *entry, const char **ret_fault) {
  char text[INET6_ADDRSTRLEN];
  size_t len = strcspn(*at, "/,");
  unsigned prefix_len;
  if (len == 0 || len >= sizeof text) return fail(ret_fault, "has no IPv4 or IPv6 address");
  memcpy(text, *at, len);
  text[len] = '\0';
  if (inet_pton(AF_INET, text, entry->addr) == 1)
    entry->family = 4;
  else if (inet_pton(AF_INET6, text, entry->addr) == 1)
    entry->family = 6;
  else
    return fail(ret_fault, "has no IPv4 or IPv6 address");
  *at += len;
  unsigned max = entry->family == 4 ? 32 : 128;
  if (**at != '/' || (*at)[1] < '0' || (*at)[1] > '9')
    return fail(ret_fault, entry->family == 4 ? "has no prefix length: one address is /32"
                                              : "has no prefix length: one address is /128");
  const char *end = read_number(*at + 1, max, &prefix_len);
  if (!end)
    return fail(ret_fault, entry->family == 4
                               ? "has a prefix length that is not between 1 and 32"
                               : "has a prefix length that is not between 1 and 128");
  if (prefix_len == 0) return fail(ret_fault, "is a /0, which would let everything through");
  entry->prefix_len = (uint8_t)prefix_len;
  *at = end;
  if (has_host_bits(entry)) return fail(ret_fault, "has host bits beyond its prefix");
  /* No packet carries such an address: the entry would look as if it let something through. */
  if (is_mapped(entry)) return fail(ret_fault, "is an IPv4 address in IPv6 form: write it as IPv4");
  return 0;
}

/* ---- ports and protocol ---- */

/* Port 0 is none, so that 0 to 65535 stays free to mean "every protocol". */
static const char *read_port(const char *text, uint16_t *ret_port) {
  unsigned port;
  const char *end = read_number(text, PORT_MAX, &port);
  if (!end || port == 0) return NULL;
  *ret_port = (uint16_t)port;
  return end;
}

static int parse_ports(const char **at, struct tlx_allow_entry *entry, const char **ret_fault) {
  static const char fault[] = "has a port that is not between 1 and 65535";
  const char *end = read_port(*at + 1, &entry->port_first);
  if (!end) return fail(ret_fault, fault);
  entry->port_last = entry->port_first;
  if (*end == '-') {
    end = read_port(end + 1, &entry->port_last);
    if (!end) return fail(ret_fault, fault);
    if (entry->port_last < entry->port_first)
      return fail(ret_fault, "has a range of ports that ends before it begins");
  }
  *at = end;
  return 0;
}

static int parse_protocol(const char *text, struct tlx_allow_entry *entry, const char **ret_fault) {
  if (strcmp(text, "/tcp") == 0)
    entry->protocol = IPPROTO_TCP;
  else if (strcmp(text, "/udp") == 0)
    entry->protocol = IPPROTO_UDP;
  else if (*text)
    return fail(ret_fault,
                *text == '/'
                    ? "has a protocol that is neither tcp nor udp"
                    : "has something behind it that is neither ,PORT[-PORT] nor /tcp nor /udp");
  return 0;
}

int tlx_allow_parse(const char *text, struct tlx_allow_entry *ret_entry, const char **ret_fault) {
  struct tlx_allow_entry entry = {.port_last = PORT_MAX};
  const char *at = text;
  entry.is_in = strncmp(text, in_word, sizeof in_word - 1) == 0;
  if (!entry.is_in && strncmp(text, out_word, sizeof out_word - 1) != 0)
    return fail(ret_fault, "is not in:CIDR or out:CIDR");
  at += entry.is_in ? sizeof in_word - 1 : sizeof out_word - 1;
  int err = parse_cidr(&at, &entry, ret_fault);
  if (!err && *at == ',') err = parse_ports(&at, &entry, ret_fault);
  if (!err) err = parse_protocol(at, &entry, ret_fault);
  if (err) return err;
  *ret_entry = entry;
  return 0;
}

void tlx_allow_format(const struct tlx_allow_entry *entry, char *out) {
  char addr[INET6_ADDRSTRLEN] = "", ports[16] = "";
  /* Cannot fail: the family is known and the room is enough. */
  (void)inet_ntop(entry->family == 4 ? AF_INET : AF_INET6, entry->addr, addr, sizeof addr);
  if (entry->port_first == entry->port_last)
    snprintf(ports, sizeof ports, ",%u", entry->port_first);
  else if (entry->port_first != 0 || entry->port_last != PORT_MAX)
    snprintf(ports, sizeof ports, ",%u-%u", entry->port_first, entry->port_last);
  snprintf(out, TLX_ALLOW_TEXT_MAX, "%s%s/%u%s%s", entry->is_in ? in_word : out_word, addr,
           entry->prefix_len, ports,
           entry->protocol == IPPROTO_TCP   ? "/tcp"
           : entry->protocol == IPPROTO_UDP ? "/udp"
                                            : "");
}
