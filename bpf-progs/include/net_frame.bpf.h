/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_NET_FRAME_BPF_H
#define TLX_NET_FRAME_BPF_H
/* From an Ethernet frame to the IP packet in it. The frame's own bytes count: skb->protocol is what
 * the sender of a packet socket says it is.
 *
 * Frames that carry IP behind a tag are looked into (VLAN, PPPoE) or, where that is not worth it,
 * taken for IP that no entry allows (MPLS and the like, IP behind an LLC header). Everything else,
 * such as ARP, LLDP, 802.1X, LACP, STP, storage protocols, MACsec (whose own device is filtered),
 * is no IP and passes. */
#include "net_parse.bpf.h"

#define TLX_ETH_LEN 14
#define TLX_ETH_LENGTH_MAX 0x0600 /* below it stands a length (IEEE 802.3) */
#define TLX_ETH_IP 0x0800
#define TLX_ETH_IPV6 0x86dd
#define TLX_ETH_PPPOE 0x8864
/* A tag of the card, two of provider and customer, and one to spare. */
#define TLX_VLANS_MAX 4

enum tlx_frame {
  TLX_FRAME_OTHER, /* no IP */
  TLX_FRAME_IP4,
  TLX_FRAME_IP6,
  TLX_FRAME_HIDDEN, /* may hold IP, or cannot be read */
};

static __always_inline bool tlx_is_vlan(__u16 type) {
  return type == 0x8100 || type == 0x88a8 || type == 0x9100 || type == 0x9200;
}

/* MPLS, network service header, Ethernet in something, HSR. */
static __always_inline bool tlx_is_carrier(__u16 type) {
  return type == 0x8847 || type == 0x8848 || type == 0x894f || type == 0x6558 || type == 0x892f;
}

/* LLC: IP has a service point of its own (6), and an EtherType behind SNAP (RFC 1042, 802.1H). */
static __always_inline enum tlx_frame tlx_frame_llc(struct __sk_buff *skb, __u32 at) {
  __u8 llc[6];
  if (bpf_skb_load_bytes(skb, at, llc, sizeof llc)) return TLX_FRAME_OTHER;
  if (llc[0] == 6) return TLX_FRAME_HIDDEN;
  if (llc[0] != 0xaa || llc[3] || llc[4]) return TLX_FRAME_OTHER;
  return llc[5] == 0 || llc[5] == 0xf8 ? TLX_FRAME_HIDDEN : TLX_FRAME_OTHER;
}

/* PPP: network protocols are below 0x8000; an odd first byte is a protocol number cut to one byte.
 */
static __always_inline enum tlx_frame tlx_frame_ppp(struct __sk_buff *skb, __u32 at,
                                                    __u32 *ret_at) {
  __u8 head[8];
  if (bpf_skb_load_bytes(skb, at, head, sizeof head)) return TLX_FRAME_HIDDEN;
  *ret_at = at + sizeof head;
  if (head[6] == 0 && head[7] == 0x21) return TLX_FRAME_IP4;
  if (head[6] == 0 && head[7] == 0x57) return TLX_FRAME_IP6;
  return head[6] < 0x80 || head[6] & 1 ? TLX_FRAME_HIDDEN : TLX_FRAME_OTHER;
}

/* |ret_at|: where the IP header begins. */
static __always_inline enum tlx_frame tlx_frame_of(struct __sk_buff *skb, __u32 *ret_at) {
  __u32 at = 12; /* of the type */
#pragma clang loop unroll(full)
  for (unsigned i = 0; i <= TLX_VLANS_MAX; i++) {
    __u16 raw;
    if (bpf_skb_load_bytes(skb, at, &raw, sizeof raw)) return TLX_FRAME_HIDDEN;
    const __u16 type = bpf_ntohs(raw);
    at += 2;
    if (tlx_is_vlan(type)) {
      at += 2;
      continue;
    }
    *ret_at = at;
    if (type == TLX_ETH_IP) return TLX_FRAME_IP4;
    if (type == TLX_ETH_IPV6) return TLX_FRAME_IP6;
    if (type == TLX_ETH_PPPOE) return tlx_frame_ppp(skb, at, ret_at);
    if (type < TLX_ETH_LENGTH_MAX) return tlx_frame_llc(skb, at);
    return tlx_is_carrier(type) ? TLX_FRAME_HIDDEN : TLX_FRAME_OTHER;
  }
  return TLX_FRAME_HIDDEN;
}
#endif
