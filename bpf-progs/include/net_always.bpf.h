/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_NET_ALWAYS_BPF_H
#define TLX_NET_ALWAYS_BPF_H
/* What passes every containment, because without it the sensor's own link would die: neighbour
 * discovery, MLD, path-MTU errors, the DHCP client. Each as narrow as its use allows, since a
 * process of the host can make such packets too:
 *
 * - Path-MTU errors inwards only: a host that forwards nothing has none to send.
 * - Neighbour discovery must not leave the link, and its hop limit does not keep a router from
 * forwarding it. Outwards it goes to link-local and link-wide addresses; to others only a
 * solicitation for that very address (RFC 4861 §7.3) and an advertisement, both with room for
 * nothing but an address: no header in between, whose padding could hold anything.
 * - MLD has hop limit 1, DHCPv6 addresses of the link (RFC 8415 §13, §18).
 * - DHCPv4 renews with its server at any address, and when that does not answer with all on the
 * link (RFC 2131 §4.4.5). Only the latter goes out: to the server's address root could reach
 * anybody, and the one that granted the lease is reached by broadcast. */
#include "net_parse.bpf.h"

#define TLX_ICMP_UNREACHABLE 3
#define TLX_ICMP_FRAG_NEEDED 4
#define TLX_ICMPV6_TOO_BIG 2
#define TLX_MLD_QUERY 130
#define TLX_MLD_DONE 132
#define TLX_MLD2_REPORT 143
#define TLX_ND_FIRST 133 /* router solicitation, advertisement, */
#define TLX_ND_SOLICIT 135
#define TLX_ND_ADVERT 136
#define TLX_ND_LAST 137 /* redirect */
/* Of both: head, target, one option with an Ethernet address. */
#define TLX_ND_LEN 32

/* fe80::/10, ff02::/16 */
static __always_inline bool tlx_is_link_scope(const union tlx_addr *address) {
  const __u32 first = bpf_ntohl(address->word[0]);
  return first >> 22 == 0xfe80 >> 6 || first >> 16 == 0xff02;
}

static __always_inline bool tlx_is_nd(struct __sk_buff *skb, bool in, const struct tlx_packet *p) {
  union tlx_addr target;
  if (p->hop_limit != 255 || p->icmp_code) return false;
  if (in || tlx_is_link_scope(&p->remote)) return true;
  if (p->has_ext || skb->len > p->l4 + TLX_ND_LEN) return false;
  if (p->icmp_type == TLX_ND_ADVERT) return true;
  if (p->icmp_type != TLX_ND_SOLICIT || bpf_skb_load_bytes(skb, p->l4 + 8, &target, sizeof target))
    return false;
  return target.word[0] == p->remote.word[0] && target.word[1] == p->remote.word[1] &&
         target.word[2] == p->remote.word[2] && target.word[3] == p->remote.word[3];
}

static __always_inline bool tlx_always(struct __sk_buff *skb, bool in, const struct tlx_packet *p) {
  if (p->is_fragment) return false; /* RFC 6980 */
  if (p->family == 4) {
    if (p->has_icmp)
      return in && p->icmp_type == TLX_ICMP_UNREACHABLE && p->icmp_code == TLX_ICMP_FRAG_NEEDED;
    return p->has_ports && p->protocol == TLX_PROTO_UDP && p->local_port == 68 &&
           p->remote_port == 67 && (in || p->remote.word[3] == 0xffffffff);
  }
  if (p->has_ports)
    return p->protocol == TLX_PROTO_UDP && p->local_port == 546 && p->remote_port == 547 &&
           tlx_is_link_scope(&p->remote);
  if (!p->has_icmp) return false;
  if (p->icmp_type == TLX_ICMPV6_TOO_BIG) return in;
  if ((p->icmp_type >= TLX_MLD_QUERY && p->icmp_type <= TLX_MLD_DONE) ||
      p->icmp_type == TLX_MLD2_REPORT)
    return p->hop_limit == 1;
  return p->icmp_type >= TLX_ND_FIRST && p->icmp_type <= TLX_ND_LAST && tlx_is_nd(skb, in, p);
}
#endif
