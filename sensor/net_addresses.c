// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_addresses.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "sensor/netlink.h"

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

struct list {
  struct tlx_net_addr *addresses;
  size_t n;
};

static void from_v4(const void *v4, uint8_t ret_address[16]) {
  memcpy(ret_address, v4_mapped, sizeof v4_mapped);
  memcpy(ret_address + sizeof v4_mapped, v4, 4);
}

static int on_address(void *arg, const struct nlmsghdr *message) {
  struct list *list = arg;
  const struct ifaddrmsg *info = NLMSG_DATA(message);
  if (message->nlmsg_type != RTM_NEWADDR || message->nlmsg_len < NLMSG_LENGTH(sizeof *info))
    return 0;
  const void *data = (const char *)info + NLMSG_ALIGN(sizeof *info);
  size_t len = message->nlmsg_len - NLMSG_LENGTH(sizeof *info), found_len = 0;
  /* On a point-to-point device the address is the peer's, and the local one stands apart. */
  const void *address = netlink_find(data, len, IFA_LOCAL, &found_len);
  if (!address) address = netlink_find(data, len, IFA_ADDRESS, &found_len);
  if (!address || found_len != (info->ifa_family == AF_INET ? 4u : 16u)) return 0;
  if (list->n == NET_ADDRESSES_MAX) return TLX_E_LIMIT;
  uint8_t *to = list->addresses[list->n++].bytes;
  if (info->ifa_family == AF_INET)
    from_v4(address, to);
  else
    memcpy(to, address, 16);
  return 0;
}

static int compare(const void *a, const void *b) {
  return memcmp(a, b, sizeof(struct tlx_net_addr));
}

static int read_once(int fd, void *arg) {
  struct netlink_request request;
  struct ifaddrmsg info = {.ifa_family = AF_UNSPEC};
  ((struct list *)arg)->n = 0;
  netlink_begin(&request, RTM_GETADDR, NLM_F_DUMP, &info, sizeof info);
  return netlink_ask(fd, &request, on_address, arg);
}

int net_addresses_read(struct tlx_net_addr **ret_list, size_t *ret_n) {
  struct list list = {.addresses = calloc(NET_ADDRESSES_MAX, sizeof *list.addresses)};
  int err = list.addresses ? netlink_read(NETLINK_ROUTE, read_once, &list) : -ENOMEM;
  if (err) {
    free(list.addresses);
    return err;
  }
  qsort(list.addresses, list.n, sizeof *list.addresses, compare);
  size_t kept = 0;
  for (size_t i = 0; i < list.n; i++)
    if (!kept || compare(&list.addresses[kept - 1], &list.addresses[i]) != 0)
      list.addresses[kept++] = list.addresses[i];
  *ret_list = list.addresses;
  *ret_n = kept;
  return 0;
}

bool net_address_is_v4(const uint8_t address[16]) {
  return memcmp(address, v4_mapped, sizeof v4_mapped) == 0;
}

bool net_address_is_loopback(const uint8_t address[16]) {
  static const uint8_t v6[16] = {[15] = 1};
  return memcmp(address, v6, sizeof v6) == 0 || (net_address_is_v4(address) && address[12] == 127);
}

bool net_address_is_local(const uint8_t address[16], const struct tlx_net_addr *list, size_t n) {
  static const uint8_t none[16];
  if (net_address_is_loopback(address) || memcmp(address, none, sizeof none) == 0) return true;
  if (net_address_is_v4(address) && memcmp(address + 12, none, 4) == 0) return true;
  return n && bsearch(address, list, n, sizeof *list, compare);
}

bool net_address_of(const struct sockaddr *from, uint8_t ret_address[16], uint16_t *ret_port) {
  if (from->sa_family == AF_INET) {
    const struct sockaddr_in *v4 = (const void *)from;
    from_v4(&v4->sin_addr, ret_address);
    *ret_port = ntohs(v4->sin_port);
    return true;
  }
  if (from->sa_family != AF_INET6) return false;
  const struct sockaddr_in6 *v6 = (const void *)from;
  memcpy(ret_address, &v6->sin6_addr, 16);
  *ret_port = ntohs(v6->sin6_port);
  return true;
}

void net_address_to(const uint8_t address[16], uint16_t port, struct sockaddr_storage *ret_to,
                    socklen_t *ret_len) {
  memset(ret_to, 0, sizeof *ret_to);
  if (net_address_is_v4(address)) {
    struct sockaddr_in *v4 = (void *)ret_to;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    memcpy(&v4->sin_addr, address + 12, 4);
    *ret_len = sizeof *v4;
    return;
  }
  struct sockaddr_in6 *v6 = (void *)ret_to;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  memcpy(&v6->sin6_addr, address, 16);
  *ret_len = sizeof *v6;
}

const char *net_address_text(const uint8_t address[16], char out[46]) {
  bool is_v4 = net_address_is_v4(address);
  const char *text = inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? address + 12 : address, out, 46);
  return text ? text : "?";
}
