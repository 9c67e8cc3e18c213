// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_links.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  struct net_link link;
  bool is_uplink, is_tunnel;
} links[] = {
    {{.name = "lo", .is_loopback = true}, false, false},
    {{.name = "lo", .is_loopback = true, .has_default_route = true}, false, false},
    {{.name = "eth0", .is_ethernet = true}, true, false},
    {{.name = "wlan0", .is_ethernet = true}, true, false},
    {{.name = "ib0"}, true, false},
    {{.name = "bond0", .kind = "bond", .is_ethernet = true}, true, false},
    {{.name = "eth0.7", .kind = "vlan", .is_ethernet = true}, true, false},
    {{.name = "mv0", .kind = "macvlan", .is_ethernet = true}, true, false},
    {{.name = "ppp0", .kind = "ppp"}, true, false},
    {{.name = "veth1", .kind = "veth", .is_ethernet = true}, false, false},
    {{.name = "veth1", .kind = "veth", .is_ethernet = true, .has_default_route = true},
     true,
     false},
    {{.name = "br0", .kind = "bridge", .is_ethernet = true}, false, false},
    {{.name = "br0", .kind = "bridge", .is_ethernet = true, .has_default_route = true},
     true,
     false},
    {{.name = "dummy0", .kind = "dummy", .is_ethernet = true}, false, false},
    {{.name = "ifb0", .kind = "ifb", .is_ethernet = true}, false, false},
    {{.name = "tap0", .kind = "tun", .is_ethernet = true}, false, true},
    {{.name = "tap0", .kind = "tun", .is_ethernet = true, .has_default_route = true}, true, true},
    {{.name = "tun0", .kind = "tun"}, true, true},
    {{.name = "wg0", .kind = "wireguard"}, true, true},
    {{.name = "gre0", .kind = "gre"}, true, true},
    {{.name = "sit0", .kind = "sit"}, true, true},
    {{.name = "ipip0", .kind = "ipip"}, true, true},
    {{.name = "vx0", .kind = "vxlan", .is_ethernet = true}, true, true},
};

Test(net_links, where_frames_leave) {
  for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
    cr_expect_eq(net_link_is_uplink(&links[i].link), links[i].is_uplink, "%zu %s", i,
                 links[i].link.name);
    cr_expect_eq(net_link_is_tunnel(&links[i].link), links[i].is_tunnel, "%zu %s", i,
                 links[i].link.name);
  }
}

static const struct {
  struct net_link link;
  bool leads_out;
} elsewhere[] = {
    {{.name = "lo", .is_loopback = true}, false},
    {{.name = "eth0", .is_ethernet = true, .kind = "veth"}, false},
    {{.name = "eth1", .is_ethernet = true}, true},
    {{.name = "ib0", .kind = "ipoib"}, true},
    {{.name = "ppp0", .kind = "ppp"}, true},
    {{.name = "bond0", .kind = "bond"}, true},
    {{.name = "br0", .kind = "bridge", .has_default_route = true}, false},
    {{.name = "mv0", .kind = "macvlan"}, false},
    {{.name = "sit0", .kind = "sit"}, false},
    {{.name = "tap0", .kind = "tun", .is_ethernet = true}, false},
};

Test(net_links, where_frames_leave_from_another_namespace) {
  for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
    cr_expect_eq(net_link_leads_out(&elsewhere[i].link), elsewhere[i].leads_out, "%s",
                 elsewhere[i].link.name);
}

/* Containers' ends are more than a thousand on some hosts. */
Test(net_links, reads_more_than_a_thousand) {
  struct net_link *list = NULL;
  size_t n = 0, n_pairs = 0;
  if (unshare(CLONE_NEWNET) != 0)
    cr_skip_test("no network namespace of its own: %s", strerror(errno));
  FILE *ip = popen("ip -batch -", "w");
  cr_assert(ip);
  for (unsigned i = 0; i < 550; i++)
    fprintf(ip, "link add a%u type veth peer name b%u\n", i, i);
  if (pclose(ip) != 0) cr_skip_test("no veth devices in this kernel");
  cr_assert_eq(net_links_read(&list, &n), 0);
  for (size_t i = 0; i < n; i++) {
    n_pairs += strcmp(list[i].kind, "veth") == 0;
    cr_assert(!i || list[i - 1].index < list[i].index);
    cr_assert_eq(net_links_find(list, n, list[i].index), &list[i]);
  }
  cr_expect_eq(n_pairs, 1100);
  cr_expect_null(net_links_find(list, n, 1u << 30));
  free(list);
}

/* Every namespace has a loopback device, and it is the first. */
Test(net_links, reads_those_of_this_machine) {
  struct net_link *list = NULL;
  size_t n = 0, n_loopback = 0;
  cr_assert_eq(net_links_read(&list, &n), 0);
  cr_assert_geq(n, 1);
  for (size_t i = 0; i < n; i++)
    n_loopback += list[i].is_loopback && strcmp(list[i].name, "lo") == 0 && list[i].index == 1;
  cr_expect_eq(n_loopback, 1);
  free(list);
}

Test(net_links, the_way_to_ourselves_is_loopback) {
  static const uint8_t self[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
  cr_expect_eq(net_links_route(self), 1);
}
