// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"
#include "rpc/conn_int.h"
#include "rpc/limits.h"

/* How long we wait for the peer to take our last bytes and close. */
#define LINGER_MS 2000u
#define SCRATCH_LEN (64u << 10)
#define WHEEL_TURN_MS 1000u

/* ---- group ---- */

static void on_turn(uv_timer_t *timer) {
  struct tlx_conn_group *group = timer->data;
  tlx_wheel_turn(&group->wheel, tlx_mono_ms(group->clock));
}

/* The next connection that has something to flush, with the list's reference; NULL = none. */
static struct tlx_conn *take_dirty(struct tlx_conn_group *group) {
  struct tlx_conn *conn = group->dirty;
  if (!conn) return NULL;
  group->dirty = conn->next_dirty;
  conn->is_dirty = false;
  return conn;
}

static void on_prepare(uv_prepare_t *prepare) {
  struct tlx_conn_group *group = prepare->data;
  /* What becomes dirty meanwhile is taken along. */
  for (struct tlx_conn *conn; (conn = take_dirty(group));) {
    tlx_conn_flush_now(conn);
    tlx_conn_unref(conn);
  }
  uv_prepare_stop(prepare);
}

int tlx_conn_group_init(struct tlx_conn_group *group, uv_loop_t *loop,
                        const struct tlx_clock *clock) {
  *group = (struct tlx_conn_group){.loop = loop, .clock = clock};
  group->cipher = malloc(SCRATCH_LEN);
  group->plain = malloc(SCRATCH_LEN);
  if (!group->cipher || !group->plain) {
    free(group->cipher);
    free(group->plain);
    return -ENOMEM;
  }
  tlx_buf_init(&group->out, 0);
  tlx_wheel_init(&group->wheel, tlx_mono_ms(clock));
  /* These two fail only for arguments that cannot be. */
  uv_timer_init(loop, &group->turn);
  uv_prepare_init(loop, &group->flusher);
  group->turn.data = group->flusher.data = group;
  uv_timer_start(&group->turn, on_turn, WHEEL_TURN_MS, WHEEL_TURN_MS);
  group->n_open = 2;
  return 0;
}

static void on_group_handle_closed(uv_handle_t *handle) {
  struct tlx_conn_group *group = handle->data;
  if (--group->n_open) return;
  free(group->cipher);
  free(group->plain);
  tlx_buf_done(&group->out);
  if (group->closed) group->closed(group->arg);
}

void tlx_conn_group_close(struct tlx_conn_group *group, void (*closed)(void *arg), void *arg) {
  group->closed = closed;
  group->arg = arg;
  /* One that became dirty and was closed by its peer in the same turn: the flusher does not run
   * again. */
  for (struct tlx_conn *conn; (conn = take_dirty(group));)
    tlx_conn_unref(conn);
  uv_close((uv_handle_t *)&group->turn, on_group_handle_closed);
  uv_close((uv_handle_t *)&group->flusher, on_group_handle_closed);
}

/* ---- references ---- */

struct tlx_conn *tlx_conn_ref(struct tlx_conn *conn) {
  conn->n_refs++;
  return conn;
}

void tlx_conn_unref(struct tlx_conn *conn) {
  if (--conn->n_refs) return;
  tlx_h2_free(conn->h2);
  tlx_tls_free(conn->tls);
  tlx_buf_done(&conn->out);
  tlx_tls_ctx_unref(conn->options.tls_ctx);
  free(conn);
}

void tlx_conn_flush(struct tlx_conn *conn) {
  struct tlx_conn_group *group = conn->options.group;
  if (conn->is_dirty || conn->in_turn || conn->state >= CONN_LINGERING) return;
  if (!group->dirty) uv_prepare_start(&group->flusher, on_prepare);
  conn->is_dirty = true;
  conn->next_dirty = group->dirty;
  group->dirty = tlx_conn_ref(conn);
}

/* ---- end ---- */

static void end_stream(void *arg, struct tlx_h2_stream *stream) {
  struct tlx_conn *conn = arg;
  conn->options.h2_events->closed(conn->options.ctx, stream, 0, false,
                                  !conn->options.server && !tlx_h2_sent(stream));
}

static void on_closed(uv_handle_t *handle) {
  struct tlx_conn *conn = handle->data;
  if (conn->h2) tlx_h2_each(conn->h2, end_stream, conn);
  if (conn->options.events->closed)
    conn->options.events->closed(conn->options.ctx, conn, conn->err, conn->why);
  tlx_conn_unref(conn);
}

void tlx_conn_finish(struct tlx_conn *conn) {
  if (conn->state == CONN_CLOSING) return;
  conn->state = CONN_CLOSING;
  tlx_wheel_disarm(&conn->stage_timer);
  tlx_wheel_disarm(&conn->alive_timer);
  uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

void tlx_conn_linger(struct tlx_conn *conn) {
  conn->state = CONN_LINGERING;
  tlx_conn_start_reading(conn);
}

void tlx_conn_close(struct tlx_conn *conn, int err, const char *why) {
  if (conn->state >= CONN_ENDING) return;
  bool connected = conn->state != CONN_CONNECTING;
  conn->err = err;
  snprintf(conn->why, sizeof conn->why, "%s", why ? why : "");
  conn->state = CONN_ENDING;
  tlx_wheel_disarm(&conn->alive_timer);
  struct tlx_conn_group *group = conn->options.group;
  tlx_wheel_arm(&group->wheel, &conn->stage_timer, tlx_mono_ms(group->clock) + LINGER_MS);
  if (!connected) {
    tlx_conn_finish(conn);
    return;
  }
  tlx_conn_flush(conn);
}

void tlx_conn_close_when_idle(struct tlx_conn *conn) {
  conn->close_when_idle = true;
  if (conn->state < CONN_READY) tlx_conn_close(conn, 0, "");
  tlx_conn_flush(conn);
}

void tlx_conn_close_sent(struct tlx_conn *conn) {
  if (conn->state == CONN_READY) conn->goaway_when_sent = true;
  tlx_conn_close(conn, 0, "");
}

/* ---- limits in time ---- */

static void on_stage_timer(struct tlx_wheel_timer *timer) {
  struct tlx_conn *conn =
      (struct tlx_conn *)((char *)timer - offsetof(struct tlx_conn, stage_timer));
  if (conn->state >= CONN_ENDING) {
    tlx_conn_finish(conn);
    return;
  }
  tlx_conn_close(conn, -ETIMEDOUT,
                 conn->state == CONN_CONNECTING ? "the connection was not accepted in time"
                                                : "the TLS handshake took too long");
}

static void arm_alive(struct tlx_conn *conn) {
  const struct tlx_conn_options *options = &conn->options;
  uint64_t due_mono_ms = UINT64_MAX;
  if (options->keepalive_ms)
    due_mono_ms = conn->ping_sent_mono_ms ? conn->ping_sent_mono_ms + options->keepalive_timeout_ms
                                          : conn->last_read_mono_ms + options->keepalive_ms;
  if (options->idle_timeout_ms && conn->last_busy_mono_ms + options->idle_timeout_ms < due_mono_ms)
    due_mono_ms = conn->last_busy_mono_ms + options->idle_timeout_ms;
  uint64_t now_mono_ms = tlx_mono_ms(options->group->clock);
  if (due_mono_ms <= now_mono_ms) due_mono_ms = now_mono_ms + WHEEL_TURN_MS;
  if (due_mono_ms != UINT64_MAX)
    tlx_wheel_arm(&options->group->wheel, &conn->alive_timer, due_mono_ms);
}

static void on_alive_timer(struct tlx_wheel_timer *timer) {
  struct tlx_conn *conn =
      (struct tlx_conn *)((char *)timer - offsetof(struct tlx_conn, alive_timer));
  const struct tlx_conn_options *options = &conn->options;
  uint64_t now_mono_ms = tlx_mono_ms(options->group->clock);
  bool busy = tlx_h2_n_streams(conn->h2) > 0;
  if (conn->ping_sent_mono_ms &&
      now_mono_ms >= conn->ping_sent_mono_ms + options->keepalive_timeout_ms) {
    tlx_conn_close(conn, -ETIMEDOUT, "the peer does not answer (keep-alive)");
    return;
  }
  if (busy) {
    conn->last_busy_mono_ms = now_mono_ms;
    if (options->keepalive_ms && !conn->ping_sent_mono_ms &&
        now_mono_ms >= conn->last_read_mono_ms + options->keepalive_ms) {
      static const uint8_t opaque[8] = "telovix";
      tlx_h2_ping(conn->h2, opaque);
      conn->ping_sent_mono_ms = now_mono_ms;
      tlx_conn_flush(conn);
    }
  } else if (options->idle_timeout_ms &&
             now_mono_ms >= conn->last_busy_mono_ms + options->idle_timeout_ms) {
    tlx_h2_goaway(conn->h2, 0, "max_idle");
    tlx_conn_close_when_idle(conn);
    return;
  }
  arm_alive(conn);
}

/* ---- beginning ---- */

int tlx_conn_become_ready(struct tlx_conn *conn) {
  struct tlx_h2_options options = {.server = conn->options.server,
                                   .events = conn->options.h2_events,
                                   .ctx = conn->options.ctx,
                                   .clock = conn->options.group->clock};
  int err = tlx_h2_new(&options, &conn->h2);
  if (err) {
    tlx_conn_close(conn, err, "no memory");
    return err;
  }
  tlx_wheel_disarm(&conn->stage_timer);
  conn->state = CONN_READY;
  conn->last_read_mono_ms = conn->last_busy_mono_ms = tlx_mono_ms(conn->options.group->clock);
  arm_alive(conn);
  if (conn->options.events->ready) conn->options.events->ready(conn->options.ctx, conn);
  return 0;
}

static void name_peer(struct tlx_conn *conn, const struct sockaddr *address) {
  char ip[INET6_ADDRSTRLEN] = "?";
  unsigned port = 0;
  if (address->sa_family == AF_INET) {
    const struct sockaddr_in *v4 = (const void *)address;
    inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip);
    port = ntohs(v4->sin_port);
  } else if (address->sa_family == AF_INET6) {
    const struct sockaddr_in6 *v6 = (const void *)address;
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
      inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], ip, sizeof ip);
    else
      inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip);
    port = ntohs(v6->sin6_port);
  }
  snprintf(conn->peer_ip, sizeof conn->peer_ip, "%s", ip);
  snprintf(conn->peer_address, sizeof conn->peer_address, strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip,
           port);
}

/* The connection owns |fd| from here on, also on failure. */
static int conn_new(const struct tlx_conn_options *options, int fd, struct tlx_conn **ret_conn) {
  struct tlx_conn *conn = calloc(1, sizeof *conn);
  if (!conn) {
    close(fd);
    return -ENOMEM;
  }
  conn->options = *options;
  conn->n_refs = 1; /* the handle */
  tlx_tls_ctx_ref(options->tls_ctx);
  tlx_wheel_timer_init(&conn->stage_timer, on_stage_timer);
  tlx_wheel_timer_init(&conn->alive_timer, on_alive_timer);
  int err = tlx_tls_new(options->tls_ctx, &conn->tls);
  if (!err) err = uv_tcp_init(options->group->loop, &conn->tcp);
  if (err) {
    close(fd);
    tlx_conn_unref(conn);
    return err;
  }
  conn->tcp.data = conn;
  err = uv_tcp_open(&conn->tcp, fd);
  if (err) {
    close(fd);
    /* Not known to anybody yet: closes without an event. */
    static const struct tlx_conn_events silent = {0};
    conn->options.events = &silent;
    tlx_conn_finish(conn);
    return err;
  }
  (void)uv_tcp_nodelay(&conn->tcp, 1);
  *ret_conn = conn;
  return 0;
}

static void begin_handshake(struct tlx_conn *conn) {
  struct tlx_conn_group *group = conn->options.group;
  conn->state = CONN_HANDSHAKE;
  if (conn->options.handshake_timeout_ms)
    tlx_wheel_arm(&group->wheel, &conn->stage_timer,
                  tlx_mono_ms(group->clock) + conn->options.handshake_timeout_ms);
  tlx_conn_start_reading(conn);
}

int tlx_conn_accept(const struct tlx_conn_options *options, int fd, struct tlx_conn **ret_conn) {
  struct sockaddr_storage peer;
  socklen_t len = sizeof peer;
  if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0) {
    int err = -errno;
    close(fd);
    return err;
  }
  struct tlx_conn *conn;
  int err = conn_new(options, fd, &conn);
  if (err) return err;
  name_peer(conn, (struct sockaddr *)&peer);
  begin_handshake(conn);
  *ret_conn = conn;
  return 0;
}

static void on_connected(uv_connect_t *request, int status) {
  struct tlx_conn *conn = request->data;
  if (conn->state == CONN_CONNECTING) {
    if (status < 0) {
      tlx_conn_close(conn, status, uv_strerror(status));
    } else {
      begin_handshake(conn);
      int err = tlx_tls_handshake(conn->tls);
      if (err != -EAGAIN) tlx_conn_close(conn, err, tlx_tls_error(conn->tls));
      tlx_conn_flush(conn);
    }
  }
  tlx_conn_unref(conn);
}

int tlx_conn_connect(const struct tlx_conn_options *options, const struct sockaddr *address,
                     struct tlx_conn **ret_conn) {
  /* Our own socket, so that it can be told apart on the host before its first packet. */
  int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (options->socket_made) options->socket_made(options->socket_arg, fd);
  struct tlx_conn *conn;
  int err = conn_new(options, fd, &conn);
  if (err) return err;
  name_peer(conn, address);
  conn->connect.data = conn;
  err = uv_tcp_connect(&conn->connect, &conn->tcp, address, on_connected);
  if (err) {
    static const struct tlx_conn_events silent = {0};
    conn->options.events = &silent;
    tlx_conn_finish(conn);
    return err;
  }
  tlx_conn_ref(conn);
  if (options->handshake_timeout_ms)
    tlx_wheel_arm(&options->group->wheel, &conn->stage_timer,
                  tlx_mono_ms(options->group->clock) + options->handshake_timeout_ms);
  *ret_conn = conn;
  return 0;
}

/* ---- facts ---- */

struct tlx_h2 *tlx_conn_h2(struct tlx_conn *conn) {
  return conn->state == CONN_READY ? conn->h2 : NULL;
}

int tlx_conn_socket(const struct tlx_conn *conn) {
  uv_os_fd_t fd;
  if (conn->state == CONN_CLOSING || uv_fileno((const uv_handle_t *)&conn->tcp, &fd) != 0)
    return -1;
  return fd;
}

size_t tlx_conn_peer_chain(const struct tlx_conn *conn, const struct tlx_bytes **ret_chain) {
  return tlx_tls_peer_chain(conn->tls, ret_chain);
}

const char *tlx_conn_peer_ip(const struct tlx_conn *conn) {
  return conn->peer_ip;
}

const char *tlx_conn_peer_address(const struct tlx_conn *conn) {
  return conn->peer_address;
}

void tlx_conn_set_user(struct tlx_conn *conn, void *user) {
  conn->user = user;
}

void *tlx_conn_user(const struct tlx_conn *conn) {
  return conn->user;
}
