// SPDX-License-Identifier: GPL-2.0-or-later
/* Holds the sockets of a contained host: their packets, and their calls.
 *
 * - Hooks: cgroup_skb in and out, connect4/6, sendmsg4/6, setsockopt, on the root cgroup (or on the
 * cgroup of a trial).
 * - Denied: every IP packet of every socket, in and out, new or established, in every network
 * namespace, but for loopback (device 1), the sensor's own socket, what net_always.bpf.h names, and
 * the allow list. The sender gets EPERM where the kernel has a way to say it. connect and sendmsg
 * are refused at once in the host's namespace, where the local addresses are known. Elsewhere they
 * are not: connections of TCP get a short user time-out and die of the dropped SYN, datagrams get
 * their EPERM from the packet hook. The options that let a packet socket send behind the programs
 * of devices, and those that every socket of XDP needs, are refused.
 * - Not denied: what no socket of IP sends. That is packet sockets, forwarded traffic, and RSTs and
 * time-wait ACKs of IPv6: net_tc.bpf.c. Sockets of XDP that were made before, options that a 32-bit
 * process sets (the kernel does not ask for those), and drivers in user space pass by both; the
 * sensor looks for them.
 * - On failure it is closed: a packet that cannot be read, or an allow list that is not there, is
 * denied. Without a configuration it is open, as before the first order; the sensor's verification
 * and its proof find that. */
#include "net_allow.bpf.h"
#include "net_always.bpf.h"
#include "net_count.bpf.h"
#include "net_socket.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define TLX_LOOPBACK_INDEX 1
#define TLX_SOL_TCP 6
#define TLX_TCP_USER_TIMEOUT 18

/* ---- packets ---- */

/* True: it is stopped. */
static __always_inline bool tlx_packet_stops(struct __sk_buff *skb, bool in) {
  const __u32 at = in ? TLX_NET_AT_CGROUP_IN : TLX_NET_AT_CGROUP_OUT;
  const struct tlx_net_cfg *cfg = tlx_net_now();
  struct tlx_net_stats *totals = tlx_net_totals();
  struct tlx_packet p = {.ifindex = skb->ifindex};
  if (!cfg || !totals) return false;
  TLX_ADD(totals->seen[at]);
  if (skb->ifindex == TLX_LOOPBACK_INDEX) return false;
  const __u32 mark = tlx_mark_of_packet(skb);
  if (mark == TLX_SOCK_OWN) {
    TLX_ADD(totals->own);
    return false;
  }
  /* Both must say the same: a raw socket writes its header itself. */
  const bool is_read = skb->protocol == bpf_htons(0x0800)   ? tlx_parse4(skb, 0, in, &p)
                       : skb->protocol == bpf_htons(0x86dd) ? tlx_parse6(skb, 0, in, &p)
                                                            : false;
  if (!is_read)
    TLX_ADD(totals->failed);
  else if (tlx_always(skb, in, &p) || tlx_is_allowed(cfg, &p))
    return false;
  return tlx_net_stop(cfg, at, false, mark, &p, totals);
}

SEC("cgroup_skb/egress")
int tlx_net_out(struct __sk_buff *skb) {
  if (tlx_packet_stops(skb, false)) return 0;
  return 1;
}
SEC("cgroup_skb/ingress")
int tlx_net_in(struct __sk_buff *skb) {
  if (tlx_packet_stops(skb, true)) return 0;
  return 1;
}

/* ---- calls ---- */

/* Nowhere to go but to this host: the unspecified address is one of them (RFC 1122 §3.2.1.3; Linux
 * connects to itself). */
static __always_inline bool tlx_is_loopback(const struct tlx_packet *p) {
  const __u32 *word = p->remote.word;
  if (p->family == 4) return !word[3] || bpf_ntohl(word[3]) >> 24 == 127;
  return !word[0] && !word[1] && !word[2] && bpf_ntohl(word[3]) <= 1;
}

/* True: it is refused. |p| has family and remote address. */
static __always_inline bool tlx_call_stops(struct bpf_sock_addr *ctx, __u32 at,
                                           struct tlx_packet *p) {
  const struct tlx_net_cfg *cfg = tlx_net_now();
  struct tlx_net_stats *totals = tlx_net_totals();
  struct bpf_sock *sk = ctx->sk;
  __u32 mark = 0;
  if (!cfg || !totals) return false;
  if (at < TLX_NET_AT_MAX) TLX_ADD(totals->seen[at]);
  if (tlx_is_loopback(p)) return false;
  p->protocol = (__u8)ctx->protocol;
  p->remote_port = bpf_ntohs((__u16)ctx->user_port);
  p->has_ports = p->protocol == TLX_PROTO_TCP || p->protocol == TLX_PROTO_UDP;
  if (sk) {
    mark = tlx_mark_of(sk);
    p->local_port = (__u16)sk->src_port;
  }
  if (mark == TLX_SOCK_OWN || mark == TLX_SOCK_PROBE_PACKET || tlx_is_allowed(cfg, p)) return false;
  if (!cfg->host_netns_cookie || bpf_get_netns_cookie(ctx) != cfg->host_netns_cookie) {
    int timeout_ms = (int)cfg->user_timeout_ms;
    if (at == TLX_NET_AT_CONNECT && p->protocol == TLX_PROTO_TCP && cfg->mode == TLX_NET_ENFORCE &&
        timeout_ms > 0 &&
        bpf_setsockopt(ctx, TLX_SOL_TCP, TLX_TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms))
      TLX_ADD(totals->failed);
    return false;
  }
  if (bpf_map_lookup_elem(&tlx_local, &p->remote.net)) return false;
  return tlx_net_stop(cfg, at, true, mark, p, totals);
}

static __always_inline bool tlx_call4_stops(struct bpf_sock_addr *ctx, __u32 at) {
  struct tlx_packet p = {.family = 4};
  tlx_addr4(&p.remote, ctx->user_ip4);
  return tlx_call_stops(ctx, at, &p);
}

static __always_inline bool tlx_call6_stops(struct bpf_sock_addr *ctx, __u32 at) {
  struct tlx_packet p = {.family = 6};
  p.remote.word[0] = ctx->user_ip6[0];
  p.remote.word[1] = ctx->user_ip6[1];
  p.remote.word[2] = ctx->user_ip6[2];
  p.remote.word[3] = ctx->user_ip6[3];
  /* ::ffff:a.b.c.d is IPv4 on the wire. */
  if (!p.remote.word[0] && !p.remote.word[1] && p.remote.word[2] == bpf_htonl(0xffff)) p.family = 4;
  return tlx_call_stops(ctx, at, &p);
}

SEC("cgroup/connect4")
int tlx_connect4(struct bpf_sock_addr *ctx) {
  if (tlx_call4_stops(ctx, TLX_NET_AT_CONNECT)) return 0;
  return 1;
}
SEC("cgroup/connect6")
int tlx_connect6(struct bpf_sock_addr *ctx) {
  if (tlx_call6_stops(ctx, TLX_NET_AT_CONNECT)) return 0;
  return 1;
}
SEC("cgroup/sendmsg4")
int tlx_sendmsg4(struct bpf_sock_addr *ctx) {
  if (tlx_call4_stops(ctx, TLX_NET_AT_SENDMSG)) return 0;
  return 1;
}
SEC("cgroup/sendmsg6")
int tlx_sendmsg6(struct bpf_sock_addr *ctx) {
  if (tlx_call6_stops(ctx, TLX_NET_AT_SENDMSG)) return 0;
  return 1;
}

/* ---- options ---- */

/* linux/socket.h, linux/if_packet.h. */
#define TLX_SOL_PACKET 263
#define TLX_SOL_XDP 283
#define TLX_PACKET_QDISC_BYPASS 20
/* What the kernel shows of a value at least: a page. */
#define TLX_OPTION_SHOWN 4096

/* True: it is refused, whatever the value: nobody needs to say that he does not want it. */
static __always_inline bool tlx_option_stops(const struct bpf_sockopt *ctx) {
  if (ctx->level != TLX_SOL_XDP &&
      (ctx->level != TLX_SOL_PACKET || ctx->optname != TLX_PACKET_QDISC_BYPASS))
    return false;
  const struct tlx_net_cfg *cfg = tlx_net_now();
  struct tlx_net_stats *totals = tlx_net_totals();
  if (!cfg || !totals) return false;
  TLX_ADD(totals->seen[TLX_NET_AT_OPTION]);
  if (cfg->mode != TLX_NET_ENFORCE) {
    TLX_ADD(totals->would[TLX_NET_AT_OPTION]);
    return false;
  }
  TLX_ADD(totals->denied[TLX_NET_AT_OPTION]);
  return true;
}

SEC("cgroup/setsockopt")
int tlx_setsockopt(struct bpf_sockopt *ctx) {
  if (tlx_option_stops(ctx)) return 0;
  /* Of a longer value only the head is here; the kernel takes it as it came if we say 0, and
   * refuses it otherwise. */
  if (ctx->optlen > TLX_OPTION_SHOWN) ctx->optlen = 0;
  return 1;
}
