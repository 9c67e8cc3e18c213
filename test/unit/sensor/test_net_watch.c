// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_watch.h"

#include <criterion/criterion.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>

struct message {
  struct nlmsghdr head;
  struct rtmsg route;
};

static struct message message(uint16_t type, uint8_t prefix_len) {
  struct message out;
  memset(&out, 0, sizeof out);
  out.head.nlmsg_len = sizeof out;
  out.head.nlmsg_type = type;
  out.route.rtm_dst_len = prefix_len;
  return out;
}

Test(net_watch, a_route_to_somewhere_does_not_matter) {
  struct message one = message(RTM_NEWROUTE, 24), both[2] = {one, message(RTM_DELROUTE, 128)};
  cr_expect_not(net_watch_matters(&one, sizeof one));
  cr_expect_not(net_watch_matters(both, sizeof both));
  cr_expect_not(net_watch_matters(both, 0));
}

Test(net_watch, all_else_does) {
  static const uint16_t types[] = {RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, NLMSG_ERROR};
  struct message both[2] = {message(RTM_NEWROUTE, 24), message(RTM_NEWROUTE, 0)};
  cr_expect(net_watch_matters(both, sizeof both), "a default route, behind another");
  both[1] = message(RTM_DELROUTE, 0);
  cr_expect(net_watch_matters(both, sizeof both));
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    both[1] = message(types[i], 24);
    cr_expect(net_watch_matters(both, sizeof both), "type %u", types[i]);
  }
}
