// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/table.h"
#include "storage/txn.h"

/* What only the files of this folder see: the store's and a transaction's inside. */

/* Ended read transactions that keep their reader slot for the next one: a renewed transaction costs
 * a fraction of a new one, and each request of the Console makes one. */
#define TLX_IDLE_READERS_MAX 8u
/* Reader slots of the environment: far more than threads that read at once. This many fit the first
 * page of LMDB's lock file; a further page would be written through the map for the first time some
 * day, and on a full disk that is a SIGBUS. */
#define TLX_READERS_MAX 60u
/* Records a transaction may hold at once; a batch forgets between its ops. */
#define TLX_TXN_ARENA_CAP (64u << 20)

struct MDB_env;
struct MDB_txn;

struct tlx_store {
  char *folder;
  struct MDB_env *env;
  int lock_fd;
  unsigned dbi[TLX_TABLE_COUNT];
  pthread_mutex_t mutex; /* guards what follows */
  struct tlx_txn *idle_readers;
  unsigned n_idle_readers, n_open_txns;
};

struct tlx_txn {
  struct tlx_store *store;
  struct MDB_txn *mdb;
  bool is_write;
  int err;            /* sticky, 0 = none */
  uint64_t n_changes; /* cursors see by it that the tree moved under them */
  struct tlx_arena arena;
  struct tlx_txn *next_idle;
};

/* The one place where LMDB's results become ours: 0, or a negative error. */
int tlx_store_translate(int mdb_result);
/* tlx_txn_fail with the translation of |mdb_result|. */
int tlx_txn_fail_mdb(struct tlx_txn *txn, int mdb_result);
/* Frees the idle readers (at close). */
void tlx_txn_drop_idle(struct tlx_store *store);
