/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_NET_ABI_H
#define TLX_NET_ABI_H
/* What the network programs and the sensor share (see tlx_abi.h for the rules of both headers). They are pinned in the
 * folder of TLX_NET_ABI_VERSION, `net-N`, beside the exec programs and apart from them.
 *
 * - tlx_net_cfgs, array of maps[1]: array[1] of struct tlx_net_cfg. One update switches mode, bank and host namespace
 *   together; after it returned no program uses the former one.
 * - tlx_allow4, tlx_allow6, arrays of maps[2]: LPM tries, one a bank. A bank that is not in use is filled, read back and
 *   frozen before the configuration names it.
 * - tlx_local, hash of struct tlx_net_addr: addresses of the host's own network namespace, kept up to date.
 * - tlx_own_sock, socket storage of __u32: TLX_SOCK_OWN on the sensor's link, TLX_SOCK_PROBE* on a socket that proves.
 *   The iterator tlx_net_own tells of each as struct tlx_net_mark; what is in its own map tlx_unmark it unmarks instead.
 * - tlx_net_stats, per-CPU array[1] of struct tlx_net_stats.
 * - tlx_net_events, ring buffer of struct tlx_net_event. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define TLX_NET_ABI_VERSION 1
/* Addresses of the host's namespace; a host with more is told so. */
#define TLX_LOCAL_MAX 4096

/* tlx_net_cfg.mode; all zero lets everything through. */
#define TLX_NET_OFF 0u
#define TLX_NET_ENFORCE 1u
#define TLX_NET_OBSERVE 2u

struct tlx_net_cfg {
  __u64 host_netns_cookie; /* of the host's network namespace: only there tlx_local tells what is local */
  __u32 mode;
  __u32 bank;            /* of the allow tries, 0 or 1 */
  __u32 slot;            /* of the rule, for events */
  __u32 user_timeout_ms; /* of connections in other namespaces, whose error must come soon */
};

/* An IPv4 address stands as ::ffff:a.b.c.d, network byte order throughout. */
struct tlx_net_addr {
  __u8 bytes[16];
};

struct tlx_allow4_key {
  __u32 prefix_len;
  __u8 addr[4];
};
struct tlx_allow6_key {
  __u32 prefix_len;
  __u8 addr[16];
};

#define TLX_ALLOW_MAX 64
#define TLX_ALLOW_OUT 1u /* remote port */
#define TLX_ALLOW_IN 2u  /* local port */
struct tlx_allow {
  __u16 port_first, port_last; /* host byte order; 0 to 65535 = every one, and then fragments and other protocols too */
  __u8 protocol;               /* IPPROTO_TCP, IPPROTO_UDP; 0 = every one */
  __u8 direction;              /* TLX_ALLOW_* */
  __u8 reserved[2];
};
/* All entries that cover the address, since the trie gives the longest prefix only. */
struct tlx_allow_set {
  __u32 n;
  __u32 reserved;
  struct tlx_allow list[TLX_ALLOW_MAX];
};

#define TLX_SOCK_OWN 1u
#define TLX_SOCK_PROBE 2u
#define TLX_SOCK_PROBE_PACKET 3u /* no call of it is refused, so that its packets prove the programs of packets */

struct tlx_net_mark {
  __u64 cookie;  /* SO_COOKIE */
  __u32 mark;    /* TLX_SOCK_* */
  __u32 is_held; /* a process has the socket open; else the kernel sends what is left */
};
/* Sockets that lose their marks in one walk. */
#define TLX_UNMARK_MAX 1024

/* Where something was stopped. */
#define TLX_NET_AT_CGROUP_OUT 0
#define TLX_NET_AT_CGROUP_IN 1
#define TLX_NET_AT_CONNECT 2
#define TLX_NET_AT_SENDMSG 3
#define TLX_NET_AT_TC_OUT 4
#define TLX_NET_AT_TC_IN 5
#define TLX_NET_AT_OPTION 6 /* counted, without an event */
#define TLX_NET_AT_MAX 8

struct tlx_net_stats {
  __u64 seen[TLX_NET_AT_MAX];
  __u64 denied[TLX_NET_AT_MAX];
  __u64 would[TLX_NET_AT_MAX];
  __u64 own;         /* packets of the sensor's link */
  __u64 probes;      /* packets and calls of probe sockets that were denied; of _PROBE_PACKET those at CGROUP_OUT */
  __u64 events_lost; /* no room in the ring buffer */
  __u64 failed;      /* a helper failed; the packet was denied */
};

#define TLX_NET_UID_NONE 0xffffffffu

struct tlx_net_event {
  __u64 boot_ns;
  __u32 at;     /* TLX_NET_AT_* */
  __u32 action; /* 1 denied, 3 would have been (as tlx_abi.h) */
  __u32 slot;
  __u32 pid; /* where a process is known, else 0 */
  __u32 uid; /* TLX_NET_UID_NONE where no process is known */
  __u16 local_port, remote_port; /* host byte order; 0 = none */
  __u8 protocol, family;         /* IPPROTO_*; 4 or 6 */
  __u8 reserved[2];
  __u32 ifindex;
  struct tlx_net_addr remote;
  char comm[16];
};

#define TLX_NET_ABI_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type " has another size")
TLX_NET_ABI_SIZE(tlx_net_cfg, 24);
TLX_NET_ABI_SIZE(tlx_allow4_key, 8);
TLX_NET_ABI_SIZE(tlx_allow6_key, 20);
TLX_NET_ABI_SIZE(tlx_allow, 8);
TLX_NET_ABI_SIZE(tlx_allow_set, 520);
TLX_NET_ABI_SIZE(tlx_net_stats, 224);
TLX_NET_ABI_SIZE(tlx_net_event, 72);
TLX_NET_ABI_SIZE(tlx_net_mark, 16);
#endif
