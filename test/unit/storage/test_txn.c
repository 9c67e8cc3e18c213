// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/txn.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/err.h"
#include "fixture.h"
#include "storage/audit_tbl.h"
#include "storage/meta_tbl.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"
#include "storage/token_tbl.h"
#include "storage/txn_int.h"

static void put_sensor(struct tlx_txn *txn, const char *id) {
  Telovix__Store__V1__SensorRecord record = fixture_sensor(id, "web");
  tlx_sensor_put(txn, &record);
}

static bool has_sensor(struct fixture *fx, const char *id) {
  struct tlx_txn *txn = fixture_read(fx);
  bool has = tlx_sensor_get(txn, id) != NULL;
  fixture_commit(txn);
  return has;
}

Test(txn, commit_and_abort) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put_sensor(txn, "sensor_a");
  cr_assert(tlx_sensor_get(txn, "sensor_a"), "it sees its own changes");
  tlx_txn_abort(txn);
  cr_assert_not(has_sensor(&fx, "sensor_a"));
  txn = fixture_write(&fx);
  put_sensor(txn, "sensor_a");
  fixture_commit(txn);
  cr_assert(has_sensor(&fx, "sensor_a"));
  tlx_txn_abort(NULL);
  {
    struct tlx_txn *scoped TLX_AUTOTXN = fixture_write(&fx);
    put_sensor(scoped, "sensor_b");
  }
  cr_assert_not(has_sensor(&fx, "sensor_b"));
}

Test(txn, first_error_sticks_and_undoes_everything) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put_sensor(txn, "sensor_a");
  cr_assert_eq(tlx_txn_err(txn), 0);
  cr_assert_eq(tlx_txn_fail(txn, -EPERM), -EPERM);
  cr_assert_eq(tlx_txn_fail(txn, -EIO), -EPERM);
  cr_assert_eq(tlx_txn_err(txn), -EPERM);
  put_sensor(txn, "sensor_b");
  cr_assert_null(tlx_sensor_get(txn, "sensor_a"));
  fixture_commit_fails(txn, -EPERM);
  cr_assert_not(has_sensor(&fx, "sensor_a"));
  /* An error that is none would be lost. */
  txn = fixture_write(&fx);
  cr_assert_eq(tlx_txn_fail(txn, 0), -EINVAL);
  fixture_commit_fails(txn, -EINVAL);
}

Test(txn, not_found_is_no_error) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_read(&fx);
  cr_assert_null(tlx_sensor_get(txn, "sensor_a"));
  cr_assert_eq(tlx_txn_err(txn), 0);
  fixture_commit(txn);
}

Test(txn, a_reader_keeps_its_snapshot) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *before = fixture_read(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put_sensor(txn, "sensor_a");
  struct tlx_txn *during = fixture_read(&fx);
  fixture_commit(txn);
  struct tlx_txn *after = fixture_read(&fx);
  cr_assert_null(tlx_sensor_get(before, "sensor_a"));
  cr_assert_null(tlx_sensor_get(during, "sensor_a"));
  cr_assert(tlx_sensor_get(after, "sensor_a"));
  fixture_commit(before);
  fixture_commit(during);
  fixture_commit(after);
}

Test(txn, an_ended_reader_is_used_again_and_starts_fresh) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *first = fixture_read(&fx);
  cr_assert(tlx_arena_alloc(tlx_txn_arena(first), 100));
  tlx_txn_fail(first, -EPERM);
  tlx_txn_abort(first);
  cr_assert_eq(fx.store->n_idle_readers, 1);
  struct tlx_txn *txn = fixture_write(&fx);
  put_sensor(txn, "sensor_a");
  fixture_commit(txn);
  struct tlx_txn *second = fixture_read(&fx);
  cr_assert_eq(second, first);
  cr_assert_eq(fx.store->n_idle_readers, 0);
  cr_assert_eq(tlx_txn_err(second), 0);
  cr_assert_eq(tlx_txn_arena(second)->used, 0);
  cr_assert(tlx_sensor_get(second, "sensor_a"), "of today, not of the first one's day");
  fixture_commit(second);
}

Test(txn, many_readers_at_once) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txns[TLX_READERS_MAX], *extra = NULL;
  for (unsigned i = 0; i < TLX_READERS_MAX; i++)
    txns[i] = fixture_read(&fx);
  cr_assert_eq(tlx_txn_begin_read(fx.store, &extra), TLX_E_LIMIT);
  cr_assert_null(extra);
  for (unsigned i = 0; i < TLX_READERS_MAX; i++)
    fixture_commit(txns[i]);
  cr_assert_eq(fx.store->n_idle_readers, TLX_IDLE_READERS_MAX);
  cr_assert_eq(fx.store->n_open_txns, 0);
  for (unsigned i = 0; i < TLX_READERS_MAX; i++)
    txns[i] = fixture_read(&fx);
  for (unsigned i = 0; i < TLX_READERS_MAX; i++)
    fixture_commit(txns[i]);
}

static void *use_reader(void *arg) {
  struct tlx_txn **txn = arg;
  cr_assert_null(tlx_sensor_get(*txn, "sensor_a"));
  tlx_txn_abort(*txn);
  return NULL;
}

Test(txn, a_reader_may_end_in_another_thread) {
  FIXTURE fx;
  fixture_init(&fx);
  pthread_t thread;
  for (unsigned i = 0; i < 3; i++) {
    struct tlx_txn *txn = fixture_read(&fx);
    cr_assert_eq(pthread_create(&thread, NULL, use_reader, &txn), 0);
    pthread_join(thread, NULL);
  }
  cr_assert_eq(fx.store->n_idle_readers, 1);
}

static void *begin_write(void *arg) {
  struct fixture *fx = arg;
  struct tlx_txn *txn = fixture_write(fx);
  bool saw = tlx_sensor_get(txn, "sensor_a") != NULL;
  tlx_txn_abort(txn);
  return saw ? fx : NULL;
}

Test(txn, a_second_writer_waits) {
  FIXTURE fx;
  fixture_init(&fx);
  pthread_t thread;
  void *saw = NULL;
  struct tlx_txn *txn = fixture_write(&fx);
  cr_assert_eq(pthread_create(&thread, NULL, begin_write, &fx), 0);
  put_sensor(txn, "sensor_a");
  fixture_commit(txn);
  pthread_join(thread, &saw);
  cr_assert_eq(saw, &fx, "it began after the commit");
}

Test(txn, forget_gives_memory_back) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put_sensor(txn, "sensor_a");
  tlx_sensor_get(txn, "sensor_a");
  cr_assert_gt(tlx_txn_arena(txn)->used, 0);
  tlx_txn_forget(txn);
  cr_assert_eq(tlx_txn_arena(txn)->used, 0);
  cr_assert(tlx_sensor_get(txn, "sensor_a"));
  fixture_commit(txn);
}

Test(txn, a_batch_of_4096_ops) {
  FIXTURE fx;
  fixture_init(&fx);
  char id[32], sensor[32];
  struct tlx_txn *txn = fixture_write(&fx);
  for (unsigned i = 0; i < 4096; i++) {
    struct tlx_audit_entry entry = {
        .wall_ms = FIXTURE_WALL_MS + i, .action_type = "process_kill_queued", .success = true};
    snprintf(id, sizeof id, "kill_%u", i);
    snprintf(sensor, sizeof sensor, "sensor_%u", i * 2654435761u % 500);
    Telovix__Store__V1__OrderRecord order = fixture_order(id, sensor, 1000);
    fixture_need_sensor(txn, sensor);
    tlx_order_add(txn, &order, 1000);
    tlx_audit_append(txn, &entry);
    tlx_txn_forget(txn);
  }
  fixture_commit(txn);
  txn = fixture_read(&fx);
  struct tlx_audit_head head;
  tlx_audit_head(txn, &head);
  cr_assert_eq(head.seq, 4096);
  cr_assert_eq(tlx_meta_get(txn)->queue_no, 4096);
  cr_assert(tlx_order_get(txn, "kill_4095"));
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
}

Test(txn, closing_over_an_open_transaction_is_a_bug, .signal = SIGABRT) {
  struct fixture fx;
  fixture_init(&fx);
  fixture_read(&fx);
  fixture_done(&fx);
}

/* ---- kill -9 ---- */

/* Commits one order, one token and one audit record a transaction, and tells each commit by one
 * byte. */
static void commit_forever(const char *folder, int out) {
  struct tlx_store *store;
  struct tlx_txn *txn;
  uint8_t hash[32];
  char id[32];
  if (tlx_store_open(folder, FIXTURE_MAP, &store) != 0) _exit(3);
  for (;;) {
    if (tlx_txn_begin_write(store, &txn) != 0) _exit(4);
    uint64_t n = tlx_meta_get(txn)->queue_no;
    struct tlx_audit_entry entry = {
        .wall_ms = FIXTURE_WALL_MS + n, .action_type = "process_kill_queued", .success = true};
    snprintf(id, sizeof id, "kill_%llu", (unsigned long long)n);
    Telovix__Store__V1__OrderRecord order = fixture_order(id, "sensor_a", 1000);
    fixture_need_sensor(txn, "sensor_a");
    tlx_order_add(txn, &order, 1000);
    Telovix__Store__V1__TokenRecord token = fixture_token(id, 0, hash);
    memcpy(hash, &n, sizeof n);
    tlx_token_add(txn, &token);
    tlx_audit_append(txn, &entry);
    if (tlx_txn_commit(txn) != 0) _exit(5);
    if (write(out, "+", 1) != 1) _exit(6);
  }
}

/* What a new process finds after the death of the writer. */
static void check_after_kill(struct fixture *fx, uint64_t n_told) {
  struct tlx_audit_head head;
  char text[FINDINGS_MAX];
  cr_assert_eq(tlx_store_open(fx->folder, FIXTURE_MAP, &fx->store), 0);
  struct tlx_txn *txn = fixture_read(fx);
  tlx_audit_head(txn, &head);
  const Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  cr_assert(meta);
  cr_assert_geq(head.seq, n_told, "what was told is there");
  cr_assert_leq(head.seq, n_told + 1, "and at most the one that was not told any more");
  cr_assert_eq(meta->queue_no, head.seq, "nothing half done");
  cr_assert_eq(meta->token_no, head.seq);
  cr_assert_eq(tlx_token_count(txn), head.seq);
  cr_assert_eq(tlx_table_count(txn, TLX_TABLE_ORDER), head.seq);
  cr_assert_eq(tlx_order_count_open(txn, "sensor_a"), head.seq);
  fixture_commit(txn);
  cr_assert_eq(fixture_verify(fx, text), 0, "%s", text);
}

Test(txn, kill_9_in_mid_write_loses_nothing_and_halves_nothing, .timeout = 60) {
  FIXTURE fx;
  uint64_t n_told = 0;
  fixture_root(&fx);
  cr_assert_eq(tlx_store_create(fx.folder, &fixture_facts, FIXTURE_MAP), 0);
  for (unsigned round = 0; round < 30; round++) {
    int fds[2], status;
    char byte;
    cr_assert_eq(pipe(fds), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
      close(fds[0]);
      commit_forever(fx.folder, fds[1]);
    }
    close(fds[1]);
    /* Each round it dies after another number of commits, at whatever the next one is doing then.
     */
    for (unsigned i = 0; i < 3 + round % 7; i++) {
      cr_assert_eq(read(fds[0], &byte, 1), 1);
      n_told++;
    }
    /* A different part of a commit each round: spins of another length. */
    for (volatile unsigned spin = 0; spin < round * 8000; spin++) {
    }
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status), "it ended by itself: %d", status);
    while (read(fds[0], &byte, 1) == 1)
      n_told++;
    close(fds[0]);
    check_after_kill(&fx, n_told);
    struct tlx_txn *txn = fixture_read(&fx);
    n_told = tlx_meta_get(txn)->queue_no;
    fixture_commit(txn);
    tlx_store_close(TLX_TAKE_PTR(fx.store));
  }
}
