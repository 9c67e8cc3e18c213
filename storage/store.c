// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/err.h"
#include "common/file.h"
#include "storage/meta_tbl.h"
#include "storage/txn_int.h"

#define DATA_FILE "data.mdb" /* LMDB's own name */
#define LOCK_FILE "owner.lock"

int tlx_store_translate(int mdb_result) {
  switch (mdb_result) {
  case 0:
    return 0;
  case MDB_MAP_FULL:
  case MDB_TXN_FULL:
  case ENOSPC:
  case EDQUOT:
  case EFBIG: /* a limit on the size of files: full for us */
    return -ENOSPC;
  case MDB_CORRUPTED:
  case MDB_PAGE_NOTFOUND:
  case MDB_INVALID:
  case MDB_INCOMPATIBLE:
  case MDB_PAGE_FULL:
  case MDB_CURSOR_FULL:
    return TLX_E_CORRUPT;
  case MDB_VERSION_MISMATCH:
    return -ENOTSUP;
  case MDB_KEYEXIST:
    return TLX_E_EXISTS;
  case MDB_NOTFOUND:
    return TLX_E_NOT_FOUND;
  case MDB_READERS_FULL:
  case MDB_DBS_FULL:
  case MDB_TLS_FULL:
    return TLX_E_LIMIT;
  case MDB_PANIC: /* a meta page could not be written; LMDB refuses all until it is opened again */
    return -EIO;
  case MDB_MAP_RESIZED:
    return -EBUSY;
  case MDB_BAD_TXN:
  case MDB_BAD_DBI:
  case MDB_BAD_RSLOT:
  case MDB_BAD_VALSIZE:
    return -EINVAL;
  default:
    return mdb_result > 0 ? -mdb_result : -EIO;
  }
}

const char *tlx_store_advice(int err) {
  switch (err) {
  case -ENOSPC:
    return "free disk space, or raise map_size and restart";
  case TLX_E_CORRUPT:
    return "run 'telovix-console verify' and restore from a backup";
  case TLX_E_SCHEMA_NEWER:
    return "start the version that wrote it, or a later one";
  case TLX_E_SCHEMA_OLDER:
    return "start the version that wrote it and make a backup before migrating";
  case TLX_E_LOCKED:
    return "stop the Console that runs on this folder";
  case -ENOTSUP:
    return "the file was written by another version of LMDB: dump it with that version's mdb_dump "
           "and load it with this one's mdb_load";
  case -ENOENT:
    return "make a store with 'telovix-console init'";
  case -EEXIST:
    return "choose another folder, or use the store that is there";
  case TLX_E_MODE:
    return "give the folder to the Console's user with mode 0700";
  case -EIO:
    return "check the disk, then restart";
  default:
    return NULL;
  }
}

/* ---- making the object ---- */

/* Takes the lock and opens the environment, without any database. */
static int store_new(const char *folder, uint64_t map_size, struct tlx_store **ret_store) {
  struct tlx_store *store = calloc(1, sizeof *store);
  if (!store) return -ENOMEM;
  store->lock_fd = -1;
  pthread_mutex_init(&store->mutex, NULL);
  int err = -ENOMEM;
  char *lock_path TLX_AUTOFREE = tlx_path_join(folder, LOCK_FILE);
  store->folder = strdup(folder);
  if (!lock_path || !store->folder) goto fail;
  err = tlx_file_lock(lock_path, &store->lock_fd);
  if (err) goto fail;
  int rc = mdb_env_create(&store->env);
  if (rc) store->env = NULL;
  if (!rc) rc = mdb_env_set_maxdbs(store->env, TLX_TABLE_COUNT);
  if (!rc) rc = mdb_env_set_maxreaders(store->env, TLX_READERS_MAX);
  if (!rc && map_size) rc = mdb_env_set_mapsize(store->env, map_size);
  /* Slots belong to transactions, not to threads: an ended reader is renewed by any thread. */
  if (!rc) rc = mdb_env_open(store->env, folder, MDB_NOTLS, 0600);
  err = tlx_store_translate(rc);
  if (err) goto fail;
  *ret_store = store;
  return 0;
fail:
  tlx_store_close(store);
  return err;
}

void tlx_store_close(struct tlx_store *store) {
  if (!store) return;
  tlx_require(store->n_open_txns == 0);
  tlx_txn_drop_idle(store);
  if (store->env) mdb_env_close(store->env);
  if (store->lock_fd >= 0) close(store->lock_fd);
  pthread_mutex_destroy(&store->mutex);
  free(store->folder);
  free(store);
}

/* A map is whole pages. */
static uint64_t map_size_round(uint64_t map_size) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  if (map_size == 0) map_size = TLX_STORE_MAP_SIZE_DEFAULT;
  return (map_size + page - 1) / page * page;
}

static int folder_sync(const char *path) {
  int fd TLX_AUTOCLOSE = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* The new names (files in the folder, the folder in its parent) outlive a power cut as well. */
static int names_sync(const char *folder) {
  char *parent TLX_AUTOFREE = tlx_path_join(folder, "..");
  if (!parent) return -ENOMEM;
  int err = folder_sync(folder);
  return err ? err : folder_sync(parent);
}

/* Opens the databases from |first| up to and without |end|. The handles stay with the environment.
 */
static int databases_open(struct tlx_txn *txn, int first, int end, unsigned flags) {
  for (int table = first; table < end; table++) {
    int rc = mdb_dbi_open(txn->mdb, tlx_table_info((enum tlx_table)table)->name, flags,
                          &txn->store->dbi[table]);
    if (rc) return tlx_txn_fail_mdb(txn, rc);
  }
  return 0;
}

static void meta_first(struct tlx_txn *txn, const struct tlx_store_facts *facts) {
  Telovix__Store__V1__MetaRecord meta = TELOVIX__STORE__V1__META_RECORD__INIT;
  meta.fleet_id = (char *)facts->fleet_id;
  meta.fleet_name = (char *)facts->fleet_name;
  meta.epoch = (ProtobufCBinaryData){sizeof facts->epoch, (uint8_t *)facts->epoch};
  meta.created_wall_ms = facts->created_wall_ms;
  tlx_meta_put(txn, &meta);
}

int tlx_store_create(const char *folder, const struct tlx_store_facts *facts, uint64_t map_size) {
  struct tlx_store *store TLX_CLEANUP(tlx_store_close_p) = NULL;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (!facts->fleet_id || !facts->fleet_name) return -EINVAL;
  int err = tlx_folder_make(folder, 0700);
  if (err) return err;
  err = store_new(folder, map_size_round(map_size), &store);
  if (err) return err;
  err = tlx_txn_begin_write(store, &txn);
  if (err) return err;
  if (databases_open(txn, 0, TLX_TABLE_COUNT, MDB_CREATE) == 0) {
    /* Only a committed meta record makes a store: what a crash left before it is filled now. */
    if (tlx_table_count(txn, TLX_TABLE_META) > 0) tlx_txn_fail(txn, -EEXIST);
    meta_first(txn, facts);
  }
  err = tlx_txn_commit(TLX_TAKE_PTR(txn));
  return err ? err : names_sync(folder);
}

/* ---- opening ---- */

/* The handles must be of a read transaction: a full store opens too. */
static int tables_attach(struct tlx_store *store, int first, int end) {
  struct tlx_txn txn = {.store = store};
  int err = tlx_store_translate(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn.mdb));
  if (err) return err;
  if (databases_open(&txn, first, end, 0) == 0) return tlx_store_translate(mdb_txn_commit(txn.mdb));
  mdb_txn_abort(txn.mdb);
  return txn.err;
}

static int store_attach(struct tlx_store *store) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  MDB_stat stat;
  int err = tlx_store_translate(mdb_env_stat(store->env, &stat));
  if (err) return err;
  if (stat.ms_entries == 0) return -ENOENT; /* a crash in the middle of the making */
  err = tables_attach(store, TLX_TABLE_META, TLX_TABLE_META + 1);
  if (err) return err == TLX_E_NOT_FOUND ? TLX_E_CORRUPT : err;
  err = tlx_txn_begin_read(store, &txn);
  if (err) return err;
  /* The schema comes before all else: another one may have other databases. */
  const Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  if (tlx_txn_err(txn)) return tlx_txn_err(txn);
  if (!meta) return TLX_E_CORRUPT;
  tlx_txn_abort(TLX_TAKE_PTR(txn));
  err = tables_attach(store, TLX_TABLE_META + 1, TLX_TABLE_COUNT);
  return err == TLX_E_NOT_FOUND ? TLX_E_CORRUPT : err;
}

int tlx_store_open(const char *folder, uint64_t map_size, struct tlx_store **ret_store) {
  struct tlx_store *store TLX_CLEANUP(tlx_store_close_p) = NULL;
  MDB_envinfo info;
  /* LMDB would make a file that is not there. */
  char *data_path TLX_AUTOFREE = tlx_path_join(folder, DATA_FILE);
  if (!data_path) return -ENOMEM;
  if (access(data_path, F_OK) < 0) return -errno;
  int err = store_new(folder, 0, &store);
  if (err) return err;
  err = tlx_store_translate(mdb_reader_check(store->env, NULL));
  if (!err) err = tlx_store_translate(mdb_env_info(store->env, &info));
  if (err) return err;
  uint64_t wanted = map_size_round(map_size);
  if (info.me_mapsize < wanted) err = tlx_store_translate(mdb_env_set_mapsize(store->env, wanted));
  if (!err) err = store_attach(store);
  if (err) return err;
  *ret_store = TLX_TAKE_PTR(store);
  return 0;
}

/* ---- usage ---- */

int tlx_store_usage(struct tlx_store *store, struct tlx_store_usage *ret_usage) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  MDB_envinfo info;
  MDB_stat stat;
  int err = tlx_txn_begin_read(store, &txn);
  if (!err) err = tlx_store_translate(mdb_env_info(store->env, &info));
  if (err) return err;
  /* The last page number would count what was freed and can be used again; the trees count what is
   * there. LMDB has two trees of its own before ours, and two meta pages. */
  uint64_t pages = 2;
  for (int i = -2; i < TLX_TABLE_COUNT; i++) {
    err = tlx_store_translate(mdb_stat(txn->mdb, i < 0 ? (MDB_dbi)(i + 2) : store->dbi[i], &stat));
    if (err) return err;
    pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
  }
  ret_usage->map_bytes = info.me_mapsize;
  ret_usage->used_bytes = pages * stat.ms_psize;
  return 0;
}
