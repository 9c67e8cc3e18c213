// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/writer.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "../../harness/loop.h"
#include "common/err.h"
#include "console/limits.h"
#include "console/op_audit.h"
#include "fixture_op.h"
#include "storage/audit_tbl.h"

/* The writing thread against a real store. The linker sends the two ends of a transaction through
 * here, so that a test can count them and fail them; both are touched by the writing thread alone
 * while it runs. */

int __real_tlx_txn_begin_write(struct tlx_store *store, struct tlx_txn **ret_txn);
int __real_tlx_txn_commit(struct tlx_txn *txn);
int __wrap_tlx_txn_begin_write(struct tlx_store *store, struct tlx_txn **ret_txn);
int __wrap_tlx_txn_commit(struct tlx_txn *txn);

static unsigned n_begun, n_commits_to_fail;
static int begin_err;

int __wrap_tlx_txn_begin_write(struct tlx_store *store, struct tlx_txn **ret_txn) {
  n_begun++;
  return begin_err ? begin_err : __real_tlx_txn_begin_write(store, ret_txn);
}

int __wrap_tlx_txn_commit(struct tlx_txn *txn) {
  if (n_commits_to_fail > 0) {
    n_commits_to_fail--;
    tlx_txn_fail(txn, -EIO);
  }
  return __real_tlx_txn_commit(txn);
}

/* A wait for a follower is told of, and lasts as long as the test wants. */
int __real_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                                  const struct timespec *until);
int __wrap_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                                  const struct timespec *until);
static sem_t *waits;

int __wrap_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                                  const struct timespec *until) {
  struct timespec later = *until;
  if (!waits) return __real_pthread_cond_clockwait(cond, mutex, clock, until);
  later.tv_sec += 60;
  sem_post(waits);
  return __real_pthread_cond_clockwait(cond, mutex, clock, &later);
}

/* ---- ops ---- */

struct counted {
  struct op_audit_only audit; /* first */
  unsigned number, n_runs;
  int fail;    /* storage error that run makes */
  bool refuse; /* run refuses */
  sem_t *entered, *gate;
};

/* What done saw of each op, by its number. */
static struct seen {
  unsigned n_runs;
  char reason[32];
  uint64_t head_seq;
} seen[600];
static unsigned n_done;

static void run(struct op *op, struct tlx_txn *txn) {
  struct counted *counted = (void *)op;
  if (counted->gate && counted->n_runs == 0) {
    sem_post(counted->entered);
    sem_wait(counted->gate);
  }
  counted->n_runs++;
  if (counted->refuse) {
    tlx_status_set(&op->status, TLX_GRPC_NOT_FOUND, "refused", "no");
    op_refuse(op, txn, "test", NULL);
    return;
  }
  op_audit_only_run(op, txn);
  if (counted->fail) tlx_txn_fail(txn, counted->fail);
}

static void done(struct op *op) {
  struct counted *counted = (void *)op;
  n_done++;
  cr_assert_eq(counted->number, n_done, "in the order of submission");
  if (counted->number < sizeof seen / sizeof *seen) {
    struct seen *entry = &seen[counted->number];
    entry->n_runs = counted->n_runs;
    entry->head_seq = op->head.seq;
    snprintf(entry->reason, sizeof entry->reason, "%s", op->status.reason);
  }
  op_done(op);
  free(op);
}

static struct counted *make(unsigned number) {
  struct counted *op = calloc(1, sizeof *op);
  strcpy(op->audit.action_type, "test");
  op->audit.op.run = run;
  op->audit.op.done = done;
  op->audit.op.cost = 1;
  op->audit.op.actor.wall_ms = FIXTURE_WALL_MS;
  op->number = number;
  return op;
}

static void submit(struct writer *writer, struct counted *op) {
  cr_assert_eq(writer_submit(writer, &op->audit.op), 0);
}

/* Submits op 1, which holds the writing thread inside its run until |gate| is posted: what is
 * submitted meanwhile arrives "while a commit runs". */
static void submit_gate(struct writer *writer, sem_t *entered, sem_t *gate) {
  sem_init(entered, 0, 0);
  sem_init(gate, 0, 0);
  struct counted *first = make(1);
  first->entered = entered;
  first->gate = gate;
  submit(writer, first);
  sem_wait(entered);
}

static void note_stopped(void *arg) {
  *(bool *)arg = true;
}

static void stop(struct writer *writer, uv_loop_t *loop) {
  bool gone = false;
  writer_stop(writer, note_stopped, &gone);
  loop_until(loop, &gone);
}

static uint64_t head_seq(struct fixture *fx) {
  struct tlx_audit_head head;
  struct tlx_txn *txn = fixture_read(fx);
  tlx_audit_head(txn, &head);
  fixture_commit(txn);
  return head.seq;
}

#define START                                                                                      \
  FIXTURE fx;                                                                                      \
  uv_loop_t loop;                                                                                  \
  struct writer *writer;                                                                           \
  fixture_init(&fx);                                                                               \
  uv_loop_init(&loop);                                                                             \
  n_begun = 0;                                                                                     \
  cr_assert_eq(writer_new(&loop, fx.store, &writer), 0)

/* ---- tests ---- */

Test(writer, an_op_that_was_announced_shares_the_commit) {
  sem_t waiting;
  START;
  sem_init(&waiting, 0, 0);
  waits = &waiting;
  struct counted *first = make(1);
  first->audit.op.has_follower = true;
  submit(writer, first);
  sem_wait(&waiting);
  submit(writer, make(2));
  while (n_done < 2)
    uv_run(&loop, UV_RUN_ONCE);
  cr_assert_eq(n_begun, 1);
  /* The end does not wait for one that never comes. */
  struct counted *last = make(3);
  last->audit.op.has_follower = true;
  submit(writer, last);
  sem_wait(&waiting);
  stop(writer, &loop);
  cr_assert_eq(n_done, 3);
  loop_done(&loop);
  fixture_done(&fx);
}

Test(writer, an_op_that_was_announced_may_not_come) {
  START;
  waits = NULL;
  struct counted *first = make(1);
  first->audit.op.has_follower = true;
  submit(writer, first);
  while (n_done < 1)
    uv_run(&loop, UV_RUN_ONCE);
  stop(writer, &loop);
  loop_done(&loop);
  fixture_done(&fx);
}

Test(writer, what_arrives_during_a_commit_is_the_next_batch) {
  sem_t entered, gate;
  START;
  submit_gate(writer, &entered, &gate);
  for (unsigned i = 2; i <= 500; i++)
    submit(writer, make(i));
  cr_assert_eq(n_done, 0, "never inside submit");
  cr_assert_eq(writer_pending(writer), 500);
  sem_post(&gate);
  stop(writer, &loop);
  cr_assert_eq(n_done, 500);
  cr_assert_eq(n_begun, 2, "one transaction for the first, one for all that came meanwhile");
  for (unsigned i = 1; i <= 500; i++) {
    cr_assert_eq(seen[i].n_runs, 1);
    cr_assert_eq(seen[i].head_seq, i, "each knows its own place in the chain");
  }
  cr_assert_eq(head_seq(&fx), 500);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
  loop_done(&loop);
}

Test(writer, only_the_guilty_fails) {
  sem_t entered, gate;
  START;
  submit_gate(writer, &entered, &gate);
  for (unsigned i = 2; i <= 100; i++) {
    struct counted *op = make(i);
    op->fail = i == 40 ? -ENOSPC : i == 70 ? TLX_E_CORRUPT : 0;
    op->refuse = i == 50;
    submit(writer, op);
  }
  sem_post(&gate);
  stop(writer, &loop);
  cr_assert_eq(n_done, 100);
  cr_assert_eq(n_begun, 1 + 1 + 99, "the batch, then op by op: %u", n_begun);
  for (unsigned i = 1; i <= 100; i++) {
    const char *reason = i == 40   ? "store_full"
                         : i == 70 ? "store_failed"
                         : i == 50 ? "refused"
                                   : "";
    cr_assert_str_eq(seen[i].reason, reason, "op %u", i);
    cr_assert_eq(seen[i].n_runs, i >= 2 && i <= 40 ? 2 : 1,
                 "op %u: nothing runs on in a spoiled batch", i);
  }
  cr_assert_eq(seen[41].head_seq, 40, "the failed op left no record");
  cr_assert_eq(seen[100].head_seq, 98);
  cr_assert_eq(head_seq(&fx), 98, "the refusal has its record, the failures have none");
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
  loop_done(&loop);
}

/* The disk fails under the batch and works again after it: nothing is lost and nothing is stored
 * twice. */
Test(writer, a_failed_commit_is_done_again_op_by_op) {
  sem_t entered, gate;
  START;
  submit_gate(writer, &entered, &gate);
  for (unsigned i = 2; i <= 10; i++)
    submit(writer, make(i));
  n_commits_to_fail =
      2; /* of the gate's op, which was alone and is not tried again, and of the batch */
  sem_post(&gate);
  stop(writer, &loop);
  cr_assert_str_eq(seen[1].reason, "store_failed");
  cr_assert_eq(seen[1].n_runs, 1);
  for (unsigned i = 2; i <= 10; i++) {
    cr_assert_str_eq(seen[i].reason, "");
    cr_assert_eq(seen[i].n_runs, 2);
    cr_assert_eq(seen[i].head_seq, i - 1);
  }
  cr_assert_eq(head_seq(&fx), 9);
  cr_assert_eq(fixture_verify(&fx, NULL), 0);
  loop_done(&loop);
}

Test(writer, no_transaction_no_change) {
  sem_t entered, gate;
  START;
  submit_gate(writer, &entered, &gate);
  submit(writer, make(2));
  submit(writer, make(3));
  begin_err = -ENOSPC;
  sem_post(&gate);
  stop(writer, &loop);
  cr_assert_str_eq(seen[1].reason, "");
  for (unsigned i = 2; i <= 3; i++) {
    cr_assert_str_eq(seen[i].reason, "store_full");
    cr_assert_eq(seen[i].n_runs, 0);
  }
  cr_assert_eq(head_seq(&fx), 1);
  loop_done(&loop);
}

Test(writer, the_number_of_ops_is_bounded) {
  unsigned n = 0;
  START;
  struct counted *op = make(1);
  while (writer_submit(writer, &op->audit.op) == 0)
    op = make(++n + 1);
  cr_assert_eq(n, WRITER_OPS_MAX);
  cr_assert_eq(writer_pending(writer), WRITER_OPS_MAX);
  while (writer_pending(writer))
    uv_run(&loop, UV_RUN_ONCE);
  submit(writer, op); /* the refused op stayed ours, and now there is room */
  stop(writer, &loop);
  cr_assert_eq(n_done, WRITER_OPS_MAX + 1);
  loop_done(&loop);
}

Test(writer, the_bytes_are_bounded) {
  START;
  struct counted *op = make(1);
  op->audit.op.cost = WRITER_BYTES_MAX + 1;
  cr_assert_eq(writer_submit(writer, &op->audit.op), TLX_E_LIMIT, "larger than all room");
  op->audit.op.cost = WRITER_BYTES_MAX - 10;
  submit(writer, op);
  op = make(2);
  op->audit.op.cost = 11;
  cr_assert_eq(writer_submit(writer, &op->audit.op), TLX_E_LIMIT);
  op->audit.op.cost = 10;
  submit(writer, op);
  op = make(3);
  cr_assert_eq(writer_submit(writer, &op->audit.op), TLX_E_LIMIT);
  while (writer_pending(writer))
    uv_run(&loop, UV_RUN_ONCE);
  op->audit.op.cost = WRITER_BYTES_MAX;
  submit(writer, op);
  stop(writer, &loop);
  cr_assert_eq(n_done, 3);
  loop_done(&loop);
}

static struct writer *chained;

static void done_and_submit(struct op *op) {
  struct counted *next = make(((struct counted *)op)->number + 1);
  submit(chained, next);
  done(op);
}

Test(writer, done_may_submit) {
  START;
  chained = writer;
  struct counted *op = make(1);
  op->audit.op.done = done_and_submit;
  submit(writer, op);
  while (writer_pending(writer))
    uv_run(&loop, UV_RUN_ONCE);
  cr_assert_eq(n_done, 2);
  stop(writer, &loop);
  loop_done(&loop);
}

Test(writer, stopping_finishes_what_is_queued_and_takes_no_more) {
  bool gone = false;
  sem_t entered, gate;
  START;
  submit_gate(writer, &entered, &gate);
  submit(writer, make(2));
  writer_stop(writer, note_stopped, &gone);
  struct counted *late = make(3);
  cr_assert_eq(writer_submit(writer, &late->audit.op), TLX_E_LIMIT);
  free(late);
  cr_assert_not(gone);
  sem_post(&gate);
  loop_until(&loop, &gone);
  cr_assert_eq(n_done, 2);
  cr_assert_eq(head_seq(&fx), 2);
  loop_done(&loop);
}

Test(writer, an_idle_writer_stops) {
  START;
  writer_stop(writer, NULL, NULL);
  loop_done(&loop);
}
