// SPDX-License-Identifier: GPL-2.0-or-later
/* Holds the uplinks of a contained host: what passes a device without passing a socket.
 *
 * - Hooks: tc (tcx from 6.6 on, else clsact), in and out, of each uplink. tlx_tc_* for Ethernet,
 * tlx_tc_*_ip for devices that carry IP and nothing around it.
 * - Denied: every IP packet, whoever made it: packet sockets, forwarded traffic, the kernel itself,
 * other namespaces. The exceptions are those of net_cgroup.bpf.c.
 * - Not denied: frames that hold no IP (net_frame.bpf.h). What another program in front of these
 * takes away first: they stand at the head of tcx, or of the first priority of clsact, and the
 * verification looks after that. What AF_XDP or a driver in user space sends.
 * - The sensor's own socket is known by its mark: outwards by the packet's socket, inwards by
 * looking up who receives it. Later fragments have no ports, so none of them is the own socket's;
 * TCP does not send any.
 * - On failure it is closed; without a configuration it is open. */
#include "net_allow.bpf.h"
#include "net_always.bpf.h"
#include "net_count.bpf.h"
#include "net_frame.bpf.h"
#include "net_socket.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* linux/pkt_cls.h: the next filter decides; drop. */
#define TLX_TC_NEXT -1
#define TLX_TC_DROP 2

static __always_inline enum tlx_frame tlx_frame_of_ip(struct __sk_buff *skb, __u32 *ret_at) {
  __u8 version;
  *ret_at = 0;
  if (bpf_skb_load_bytes(skb, 0, &version, sizeof version)) return TLX_FRAME_HIDDEN;
  return version >> 4 == 4 ? TLX_FRAME_IP4 : version >> 4 == 6 ? TLX_FRAME_IP6 : TLX_FRAME_HIDDEN;
}

/* True: it is stopped. |in| and |is_ethernet| are constants. */
static __always_inline bool tlx_frame_stops(struct __sk_buff *skb, bool in, bool is_ethernet) {
  const __u32 at = in ? TLX_NET_AT_TC_IN : TLX_NET_AT_TC_OUT;
  const struct tlx_net_cfg *cfg = tlx_net_now();
  struct tlx_net_stats *totals = tlx_net_totals();
  struct tlx_packet p = {.ifindex = skb->ifindex};
  __u32 ip = 0;
  if (!cfg || !totals) return false;
  TLX_ADD(totals->seen[at]);
  const enum tlx_frame frame = is_ethernet ? tlx_frame_of(skb, &ip) : tlx_frame_of_ip(skb, &ip);
  if (frame == TLX_FRAME_OTHER) return false;
  const bool is_read = frame == TLX_FRAME_IP4   ? tlx_parse4(skb, ip, in, &p)
                       : frame == TLX_FRAME_IP6 ? tlx_parse6(skb, ip, in, &p)
                                                : false;
  __u32 mark = 0;
  if (!in)
    mark = tlx_mark_of_packet(skb);
  else if (is_read)
    mark = tlx_mark_of_receiver(skb, &p);
  if (mark == TLX_SOCK_OWN) {
    TLX_ADD(totals->own);
    return false;
  }
  if (!is_read)
    TLX_ADD(totals->failed);
  else if (tlx_always(skb, in, &p) || tlx_is_allowed(cfg, &p))
    return false;
  return tlx_net_stop(cfg, at, false, mark, &p, totals);
}

SEC("tc")
int tlx_tc_out(struct __sk_buff *skb) {
  if (tlx_frame_stops(skb, false, true)) return TLX_TC_DROP;
  return TLX_TC_NEXT;
}
SEC("tc")
int tlx_tc_in(struct __sk_buff *skb) {
  if (tlx_frame_stops(skb, true, true)) return TLX_TC_DROP;
  return TLX_TC_NEXT;
}
SEC("tc")
int tlx_tc_out_ip(struct __sk_buff *skb) {
  if (tlx_frame_stops(skb, false, false)) return TLX_TC_DROP;
  return TLX_TC_NEXT;
}
SEC("tc")
int tlx_tc_in_ip(struct __sk_buff *skb) {
  if (tlx_frame_stops(skb, true, false)) return TLX_TC_DROP;
  return TLX_TC_NEXT;
}
