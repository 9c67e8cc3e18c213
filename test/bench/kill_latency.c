// SPDX-License-Identifier: GPL-2.0-or-later
/* bench-kill-latency: how long a kill takes, beside the floor measured in the same run.
 *
 *   bench-kill-latency PROFILE HOST:PORT SENSOR_ID SCOPE_CGROUP DISK_FOLDER ROUNDS
 *
 * Each round starts a victim in SCOPE_CGROUP, orders it killed, follows the order with WatchKill,
 * and notes when the process was gone (its pidfd) and when the operator was told. Beside each round
 * the floor is measured: three times { one TLS round trip over loopback, one write + fdatasync in
 * DISK_FOLDER }, because the order, its delivery and its result are each one round trip and one
 * durable commit. Prints one line of JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/kill_view.h"
#include "client/profile.h"
#include "client/session.h"
#include "common/check.h"
#include "common/err.h"
#include "common/file.h"
#include "common/text.h"
#include "pki/identity.h"
#include "rpc/tls.h"
#include "telovix/v1/containment.pb-c.h"

#define ECHO_LEN 128u  /* about the size of an order */
#define DISK_LEN 4096u /* one page */

static uint64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void need(int err, const char *what) {
  if (err == 0) return;
  fprintf(stderr, "bench-kill-latency: %s: %s\n", what, tlx_err_text(err));
  exit(1);
}

/* ---- floor: a TLS pair over a loopback socket, echoing ---- */

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
  need(tlx_tls_feed(end->tls, in, (size_t)n), "tls");
  return true;
}

static void handshake(struct tls_end *end) {
  for (;;) {
    int err = tlx_tls_handshake(end->tls);
    flush(end);
    if (err == 0) return;
    if (err != -EAGAIN) need(err, tlx_tls_error(end->tls));
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
    need(tlx_tls_write(end->tls, message, sizeof message), "echo");
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
    need(-errno, "loopback");
  *ret_client_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (*ret_client_fd < 0 || connect(*ret_client_fd, (struct sockaddr *)&address, len) != 0)
    need(-errno, "loopback");
  *ret_server_fd = accept(listener, NULL, NULL);
  if (*ret_server_fd < 0) need(-errno, "loopback");
  setsockopt(*ret_client_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(*ret_server_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  close(listener);
}

/* A self-made CA with one server certificate: the floor needs no fleet. */
static void floor_open(struct floor *floor, const char *folder) {
  struct tlx_key *ca_key, *key;
  struct tlx_buf ca_der = {0}, ca_pem = {0}, leaf_der = {0};
  struct tlx_ca_bundle *ca;
  need(tlx_key_new(&ca_key), "key");
  need(tlx_key_new(&key), "key");
  uint64_t now_wall_ms = tlx_wall_ms(tlx_clock_system());
  struct tlx_cert_template template = {.profile = TLX_CERT_CA,
                                       .subject_cn = "floor",
                                       .issuer_cn = "floor",
                                       .not_before_wall_ms = now_wall_ms - 3600000,
                                       .not_after_wall_ms = now_wall_ms + 3600000,
                                       .subject_spki = tlx_key_spki(ca_key),
                                       .issuer_spki = tlx_key_spki(ca_key)};
  need(tlx_serial_make(template.serial), "serial");
  need(tlx_cert_issue(&template, ca_key, &ca_der), "ca");
  template.profile = TLX_CERT_SERVER;
  template.subject_cn = "echo";
  template.subject_spki = tlx_key_spki(key);
  need(tlx_serial_make(template.serial), "serial");
  need(tlx_cert_issue(&template, ca_key, &leaf_der), "leaf");
  need(tlx_cert_format_pem((struct tlx_bytes){ca_der.data, ca_der.len}, &ca_pem), "pem");
  need(tlx_ca_bundle_parse_pem(ca_pem.data, ca_pem.len, &ca), "bundle");
  struct tlx_bytes chain = {leaf_der.data, leaf_der.len};
  struct tlx_tls_options server = {
      .server = true, .chain = &chain, .n_chain = 1, .key = key, .ca = ca};
  struct tlx_tls_options client = {.ca = ca};
  struct tlx_tls_ctx *server_ctx, *client_ctx;
  need(tlx_tls_ctx_new(&server, &server_ctx), "server tls");
  need(tlx_tls_ctx_new(&client, &client_ctx), "client tls");
  need(tlx_tls_new(server_ctx, &floor->server.tls), "server tls");
  need(tlx_tls_new(client_ctx, &floor->client.tls), "client tls");
  tlx_tls_ctx_unref(server_ctx);
  tlx_tls_ctx_unref(client_ctx);
  loopback_pair(&floor->client.fd, &floor->server.fd);
  need(pthread_create(&floor->thread, NULL, echo, &floor->server), "thread");
  handshake(&floor->client);
  char path[4096];
  snprintf(path, sizeof path, "%s/floor-%d", folder, getpid());
  floor->disk_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (floor->disk_fd < 0) need(-errno, path);
  unlink(path);
  uint8_t page[DISK_LEN] = {0};
  for (int i = 0; i < 16; i++)
    if (write(floor->disk_fd, page, sizeof page) != sizeof page) need(-errno, path);
  if (fsync(floor->disk_fd) != 0) need(-errno, path);
  tlx_key_free(ca_key);
  tlx_key_free(key);
  tlx_ca_bundle_free(ca);
  tlx_buf_done(&ca_der);
  tlx_buf_done(&ca_pem);
  tlx_buf_done(&leaf_der);
}

static uint64_t floor_measure(struct floor *floor) {
  uint8_t message[ECHO_LEN], page[DISK_LEN];
  memset(message, 7, sizeof message);
  memset(page, 9, sizeof page);
  uint64_t start_ns = now_ns();
  for (int i = 0; i < 3; i++) {
    need(tlx_tls_write(floor->client.tls, message, sizeof message), "tls");
    flush(&floor->client);
    if (!read_message(&floor->client, message)) exit(1);
    if (pwrite(floor->disk_fd, page, sizeof page, i * (off_t)DISK_LEN) != sizeof page)
      need(-errno, "pwrite");
    if (fdatasync(floor->disk_fd) != 0) need(-errno, "fdatasync");
  }
  return now_ns() - start_ns;
}

static void floor_close(struct floor *floor) {
  shutdown(floor->client.fd, SHUT_RDWR);
  pthread_join(floor->thread, NULL);
  close(floor->client.fd);
  close(floor->server.fd);
  close(floor->disk_fd);
  tlx_tls_free(floor->client.tls);
  tlx_tls_free(floor->server.tls);
}

/* ---- one kill ---- */

struct victim {
  pid_t pid;
  int pidfd;
  uint64_t gone_ns;
};

static void victim_start(struct victim *victim, const char *cgroup) {
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) need(-errno, "pipe");
  victim->pid = fork();
  if (victim->pid < 0) need(-errno, "fork");
  if (victim->pid == 0) {
    char path[4096];
    snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, "0", 1) != 1) _exit(1);
    if (write(ready[1], "r", 1) != 1) _exit(1);
    for (;;)
      pause();
  }
  char byte;
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) need(-EIO, cgroup);
  close(ready[0]);
  victim->pidfd = (int)syscall(SYS_pidfd_open, victim->pid, 0);
  if (victim->pidfd < 0) need(-errno, "pidfd_open");
  /* An order kills only what started before it by the sensor's clock tick (10 ms) and the age of
   * its baseline. */
  usleep(40000);
}

static void *wait_gone(void *arg) {
  struct victim *victim = arg;
  struct pollfd poll_fd = {.fd = victim->pidfd, .events = POLLIN};
  while (poll(&poll_fd, 1, -1) != 1) {
  }
  victim->gone_ns = now_ns();
  return NULL;
}

struct order {
  char id[TLX_ID_MAX];
  unsigned state;
};

static bool take_order(void *arg, const ProtobufCMessage *message) {
  struct order *order = arg;
  snprintf(order->id, sizeof order->id, "%s",
           ((const Telovix__V1__KillProcessReply *)message)->order->order_id);
  return true;
}

static bool take_state(void *arg, const ProtobufCMessage *message) {
  struct order *order = arg;
  const Telovix__V1__KillOrder *state = (const Telovix__V1__KillOrder *)message;
  order->state = state->state;
  return !kill_view_ended(state);
}

struct sample {
  uint64_t answered_ns, gone_ns, confirmed_ns, floor_ns;
};

static void round_run(struct session *session, const char *sensor_id, const char *cgroup,
                      struct floor *floor, struct sample *sample) {
  struct victim victim = {0};
  struct order order = {.id = ""};
  struct tlx_status status;
  pthread_t thread;
  victim_start(&victim, cgroup);
  need(pthread_create(&thread, NULL, wait_gone, &victim), "thread");
  Telovix__V1__KillProcessRequest request = TELOVIX__V1__KILL_PROCESS_REQUEST__INIT;
  request.sensor = (char *)sensor_id;
  request.pid = (uint32_t)victim.pid;
  struct session_call kill_call = {.path = "/telovix.v1.ContainmentService/KillProcess",
                                   .request = &request.base,
                                   .reply = &telovix__v1__kill_process_reply__descriptor,
                                   .timeout_ms = 30000,
                                   .message = take_order,
                                   .arg = &order};
  uint64_t start_ns = now_ns();
  bool ok = session_run(session, &kill_call, &status);
  sample->answered_ns = now_ns() - start_ns;
  Telovix__V1__GetKillRequest get = TELOVIX__V1__GET_KILL_REQUEST__INIT;
  get.order_id = order.id;
  struct session_call watch = {.path = "/telovix.v1.ContainmentService/WatchKill",
                               .is_stream = true,
                               .request = &get.base,
                               .reply = &telovix__v1__kill_order__descriptor,
                               .timeout_ms = 30000,
                               .message = take_state,
                               .arg = &order};
  if (ok) ok = session_run(session, &watch, &status);
  sample->confirmed_ns = now_ns() - start_ns;
  if (!ok || order.state != TELOVIX__V1__KILL_STATE__KILL_STATE_KILLED) {
    fprintf(stderr, "bench-kill-latency: order %s: state %u, %s\n", order.id, order.state,
            status.message);
    kill(victim.pid, SIGKILL);
    exit(1);
  }
  pthread_join(thread, NULL);
  sample->gone_ns = victim.gone_ns - start_ns;
  waitpid(victim.pid, NULL, 0);
  close(victim.pidfd);
  sample->floor_ns = floor_measure(floor);
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Percentile of |n| values at stride sizeof(struct sample), in milliseconds. */
static double percentile(const struct sample *samples, size_t offset, unsigned n,
                         unsigned permille) {
  uint64_t *values = malloc(n * sizeof *values);
  tlx_require(values);
  for (unsigned i = 0; i < n; i++)
    memcpy(&values[i], (const char *)&samples[i] + offset, sizeof values[i]);
  qsort(values, n, sizeof *values, compare);
  unsigned at = (n * permille + 999) / 1000;
  double ret = (double)values[at ? at - 1 : 0] / 1e6;
  free(values);
  return ret;
}

int main(int argc, char **argv) {
  uint64_t n;
  if (argc != 7 || tlx_u64_parse(argv[6], 100000, &n) != 0 || n == 0) {
    fprintf(
        stderr,
        "usage: bench-kill-latency PROFILE HOST:PORT SENSOR_ID SCOPE_CGROUP DISK_FOLDER ROUNDS\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  struct profile profile;
  char why[512];
  int err = profile_load(argv[1], &profile, why);
  if (err) {
    fprintf(stderr, "bench-kill-latency: %s\n", why);
    return 1;
  }
  struct session *session;
  need(session_open(&profile, argv[2], &session), "session");
  struct floor floor = {0};
  floor_open(&floor, argv[5]);
  struct sample *samples = calloc(n, sizeof *samples), warm;
  tlx_require(samples);
  round_run(session, argv[3], argv[4], &floor, &warm);
  for (uint64_t i = 0; i < n; i++)
    round_run(session, argv[3], argv[4], &floor, &samples[i]);
#define P(field, permille)                                                                         \
  percentile(samples, offsetof(struct sample, field), (unsigned)n, permille)
  double p99 = P(confirmed_ns, 990), floor_p99 = P(floor_ns, 990), p50 = P(confirmed_ns, 500),
         floor_p50 = P(floor_ns, 500);
  printf("{\"rounds\":%llu,\"answered_ms\":{\"p50\":%.3f,\"p99\":%.3f},\"gone_ms\":{\"p50\":%.3f,"
         "\"p99\":%.3f},"
         "\"confirmed_ms\":{\"p50\":%.3f,\"p99\":%.3f},\"floor_ms\":{\"p50\":%.3f,\"p99\":%.3f},"
         "\"ratio\":{\"p50\":%.2f,\"p99\":%.2f}}\n",
         (unsigned long long)n, P(answered_ns, 500), P(answered_ns, 990), P(gone_ns, 500),
         P(gone_ns, 990), p50, p99, floor_p50, floor_p99, p50 / floor_p50, p99 / floor_p99);
#undef P
  floor_close(&floor);
  session_close(session);
  profile_done(&profile);
  free(samples);
  return 0;
}
