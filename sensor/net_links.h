// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The network devices of this network namespace, and which of them are uplinks: those on which a
 * frame may leave the host, where a containment therefore stands in tc. Worker thread. */

#define NET_LINKS_MAX 1024u

struct net_link {
  uint32_t index;
  char name[16], kind[16]; /* kind as of rtnetlink: "veth", "bridge", "tun"…; empty = a device */
  bool is_loopback;        /* IFF_LOOPBACK */
  bool is_ethernet;        /* has Ethernet frames; a "tun" device without is no tap */
  bool has_xdp;            /* a program sees packets before the kernel does */
  bool has_default_route;
};

/* All devices (rtnetlink(7) RTM_GETLINK) with the default routes of both families (RTM_GETROUTE).
 * |*ret_list| is heap, for the caller to free. 0; TLX_E_LIMIT (more than NET_LINKS_MAX), -ENOMEM or
 * a negative errno. */
int net_links_read(struct net_link **ret_list, size_t *ret_n);
/* Whether frames may leave the host here: every device but loopback and the host's ends of what
 * stays inside (veth, bridge, tap, dummy, ifb), unless a default route goes out through such a one.
 * Pure. */
bool net_link_is_uplink(const struct net_link *link);
/* Whether what is sent here is wrapped into other packets, which a containment stops: tun, tap,
 * WireGuard, IPIP, GRE, SIT, VTI, XFRM, VXLAN, GENEVE. Pure. */
bool net_link_is_tunnel(const struct net_link *link);
/* Index of the device through which |address| (16 bytes, v4-mapped) is reached; 0 = none. */
uint32_t net_links_route(const uint8_t address[16]);
