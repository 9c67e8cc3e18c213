// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>

/* Devices of other network namespaces that lead out of the host: a card that was moved there has no
 * programs of ours. Worker thread. */

struct net_elsewhere {
  unsigned n_ways_out; /* devices that lead out (net_link_leads_out) */
  char name[16];       /* of the first of them */
  bool has_xdp;        /* a program stands on a device there: it may send through any device */
  bool is_blind;       /* a namespace could not be found, entered or read */
};

/* Looks into every namespace that net_spaces_find finds, in a thread of its own, so that no other
 * ever stands in another one. |proc| is "/proc" but in tests. */
void net_elsewhere_look(const char *proc, struct net_elsewhere *ret_elsewhere);
