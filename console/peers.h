// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>

/* Addresses that enrolled sensors have used: their handshakes do not count as a stranger's. Loop
 * thread. */
struct peers;

/* Starts empty. 0 or -ENOMEM. */
int peers_new(struct peers **ret_peers);
/* NULL is fine. */
void peers_free(struct peers *peers);
/* Remembers |ip| (copied) until the end of the process; full (KNOWN_PEERS_MAX) or out of memory: it
 * stays a stranger. Empty and NULL are ignored. */
void peers_add(struct peers *peers, const char *ip);
/* Whether |ip|, in the form of tlx_conn_peer_ip, was remembered. */
bool peers_has(const struct peers *peers, const char *ip);
