// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/err.h"
#include "fixture.h"
#include "storage/audit_tbl.h"
#include "storage/meta_tbl.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/txn_int.h"

static mode_t mode_of(const struct fixture *fx, const char *name) {
  char path[160];
  struct stat st;
  snprintf(path, sizeof path, "%s/%s", fx->folder, name);
  cr_assert_eq(stat(path, &st), 0, "%s", path);
  return st.st_mode & 0777;
}

static int data_file(const struct fixture *fx, int flags) {
  char path[160];
  snprintf(path, sizeof path, "%s/data.mdb", fx->folder);
  int fd = open(path, flags);
  cr_assert_geq(fd, 0);
  return fd;
}

/* ---- making and opening ---- */

Test(store, create_and_open) {
  FIXTURE fx;
  fixture_init(&fx);
  cr_assert_eq(mode_of(&fx, "."), 0700);
  cr_assert_eq(mode_of(&fx, "data.mdb"), 0600);
  cr_assert_eq(mode_of(&fx, "lock.mdb"), 0600);
  cr_assert_eq(mode_of(&fx, "owner.lock"), 0600);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), -EEXIST);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), 0);
  tlx_store_close(NULL);
}

Test(store, create_refuses) {
  FIXTURE fx;
  fixture_root(&fx);
  struct tlx_store_facts facts = fixture_facts;
  facts.fleet_id = NULL;
  cr_assert_eq(tlx_store_create(fx.folder, &facts, FIXTURE_MAP), -EINVAL);
  facts = fixture_facts;
  facts.fleet_name = NULL;
  cr_assert_eq(tlx_store_create(fx.folder, &facts, FIXTURE_MAP), -EINVAL);
  /* Others may read it. */
  cr_assert_eq(mkdir(fx.folder, 0755), 0);
  cr_assert_eq(chmod(fx.folder, 0755), 0);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), TLX_E_MODE);
  snprintf(fx.folder, sizeof fx.folder, "%s/no/parent", fx.root);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), -ENOENT);
}

Test(store, open_refuses_what_is_no_store) {
  FIXTURE fx;
  fixture_root(&fx);
  struct tlx_store *store = NULL;
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &store), -ENOENT);
  cr_assert_eq(mkdir(fx.folder, 0700), 0);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &store), -ENOENT);
  int fd = open(fx.folder, O_RDONLY | O_DIRECTORY);
  cr_assert_neq(faccessat(fd, "data.mdb", F_OK, 0), 0, "opening makes nothing");
  close(fd);
  cr_assert_null(store);
}

/* What a crash in the middle of the making leaves: LMDB's file without our record. */
Test(store, half_made_store_is_none_and_can_be_made) {
  FIXTURE fx;
  MDB_env *env;
  char path[160];
  fixture_root(&fx);
  cr_assert_eq(mkdir(fx.folder, 0700), 0);
  cr_assert_eq(mdb_env_create(&env), 0);
  cr_assert_eq(mdb_env_open(env, fx.folder, 0, 0600), 0);
  mdb_env_close(env);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), -ENOENT);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), 0);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), 0);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  /* Earlier still: an empty file. */
  snprintf(path, sizeof path, "%s/data.mdb", fx.folder);
  cr_assert_eq(truncate(path, 0), 0);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), -ENOENT);
}

Test(store, other_schema) {
  FIXTURE fx;
  struct tlx_db_key key;
  uint8_t packed[256];
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  cr_assert(tlx_db_key_id("store", &key));
  meta->schema = TLX_STORE_SCHEMA + 1;
  size_t len = protobuf_c_message_pack(&meta->base, packed);
  tlx_table_put_raw(txn, TLX_TABLE_META, &key, packed, len);
  fixture_commit(txn);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  struct tlx_store *store = NULL;
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &store), TLX_E_SCHEMA_NEWER);
  cr_assert_null(store);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), -EEXIST);
}

Test(store, missing_meta_record) {
  FIXTURE fx;
  struct tlx_db_key key;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  cr_assert(tlx_db_key_id("store", &key));
  tlx_table_remove(txn, TLX_TABLE_META, &key);
  fixture_commit(txn);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), TLX_E_CORRUPT);
}

static void drop_database(struct fixture *fx, enum tlx_table table) {
  struct tlx_txn *txn = fixture_write(fx);
  cr_assert_eq(mdb_drop(txn->mdb, fx->store->dbi[table], 1), 0);
  fixture_commit(txn);
  tlx_store_close(TLX_TAKE_PTR(fx->store));
}

Test(store, missing_database) {
  FIXTURE fx;
  fixture_init(&fx);
  drop_database(&fx, TLX_TABLE_REQUEST_TIME);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), TLX_E_CORRUPT);
}

Test(store, missing_meta_database) {
  FIXTURE fx;
  fixture_init(&fx);
  drop_database(&fx, TLX_TABLE_META);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), TLX_E_CORRUPT);
}

Test(store, damaged_file) {
  FIXTURE fx;
  uint8_t junk[8192];
  fixture_init(&fx);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  memset(junk, 0x5a, sizeof junk);
  int fd = data_file(&fx, O_WRONLY);
  cr_assert_eq(pwrite(fd, junk, sizeof junk, 0), sizeof junk);
  close(fd);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), TLX_E_CORRUPT);
  fd = data_file(&fx, O_WRONLY | O_TRUNC);
  cr_assert_eq(pwrite(fd, "not a store", 11, 0), 11);
  close(fd);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), TLX_E_CORRUPT);
}

Test(store, file_of_another_lmdb) {
  FIXTURE fx;
  const uint32_t version = 999;
  fixture_init(&fx);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  /* Both meta pages: page header (16), magic (4), version (4). */
  int fd = data_file(&fx, O_WRONLY);
  for (off_t page = 0; page < 2; page++)
    cr_assert_eq(pwrite(fd, &version, 4, page * sysconf(_SC_PAGESIZE) + 20), 4);
  close(fd);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), -ENOTSUP);
  cr_assert(strstr(tlx_store_advice(-ENOTSUP), "mdb_dump"));
}

/* ---- one Console at a time ---- */

static pid_t fork_holder(struct fixture *fx, bool with_reader) {
  int fds[2];
  char byte;
  cr_assert_eq(pipe(fds), 0);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    struct tlx_store *store;
    struct tlx_txn *txn;
    if (tlx_store_open(fx->folder, FIXTURE_MAP, &store) != 0) _exit(3);
    if (with_reader && tlx_txn_begin_read(store, &txn) != 0) _exit(4);
    if (write(fds[1], "+", 1) != 1) _exit(5);
    for (;;)
      pause();
  }
  close(fds[1]);
  cr_assert_eq(read(fds[0], &byte, 1), 1);
  close(fds[0]);
  return pid;
}

static void end_holder(pid_t pid) {
  kill(pid, SIGKILL);
  cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

Test(store, a_second_process_is_refused) {
  FIXTURE fx;
  fixture_root(&fx);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), 0);
  pid_t pid = fork_holder(&fx, false);
  struct tlx_store *store = NULL;
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &store), TLX_E_LOCKED);
  cr_assert_null(store);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), TLX_E_LOCKED);
  end_holder(pid);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), 0, "the lock died with it");
}

static int count_readers(const char *line, void *arg) {
  if (!strstr(line, "no active readers")) ++*(unsigned *)arg;
  return 0;
}

Test(store, readers_of_the_dead_are_cleared) {
  FIXTURE fx;
  unsigned n_lines = 0;
  MDB_env *env;
  fixture_root(&fx);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), 0);
  pid_t pid = fork_holder(&fx, true);
  /* Someone else has the environment open, so that LMDB does not make the lock file anew. */
  cr_assert_eq(mdb_env_create(&env), 0);
  cr_assert_eq(mdb_env_open(env, fx.folder, MDB_RDONLY | MDB_NOTLS, 0600), 0);
  end_holder(pid);
  cr_assert_geq(mdb_reader_list(env, count_readers, &n_lines), 0);
  cr_assert_gt(n_lines, 1, "a title and the dead one");
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), 0);
  n_lines = 0;
  cr_assert_geq(mdb_reader_list(fx.store->env, count_readers, &n_lines), 0);
  /* Opening itself leaves one ended reader behind, of this process. */
  cr_assert_leq(n_lines, 2);
  int n_dead = 0;
  cr_assert_eq(mdb_reader_check(fx.store->env, &n_dead), 0);
  cr_assert_eq(n_dead, 0);
  mdb_env_close(env);
}

Test(store, reader_slots_fit_the_first_page_of_the_lock_file) {
  FIXTURE fx;
  char path[160];
  struct stat st;
  fixture_init(&fx);
  snprintf(path, sizeof path, "%s/lock.mdb", fx.folder);
  cr_assert_eq(stat(path, &st), 0);
  cr_assert_leq(st.st_size, 4096);
}

/* ---- room ---- */

/* Adds orders until the store is full; returns the error. Counts what was committed. */
static int fill(struct tlx_store *store, const char *prefix, unsigned *n_committed) {
  static char padding[8000];
  char id[32];
  memset(padding, 'p', sizeof padding - 1);
  for (unsigned i = 0; i < 100000; i++) {
    struct tlx_txn *txn;
    int err = tlx_txn_begin_write(store, &txn);
    if (err) return err;
    snprintf(id, sizeof id, "%s%u", prefix, i);
    Telovix__Store__V1__OrderRecord order = fixture_order(id, "sensor_a", 1000);
    order.reason = padding;
    fixture_need_sensor(txn, "sensor_a");
    tlx_order_add(txn, &order, 100000);
    struct tlx_audit_entry entry = {
        .wall_ms = FIXTURE_WALL_MS, .action_type = "process_kill_queued", .success = true};
    tlx_audit_append(txn, &entry);
    err = tlx_txn_commit(txn);
    if (err) return err;
    ++*n_committed;
  }
  return 0;
}

static void check_counts(struct fixture *fx, unsigned n) {
  struct tlx_audit_head head;
  char text[FINDINGS_MAX];
  struct tlx_txn *txn = fixture_read(fx);
  tlx_audit_head(txn, &head);
  cr_assert_eq(head.seq, n);
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_ORDER), n);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(fx, text), 0, "%s", text);
}

Test(store, full_map_refuses_writes_and_nothing_else) {
  FIXTURE fx;
  const uint64_t small = 512u << 10;
  unsigned n = 0, more = 0;
  fixture_root(&fx);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, small), 0);
  cr_assert_eq(tlx_store_open(fx.folder, small, &fx.store), 0);
  cr_assert_eq(fill(fx.store, "kill_", &n), -ENOSPC);
  cr_assert_gt(n, 5);
  check_counts(&fx, n);
  cr_assert_eq(fill(fx.store, "kill_x", &more), -ENOSPC, "again, and not another error");
  struct tlx_store_usage usage;
  cr_assert_eq(tlx_store_usage(fx.store, &usage), 0);
  cr_assert_eq(usage.map_bytes, small);
  cr_assert_gt(usage.used_bytes, small / 2);
  cr_assert_leq(usage.used_bytes, small);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  /* A full store opens, and a larger map makes room. */
  cr_assert_eq(tlx_store_open(fx.folder, small, &fx.store), 0);
  check_counts(&fx, n + more);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  cr_assert_eq(tlx_store_open(fx.folder, 4 * small, &fx.store), 0);
  unsigned after = 0;
  cr_assert_eq(fill(fx.store, "kill_y", &after), -ENOSPC);
  cr_assert_gt(after, n, "three times the room");
  check_counts(&fx, n + more + after);
}

Test(store, map_only_grows) {
  FIXTURE fx;
  struct tlx_store_usage usage;
  fixture_root(&fx);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, 0), 0);
  cr_assert_eq(tlx_store_open(fx.folder, 1, &fx.store), 0);
  cr_assert_eq(tlx_store_usage(fx.store, &usage), 0);
  cr_assert_eq(usage.map_bytes, TLX_STORE_MAP_SIZE_DEFAULT);
  /* It is sparse. */
  struct stat st;
  int fd = data_file(&fx, O_RDONLY);
  cr_assert_eq(fstat(fd, &st), 0);
  close(fd);
  cr_assert_lt(st.st_size, 1 << 20);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  cr_assert_eq(tlx_store_open(fx.folder, TLX_STORE_MAP_SIZE_DEFAULT + 1, &fx.store), 0);
  cr_assert_eq(tlx_store_usage(fx.store, &usage), 0);
  cr_assert_eq(usage.map_bytes, TLX_STORE_MAP_SIZE_DEFAULT + (uint64_t)sysconf(_SC_PAGESIZE));
}

Test(store, usage_falls_when_something_goes) {
  FIXTURE fx;
  char id[32], node[32];
  struct tlx_store_usage empty, full, again;
  fixture_init(&fx);
  cr_assert_eq(tlx_store_usage(fx.store, &empty), 0);
  cr_assert_gt(empty.used_bytes, 0);
  struct tlx_txn *txn = fixture_write(&fx);
  for (unsigned i = 0; i < 2000; i++) {
    snprintf(id, sizeof id, "sensor_%u", i);
    snprintf(node, sizeof node, "node%u", i);
    Telovix__Store__V1__SensorRecord sensor = fixture_sensor(id, node);
    tlx_sensor_put(txn, &sensor);
  }
  fixture_commit(txn);
  cr_assert_eq(tlx_store_usage(fx.store, &full), 0);
  cr_assert_gt(full.used_bytes, empty.used_bytes + (100u << 10));
  struct tlx_cursor cursor;
  txn = fixture_write(&fx);
  tlx_cursor_open(&cursor, txn, TLX_TABLE_SENSOR);
  for (bool on = tlx_cursor_first(&cursor); on; on = tlx_cursor_next(&cursor)) {
    struct tlx_db_key key = cursor.key;
    tlx_table_remove(txn, TLX_TABLE_SENSOR, &key);
  }
  tlx_cursor_close(&cursor);
  fixture_commit(txn);
  cr_assert_eq(tlx_store_usage(fx.store, &again), 0);
  cr_assert_lt(again.used_bytes, full.used_bytes - (50u << 10),
               "the file did not shrink, the use did");
}

/* A limit on file sizes stands for a full disk where no small file system can be mounted. */
Test(store, file_size_limit) {
  FIXTURE fx;
  struct rlimit limit;
  unsigned n = 0, more = 0;
  fixture_init(&fx);
  signal(SIGXFSZ, SIG_IGN);
  cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
  rlim_t was = limit.rlim_cur;
  limit.rlim_cur = 1 << 20;
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  int err = fill(fx.store, "kill_", &n);
  limit.rlim_cur = was;
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  cr_assert(err == -ENOSPC || err == -EIO, "%d", err); /* -EIO: the last write was cut short */
  check_counts(&fx, n);
  /* No restart needed. */
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__OrderRecord order = fixture_order("kill_after", "sensor_a", 1000);
  tlx_order_add(txn, &order, 100000);
  struct tlx_audit_entry entry = {
      .wall_ms = FIXTURE_WALL_MS, .action_type = "process_kill_queued", .success = true};
  tlx_audit_append(txn, &entry);
  fixture_commit(txn);
  check_counts(&fx, n + 1 + more);
}

Test(store, full_disk_and_room_again) {
  FIXTURE fx;
  char ballast[160];
  unsigned n = 0, after = 0;
  fixture_root(&fx);
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
      mount("tmpfs", fx.root, "tmpfs", 0, "size=3m,mode=0700") != 0)
    cr_skip_test("no right to mount a small file system");
  snprintf(ballast, sizeof ballast, "%s/ballast", fx.root);
  int fd = open(ballast, O_CREAT | O_WRONLY, 0600);
  cr_assert_eq(posix_fallocate(fd, 0, 1 << 20), 0);
  close(fd);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), 0);
  cr_assert_eq(tlx_store_open(fx.folder, FIXTURE_MAP, &fx.store), 0);
  cr_assert_eq(fill(fx.store, "kill_", &n), -ENOSPC);
  cr_assert_gt(n, 5);
  check_counts(&fx, n);
  cr_assert_eq(unlink(ballast), 0);
  /* No restart needed. */
  cr_assert_eq(fill(fx.store, "kill_y", &after), -ENOSPC);
  cr_assert_gt(after, 5);
  check_counts(&fx, n + after);
  tlx_store_close(TLX_TAKE_PTR(fx.store));
  umount2(fx.root, MNT_DETACH);
}

/* ---- words ---- */

Test(store, errors_of_lmdb) {
  static const struct {
    int mdb, ours;
  } cases[] = {
      {0, 0},
      {MDB_MAP_FULL, -ENOSPC},
      {MDB_TXN_FULL, -ENOSPC},
      {ENOSPC, -ENOSPC},
      {EDQUOT, -ENOSPC},
      {EFBIG, -ENOSPC},
      {MDB_CORRUPTED, TLX_E_CORRUPT},
      {MDB_PAGE_NOTFOUND, TLX_E_CORRUPT},
      {MDB_INVALID, TLX_E_CORRUPT},
      {MDB_VERSION_MISMATCH, -ENOTSUP},
      {MDB_KEYEXIST, TLX_E_EXISTS},
      {MDB_NOTFOUND, TLX_E_NOT_FOUND},
      {MDB_READERS_FULL, TLX_E_LIMIT},
      {MDB_PANIC, -EIO},
      {MDB_MAP_RESIZED, -EBUSY},
      {MDB_BAD_VALSIZE, -EINVAL},
      {EACCES, -EACCES},
      {ENOMEM, -ENOMEM},
      {-12345, -EIO},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    cr_assert_eq(tlx_store_translate(cases[i].mdb), cases[i].ours, "%d", cases[i].mdb);
}

Test(store, advice) {
  static const int known[] = {-ENOSPC,
                              TLX_E_CORRUPT,
                              TLX_E_SCHEMA_NEWER,
                              TLX_E_SCHEMA_OLDER,
                              TLX_E_LOCKED,
                              -ENOTSUP,
                              -ENOENT,
                              -EEXIST,
                              TLX_E_MODE,
                              -EIO};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    const char *text = tlx_store_advice(known[i]);
    cr_assert(text && *text);
    cr_assert_neq(text[strlen(text) - 1], '.');
  }
  cr_assert_null(tlx_store_advice(0));
  cr_assert_null(tlx_store_advice(-EPERM));
}

/* ---- threads ---- */

struct shared {
  struct fixture *fx;
  atomic_bool stop;
  atomic_uint n_reads, n_faults;
};

static void *read_on(void *arg) {
  struct shared *shared = arg;
  while (!atomic_load(&shared->stop)) {
    struct tlx_txn *txn;
    struct tlx_audit_head head;
    if (tlx_txn_begin_read(shared->fx->store, &txn) != 0) {
      atomic_fetch_add(&shared->n_faults, 1);
      break;
    }
    tlx_audit_head(txn, &head);
    const Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
    if (!meta || meta->queue_no != head.seq) atomic_fetch_add(&shared->n_faults, 1);
    if (tlx_txn_commit(txn) != 0) atomic_fetch_add(&shared->n_faults, 1);
    atomic_fetch_add(&shared->n_reads, 1);
  }
  return NULL;
}

Test(store, readers_beside_a_writer) {
  FIXTURE fx;
  fixture_init(&fx);
  struct shared shared = {.fx = &fx};
  pthread_t threads[4];
  char id[32];
  for (unsigned i = 0; i < 4; i++)
    cr_assert_eq(pthread_create(&threads[i], NULL, read_on, &shared), 0);
  for (unsigned i = 0; i < 200 || atomic_load(&shared.n_reads) < 100; i++) {
    struct tlx_txn *txn = fixture_write(&fx);
    struct tlx_audit_entry entry = {
        .wall_ms = FIXTURE_WALL_MS, .action_type = "process_kill_queued", .success = true};
    snprintf(id, sizeof id, "kill_%u", i);
    Telovix__Store__V1__OrderRecord order = fixture_order(id, "sensor_a", 1000);
    fixture_need_sensor(txn, "sensor_a");
    tlx_order_add(txn, &order, 1000);
    tlx_audit_append(txn, &entry);
    fixture_commit(txn);
    if (atomic_load(&shared.n_faults)) break;
  }
  atomic_store(&shared.stop, true);
  for (unsigned i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
  cr_assert_eq(shared.n_faults, 0);
  cr_assert_eq(fx.store->n_open_txns, 0);
  cr_assert_leq(fx.store->n_idle_readers, TLX_IDLE_READERS_MAX);
}
