// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/console.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/check.h"
#include "common/err.h"
#include "common/file.h"
#include "common/log.h"
#include "console/authn.h"
#include "console/deny.h"
#include "console/limits.h"
#include "console/op_audit.h"
#include "console/op_event.h"
#include "console/op_fleet.h"
#include "console/op_kill.h"
#include "console/peers.h"
#include "console/reasons.h"
#include "console/sd_notify.h"
#include "console/svc.h"
#include "console/watch.h"
#include "rpc/limits.h"
#include "storage/event_tbl.h"
#include "storage/maintain.h"
#include "storage/meta_tbl.h"
#include "storage/order_tbl.h"
#include "storage/sensor_tbl.h"

extern const unsigned char tlx_wire_descriptor_set[];
extern const size_t tlx_wire_descriptor_set_len;

static const char *const services[] = {
    "telovix.v1.EnrollmentService",  "telovix.v1.SensorService", "telovix.v1.FleetService",
    "telovix.v1.ContainmentService", "telovix.v1.PolicyService", "telovix.v1.EventService",
    "telovix.v1.TokenService",       "telovix.v1.AuditService",  "telovix.v1.OperatorService"};

#define SECOND_MS 1000u
#define CERTIFICATE_RETRY_MS (3600u * 1000)

/* ---- ops ---- */

void console_note_head(struct console *console, const struct tlx_audit_head *head) {
  if (head->seq > console->head.seq) console->head = *head;
}

void console_submit(struct console *console, struct op *op) {
  if (writer_submit(console->writer, op) == 0) return;
  reason_set(&op->status, REASON_BUSY);
  op->done(op);
}

/* Something that the Console itself puts on record. */
static void own_audited(struct op *op) {
  console_note_head(op->arg, &op->head);
  op_done(op);
  free(op);
}

static void audit_own(struct console *console, const char *action_type) {
  struct op_audit_only *op = calloc(1, sizeof *op);
  if (!op) return;
  snprintf(op->action_type, sizeof op->action_type, "%s", action_type);
  snprintf(op->detail, sizeof op->detail, "{\"version\":\"%s\"}", TLX_VERSION);
  op->success = true;
  op->op.actor.wall_ms = tlx_wall_ms(console->clock);
  op->op.run = op_audit_only_run;
  op->op.done = own_audited;
  op->op.arg = console;
  op->op.cost = sizeof *op;
  console_submit(console, &op->op);
}

/* ---- each second ---- */

static void swept(struct op *base) {
  struct op_kill_sweep *op = (void *)base;
  struct console *console = base->arg;
  console->sweeping = false;
  console_note_head(console, &base->head);
  if (base->status.code == TLX_GRPC_OK)
    for (unsigned i = 0; i < op->n_changed; i++)
      watch_order_changed(console->watch, op->changed[i].order_id);
  op_done(base);
  free(op);
}

static bool found_due(void *arg, const Telovix__Store__V1__OrderRecord *record) {
  *(bool *)arg = true;
  return false;
}

static void sweep(struct console *console) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  uint64_t now_wall_ms = tlx_wall_ms(console->clock);
  bool due = false;
  if (console->sweeping || tlx_txn_begin_read(console->store, &txn) != 0) return;
  tlx_order_each_due(txn, now_wall_ms, found_due, &due);
  struct op_kill_sweep *op = due ? calloc(1, sizeof *op) : NULL;
  if (!op) return;
  op->wall_ms = now_wall_ms;
  op->op.actor.wall_ms = now_wall_ms;
  op->op.run = op_kill_sweep_run;
  op->op.done = swept;
  op->op.arg = console;
  op->op.cost = sizeof *op;
  console->sweeping = true;
  console_submit(console, &op->op);
}

static void events_swept(struct op *base) {
  struct op_event_sweep *op = (void *)base;
  struct console *console = base->arg;
  console->expiring = false;
  /* The rest at once: a fleet that was off for a month comes back with a day's worth. */
  if (base->status.code == TLX_GRPC_OK && op->more) console->event_sweep_mono_ms = 0;
  op_done(base);
  free(op);
}

/* Events of a host that sends no more of them grow old too. */
static void expire_events(struct console *console) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  uint64_t now_wall_ms = tlx_wall_ms(console->clock);
  if (console->expiring || now_wall_ms < EVENT_LIFE_MS ||
      tlx_txn_begin_read(console->store, &txn) != 0)
    return;
  struct op_event_sweep *op =
      tlx_event_is_due(txn, now_wall_ms - EVENT_LIFE_MS) ? calloc(1, sizeof *op) : NULL;
  if (!op) return;
  op->before_wall_ms = now_wall_ms - EVENT_LIFE_MS;
  op->op.actor.wall_ms = now_wall_ms;
  op->op.run = op_event_sweep_run;
  op->op.done = events_swept;
  op->op.arg = console;
  op->op.cost = sizeof *op;
  console->expiring = true;
  console_submit(console, &op->op);
}

static void serials_swept(struct op *base) {
  struct console *console = base->arg;
  console->burying = false;
  op_done(base);
  free(base);
}

/* One turn of the walk over all certificates. */
struct serial_turn {
  struct op_serial_sweep *op;
  uint8_t last[16];
  unsigned n_looked;
};

static bool look_at_serial(void *arg, const uint8_t serial[16],
                           const Telovix__Store__V1__SerialRecord *record) {
  struct serial_turn *turn = arg;
  struct op_serial_sweep *op = turn->op;
  memcpy(turn->last, serial, sizeof turn->last);
  if (op_serial_is_due(record, op->before_wall_ms))
    memcpy(op->serials[op->n_serials++], serial, sizeof *op->serials);
  return op->n_serials < SERIAL_SWEEP_MAX && ++turn->n_looked < SERIAL_LOOK_MAX;
}

/* Tombstones of deleted sensors go when nobody can come back with them. A turn looks at a part of
 * all certificates, and the next one goes on from there. */
static void sweep_serials(struct console *console) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  uint64_t now_wall_ms = tlx_wall_ms(console->clock);
  if (console->burying || now_wall_ms < TOMBSTONE_KEEP_MS ||
      tlx_txn_begin_read(console->store, &txn) != 0)
    return;
  struct op_serial_sweep *op = calloc(1, sizeof *op);
  if (!op) return;
  struct serial_turn turn = {.op = op};
  op->before_wall_ms = now_wall_ms - TOMBSTONE_KEEP_MS;
  tlx_serial_each(txn, console->serial_after, look_at_serial, &turn);
  bool is_whole = op->n_serials < SERIAL_SWEEP_MAX && turn.n_looked < SERIAL_LOOK_MAX;
  memset(console->serial_after, 0, sizeof console->serial_after);
  if (!is_whole) memcpy(console->serial_after, turn.last, sizeof console->serial_after);
  if (tlx_txn_err(txn) || op->n_serials == 0) {
    free(op);
    return;
  }
  op->op.actor.wall_ms = now_wall_ms;
  op->op.run = op_serial_sweep_run;
  op->op.done = serials_swept;
  op->op.arg = console;
  op->op.cost = sizeof *op;
  console->burying = true;
  console_submit(console, &op->op);
}

static void checkpointed(struct op *base) {
  struct op_checkpoint *op = (void *)base;
  struct console *console = base->arg;
  console->checkpointing = false;
  if (base->status.code != TLX_GRPC_OK)
    tlx_warn(STORE, "last-seen times were not stored: %s", base->status.message);
  op_done(base);
  free(op->list);
  free(op);
}

/* Last-seen times are written behind: they cost one transaction, not one each heartbeat. */
static void checkpoint(struct console *console) {
  if (console->checkpointing) return;
  struct op_checkpoint *op = calloc(1, sizeof *op);
  if (!op) return;
  op->n = live_take_dirty(console->live, &op->list);
  if (op->n == 0) {
    free(op->list);
    free(op);
    return;
  }
  op->op.actor.wall_ms = tlx_wall_ms(console->clock);
  op->op.run = op_checkpoint_run;
  op->op.done = checkpointed;
  op->op.arg = console;
  op->op.cost = op->n * sizeof *op->list;
  console->checkpointing = true;
  console_submit(console, &op->op);
}

static bool reload_trust(struct console *console) {
  struct trust trust;
  char why[512] = "";
  int err = trust_load(console->data, console->fleet_id, &console->settings,
                       tlx_wall_ms(console->clock), &trust, why);
  if (err) {
    tlx_error(TLS, "certificates were not reloaded, the old ones stay in use: %s", why);
    return false;
  }
  tlx_server_set_tls(console->server, trust.tls_ctx);
  trust_done(&console->trust);
  console->trust = trust;
  return true;
}

static void on_second(uv_timer_t *timer) {
  struct console *console = timer->data;
  uint64_t now_mono_ms = tlx_mono_ms(console->clock);
  sweep(console);
  deny_turn(console->deny, false);
  watch_turn(console->watch);
  if (now_mono_ms >= console->checkpoint_mono_ms) {
    console->checkpoint_mono_ms = now_mono_ms + CHECKPOINT_INTERVAL_MS;
    checkpoint(console);
  }
  if (now_mono_ms >= console->event_sweep_mono_ms) {
    console->event_sweep_mono_ms = now_mono_ms + EVENT_SWEEP_INTERVAL_MS;
    expire_events(console);
  }
  if (now_mono_ms >= console->serial_sweep_mono_ms) {
    console->serial_sweep_mono_ms = now_mono_ms + SERIAL_SWEEP_INTERVAL_MS;
    sweep_serials(console);
  }
  if (now_mono_ms >= console->certificate_mono_ms) {
    /* Looked at each second: a clock that was set right must not shut the fleet out for an hour.
     * One that cannot be issued is tried again in an hour, and not with each second's error line.
     */
    if (trust_is_due(&console->trust, tlx_wall_ms(console->clock)) && !reload_trust(console))
      console->certificate_mono_ms = now_mono_ms + CERTIFICATE_RETRY_MS;
  }
}

/* ---- settings ---- */

static int read_settings(struct console *console, struct settings *ret_settings, char *why) {
  char *own TLX_AUTOFREE = tlx_path_join(console->data, "console.ini");
  const char *path = console->config ? console->config : own;
  struct settings settings;
  if (!path) return -ENOMEM;
  settings_init(&settings);
  int err = settings_read(path, &settings, why);
  /* The file of the data folder may be missing, one that was named may not. */
  if (err == -ENOENT && !console->config) err = 0;
  if (err && !*why) snprintf(why, 512, "%.400s: %s", path, tlx_err_text(err));
  if (err) return err;
  if (console->has_listen_flag)
    snprintf(settings.listen, sizeof settings.listen, "%s", console->flags->listen);
  *ret_settings = settings;
  return 0;
}

static void on_hangup(uv_signal_t *signal, int number) {
  struct console *console = signal->data;
  struct settings settings;
  char why[512] = "";
  (void)sd_notify_reloading();
  bool ok = read_settings(console, &settings, why) == 0;
  if (!ok) {
    tlx_error(CORE, "settings were not reloaded, the old ones stay in force: %s", why);
  } else {
    if (strcmp(settings.listen, console->settings.listen) != 0)
      tlx_warn(CORE, "another listen address takes a restart");
    console->settings = settings;
  }
  ok &= reload_trust(console);
  if (ok) tlx_notice(CORE, "reloaded");
  (void)sd_notify_send("READY=1");
}

/* ---- stop: listener, health, GOAWAY, writer, last-seen, store ---- */

static void on_writer_stopped(void *arg) {
  struct console *console = arg;
  tlx_server_close(console->server, NULL, NULL);
  uv_close((uv_handle_t *)&console->second, NULL);
  uv_close((uv_handle_t *)&console->sigterm, NULL);
  uv_close((uv_handle_t *)&console->sigint, NULL);
  uv_close((uv_handle_t *)&console->sighup, NULL);
  /* That brought back what they do by default. Told once more to stop, the process still ends as
   * one that has stopped, with status 0. */
  signal(SIGTERM, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
}

static void on_drained(void *arg) {
  struct console *console = arg;
  deny_turn(console->deny, true);
  checkpoint(console);
  writer_stop(console->writer, on_writer_stopped, console);
}

static void end_wake(void *arg, struct live_sensor *sensor) {
  struct console *console = arg;
  struct tlx_status status;
  if (!sensor->wake) return;
  struct tlx_call *call = tlx_call_ref(sensor->wake);
  reason_set(&status, REASON_CONSOLE_STOPPING);
  live_drop_wake(console->live, sensor, call);
  tlx_call_fail(call, &status);
  tlx_call_unref(call);
}

static void on_terminate(uv_signal_t *signal, int number) {
  struct console *console = signal->data;
  struct tlx_status status;
  if (console->stopping) return;
  console->stopping = true;
  tlx_notice(CORE, "stopping");
  (void)sd_notify_send("STOPPING=1");
  reason_set(&status, REASON_CONSOLE_STOPPING);
  tlx_builtin_set_serving(console->builtin, false);
  /* Streams that would last forever end now; what is being answered gets its time. */
  watch_end_all(console->watch, &status);
  live_each(console->live, end_wake, console);
  uv_timer_stop(&console->second);
  tlx_server_drain(console->server, TLX_DRAIN_GRACE_MS, &status, on_drained, console);
}

/* ---- start ---- */

static void on_conn_closed(void *ctx, uint64_t conn_id, void *conn_data) {
  struct console *console = ctx;
  const struct caller_conn *conn = conn_data;
  struct live_sensor *live = *conn->sensor_id ? live_find(console->live, conn->sensor_id) : NULL;
  if (!live) return;
  live->n_conns--;
  watch_sensor_changed(console->watch, live->sensor_id);
}

static bool is_peer_known(void *ctx, const char *ip) {
  return peers_has(((struct console *)ctx)->peers, ip);
}

static int start_server(struct console *console, char *why) {
  size_t n_own, n;
  const struct tlx_method *own = svc_methods(&n_own);
  struct tlx_method *methods TLX_AUTOFREE = tlx_builtin_methods(console->builtin, own, n_own, &n);
  if (!methods) return -ENOMEM;
  struct tlx_server_options options = {
      .loop = &console->loop,
      .clock = console->clock,
      .tls_ctx = console->trust.tls_ctx,
      .methods = methods,
      .n_methods = n,
      .ctx = console,
      .call_data_len = sizeof(struct caller),
      .conn_data_len = sizeof(struct caller_conn),
      .authorize = authn_authorize,
      .failed = deny_failed,
      .conn_closed = on_conn_closed,
      .peer_known = is_peer_known,
      .stranger_handshakes_per_s = console->settings.stranger_handshakes,
  };
  int err = tlx_server_new(&options, &console->server);
  if (err) return err;
  err = tlx_server_listen(console->server, console->settings.listen);
  /* A host without IPv6 cannot listen on [::]. */
  if (err == -EAFNOSUPPORT && strncmp(console->settings.listen, "[::]", 4) == 0) {
    char v4[64];
    snprintf(v4, sizeof v4, "0.0.0.0%.40s", console->settings.listen + 4);
    err = tlx_server_listen(console->server, v4);
  }
  if (err)
    snprintf(why, 512, "cannot listen on %s: %s; is another Console running there?",
             console->settings.listen, tlx_err_text(err));
  return err;
}

static void announce(struct console *console) {
  const char *colon = strrchr(console->settings.listen, ':');
  int len = colon ? (int)(colon - console->settings.listen) : 0;
  tlx_notice(CORE, "listening on %.*s:%u", len, console->settings.listen,
             tlx_server_port(console->server));
  tlx_builtin_set_serving(console->builtin, true);
  (void)sd_notify_send("READY=1");
}

static bool remember_peer(void *arg, const Telovix__Store__V1__SensorRecord *record) {
  peers_add(arg, record->peer_address);
  return true;
}

static int read_store(struct console *console) {
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  int err = tlx_txn_begin_read(console->store, &txn);
  if (err) return err;
  const Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  if (!meta) return tlx_txn_err(txn) ? tlx_txn_err(txn) : TLX_E_CORRUPT;
  if (meta->epoch.len != sizeof console->epoch) return TLX_E_CORRUPT;
  snprintf(console->fleet_id, sizeof console->fleet_id, "%s", meta->fleet_id);
  snprintf(console->fleet_name, sizeof console->fleet_name, "%s", meta->fleet_name);
  memcpy(console->epoch, meta->epoch.data, sizeof console->epoch);
  tlx_audit_head(txn, &console->head);
  tlx_sensor_each(txn, NULL, NULL, remember_peer, console->peers);
  return tlx_txn_err(txn);
}

static int open_store(struct console *console, char *why) {
  char *path TLX_AUTOFREE = tlx_path_join(console->data, "store");
  if (!path) return -ENOMEM;
  int err = tlx_store_open(path, console->settings.map_size, &console->store);
  if (!err) err = read_store(console);
  if (err) {
    const char *advice =
        err == -ENOENT ? "make one with: telovix-console init --data DIR" : tlx_store_advice(err);
    snprintf(why, 512, "%.300s: %s%s%s", path, tlx_err_text(err), advice ? "; " : "",
             advice ? advice : "");
  }
  return err;
}

static void raise_file_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    tlx_warn(CORE, "cannot raise the limit of open files: %s", tlx_err_text(-errno));
}

static void start_signal(struct console *console, uv_signal_t *signal, uv_signal_cb cb,
                         int number) {
  uv_signal_init(&console->loop, signal);
  signal->data = console;
  uv_signal_start(signal, cb, number);
}

static int make_parts(struct console *console) {
  int err = peers_new(&console->peers);
  if (!err) err = live_new(console->clock, &console->live);
  if (!err) err = watch_new(console, &console->watch);
  if (!err) err = deny_new(console, &console->deny);
  if (!err)
    err = tlx_builtin_new(tlx_wire_descriptor_set, tlx_wire_descriptor_set_len, services,
                          sizeof services / sizeof *services, &console->builtin);
  return err;
}

static void free_parts(struct console *console) {
  tlx_builtin_free(console->builtin);
  deny_free(console->deny);
  watch_free(console->watch);
  live_free(console->live);
  peers_free(console->peers);
  trust_done(&console->trust);
  tlx_store_close(console->store);
}

/* Runs what was begun to its end after a start that failed. */
static void abandon(struct console *console) {
  if (console->server) tlx_server_close(console->server, NULL, NULL);
  if (console->writer) writer_stop(console->writer, NULL, NULL);
  uv_run(&console->loop, UV_RUN_DEFAULT);
}

static int start(struct console *console, char *why) {
  int err = read_settings(console, &console->settings, why);
  if (!err) err = make_parts(console);
  if (!err) err = open_store(console, why);
  if (!err)
    err = trust_load(console->data, console->fleet_id, &console->settings,
                     tlx_wall_ms(console->clock), &console->trust, why);
  if (!err) err = writer_new(&console->loop, console->store, &console->writer);
  if (!err) err = start_server(console, why);
  if (err) return err;
  start_signal(console, &console->sigterm, on_terminate, SIGTERM);
  start_signal(console, &console->sigint, on_terminate, SIGINT);
  start_signal(console, &console->sighup, on_hangup, SIGHUP);
  uv_timer_init(&console->loop, &console->second);
  console->second.data = console;
  uv_timer_start(&console->second, on_second, 0, SECOND_MS);
  return 0;
}

int console_run(const char *data, const char *config, const struct settings *flags,
                bool has_listen) {
  struct console console = {.clock = tlx_clock_system(),
                            .data = data,
                            .config = config,
                            .flags = flags,
                            .has_listen_flag = has_listen};
  char why[512] = "";
  signal(SIGPIPE, SIG_IGN);
  raise_file_limit();
  console.started_mono_ms = tlx_mono_ms(console.clock);
  int err = uv_loop_init(&console.loop);
  if (!err) {
    err = start(&console, why);
    if (err) {
      abandon(&console);
    } else {
      audit_own(&console, "console_started");
      announce(&console);
      uv_run(&console.loop, UV_RUN_DEFAULT);
      tlx_notice(CORE, "stopped");
    }
    free_parts(&console);
    tlx_require(uv_loop_close(&console.loop) == 0);
  }
  if (err) tlx_crit(CORE, "telovix-console run: %s", *why ? why : tlx_err_text(err));
  return err ? 1 : 0;
}
