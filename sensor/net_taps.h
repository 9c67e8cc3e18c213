// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Sockets that pass by the programs of devices, in the network namespace of this thread: packet
 * sockets hear a frame before tc does, and send behind it with PACKET_QDISC_BYPASS; those of XDP do
 * both. Worker thread. */

struct net_taps {
  unsigned n_listening; /* packet sockets that hear IP now */
  unsigned n_bypassing; /* that send behind tc, or may: their owner was not found, or not asked */
  bool may_xdp;         /* there is a socket of XDP, or nobody can tell */
};

/* Looks (packet(7), /proc/net/packet, /proc/net/protocols) and asks the owner of each packet
 * socket, by a duplicate of its descriptor (pidfd_getfd(2): CAP_SYS_PTRACE). |proc| is "/proc" but
 * in tests. 0 or a negative errno; then |ret_taps| is untouched. */
int net_taps_look(const char *proc, struct net_taps *ret_taps);
/* Whether the line of /proc/net/packet is a socket: its inode, and whether it hears frames that may
 * hold IP. Pure. */
bool net_taps_packet_parse(const char *line, bool *ret_listens, uint64_t *ret_inode);
/* Whether the line of /proc/net/protocols says that there are sockets of XDP. Pure. */
bool net_taps_has_xdp(const char *line);
