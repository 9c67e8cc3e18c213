// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/netlink.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

Test(netlink, attributes) {
  struct netlink_request request;
  struct rtmsg body = {0};
  uint32_t seven = 7;
  size_t len = 99;
  netlink_begin(&request, RTM_GETROUTE, 0, &body, sizeof body);
  netlink_add(&request, 3, "abc", 3);
  netlink_add(&request, 5 | NLA_F_NESTED, &seven, sizeof seven);
  const char *data = request.bytes + NLMSG_SPACE(sizeof body);
  size_t n = request.head.nlmsg_len - NLMSG_SPACE(sizeof body);
  const char *found = netlink_find(data, n, 3, &len);
  cr_assert(found);
  cr_expect_eq(len, 3);
  cr_expect_eq(memcmp(found, "abc", 3), 0);
  cr_expect_eq(netlink_u32(data, n, 5), 7);
  cr_expect_eq(netlink_u32(data, n, 6), 0);
  cr_expect_eq(netlink_u32(data, n, 3), 0, "too short to be one");
  cr_expect_null(netlink_find(data, n, 9, &len));
}

/* What lies about its length is not read. */
Test(netlink, broken_attributes) {
  static const struct {
    uint16_t len;
    size_t n;
  } cases[] = {{0, 8}, {3, 8}, {9, 8}, {0xffff, 8}, {4, 3}, {4, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char bytes[8] = {0};
    size_t len = 0;
    struct nlattr attribute = {.nla_len = cases[i].len, .nla_type = 1};
    memcpy(bytes, &attribute, sizeof attribute);
    cr_expect_null(netlink_find(bytes, cases[i].n, 1, &len), "%zu", i);
  }
}

static int count(void *arg, const struct nlmsghdr *message) {
  ++*(unsigned *)arg;
  return 0;
}

static int stop(void *arg, const struct nlmsghdr *message) {
  return -ECANCELED;
}

Test(netlink, questions) {
  struct netlink_request request;
  struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
  unsigned n = 0;
  int fd = netlink_open(NETLINK_ROUTE);
  cr_assert_geq(fd, 0);
  netlink_begin(&request, RTM_GETLINK, NLM_F_DUMP, &info, sizeof info);
  cr_expect_eq(netlink_ask(fd, &request, count, &n), 0);
  cr_expect_geq(n, 1, "loopback");
  netlink_begin(&request, RTM_GETLINK, NLM_F_DUMP, &info, sizeof info);
  cr_expect_eq(netlink_ask(fd, &request, stop, NULL), -ECANCELED);
  /* The rest of that answer is not taken for one of the next. */
  info.ifi_index = 1;
  n = 0;
  netlink_begin(&request, RTM_GETLINK, 0, &info, sizeof info);
  cr_expect_eq(netlink_ask(fd, &request, count, &n), 0);
  cr_expect_eq(n, 1);
  info.ifi_index = 0x7ffffff0;
  netlink_begin(&request, RTM_GETLINK, 0, &info, sizeof info);
  cr_expect_eq(netlink_ask(fd, &request, count, &n), -ENODEV);
  close(fd);
}

struct reading {
  int errs[4];
  unsigned n;
  uint64_t cookies[4];
};

static int read_once(int fd, void *arg) {
  struct reading *reading = arg;
  socklen_t len = sizeof reading->cookies[0];
  cr_assert_lt(reading->n, 4u);
  cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &reading->cookies[reading->n], &len), 0);
  return reading->errs[reading->n++];
}

/* A dump that was left in its middle keeps its socket busy: each try has its own. */
Test(netlink, a_reading_is_tried_anew) {
  static const struct {
    int errs[4], err;
    unsigned n;
  } cases[] = {{{0}, 0, 1},
               {{-EINTR, 0}, 0, 2},
               {{-EBUSY, -EINTR, 0}, 0, 3},
               {{-EINTR, -EINTR, -EBUSY}, -EBUSY, 3},
               {{-ENODEV, 0}, -ENODEV, 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct reading reading = {0};
    memcpy(reading.errs, cases[i].errs, sizeof reading.errs);
    cr_expect_eq(netlink_read(NETLINK_ROUTE, read_once, &reading), cases[i].err, "%zu", i);
    cr_expect_eq(reading.n, cases[i].n, "%zu: %u", i, reading.n);
    for (unsigned k = 1; k < reading.n; k++)
      cr_expect_neq(reading.cookies[k], reading.cookies[k - 1], "%zu: the same socket", i);
  }
}
