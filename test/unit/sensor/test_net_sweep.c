// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_sweep.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sensor/net_own.h"

/* Which sessions are ended. That they are: test/bpf/test_contain.c. */

#define V4(a, b, c, d)                                                                             \
  { [10] = 0xff, [11] = 0xff, [12] = (a), [13] = (b), [14] = (c), [15] = (d) }

int bpf_net_mark(const char *pin_folder, int fd, uint32_t what) {
  return 0;
}

static struct net_session session(void) {
  return (struct net_session){.protocol = IPPROTO_TCP,
                              .local = V4(10, 0, 0, 7),
                              .remote = V4(10, 0, 0, 8),
                              .local_port = 22,
                              .remote_port = 50000,
                              .cookie = 1000000007,
                              .cgroup_id = 33};
}

static const struct tlx_net_addr local[] = {{V4(10, 0, 0, 7)}, {V4(10, 0, 0, 9)}};
static const uint64_t scope[] = {32, 33};

static bool wants(const struct net_session *of, const char *allow) {
  struct rule_contain rule = {0};
  const char *fault = "";
  if (allow) cr_assert_eq(tlx_allow_parse(allow, &rule.allow[rule.n_allow++], &fault), 0);
  return net_sweep_wants(of, &rule, local, 2, NULL, 0);
}

Test(net_sweep, ends_what_has_a_peer_elsewhere) {
  struct net_session of = session();
  cr_expect(wants(&of, NULL));
  of.protocol = IPPROTO_UDP;
  cr_expect(wants(&of, NULL));
}

Test(net_sweep, spares_what_has_no_peer_or_a_local_one) {
  struct net_session of = session();
  of.remote_port = 0;
  cr_expect_not(wants(&of, NULL), "it serves");
  static const uint8_t loopback[16] = V4(127, 3, 0, 1), v6[16] = {[15] = 1},
                       other[16] = V4(10, 0, 0, 9);
  const uint8_t *near[] = {loopback, v6, other};
  for (unsigned i = 0; i < 3; i++) {
    of = session();
    memcpy(of.remote, near[i], 16);
    cr_expect_not(wants(&of, NULL), "%u", i);
  }
}

Test(net_sweep, spares_what_is_allowed) {
  struct net_session of = session();
  cr_expect_not(wants(&of, "in:10.0.0.0/8,22/tcp"));
  cr_expect(wants(&of, "out:10.0.0.0/8,22/tcp"));
  cr_expect_not(wants(&of, "out:10.0.0.8/32"));
}

Test(net_sweep, spares_our_own) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct net_session of = session();
  socklen_t len = sizeof of.cookie;
  cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &of.cookie, &len), 0);
  cr_expect(wants(&of, NULL));
  net_own_mark("/nowhere", fd);
  cr_expect_not(wants(&of, NULL));
  close(fd);
}

static uint64_t mark(int fd) {
  uint64_t cookie = 0;
  socklen_t len = sizeof cookie;
  net_own_mark("/nowhere", fd);
  cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len), 0);
  return cookie;
}

/* Two with each pass; the link is shown once with it. */
Test(net_sweep, the_link_is_ours_however_many_probes_come_after_it) {
  int link = socket(AF_INET, SOCK_STREAM, 0);
  uint64_t first = 0, of_link = mark(link);
  for (unsigned i = 0; i < 1000; i++) {
    for (unsigned j = 0; j < 2; j++) {
      int probe = socket(AF_INET, SOCK_STREAM, 0);
      uint64_t cookie = mark(probe);
      if (!first) first = cookie;
      cr_assert(net_own_has(cookie) && net_own_has(of_link), "probe %u", 2 * i + j);
      close(probe);
    }
    cr_assert_eq(mark(link), of_link);
  }
  cr_expect_not(net_own_has(first), "what is long gone is forgotten");
  close(link);
}

Test(net_sweep, stays_in_its_scope) {
  struct net_session of = session();
  struct rule_contain rule = {0};
  cr_expect(net_sweep_wants(&of, &rule, local, 2, scope, 2));
  of.cgroup_id = 34;
  cr_expect_not(net_sweep_wants(&of, &rule, local, 2, scope, 2));
  of.cgroup_id = 0;
  cr_expect_not(net_sweep_wants(&of, &rule, local, 2, scope, 2), "not told: not ours to end");
  cr_expect_not(net_sweep_wants(&of, &rule, local, 2, scope, 0));
}
