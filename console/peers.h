// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>

/* Addresses that enrolled sensors have used: their handshakes do not count as a stranger's. Loop
 * thread. */
struct peers;
int peers_new(struct peers **ret_peers);
void peers_free(struct peers *peers);
/* Remembers |ip|; full or out of memory: it stays a stranger. Empty and NULL are ignored. */
void peers_add(struct peers *peers, const char *ip);
bool peers_has(const struct peers *peers, const char *ip);
