// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_xfrm.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <string.h>

struct policy {
  struct xfrm_userpolicy_info info;
  struct nlattr head;
  struct xfrm_user_tmpl template;
};

static struct policy policy(int family, const char *prefix, uint8_t bits) {
  struct policy out;
  memset(&out, 0, sizeof out);
  out.info.sel.family = (uint16_t)family;
  out.info.sel.prefixlen_d = bits;
  cr_assert_eq(inet_pton(family, prefix, &out.info.sel.daddr), 1);
  out.info.dir = XFRM_POLICY_OUT;
  out.info.action = XFRM_POLICY_ALLOW;
  out.head = (struct nlattr){.nla_len = NLA_HDRLEN + sizeof out.template, .nla_type = XFRMA_TMPL};
  return out;
}

static const uint8_t v4[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 9, [14] = 200, [15] = 7};
static const uint8_t v6[16] = {0xfd, 0x77, [15] = 7};

static bool wraps(const struct policy *policy, const uint8_t address[16]) {
  return net_xfrm_policy_wraps(policy, sizeof *policy, address);
}

Test(net_xfrm, a_policy_with_a_template_wraps_what_it_selects) {
  struct policy all4 = policy(AF_INET, "0.0.0.0", 0), all6 = policy(AF_INET6, "::", 0);
  struct policy near = policy(AF_INET, "10.9.192.0", 18), far = policy(AF_INET, "10.9.128.0", 18);
  struct policy one = policy(AF_INET6, "fd77::7", 128), other = policy(AF_INET6, "fd77::8", 128);
  cr_expect(wraps(&all4, v4));
  cr_expect_not(wraps(&all4, v6));
  cr_expect(wraps(&all6, v6));
  cr_expect_not(wraps(&all6, v4));
  cr_expect(wraps(&near, v4));
  cr_expect_not(wraps(&far, v4));
  cr_expect(wraps(&one, v6));
  cr_expect_not(wraps(&other, v6));
}

Test(net_xfrm, others_do_not) {
  struct policy in = policy(AF_INET, "0.0.0.0", 0), blocks = in, plain = in;
  in.info.dir = XFRM_POLICY_IN;
  blocks.info.action = XFRM_POLICY_BLOCK;
  cr_expect_not(wraps(&in, v4));
  cr_expect_not(wraps(&blocks, v4));
  cr_expect_not(net_xfrm_policy_wraps(&plain, sizeof plain.info, v4), "no template");
  cr_expect_not(net_xfrm_policy_wraps(&plain, sizeof plain.info - 1, v4), "cut off");
}

/* This machine has no policy for an address of documentation. */
Test(net_xfrm, asks_this_kernel) {
  static const uint8_t documentation[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
  cr_expect_not(net_xfrm_wraps(documentation));
}
