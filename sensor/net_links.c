// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_links.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "sensor/net_addresses.h"
#include "sensor/netlink.h"

struct list {
  struct net_link *links;
  size_t n, room;
  bool with_routes;
};

#define ROOM_FIRST 64u

/* ---- devices ---- */

static void copy_text(char *out, size_t size, const void *text, size_t len) {
  if (!text) return;
  if (len >= size) len = size - 1;
  memcpy(out, text, len);
  out[len] = '\0';
}

static int on_link(void *arg, const struct nlmsghdr *message) {
  struct list *list = arg;
  const struct ifinfomsg *info = NLMSG_DATA(message);
  if (message->nlmsg_type != RTM_NEWLINK || message->nlmsg_len < NLMSG_LENGTH(sizeof *info))
    return 0;
  if (list->n == list->room) {
    size_t room = list->room ? 2 * list->room : ROOM_FIRST;
    if (room > NET_LINKS_MAX) return TLX_E_LIMIT;
    struct net_link *more = reallocarray(list->links, room, sizeof *more);
    if (!more) return -ENOMEM;
    list->links = more;
    list->room = room;
  }
  const void *data = (const char *)info + NLMSG_ALIGN(sizeof *info);
  size_t len = message->nlmsg_len - NLMSG_LENGTH(sizeof *info), found_len = 0, kind_len = 0;
  struct net_link *link = &list->links[list->n++];
  *link = (struct net_link){.index = (uint32_t)info->ifi_index,
                            .is_loopback = info->ifi_flags & IFF_LOOPBACK,
                            .is_ethernet = info->ifi_type == ARPHRD_ETHER,
                            .is_ppp = info->ifi_type == ARPHRD_PPP,
                            .master = netlink_u32(data, len, IFLA_MASTER)};
  /* One in another namespace has a number of there. */
  if (!netlink_find(data, len, IFLA_LINK_NETNSID, &found_len))
    link->lower = netlink_u32(data, len, IFLA_LINK);
  const void *name = netlink_find(data, len, IFLA_IFNAME, &found_len);
  copy_text(link->name, sizeof link->name, name, found_len);
  const void *details = netlink_find(data, len, IFLA_LINKINFO, &found_len);
  const void *kind = details ? netlink_find(details, found_len, IFLA_INFO_KIND, &kind_len) : NULL;
  copy_text(link->kind, sizeof link->kind, kind, kind_len);
  const void *xdp = netlink_find(data, len, IFLA_XDP, &found_len);
  size_t attached_len = 0;
  const uint8_t *attached =
      xdp ? netlink_find(xdp, found_len, IFLA_XDP_ATTACHED, &attached_len) : NULL;
  link->has_xdp = attached && attached_len && *attached != XDP_ATTACHED_NONE;
  return 0;
}

/* ---- routes ---- */

static void mark_default(struct list *list, uint32_t index) {
  struct net_link *link = (struct net_link *)net_links_find(list->links, list->n, index);
  if (link) link->has_default_route = true;
}

static int on_route(void *arg, const struct nlmsghdr *message) {
  const struct rtmsg *route = NLMSG_DATA(message);
  if (message->nlmsg_type != RTM_NEWROUTE || message->nlmsg_len < NLMSG_LENGTH(sizeof *route) ||
      route->rtm_dst_len != 0 || route->rtm_type != RTN_UNICAST)
    return 0;
  const void *data = (const char *)route + NLMSG_ALIGN(sizeof *route);
  size_t len = message->nlmsg_len - NLMSG_LENGTH(sizeof *route), hops_len = 0;
  mark_default(arg, netlink_u32(data, len, RTA_OIF));
  const char *hops = netlink_find(data, len, RTA_MULTIPATH, &hops_len);
  while (hops && hops_len >= sizeof(struct rtnexthop)) {
    struct rtnexthop hop;
    memcpy(&hop, hops, sizeof hop);
    size_t whole = RTNH_ALIGN(hop.rtnh_len);
    mark_default(arg, (uint32_t)hop.rtnh_ifindex);
    if (hop.rtnh_len < sizeof hop || whole >= hops_len) break;
    hops += whole;
    hops_len -= whole;
  }
  return 0;
}

static int on_found(void *arg, const struct nlmsghdr *message) {
  const struct rtmsg *route = NLMSG_DATA(message);
  if (message->nlmsg_type == RTM_NEWROUTE && message->nlmsg_len >= NLMSG_LENGTH(sizeof *route))
    *(uint32_t *)arg = netlink_u32((const char *)route + NLMSG_ALIGN(sizeof *route),
                                   message->nlmsg_len - NLMSG_LENGTH(sizeof *route), RTA_OIF);
  return 0;
}

/* ---- public ---- */

static int compare(const void *a, const void *b) {
  const uint32_t x = ((const struct net_link *)a)->index, y = ((const struct net_link *)b)->index;
  return x < y ? -1 : x > y;
}

static int read_devices(int fd, struct list *list) {
  struct netlink_request request;
  struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
  list->n = 0;
  netlink_begin(&request, RTM_GETLINK, NLM_F_DUMP, &info, sizeof info);
  int err = netlink_ask(fd, &request, on_link, list);
  if (list->n) qsort(list->links, list->n, sizeof *list->links, compare);
  return err;
}

/* A whole table can be large, and the kernel has no way to be asked for default routes alone. */
static int read_routes(int fd, struct list *list) {
  static const unsigned char families[] = {AF_INET, AF_INET6};
  struct netlink_request request;
  bool matters = false;
  int err = 0;
  for (size_t i = 0; i < list->n; i++)
    matters |= !list->links[i].is_loopback && !net_link_is_uplink(&list->links[i]);
  for (size_t i = 0; i < sizeof families && matters && !err; i++) {
    struct rtmsg route = {.rtm_family = families[i]};
    netlink_begin(&request, RTM_GETROUTE, NLM_F_DUMP, &route, sizeof route);
    err = netlink_ask(fd, &request, on_route, list);
    if (err == -EAFNOSUPPORT || err == -EOPNOTSUPP) err = 0; /* a kernel without this family */
  }
  return err;
}

static int read_once(int fd, void *arg) {
  struct list *list = arg;
  int err = read_devices(fd, list);
  return err || !list->with_routes ? err : read_routes(fd, list);
}

static int read_list(bool with_routes, struct net_link **ret_list, size_t *ret_n) {
  struct list list = {.with_routes = with_routes};
  int err = netlink_read(NETLINK_ROUTE, read_once, &list);
  if (err) {
    free(list.links);
    return err;
  }
  *ret_list = list.links;
  *ret_n = list.n;
  return 0;
}

int net_links_read(struct net_link **ret_list, size_t *ret_n) {
  return read_list(true, ret_list, ret_n);
}

int net_links_read_devices(struct net_link **ret_list, size_t *ret_n) {
  return read_list(false, ret_list, ret_n);
}

const struct net_link *net_links_find(const struct net_link *list, size_t n, uint32_t index) {
  const struct net_link key = {.index = index};
  return n ? bsearch(&key, list, n, sizeof *list, compare) : NULL;
}

static bool is_one_of(const char *kind, const char *const *list) {
  for (; *list; list++)
    if (strcmp(kind, *list) == 0) return true;
  return false;
}

bool net_link_is_uplink(const struct net_link *link) {
  static const char *const inside[] = {"veth", "bridge", "dummy", "ifb", "nlmon", NULL};
  if (link->is_loopback) return false;
  if (link->has_default_route) return true;
  bool is_tap = link->is_ethernet && strcmp(link->kind, "tun") == 0;
  return !is_tap && !is_one_of(link->kind, inside);
}

bool net_link_is_tunnel(const struct net_link *link) {
  static const char *const kinds[] = {
      "tun",    "wireguard", "ipip", "gre", "gretap", "erspan", "sit", "vti",     "vti6", "ip6tnl",
      "ip6gre", "ip6gretap", "xfrm", "fou", "vxlan",  "geneve", "amt", "bareudp", NULL};
  return is_one_of(link->kind, kinds);
}

bool net_link_leads_out(const struct net_link *link) {
  /* What these send passes a device below, or ends here. */
  static const char *const parts[] = {"veth",    "netkit", "bridge", "dummy",  "ifb",
                                      "nlmon",   "vcan",   "vrf",    "vlan",   "macvlan",
                                      "macvtap", "ipvlan", "ipvtap", "macsec", NULL};
  return !link->is_loopback && !is_one_of(link->kind, parts) && !net_link_is_tunnel(link);
}

uint32_t net_links_route(const uint8_t address[16]) {
  struct netlink_request request;
  bool is_v4 = net_address_is_v4(address);
  struct rtmsg route = {.rtm_family = is_v4 ? AF_INET : AF_INET6, .rtm_dst_len = is_v4 ? 32 : 128};
  uint32_t index = 0;
  int fd TLX_AUTOCLOSE = netlink_open(NETLINK_ROUTE);
  if (fd < 0) return 0;
  netlink_begin(&request, RTM_GETROUTE, 0, &route, sizeof route);
  netlink_add(&request, RTA_DST, is_v4 ? address + 12 : address, is_v4 ? 4 : 16);
  return netlink_ask(fd, &request, on_found, &index) == 0 ? index : 0;
}
