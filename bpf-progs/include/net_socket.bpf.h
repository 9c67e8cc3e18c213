/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_NET_SOCKET_BPF_H
#define TLX_NET_SOCKET_BPF_H
/* Whose socket it is: TLX_SOCK_*, or 0. The mark lies in the socket itself; no address and no
 * number that another process could take speaks for it. */
#include "net_parse.bpf.h"

static __always_inline __u32 tlx_mark_of(struct bpf_sock *sk) {
  __u32 *mark = bpf_sk_storage_get(&tlx_own_sock, sk, NULL, 0);
  return mark ? *mark : 0;
}

/* Of the socket that the packet belongs to. Not for tc inwards: over veth that is still the
 * sender's socket, in another namespace. */
static __always_inline __u32 tlx_mark_of_packet(struct __sk_buff *skb) {
  struct bpf_sock *sk = skb->sk;
  if (!sk) return 0;
  sk = bpf_sk_fullsock(sk);
  return sk ? tlx_mark_of(sk) : 0;
}

/* Of the socket that will receive the packet. */
static __always_inline __u32 tlx_mark_of_receiver(struct __sk_buff *skb,
                                                  const struct tlx_packet *p) {
  struct bpf_sock_tuple tuple = {};
  struct bpf_sock *sk;
  __u32 mark = 0;
  if (!p->has_ports || p->protocol != TLX_PROTO_TCP) return 0;
  if (p->family == 4) {
    tuple.ipv4.saddr = p->remote.word[3];
    tuple.ipv4.daddr = p->local.word[3];
    tuple.ipv4.sport = bpf_htons(p->remote_port);
    tuple.ipv4.dport = bpf_htons(p->local_port);
    sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof tuple.ipv4, BPF_F_CURRENT_NETNS, 0);
  } else {
    __builtin_memcpy(tuple.ipv6.saddr, &p->remote, 16);
    __builtin_memcpy(tuple.ipv6.daddr, &p->local, 16);
    tuple.ipv6.sport = bpf_htons(p->remote_port);
    tuple.ipv6.dport = bpf_htons(p->local_port);
    sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof tuple.ipv6, BPF_F_CURRENT_NETNS, 0);
  }
  if (!sk) return 0;
  struct bpf_sock *full = bpf_sk_fullsock(sk);
  if (full) mark = tlx_mark_of(full);
  bpf_sk_release(sk);
  return mark;
}
#endif
