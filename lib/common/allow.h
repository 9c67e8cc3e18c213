// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* An entry of a containment's allow list: `in:|out:CIDR[,PORT[-PORT]][/tcp|udp]` (spec §5.3).
 * Without a port every protocol is meant. Matched statelessly both ways: `in:` by remote address
 * and local port, `out:` by remote address and remote port. Ports are 1 to 65535; numbers have no
 * leading zero; the prefix length is always there, so that no entry lets through more than it says.
 * Pure; any thread. */

#define TLX_ALLOW_LIST_MAX 64u
#define TLX_ALLOW_TEXT_MAX 80u

struct tlx_allow_entry {
  bool is_in;     /* else out */
  uint8_t family; /* 4 or 6 */
  uint8_t prefix_len;
  uint8_t addr[16];               /* network byte order, host bits zero; the first 4 for IPv4 */
  uint8_t protocol;               /* 6, 17; 0 = every one */
  uint16_t port_first, port_last; /* 0 to 65535 = every one */
};
/* 0 or TLX_E_MALFORMED with the end of a sentence in |ret_fault| (static storage): "is not in:CIDR
 * or out:CIDR", "is a /0, which would let everything through", "has host bits beyond its prefix"… A
 * port without protocol means both, TCP and UDP: such an entry has protocol 0 and a port range;
 * without ports protocol 0 means every protocol. A protocol may stand without ports. |ret_entry| is
 * untouched on failure, |ret_fault| on success. */
int tlx_allow_parse(const char *text, struct tlx_allow_entry *ret_entry, const char **ret_fault);
/* The canonical text: the same entry always has the same, and it parses to that entry. |out| of
 * TLX_ALLOW_TEXT_MAX. */
void tlx_allow_format(const struct tlx_allow_entry *entry, char *out);
