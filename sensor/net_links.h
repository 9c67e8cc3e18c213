// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The network devices of this network namespace, and which of them are uplinks: those on which a
 * frame may leave the host, where a containment therefore stands in tc. Worker thread. */

/* Far more than a host has; the list grows up to it. */
#define NET_LINKS_MAX 65536u

struct net_link {
  uint32_t index;
  char name[16], kind[16]; /* kind as of rtnetlink: "veth", "bridge", "tun"…; empty = a device */
  bool is_loopback;        /* IFF_LOOPBACK */
  bool is_ethernet;        /* has Ethernet frames; a "tun" device without is no tap */
  bool has_xdp;            /* a program sees packets before the kernel does */
  bool is_ppp;
  bool has_default_route;
  uint32_t lower;  /* index of the device below, in this namespace: of a VLAN…; 0 = none */
  uint32_t master; /* index of the bridge, bond or VRF that it belongs to; 0 = none */
};

/* All devices (rtnetlink(7) RTM_GETLINK) by index, with the default routes of both families
 * (RTM_GETROUTE; not asked for where all devices are uplinks anyway). |*ret_list| is heap, for the
 * caller to free. 0; TLX_E_LIMIT (more than NET_LINKS_MAX), -ENOMEM or a negative errno. */
int net_links_read(struct net_link **ret_list, size_t *ret_n);
/* The same without routes: has_default_route is false. */
int net_links_read_devices(struct net_link **ret_list, size_t *ret_n);
/* The one with |index|, of a list as it was read; NULL = none. Pure. */
const struct net_link *net_links_find(const struct net_link *list, size_t n, uint32_t index);
/* Whether frames may leave the host here: every device but loopback and the host's ends of what
 * stays inside (veth, bridge, tap, dummy, ifb), unless a default route goes out through such a one.
 * Pure. */
bool net_link_is_uplink(const struct net_link *link);
/* Whether what is sent here is wrapped into other packets, which a containment stops: tun, tap,
 * WireGuard, IPIP, GRE, SIT, VTI, XFRM, VXLAN, GENEVE. Pure. */
bool net_link_is_tunnel(const struct net_link *link);
/* Whether a frame may leave the host here without passing another device: cards, and whatever is
 * not known to be the host's own end of something, a tunnel, or a part or view of another device.
 * Pure.
 */
bool net_link_leads_out(const struct net_link *link);
/* Index of the device through which |address| (16 bytes, v4-mapped) is reached; 0 = none. */
uint32_t net_links_route(const uint8_t address[16]);
