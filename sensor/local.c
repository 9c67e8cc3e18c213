// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/local.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"
#include "common/log.h"
#include "common/text.h"
#include "sensor/identity.h"

#define SOCKET "control.sock"
#define ANSWER_MAX (1u << 20) /* 256 rules with their gaps */
#define ANSWER_TIMEOUT_MS 3000

#define LINE_MAX_LEN 512u

struct local {
  uv_pipe_t pipe;
  char *path;
  struct local_call *calls;
  void (*asked)(void *arg, struct local_call *call, const char *line);
  void *arg;
};

struct local_call {
  uv_pipe_t pipe;
  uv_write_t write;
  struct local *local; /* NULL once it is closing */
  struct local_call *next, **prev;
  char line[LINE_MAX_LEN];
  size_t len;
  char *text;
};

/* ---- the running sensor's side ---- */

static void on_call_closed(uv_handle_t *handle) {
  struct local_call *call = handle->data;
  free(call->text);
  free(call);
}

static void close_call(struct local_call *call) {
  if (!call->local) return;
  call->local = NULL;
  *call->prev = call->next;
  if (call->next) call->next->prev = call->prev;
  uv_close((uv_handle_t *)&call->pipe, on_call_closed);
}

static void on_answered(uv_write_t *write, int status) {
  close_call(write->data);
}

void local_call_answer(struct local_call *call, json_t *object) {
  call->text = object ? json_dumps(object, JSON_COMPACT) : NULL;
  json_decref(object);
  uv_buf_t buf = uv_buf_init(call->text, call->text ? (unsigned)strlen(call->text) : 0);
  if (!call->text || uv_write(&call->write, (uv_stream_t *)&call->pipe, &buf, 1, on_answered) != 0)
    close_call(call);
}

uint32_t local_call_uid(const struct local_call *call) {
  struct ucred peer = {.uid = UINT32_MAX};
  socklen_t len = sizeof peer;
  uv_os_fd_t fd;
  if (uv_fileno((const uv_handle_t *)&call->pipe, &fd) == 0)
    (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
  return peer.uid;
}

static void on_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buf) {
  struct local_call *call = handle->data;
  *buf = uv_buf_init(call->line + call->len, (unsigned)(sizeof call->line - 1 - call->len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct local_call *call = stream->data;
  if (n == 0) return;
  if (n > 0) call->len += (size_t)n;
  call->line[call->len] = '\0';
  char *end = strchr(call->line, '\n');
  if (end) {
    *end = '\0';
    uv_read_stop(stream);
    call->local->asked(call->local->arg, call, call->line);
  } else if (n < 0 || call->len == sizeof call->line - 1) {
    close_call(call);
  }
}

static void on_connection(uv_stream_t *server, int status) {
  struct local *local = server->data;
  struct local_call *call = status == 0 ? calloc(1, sizeof *call) : NULL;
  if (!call) return;
  uv_pipe_init(server->loop, &call->pipe, 0);
  call->pipe.data = call->write.data = call;
  call->local = local;
  call->next = local->calls;
  call->prev = &local->calls;
  if (call->next) call->next->prev = &call->next;
  local->calls = call;
  if (uv_accept(server, (uv_stream_t *)&call->pipe) != 0 ||
      uv_read_start((uv_stream_t *)&call->pipe, on_room, on_read) != 0)
    close_call(call);
}

static void on_local_closed(uv_handle_t *handle) {
  struct local *local = handle->data;
  free(local->path);
  free(local);
}

int local_new(uv_loop_t *loop, const char *folder,
              void (*asked)(void *arg, struct local_call *call, const char *line), void *arg,
              struct local **ret_local) {
  struct local *local = calloc(1, sizeof *local);
  if (!local) return -ENOMEM;
  local->asked = asked;
  local->arg = arg;
  local->path = tlx_path_join(folder, SOCKET);
  uv_pipe_init(loop, &local->pipe, 0);
  local->pipe.data = local;
  int err = local->path ? 0 : -ENOMEM;
  if (!err && strlen(local->path) >= sizeof((struct sockaddr_un *)0)->sun_path) err = -ENAMETOOLONG;
  /* The state folder is locked by us: a socket that is there is left over from a crash. */
  if (!err) (void)unlink(local->path);
  mode_t mask = umask(0177);
  if (!err) err = uv_pipe_bind(&local->pipe, local->path);
  umask(mask);
  if (!err) err = uv_listen((uv_stream_t *)&local->pipe, 8, on_connection);
  if (err) {
    uv_close((uv_handle_t *)&local->pipe, on_local_closed);
    return err;
  }
  *ret_local = local;
  return 0;
}

void local_close(struct local *local) {
  (void)unlink(local->path);
  while (local->calls)
    close_call(local->calls);
  uv_close((uv_handle_t *)&local->pipe, on_local_closed);
}

/* ---- the asking side ---- */

/* 0 and the answer; -ENOENT or -ECONNREFUSED when no sensor runs. */
static int ask(const char *folder, const char *line, int timeout_ms, struct tlx_buf *answer) {
  char *path TLX_AUTOFREE = tlx_path_join(folder, SOCKET);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd TLX_AUTOCLOSE = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (!path) return -ENOMEM;
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) return -errno;
  if (dprintf(fd, "%s\n", line) < 0) return -errno;
  tlx_buf_init(answer, ANSWER_MAX);
  for (;;) {
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int ready = poll(&item, 1, timeout_ms);
    if (ready == 0) return -ETIMEDOUT;
    uint8_t *out = ready > 0 ? tlx_buf_reserve(answer, 4096) : NULL;
    if (!out) return ready < 0 ? -errno : answer->err;
    ssize_t n = recv(fd, out, 4096, 0);
    if (n < 0) return -errno;
    if (n == 0) return 0;
    answer->len += (size_t)n;
  }
}

int local_ask(const char *folder, const char *line, int timeout_ms, json_t **ret_object) {
  struct tlx_buf answer TLX_CLEANUP(tlx_buf_done) = {0};
  int err = ask(folder, line, timeout_ms, &answer);
  if (err) return err;
  *ret_object = json_loadb((char *)answer.data, answer.len, 0, NULL);
  return *ret_object ? 0 : TLX_E_MALFORMED;
}

static const struct {
  const char *key, *label;
} lines[] = {
    {"sensorId", "sensor"},
    {"nodeName", "node"},
    {"fleet", "fleet"},
    {"certificateExpiresAt", "certificate until"},
    {"uplink", "uplink"},
    {"lastHeartbeatAt", "last heartbeat"},
    {"lastError", "last error"},
    {"renewalError", "certificate not renewed"},
    {"generation", "generation in force"},
    {"scope", "scope"},
    {"canKill", "can kill"},
    {"cannotKillBecause", "cannot kill because"},
    {"kills", "kills since start"},
    {"unacknowledgedResults", "results not acknowledged"},
    {"pid", "process"},
    {"version", "version"},
};

static void print_lines(const json_t *object) {
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    const json_t *value = json_object_get(object, lines[i].key);
    char shown[512];
    if (json_is_string(value) && *json_string_value(value))
      printf("%-25s %s\n", lines[i].label,
             tlx_text_escape(json_string_value(value), SIZE_MAX, shown, sizeof shown));
    else if (json_is_integer(value))
      printf("%-25s %lld\n", lines[i].label, (long long)json_integer_value(value));
    else if (json_is_boolean(value))
      printf("%-25s %s\n", lines[i].label, json_is_true(value) ? "yes" : "no");
  }
}

/* ---- enforcement ---- */

static const char *word(const json_t *object, const char *key, char *shown, size_t size) {
  const char *text = json_string_value(json_object_get(object, key));
  return tlx_text_escape(text ? text : "", SIZE_MAX, shown, size);
}

static void print_gaps(const json_t *list, const char *indent) {
  char gap[64], detail[256];
  size_t i;
  json_t *item;
  json_array_foreach(list, i, item) {
    printf("%sdoes not stop (%s): %s%s\n", indent, word(item, "gap", gap, sizeof gap),
           word(item, "detail", detail, sizeof detail),
           json_is_true(json_object_get(item, "byKernel")) ? " (this kernel)" : "");
  }
}

static void print_engine(const json_t *engine) {
  char a[64], b[64], c[512];
  size_t i;
  json_t *item;
  printf("%-25s %s %s\n", "enforcement", word(engine, "state", a, sizeof a),
         word(engine, "backend", b, sizeof b));
  if (*word(engine, "reason", a, sizeof a))
    printf("%-25s %s: %s\n", "enforcement lacks", a, word(engine, "detail", c, sizeof c));
  if (*word(engine, "verifiedAt", a, sizeof a)) printf("%-25s %s\n", "verified", a);
  if (json_is_true(json_object_get(engine, "desiredRollback")))
    printf("%-25s %s\n", "rules of the Console", "refused: it was rolled back");
  json_array_foreach(json_object_get(engine, "capabilities"), i, item) {
    printf("  %-23s %-3s %s\n", word(item, "name", a, sizeof a),
           json_is_true(json_object_get(item, "available")) ? "yes" : "no",
           word(item, "detail", c, sizeof c));
  }
  print_gaps(json_object_get(engine, "gaps"), "  ");
}

static void print_containment(const json_t *net) {
  char a[64], b[300];
  size_t i;
  json_t *item;
  if (json_is_true(json_object_get(net, "wanted"))) {
    printf("%-25s %s\n", "containment",
           json_is_true(json_object_get(net, "inForce"))            ? "in force"
           : json_is_true(json_object_get(net, "releasedByItself")) ? "released by itself"
                                                                    : "wanted, not in force");
    if (*word(net, "provedAt", a, sizeof a)) printf("%-25s %s\n", "containment proved", a);
    if (*word(net, "proofLacks", b, sizeof b)) printf("%-25s %s\n", "containment proof", b);
    json_array_foreach(json_object_get(net, "layers"), i, item) {
      printf("  %-23s %-3s %s\n", word(item, "name", a, sizeof a),
             json_is_true(json_object_get(item, "attached")) ? "yes" : "no",
             word(item, "detail", b, sizeof b));
    }
  }
  json_array_foreach(json_object_get(net, "hazards"), i, item) {
    printf("%-25s %s: %s\n", "containment would hurt", word(item, "hazard", a, sizeof a),
           word(item, "detail", b, sizeof b));
  }
}

static void print_rules(const json_t *rules) {
  char a[64], b[64], c[64], d[64], path[4200], step[512];
  size_t i;
  json_t *rule;
  printf("%-25s %zu\n", "rules", json_array_size(rules));
  json_array_foreach(rules, i, rule) {
    printf("  %s %s\n    %s, %s%s%s, %lld stopped, %lld would have been\n",
           word(rule, "ruleId", a, sizeof a), word(rule, "path", path, sizeof path),
           word(rule, "mode", b, sizeof b), word(rule, "state", c, sizeof c),
           *word(rule, "backend", d, sizeof d) ? " by " : "", d,
           (long long)json_integer_value(json_object_get(rule, "hits")),
           (long long)json_integer_value(json_object_get(rule, "wouldHits")));
    if (*word(rule, "reason", a, sizeof a))
      printf("    %s: %s%s%s\n", a, word(rule, "reasonText", path, sizeof path),
             *word(rule, "step", step, sizeof step) ? ": " : "", step);
    if (*word(rule, "file", path, sizeof path)) printf("    file %s\n", path);
    print_gaps(json_object_get(rule, "gaps"), "    ");
  }
}

static void print_object(json_t *object, bool json) {
  if (json) {
    char *text TLX_AUTOFREE = json_dumps(object, JSON_COMPACT);
    puts(text ? text : "{}");
  } else {
    print_lines(object);
    if (json_object_get(object, "engine")) print_engine(json_object_get(object, "engine"));
    if (json_is_true(json_object_get(object, "lifted")))
      printf("%-25s %s\n", "lifted", "root on this host took all enforcement down");
    if (json_object_get(object, "containment"))
      print_containment(json_object_get(object, "containment"));
    if (json_object_get(object, "rules")) print_rules(json_object_get(object, "rules"));
  }
}

/* No sensor runs: what the files say. */
static int status_of_files(const char *folder, bool json) {
  struct identity *identity = calloc(1, sizeof *identity);
  char why[512], ends[TLX_TIME_TEXT_MAX];
  int err = identity ? identity_load(folder, identity, why) : -ENOMEM;
  if (err) {
    if (err == -ENOENT)
      fprintf(stderr, "telovix-sensor status: %s holds no identity: enroll first\n", folder);
    else
      fprintf(stderr, "telovix-sensor status: %s\n", *why ? why : tlx_err_text(err));
    free(identity);
    return 1;
  }
  tlx_time_format(identity->not_after_wall_ms, ends);
  json_t *object =
      json_pack("{s:b, s:s, s:s, s:s, s:s, s:s}", "running", 0, "sensorId", identity->sensor_id,
                "nodeName", identity->node_name, "fleet", identity->fleet_name,
                "certificateExpiresAt", ends, "version", TLX_VERSION);
  print_object(object, json);
  json_decref(object);
  identity_done(identity);
  free(identity);
  fprintf(stderr,
          "telovix-sensor status: no sensor runs with %s: no order is carried out, rules that were "
          "in force stay in force\n",
          folder);
  return 1;
}

int local_status(const char *folder, bool json) {
  json_t *object = NULL;
  int err = local_ask(folder, "status", ANSWER_TIMEOUT_MS, &object);
  if (err == -ENOENT || err == -ECONNREFUSED) return status_of_files(folder, json);
  if (err) {
    fprintf(stderr, "telovix-sensor status: %s/" SOCKET ": %s\n", folder, tlx_err_text(err));
    return 1;
  }
  print_object(object, json);
  json_decref(object);
  return 0;
}
