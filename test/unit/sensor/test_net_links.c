// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_links.h"

#include <criterion/criterion.h>
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
