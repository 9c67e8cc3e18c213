// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "bed.h"
#include "sensor/bpf_net.h"

/* The ground of the network tests: that of bed.h, and a network namespace of the test's own, with
 * the programs on the bed's cgroup alone. The test's process enters that cgroup, so its sockets are
 * the ones that are held. */
struct net_bed {
  struct bed bed;
  struct bpf_net *net;
  uint64_t cookie; /* of the namespace */
  int peer_pid;    /* 0 = none */
  bool is_outside; /* the test's process stays out of the cgroup */
};
/* Addresses of the two ends; the peer answers on NET_PORT and NET_PORT + 1, TCP and UDP, with what
 * it gets. */
#define NET_OWN4 "10.77.0.1"
#define NET_PEER4 "10.77.0.2"
#define NET_OWN6 "fd77::1"
#define NET_PEER6 "fd77::2"
#define NET_PORT 7001

/* Makes the ground; opens and attaches. */
void net_bed_begin(struct net_bed *bed);
/* Makes the namespace and the ground without programs. */
void net_bed_ground(struct net_bed *bed);
/* A peer behind a veth pair (device h0, index 50), in another namespace. */
void net_bed_peer(struct net_bed *bed);
void net_bed_end(struct net_bed *bed);
struct bpf_net *net_bed_open(struct net_bed *bed, bool whole_host, bool *ret_adopted);

/* Publishes |mode| with these entries, NULL at the end. */
void net_bed_publish(struct net_bed *bed, uint32_t mode, ...);
struct tlx_net_stats net_bed_stats(struct net_bed *bed);

/* A connected socket, or a negative errno. |what|: a mark, or 0. |timeout_ms| bounds the wait. */
int net_connect(struct net_bed *bed, int family, int type, const char *address, uint16_t port,
                uint32_t what, int timeout_ms);
/* Sends a word and waits for it to come back. 0; -ETIMEDOUT; a negative errno of send or recv. */
int net_echo(int fd, int timeout_ms);
/* Connects, echoes, closes: the first error. */
int net_talk(struct net_bed *bed, int family, int type, const char *address, uint16_t port,
             uint32_t what);
/* sendto of an unconnected UDP socket. 0 or a negative errno. */
int net_sendto(int family, const char *address, uint16_t port);
