// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_xfrm.h"

#include <errno.h>
#include <linux/xfrm.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "sensor/net_addresses.h"
#include "sensor/netlink.h"

struct question {
  const uint8_t *address;
  bool wraps;
};

static bool has_prefix(const uint8_t *address, const void *prefix, size_t size, unsigned bits) {
  uint8_t net[16];
  if (bits > size * 8) return false;
  memcpy(net, prefix, size);
  if (memcmp(address, net, bits / 8) != 0) return false;
  return bits % 8 == 0 || (address[bits / 8] ^ net[bits / 8]) >> (8 - bits % 8) == 0;
}

bool net_xfrm_policy_wraps(const void *body, size_t len, const uint8_t address[16]) {
  struct xfrm_userpolicy_info policy;
  size_t found_len;
  if (len < sizeof policy) return false;
  memcpy(&policy, body, sizeof policy);
  /* One without a template lets through as it is. */
  if (policy.dir != XFRM_POLICY_OUT || policy.action != XFRM_POLICY_ALLOW ||
      len < NLMSG_ALIGN(sizeof policy) ||
      !netlink_find((const char *)body + NLMSG_ALIGN(sizeof policy),
                    len - NLMSG_ALIGN(sizeof policy), XFRMA_TMPL, &found_len))
    return false;
  bool is_v4 = net_address_is_v4(address);
  if (policy.sel.family != (is_v4 ? AF_INET : AF_INET6)) return false;
  return has_prefix(is_v4 ? address + 12 : address, &policy.sel.daddr, is_v4 ? 4 : 16,
                    policy.sel.prefixlen_d);
}

static int on_policy(void *arg, const struct nlmsghdr *message) {
  struct question *question = arg;
  if (message->nlmsg_type == XFRM_MSG_NEWPOLICY)
    question->wraps |= net_xfrm_policy_wraps(NLMSG_DATA(message), message->nlmsg_len - NLMSG_HDRLEN,
                                             question->address);
  return 0;
}

bool net_xfrm_wraps(const uint8_t address[16]) {
  struct netlink_request request;
  struct xfrm_userpolicy_id all = {.dir = 0};
  struct question question = {.address = address};
  int fd TLX_AUTOCLOSE = netlink_open(NETLINK_XFRM);
  if (fd < 0) return false; /* a kernel without it */
  netlink_begin(&request, XFRM_MSG_GETPOLICY, NLM_F_DUMP, &all, sizeof all);
  return netlink_ask(fd, &request, on_policy, &question) == 0 && question.wraps;
}
