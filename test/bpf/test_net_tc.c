// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_tc.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_bed.h"
#include "net_packet.h"
#include "sensor/bpf_net_int.h"

/* Programs at a veth device of the test's own namespace, by tcx where the kernel has it and by
 * clsact. This process stays out of the cgroup: what is stopped is stopped at the device. */

static struct net_bed bed;
#define DEVICE 50u

static void begin(void) {
  char why[240] = "";
  bool adopted;
  bed.is_outside = true;
  net_bed_ground(&bed);
  bed.net = net_bed_open(&bed, true, &adopted);
  int err = bpf_net_attach(bed.net, why);
  if (err == -EPERM) cr_skip_test("%s", why);
  cr_assert_eq(err, 0, "%s", why);
  cr_assert(bpf_net_layers(bed.net) & 1u << BPF_NET_LAYER_TC, "%s",
            bpf_net_layer_why(bed.net, BPF_NET_LAYER_TC));
  printf("bed: devices by %s\n", bed.net->has_tcx ? "tcx" : "clsact");
  fflush(stdout);
  net_bed_peer(&bed);
}
static void end(void) {
  net_bed_end(&bed);
}
TestSuite(net_tc, .init = begin, .fini = end, .timeout = 120);

static void add(void) {
  char why[240] = "";
  int err = bpf_net_link_add(bed.net, DEVICE, why);
  cr_assert_eq(err, 0, "%d %s", err, why);
}
/* Each way that the kernel has, once. */
static unsigned n_ways(void) {
  return bed.net->has_tcx ? 2 : 1;
}
static void take_way(unsigned way) {
  if (!way) return;
  bpf_net_link_gone(bed.net, DEVICE);
  bed.net->has_tcx = false;
}
static bool is_held(void) {
  return net_connect(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0, 300) == -ETIMEDOUT &&
         net_connect(&bed, AF_INET6, SOCK_STREAM, NET_PEER6, NET_PORT, 0, 300) == -ETIMEDOUT;
}
static bool is_open(void) {
  return net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0) == 0 &&
         net_talk(&bed, AF_INET6, SOCK_DGRAM, NET_PEER6, NET_PORT, 0) == 0;
}

Test(net_tc, sockets_outside_of_the_cgroup_are_held_and_the_own_one_passes) {
  for (unsigned way = 0; way < n_ways(); way++) {
    take_way(way);
    net_bed_publish(&bed, TLX_NET_OFF, NULL);
    add();
    cr_expect(is_open());
    net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    struct tlx_net_stats before = net_bed_stats(&bed);
    cr_expect(is_held());
    cr_assert(bed_command("ip neigh flush dev h0"));
    cr_expect_eq(net_talk(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, TLX_SOCK_OWN), 0);
    cr_expect_eq(net_talk(&bed, AF_INET6, SOCK_STREAM, NET_PEER6, NET_PORT, TLX_SOCK_OWN), 0);
    cr_expect_eq(net_talk(&bed, AF_INET6, SOCK_STREAM, "::ffff:" NET_PEER4, NET_PORT, TLX_SOCK_OWN),
                 0);
    struct tlx_net_stats after = net_bed_stats(&bed);
    cr_expect_gt(after.denied[TLX_NET_AT_TC_OUT], before.denied[TLX_NET_AT_TC_OUT]);
    cr_expect_geq(after.own - before.own, 15);
    net_bed_publish(&bed, TLX_NET_ENFORCE, "out:" NET_PEER4 "/32,7001/tcp",
                    "out:" NET_PEER6 "/128,7001/udp", NULL);
    cr_expect(is_open());
    cr_expect_eq(net_connect(&bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT + 1, 0, 300),
                 -ETIMEDOUT);
  }
}

/* The mark of the peer's socket says nothing here, although the packet still carries that socket
 * over a veth pair. */
Test(net_tc, the_senders_mark_does_not_count_inwards) {
  add();
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  struct tlx_net_stats before = net_bed_stats(&bed);
  /* The other end sends from a socket that is marked as own: its namespace, our mark. */
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/net", bed.peer_pid);
  int there = open(path, O_RDONLY | O_CLOEXEC),
      home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  cr_assert(there >= 0 && home >= 0);
  cr_assert_eq(setns(there, CLONE_NEWNET), 0);
  int fd = net_connect(&bed, AF_INET, SOCK_STREAM, NET_OWN4, 7100, TLX_SOCK_OWN, 300);
  cr_assert_eq(setns(home, CLONE_NEWNET), 0);
  cr_expect_eq(fd, -ETIMEDOUT, "%d", fd);
  struct tlx_net_stats after = net_bed_stats(&bed);
  cr_expect_gt(after.denied[TLX_NET_AT_TC_IN], before.denied[TLX_NET_AT_TC_IN]);
  cr_expect_eq(after.own, before.own);
  close(there), close(home);
}

/* ---- frames of a packet socket ---- */

static int raw_socket(uint16_t protocol) {
  struct sockaddr_ll to = {
      .sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = DEVICE};
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(protocol));
  cr_assert_geq(fd, 0);
  cr_assert_eq(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
  return fd;
}
Test(net_tc, packet_sockets) {
  const struct packet_spec spec = {.family = 4,
                                   .protocol = 17,
                                   .local_port = 5,
                                   .remote_port = 9,
                                   .remote = NET_PEER4,
                                   .payload = 32};
  const struct {
    uint16_t claimed, written;
    bool passes;
  } cases[] = {
      {ETH_P_IP, 0x0800, false},  {ETH_P_ARP, 0x0800, false}, {0x88b5, 0x0800, false},
      {ETH_P_ALL, 0x0800, false}, {ETH_P_ARP, 0x0806, true},  {0x88b5, 0x88b5, true},
      {ETH_P_IP, 0x0806, true},
  };
  for (unsigned way = 0; way < n_ways(); way++) {
    take_way(way);
    add();
    net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
      struct packet packet;
      packet_make(&spec, false, &packet);
      packet_ethernet(&packet, cases[i].written);
      int fd = raw_socket(cases[i].claimed);
      struct tlx_net_stats before = net_bed_stats(&bed);
      for (unsigned n = 0; n < 5; n++)
        (void)!send(fd, packet.data, packet.len, 0);
      close(fd);
      struct tlx_net_stats after = net_bed_stats(&bed);
      cr_expect_eq(after.denied[TLX_NET_AT_TC_OUT] - before.denied[TLX_NET_AT_TC_OUT],
                   cases[i].passes ? 0 : 5, "says %04x, is %04x", cases[i].claimed,
                   cases[i].written);
    }
  }
}

/* ---- forwarded traffic ---- */

/* A connection out of another namespace. */
static int connect_from(const char *netns, int family, const char *address, uint16_t port) {
  int there = open(netns, O_RDONLY | O_CLOEXEC),
      home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  cr_assert(there >= 0 && home >= 0, "%s", netns);
  cr_assert_eq(setns(there, CLONE_NEWNET), 0);
  int fd = net_connect(&bed, family, SOCK_STREAM, address, port, 0, 400);
  cr_assert_eq(setns(home, CLONE_NEWNET), 0);
  close(there), close(home);
  if (fd >= 0) close(fd);
  return fd < 0 ? fd : 0;
}

/* A third namespace behind this one, which forwards for it. */
Test(net_tc, forwarded_traffic) {
  char name[64], path[96];
  add();
  snprintf(name, sizeof name, "telovix-%s", bed.bed.folder + sizeof "/tmp/telovix-bpf");
  snprintf(path, sizeof path, "/run/netns/%s", name);
  cr_assert(bed_command(
      "ip netns add %s && ip link add index 60 name h1 type veth peer name q0 netns %s && "
      "ip link set h1 up && ip address add 10.78.0.1/24 dev h1 && ip -n %s link set q0 up && "
      "ip -n %s address add 10.78.0.2/24 dev q0 && ip -n %s route add default via 10.78.0.1 && "
      "echo 1 >/proc/sys/net/ipv4/ip_forward && "
      "nsenter -t %d -n ip route add 10.78.0.0/24 via " NET_OWN4,
      name, name, name, name, name, bed.peer_pid));
  int before = -1;
  for (unsigned i = 0; i < 20 && before; i++)
    before = connect_from(path, AF_INET, NET_PEER4, NET_PORT);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  int held = connect_from(path, AF_INET, NET_PEER4, NET_PORT);
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:" NET_PEER4 "/32,7001/tcp", NULL);
  int allowed = connect_from(path, AF_INET, NET_PEER4, NET_PORT),
      other = connect_from(path, AF_INET, NET_PEER4, NET_PORT + 1);
  cr_assert(bed_command("ip netns delete %s", name));
  cr_expect_eq(before, 0);
  cr_expect_eq(held, -ETIMEDOUT);
  cr_expect_eq(allowed, 0);
  cr_expect_eq(other, -ETIMEDOUT);
}

/* From outside: no answer of any kind, not even the reset of a closed port, which no socket sends.
 */
Test(net_tc, answers_of_the_kernel) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/net", bed.peer_pid);
  add();
  cr_expect_eq(connect_from(path, AF_INET, NET_OWN4, 9), -ECONNREFUSED);
  cr_expect_eq(connect_from(path, AF_INET6, NET_OWN6, 9), -ECONNREFUSED);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_expect_eq(connect_from(path, AF_INET, NET_OWN4, 9), -ETIMEDOUT);
  cr_expect_eq(connect_from(path, AF_INET6, NET_OWN6, 9), -ETIMEDOUT);
  net_bed_publish(&bed, TLX_NET_ENFORCE, "in:10.77.0.0/24,9/tcp", "in:fd77::/64,9/tcp", NULL);
  cr_expect_eq(connect_from(path, AF_INET, NET_OWN4, 9), -ECONNREFUSED);
  cr_expect_eq(connect_from(path, AF_INET6, NET_OWN6, 9), -ECONNREFUSED);
  cr_expect_eq(connect_from(path, AF_INET, NET_OWN4, 10), -ETIMEDOUT);
}

/* ---- life ---- */

static uint32_t first_prog(bool in) {
  uint32_t id = 0;
  int err = bed.net->has_tcx ? bpf_tcx_first(DEVICE, in, &id) : bpf_clsact_first(DEVICE, in, &id);
  return err ? 0 : id;
}

/* Another program that is asked before ours: one of ours that looks at something else. A link of
 * tcx to be closed, or -1. */
static int stand_before(bool in) {
  int prog_fd = bpf_net_hook_of(bed.net, BPF_NET_PROG_TC_IN_IP)->prog_fd;
  if (bed.net->has_tcx) {
    int fd = bpf_tcx_attach(DEVICE, in, prog_fd);
    cr_assert_geq(fd, 0);
    return fd;
  }
  char path[192];
  snprintf(path, sizeof path, "%s/foreign", bed.net->folder);
  cr_assert_eq(bpf_obj_pin(prog_fd, path), 0);
  cr_assert(bed_command(
      "tc filter add dev h0 %s prio 1 handle 7 protocol all bpf direct-action object-pinned %s",
      in ? "ingress" : "egress", path));
  cr_assert_eq(unlink(path), 0);
  return -1;
}

Test(net_tc, filters_outlive_their_maker) {
  for (unsigned way = 0; way < n_ways(); way++) {
    bool adopted = false;
    char why[240] = "";
    take_way(way);
    add();
    net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    bpf_net_close(bed.net);
    cr_expect(is_held());
    bed.net = net_bed_open(&bed, true, &adopted);
    cr_expect(adopted);
    cr_assert_eq(bpf_net_attach(bed.net, why), 0, "%s", why);
    if (way) bed.net->has_tcx = false;
    cr_expect(is_held());
    /* Of tcx the successor knows by its pins; and either way adding it again is fine. */
    cr_expect_eq(bed.net->n_devices, way ? 0 : bed.net->has_tcx ? 1 : 0);
    add();
    cr_expect_eq(first_prog(false), bed.net->devices[0].prog_id[0]);
    cr_expect_eq(first_prog(true), bed.net->devices[0].prog_id[1]);
    cr_expect(is_held());
  }
  /* Nothing stays behind, also not on a device that this process did not add. */
  bpf_net_devices_close(bed.net);
  cr_expect_eq(bpf_net_remove(bed.net), 0);
  uint32_t id;
  cr_expect_eq(bpf_clsact_query(DEVICE, false, &id), -ENOENT);
  cr_expect(is_open());
}

static void expect_repaired(const char *how) {
  struct bpf_tampers tampers = {0};
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0, "%s", how);
  cr_assert_eq(tampers.n, 1, "%s: %u", how, tampers.n);
  cr_expect(strstr(tampers.list[0].how, how), "%s: %s", how, tampers.list[0].how);
  cr_expect(tampers.list[0].repaired);
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0);
  cr_expect_eq(tampers.n, 1, "%s, again: %s", how, tampers.list[1].how);
  cr_expect(is_held(), "%s", how);
}

Test(net_tc, verification_of_links) {
  if (!bed.net->has_tcx) cr_skip_test("this kernel has no tcx");
  add();
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  for (unsigned in = 0; in < 2; in++) {
    char path[192];
    snprintf(path, sizeof path, "%s/tc_%s_%u", bed.net->folder, in ? "in" : "out", DEVICE);
    cr_assert_eq(bpf_link_detach(bed.net->devices[0].link_fd[in]), 0);
    expect_repaired("detached");
    cr_assert_eq(unlink(path), 0);
    expect_repaired("missing");
    /* Another program in it: one of ours that looks at something else. */
    cr_assert_eq(bpf_link_update(bed.net->devices[0].link_fd[in],
                                 bpf_net_hook_of(bed.net, BPF_NET_PROG_TC_OUT_IP)->prog_fd, NULL),
                 0);
    expect_repaired("another program");
    /* Another one before it. */
    int fd = stand_before(in);
    expect_repaired("stood before it");
    close(fd);
  }
}

Test(net_tc, verification_of_filters) {
  bed.net->has_tcx = false;
  add();
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  for (unsigned in = 0; in < 2; in++) {
    cr_assert_eq(bpf_clsact_detach(DEVICE, in), 0);
    expect_repaired("missing");
    cr_assert_eq(
        bpf_clsact_attach(DEVICE, in, bpf_net_hook_of(bed.net, BPF_NET_PROG_TC_OUT_IP)->prog_fd),
        0);
    expect_repaired("another program");
    (void)stand_before(in);
    expect_repaired("stood before it");
  }
  cr_assert(bed_command("tc qdisc del dev h0 clsact"));
  struct bpf_tampers tampers = {0};
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0);
  cr_expect_eq(tampers.n, 2);
  cr_expect(is_held());
}

Test(net_tc, programs_that_had_no_memory_come_later) {
  char why[240] = "";
  add();
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  for (unsigned may_come = 0; may_come < 2; may_come++) {
    bpf_net_layer_lost(bed.net, BPF_NET_LAYER_TC, may_come);
    bpf_net_retry(bed.net);
    cr_expect_eq(bpf_net_link_add(bed.net, DEVICE, why), may_come ? 0 : -EOPNOTSUPP);
    cr_expect(is_held(), "with the former ones, and with the new");
  }
  static const int passing[] = {-ENOMEM, -EAGAIN, -EINTR, -EMFILE, -ENFILE, -ENOSPC, -EBUSY},
                   final[] = {-EINVAL, -EOPNOTSUPP, -EPERM, -EACCES, -524, -ESRCH, -E2BIG};
  for (unsigned i = 0; i < 7; i++) {
    cr_expect_not(bpf_net_is_final(passing[i]), "%d", passing[i]);
    cr_expect(bpf_net_is_final(final[i]), "%d", final[i]);
  }
}

/* Adding it again mends what was detached since the comparison: not without a word. */
Test(net_tc, what_was_detached_is_told_before_it_is_added_again) {
  for (unsigned way = 0; way < n_ways(); way++) {
    struct bpf_tampers tampers = {0};
    take_way(way);
    cr_expect_eq(bpf_net_link_check(bed.net, DEVICE, &tampers), 0);
    cr_expect_eq(tampers.n, 0, "a device that has none");
    add();
    net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    cr_expect_eq(bpf_net_link_check(bed.net, DEVICE, &tampers), 0);
    cr_expect_eq(tampers.n, 0, "nothing was altered");
    if (bed.net->has_tcx)
      cr_assert_eq(bpf_link_detach(bed.net->devices[0].link_fd[0]), 0);
    else
      cr_assert_eq(bpf_clsact_detach(DEVICE, 0), 0);
    cr_expect_eq(bpf_net_link_check(bed.net, DEVICE, &tampers), 0);
    cr_expect_eq(tampers.n, 1);
    cr_expect(tampers.list[0].repaired);
    add();
    cr_expect(is_held());
  }
}

/* Somebody stepped before what a former process left: ours are first before anything is proved. */
Test(net_tc, adopted_programs_are_first) {
  for (unsigned way = 0; way < n_ways(); way++) {
    bool adopted = false;
    char why[240] = "";
    int fds[2];
    take_way(way);
    add();
    net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    bpf_net_close(bed.net);
    bed.net = net_bed_open(&bed, true, &adopted);
    cr_assert_eq(bpf_net_attach(bed.net, why), 0, "%s", why);
    if (way) bed.net->has_tcx = false;
    for (unsigned in = 0; in < 2; in++) {
      uint32_t before = first_prog(in);
      fds[in] = stand_before(in);
      cr_expect_neq(first_prog(in), before);
    }
    add();
    for (unsigned in = 0; in < 2; in++) {
      cr_expect_eq(first_prog(in), bed.net->devices[0].prog_id[in]);
      if (fds[in] >= 0) close(fds[in]);
    }
    cr_expect(is_held());
  }
}

/* A device that goes is no tampering. */
/* Ours let everything through until they have a configuration: what holds until then is the
 * other's. */
Test(net_tc, another_version_goes_on_until_ours_is_published) {
  char ours[192], others[192], why[240] = "";
  snprintf(ours, sizeof ours, "%s/net-%d", bed.bed.pins, TLX_NET_ABI_VERSION);
  snprintf(others, sizeof others, "%s/net-99", bed.bed.pins);
  const unsigned n = n_ways();
  for (unsigned way = 0; way < n; way++) {
    bool adopted = true;
    take_way(way);
    const bool has_tcx = bed.net->has_tcx;
    net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    add();
    cr_assert(is_held());
    bpf_net_close(bed.net);
    cr_assert_eq(rename(ours, others), 0, "%s", strerror(errno));
    bed.net = net_bed_open(&bed, true, &adopted);
    cr_expect_not(adopted);
    cr_assert_eq(bpf_net_attach(bed.net, why), 0, "%s", why);
    bed.net->has_tcx = has_tcx;
    cr_expect_eq(bpf_net_link_add(bed.net, DEVICE, why), has_tcx ? 0 : -EAGAIN, "%s", why);
    cr_expect(is_held());
    net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    cr_expect_neq(access(others, F_OK), 0);
    add();
    cr_expect(is_held());
  }
}

Test(net_tc, devices_that_go) {
  struct bpf_tampers tampers = {0};
  char path[192];
  add();
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  snprintf(path, sizeof path, "%s/tc_out_%u", bed.net->folder, DEVICE);
  cr_assert(bed_command("ip link del h0"));
  cr_expect_eq(bpf_net_verify(bed.net, &tampers), 0);
  cr_expect_eq(tampers.n, 0);
  cr_expect_eq(bed.net->n_devices, 0);
  cr_expect_neq(access(path, F_OK), 0);
  bpf_net_link_gone(bed.net, DEVICE);
  char why[240] = "";
  cr_expect_eq(bpf_net_link_add(bed.net, DEVICE, why), -ENODEV);
  cr_expect(*why);
}

Test(net_tc, devices_that_are_not_filtered) {
  char why[240] = "";
  bool adopted;
  cr_expect_eq(bpf_net_link_add(bed.net, 1, why), -EINVAL);
  cr_expect_str_eq(why, "loopback is never filtered");
  cr_expect_eq(bed.net->n_devices, 0);
  /* A device of bare IP gets the programs for it. */
  if (bed_command("ip link add index 70 name ip0 type ipip local " NET_OWN4 " remote " NET_PEER4
                  " && ip link set ip0 up")) {
    cr_expect_eq(bpf_net_link_add(bed.net, 70, why), 0, "%s", why);
    cr_expect(bed.net->devices[0].is_ip);
  } else {
    printf("bed: no ipip device in this kernel\n");
  }
  bpf_net_close(bed.net);
  bed.net = net_bed_open(&bed, false, &adopted);
  cr_assert_eq(bpf_net_attach(bed.net, why), 0);
  cr_expect_eq(bpf_net_link_add(bed.net, DEVICE, why), -EOPNOTSUPP);
  cr_expect(strstr(why, "trial"), "%s", why);
}
