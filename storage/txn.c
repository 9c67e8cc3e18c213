// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/txn.h"

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "common/check.h"
#include "common/err.h"
#include "storage/txn_int.h"

/* A full disk shows as EIO when the kernel wrote a part of what LMDB gave it; this little room
 * tells the two apart. */
#define DISK_FULL_BELOW_BYTES (1u << 20)

static struct tlx_txn *txn_new(struct tlx_store *store, bool is_write) {
  struct tlx_txn *txn = calloc(1, sizeof *txn);
  if (!txn) return NULL;
  txn->store = store;
  txn->is_write = is_write;
  tlx_arena_init(&txn->arena, TLX_TXN_ARENA_CAP);
  return txn;
}

static void txn_free(struct tlx_txn *txn) {
  tlx_arena_done(&txn->arena);
  free(txn);
}

static void count_open(struct tlx_store *store, int change) {
  pthread_mutex_lock(&store->mutex);
  store->n_open_txns += (unsigned)change;
  pthread_mutex_unlock(&store->mutex);
}

int tlx_txn_begin_read(struct tlx_store *store, struct tlx_txn **ret_txn) {
  pthread_mutex_lock(&store->mutex);
  struct tlx_txn *txn = store->idle_readers;
  if (txn) {
    store->idle_readers = txn->next_idle;
    store->n_idle_readers--;
  }
  store->n_open_txns++;
  pthread_mutex_unlock(&store->mutex);

  int rc;
  if (txn) {
    txn->next_idle = NULL;
    rc = mdb_txn_renew(txn->mdb);
    if (rc) mdb_txn_abort(txn->mdb);
  } else {
    txn = txn_new(store, false);
    rc = txn ? mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn->mdb) : ENOMEM;
  }
  if (rc) {
    if (txn) txn_free(txn);
    count_open(store, -1);
    return tlx_store_translate(rc);
  }
  *ret_txn = txn;
  return 0;
}

int tlx_txn_begin_write(struct tlx_store *store, struct tlx_txn **ret_txn) {
  struct tlx_txn *txn = txn_new(store, true);
  if (!txn) return -ENOMEM;
  int rc = mdb_txn_begin(store->env, NULL, 0, &txn->mdb);
  if (rc) {
    txn_free(txn);
    return tlx_store_translate(rc);
  }
  count_open(store, 1);
  *ret_txn = txn;
  return 0;
}

/* Keeps the reader for the next one, or frees it when there are enough. */
static void reader_release(struct tlx_txn *txn) {
  struct tlx_store *store = txn->store;
  mdb_txn_reset(txn->mdb);
  tlx_arena_reset(&txn->arena);
  txn->err = 0;
  pthread_mutex_lock(&store->mutex);
  store->n_open_txns--;
  bool kept = store->n_idle_readers < TLX_IDLE_READERS_MAX;
  if (kept) {
    txn->next_idle = store->idle_readers;
    store->idle_readers = txn;
    store->n_idle_readers++;
  }
  pthread_mutex_unlock(&store->mutex);
  if (!kept) {
    mdb_txn_abort(txn->mdb);
    txn_free(txn);
  }
}

void tlx_txn_drop_idle(struct tlx_store *store) {
  while (store->idle_readers) {
    struct tlx_txn *txn = store->idle_readers;
    store->idle_readers = txn->next_idle;
    mdb_txn_abort(txn->mdb);
    txn_free(txn);
  }
  store->n_idle_readers = 0;
}

static bool disk_is_full(const char *folder) {
  struct statvfs vfs;
  return statvfs(folder, &vfs) == 0 &&
         (uint64_t)vfs.f_bavail * vfs.f_frsize < DISK_FULL_BELOW_BYTES;
}

int tlx_txn_commit(struct tlx_txn *txn) {
  struct tlx_store *store = txn->store;
  int err = txn->err;
  if (!txn->is_write || err) {
    tlx_txn_abort(txn);
    return err;
  }
  err = tlx_store_translate(mdb_txn_commit(txn->mdb));
  if (err == -EIO && disk_is_full(store->folder)) err = -ENOSPC;
  txn_free(txn);
  count_open(store, -1);
  return err;
}

void tlx_txn_abort(struct tlx_txn *txn) {
  if (!txn) return;
  if (!txn->is_write) {
    reader_release(txn);
    return;
  }
  struct tlx_store *store = txn->store;
  mdb_txn_abort(txn->mdb);
  txn_free(txn);
  count_open(store, -1);
}

int tlx_txn_err(const struct tlx_txn *txn) {
  return txn->err;
}

int tlx_txn_fail(struct tlx_txn *txn, int err) {
  if (!tlx_expect(err < 0)) err = -EINVAL;
  if (!txn->err) txn->err = err;
  return txn->err;
}

int tlx_txn_fail_mdb(struct tlx_txn *txn, int mdb_result) {
  return tlx_txn_fail(txn, tlx_store_translate(mdb_result));
}

struct tlx_arena *tlx_txn_arena(struct tlx_txn *txn) {
  return &txn->arena;
}

void tlx_txn_forget(struct tlx_txn *txn) {
  tlx_arena_reset(&txn->arena);
}
