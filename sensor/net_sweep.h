// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf-progs/tlx_net_abi.h"
#include "sensor/rule_contain.h"

/* Ends the sessions that a containment has cut off, so that their owners learn it now and not after
 * a quarter of an hour: one SOCK_DESTROY (sock_diag(7)) for each TCP session and each connected UDP
 * socket, IPv4 and IPv6, in every network namespace. Spared are listeners and sockets without a
 * peer, which go on serving after a release; loopback and the namespace's own addresses; the
 * sensor's own link; what the allow list lets through. The owner's next call returns ECONNABORTED.
 * Worker thread. */

struct net_sweep_options {
  const struct rule_contain *rule;
  const char *scope_folder; /* only sockets whose cgroup lies in this cgroup2 folder, and only in
                               this network namespace; NULL = all */
  const char *proc;         /* "/proc" but in tests */
};

struct net_sweep_result {
  unsigned n_spaces, n_destroyed;
  bool lacks_diag;    /* a module is missing, or the kernel cannot destroy: owners learn nothing */
  unsigned n_skipped; /* namespaces that could not be entered */
  int err;            /* the first error; 0 = none */
};

/* One session as sock_diag tells it. */
struct net_session {
  uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP */
  uint8_t local[16], remote[16];
  uint16_t local_port, remote_port; /* host byte order; remote 0 = no peer */
  uint64_t cookie, cgroup_id;       /* cgroup 0 = not told */
};

/* Sweeps; never fails as a whole: what could not be done stands in |ret_result|. */
void net_sweep(const struct net_sweep_options *options, struct net_sweep_result *ret_result);
/* Whether |session| is to be ended: |local| are the addresses of its namespace, sorted; |scope| the
 * ids of the cgroups of the scope, NULL = every one. Pure but for net_own_has. */
bool net_sweep_wants(const struct net_session *session, const struct rule_contain *rule,
                     const struct tlx_net_addr *local, size_t n_local, const uint64_t *scope,
                     size_t n_scope);
