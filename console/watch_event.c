// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "console/convert.h"
#include "console/limits.h"
#include "console/svc.h"
#include "console/watch_int.h"
#include "rpc/limits.h"
#include "storage/event_tbl.h"
#include "storage/meta_tbl.h"

/* Streams of events from now on. The store is the queue: each stream only remembers how far it has
 * come, and ends when it is too far behind to be told everything. */

/* Events sent in one go, so that a burst does not hold the loop. */
#define EVENT_BATCH 256u

struct event_watcher {
  struct watch *watch;
  struct event_watcher *next, **prev;
  struct tlx_call *call; /* referenced */
  char operator_name[64];
  char sensor_id[32]; /* empty = of all */
  uint64_t last_no;
  unsigned n_in_batch;
  int err; /* of sending */
};

unsigned watch_event_count(const struct watch *watch, const char *operator_name) {
  unsigned n = 0;
  for (const struct event_watcher *at = watch->events; at; at = at->next)
    n += strcmp(at->operator_name, operator_name) == 0;
  return n;
}

static void drop_event_watcher(struct event_watcher *watcher) {
  *watcher->prev = watcher->next;
  if (watcher->next) watcher->next->prev = watcher->prev;
  tlx_call_on_cancel(watcher->call, NULL, NULL);
  tlx_call_on_writable(watcher->call, NULL, NULL);
  tlx_call_unref(watcher->call);
  free(watcher);
}

static void on_event_cancelled(struct tlx_call *call, void *arg) {
  tlx_call_ref(call);
  drop_event_watcher(arg);
  tlx_call_end(call);
  tlx_call_unref(call);
}

static bool send_event(void *arg, const Telovix__Store__V1__EventRecord *record) {
  struct event_watcher *watcher = arg;
  struct tlx_arena arena;
  if (watcher->n_in_batch == EVENT_BATCH || tlx_call_queued(watcher->call) >= TLX_UNSENT_LOW)
    return false;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  const Telovix__V1__Event *event = convert_event(record, &arena);
  watcher->err = event ? tlx_call_send(watcher->call, &event->base) : -ENOMEM;
  tlx_arena_done(&arena);
  if (watcher->err) return false;
  watcher->last_no = record->event_no;
  watcher->n_in_batch++;
  return true;
}

/* Sends one batch. True when there may be more to send now; false when the reader must read first,
 * or all is sent, or the stream is over and |*over|. */
static bool send_batch(struct event_watcher *watcher, bool *over) {
  struct tlx_call *call = watcher->call;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  *over = true;
  if (!svc_begin(call, &txn)) return false;
  const Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  uint64_t newest_no = meta ? meta->event_no : 0;
  watcher->n_in_batch = 0;
  if (newest_no <= watcher->last_no + WATCH_EVENTS_LAG_MAX)
    tlx_event_each_after(txn, *watcher->sensor_id ? watcher->sensor_id : NULL, watcher->last_no,
                         send_event, watcher);
  if (!svc_read_ok(call, txn)) return false;
  if (newest_no > watcher->last_no + WATCH_EVENTS_LAG_MAX) {
    svc_fail(call, REASON_WATCH_TOO_SLOW);
    return false;
  }
  if (watcher->err) {
    svc_fail(call, watcher->err == -ENOMEM ? REASON_NO_MEMORY : REASON_WATCH_TOO_SLOW);
    return false;
  }
  *over = false;
  if (watcher->n_in_batch == EVENT_BATCH) return tlx_call_queued(call) < TLX_UNSENT_LOW;
  /* What others are told of is no backlog of a stream that wants one sensor. */
  if (tlx_call_queued(call) < TLX_UNSENT_LOW && newest_no > watcher->last_no)
    watcher->last_no = newest_no;
  return false;
}

/* False when the stream is over. */
static bool pump_events(struct event_watcher *watcher) {
  bool over = false;
  while (tlx_call_alive(watcher->call) && send_batch(watcher, &over))
    continue;
  return !over;
}

static void on_event_writable(struct tlx_call *call, void *arg) {
  struct event_watcher *watcher = arg;
  if (!pump_events(watcher)) drop_event_watcher(watcher);
}

void watch_events(struct watch *watch, struct tlx_call *call, const char *sensor_id,
                  uint64_t last_no) {
  const char *operator_name = caller_of(call)->name;
  if (watch_count(watch, operator_name) >= WATCHES_PER_OPERATOR_MAX) {
    svc_fail(call, REASON_TOO_MANY_WATCHES);
    return;
  }
  struct event_watcher *watcher = calloc(1, sizeof *watcher);
  if (!watcher) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  watcher->watch = watch;
  watcher->call = tlx_call_ref(call);
  watcher->last_no = last_no;
  snprintf(watcher->operator_name, sizeof watcher->operator_name, "%s", operator_name);
  snprintf(watcher->sensor_id, sizeof watcher->sensor_id, "%s", sensor_id);
  watcher->next = watch->events;
  watcher->prev = &watch->events;
  if (watch->events) watch->events->prev = &watcher->next;
  watch->events = watcher;
  svc_add_head(call);
  tlx_call_start_stream(call);
  tlx_call_on_cancel(call, on_event_cancelled, watcher);
  tlx_call_on_writable(call, on_event_writable, watcher);
}

void watch_events_added(struct watch *watch) {
  for (struct event_watcher *watcher = watch->events, *next; watcher; watcher = next) {
    next = watcher->next;
    if (!pump_events(watcher)) drop_event_watcher(watcher);
  }
}

void watch_event_end_all(struct watch *watch, const struct tlx_status *status) {
  while (watch->events) {
    struct tlx_call *call = tlx_call_ref(watch->events->call);
    drop_event_watcher(watch->events);
    tlx_call_fail(call, status);
    tlx_call_unref(call);
  }
}

void watch_event_sensor_gone(struct watch *watch, const char *sensor_id) {
  for (struct event_watcher *watcher = watch->events, *next; watcher; watcher = next) {
    next = watcher->next;
    if (strcmp(watcher->sensor_id, sensor_id) != 0) continue;
    struct tlx_call *call = tlx_call_ref(watcher->call);
    drop_event_watcher(watcher);
    svc_fail(call, REASON_UNKNOWN_SENSOR);
    tlx_call_unref(call);
  }
}
