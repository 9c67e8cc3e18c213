// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "rpc/conn_int.h"
#include "rpc/limits.h"

/* Bytes of a connection: one read → feed → callbacks → drain → one write, without a timer between.
 */

#define READ_LEN (64u << 10)

/* ---- writing ---- */

static void update_reading(struct tlx_conn *conn) {
  /* A peer that asks and does not read the answers is not asked for more. Only a server does this:
   * if both ends did, each could wait for the other. */
  size_t unsent =
      conn->writing ? conn->out.len + (conn->h2 ? tlx_h2_total_queued(conn->h2) : 0) : 0;
  if (!conn->options.server || conn->state != CONN_READY) return;
  if (unsent >= TLX_UNSENT_HIGH)
    tlx_conn_stop_reading(conn);
  else if (unsent < TLX_UNSENT_LOW)
    tlx_conn_start_reading(conn);
}

static void on_written(uv_write_t *write, int status) {
  struct tlx_conn *conn = write->data;
  conn->writing = false;
  tlx_buf_done(&conn->out);
  if (status < 0 && conn->state < CONN_CLOSING) {
    tlx_conn_close(conn, status, "the connection broke while sending");
    if (conn->state == CONN_ENDING) tlx_conn_finish(conn);
  } else if (conn->state < CONN_LINGERING) {
    tlx_conn_flush_now(conn);
  }
  tlx_conn_unref(conn);
}

/* Sends the ciphertext that waits. What the socket does not take at once is handed to the loop. */
static int write_pending(struct tlx_conn *conn) {
  struct tlx_bytes pending = tlx_tls_pending(conn->tls);
  if (pending.len == 0) return 0;
  uv_buf_t buf = uv_buf_init((char *)pending.data, (unsigned)pending.len);
  int n = uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
  if (n == UV_EAGAIN) n = 0;
  if (n < 0) return n;
  tlx_tls_sent(conn->tls, (size_t)n);
  if ((size_t)n == pending.len) return 0;
  tlx_tls_take_pending(conn->tls, &conn->out);
  buf = uv_buf_init((char *)conn->out.data, (unsigned)conn->out.len);
  conn->write.data = conn;
  int err = uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &buf, 1, on_written);
  if (err) return err;
  conn->writing = true;
  tlx_conn_ref(conn);
  return 0;
}

static int drain(struct tlx_conn *conn) {
  struct tlx_buf *out = &conn->options.group->out;
  while (conn->h2 && !conn->writing) {
    out->len = 0;
    out->err = 0;
    int err = tlx_h2_drain(conn->h2, out, TLX_UNSENT_LOW);
    if (err) return err;
    if (out->len == 0) break;
    conn->last_busy_mono_ms = tlx_mono_ms(conn->options.group->clock);
    err = tlx_tls_write(conn->tls, out->data, out->len);
    if (!err) err = write_pending(conn);
    if (err) return err;
  }
  return conn->writing ? 0 : write_pending(conn);
}

static void end_if_over(struct tlx_conn *conn) {
  if (conn->state != CONN_READY || conn->writing) return;
  if (!tlx_h2_alive(conn->h2))
    tlx_conn_close(conn, 0, "");
  else if (conn->close_when_idle && tlx_h2_n_streams(conn->h2) == 0)
    tlx_conn_close(conn, 0, "");
}

/* Only a server waits for the peer's end, so that its last words arrive before a reset can: a
 * client that gave up must not hang on a server that says nothing. */
static void on_shut(uv_shutdown_t *shutdown, int status) {
  struct tlx_conn *conn = shutdown->data;
  if (!conn->options.server) tlx_conn_finish(conn);
  tlx_conn_unref(conn);
}

/* The last bytes of an ending connection: what HTTP/2 has queued, then TLS and TCP say goodbye. */
static void end_now(struct tlx_conn *conn) {
  if (conn->writing) return; /* comes back when it is written */
  if (conn->h2 && !conn->shut_when_sent && drain(conn) != 0) {
    tlx_conn_finish(conn);
    return;
  }
  if (conn->writing) return;
  if (conn->h2 && conn->goaway_when_sent) {
    conn->goaway_when_sent = false;
    tlx_h2_goaway(conn->h2, 0, NULL);
    end_now(conn);
    return;
  }
  if (!conn->shut_when_sent) {
    conn->shut_when_sent = true;
    if (conn->h2) tlx_tls_close_notify(conn->tls);
    if (write_pending(conn) != 0) {
      tlx_conn_finish(conn);
      return;
    }
    if (conn->writing) return;
  }
  conn->shutdown.data = conn;
  if (uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->tcp, on_shut) != 0) {
    tlx_conn_finish(conn);
    return;
  }
  tlx_conn_ref(conn);
  tlx_conn_linger(conn);
}

void tlx_conn_flush_now(struct tlx_conn *conn) {
  int err = 0;
  if (conn->state == CONN_ENDING) {
    end_now(conn);
    return;
  }
  if (conn->state == CONN_HANDSHAKE && !conn->writing) err = write_pending(conn);
  /* What the events after a drain submit goes out in the same turn. */
  while (!err && conn->state == CONN_READY && !conn->writing) {
    err = drain(conn);
    if (err) break;
    conn->in_turn = true;
    tlx_h2_after_drain(conn->h2);
    conn->in_turn = false;
    if (!tlx_h2_wants_drain(conn->h2)) break;
  }
  if (err) tlx_conn_close(conn, err, "the connection broke while sending");
  end_if_over(conn);
  if (conn->state == CONN_ENDING) end_now(conn);
  update_reading(conn);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  struct tlx_conn *conn = handle->data;
  *buf = uv_buf_init((char *)conn->options.group->cipher, READ_LEN);
}

static int handshake(struct tlx_conn *conn) {
  int err = tlx_tls_handshake(conn->tls);
  if (err == -EAGAIN) return 0;
  if (err) {
    tlx_conn_close(conn, err, tlx_tls_error(conn->tls)); /* the alert still goes out */
    return err;
  }
  return tlx_conn_become_ready(conn);
}

static void read_plain(struct tlx_conn *conn) {
  uint8_t *plain = conn->options.group->plain;
  while (conn->state == CONN_READY) {
    ssize_t n = tlx_tls_read(conn->tls, plain, READ_LEN);
    if (n == -EAGAIN) return;
    if (n == 0) {
      tlx_conn_close(conn, TLX_E_CLOSED, "the peer closed the connection");
      return;
    }
    if (n < 0) {
      tlx_conn_close(conn, (int)n, tlx_tls_error(conn->tls));
      return;
    }
    int err = tlx_h2_feed(conn->h2, plain, (size_t)n);
    if (err) {
      tlx_conn_close(conn, err, "the peer broke the HTTP/2 protocol");
      return;
    }
  }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct tlx_conn *conn = stream->data;
  if (n == 0) return;
  if (n < 0) tlx_conn_stop_reading(conn);
  if (conn->state >= CONN_ENDING) {
    /* Read and dropped until the peer has closed too. */
    if (n < 0 && conn->state == CONN_LINGERING) tlx_conn_finish(conn);
    return;
  }
  tlx_conn_ref(conn);
  conn->in_turn = true;
  if (n < 0) {
    tlx_conn_close(conn, n == UV_EOF ? TLX_E_CLOSED : (int)n,
                   n == UV_EOF ? "the peer closed the connection" : uv_strerror((int)n));
  } else {
    conn->last_read_mono_ms = tlx_mono_ms(conn->options.group->clock);
    conn->ping_sent_mono_ms = 0;
    int err = tlx_tls_feed(conn->tls, buf->base, (size_t)n);
    if (err)
      tlx_conn_close(conn, err, "no memory");
    else if (conn->state == CONN_HANDSHAKE)
      (void)handshake(conn);
    read_plain(conn);
  }
  conn->in_turn = false;
  tlx_conn_flush_now(conn);
  tlx_conn_unref(conn);
}

void tlx_conn_start_reading(struct tlx_conn *conn) {
  if (conn->reading) return;
  int err = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
  if (err)
    tlx_conn_close(conn, err, "cannot read");
  else
    conn->reading = true;
}

void tlx_conn_stop_reading(struct tlx_conn *conn) {
  if (conn->reading) uv_read_stop((uv_stream_t *)&conn->tcp);
  conn->reading = false;
}
