// SPDX-License-Identifier: GPL-2.0-or-later
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net_bed.h"

/* The programs on the real root cgroup: only in a guest, whose init says that the machine is the
 * test's. Every namespace of the guest is held then, the peer's too; what leaves the machine is for
 * those who stand outside of it. */

static struct net_bed bed;

static void begin(void) {
  const char *may = getenv("TELOVIX_HOST_SCOPE");
  char root[256], why[240] = "";
  struct stat st;
  bool adopted = true;
  if (!may || strcmp(may, "1") != 0)
    cr_skip_test("this machine is not the test's alone: runs in the guests of test/vm");
  net_bed_ground(&bed);
  net_bed_peer(&bed);
  snprintf(root, sizeof root, "%s/..", bed.bed.cgroup);
  cr_assert_eq(stat(root, &st), 0);
  cr_assert_eq(st.st_ino, 1, "not the root of cgroup2");
  struct bpf_net_options options = {
      .pin_folder = bed.bed.pins, .cgroup_folder = root, .whole_host = true};
  cr_assert_eq(bpf_net_open(&options, why, &adopted, &bed.net), 0, "%s", why);
  cr_assert_eq(bpf_net_attach(bed.net, why), 0, "%s", why);
  cr_assert_eq(bpf_net_layers(bed.net), (1u << BPF_NET_LAYER_COUNT) - 1);
}
static void end(void) {
  net_bed_end(&bed);
}
TestSuite(net_host, .init = begin, .fini = end, .timeout = 120);

/* An echo request by a raw socket. 0 or a negative errno. */
static int ping(int family) {
  const char request[16] = {family == AF_INET ? 8 : (char)128, 0, (char)0xf7, (char)0xff};
  struct sockaddr_in to4 = {.sin_family = AF_INET};
  struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
  int fd =
      socket(family, SOCK_RAW | SOCK_CLOEXEC, family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
  cr_assert_geq(fd, 0);
  inet_pton(AF_INET, NET_PEER4, &to4.sin_addr);
  inet_pton(AF_INET6, NET_PEER6, &to6.sin6_addr);
  const void *to = family == AF_INET ? (void *)&to4 : (void *)&to6;
  ssize_t n =
      sendto(fd, request, sizeof request, 0, to, family == AF_INET ? sizeof to4 : sizeof to6);
  int err = n < 0 ? -errno : 0;
  close(fd);
  return err;
}

/* Whatever this process's cgroup and namespace: all that may leave it is refused. */
static int all_refused(void) {
  if (net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0) != -EPERM) return 1;
  if (net_talk(&bed, AF_INET6, SOCK_STREAM, NET_PEER6, NET_PORT, 0) != -EPERM) return 2;
  if (net_sendto(AF_INET, NET_PEER4, NET_PORT) != -EPERM) return 3;
  if (net_sendto(AF_INET6, NET_PEER6, NET_PORT) != -EPERM) return 4;
  if (ping(AF_INET) != -EPERM) return 5;
  if (ping(AF_INET6) != -EPERM) return 6;
  return 0;
}

static void enter_inner(void) {
  char command[256];
  snprintf(command, sizeof command, "mkdir %s/inner && echo %d >%s/inner/cgroup.procs",
           bed.bed.cgroup, getpid(), bed.bed.cgroup);
  if (!bed_command("%s", command)) _exit(9);
}
static void enter_cgroup_namespace(void) {
  if (unshare(CLONE_NEWCGROUP) != 0) _exit(9);
}

static int in_child(void (*enter)(void), int (*act)(void)) {
  int status = 0;
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    if (enter) enter();
    _exit(act());
  }
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(net_host, every_cgroup) {
  cr_expect_eq(ping(AF_INET), 0);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_expect_eq(in_child(NULL, all_refused), 0);
  cr_expect_eq(in_child(enter_inner, all_refused), 0);
  cr_expect_eq(in_child(enter_cgroup_namespace, all_refused), 0);
  net_bed_publish(&bed, TLX_NET_OFF, NULL);
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0), 0);
  cr_expect_eq(ping(AF_INET6), 0);
}

/* A namespace made after the programs: with its own loopback, which works, and a way out, which
 * does not. */
static int in_new_namespace(void) {
  struct sockaddr_in own = {
      .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(7200)};
  if (unshare(CLONE_NEWNET) != 0) return 9;
  if (!bed_command(
          "ip link set lo up && ip link add a0 type veth peer name a1 && ip link set a0 up && "
          "ip link set a1 up && ip address add 10.79.0.1/24 dev a0 && "
          "ip neigh add 10.79.0.2 lladdr 02:00:00:00:00:02 dev a0"))
    return 8;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fd, (struct sockaddr *)&own, sizeof own) != 0 || listen(fd, 1) != 0) return 7;
  if (net_connect(&bed, AF_INET, SOCK_STREAM, "127.0.0.1", 7200, 0, 5000) < 0) return 1;
  if (net_sendto(AF_INET, "10.79.0.1", 9) != 0) return 2; /* its own address */
  if (net_sendto(AF_INET, "10.79.0.2", 9) != -EPERM) return 3;
  if (net_connect(&bed, AF_INET, SOCK_STREAM, "10.79.0.2", 9, 0, 60000) != -ETIMEDOUT) return 4;
  return 0;
}

Test(net_host, a_new_namespace) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_expect_eq(in_child(NULL, in_new_namespace), 0);
}

Test(net_host, what_was_removed_is_open_at_once) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_expect_eq(in_child(NULL, all_refused), 0);
  cr_expect_eq(bpf_net_remove(bed.net), 0);
  cr_expect_eq(net_talk(&bed, AF_INET6, SOCK_STREAM, NET_PEER6, NET_PORT, 0), 0);
}
