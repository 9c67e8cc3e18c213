// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sensor/bpf_net.h"
#include "sensor/bpf_net_load.h"

/* Packets made by hand, and programs that are run with them (BPF_PROG_TEST_RUN): no device sees
 * them. */

#define PACKET_LOCAL4 "10.77.0.1"
#define PACKET_REMOTE4 "203.0.113.9"
#define PACKET_LOCAL6 "fd77::1"
#define PACKET_REMOTE6 "2001:db8::9"

struct packet {
  uint8_t data[1024];
  size_t len;
};
/* What an IP packet is made of; zero is the plain form of each. */
struct packet_spec {
  uint8_t family, protocol;         /* 4 or 6 */
  uint16_t local_port, remote_port; /* of whatever has them at the start */
  uint8_t type, code;               /* ICMP; then the ports are not looked at */
  bool is_icmp;
  uint8_t hop_limit;
  const char *remote; /* NULL = PACKET_REMOTE* */
  const char *target; /* of neighbour discovery */
  uint16_t fragment;  /* IPv4: the field as it stands in the header */
  uint8_t options;    /* IPv4: words */
  /* IPv6: h hop-by-hop, d destination options, r routing (done), R routing (segments left), f first
   * fragment, F later fragment, a fragment that is alone, A authentication. */
  const char *chain;
  size_t payload;      /* bytes behind the transport header */
  size_t cut;          /* the packet ends so many bytes behind the IP header; 0 = it is whole */
  uint8_t version_len; /* IPv4: that byte; IPv6: the first one */
};
/* An IP packet, without a frame. */
void packet_make(const struct packet_spec *spec, bool in, struct packet *out);
/* Puts |n| bytes before the packet. */
void packet_push(struct packet *packet, const void *bytes, size_t n);
void packet_push16(struct packet *packet, uint16_t value);
/* Two addresses of a card and the type. */
void packet_ethernet(struct packet *packet, uint16_t type);

/* Runs a program of |net| as if the packet came or went by device |ifindex|: 1 = it let it through,
 * 0 = it did not, -EINVAL = the kernel makes no such packet (newer ones: none that is shorter than
 * its IP header). */
int packet_passes(struct bpf_net *net, enum bpf_net_prog prog, uint32_t ifindex,
                  const struct packet *packet);
