// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/sensor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "common/check.h"
#include "common/err.h"
#include "common/file.h"
#include "common/log.h"
#include "common/text.h"
#include "sensor/enforcement.h"
#include "sensor/heartbeat.h"
#include "sensor/host.h"
#include "sensor/identity.h"
#include "sensor/kill.h"
#include "sensor/local.h"
#include "sensor/net_addresses.h"
#include "sensor/net_own.h"
#include "sensor/renew.h"
#include "sensor/state.h"
#include "sensor/uplink.h"

struct sensor {
  uv_loop_t loop;
  const struct tlx_clock *clock;
  const char *folder;
  char scope[256];          /* path below the cgroup2 mount; empty = the whole host */
  const char *scope_folder; /* the same in the file system; NULL = the whole host */
  struct bpf_caps_paths bpf_paths;
  struct host host;
  struct identity identity;
  struct state *state;
  struct killer *killer;
  struct heartbeat heartbeat;
  struct enforcement *enforcement;
  struct uplink *uplink;
  struct renewal *renewal;
  struct local *local;
  struct local_call *lift; /* who asked for it and waits */
  char *pin_folder;
  bool was_contained;
  struct tlx_tls_ctx *tls_ctx;
  uv_signal_t sigterm, sigint, sighup;
  bool stopping;
  char why[512];
};

/* ---- kills ---- */

static void on_result(void *arg, const struct kill_result *result, bool is_end) {
  struct sensor *sensor = arg;
  if (is_end) {
    struct tlx_buf packed = {0};
    heartbeat_pack_result(result, &packed);
    int err = packed.err
                  ? packed.err
                  : state_result_put(sensor->state, result->order_id, packed.data, packed.len);
    if (err)
      tlx_error(KILL, "order=%s the result cannot be kept: %s", result->order_id,
                tlx_err_text(err));
    tlx_buf_done(&packed);
    sensor->heartbeat.n_kills += result->signalled_boot_ns != 0;
  } else {
    heartbeat_add_progress(&sensor->heartbeat, result);
  }
  /* The file is written beside the report, if that is not acknowledged at once: if both are lost,
   * the order comes again, and finds the process gone. */
  uplink_beat(sensor->uplink);
}

static void start_orders(struct sensor *sensor, const Telovix__V1__HeartbeatReply *reply) {
  for (size_t i = 0; i < reply->n_pending_kill_pids; i++) {
    struct kill_order order;
    if (!heartbeat_read_order(reply->pending_kill_pids[i], &order)) {
      tlx_error(KILL,
                "the Console sent an order that cannot be one; is it newer than this sensor?");
      continue;
    }
    /* Its result waits to be acknowledged: it was carried out. */
    if (state_result_has(sensor->state, order.order_id)) continue;
    int err = killer_start(sensor->killer, &order);
    if (err) tlx_error(KILL, "order=%s cannot begin: %s", order.order_id, tlx_err_text(err));
  }
}

/* ---- uplink ---- */

static void on_fill(void *arg, Telovix__V1__HeartbeatRequest *request) {
  struct sensor *sensor = arg;
  sensor->heartbeat.renewal_error = renewal_error(sensor->renewal);
  sensor->heartbeat.n_reconnects = uplink_reconnects(sensor->uplink);
  heartbeat_fill(&sensor->heartbeat, request);
  enforcement_fill(sensor->enforcement, request, &sensor->heartbeat.arena);
}

static bool is_number(const char *address) {
  char host[256];
  uint8_t bytes[16];
  uint16_t port;
  return tlx_address_parse(address, host, &port) == 0 &&
         (inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1);
}

static void list_address(const char **list, size_t *n, const char *address) {
  for (size_t i = 0; i < *n; i++)
    if (strcmp(list[i], address) == 0) return;
  if (*n < STATE_ADDRESSES_MAX) list[(*n)++] = address;
}

/* What the Console told last, then the address of the enrollment, which worked once, then where it
 * answered: names cannot be resolved on a contained host, and there the numbers come first. */
static size_t list_addresses(const struct sensor *sensor, const char **list) {
  const char *all[2 * STATE_ADDRESSES_MAX], *const *told, *const *resolved;
  size_t n_told = state_addresses(sensor->state, &told), n_all = 0, n = 0;
  size_t n_resolved = state_resolved(sensor->state, &resolved);
  for (size_t i = 0; i < n_told; i++)
    all[n_all++] = told[i];
  for (unsigned i = 0; i < sensor->identity.n_addresses && n_all < STATE_ADDRESSES_MAX; i++)
    all[n_all++] = sensor->identity.addresses[i];
  for (size_t i = 0; i < n_resolved; i++)
    all[n_all++] = resolved[i];
  bool is_contained = sensor->enforcement && enforcement_is_contained(sensor->enforcement);
  for (size_t i = 0; is_contained && i < n_all; i++)
    if (is_number(all[i])) list_address(list, &n, all[i]);
  for (size_t i = 0; i < n_all; i++)
    list_address(list, &n, all[i]);
  return n;
}

static void tell_addresses(struct sensor *sensor) {
  const char *list[STATE_ADDRESSES_MAX];
  if (sensor->uplink) uplink_set_addresses(sensor->uplink, list, list_addresses(sensor, list));
}

/* Where the Console answers now, as numbers. */
static bool note_resolved(struct sensor *sensor) {
  struct sockaddr_storage peer;
  socklen_t len = sizeof peer;
  char host[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 8];
  uint8_t address[16];
  uint16_t port;
  int fd = uplink_socket(sensor->uplink);
  if (fd < 0 || getpeername(fd, (struct sockaddr *)&peer, &len) != 0 ||
      !net_address_of((struct sockaddr *)&peer, address, &port))
    return false;
  net_address_text(address, host);
  snprintf(text, sizeof text, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
  return state_note_resolved(sensor->state, text);
}

/* ---- what the engine needs of the link ---- */

static void on_link(void *arg, struct engine_link *ret_link) {
  struct sensor *sensor = arg;
  const char *list[STATE_ADDRESSES_MAX];
  size_t n = list_addresses(sensor, list);
  int fd = sensor->uplink && !sensor->stopping ? uplink_socket(sensor->uplink) : -1;
  ret_link->is_refused = state_is_refused(sensor->state);
  if (fd >= 0) ret_link->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  for (size_t i = 0; i < n && ret_link->n_console < ENGINE_CONSOLE_MAX; i++) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    char host[256];
    uint16_t port, none;
    if (tlx_address_parse(list[i], host, &port) != 0) continue;
    bool is_v4 = inet_pton(AF_INET, host, &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, host, &v6.sin6_addr) != 1) continue;
    (void)net_address_of(is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
                         ret_link->console[ret_link->n_console].address, &none);
    ret_link->console[ret_link->n_console++].port = port;
  }
}

static int on_own_socket(void *arg) {
  struct sensor *sensor = arg;
  return sensor->uplink && !sensor->stopping ? uplink_socket(sensor->uplink) : -1;
}

static void on_socket_made(void *arg, int fd) {
  net_own_mark(((struct sensor *)arg)->pin_folder, fd);
}

/* ---- certificate ---- */

static uint64_t certificate_wall_ms(void *arg) {
  return state_certificate_wall_ms(((struct sensor *)arg)->state);
}

/* When the certificate ends that the Console showed on this connection; 0 = it cannot be told. */
static uint64_t console_certificate_end(struct sensor *sensor) {
  const struct tlx_bytes *chain;
  struct tlx_cert leaf;
  size_t n = tlx_channel_peer_chain(uplink_channel(sensor->uplink), &chain);
  return n && tlx_cert_parse(chain[0], &leaf) == 0 ? leaf.not_after_wall_ms : 0;
}

static struct tlx_channel *on_channel(void *arg) {
  struct sensor *sensor = arg;
  return sensor->uplink && !sensor->stopping ? uplink_channel(sensor->uplink) : NULL;
}

/* New files are in place: the next connection is that of the new certificate. */
static int on_renewed(void *arg) {
  struct sensor *sensor = arg;
  struct identity fresh;
  struct tlx_tls_ctx *tls_ctx = NULL;
  char why[512] = "", ends[TLX_TIME_TEXT_MAX];
  if (sensor->stopping) return 0; /* the next start takes it */
  int err = identity_load(sensor->folder, &fresh, why);
  if (!err) {
    err = identity_tls(&fresh, certificate_wall_ms, sensor, &tls_ctx);
    if (err) identity_done(&fresh);
  }
  if (err) {
    tlx_error(UPLINK, "the renewed certificate cannot be used, the former one stays in use: %s",
              *why ? why : tlx_err_text(err));
    return err;
  }
  identity_done(&sensor->identity);
  sensor->identity = fresh;
  tlx_tls_ctx_unref(sensor->tls_ctx);
  sensor->tls_ctx = tls_ctx;
  uplink_set_tls(sensor->uplink, tls_ctx);
  tlx_time_format(fresh.not_after_wall_ms, ends);
  tlx_notice(UPLINK, "certificate renewed, it ends at %s", ends);
  return 0;
}

static void on_renewal_told(void *arg) {
  struct sensor *sensor = arg;
  if (!sensor->stopping) uplink_beat(sensor->uplink);
}

static void on_expired(void *arg) {
  renewal_now(((struct sensor *)arg)->renewal);
}

static uint64_t on_reply(void *arg, const Telovix__V1__HeartbeatReply *reply) {
  struct sensor *sensor = arg;
  sensor->heartbeat.console_time_max_wall_ms = console_certificate_end(sensor);
  uint64_t interval_ms = heartbeat_apply(&sensor->heartbeat, reply);
  bool are_new = note_resolved(sensor);
  if (reply->n_console_addresses)
    are_new |=
        state_set_addresses(sensor->state, reply->console_addresses, reply->n_console_addresses);
  if (are_new) tell_addresses(sensor);
  if (reply->console_time && reply->console_time->seconds > 0)
    renewal_look(sensor->renewal, (uint64_t)reply->console_time->seconds * 1000,
                 reply->renew_certificate);
  start_orders(sensor, reply);
  bool more = enforcement_reply(sensor->enforcement, reply);
  if (more || sensor->heartbeat.has_more) uplink_beat(sensor->uplink);
  return interval_ms;
}

static void on_failed(void *arg, bool was_answered) {
  struct sensor *sensor = arg;
  heartbeat_retry(&sensor->heartbeat);
  enforcement_retry(sensor->enforcement, was_answered);
}

static uint64_t on_interval_max(void *arg) {
  return enforcement_beat_max_ms(((struct sensor *)arg)->enforcement);
}

/* A restart does not forget it: a revoked sensor never releases itself. */
static void on_refusal(void *arg, bool is_refused) {
  state_set_refused(((struct sensor *)arg)->state, is_refused);
}

static void on_beat_wanted(void *arg) {
  struct sensor *sensor = arg;
  if (!sensor->uplink || sensor->stopping) return;
  bool is_contained = enforcement_is_contained(sensor->enforcement);
  if (is_contained != sensor->was_contained) tell_addresses(sensor);
  sensor->was_contained = is_contained;
  uplink_beat(sensor->uplink);
}

static bool wants_no_wake(void) {
#ifdef TLX_RELEASE
  return false;
#else
  const char *value = getenv("TELOVIX_TEST_NO_WAKE");
  return value && strcmp(value, "1") == 0;
#endif
}

static int start_uplink(struct sensor *sensor) {
  const char *list[STATE_ADDRESSES_MAX];
  struct uplink_options options = {
      .loop = &sensor->loop,
      .clock = sensor->clock,
      .tls_ctx = sensor->tls_ctx,
      .addresses = list,
      .n_addresses = list_addresses(sensor, list),
      .no_wake = wants_no_wake(),
      .fill = on_fill,
      .reply = on_reply,
      .failed = on_failed,
      .interval_max_ms = on_interval_max,
      .expired = on_expired,
      .refusal = on_refusal,
      .socket_made = on_socket_made,
      .arg = sensor,
  };
  return uplink_new(&options, &sensor->uplink);
}

/* ---- status ---- */

static json_t *describe(void *arg) {
  struct sensor *sensor = arg;
  char scope[256], ends[TLX_TIME_TEXT_MAX], beat[TLX_TIME_TEXT_MAX] = "";
  uint64_t beat_wall_ms = uplink_last_beat_wall_ms(sensor->uplink);
  tlx_time_format(sensor->identity.not_after_wall_ms, ends);
  if (beat_wall_ms) tlx_time_format(beat_wall_ms, beat);
  snprintf(scope, sizeof scope, "%s", *sensor->scope ? sensor->scope : "whole host");
  json_t *object = json_pack(
      "{s:b, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:I, s:I, s:s}",
      "running", 1, "pid", (int)getpid(), "renewalError", renewal_error(sensor->renewal),
      "sensorId", sensor->identity.sensor_id, "nodeName", sensor->identity.node_name, "fleet",
      sensor->identity.fleet_name, "fleetId", sensor->identity.fleet_id, "certificateExpiresAt",
      ends, "uplink", uplink_state_name(uplink_state(sensor->uplink)), "lastError",
      uplink_last_error(sensor->uplink), "lastHeartbeatAt", beat, "scope", scope, "canKill",
      (int)sensor->host.in_initial_namespaces, "cannotKillBecause",
      sensor->host.in_initial_namespaces ? "" : "not in the host's PID and time namespace", "kills",
      (json_int_t)sensor->heartbeat.n_kills, "unacknowledgedResults",
      (json_int_t)state_result_count(sensor->state), "version", TLX_VERSION);
  if (object) enforcement_describe(sensor->enforcement, object);
  return object;
}

/* ---- what is asked on the host ---- */

static void on_lifted(void *arg, bool was_told, bool is_down) {
  struct sensor *sensor = arg;
  struct local_call *call = sensor->lift;
  sensor->lift = NULL;
  if (call)
    local_call_answer(call,
                      json_pack("{s:b, s:b, s:s}", "lifted", (int)is_down, "told", (int)was_told,
                                "error", is_down ? "" : "something could not be taken down"));
}

static void on_asked(void *arg, struct local_call *call, const char *line) {
  struct sensor *sensor = arg;
  if (strcmp(line, "status") == 0) {
    local_call_answer(call, describe(sensor));
    return;
  }
  const char *error = "this sensor does not know that";
  if (strncmp(line, "lift ", 5) == 0 && !sensor->stopping) {
    int err =
        enforcement_lift(sensor->enforcement, local_call_uid(call), line + 5, on_lifted, sensor);
    if (!err) {
      sensor->lift = call;
      return;
    }
    error = tlx_err_text(err);
  }
  local_call_answer(call, json_pack("{s:s}", "error", error));
}

/* ---- start and stop ---- */

static void on_enforcement_closed(void *arg) {
  struct sensor *sensor = arg;
  if (sensor->state) state_close(sensor->state, NULL, NULL);
}

static void on_killer_closed(void *arg) {
  struct sensor *sensor = arg;
  if (sensor->enforcement)
    enforcement_close(sensor->enforcement, on_enforcement_closed, sensor);
  else
    on_enforcement_closed(sensor);
}

static void on_renewal_closed(void *arg) {
  struct sensor *sensor = arg;
  sensor->renewal = NULL;
  if (sensor->killer)
    killer_close(sensor->killer, on_killer_closed, sensor);
  else
    on_killer_closed(sensor);
}

static void on_uplink_closed(void *arg) {
  struct sensor *sensor = arg;
  sensor->uplink = NULL;
  if (sensor->renewal)
    renewal_close(sensor->renewal, on_renewal_closed, sensor);
  else
    on_renewal_closed(sensor);
}

/* The uplink first, so that no order and no rule comes in to parts that are gone; what is on disk
 * last, because results and rules are kept there. */
static void close_parts(struct sensor *sensor) {
  sensor->lift = NULL;
  if (sensor->local) local_close(sensor->local);
  if (sensor->uplink)
    uplink_close(sensor->uplink, on_uplink_closed, sensor);
  else
    on_uplink_closed(sensor);
}

static void on_terminate(uv_signal_t *handle, int number) {
  struct sensor *sensor = handle->data;
  if (sensor->stopping) return;
  sensor->stopping = true;
  tlx_notice(CORE, "stopping");
  uv_close((uv_handle_t *)&sensor->sigterm, NULL);
  uv_close((uv_handle_t *)&sensor->sigint, NULL);
  uv_close((uv_handle_t *)&sensor->sighup, NULL);
  /* That brought back what they do by default. Told once more to stop, the process still ends as
   * one that has stopped, with status 0. */
  signal(SIGTERM, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  close_parts(sensor);
}

static void on_hangup(uv_signal_t *handle, int number) {
  struct sensor *sensor = handle->data;
  uplink_retry(sensor->uplink);
}

static void start_signal(struct sensor *sensor, uv_signal_t *handle, uv_signal_cb cb, int number) {
  uv_signal_init(&sensor->loop, handle);
  handle->data = sensor;
  uv_signal_start(handle, cb, number);
}

static int start_killer(struct sensor *sensor) {
  struct killer_options options = {
      .loop = &sensor->loop,
      .clock = sensor->clock,
      .proc = proc_system(),
      .host = &sensor->host,
      .scope_cgroup = sensor->scope,
      .result = on_result,
      .arg = sensor,
  };
  return killer_new(&options, &sensor->killer);
}

static int start_enforcement(struct sensor *sensor) {
  struct enforcement_options options = {
      .loop = &sensor->loop,
      .clock = sensor->clock,
      .state = sensor->state,
      .state_folder = sensor->folder,
      .scope_folder = sensor->scope_folder,
      .paths = sensor->bpf_paths,
      .beat = on_beat_wanted,
      .link = on_link,
      .own_socket = on_own_socket,
      .arg = sensor,
  };
  int err = enforcement_new(&options, &sensor->enforcement);
  if (err)
    snprintf(sensor->why, sizeof sensor->why, "enforcement: %s%s", tlx_err_text(err),
             err == -EXDEV ? ": the cgroup2 mount does not show the root of the hierarchy" : "");
  return err;
}

static int start_renewal(struct sensor *sensor) {
  struct renewal_options options = {
      .loop = &sensor->loop,
      .clock = sensor->clock,
      .folder = sensor->folder,
      .identity = &sensor->identity,
      .channel = on_channel,
      .renewed = on_renewed,
      .told = on_renewal_told,
      .arg = sensor,
  };
  return renewal_new(&options, &sensor->renewal);
}

static int start(struct sensor *sensor) {
  int err = identity_load(sensor->folder, &sensor->identity, sensor->why);
  if (err == -ENOENT)
    snprintf(sensor->why, sizeof sensor->why, "%.300s holds no identity: enroll first",
             sensor->folder);
  if (!err) err = host_read(&sensor->host);
  if (!err) {
    err = state_open(sensor->folder, &sensor->loop, sensor->clock, &sensor->state);
    if (err)
      snprintf(sensor->why, sizeof sensor->why, "%.300s: %s%s", sensor->folder, tlx_err_text(err),
               err == TLX_E_LOCKED ? ": a sensor runs there already" : "");
  }
  if (!err) err = identity_tls(&sensor->identity, certificate_wall_ms, sensor, &sensor->tls_ctx);
  if (err) return err;
  sensor->heartbeat = (struct heartbeat){.clock = sensor->clock,
                                         .host = &sensor->host,
                                         .state = sensor->state,
                                         .scope_cgroup = sensor->scope};
  heartbeat_init(&sensor->heartbeat);
  err = start_killer(sensor);
  if (!err) err = start_enforcement(sensor);
  if (!err) err = start_renewal(sensor);
  if (!err) err = start_uplink(sensor);
  if (!err) {
    err = local_new(&sensor->loop, sensor->folder, on_asked, sensor, &sensor->local);
    if (err)
      snprintf(sensor->why, sizeof sensor->why, "%.300s/control.sock: %s", sensor->folder,
               tlx_err_text(err));
  }
  if (err) return err;
  start_signal(sensor, &sensor->sigterm, on_terminate, SIGTERM);
  start_signal(sensor, &sensor->sigint, on_terminate, SIGINT);
  start_signal(sensor, &sensor->sighup, on_hangup, SIGHUP);
  return 0;
}

static int find_scope(struct sensor *sensor, const char *cgroup) {
  if (!cgroup) return 0;
  int err = host_cgroup_path(cgroup, sensor->scope);
  if (err)
    snprintf(sensor->why, sizeof sensor->why,
             "--cgroup %.200s: want a folder of a cgroup2 mount: %s", cgroup, tlx_err_text(err));
  return err;
}

/* Where the kernel shows what it can do. Other places are for tests alone: they take things away
 * from a kernel. */
void sensor_bpf_paths(const char *bpffs, struct bpf_caps_paths *ret_paths) {
  *ret_paths = (struct bpf_caps_paths){
      .btf = "/sys/kernel/btf/vmlinux", .securityfs = "/sys/kernel/security", .bpffs = bpffs};
#ifndef TLX_RELEASE
  const char *btf = getenv("TELOVIX_TEST_BTF");
  if (btf) ret_paths->btf = btf;
#endif
}

/* Each rule holds the files that it blocks: 256 rules hold more than the usual 1,024. */
static void raise_file_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    tlx_warn(CORE, "cannot raise the limit of open files: %s", tlx_err_text(-errno));
}

int sensor_run(const char *state_folder, const char *cgroup, const char *bpffs) {
  struct sensor *sensor = calloc(1, sizeof *sensor);
  if (!sensor) return 1;
  sensor->clock = tlx_clock_system();
  sensor->folder = state_folder;
  sensor->scope_folder = cgroup;
  sensor_bpf_paths(bpffs, &sensor->bpf_paths);
  sensor->pin_folder = tlx_path_join(bpffs, "telovix");
  signal(SIGPIPE, SIG_IGN);
  raise_file_limit();
  int err = find_scope(sensor, cgroup);
  if (!err) err = uv_loop_init(&sensor->loop);
  if (!err) {
    err = start(sensor);
    if (err) {
      close_parts(sensor);
    } else {
      tlx_notice(CORE, "running as %s (node %s), scope %s", sensor->identity.sensor_id,
                 sensor->identity.node_name, *sensor->scope ? sensor->scope : "whole host");
      if (!sensor->host.in_initial_namespaces)
        tlx_error(CORE, "not in the host's PID and time namespace: every kill will be refused");
    }
    uv_run(&sensor->loop, UV_RUN_DEFAULT);
    heartbeat_done(&sensor->heartbeat);
    identity_done(&sensor->identity);
    tlx_tls_ctx_unref(sensor->tls_ctx);
    tlx_require(uv_loop_close(&sensor->loop) == 0);
    if (!err) tlx_notice(CORE, "stopped");
  }
  if (err) tlx_crit(CORE, "telovix-sensor run: %s", *sensor->why ? sensor->why : tlx_err_text(err));
  free(sensor->pin_folder);
  free(sensor);
  return err ? 1 : 0;
}
