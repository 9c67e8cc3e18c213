// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"
#include "common/log.h"
#include "telovix/state/v1/state.pb-c.h"

#define FILE_MAX (4u << 20)
#define SCHEMA 1u
#define LOCK_TRIES 50u
#define LOCK_TRY_MS 20u
/* The Console's time alone is worth a write only so often: it serves a host whose clock is dead. */
#define TIME_SAVE_MS (10ull * 60 * 1000)
/* The audit head moves with every order, and a result that was acknowledged does no harm when it is
 * told again: both are written when the disk is not needed for what came with them. */
#define LATER_MS 1000u
/* A result that is acknowledged sooner needs no disk at all, and the Console's commit of it is not
 * held up by ours where both have one. Who dies meanwhile gets the order again, and finds the
 * process gone. */
#define RESULT_MS 5u
/* A write that failed is tried again: a disk that was full may have room. */
#define RETRY_MS 5000u

struct kept {
  struct kept *next;
  char order_id[32];
  bool saved; /* the file has it */
  size_t len;
  uint8_t result[];
};

/* One of the files: what memory says, and whether disk says the same. */
struct saved_file {
  const char *name;
  bool dirty;
  bool has_failed;        /* the last write */
  bool waits;             /* dirty, and not to be tried before the timer */
  struct tlx_buf content; /* being written */
  char *path;
  int err;
};

/* In the order of writing: rules wait to be applied until they are saved. */
enum { FILE_DESIRED, FILE_RELEASED, FILE_RESULTS, FILE_UPLINK, FILE_COUNT };

struct state {
  uv_loop_t *loop;
  const struct tlx_clock *clock;
  char *folder;
  int lock_fd;
  struct kept *results;
  size_t n_results;
  char *addresses[STATE_ADDRESSES_MAX];
  size_t n_addresses;
  char *resolved[STATE_RESOLVED_MAX];
  size_t n_resolved;
  struct state_released released;
  bool has_released, is_refused, is_desired_broken;
  uint64_t audit_seq;
  uint8_t audit_hash[32];
  uint64_t console_wall_ms, time_saved_wall_ms;
  struct desired *desired;
  struct saved_file files[FILE_COUNT];
  void (*desired_saved)(void *arg, int err);
  void *desired_arg;
  uv_work_t work;
  unsigned working;       /* index of the file in the worker */
  uv_timer_t timer;       /* until what is dirty must be written */
  bool has_stale_results; /* the file has results that were removed */
  bool is_working, closing, timer_closed;
  void (*closed)(void *arg);
  void *arg;
};

/* ---- writing ---- */

static void pack_results(const struct state *state, struct tlx_buf *buf) {
  Telovix__State__V1__Results results = TELOVIX__STATE__V1__RESULTS__INIT;
  Telovix__State__V1__Result *storage = calloc(state->n_results + 1, sizeof *storage);
  Telovix__State__V1__Result **list = calloc(state->n_results + 1, sizeof *list);
  if (!storage || !list) {
    buf->err = -ENOMEM;
  } else {
    for (const struct kept *kept = state->results; kept; kept = kept->next) {
      Telovix__State__V1__Result *result = &storage[results.n_results];
      *result = (Telovix__State__V1__Result)TELOVIX__STATE__V1__RESULT__INIT;
      result->order_id = (char *)kept->order_id;
      result->kill_result = (ProtobufCBinaryData){kept->len, (uint8_t *)kept->result};
      list[results.n_results++] = result;
    }
    results.schema = SCHEMA;
    results.results = list;
    uint8_t *out = tlx_buf_reserve(buf, telovix__state__v1__results__get_packed_size(&results) + 1);
    if (out) buf->len += telovix__state__v1__results__pack(&results, out);
  }
  free(storage);
  free(list);
}

/* Packs them to be written: the file will have these and no others. */
static void take_results(struct state *state, struct tlx_buf *buf) {
  pack_results(state, buf);
  for (struct kept *kept = state->results; kept; kept = kept->next)
    kept->saved = true;
  state->has_stale_results = false;
}

static void pack_uplink(struct state *state, struct tlx_buf *buf) {
  Telovix__State__V1__Uplink uplink = TELOVIX__STATE__V1__UPLINK__INIT;
  uplink.schema = SCHEMA;
  uplink.console_addresses = state->addresses;
  uplink.n_console_addresses = state->n_addresses;
  uplink.resolved_addresses = state->resolved;
  uplink.n_resolved_addresses = state->n_resolved;
  uplink.audit_seq = state->audit_seq;
  uplink.audit_hash = (ProtobufCBinaryData){sizeof state->audit_hash, state->audit_hash};
  uplink.console_wall_ms = state->console_wall_ms;
  uplink.refused = state->is_refused;
  state->time_saved_wall_ms = state->console_wall_ms;
  uint8_t *out = tlx_buf_reserve(buf, telovix__state__v1__uplink__get_packed_size(&uplink) + 1);
  if (out) buf->len += telovix__state__v1__uplink__pack(&uplink, out);
}

static void pack_desired(struct state *state, struct tlx_buf *buf) {
  Telovix__State__V1__Desired message = TELOVIX__STATE__V1__DESIRED__INIT;
  struct desired *desired = state->desired;
  ProtobufCBinaryData *list = calloc(desired->n + 1, sizeof *list);
  if (!list) {
    buf->err = -ENOMEM;
    return;
  }
  for (size_t i = 0; i < desired->n; i++)
    list[i] = (ProtobufCBinaryData){desired->policies[i].len, (uint8_t *)desired->policies[i].data};
  message.schema = SCHEMA;
  message.epoch = (ProtobufCBinaryData){sizeof desired->name.epoch, desired->name.epoch};
  message.generation = desired->name.generation;
  message.digest = (ProtobufCBinaryData){sizeof desired->name.digest, desired->name.digest};
  message.enforcement_policies = list;
  message.n_enforcement_policies = desired->n;
  uint8_t *out = tlx_buf_reserve(buf, telovix__state__v1__desired__get_packed_size(&message) + 1);
  if (out) buf->len += telovix__state__v1__desired__pack(&message, out);
  free(list);
}

static void pack_released(const struct state *state, struct tlx_buf *buf) {
  Telovix__State__V1__Released message = TELOVIX__STATE__V1__RELEASED__INIT;
  struct state_released released = state->released;
  message.schema = SCHEMA;
  message.active = state->has_released;
  message.epoch = (ProtobufCBinaryData){sizeof released.name.epoch, released.name.epoch};
  message.generation = released.name.generation;
  message.digest = (ProtobufCBinaryData){sizeof released.name.digest, released.name.digest};
  message.lifted = released.is_lifted;
  message.uid = released.uid;
  message.tty = released.tty;
  message.wall_ms = released.wall_ms;
  message.told = released.was_told;
  message.hazard = released.is_hazard;
  uint8_t *out = tlx_buf_reserve(buf, telovix__state__v1__released__get_packed_size(&message) + 1);
  if (out) buf->len += telovix__state__v1__released__pack(&message, out);
}

static void do_write(uv_work_t *work) {
  struct state *state = work->data;
  struct saved_file *file = &state->files[state->working];
  file->err = tlx_file_write_atomic(file->path, file->content.data, file->content.len, 0600);
}

static void save_next(struct state *state);

static void finish_close(struct state *state) {
  void (*closed)(void *arg) = state->closed;
  void *arg = state->arg;
  while (state->results) {
    struct kept *kept = state->results;
    state->results = kept->next;
    free(kept);
  }
  for (size_t i = 0; i < state->n_addresses; i++)
    free(state->addresses[i]);
  for (size_t i = 0; i < state->n_resolved; i++)
    free(state->resolved[i]);
  for (unsigned i = 0; i < FILE_COUNT; i++) {
    tlx_buf_done(&state->files[i].content);
    free(state->files[i].path);
  }
  if (state->lock_fd >= 0) close(state->lock_fd);
  desired_free(state->desired);
  free(state->folder);
  free(state);
  if (closed) closed(arg);
}

static void save_within(struct state *state, unsigned file, uint64_t ms);

/* Said once, however often it is tried again; at the end there is one try. One that is dirty again
 * is written at once anyway. */
static void note_written(struct state *state, unsigned which, int err) {
  struct saved_file *file = &state->files[which];
  bool had_failed = file->has_failed;
  file->has_failed = err != 0;
  if (err && (!had_failed || state->closing))
    tlx_error(CORE, "%s was not written: %s; after a restart it says what it said before",
              file->path, tlx_err_text(err));
  if (!err && had_failed) tlx_notice(CORE, "%s is written now", file->path);
  if (!err || state->closing || file->dirty) return;
  file->waits = true;
  save_within(state, which, RETRY_MS);
}

static void on_written(uv_work_t *work, int status) {
  struct state *state = work->data;
  struct saved_file *file = &state->files[state->working];
  state->is_working = false;
  tlx_buf_done(&file->content);
  bool is_newer = file->dirty;
  note_written(state, state->working, file->err);
  /* A newer set that came meanwhile is told of when it is written. */
  if (state->working == FILE_DESIRED && !is_newer && !state->closing && state->desired_saved)
    state->desired_saved(state->desired_arg, file->err);
  save_next(state);
}

static void save_next(struct state *state) {
  if (state->is_working) return;
  for (unsigned i = 0; i < FILE_COUNT; i++) {
    struct saved_file *file = &state->files[i];
    if (!file->dirty || (file->waits && !state->closing)) continue;
    file->dirty = file->waits = false;
    tlx_buf_init(&file->content, FILE_MAX);
    if (i == FILE_RESULTS)
      take_results(state, &file->content);
    else if (i == FILE_UPLINK)
      pack_uplink(state, &file->content);
    else if (i == FILE_RELEASED)
      pack_released(state, &file->content);
    else
      pack_desired(state, &file->content);
    if (file->content.err) {
      note_written(state, i, file->content.err);
      tlx_buf_done(&file->content);
      continue;
    }
    state->working = i;
    state->work.data = state;
    state->is_working = true;
    if (uv_queue_work(state->loop, &state->work, do_write, on_written) == 0) return;
    state->is_working = false;
    tlx_buf_done(&file->content);
    note_written(state, i, -ENOMEM);
  }
  if (state->closing && state->timer_closed) finish_close(state);
}

static void mark_dirty(struct state *state, unsigned file) {
  state->files[file].dirty = true;
  state->files[file].waits = false;
  if (!state->closing) save_next(state);
}

static void on_timer(uv_timer_t *timer) {
  struct state *state = timer->data;
  for (unsigned i = 0; i < FILE_COUNT; i++)
    state->files[i].waits = false;
  save_next(state);
}

/* Nothing but time is against writing it: with the next write, or after |ms|. */
static void save_within(struct state *state, unsigned file, uint64_t ms) {
  state->files[file].dirty = true;
  if (state->closing ||
      (uv_is_active((uv_handle_t *)&state->timer) && uv_timer_get_due_in(&state->timer) <= ms))
    return;
  uv_timer_start(&state->timer, on_timer, ms, 0);
}

static void on_timer_closed(uv_handle_t *handle) {
  struct state *state = handle->data;
  state->timer_closed = true;
  save_next(state);
}

/* ---- reading ---- */

/* A child of a sensor that was just killed may hold its lock for a moment longer. */
static int take_lock(const char *path, int *ret_fd) {
  int err = tlx_file_lock(path, ret_fd);
  for (unsigned tries = 0; err == TLX_E_LOCKED && tries < LOCK_TRIES; tries++) {
    usleep(LOCK_TRY_MS * 1000);
    err = tlx_file_lock(path, ret_fd);
  }
  return err;
}

/* What a newer version wrote is not for us to put aside: it may say more than we know. */
static int check_schema(uint32_t schema) {
  return schema == SCHEMA ? 0 : schema > SCHEMA ? TLX_E_SCHEMA_NEWER : TLX_E_MALFORMED;
}

static int read_results(struct state *state, const struct tlx_buf *content) {
  Telovix__State__V1__Results *results =
      telovix__state__v1__results__unpack(NULL, content->len, content->data);
  int err = results ? check_schema(results->schema) : TLX_E_MALFORMED;
  for (size_t i = 0; !err && i < results->n_results; i++)
    err = state_result_put(state, results->results[i]->order_id,
                           results->results[i]->kill_result.data,
                           results->results[i]->kill_result.len);
  if (results) telovix__state__v1__results__free_unpacked(results, NULL);
  for (struct kept *kept = state->results; kept; kept = kept->next)
    kept->saved = true;
  return err;
}

static int read_uplink(struct state *state, const struct tlx_buf *content) {
  Telovix__State__V1__Uplink *uplink =
      telovix__state__v1__uplink__unpack(NULL, content->len, content->data);
  int err = uplink ? check_schema(uplink->schema) : TLX_E_MALFORMED;
  if (!err) {
    state_set_addresses(state, uplink->console_addresses, uplink->n_console_addresses);
    /* Each goes first: the newest last. */
    for (size_t i = uplink->n_resolved_addresses; i-- > 0;)
      (void)state_note_resolved(state, uplink->resolved_addresses[i]);
    if (uplink->audit_hash.len == sizeof state->audit_hash)
      state_set_audit_head(state, uplink->audit_seq, uplink->audit_hash.data);
    state->console_wall_ms = state->time_saved_wall_ms = uplink->console_wall_ms;
    state->is_refused = uplink->refused;
  }
  if (uplink) telovix__state__v1__uplink__free_unpacked(uplink, NULL);
  return err;
}

static int read_desired(struct state *state, const struct tlx_buf *content) {
  Telovix__State__V1__Desired *message =
      telovix__state__v1__desired__unpack(NULL, content->len, content->data);
  struct tlx_bytes *policies =
      message ? calloc(message->n_enforcement_policies + 1, sizeof *policies) : NULL;
  struct desired_name name = {0};
  int err = message ? check_schema(message->schema) : TLX_E_MALFORMED;
  if (!err && !policies) err = -ENOMEM;
  if (!err &&
      (message->epoch.len != sizeof name.epoch || message->digest.len != sizeof name.digest))
    err = TLX_E_MALFORMED;
  if (!err) {
    memcpy(name.epoch, message->epoch.data, sizeof name.epoch);
    memcpy(name.digest, message->digest.data, sizeof name.digest);
    name.generation = message->generation;
    for (size_t i = 0; i < message->n_enforcement_policies; i++)
      policies[i] = (struct tlx_bytes){message->enforcement_policies[i].data,
                                       message->enforcement_policies[i].len};
    err = desired_new(&name, policies, message->n_enforcement_policies, &state->desired);
    if (err == TLX_E_LIMIT) err = TLX_E_MALFORMED;
  }
  free(policies);
  if (message) telovix__state__v1__desired__free_unpacked(message, NULL);
  return err;
}

static int read_released(struct state *state, const struct tlx_buf *content) {
  Telovix__State__V1__Released *message =
      telovix__state__v1__released__unpack(NULL, content->len, content->data);
  struct state_released *released = &state->released;
  int err = message ? check_schema(message->schema) : TLX_E_MALFORMED;
  if (!err && (message->epoch.len != sizeof released->name.epoch ||
               message->digest.len != sizeof released->name.digest))
    err = TLX_E_MALFORMED;
  if (!err) {
    memcpy(released->name.epoch, message->epoch.data, sizeof released->name.epoch);
    memcpy(released->name.digest, message->digest.data, sizeof released->name.digest);
    released->name.generation = message->generation;
    released->is_lifted = message->lifted;
    released->was_told = message->told;
    released->is_hazard = message->hazard;
    released->uid = message->uid;
    released->wall_ms = message->wall_ms;
    snprintf(released->tty, sizeof released->tty, "%s", message->tty);
    state->has_released = message->active;
  }
  if (message) telovix__state__v1__released__free_unpacked(message, NULL);
  return err;
}

/* |ret_is_broken|: there is none that can be read, and there was one. */
static int read_file(struct state *state, struct saved_file *file,
                     int (*read)(struct state *state, const struct tlx_buf *content),
                     bool *ret_is_broken) {
  struct tlx_buf content TLX_CLEANUP(tlx_buf_done) = {0};
  char *aside TLX_AUTOFREE = NULL;
  if (asprintf(&aside, "%s.broken", file->path) < 0) return -ENOMEM;
  int err = tlx_file_read_private(file->path, FILE_MAX, &content);
  if (err == -ENOENT) {
    *ret_is_broken = access(aside, F_OK) == 0;
    return 0;
  }
  if (!err) {
    /* An empty message has no bytes, and the library wants a pointer. */
    tlx_buf_add_u8(&content, 0);
    if (content.err) return content.err;
    content.len--;
    err = read(state, &content);
  }
  if (err != TLX_E_MALFORMED && err != TLX_E_TOO_LARGE) return err;
  *ret_is_broken = true;
  tlx_error(CORE, "%s cannot be read and is kept as %s", file->path, aside);
  return rename(file->path, aside) == 0 ? 0 : -errno;
}

int state_open(const char *folder, uv_loop_t *loop, const struct tlx_clock *clock,
               struct state **ret_state) {
  struct state *state = calloc(1, sizeof *state);
  if (!state) return -ENOMEM;
  char *lock TLX_AUTOFREE = tlx_path_join(folder, "lock");
  state->loop = loop;
  state->clock = clock;
  state->lock_fd = -1;
  state->closing = true; /* nothing is written while we read */
  state->folder = strdup(folder);
  state->files[FILE_RESULTS].path = tlx_path_join(folder, "results");
  state->files[FILE_UPLINK].path = tlx_path_join(folder, "uplink");
  state->files[FILE_DESIRED].path = tlx_path_join(folder, "desired");
  state->files[FILE_RELEASED].path = tlx_path_join(folder, "released");
  int err = lock && state->folder && state->files[FILE_RESULTS].path &&
                    state->files[FILE_UPLINK].path && state->files[FILE_DESIRED].path &&
                    state->files[FILE_RELEASED].path
                ? take_lock(lock, &state->lock_fd)
                : -ENOMEM;
  bool is_broken = false;
  if (!err) err = read_file(state, &state->files[FILE_RESULTS], read_results, &is_broken);
  if (!err) err = read_file(state, &state->files[FILE_UPLINK], read_uplink, &is_broken);
  if (!err) err = read_file(state, &state->files[FILE_RELEASED], read_released, &is_broken);
  is_broken = false;
  if (!err) err = read_file(state, &state->files[FILE_DESIRED], read_desired, &is_broken);
  state->is_desired_broken = is_broken;
  state->files[FILE_RESULTS].dirty = state->files[FILE_UPLINK].dirty = false;
  if (err) {
    finish_close(state);
    return err;
  }
  state->closing = false;
  uv_timer_init(loop, &state->timer);
  state->timer.data = state;
  *ret_state = state;
  return 0;
}

void state_close(struct state *state, void (*closed)(void *arg), void *arg) {
  state->closing = true;
  state->closed = closed;
  state->arg = arg;
  uv_close((uv_handle_t *)&state->timer, on_timer_closed);
  save_next(state);
}

bool state_is_saved(const struct state *state) {
  for (unsigned i = 0; i < FILE_COUNT; i++)
    if (state->files[i].dirty) return false;
  return !state->is_working;
}

bool state_outlives_restart(const struct state *state) {
  return !state->files[FILE_DESIRED].has_failed && !state->files[FILE_RELEASED].has_failed;
}

/* ---- results ---- */

int state_result_put(struct state *state, const char *order_id, const void *result, size_t len) {
  struct kept *kept = calloc(1, sizeof *kept + len), **last = &state->results;
  if (!kept) return -ENOMEM;
  snprintf(kept->order_id, sizeof kept->order_id, "%s", order_id);
  kept->len = len;
  if (len) memcpy(kept->result, result, len);
  state_result_remove(state, order_id);
  while (*last)
    last = &(*last)->next;
  *last = kept;
  state->n_results++;
  save_within(state, FILE_RESULTS, RESULT_MS);
  return 0;
}

static bool is_results_file_stale(const struct state *state) {
  bool is_stale = state->has_stale_results;
  for (const struct kept *kept = state->results; kept; kept = kept->next)
    is_stale |= !kept->saved;
  return is_stale;
}

void state_result_remove(struct state *state, const char *order_id) {
  for (struct kept **at = &state->results; *at; at = &(*at)->next) {
    struct kept *kept = *at;
    if (strcmp(kept->order_id, order_id) != 0) continue;
    *at = kept->next;
    state->has_stale_results |= kept->saved;
    free(kept);
    state->n_results--;
    if (is_results_file_stale(state))
      save_within(state, FILE_RESULTS, LATER_MS);
    else
      state->files[FILE_RESULTS].dirty = false;
    return;
  }
}

bool state_result_has(const struct state *state, const char *order_id) {
  for (const struct kept *kept = state->results; kept; kept = kept->next)
    if (strcmp(kept->order_id, order_id) == 0) return true;
  return false;
}

void state_result_each(const struct state *state,
                       bool (*cb)(void *arg, const char *order_id, struct tlx_bytes result),
                       void *arg) {
  for (const struct kept *kept = state->results; kept; kept = kept->next)
    if (!cb(arg, kept->order_id, (struct tlx_bytes){kept->result, kept->len})) return;
}

size_t state_result_count(const struct state *state) {
  return state->n_results;
}

/* ---- uplink ---- */

size_t state_addresses(const struct state *state, const char *const **ret_list) {
  *ret_list = (const char *const *)state->addresses;
  return state->n_addresses;
}

bool state_set_addresses(struct state *state, char *const *list, size_t n) {
  char *copies[STATE_ADDRESSES_MAX];
  if (n > STATE_ADDRESSES_MAX) n = STATE_ADDRESSES_MAX;
  bool same = n == state->n_addresses;
  for (size_t i = 0; same && i < n; i++)
    same = strcmp(list[i], state->addresses[i]) == 0;
  if (same) return false;
  for (size_t i = 0; i < n; i++) {
    copies[i] = strdup(list[i]);
    if (copies[i]) continue;
    while (i--)
      free(copies[i]);
    return false;
  }
  for (size_t i = 0; i < state->n_addresses; i++)
    free(state->addresses[i]);
  memcpy(state->addresses, copies, n * sizeof *copies);
  state->n_addresses = n;
  mark_dirty(state, FILE_UPLINK);
  return true;
}

size_t state_resolved(const struct state *state, const char *const **ret_list) {
  *ret_list = (const char *const *)state->resolved;
  return state->n_resolved;
}

bool state_note_resolved(struct state *state, const char *address) {
  size_t at = 0;
  while (at < state->n_resolved && strcmp(state->resolved[at], address) != 0)
    at++;
  if (at == 0 && state->n_resolved) return false;
  char *first = at < state->n_resolved ? state->resolved[at] : strdup(address);
  if (!first) return false;
  if (at == STATE_RESOLVED_MAX) free(state->resolved[--at]);
  if (at == state->n_resolved) state->n_resolved++;
  memmove(state->resolved + 1, state->resolved, at * sizeof *state->resolved);
  state->resolved[0] = first;
  mark_dirty(state, FILE_UPLINK);
  return true;
}

bool state_is_refused(const struct state *state) {
  return state->is_refused;
}

void state_set_refused(struct state *state, bool is_refused) {
  if (state->is_refused == is_refused) return;
  state->is_refused = is_refused;
  mark_dirty(state, FILE_UPLINK);
}

uint64_t state_audit_head(const struct state *state, uint8_t ret_hash[32]) {
  memcpy(ret_hash, state->audit_hash, sizeof state->audit_hash);
  return state->audit_seq;
}

void state_set_audit_head(struct state *state, uint64_t seq, const uint8_t hash[32]) {
  if (state->audit_seq == seq && memcmp(state->audit_hash, hash, sizeof state->audit_hash) == 0)
    return;
  state->audit_seq = seq;
  memcpy(state->audit_hash, hash, sizeof state->audit_hash);
  save_within(state, FILE_UPLINK, LATER_MS);
}

uint64_t state_certificate_wall_ms(const struct state *state) {
  uint64_t now_wall_ms = tlx_wall_ms(state->clock);
  return state->console_wall_ms > now_wall_ms ? state->console_wall_ms : now_wall_ms;
}

void state_set_console_time(struct state *state, uint64_t wall_ms) {
  if (wall_ms <= state->console_wall_ms) return;
  state->console_wall_ms = wall_ms;
  if (wall_ms - state->time_saved_wall_ms >= TIME_SAVE_MS) mark_dirty(state, FILE_UPLINK);
}

/* ---- desired state ---- */

const struct desired *state_desired(const struct state *state) {
  return state->desired;
}

void state_desired_put(struct state *state, struct desired *desired,
                       void (*saved)(void *arg, int err), void *arg) {
  desired_free(state->desired);
  state->desired = desired;
  state->is_desired_broken = false;
  state->desired_saved = saved;
  state->desired_arg = arg;
  mark_dirty(state, FILE_DESIRED);
}

bool state_desired_is_broken(const struct state *state) {
  return state->is_desired_broken;
}

/* ---- what was taken down ---- */

bool state_released_is_lost(const struct state_released *released) {
  return released && !released->is_lifted && !released->is_hazard;
}

const struct state_released *state_released(const struct state *state) {
  static const struct desired_name none;
  const struct desired_name *name = state->desired ? &state->desired->name : &none;
  bool holds = state->has_released && memcmp(name, &state->released.name, sizeof *name) == 0;
  return holds ? &state->released : NULL;
}

void state_released_put(struct state *state, const struct state_released *released) {
  state->released = *released;
  state->released.name = state->desired ? state->desired->name : (struct desired_name){0};
  state->has_released = true;
  mark_dirty(state, FILE_RELEASED);
}

void state_released_told(struct state *state) {
  if (!state->has_released || state->released.was_told) return;
  state->released.was_told = true;
  mark_dirty(state, FILE_RELEASED);
}

void state_released_clear(struct state *state) {
  if (!state->has_released) return;
  state->has_released = false;
  mark_dirty(state, FILE_RELEASED);
}
