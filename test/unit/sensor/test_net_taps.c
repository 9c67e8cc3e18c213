// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_taps.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct {
  const char *line;
  bool is_socket, listens;
  uint64_t inode;
} lines[] = {
    {"sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n", false, false, 0},
    {"ffff9d5a8a2f1000 3      3    0003   2     1 0      0      23456 \n", true, true, 23456},
    {"0000000000000000 3      2    0800   0     1 0      0      7 \n", true, true, 7},
    {"0000000000000000 3      3    8100   2     1 0      0      7 \n", true, true, 7},
    {"0000000000000000 3      3    0800   2     0 0      0      7 \n", true, false, 7},
    {"0000000000000000 3      3    0000   2     0 0      0      7 \n", true, false, 7},
    {"0000000000000000 3      3    88cc   2     1 0      0      7 \n", true, false, 7},
    {"0000000000000000 3      3    888e   2     1 0      0      7 \n", true, false, 7},
    {"0000000000000000 3      3    0806   2     1 0      0      7 \n", true, false, 7},
    {"", false, false, 0},
};

Test(net_taps, lines_of_packet_sockets) {
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    bool listens = false;
    uint64_t inode = 0;
    cr_expect_eq(net_taps_packet_parse(lines[i].line, &listens, &inode), lines[i].is_socket, "%s",
                 lines[i].line);
    cr_expect_eq(listens, lines[i].listens, "%s", lines[i].line);
    cr_expect_eq(inode, lines[i].inode, "%s", lines[i].line);
  }
}

Test(net_taps, lines_of_protocols) {
  cr_expect(net_taps_has_xdp("XDP        1088      1      -1   NI       0   no   kernel      n\n"));
  cr_expect_not(
      net_taps_has_xdp("XDP        1088      0      -1   NI       0   no   kernel      n\n"));
  cr_expect_not(
      net_taps_has_xdp("PACKET     1472      5      -1   NI       0   no   kernel      n\n"));
  cr_expect_not(net_taps_has_xdp("protocol  size sockets  memory press maxhdr  slab module\n"));
}

static struct net_taps look(void) {
  struct net_taps taps = {0};
  cr_assert_eq(net_taps_look("/proc", &taps), 0);
  return taps;
}

static int packet_socket(int protocol) {
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons((uint16_t)protocol));
  if (fd < 0) cr_skip_test("no packet sockets here: %s", strerror(errno));
  return fd;
}

/* In a namespace of its own, which begins without any. */
Test(net_taps, sockets_of_this_kernel) {
  const int one = 1;
  if (unshare(CLONE_NEWNET) != 0)
    cr_skip_test("no network namespace of its own: %s", strerror(errno));
  struct net_taps taps = look();
  cr_expect(taps.n_listening == 0 && taps.n_bypassing == 0 && !taps.may_xdp);
  int quiet = packet_socket(0);
  taps = look();
  cr_expect(taps.n_listening == 0 && taps.n_bypassing == 0, "it goes by the queue");
  int ears = packet_socket(ETH_P_ALL);
  taps = look();
  cr_expect(taps.n_listening == 1 && taps.n_bypassing == 0);
  close(ears);
  cr_assert_eq(setsockopt(quiet, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one), 0);
  taps = look();
  cr_expect(taps.n_listening == 0 && taps.n_bypassing == 1);
  close(quiet);
  taps = look();
  cr_expect(taps.n_listening == 0 && taps.n_bypassing == 0);
}

/* Nobody has it open: it lies in a message that was not received. */
Test(net_taps, one_without_an_owner_may_do_anything) {
  int pair[2];
  if (unshare(CLONE_NEWNET) != 0)
    cr_skip_test("no network namespace of its own: %s", strerror(errno));
  int fd = packet_socket(0);
  cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
  char byte = 0, control[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec data = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  *head = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(head), &fd, sizeof fd);
  cr_assert_eq(sendmsg(pair[0], &message, 0), 1);
  close(fd);
  cr_expect_eq(look().n_bypassing, 1);
  close(pair[0]);
  close(pair[1]);
}

Test(net_taps, sockets_of_xdp) {
  if (unshare(CLONE_NEWNET) != 0)
    cr_skip_test("no network namespace of its own: %s", strerror(errno));
  int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) cr_skip_test("no sockets of XDP in this kernel: %s", strerror(errno));
  cr_expect(look().may_xdp);
  close(fd);
}
