// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/err.h"
#include "common/log.h"
#include "console/limits.h"
#include "console/reasons.h"
#include "storage/txn.h"

struct queue {
  struct op *first, **last;
};

struct writer {
  struct tlx_store *store;
  pthread_t thread;
  /* Tells the loop of finished ops. Not a uv_async_t: its receiver spins until the sender has
   * returned, which where both share a processor is for as long as it takes to be preempted. */
  int finished_fd;
  uv_poll_t poll;
  /* loop thread */
  size_t n_pending, pending_bytes;
  void (*stopped)(void *arg);
  void *arg;
  bool stopping_loop;
  /* both threads, under the mutex */
  pthread_mutex_t mutex;
  pthread_cond_t work;
  struct queue waiting, finished;
  bool stopping, ended;
};

static void queue_init(struct queue *queue) {
  queue->first = NULL;
  queue->last = &queue->first;
}

static void queue_add(struct queue *queue, struct op *op) {
  op->next = NULL;
  *queue->last = op;
  queue->last = &op->next;
}

static struct op *queue_take_all(struct queue *queue) {
  struct op *first = queue->first;
  queue_init(queue);
  return first;
}

/* ---- the writing thread ---- */

static void fail_op(struct op *op, int err) {
  reason_set(&op->status, err == -ENOSPC ? REASON_STORE_FULL : REASON_STORE_FAILED);
  tlx_buf_done(&op->reply);
  tlx_error(STORE, "a change was not stored: err=%s %s", tlx_err_name(err), tlx_err_text(err));
}

static int commit_one(struct writer *writer, struct op *op) {
  struct tlx_txn *txn;
  int err = tlx_txn_begin_write(writer->store, &txn);
  if (err) return err;
  op_execute(op, txn);
  return tlx_txn_commit(txn);
}

static bool has_follower(const struct op *op) {
  while (op && !op->has_follower)
    op = op->next;
  return op != NULL;
}

/* Gives the op that was announced a moment to come, so that it shares this commit. Whatever comes
 * ends the wait, and is returned. */
static struct op *wait_for_follower(struct writer *writer) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += WRITER_FOLLOWER_NS;
  if (until.tv_nsec >= 1000000000) {
    until.tv_nsec -= 1000000000;
    until.tv_sec++;
  }
  pthread_mutex_lock(&writer->mutex);
  while (!writer->stopping && !writer->waiting.first &&
         pthread_cond_clockwait(&writer->work, &writer->mutex, CLOCK_MONOTONIC, &until) == 0) {
  }
  struct op *followers = queue_take_all(&writer->waiting);
  pthread_mutex_unlock(&writer->mutex);
  return followers;
}

/* Runs |op| and what is queued behind it; returns the last one. */
static struct op *execute_all(struct op *op, struct tlx_txn *txn) {
  for (;; op = op->next) {
    if (!tlx_txn_err(txn)) op_execute(op, txn);
    tlx_txn_forget(txn);
    if (!op->next) return op;
  }
}

/* One transaction for the whole batch and for what follows it. */
static int commit_batch(struct writer *writer, struct op *batch) {
  struct tlx_txn *txn;
  int err = tlx_txn_begin_write(writer->store, &txn);
  if (err) return err;
  struct op *last = execute_all(batch, txn);
  if (has_follower(batch) && (last->next = wait_for_follower(writer))) execute_all(last->next, txn);
  return tlx_txn_commit(txn);
}

/* Which op spoiled a transaction cannot be told, so a batch that fails is done again op by op. */
static void run_batch(struct writer *writer, struct op *batch) {
  int err = commit_batch(writer, batch);
  if (!err) return;
  if (batch->next)
    tlx_warn(STORE, "a batch was not stored and is retried one by one: err=%s", tlx_err_name(err));
  for (struct op *op = batch; op; op = op->next) {
    if (batch->next) err = commit_one(writer, op);
    if (err) fail_op(op, err);
  }
}

static void tell_loop(struct writer *writer) {
  if (eventfd_write(writer->finished_fd, 1) != 0)
    tlx_error(STORE, "the loop cannot be told of a commit: err=%s", tlx_err_name(-errno));
}

static void *write_loop(void *arg) {
  struct writer *writer = arg;
  pthread_mutex_lock(&writer->mutex);
  for (;;) {
    while (!writer->waiting.first && !writer->stopping)
      pthread_cond_wait(&writer->work, &writer->mutex);
    struct op *batch = queue_take_all(&writer->waiting);
    if (!batch) break;
    pthread_mutex_unlock(&writer->mutex);
    run_batch(writer, batch);
    pthread_mutex_lock(&writer->mutex);
    while (batch) {
      struct op *op = batch;
      batch = op->next;
      queue_add(&writer->finished, op);
    }
    pthread_mutex_unlock(&writer->mutex);
    tell_loop(writer);
    pthread_mutex_lock(&writer->mutex);
  }
  writer->ended = true;
  tell_loop(writer);
  pthread_mutex_unlock(&writer->mutex);
  return NULL;
}

/* ---- the loop's side ---- */

static void on_closed(uv_handle_t *handle) {
  struct writer *writer = handle->data;
  void (*stopped)(void *arg) = writer->stopped;
  void *arg = writer->arg;
  close(writer->finished_fd);
  pthread_cond_destroy(&writer->work);
  pthread_mutex_destroy(&writer->mutex);
  free(writer);
  if (stopped) stopped(arg);
}

static void on_finished(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  struct writer *writer = poll->data;
  eventfd_t n;
  eventfd_read(writer->finished_fd, &n);
  pthread_mutex_lock(&writer->mutex);
  struct op *op = queue_take_all(&writer->finished);
  bool ended = writer->ended;
  pthread_mutex_unlock(&writer->mutex);
  while (op) {
    struct op *next = op->next;
    writer->n_pending--;
    writer->pending_bytes -= op->cost;
    op->done(op);
    op = next;
  }
  if (ended && !uv_is_closing((uv_handle_t *)poll)) {
    pthread_join(writer->thread, NULL);
    uv_close((uv_handle_t *)poll, on_closed);
  }
}

int writer_new(uv_loop_t *loop, struct tlx_store *store, struct writer **ret_writer) {
  struct writer *writer = calloc(1, sizeof *writer);
  if (!writer) return -ENOMEM;
  writer->store = store;
  queue_init(&writer->waiting);
  queue_init(&writer->finished);
  pthread_mutex_init(&writer->mutex, NULL);
  pthread_cond_init(&writer->work, NULL);
  writer->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int err =
      writer->finished_fd < 0 ? -errno : uv_poll_init(loop, &writer->poll, writer->finished_fd);
  if (err) {
    if (writer->finished_fd >= 0) close(writer->finished_fd);
    free(writer);
    return err;
  }
  writer->poll.data = writer;
  err = uv_poll_start(&writer->poll, UV_READABLE, on_finished);
  if (!err) err = -pthread_create(&writer->thread, NULL, write_loop, writer);
  if (err) {
    uv_close((uv_handle_t *)&writer->poll, on_closed);
    return err;
  }
  *ret_writer = writer;
  return 0;
}

int writer_submit(struct writer *writer, struct op *op) {
  if (writer->stopping_loop || writer->n_pending >= WRITER_OPS_MAX ||
      writer->pending_bytes + op->cost > WRITER_BYTES_MAX)
    return TLX_E_LIMIT;
  writer->n_pending++;
  writer->pending_bytes += op->cost;
  pthread_mutex_lock(&writer->mutex);
  queue_add(&writer->waiting, op);
  pthread_mutex_unlock(&writer->mutex);
  pthread_cond_signal(&writer->work); /* after the unlock: who wakes does not wait again */
  return 0;
}

size_t writer_pending(const struct writer *writer) {
  return writer->n_pending;
}

void writer_stop(struct writer *writer, void (*stopped)(void *arg), void *arg) {
  writer->stopping_loop = true;
  writer->stopped = stopped;
  writer->arg = arg;
  pthread_mutex_lock(&writer->mutex);
  writer->stopping = true;
  pthread_cond_signal(&writer->work);
  pthread_mutex_unlock(&writer->mutex);
}
