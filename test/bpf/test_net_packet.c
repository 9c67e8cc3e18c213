// SPDX-License-Identifier: GPL-2.0-or-later
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "net_bed.h"
#include "net_packet.h"
#include "sensor/bpf_net_int.h"

/* Every rule of the parser, by the packet: the programs of the cgroup and those of devices must say
 * the same. */

static struct net_bed bed;

static void begin(void) {
  char why[240] = "";
  bool adopted;
  net_bed_ground(&bed);
  if (!bed_command("ip link add index 50 name h0 type veth peer name p0 && ip link set h0 up"))
    cr_skip_test("no veth devices in this kernel");
  bed.net = net_bed_open(&bed, true, &adopted);
  int err = bpf_net_attach(bed.net, why);
  if (err == -EPERM) cr_skip_test("%s", why);
  cr_assert_eq(err, 0, "%s", why);
  cr_assert(bpf_net_layers(bed.net) & 1u << BPF_NET_LAYER_TC, "%s",
            bpf_net_layer_why(bed.net, BPF_NET_LAYER_TC));
}
static void end(void) {
  net_bed_end(&bed);
}
TestSuite(net_packet, .init = begin, .fini = end, .timeout = 120);

/* + passes, . does not: outwards and inwards, with no entry, with an entry of every port and
 * protocol, with port 443 of TCP outwards, with port 22 of TCP inwards. */
struct row {
  const char *name;
  const char *passes;
  struct packet_spec spec;
};
#define TCP 6
#define UDP 17
#define V4(...)                                                                                    \
  { .family = 4, __VA_ARGS__ }
#define V6(...)                                                                                    \
  { .family = 6, __VA_ARGS__ }
#define ICMP4(t, c, ...) V4(.protocol = 1, .is_icmp = true, .type = (t), .code = (c), __VA_ARGS__)
#define ICMP6(t, c, hops, ...)                                                                     \
  V6(.protocol = 58, .is_icmp = true, .type = (t), .code = (c), .hop_limit = (hops), __VA_ARGS__)

static const struct row rows[] = {
    {"tcp to 443", ".. ++ ++ ..", V4(.protocol = TCP, .local_port = 40000, .remote_port = 443)},
    {"tcp from 22", ".. ++ .. ++", V4(.protocol = TCP, .local_port = 22, .remote_port = 50000)},
    {"tcp from 22 to 443", ".. ++ ++ ++",
     V4(.protocol = TCP, .local_port = 22, .remote_port = 443)},
    {"tcp from 443 to 22", ".. ++ .. ..",
     V4(.protocol = TCP, .local_port = 443, .remote_port = 22)},
    {"tcp to 444", ".. ++ .. ..", V4(.protocol = TCP, .local_port = 40000, .remote_port = 444)},
    {"udp to 443", ".. ++ .. ..", V4(.protocol = UDP, .local_port = 40000, .remote_port = 443)},
    {"another remote", ".. .. .. ..",
     V4(.protocol = TCP, .remote_port = 443, .remote = "203.0.114.9")},
    {"same network", ".. ++ .. ..",
     V4(.protocol = TCP, .remote_port = 443, .remote = "203.0.113.8")},
    {"echo", ".. ++ .. ..", ICMP4(8, 0)},
    {"echo reply", ".. ++ .. ..", ICMP4(0, 0)},
    {"fragmentation needed", ".+ ++ .+ .+", ICMP4(3, 4)},
    {"fragmentation needed, with options", ".. ++ .. ..", ICMP4(3, 4, .options = 1)},
    {"fragmentation needed, in a fragment", ".. ++ .. ..", ICMP4(3, 4, .fragment = 0x2000)},
    {"port unreachable", ".. ++ .. ..", ICMP4(3, 3)},
    {"time exceeded", ".. ++ .. ..", ICMP4(11, 4)},
    {"redirect", ".. ++ .. ..", ICMP4(5, 4)},
    {"dhcp renewal, and its answer", ".+ ++ .+ .+",
     V4(.protocol = UDP, .local_port = 68, .remote_port = 67)},
    {"dhcp client", "++ ++ ++ ++",
     V4(.protocol = UDP, .local_port = 68, .remote_port = 67, .remote = "255.255.255.255")},
    {"dhcp server", ".. ++ .. ..", V4(.protocol = UDP, .local_port = 67, .remote_port = 68)},
    {"dhcp by tcp", ".. ++ .. ..", V4(.protocol = TCP, .local_port = 68, .remote_port = 67)},
    {"dhcp in a fragment", ".. ++ .. ..",
     V4(.protocol = UDP, .local_port = 68, .remote_port = 67, .fragment = 0x2000)},
    {"dhcp6 over IPv4", ".. ++ .. ..", V4(.protocol = UDP, .local_port = 546, .remote_port = 547)},
    {"dns", ".. ++ .. ..", V4(.protocol = UDP, .local_port = 40000, .remote_port = 53)},
    {"sctp to 443", ".. ++ .. ..", V4(.protocol = 132, .local_port = 40000, .remote_port = 443)},
    {"udp-lite", ".. ++ .. ..", V4(.protocol = 136, .local_port = 68, .remote_port = 67)},
    {"igmp", ".. ++ .. ..", V4(.protocol = 2, .hop_limit = 1)},
    {"gre", ".. ++ .. ..", V4(.protocol = 47)},
    {"esp", ".. ++ .. ..", V4(.protocol = 50)},
    {"experiment", ".. ++ .. ..", V4(.protocol = 253)},
    {"icmpv6 in IPv4", ".. ++ .. ..",
     V4(.protocol = 58, .is_icmp = true, .type = 135, .hop_limit = 255)},
    {"first fragment", ".. ++ ++ ..", V4(.protocol = TCP, .remote_port = 443, .fragment = 0x2000)},
    {"later fragment", ".. ++ .. ..", V4(.protocol = TCP, .remote_port = 443, .fragment = 0x2001)},
    {"last fragment", ".. ++ .. ..", V4(.protocol = TCP, .remote_port = 443, .fragment = 0x00ff)},
    {"not to be fragmented", ".. ++ ++ ..",
     V4(.protocol = TCP, .remote_port = 443, .fragment = 0x4000)},
    {"with options", ".. ++ .. ..", V4(.protocol = TCP, .remote_port = 443, .options = 2)},
    {"no ports", ".. ++ .. ..", V4(.protocol = TCP, .remote_port = 443, .cut = 2)},
    {"no whole header", ".. .. .. ..", V4(.protocol = TCP, .remote_port = 443, .cut = (size_t)-6)},
    {"header too short", ".. .. .. ..",
     V4(.protocol = TCP, .remote_port = 443, .version_len = 0x44)},
    {"version 6 in IPv4", ".. .. .. ..",
     V4(.protocol = TCP, .remote_port = 443, .version_len = 0x65)},
    {"version 0", ".. .. .. ..", V4(.protocol = TCP, .remote_port = 443, .version_len = 0x05)},

    {"6: tcp to 443", ".. ++ ++ ..", V6(.protocol = TCP, .local_port = 40000, .remote_port = 443)},
    {"6: tcp from 22", ".. ++ .. ++", V6(.protocol = TCP, .local_port = 22, .remote_port = 50000)},
    {"6: udp to 443", ".. ++ .. ..", V6(.protocol = UDP, .local_port = 40000, .remote_port = 443)},
    {"6: another remote", ".. .. .. ..",
     V6(.protocol = TCP, .remote_port = 443, .remote = "2001:db9::9")},
    {"6: a mapped address", ".. .. .. ..",
     V6(.protocol = TCP, .remote_port = 443, .remote = "::ffff:" PACKET_REMOTE4)},
    {"6: loopback address", ".. .. .. ..",
     V6(.protocol = TCP, .remote_port = 443, .remote = "::1")},
    {"6: no next header", ".. ++ .. ..", V6(.protocol = 59)},
    {"6: sctp", ".. ++ .. ..", V6(.protocol = 132, .remote_port = 443)},
    {"6: icmp of IPv4", ".. ++ .. ..", V6(.protocol = 1, .is_icmp = true, .type = 3, .code = 4)},
    {"6: version 4", ".. .. .. ..", V6(.protocol = TCP, .remote_port = 443, .version_len = 0x45)},
    {"6: no whole header", ".. .. .. ..",
     V6(.protocol = TCP, .remote_port = 443, .cut = (size_t)-6)},
    {"6: no ports", ".. ++ .. ..", V6(.protocol = TCP, .remote_port = 443, .cut = 2)},
    {"6: hop-by-hop", ".. ++ ++ ..", V6(.protocol = TCP, .remote_port = 443, .chain = "h")},
    {"6: several", ".. ++ ++ ..", V6(.protocol = TCP, .remote_port = 443, .chain = "hdrAd")},
    {"6: eight", ".. ++ ++ ..", V6(.protocol = TCP, .remote_port = 443, .chain = "hddddddd")},
    {"6: nine", ".. ++ .. ..", V6(.protocol = TCP, .remote_port = 443, .chain = "hdddddddd")},
    {"6: cut off in between", ".. ++ .. ..",
     V6(.protocol = TCP, .remote_port = 443, .chain = "hd", .cut = 10)},
    {"6: a route to go", ".. ++ .. ..", V6(.protocol = TCP, .remote_port = 443, .chain = "R")},
    {"6: a route to go, behind others", ".. ++ .. ..",
     V6(.protocol = TCP, .remote_port = 443, .chain = "hdRd")},
    {"6: first fragment", ".. ++ ++ ..", V6(.protocol = TCP, .remote_port = 443, .chain = "f")},
    {"6: alone", ".. ++ ++ ..", V6(.protocol = TCP, .remote_port = 443, .chain = "a")},
    {"6: later fragment", ".. ++ .. ..", V6(.protocol = TCP, .remote_port = 443, .chain = "F")},
    {"6: later fragment behind others", ".. ++ .. ..",
     V6(.protocol = TCP, .remote_port = 443, .chain = "hdF")},
    {"6: a fragment in a fragment", ".. ++ .. ..",
     V6(.protocol = TCP, .remote_port = 443, .chain = "fF")},

    {"6: echo", ".. ++ .. ..", ICMP6(128, 0, 64)},
    {"6: too big", ".+ ++ .+ .+", ICMP6(2, 0, 64)},
    {"6: too big in a fragment", ".. ++ .. ..", ICMP6(2, 0, 64, .chain = "f")},
    {"6: unreachable", ".. ++ .. ..", ICMP6(1, 4, 64)},
    {"6: time exceeded", ".. ++ .. ..", ICMP6(3, 0, 64)},
    {"6: router solicitation", "++ ++ ++ ++", ICMP6(133, 0, 255, .remote = "ff02::2")},
    {"6: router advertisement", "++ ++ ++ ++", ICMP6(134, 0, 255, .remote = "fe80::1")},
    {"6: neighbour solicitation", "++ ++ ++ ++",
     ICMP6(135, 0, 255, .remote = "ff02::1:ff00:9", .target = PACKET_REMOTE6)},
    {"6: neighbour advertisement", "++ ++ ++ ++",
     ICMP6(136, 0, 255, .remote = "fe80::1", .target = PACKET_LOCAL6)},
    {"6: redirect", "++ ++ ++ ++", ICMP6(137, 0, 255, .remote = "fe80::1")},
    {"6: solicitation, behind a header", "++ ++ ++ ++",
     ICMP6(135, 0, 255, .remote = "ff02::1:ff00:9", .chain = "h")},
    {"6: solicitation, hop limit 254", ".. .. .. ..",
     ICMP6(135, 0, 254, .remote = "ff02::1:ff00:9")},
    {"6: advertisement, hop limit 1", ".. .. .. ..", ICMP6(136, 0, 1, .remote = "fe80::1")},
    {"6: router advertisement, hop limit 254", ".. .. .. ..",
     ICMP6(134, 0, 254, .remote = "fe80::1")},
    {"6: solicitation, code 1", ".. .. .. ..", ICMP6(135, 1, 255, .remote = "ff02::1:ff00:9")},
    {"6: solicitation, in a fragment", ".. .. .. ..",
     ICMP6(135, 0, 255, .remote = "ff02::1:ff00:9", .chain = "a")},
    {"6: solicitation, with a route", ".. .. .. ..",
     ICMP6(135, 0, 255, .remote = "ff02::1:ff00:9", .chain = "R")},
    {"6: type 138", ".. .. .. ..", ICMP6(138, 0, 255, .remote = "ff02::1")},
    {"6: type 132 with hop limit 255", ".. .. .. ..", ICMP6(132, 0, 255, .remote = "ff02::1")},
    /* Beyond the link, where a router would carry them. */
    {"6: solicitation for the very address", "++ ++ ++ ++",
     ICMP6(135, 0, 255, .remote = "2001:db9::9", .target = "2001:db9::9")},
    {"6: solicitation for another", ".+ .+ .+ .+",
     ICMP6(135, 0, 255, .remote = "2001:db9::9", .target = "fd77::5")},
    {"6: solicitation, no target", ".+ .+ .+ .+",
     ICMP6(135, 0, 255, .remote = "2001:db9::9", .cut = 20)},
    {"6: advertisement, one option", "++ ++ ++ ++",
     ICMP6(136, 0, 255, .remote = "2001:db9::9", .payload = 8)},
    {"6: advertisement with more", ".+ .+ .+ .+",
     ICMP6(136, 0, 255, .remote = "2001:db9::9", .payload = 9)},
    {"6: advertisement with more in a header", ".+ .+ .+ .+",
     ICMP6(136, 0, 255, .remote = "2001:db9::9", .chain = "d")},
    {"6: solicitation for the very address, one option", "++ ++ ++ ++",
     ICMP6(135, 0, 255, .remote = "2001:db9::9", .target = "2001:db9::9", .payload = 8)},
    {"6: solicitation for the very address, with more", ".+ .+ .+ .+",
     ICMP6(135, 0, 255, .remote = "2001:db9::9", .target = "2001:db9::9", .payload = 9)},
    {"6: solicitation for the very address, with more in a header", ".+ .+ .+ .+",
     ICMP6(135, 0, 255, .remote = "2001:db9::9", .target = "2001:db9::9", .chain = "h")},
    {"6: router solicitation, far", ".+ .+ .+ .+", ICMP6(133, 0, 255, .remote = "2001:db9::9")},
    {"6: router advertisement, far", ".+ .+ .+ .+", ICMP6(134, 0, 255, .remote = "2001:db9::9")},
    {"6: redirect, far", ".+ .+ .+ .+", ICMP6(137, 0, 255, .remote = "2001:db9::9")},
    {"6: solicitation to a wider group", ".+ .+ .+ .+", ICMP6(135, 0, 255, .remote = "ff05::2")},

    {"6: mld query", "++ ++ ++ ++", ICMP6(130, 0, 1, .remote = "fe80::1", .chain = "h")},
    {"6: mld report", "++ ++ ++ ++", ICMP6(131, 0, 1, .remote = "ff02::5", .chain = "h")},
    {"6: mld done", "++ ++ ++ ++", ICMP6(132, 0, 1, .remote = "ff02::2", .chain = "h")},
    {"6: mld 2 report", "++ ++ ++ ++",
     ICMP6(143, 0, 1, .remote = "ff02::16", .chain = "h", .payload = 40)},
    {"6: mld report, hop limit 64", ".. .. .. ..", ICMP6(143, 0, 64, .remote = "ff02::16")},
    {"6: dhcp client", "++ ++ ++ ++",
     V6(.protocol = UDP, .local_port = 546, .remote_port = 547, .remote = "ff02::1:2")},
    {"6: dhcp answer", "++ ++ ++ ++",
     V6(.protocol = UDP, .local_port = 546, .remote_port = 547, .remote = "fe80::1")},
    {"6: dhcp, far", ".. .. .. ..",
     V6(.protocol = UDP, .local_port = 546, .remote_port = 547, .remote = "2001:db9::9")},
    {"6: dhcp server", ".. .. .. ..",
     V6(.protocol = UDP, .local_port = 547, .remote_port = 546, .remote = "fe80::1")},
    {"6: dhcp of IPv4", ".. .. .. ..",
     V6(.protocol = UDP, .local_port = 68, .remote_port = 67, .remote = "fe80::1")},
};

static void expect(const struct row *row, unsigned config, bool in) {
  static const struct {
    enum bpf_net_prog out, in;
    bool has_frame;
  } kinds[] = {{BPF_NET_PROG_SKB_OUT, BPF_NET_PROG_SKB_IN, true},
               {BPF_NET_PROG_TC_OUT, BPF_NET_PROG_TC_IN, true},
               {BPF_NET_PROG_TC_OUT_IP, BPF_NET_PROG_TC_IN_IP, false}};
  const bool wanted = row->passes[3 * config + in] == '+';
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    const enum bpf_net_prog prog = in ? kinds[i].in : kinds[i].out;
    struct packet packet;
    packet_make(&row->spec, in, &packet);
    /* Without a frame there is nothing that the first nibble could contradict. */
    if (!kinds[i].has_frame && row->spec.version_len) continue;
    if (kinds[i].has_frame) packet_ethernet(&packet, row->spec.family == 4 ? 0x0800 : 0x86dd);
    struct tlx_net_stats before = net_bed_stats(&bed);
    const int passes = packet_passes(bed.net, prog, 50, &packet);
    if (passes == -EINVAL && row->spec.cut > sizeof packet.data) continue;
    cr_expect_eq(passes, wanted, "%s, configuration %u, %s", row->name, config,
                 bpf_net_prog_word(prog));
    struct tlx_net_stats after = net_bed_stats(&bed);
    uint64_t denied = 0;
    for (unsigned at = 0; at < TLX_NET_AT_MAX; at++)
      denied += after.denied[at] - before.denied[at];
    cr_expect_eq(denied, !wanted, "%s: %s", row->name, bpf_net_prog_word(prog));
  }
}

Test(net_packet, every_rule) {
  for (unsigned config = 0; config < 4; config++) {
    switch (config) {
    case 0:
      net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
      break;
    case 1:
      net_bed_publish(&bed, TLX_NET_ENFORCE, "out:203.0.113.0/24", "in:2001:db8::/32", NULL);
      break;
    case 2:
      net_bed_publish(&bed, TLX_NET_ENFORCE, "out:203.0.113.9/32,443/tcp",
                      "out:2001:db8::9/128,443/tcp", NULL);
      break;
    default:
      net_bed_publish(&bed, TLX_NET_ENFORCE, "in:203.0.113.9/32,22/tcp",
                      "in:2001:db8::9/128,22/tcp", NULL);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
      for (unsigned in = 0; in < 2; in++)
        expect(&rows[i], config, in);
  }
}

/* Loopback is the device, whatever the address. */
Test(net_packet, loopback) {
  const struct packet_spec spec = V4(.protocol = TCP, .remote_port = 443);
  struct packet packet;
  packet_make(&spec, false, &packet);
  packet_ethernet(&packet, 0x0800);
  net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_SKB_OUT, 1, &packet), 1);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_SKB_OUT, 50, &packet), 0);
}

/* The header must be of the family that the kernel sends it as. */
Test(net_packet, another_ethertype) {
  const struct packet_spec spec = V4(.protocol = TCP, .remote_port = 443);
  struct packet packet;
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:203.0.113.0/24", NULL);
  packet_make(&spec, false, &packet);
  packet_ethernet(&packet, 0x86dd);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_SKB_OUT, 50, &packet), 0);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_TC_OUT, 50, &packet), 0);
}

/* Entries of different lengths: all that cover an address count, not only the longest. */
Test(net_packet, entries_that_cover_each_other) {
  const struct {
    const char *remote;
    uint16_t port;
    bool passes;
  } cases[] = {
      {"203.0.113.9", 443, true}, {"203.0.113.9", 80, true},   {"203.0.113.9", 22, true},
      {"203.0.113.9", 25, false}, {"203.0.113.8", 443, false}, {"203.0.113.8", 80, true},
      {"203.0.113.8", 22, true},  {"203.0.0.1", 80, false},    {"203.0.0.1", 22, true},
      {"203.1.0.1", 22, false},
  };
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:203.0.113.9/32,443/tcp", "out:203.0.113.0/24,80/tcp",
                  "out:203.0.0.0/16,22/tcp", "out:2001:db8::/32", NULL);
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct packet_spec spec = V4(.protocol = TCP, .local_port = 40000,
                                       .remote_port = cases[i].port, .remote = cases[i].remote);
    struct packet packet;
    packet_make(&spec, false, &packet);
    packet_ethernet(&packet, 0x0800);
    cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_SKB_OUT, 50, &packet), cases[i].passes,
                 "%s port %u", cases[i].remote, cases[i].port);
  }
}

/* ---- frames ---- */

#define MAX_LAYERS 8
/* Types from the outside inwards; |packet|: what stands behind them. |passes|: without an entry,
 * with one. */
struct frame_row {
  const char *name, *passes;
  char inside; /* 4, 6, 0 = nothing that is IP */
  uint16_t layers[MAX_LAYERS];
};
static const struct frame_row frame_rows[] = {
    {"IPv4", ".+", 4, {0x0800}},
    {"IPv6", ".+", 6, {0x86dd}},
    {"IPv6 as IPv4", "..", 6, {0x0800}},
    {"ARP", "++", 0, {0x0806}},
    {"RARP", "++", 0, {0x8035}},
    {"LLDP", "++", 0, {0x88cc}},
    {"802.1X", "++", 0, {0x888e}},
    {"LACP", "++", 0, {0x8809}},
    {"MACsec", "++", 0, {0x88e5}},
    {"FCoE", "++", 0, {0x8906}},
    {"private", "++", 0, {0x88b5}},
    {"VLAN", ".+", 4, {0x8100, 1, 0x0800}},
    {"VLAN, IPv6", ".+", 6, {0x8100, 1, 0x86dd}},
    {"provider's VLAN", ".+", 4, {0x88a8, 1, 0x0800}},
    {"VLAN, old numbers", ".+", 4, {0x9100, 1, 0x9200, 2, 0x0800}},
    {"VLAN in VLAN", ".+", 6, {0x88a8, 1, 0x8100, 2, 0x86dd}},
    {"VLAN, ARP", "++", 0, {0x8100, 1, 0x0806}},
    {"VLAN in VLAN, ARP", "++", 0, {0x88a8, 1, 0x8100, 2, 0x0806}},
    {"three VLANs", ".+", 4, {0x8100, 1, 0x8100, 2, 0x8100, 3, 0x0800}},
    {"PPPoE discovery", "++", 0, {0x8863}},
    {"PPPoE, IPv4", ".+", 4, {0x8864, 0x1100, 7, 64, 0x0021}},
    {"PPPoE, IPv6", ".+", 6, {0x8864, 0x1100, 7, 64, 0x0057}},
    {"PPPoE, LCP", "++", 0, {0x8864, 0x1100, 7, 64, 0xc021}},
    {"PPPoE, IPCP", "++", 0, {0x8864, 0x1100, 7, 64, 0x8021}},
    {"PPPoE, compressed header", "..", 4, {0x8864, 0x1100, 7, 64, 0x002d}},
    {"PPPoE, MPLS", "..", 4, {0x8864, 0x1100, 7, 64, 0x0281}},
    {"PPPoE, short number", "..", 4, {0x8864, 0x1100, 7, 64, 0x2145}},
    {"PPPoE in VLAN", ".+", 4, {0x8100, 1, 0x8864, 0x1100, 7, 64, 0x0021}},
    {"MPLS", "..", 4, {0x8847, 0, 0x0140}},
    {"MPLS, to many", "..", 4, {0x8848, 0, 0x0140}},
    {"service header", "..", 4, {0x894f}},
    {"Ethernet in it", "..", 4, {0x6558}},
    {"HSR", "..", 4, {0x892f, 0, 0, 0x0800}},
    {"STP", "++", 0, {38, 0x4242, 0x0300}},
    {"LLC of IP", "..", 4, {100, 0x0606, 0x0300}},
    {"SNAP, IPv4", "..", 4, {100, 0xaaaa, 0x0300, 0x0000, 0x0800}},
    {"SNAP, 802.1H", "..", 6, {100, 0xaaaa, 0x0300, 0x00f8, 0x86dd}},
    {"SNAP, CDP", "++", 0, {100, 0xaaaa, 0x0300, 0x000c, 0x2000}},
};

static void make_frame(const struct frame_row *row, bool in, struct packet *out) {
  static const uint8_t addresses[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
  struct packet_spec spec = {.protocol = TCP, .local_port = 40000, .remote_port = 443};
  unsigned n = MAX_LAYERS;
  if (row->inside) {
    spec.family = (uint8_t)row->inside;
    packet_make(&spec, in, out);
  } else {
    memset(out->data, 0xee, 46);
    out->len = 46;
  }
  while (n && !row->layers[n - 1])
    n--;
  while (n)
    packet_push16(out, row->layers[--n]);
  packet_push(out, addresses, sizeof addresses);
}

Test(net_packet, every_frame) {
  for (unsigned config = 0; config < 2; config++) {
    if (config)
      net_bed_publish(&bed, TLX_NET_ENFORCE, "out:203.0.113.0/24", "out:2001:db8::/32", NULL);
    else
      net_bed_publish(&bed, TLX_NET_ENFORCE, NULL);
    for (size_t i = 0; i < sizeof frame_rows / sizeof *frame_rows; i++)
      for (unsigned in = 0; in < 2; in++) {
        struct packet packet;
        make_frame(&frame_rows[i], in, &packet);
        cr_expect_eq(
            packet_passes(bed.net, in ? BPF_NET_PROG_TC_IN : BPF_NET_PROG_TC_OUT, 50, &packet),
            frame_rows[i].passes[config] == '+', "%s, %s, configuration %u", frame_rows[i].name,
            in ? "in" : "out", config);
      }
  }
}

/* More tags than anybody nests are not looked through. */
Test(net_packet, too_many_tags) {
  const struct packet_spec spec = V4(.protocol = TCP, .remote_port = 443);
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:203.0.113.0/24", NULL);
  for (unsigned n = 4; n <= 5; n++) {
    struct packet packet;
    packet_make(&spec, false, &packet);
    packet_push16(&packet, 0x0800);
    for (unsigned i = 1; i < n; i++) {
      packet_push16(&packet, (uint16_t)i);
      packet_push16(&packet, 0x8100);
    }
    packet_push16(&packet, 9);
    packet_ethernet(&packet, 0x8100);
    cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_TC_OUT, 50, &packet), n == 4, "%u tags", n);
  }
}

/* On a device of bare IP anything else is not readable, so it does not pass. */
Test(net_packet, bare_ip_of_no_version) {
  struct packet packet = {.len = 60};
  memset(packet.data, 0x55, 60);
  net_bed_publish(&bed, TLX_NET_ENFORCE, "out:203.0.113.0/24", NULL);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_TC_OUT_IP, 50, &packet), 0);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_TC_IN_IP, 50, &packet), 0);
}

Test(net_packet, off_and_observing_let_everything_through) {
  const struct packet_spec spec = V4(.protocol = TCP, .remote_port = 443);
  struct packet packet;
  packet_make(&spec, false, &packet);
  packet_ethernet(&packet, 0x0800);
  /* Nothing was published yet. */
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_SKB_OUT, 50, &packet), 1);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_TC_OUT, 50, &packet), 1);
  net_bed_publish(&bed, TLX_NET_OFF, NULL);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_SKB_OUT, 50, &packet), 1);
  cr_expect_eq(net_bed_stats(&bed).seen[TLX_NET_AT_CGROUP_OUT], 0);
  net_bed_publish(&bed, TLX_NET_OBSERVE, NULL);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_SKB_OUT, 50, &packet), 1);
  cr_expect_eq(packet_passes(bed.net, BPF_NET_PROG_TC_OUT, 50, &packet), 1);
  struct tlx_net_stats stats = net_bed_stats(&bed);
  cr_expect(stats.would[TLX_NET_AT_CGROUP_OUT] == 1 && stats.would[TLX_NET_AT_TC_OUT] == 1);
  cr_expect_eq(stats.denied[TLX_NET_AT_CGROUP_OUT], 0);
}
