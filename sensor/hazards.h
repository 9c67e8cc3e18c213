// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf-progs/tlx_net_abi.h"
#include "sensor/net_links.h"

/* What makes a containment of this host dangerous (spec §5.3): then it is refused unless it is
 * forced. Worker thread. */

/* Stable word, sentence. */
#define HAZARD_MAP(X)                                                                              \
  X(CONSOLE_HOST, "console_host", "the Console runs on this host: it would be cut off")            \
  X(NETWORK_ROOT, "network_root", "the root file system comes over the network: it would hang")    \
  X(UPLINK_TUNNEL, "uplink_tunnel",                                                                \
    "the way to the Console is a tunnel, whose own packets would be stopped")
enum hazard {
#define X(name, word, text) HAZARD_##name,
  HAZARD_MAP(X)
#undef X
      HAZARD_COUNT
};
/* Static storage. */
const char *hazard_word(enum hazard hazard);
const char *hazard_text(enum hazard hazard);

struct hazards_options {
  const char *proc, *sys;       /* "/proc", "/sys" but in tests */
  const uint8_t (*console)[16]; /* addresses of the Console that are known */
  size_t n_console;
  const struct tlx_net_addr *local; /* sorted */
  size_t n_local;
  const struct net_link *links;
  size_t n_links;
  uint32_t (*route)(const uint8_t address[16]);  /* net_links_route but in tests */
  bool (*is_wrapped)(const uint8_t address[16]); /* net_xfrm_wraps but in tests */
};

/* The hazards of this host, bit n = enum hazard n. What cannot be read is no hazard. */
uint32_t hazards_find(const struct hazards_options *options);
/* Whether the line of mountinfo(5) is a mount on "/" of a file system that comes over the network;
 * else, when it is a mount on "/" of a block device, that device ("8:1") in |device| of |size|,
 * otherwise an empty text. The last such line counts. False for other lines. Pure. */
bool hazards_root_parse(const char *line, bool *ret_is_network, char *device, size_t size);
/* Whether the path of a block device in sysfs belongs to a disk that is reached over the network:
 * iSCSI, NBD, RBD, AoE, NVMe over fabrics. Pure. */
bool hazards_block_is_network(const char *path);
