// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <uv.h>

#include "console/op.h"
#include "storage/store.h"

/* The one thread that writes. What arrives while a commit runs forms the next batch: one
 * transaction, one fsync, all answers after it. */
struct writer;

/* Starts the thread. |store| must outlive it. 0, -ENOMEM or a negative errno. */
int writer_new(uv_loop_t *loop, struct tlx_store *store, struct writer **ret_writer);
/* Queues |op|; its done runs later on the loop, never inside this call. TLX_E_LIMIT when the queue
 * is full (WRITER_OPS_MAX, WRITER_BYTES_MAX) or the writer stops; the op then stays the caller's.
 * Loop thread. */
int writer_submit(struct writer *writer, struct op *op);
/* Ops that were submitted and are not done. Loop thread. */
size_t writer_pending(const struct writer *writer);
/* Finishes what is queued (every done runs), then calls |stopped| (may be NULL) on the loop when
 * thread, handles and memory are gone. */
void writer_stop(struct writer *writer, void (*stopped)(void *arg), void *arg);
