// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "console/limits.h"

struct peer {
  char ip[64];
  UT_hash_handle hh;
};

struct peers {
  struct peer *table;
};

int peers_new(struct peers **ret_peers) {
  struct peers *peers = calloc(1, sizeof *peers);
  if (!peers) return -ENOMEM;
  *ret_peers = peers;
  return 0;
}

void peers_free(struct peers *peers) {
  struct peer *peer, *next;
  if (!peers) return;
  HASH_ITER(hh, peers->table, peer, next) {
    HASH_DEL(peers->table, peer);
    free(peer);
  }
  free(peers);
}

bool peers_has(const struct peers *peers, const char *ip) {
  struct peer *peer;
  HASH_FIND_STR(peers->table, ip, peer);
  return peer != NULL;
}

void peers_add(struct peers *peers, const char *ip) {
  if (!ip || !*ip || peers_has(peers, ip) || HASH_COUNT(peers->table) >= KNOWN_PEERS_MAX) return;
  struct peer *peer = calloc(1, sizeof *peer);
  if (!peer) return;
  snprintf(peer->ip, sizeof peer->ip, "%s", ip);
  HASH_ADD_STR(peers->table, ip, peer);
}
