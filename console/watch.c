// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "common/err.h"
#include "console/convert.h"
#include "console/limits.h"
#include "console/svc.h"
#include "console/watch_int.h"
#include "rpc/limits.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"

/* Sensors sent in one go, so that a large fleet does not hold the loop. */
#define FLEET_BATCH 64u

/* ---- what is watched ---- */

struct order_watcher {
  struct watch *watch;
  struct order_watcher *next, **prev;
  struct tlx_call *call; /* referenced */
  char order_id[32];
  uint32_t told_state; /* of the last message; 0 = none yet */
};

/* A sensor that a fleet watcher has yet to be told of. */
struct pending {
  char sensor_id[32];
  char *node_name; /* set when it left the fleet; heap */
  UT_hash_handle hh;
};

struct fleet_watcher {
  struct watch *watch;
  struct fleet_watcher *next, **prev;
  struct tlx_call *call; /* referenced */
  char operator_name[64];
  bool include_revoked, is_initial;
  char after_node[256], after_id[32]; /* how far the first picture has come */
  struct pending *pending;
};

/* What watchers know of a sensor: news only when this differs. */
struct seen {
  char sensor_id[32];
  uint64_t digest, next_change_mono_ms; /* digest 0 = nobody was told yet */
  UT_hash_handle hh;
};

static void pump(struct fleet_watcher *watcher);

/* ---- orders ---- */

static void drop_order_watcher(struct order_watcher *watcher) {
  *watcher->prev = watcher->next;
  if (watcher->next) watcher->next->prev = watcher->prev;
  tlx_call_on_cancel(watcher->call, NULL, NULL);
  tlx_call_unref(watcher->call);
  free(watcher);
}

static void on_order_cancelled(struct tlx_call *call, void *arg) {
  struct order_watcher *watcher = arg;
  tlx_call_ref(call);
  drop_order_watcher(watcher);
  tlx_call_end(call);
  tlx_call_unref(call);
}

/* What was told last does not say whether it was handed out since: who deleted it knows. */
static void end_order(struct order_watcher *watcher, bool is_cancelled) {
  struct tlx_status status;
  tlx_status_set(&status, TLX_GRPC_NOT_FOUND, reason_word(REASON_UNKNOWN_ORDER),
                 is_cancelled
                     ? "the sensor of order %s was deleted before the order was handed out: the "
                       "order is cancelled"
                     : "the sensor of order %s was deleted: what became of the order nobody will "
                       "know",
                 watcher->order_id);
  svc_fail_status(watcher->call, &status);
}

/* Sends the order as it is now. False when the stream is over. */
static bool send_order(struct order_watcher *watcher) {
  struct tlx_call *call = watcher->call;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_arena arena;
  if (!svc_begin(call, &txn)) return false;
  const Telovix__Store__V1__OrderRecord *record = tlx_order_get(txn, watcher->order_id);
  if (!svc_read_ok(call, txn)) return false;
  if (!record && watcher->told_state) {
    end_order(watcher, false);
    return false;
  }
  if (!record) {
    svc_fail(call, REASON_UNKNOWN_ORDER);
    return false;
  }
  /* A watch that began between the commit and its notice has told this change already. */
  if (record->state == watcher->told_state && record->state != TLX_ORDER_STILL_ALIVE) return true;
  watcher->told_state = record->state;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  const Telovix__V1__KillOrder *order = convert_order(record, &arena);
  int err = order ? tlx_call_send(call, &order->base) : -ENOMEM;
  bool over = err || tlx_order_state_ended(record->state);
  tlx_arena_done(&arena);
  if (err == TLX_E_LIMIT)
    svc_fail(call, REASON_WATCH_TOO_SLOW);
  else if (err) /* whatever it is: an orderly end would say that the order has ended */
    svc_fail(call, REASON_NO_MEMORY);
  else if (over)
    tlx_call_end(call);
  return !over;
}

void watch_order(struct watch *watch, struct tlx_call *call, const char *order_id) {
  struct order_watcher *watcher = calloc(1, sizeof *watcher);
  if (!watcher) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  watcher->watch = watch;
  watcher->call = tlx_call_ref(call);
  snprintf(watcher->order_id, sizeof watcher->order_id, "%s", order_id);
  watcher->next = watch->orders;
  watcher->prev = &watch->orders;
  if (watch->orders) watch->orders->prev = &watcher->next;
  watch->orders = watcher;
  svc_add_head(call);
  tlx_call_on_cancel(call, on_order_cancelled, watcher);
  if (!send_order(watcher)) drop_order_watcher(watcher);
}

void watch_order_changed(struct watch *watch, const char *order_id) {
  for (struct order_watcher *watcher = watch->orders, *next; watcher; watcher = next) {
    next = watcher->next;
    if (strcmp(watcher->order_id, order_id) == 0 && !send_order(watcher))
      drop_order_watcher(watcher);
  }
}

void watch_order_gone(struct watch *watch, const char *order_id, bool is_cancelled) {
  for (struct order_watcher *watcher = watch->orders, *next; watcher; watcher = next) {
    next = watcher->next;
    if (strcmp(watcher->order_id, order_id) != 0) continue;
    end_order(watcher, is_cancelled);
    drop_order_watcher(watcher);
  }
}

/* ---- fleet ---- */

static void drop_one_pending(struct fleet_watcher *watcher, struct pending *pending) {
  HASH_DEL(watcher->pending, pending);
  free(pending->node_name);
  free(pending);
}

static void drop_pending(struct fleet_watcher *watcher) {
  struct pending *pending, *next;
  HASH_ITER(hh, watcher->pending, pending, next) {
    drop_one_pending(watcher, pending);
  }
}

static void drop_seen(struct watch *watch) {
  struct seen *seen, *next;
  HASH_ITER(hh, watch->seen, seen, next) {
    HASH_DEL(watch->seen, seen);
    free(seen);
  }
}

static void drop_fleet_watcher(struct fleet_watcher *watcher) {
  struct watch *watch = watcher->watch;
  *watcher->prev = watcher->next;
  if (watcher->next) watcher->next->prev = watcher->prev;
  drop_pending(watcher);
  tlx_call_on_cancel(watcher->call, NULL, NULL);
  tlx_call_on_writable(watcher->call, NULL, NULL);
  tlx_call_unref(watcher->call);
  free(watcher);
  if (!watch->fleets) drop_seen(watch);
}

static void on_fleet_cancelled(struct tlx_call *call, void *arg) {
  tlx_call_ref(call);
  drop_fleet_watcher(arg);
  tlx_call_end(call);
  tlx_call_unref(call);
}

static uint64_t add_to_hash(uint64_t hash, const void *data, size_t len) {
  for (size_t i = 0; i < len; i++)
    hash = (hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
  return hash;
}

static uint64_t add_name(uint64_t hash, const Telovix__V1__DesiredName *name) {
  if (!name) return add_to_hash(hash, "-", 1);
  hash = add_to_hash(hash, name->epoch.data, name->epoch.len);
  hash = add_to_hash(hash, &name->generation, sizeof name->generation);
  return add_to_hash(hash, name->digest.data, name->digest.len);
}

/* FNV-1a over what a watcher is told of: status, health with its reasons, trust, connection,
 * containment, what is wanted, what is in force, and where the engine stands. */
static uint64_t digest_of(const Telovix__V1__Sensor *sensor) {
  uint64_t hash = 0xcbf29ce484222325u;
  char text[128];
  snprintf(text, sizeof text, "%d %d %d %d %d %d %u %d", sensor->status, sensor->health_state,
           sensor->trust_state, sensor->trust_health, sensor->unconfirmed_since_restart,
           sensor->connected, sensor->rules, sensor->engine ? (int)sensor->engine->state : -1);
  hash = add_to_hash(hash, text, strlen(text));
  for (size_t i = 0; i < sensor->n_health_reasons; i++)
    hash = add_to_hash(hash, sensor->health_reasons[i]->reason,
                       strlen(sensor->health_reasons[i]->reason));
  if (sensor->engine)
    hash = add_to_hash(hash, sensor->engine->backend, strlen(sensor->engine->backend));
  snprintf(text, sizeof text, "%d %d", sensor->is_contained, sensor->containment_state);
  hash = add_to_hash(hash, text, strlen(text));
  hash = add_to_hash(hash, sensor->containment_reason, strlen(sensor->containment_reason));
  return add_name(add_name(hash, sensor->desired), sensor->in_force);
}

static struct seen *seen_of(struct watch *watch, const char *sensor_id) {
  struct seen *seen;
  HASH_FIND_STR(watch->seen, sensor_id, seen);
  if (seen) return seen;
  seen = calloc(1, sizeof *seen);
  if (!seen) return NULL;
  snprintf(seen->sensor_id, sizeof seen->sensor_id, "%s", sensor_id);
  HASH_ADD_STR(watch->seen, sensor_id, seen);
  return seen;
}

static bool send_sensor(struct fleet_watcher *watcher, struct tlx_txn *txn,
                        const Telovix__Store__V1__SensorRecord *record, bool initial) {
  struct tlx_arena arena;
  Telovix__V1__FleetEvent event = TELOVIX__V1__FLEET_EVENT__INIT;
  if (record->trust_state == OP_TRUST_REVOKED && !watcher->include_revoked) return true;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  event.sensor = convert_sensor(watcher->watch->console, txn, record, &arena);
  event.initial = initial;
  bool ok = event.sensor && tlx_call_send(watcher->call, &event.base) == 0;
  /* The first picture is no news. What was known before stays: others may have an older one. */
  struct seen *seen = ok ? seen_of(watcher->watch, record->sensor_id) : NULL;
  if (seen && !seen->digest) seen->digest = digest_of(event.sensor);
  tlx_arena_done(&arena);
  return ok;
}

/* Tells that the sensor is no longer part of this watch; |record| NULL = it is deleted. */
static bool send_removed(struct fleet_watcher *watcher, struct tlx_txn *txn,
                         const Telovix__Store__V1__SensorRecord *record,
                         const struct pending *pending) {
  struct tlx_arena arena;
  Telovix__V1__FleetEvent event = TELOVIX__V1__FLEET_EVENT__INIT;
  Telovix__V1__Sensor gone = TELOVIX__V1__SENSOR__INIT;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  gone.sensor_id = (char *)pending->sensor_id;
  gone.node_name = pending->node_name;
  event.removed = true;
  event.sensor = record ? convert_sensor(watcher->watch->console, txn, record, &arena) : &gone;
  bool ok = event.sensor && tlx_call_send(watcher->call, &event.base) == 0;
  tlx_arena_done(&arena);
  return ok;
}

static bool send_pending(struct fleet_watcher *watcher, struct tlx_txn *txn,
                         const struct pending *pending) {
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, pending->sensor_id);
  bool is_hidden = record && record->trust_state == OP_TRUST_REVOKED && !watcher->include_revoked;
  if (pending->node_name && (!record || is_hidden))
    return send_removed(watcher, txn, record, pending);
  return !record || send_sensor(watcher, txn, record, false);
}

/* One batch of the first picture. */
struct batch {
  struct fleet_watcher *watcher;
  struct tlx_txn *txn;
  unsigned n;
};

static bool send_initial(void *arg, const Telovix__Store__V1__SensorRecord *record) {
  struct batch *batch = arg;
  struct fleet_watcher *watcher = batch->watcher;
  if (batch->n == FLEET_BATCH || tlx_call_queued(watcher->call) >= TLX_UNSENT_LOW) return false;
  if (!send_sensor(watcher, batch->txn, record, true)) return false;
  snprintf(watcher->after_node, sizeof watcher->after_node, "%s", record->node_name);
  snprintf(watcher->after_id, sizeof watcher->after_id, "%s", record->sensor_id);
  batch->n++;
  return true;
}

static bool pump_initial(struct fleet_watcher *watcher, struct tlx_txn *txn) {
  struct batch batch = {.watcher = watcher, .txn = txn};
  bool begun = *watcher->after_id;
  tlx_sensor_each(txn, begun ? watcher->after_node : NULL, begun ? watcher->after_id : NULL,
                  send_initial, &batch);
  if (batch.n == 0 && tlx_call_queued(watcher->call) < TLX_UNSENT_LOW) watcher->is_initial = false;
  return batch.n > 0;
}

static void pump_pending(struct fleet_watcher *watcher, struct tlx_txn *txn) {
  struct pending *pending, *next;
  HASH_ITER(hh, watcher->pending, pending, next) {
    if (tlx_call_queued(watcher->call) >= TLX_UNSENT_LOW) return;
    if (!send_pending(watcher, txn, pending)) return;
    drop_one_pending(watcher, pending);
  }
}

static void on_fleet_writable(struct tlx_call *call, void *arg) {
  pump(arg);
}

/* Sends as much as the reader takes; the rest follows when it has read. */
static void pump(struct fleet_watcher *watcher) {
  while (tlx_call_alive(watcher->call)) {
    struct tlx_txn *txn TLX_AUTOTXN = NULL;
    if (tlx_txn_begin_read(watcher->watch->console->store, &txn) != 0) return;
    if (!watcher->is_initial) {
      pump_pending(watcher, txn);
      return;
    }
    if (!pump_initial(watcher, txn) && watcher->is_initial) return;
  }
}

unsigned watch_count(const struct watch *watch, const char *operator_name) {
  unsigned n = watch_event_count(watch, operator_name);
  for (const struct fleet_watcher *at = watch->fleets; at; at = at->next)
    n += strcmp(at->operator_name, operator_name) == 0;
  return n;
}

void watch_fleet(struct watch *watch, struct tlx_call *call, bool include_revoked) {
  const char *operator_name = caller_of(call)->name;
  if (watch_count(watch, operator_name) >= WATCHES_PER_OPERATOR_MAX) {
    svc_fail(call, REASON_TOO_MANY_WATCHES);
    return;
  }
  struct fleet_watcher *watcher = calloc(1, sizeof *watcher);
  if (!watcher) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  watcher->watch = watch;
  watcher->call = tlx_call_ref(call);
  watcher->include_revoked = include_revoked;
  watcher->is_initial = true;
  snprintf(watcher->operator_name, sizeof watcher->operator_name, "%s", operator_name);
  watcher->next = watch->fleets;
  watcher->prev = &watch->fleets;
  if (watch->fleets) watch->fleets->prev = &watcher->next;
  watch->fleets = watcher;
  svc_add_head(call);
  tlx_call_start_stream(call);
  tlx_call_on_cancel(call, on_fleet_cancelled, watcher);
  tlx_call_on_writable(call, on_fleet_writable, watcher);
  pump(watcher);
}

/* |node_name| NULL = it is still part of the fleet. */
static void add_pending(struct watch *watch, const char *sensor_id, const char *node_name,
                        bool also_with_revoked) {
  for (struct fleet_watcher *watcher = watch->fleets; watcher; watcher = watcher->next) {
    struct pending *pending;
    if (watcher->include_revoked && !also_with_revoked) continue;
    HASH_FIND_STR(watcher->pending, sensor_id, pending);
    if (!pending && (pending = calloc(1, sizeof *pending))) {
      snprintf(pending->sensor_id, sizeof pending->sensor_id, "%s", sensor_id);
      HASH_ADD_STR(watcher->pending, sensor_id, pending);
    }
    if (pending && node_name && !pending->node_name) pending->node_name = strdup(node_name);
    if (!watcher->is_initial) pump(watcher);
  }
}

void watch_sensor_changed(struct watch *watch, const char *sensor_id) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_arena arena;
  struct health health;
  if (!watch->fleets || tlx_txn_begin_read(watch->console->store, &txn) != 0) return;
  const Telovix__Store__V1__SensorRecord *record = tlx_sensor_get(txn, sensor_id);
  struct seen *seen = record ? seen_of(watch, sensor_id) : NULL;
  if (!seen) return;
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  convert_health(watch->console, record, &health);
  seen->next_change_mono_ms = health.next_change_mono_ms;
  const Telovix__V1__Sensor *sensor = convert_sensor(watch->console, txn, record, &arena);
  uint64_t digest = sensor ? digest_of(sensor) : 0;
  tlx_arena_done(&arena);
  if (digest == seen->digest) return;
  seen->digest = digest;
  add_pending(watch, sensor_id, NULL, true);
}

void watch_sensor_left(struct watch *watch, const char *sensor_id, const char *node_name) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct seen *seen;
  if (tlx_txn_begin_read(watch->console->store, &txn) != 0) return;
  bool is_deleted = !tlx_sensor_get(txn, sensor_id) && !tlx_txn_err(txn);
  tlx_txn_abort(txn);
  txn = NULL;
  if (is_deleted) {
    watch_rule_turn(watch);
    watch_event_sensor_gone(watch, sensor_id);
  }
  HASH_FIND_STR(watch->seen, sensor_id, seen);
  if (seen && is_deleted) {
    HASH_DEL(watch->seen, seen);
    free(seen);
  }
  if (!is_deleted) watch_sensor_changed(watch, sensor_id);
  add_pending(watch, sensor_id, node_name, is_deleted);
}

static bool note_sensor(void *arg, const Telovix__Store__V1__SensorRecord *record) {
  (void)seen_of(arg, record->sensor_id);
  return true;
}

void watch_turn(struct watch *watch) {
  struct seen *seen, *next;
  uint64_t now_mono_ms = tlx_mono_ms(watch->console->clock);
  watch_rule_turn(watch);
  if (!watch->fleets) return;
  if (!watch->seen) {
    struct tlx_txn *txn TLX_AUTOTXN = NULL;
    if (tlx_txn_begin_read(watch->console->store, &txn) == 0)
      tlx_sensor_each(txn, NULL, NULL, note_sensor, watch);
  }
  HASH_ITER(hh, watch->seen, seen, next) {
    if (now_mono_ms >= seen->next_change_mono_ms) watch_sensor_changed(watch, seen->sensor_id);
  }
}

/* ---- life ---- */

void watch_end_all(struct watch *watch, const struct tlx_status *status) {
  while (watch->orders) {
    struct tlx_call *call = tlx_call_ref(watch->orders->call);
    drop_order_watcher(watch->orders);
    tlx_call_fail(call, status);
    tlx_call_unref(call);
  }
  watch_rule_end_all(watch, status);
  watch_event_end_all(watch, status);
  while (watch->fleets) {
    struct tlx_call *call = tlx_call_ref(watch->fleets->call);
    drop_fleet_watcher(watch->fleets);
    tlx_call_fail(call, status);
    tlx_call_unref(call);
  }
}

int watch_new(struct console *console, struct watch **ret_watch) {
  struct watch *watch = calloc(1, sizeof *watch);
  if (!watch) return -ENOMEM;
  watch->console = console;
  *ret_watch = watch;
  return 0;
}

void watch_free(struct watch *watch) {
  if (!watch) return;
  drop_seen(watch);
  free(watch);
}
