// SPDX-License-Identifier: GPL-2.0-or-later
#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net_bed.h"

/* What programs of the cgroup do to real sockets that talk to a peer in another namespace. */

static struct net_bed bed;

static void begin(void) {
  net_bed_begin(&bed);
  net_bed_peer(&bed);
}
static void end(void) {
  net_bed_end(&bed);
}
TestSuite(net_socket, .init = begin, .fini = end, .timeout = 120);

static const struct {
  int family;
  const char *peer, *own, *loopback;
} families[] = {{AF_INET, NET_PEER4, NET_OWN4, "127.0.0.1"},
                {AF_INET6, NET_PEER6, NET_OWN6, "::1"}};

static struct tlx_net_addr address(int family, const char *text) {
  struct tlx_net_addr out = {{0}};
  if (family == AF_INET) out.bytes[10] = out.bytes[11] = 0xff;
  cr_assert_eq(inet_pton(family, text, out.bytes + (family == AF_INET ? 12 : 0)), 1);
  return out;
}

/* A listener on every address of the test's own namespace. */
static int listener(uint16_t port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert_eq(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
  cr_assert_eq(listen(fd, 8), 0);
  return fd;
}

Test(net_socket, calls_fail_at_once_and_work_again_afterwards) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  for (unsigned i = 0; i < 2; i++) {
    struct tlx_net_stats before = net_bed_stats(&bed);
    cr_expect_eq(net_talk(&bed, families[i].family, SOCK_STREAM, families[i].peer, NET_PORT, 0),
                 -EPERM);
    cr_expect_eq(net_talk(&bed, families[i].family, SOCK_DGRAM, families[i].peer, NET_PORT, 0),
                 -EPERM);
    cr_expect_eq(net_sendto(families[i].family, families[i].peer, NET_PORT), -EPERM);
    struct tlx_net_stats after = net_bed_stats(&bed);
    cr_expect_eq(after.denied[TLX_NET_AT_CONNECT] - before.denied[TLX_NET_AT_CONNECT], 2);
    cr_expect_eq(after.denied[TLX_NET_AT_SENDMSG] - before.denied[TLX_NET_AT_SENDMSG], 1);
    cr_expect_eq(after.probes, before.probes);
  }
  net_bed_publish(&bed, TLX_NET_OFF, NULL);
  for (unsigned i = 0; i < 2; i++) {
    cr_expect_eq(net_talk(&bed, families[i].family, SOCK_STREAM, families[i].peer, NET_PORT, 0), 0);
    cr_expect_eq(net_talk(&bed, families[i].family, SOCK_DGRAM, families[i].peer, NET_PORT, 0), 0);
  }
}

/* ::ffff:a.b.c.d is IPv4: the same rules, and the same entries. */
Test(net_socket, mapped_addresses) {
  cr_expect_eq(net_talk(&bed, AF_INET6, SOCK_STREAM, "::ffff:" NET_PEER4, NET_PORT, 0), 0);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_expect_eq(net_talk(&bed, AF_INET6, SOCK_STREAM, "::ffff:" NET_PEER4, NET_PORT, 0), -EPERM);
  cr_expect_eq(net_sendto(AF_INET6, "::ffff:" NET_PEER4, NET_PORT), -EPERM);
  cr_expect_eq(net_talk(&bed, AF_INET6, SOCK_STREAM, "::ffff:" NET_PEER4, NET_PORT, TLX_SOCK_OWN),
               0);
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:" NET_PEER4 "/32,7001/tcp", NULL);
  cr_expect_eq(net_talk(&bed, AF_INET6, SOCK_STREAM, "::ffff:" NET_PEER4, NET_PORT, 0), 0);
}

Test(net_socket, an_established_connection_falls_silent) {
  for (unsigned i = 0; i < 2; i++) {
    net_bed_publish(&bed, TLX_NET_OFF, NULL);
    int fd =
        net_connect(&bed, families[i].family, SOCK_STREAM, families[i].peer, NET_PORT, 0, 10000);
    cr_assert_geq(fd, 0);
    cr_expect_eq(net_echo(fd, 10000), 0);
    net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    struct tlx_net_stats before = net_bed_stats(&bed);
    cr_expect_eq(net_echo(fd, 700), -ETIMEDOUT);
    cr_expect_gt(net_bed_stats(&bed).denied[TLX_NET_AT_CGROUP_OUT],
                 before.denied[TLX_NET_AT_CGROUP_OUT]);
    /* The mark heals it: what was held back is sent again, and its echo comes. */
    cr_assert_eq(bpf_net_mark(bed.bed.pins, fd, TLX_SOCK_OWN), 0);
    cr_expect_eq(net_echo(fd, 10000), 0);
    close(fd);
  }
}

Test(net_socket, the_own_socket_passes_and_no_other_to_the_same_place) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  for (unsigned i = 0; i < 2; i++) {
    struct tlx_net_stats before = net_bed_stats(&bed);
    /* Neighbour discovery must pass too, else the own socket of IPv6 finds nobody. */
    cr_assert(bed_command("ip neigh flush dev h0"));
    int fd = net_connect(&bed, families[i].family, SOCK_STREAM, families[i].peer, NET_PORT,
                         TLX_SOCK_OWN, 10000);
    cr_assert_geq(fd, 0, "%d", fd);
    cr_expect_eq(net_talk(&bed, families[i].family, SOCK_STREAM, families[i].peer, NET_PORT, 0),
                 -EPERM);
    cr_expect_eq(net_echo(fd, 10000), 0);
    struct tlx_net_stats after = net_bed_stats(&bed);
    cr_expect_geq(after.own - before.own, 5); /* both ways, hand-shake and data */
    close(fd);
  }
}

Test(net_socket, a_probe_is_denied_and_counted) {
  for (unsigned i = 0; i < 2; i++) {
    net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    struct tlx_net_stats before = net_bed_stats(&bed);
    cr_expect_eq(
        net_talk(&bed, families[i].family, SOCK_STREAM, families[i].peer, NET_PORT, TLX_SOCK_PROBE),
        -EPERM);
    cr_expect_eq(
        net_talk(&bed, families[i].family, SOCK_DGRAM, families[i].peer, NET_PORT, TLX_SOCK_PROBE),
        -EPERM);
    cr_expect_eq(net_bed_stats(&bed).probes - before.probes, 2);
    /* Like any other: an entry lets it through. */
    net_bed_publish(&bed, TLX_NET_ENFORCE, "out:" NET_PEER4 "/32", "out:" NET_PEER6 "/128", NULL);
    cr_expect_eq(
        net_talk(&bed, families[i].family, SOCK_STREAM, families[i].peer, NET_PORT, TLX_SOCK_PROBE),
        0);
    cr_expect_eq(net_bed_stats(&bed).probes - before.probes, 2);
  }
}

/* It proves the program of packets: no call of it is refused. */
Test(net_socket, a_probe_of_packets_is_denied_by_their_program_alone) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  for (unsigned i = 0; i < 2; i++) {
    struct tlx_net_stats before = net_bed_stats(&bed);
    cr_expect_eq(net_talk(&bed, families[i].family, SOCK_DGRAM, families[i].peer, NET_PORT,
                          TLX_SOCK_PROBE_PACKET),
                 -EPERM);
    struct tlx_net_stats after = net_bed_stats(&bed);
    cr_expect_eq(after.denied[TLX_NET_AT_CONNECT], before.denied[TLX_NET_AT_CONNECT]);
    cr_expect_eq(after.denied[TLX_NET_AT_CGROUP_OUT] - before.denied[TLX_NET_AT_CGROUP_OUT], 1);
    cr_expect_eq(after.probes - before.probes, 1);
  }
}

Test(net_socket, loopback_and_own_addresses) {
  int fd = listener(7100);
  struct tlx_net_addr local[2] = {address(AF_INET, NET_OWN4), address(AF_INET6, NET_OWN6)};
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  for (unsigned i = 0; i < 2; i++) {
    int family = families[i].family, other;
    cr_expect_geq(
        other = net_connect(&bed, family, SOCK_STREAM, families[i].loopback, 7100, 0, 10000), 0);
    close(other);
    cr_expect_eq(net_connect(&bed, family, SOCK_STREAM, families[i].own, 7100, 0, 10000), -EPERM);
    cr_assert_eq(bpf_net_set_local(bed.net, local, 2), 0);
    cr_expect_geq(other = net_connect(&bed, family, SOCK_STREAM, families[i].own, 7100, 0, 10000),
                  0);
    close(other);
    cr_expect_eq(net_sendto(family, families[i].own, 7100), 0);
    cr_assert_eq(bpf_net_set_local(bed.net, NULL, 0), 0);
    cr_expect_eq(net_connect(&bed, family, SOCK_STREAM, families[i].own, 7100, 0, 10000), -EPERM);
  }
  close(fd);
}

/* Whose local addresses are not known: no call is refused, the packets are. */
Test(net_socket, another_namespace) {
  int fd = listener(7100), other;
  bed.cookie++;
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  for (unsigned i = 0; i < 2; i++) {
    int family = families[i].family;
    struct timespec begin_at, end_at;
    clock_gettime(CLOCK_MONOTONIC, &begin_at);
    cr_expect_eq(net_connect(&bed, family, SOCK_STREAM, families[i].peer, NET_PORT, 0, 30000),
                 -ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &end_at);
    /* Without the user time-out: two minutes. */
    cr_expect_lt(end_at.tv_sec - begin_at.tv_sec, 25);
    cr_expect_eq(net_sendto(family, families[i].peer, NET_PORT), -EPERM);
    cr_expect_geq(other = net_connect(&bed, family, SOCK_STREAM, families[i].own, 7100, 0, 10000),
                  0);
    close(other);
  }
  cr_expect_eq(net_bed_stats(&bed).denied[TLX_NET_AT_CONNECT], 0);
  close(fd);
}

Test(net_socket, observing_stops_nothing) {
  net_bed_publish(&bed, TLX_NET_OBSERVE, NULL);
  for (unsigned i = 0; i < 2; i++) {
    struct tlx_net_stats before = net_bed_stats(&bed);
    cr_expect_eq(
        net_talk(&bed, families[i].family, SOCK_STREAM, families[i].peer, NET_PORT, TLX_SOCK_PROBE),
        0);
    struct tlx_net_stats after = net_bed_stats(&bed);
    cr_expect_eq(after.would[TLX_NET_AT_CONNECT] - before.would[TLX_NET_AT_CONNECT], 1);
    cr_expect_gt(after.would[TLX_NET_AT_CGROUP_OUT], before.would[TLX_NET_AT_CGROUP_OUT]);
    cr_expect_gt(after.would[TLX_NET_AT_CGROUP_IN], before.would[TLX_NET_AT_CGROUP_IN]);
    cr_expect_eq(after.denied[TLX_NET_AT_CONNECT], 0);
    cr_expect_eq(after.probes, 0);
  }
}

Test(net_socket, entries_of_the_allow_list) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:" NET_PEER4 "/32,7001/tcp",
                  "out:" NET_PEER6 "/128,7001/udp", NULL);
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0), 0);
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT + 1, 0), -EPERM);
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_DGRAM, NET_PEER4, NET_PORT, 0), -EPERM);
  cr_expect_eq(net_talk(&bed, AF_INET6, SOCK_DGRAM, NET_PEER6, NET_PORT, 0), 0);
  cr_expect_eq(net_talk(&bed, AF_INET6, SOCK_STREAM, NET_PEER6, NET_PORT, 0), -EPERM);
  /* A range, both protocols. */
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:10.77.0.0/24,7002-7003", NULL);
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT + 1, 0), 0);
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_DGRAM, NET_PEER4, NET_PORT + 1, 0), 0);
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0), -EPERM);
}

/* What a receiver of the ring makes of an event. */
static int take(void *arg, void *data, size_t size) {
  struct tlx_net_event *out = arg;
  cr_assert_eq(size, sizeof *out);
  memcpy(out, data, sizeof *out);
  return 1;
}

Test(net_socket, events_say_who_and_whereto) {
  struct tlx_net_event event = {0};
  struct tlx_net_addr peer = address(AF_INET, NET_PEER4);
  struct ring_buffer *ring = ring_buffer__new(bpf_net_events_fd(bed.net), take, &event, NULL);
  cr_assert(ring);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  while (ring_buffer__consume(ring) > 0) {
  }
  cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0), -EPERM);
  memset(&event, 0, sizeof event);
  cr_assert_gt(ring_buffer__consume(ring), 0);
  cr_expect_eq(event.at, TLX_NET_AT_CONNECT);
  cr_expect_eq(event.action, 1);
  cr_expect_eq(event.slot, 7);
  cr_expect_eq(event.pid, getpid());
  cr_expect_eq(event.uid, 0);
  cr_expect_eq(event.remote_port, NET_PORT);
  cr_expect_eq(event.protocol, IPPROTO_TCP);
  cr_expect_eq(event.family, 4);
  cr_expect_eq(memcmp(&event.remote, &peer, sizeof peer), 0);
  cr_expect_neq(event.comm[0], '\0');
  cr_expect_neq(event.boot_ns, 0);
  /* A burst is a sample; the counters have all. */
  struct tlx_net_stats before = net_bed_stats(&bed);
  int n = 0, consumed;
  for (unsigned i = 0; i < 2000; i++)
    cr_assert_eq(net_sendto(AF_INET, NET_PEER4, NET_PORT), -EPERM);
  while ((consumed = ring_buffer__consume(ring)) > 0)
    n += consumed;
  struct tlx_net_stats after = net_bed_stats(&bed);
  cr_expect_eq(after.denied[TLX_NET_AT_SENDMSG] - before.denied[TLX_NET_AT_SENDMSG], 2000);
  cr_expect_gt(n, 0);
  cr_expect_lt(n, 2000);
  cr_expect_eq(after.events_lost, before.events_lost);
  ring_buffer__free(ring);
}

/* ---- options ---- */

static int set_option(int fd, int level, int name, socklen_t len) {
  static const char value[8192] = {1};
  return setsockopt(fd, level, name, value, len) == 0 ? 0 : -errno;
}

/* No frame without a queue, and no socket of XDP. */
Test(net_socket, no_way_past_the_programs_of_devices) {
  const int one = 1;
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  cr_assert_geq(fd, 0);
  cr_expect_eq(set_option(fd, SOL_PACKET, PACKET_QDISC_BYPASS, sizeof one), 0, "before");
  close(fd);
  fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  struct tlx_net_stats before = net_bed_stats(&bed);
  cr_expect_eq(set_option(fd, SOL_PACKET, PACKET_QDISC_BYPASS, sizeof one), -EPERM);
  cr_expect_eq(set_option(fd, SOL_PACKET, PACKET_AUXDATA, sizeof one), 0,
               "others are nobody's business");
  struct tlx_net_stats after = net_bed_stats(&bed);
  cr_expect_eq(after.denied[TLX_NET_AT_OPTION] - before.denied[TLX_NET_AT_OPTION], 1);
  net_bed_publish(&bed, TLX_NET_OBSERVE, NULL);
  cr_expect_eq(set_option(fd, SOL_PACKET, PACKET_QDISC_BYPASS, sizeof one), 0);
  cr_expect_eq(net_bed_stats(&bed).would[TLX_NET_AT_OPTION], 1);
  close(fd);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) cr_skip_test("no sockets of XDP in this kernel: %s", strerror(errno));
  cr_expect_eq(set_option(fd, SOL_XDP, XDP_TX_RING, sizeof one), -EPERM);
  close(fd);
}

/* The kernel shows a program one page of a value; it gets all of it. */
Test(net_socket, long_options_go_on) {
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert_geq(fd, 0);
  cr_expect_eq(set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 8192), 0);
  close(fd);
}
