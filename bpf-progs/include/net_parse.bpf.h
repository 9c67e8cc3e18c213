/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_NET_PARSE_BPF_H
#define TLX_NET_PARSE_BPF_H
/* From a packet to what the rules ask about. Whatever is odd (options, a route in the header, a
 * later fragment, a header that is cut off, too many headers) loses its ports and its ICMP type:
 * such a packet passes through an entry of every port and protocol only, and is never taken for one
 * of the kinds that always pass. */
#include "net_maps.bpf.h"

#include <bpf/bpf_endian.h>

/* Protocol numbers (IANA); headers of user space do not compile for this target. */
#define TLX_PROTO_HOPOPTS 0
#define TLX_PROTO_ICMP 1
#define TLX_PROTO_TCP 6
#define TLX_PROTO_UDP 17
#define TLX_PROTO_ROUTING 43
#define TLX_PROTO_FRAGMENT 44
#define TLX_PROTO_AH 51
#define TLX_PROTO_ICMPV6 58
#define TLX_PROTO_DSTOPTS 60
/* More extension headers than anybody sends; each costs the verifier a round. */
#define TLX_EXT_MAX 8

union tlx_addr {
  struct tlx_net_addr net;
  __u32 word[4];
};

struct tlx_packet {
  union tlx_addr local, remote;
  __u32 ifindex;
  __u32 l4;                      /* offset of the transport header; 0 = none to be relied on */
  __u16 local_port, remote_port; /* host byte order, if has_ports */
  __u8 family, protocol;         /* 4 or 6 */
  __u8 hop_limit;
  __u8 icmp_type, icmp_code; /* if has_icmp */
  bool has_ports, has_icmp;
  bool has_ext;     /* IPv6: headers between the first and the transport header */
  bool is_fragment; /* any, also the first and one that is alone */
};

struct tlx_ip4 {
  __u8 version_len, tos;
  __u16 len, id, fragment;
  __u8 ttl, protocol;
  __u16 checksum;
  __u32 source, target;
};
struct tlx_ip6 {
  __u32 version_class_label;
  __u16 payload_len;
  __u8 next, hop_limit;
  __u32 source[4], target[4];
};

static __always_inline void tlx_addr4(union tlx_addr *out, __u32 address) {
  out->word[0] = out->word[1] = 0;
  out->word[2] = bpf_htonl(0xffff);
  out->word[3] = address;
}
static __always_inline void tlx_addr6(union tlx_addr *out, const __u32 address[4]) {
  out->word[0] = address[0];
  out->word[1] = address[1];
  out->word[2] = address[2];
  out->word[3] = address[3];
}

/* Ports or ICMP type at |p->l4|. */
static __always_inline void tlx_parse_l4(struct __sk_buff *skb, bool in, struct tlx_packet *p) {
  __u16 ports[2] = {0};
  __u8 icmp[2] = {0};
  if (p->protocol == TLX_PROTO_TCP || p->protocol == TLX_PROTO_UDP) {
    if (bpf_skb_load_bytes(skb, p->l4, ports, sizeof ports)) return;
    p->local_port = bpf_ntohs(ports[in ? 1 : 0]);
    p->remote_port = bpf_ntohs(ports[in ? 0 : 1]);
    p->has_ports = true;
  } else if (p->protocol == (p->family == 4 ? TLX_PROTO_ICMP : TLX_PROTO_ICMPV6)) {
    if (bpf_skb_load_bytes(skb, p->l4, icmp, sizeof icmp)) return;
    p->icmp_type = icmp[0];
    p->icmp_code = icmp[1];
    p->has_icmp = true;
  }
}

/* False: no IPv4 packet. */
static __always_inline bool tlx_parse4(struct __sk_buff *skb, __u32 at, bool in,
                                       struct tlx_packet *p) {
  struct tlx_ip4 ip;
  if (bpf_skb_load_bytes(skb, at, &ip, sizeof ip) || ip.version_len >> 4 != 4 ||
      (ip.version_len & 15) < 5)
    return false;
  p->family = 4;
  p->protocol = ip.protocol;
  p->hop_limit = ip.ttl;
  tlx_addr4(&p->local, in ? ip.target : ip.source);
  tlx_addr4(&p->remote, in ? ip.source : ip.target);
  const __u16 fragment = bpf_ntohs(ip.fragment);
  p->is_fragment = fragment & 0x3fff;
  /* With options (a source route is one) the address in the header need not be where it ends. */
  if (fragment & 0x1fff || (ip.version_len & 15) != 5) return true;
  p->l4 = at + sizeof ip;
  tlx_parse_l4(skb, in, p);
  return true;
}

/* The headers between the IPv6 header and the transport header (RFC 8200 §4). Sets protocol,
 * is_fragment, l4. */
static __always_inline void tlx_parse_ext(struct __sk_buff *skb, __u32 at, __u8 next,
                                          struct tlx_packet *p) {
  bool is_odd = false;
  /* Unrolled: 6.1 refuses a loop whose way back is no jump, and the compiler lays this one out so
   * ("back-edge"). */
#pragma clang loop unroll(full)
  for (unsigned i = 0; i <= TLX_EXT_MAX; i++) {
    __u8 head[4];
    p->protocol = next;
    if (next != TLX_PROTO_HOPOPTS && next != TLX_PROTO_ROUTING && next != TLX_PROTO_FRAGMENT &&
        next != TLX_PROTO_AH && next != TLX_PROTO_DSTOPTS) {
      if (!is_odd) p->l4 = at;
      return;
    }
    if (i == TLX_EXT_MAX || bpf_skb_load_bytes(skb, at, head, sizeof head)) return;
    if (next == TLX_PROTO_FRAGMENT) {
      p->is_fragment = true;
      /* Offset above, flags in the last three bits. */
      is_odd |= head[2] || head[3] & 0xf8;
      at += 8;
    } else if (next == TLX_PROTO_AH) {
      at += (head[1] + 2) * 4;
    } else {
      /* Segments left: the address in the header is a stop on the way. */
      is_odd |= next == TLX_PROTO_ROUTING && head[3];
      at += (head[1] + 1) * 8;
    }
    next = head[0];
    /* What follows in a later fragment is data. */
    if (is_odd && p->is_fragment) {
      p->protocol = next;
      return;
    }
  }
}

/* False: no IPv6 packet. */
static __always_inline bool tlx_parse6(struct __sk_buff *skb, __u32 at, bool in,
                                       struct tlx_packet *p) {
  struct tlx_ip6 ip;
  if (bpf_skb_load_bytes(skb, at, &ip, sizeof ip) || bpf_ntohl(ip.version_class_label) >> 28 != 6)
    return false;
  p->family = 6;
  p->hop_limit = ip.hop_limit;
  tlx_addr6(&p->local, in ? ip.target : ip.source);
  tlx_addr6(&p->remote, in ? ip.source : ip.target);
  tlx_parse_ext(skb, at + sizeof ip, ip.next, p);
  p->has_ext = p->l4 != at + sizeof ip;
  if (p->l4) tlx_parse_l4(skb, in, p);
  return true;
}
#endif
