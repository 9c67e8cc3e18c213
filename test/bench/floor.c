// SPDX-License-Identifier: GPL-2.0-or-later
#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "measure.h"
#include "pki/identity.h"
#include "rpc/tls.h"

#define ECHO_LEN 128u  /* about the size of an order */
#define DISK_LEN 4096u /* one page */

/* ---- a TLS pair over a loopback socket, echoing ---- */

struct tls_end {
  int fd;
  struct tlx_tls *tls;
};

static void flush(struct tls_end *end) {
  struct tlx_bytes out = tlx_tls_pending(end->tls);
  while (out.len) {
    ssize_t n = send(end->fd, out.data, out.len, MSG_NOSIGNAL);
    if (n <= 0) exit(1);
    tlx_tls_sent(end->tls, (size_t)n);
    out = tlx_tls_pending(end->tls);
  }
}

static bool fill(struct tls_end *end) {
  uint8_t in[16384];
  ssize_t n = recv(end->fd, in, sizeof in, 0);
  if (n <= 0) return false;
  measure_need(tlx_tls_feed(end->tls, in, (size_t)n), "tls");
  return true;
}

static void handshake(struct tls_end *end) {
  for (;;) {
    int err = tlx_tls_handshake(end->tls);
    flush(end);
    if (err == 0) return;
    if (err != -EAGAIN) measure_need(err, tlx_tls_error(end->tls));
    if (!fill(end)) exit(1);
  }
}

/* Reads exactly ECHO_LEN bytes; false at the end of the stream. */
static bool read_message(struct tls_end *end, uint8_t *out) {
  size_t len = 0;
  while (len < ECHO_LEN) {
    ssize_t n = tlx_tls_read(end->tls, out + len, ECHO_LEN - len);
    if (n > 0)
      len += (size_t)n;
    else if (n != -EAGAIN || !fill(end))
      return false;
  }
  return true;
}

static void *echo(void *arg) {
  struct tls_end *end = arg;
  uint8_t message[ECHO_LEN];
  handshake(end);
  while (read_message(end, message)) {
    measure_need(tlx_tls_write(end->tls, message, sizeof message), "echo");
    flush(end);
  }
  return NULL;
}

struct floor {
  struct tls_end client, server;
  pthread_t thread;
  int disk_fd;
};

static void loopback_pair(int *ret_client_fd, int *ret_server_fd) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) != 0 ||
      listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &len) != 0)
    measure_need(-errno, "loopback");
  *ret_client_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (*ret_client_fd < 0 || connect(*ret_client_fd, (struct sockaddr *)&address, len) != 0)
    measure_need(-errno, "loopback");
  *ret_server_fd = accept(listener, NULL, NULL);
  if (*ret_server_fd < 0) measure_need(-errno, "loopback");
  setsockopt(*ret_client_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(*ret_server_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  close(listener);
}

/* A self-made CA with one server certificate: the floor needs no fleet. */
struct floor *floor_open(const char *folder) {
  struct floor *floor = calloc(1, sizeof *floor);
  tlx_require(floor);
  struct tlx_key *ca_key, *key;
  struct tlx_buf ca_der = {0}, ca_pem = {0}, leaf_der = {0};
  struct tlx_ca_bundle *ca;
  measure_need(tlx_key_new(&ca_key), "key");
  measure_need(tlx_key_new(&key), "key");
  uint64_t now_wall_ms = tlx_wall_ms(tlx_clock_system());
  struct tlx_cert_template template = {.profile = TLX_CERT_CA,
                                       .subject_cn = "floor",
                                       .issuer_cn = "floor",
                                       .not_before_wall_ms = now_wall_ms - 3600000,
                                       .not_after_wall_ms = now_wall_ms + 3600000,
                                       .subject_spki = tlx_key_spki(ca_key),
                                       .issuer_spki = tlx_key_spki(ca_key)};
  measure_need(tlx_serial_make(template.serial), "serial");
  measure_need(tlx_cert_issue(&template, ca_key, &ca_der), "ca");
  template.profile = TLX_CERT_SERVER;
  template.subject_cn = "echo";
  template.subject_spki = tlx_key_spki(key);
  measure_need(tlx_serial_make(template.serial), "serial");
  measure_need(tlx_cert_issue(&template, ca_key, &leaf_der), "leaf");
  measure_need(tlx_cert_format_pem((struct tlx_bytes){ca_der.data, ca_der.len}, &ca_pem), "pem");
  measure_need(tlx_ca_bundle_parse_pem(ca_pem.data, ca_pem.len, &ca), "bundle");
  struct tlx_bytes chain = {leaf_der.data, leaf_der.len};
  struct tlx_tls_options server = {
      .server = true, .chain = &chain, .n_chain = 1, .key = key, .ca = ca};
  struct tlx_tls_options client = {.ca = ca};
  struct tlx_tls_ctx *server_ctx, *client_ctx;
  measure_need(tlx_tls_ctx_new(&server, &server_ctx), "server tls");
  measure_need(tlx_tls_ctx_new(&client, &client_ctx), "client tls");
  measure_need(tlx_tls_new(server_ctx, &floor->server.tls), "server tls");
  measure_need(tlx_tls_new(client_ctx, &floor->client.tls), "client tls");
  tlx_tls_ctx_unref(server_ctx);
  tlx_tls_ctx_unref(client_ctx);
  loopback_pair(&floor->client.fd, &floor->server.fd);
  measure_need(pthread_create(&floor->thread, NULL, echo, &floor->server), "thread");
  handshake(&floor->client);
  char path[4096];
  snprintf(path, sizeof path, "%s/floor-%d", folder, getpid());
  floor->disk_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (floor->disk_fd < 0) measure_need(-errno, path);
  unlink(path);
  uint8_t page[DISK_LEN] = {0};
  for (int i = 0; i < 16; i++)
    if (write(floor->disk_fd, page, sizeof page) != sizeof page) measure_need(-errno, path);
  if (fsync(floor->disk_fd) != 0) measure_need(-errno, path);
  tlx_key_free(ca_key);
  tlx_key_free(key);
  tlx_ca_bundle_free(ca);
  tlx_buf_done(&ca_der);
  tlx_buf_done(&ca_pem);
  tlx_buf_done(&leaf_der);
  return floor;
}

uint64_t floor_measure(struct floor *floor) {
  uint8_t message[ECHO_LEN], page[DISK_LEN];
  memset(message, 7, sizeof message);
  memset(page, 9, sizeof page);
  uint64_t start_ns = measure_now_ns();
  for (int i = 0; i < 3; i++) {
    measure_need(tlx_tls_write(floor->client.tls, message, sizeof message), "tls");
    flush(&floor->client);
    if (!read_message(&floor->client, message)) exit(1);
    if (pwrite(floor->disk_fd, page, sizeof page, i * (off_t)DISK_LEN) != sizeof page)
      measure_need(-errno, "pwrite");
    if (fdatasync(floor->disk_fd) != 0) measure_need(-errno, "fdatasync");
  }
  return measure_now_ns() - start_ns;
}

void floor_close(struct floor *floor) {
  shutdown(floor->client.fd, SHUT_RDWR);
  pthread_join(floor->thread, NULL);
  close(floor->client.fd);
  close(floor->server.fd);
  close(floor->disk_fd);
  tlx_tls_free(floor->client.tls);
  tlx_tls_free(floor->server.tls);
  free(floor);
}
