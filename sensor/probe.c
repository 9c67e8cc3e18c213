// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "sensor/child.h"
#include "sensor/net_addresses.h"
#include "sensor/net_own.h"

enum { SOCKET_OWN, SOCKET_TCP, SOCKET_UDP, SOCKET_PACKET, SOCKET_PACKET_TCP, SOCKET_COUNT };
#define N_SOCKETS (2 * SOCKET_COUNT)
#define CHILD_LIMIT_MS 2000
#define PORT_DISCARD 9
#define NEIGHBOURS_MAX 16u

/* ---- sockets ---- */

static void make_sockets(int fds[N_SOCKETS]) {
  static const int domains[] = {AF_INET, AF_INET6};
  for (int i = 0; i < N_SOCKETS; i++) {
    int which = i % SOCKET_COUNT;
    int type = which == SOCKET_UDP || which == SOCKET_PACKET ? SOCK_DGRAM : SOCK_STREAM;
    fds[i] = socket(domains[i / SOCKET_COUNT], type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fds[i] < 0) fds[i] = -errno;
  }
}

/* A message of N_SOCKETS numbers with the descriptors of those that are not negative. */
union control {
  struct cmsghdr head;
  char bytes[CMSG_SPACE(sizeof(int[N_SOCKETS]))];
};

/* In the child: system calls only. */
static _Noreturn void hand_sockets(int channel) {
  int fds[N_SOCKETS], passed[N_SOCKETS];
  size_t n = 0;
  union control control = {0};
  make_sockets(fds);
  for (int i = 0; i < N_SOCKETS; i++)
    if (fds[i] >= 0) passed[n++] = fds[i];
  struct iovec part = {fds, sizeof fds};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (n) {
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(n * sizeof *passed);
    control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(n * sizeof *passed),
                                    .cmsg_level = SOL_SOCKET,
                                    .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.head), passed, n * sizeof *passed);
  }
  _exit(sendmsg(channel, &message, MSG_NOSIGNAL) == sizeof fds ? 0 : 1);
}

static int take_sockets(int channel, int fds[N_SOCKETS]) {
  union control control = {0};
  int passed[N_SOCKETS], told[N_SOCKETS];
  struct iovec part = {told, sizeof told};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  if (recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof told) return -EPROTO;
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  size_t n = head ? (head->cmsg_len - CMSG_LEN(0)) / sizeof *passed : 0, at = 0;
  if (head) memcpy(passed, CMSG_DATA(head), n * sizeof *passed);
  for (int i = 0; i < N_SOCKETS; i++)
    fds[i] = told[i] < 0 ? told[i] : at < n ? passed[at++] : -EPROTO;
  return 0;
}

/* A socket belongs to the cgroup of the process that made it. */
static int make_sockets_in(const char *folder, int fds[N_SOCKETS]) {
  int pair[2], pidfd = -1, status = 0;
  int cgroup TLX_AUTOCLOSE = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (cgroup < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return -errno;
  pid_t pid = child_clone(cgroup, &pidfd);
  if (pid == 0) hand_sockets(pair[1]);
  int err = pid < 0 ? -errno : child_wait(pid, pidfd, CHILD_LIMIT_MS, &status);
  if (pid > 0) close(pidfd);
  if (!err && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) err = -EPROTO;
  if (!err) err = take_sockets(pair[0], fds);
  close(pair[0]);
  close(pair[1]);
  return err;
}

/* ---- shots ---- */

static struct probe_shot shot_of(int err) {
  struct probe_shot shot = {.outcome = PROBE_ERROR, .err = err};
  if (!err) shot.outcome = PROBE_PASSED;
  if (err == -EPERM || err == -EACCES) shot.outcome = PROBE_DENIED;
  if (err == -ECONNREFUSED || err == -ECONNRESET) shot.outcome = PROBE_ANSWERED;
  if (err == -ETIMEDOUT) shot.outcome = PROBE_SILENT;
  if (err == -ENETUNREACH || err == -EHOSTUNREACH || err == -EADDRNOTAVAIL || err == -ENETDOWN)
    shot.outcome = PROBE_NO_ROUTE;
  return shot;
}

/* PROBE_SILENT with -EINPROGRESS: nothing came back yet. */
static struct probe_shot start_tcp(int fd, const uint8_t address[16], uint16_t port) {
  struct sockaddr_storage to;
  socklen_t len;
  net_address_to(address, port, &to, &len);
  if (connect(fd, (struct sockaddr *)&to, len) == 0) return shot_of(0);
  if (errno == EINPROGRESS) return (struct probe_shot){.outcome = PROBE_SILENT, -EINPROGRESS};
  return shot_of(-errno);
}

static struct probe_shot end_tcp(int fd) {
  int error = 0;
  socklen_t len = sizeof error;
  return shot_of(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 ? -errno : -error);
}

static struct probe_shot shoot_tcp(int fd, const uint8_t address[16], uint16_t port) {
  struct pollfd item = {.fd = fd, .events = POLLOUT};
  struct probe_shot shot = start_tcp(fd, address, port);
  if (shot.err != -EINPROGRESS) return shot;
  int n = poll(&item, 1, PROBE_LIMIT_MS);
  return n > 0 ? end_tcp(fd) : shot_of(n < 0 ? -errno : -ETIMEDOUT);
}

static struct probe_shot shoot_udp(int fd, const uint8_t address[16], uint16_t port) {
  struct sockaddr_storage to;
  socklen_t len;
  net_address_to(address, port, &to, &len);
  return shot_of(sendto(fd, "", 1, MSG_NOSIGNAL, (struct sockaddr *)&to, len) < 0 ? -errno : 0);
}

static int counters(const struct probe_options *options, uint64_t *ret_probes,
                    uint64_t *ret_would) {
  struct tlx_net_stats stats;
  int err = bpf_net_stats(options->net, &stats);
  if (err) return err;
  *ret_probes = stats.probes;
  *ret_would = 0;
  for (unsigned at = 0; at < TLX_NET_AT_MAX; at++)
    *ret_would += stats.would[at];
  return 0;
}

/* One shot of a socket that is marked as a probe. Only this worker has such sockets, and one at a
 * time: a counter that grew has counted this one. */
static int shoot_counted(const struct probe_options *options, int fd, uint32_t mark,
                         struct probe_shot (*shoot)(int, const uint8_t *, uint16_t),
                         const uint8_t address[16], uint16_t port, struct probe_shot *ret_shot) {
  uint64_t before = 0, after = 0, would;
  int err = bpf_net_mark(options->pin_folder, fd, mark);
  if (!err) err = counters(options, &before, &would);
  if (err) return err;
  *ret_shot = shoot(fd, address, port);
  err = counters(options, &after, &would);
  ret_shot->was_counted = !err && after > before;
  return err;
}

bool probe_target(const struct probe_options *options, unsigned family, uint8_t ret_address[16],
                  uint16_t *ret_port) {
  /* Documentation prefixes (RFC 5737, RFC 3849): nobody is there. */
  static const uint8_t spare[2][3][16] = {
      {{[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 1},
       {[10] = 0xff, [11] = 0xff, [12] = 198, [13] = 51, [14] = 100, [15] = 1},
       {[10] = 0xff, [11] = 0xff, [12] = 203, [14] = 113, [15] = 1}},
      {{0x20, 0x01, 0x0d, 0xb8, [15] = 1},
       {0x20, 0x01, 0x0d, 0xb8, 0x80, [15] = 1},
       {0x20, 0x01, 0x0d, 0xb8, 0, 1, [15] = 1}}};
  const struct probe_console *console = &options->console[family];
  *ret_port = console->port ? console->port : PORT_DISCARD;
  for (unsigned i = 0; i < 4; i++) {
    const uint8_t *candidate = i == 0 ? console->address : spare[family][i - 1];
    if ((i == 0 && !console->port) || rule_contain_mentions(options->rule, candidate) ||
        net_address_is_local(candidate, options->local, options->n_local))
      continue;
    memcpy(ret_address, candidate, 16);
    return true;
  }
  return false;
}

/* A datagram that the hooks of calls let pass. Where another firewall or a route takes it before
 * our program sees it, the first packet of a connection goes where the marked one goes too; the
 * kernel does not say what became of that, but our program counts only what it stops, and does so
 * within the call. */
static int shoot_packet(const struct probe_options *options, const int *fds,
                        const uint8_t address[16], uint16_t port, struct probe_shot *ret_shot) {
  struct probe_shot tcp = {0};
  int err = shoot_counted(options, fds[SOCKET_PACKET], TLX_SOCK_PROBE_PACKET, shoot_udp, address,
                          port, ret_shot);
  if (err || ret_shot->was_counted || ret_shot->outcome == PROBE_PASSED) return err;
  err = shoot_counted(options, fds[SOCKET_PACKET_TCP], TLX_SOCK_PROBE_PACKET, start_tcp, address,
                      port, &tcp);
  if (err || tcp.outcome == PROBE_NO_ROUTE) return err;
  if (tcp.was_counted)
    *ret_shot = (struct probe_shot){PROBE_DENIED, -EPERM, true};
  else if (tcp.outcome == PROBE_SILENT)
    *ret_shot = (struct probe_shot){.outcome = PROBE_PASSED};
  else
    *ret_shot = tcp;
  return 0;
}

/* Where no route leads to the target: on the link there is one to whoever may be beside an address
 * of this host. What passes there proves nothing. */
static int shoot_neighbours(const struct probe_options *options, unsigned family, const int *fds,
                            uint16_t port, struct probe_shot *ret_shot) {
  static const uint8_t beside[] = {2, 3, 4};
  unsigned n_tried = 0;
  for (size_t i = 0; i < options->n_local * sizeof beside && n_tried < NEIGHBOURS_MAX; i++) {
    struct probe_shot shot;
    uint8_t address[16];
    memcpy(address, options->local[i / sizeof beside].bytes, sizeof address);
    address[15] ^= beside[i % sizeof beside];
    if (net_address_is_v4(address) != (family == 0) ||
        rule_contain_mentions(options->rule, address) ||
        net_address_is_local(address, options->local, options->n_local))
      continue;
    n_tried++;
    int err = shoot_counted(options, fds[SOCKET_PACKET], TLX_SOCK_PROBE_PACKET, shoot_udp, address,
                            port, &shot);
    if (err) return err;
    if (!shot.was_counted) continue;
    *ret_shot = shot;
    return 0;
  }
  return 0;
}

static int probe_one(const struct probe_options *options, unsigned family, const int *fds,
                     struct probe_family *ret_family) {
  uint8_t target[16];
  uint16_t port;
  char text[46];
  int err = 0;
  if (fds[SOCKET_TCP] < 0) return fds[SOCKET_TCP] == -EAFNOSUPPORT ? 0 : fds[SOCKET_TCP];
  ret_family->exists = true;
  ret_family->has_target = probe_target(options, family, target, &port);
  if (ret_family->has_target) {
    snprintf(ret_family->target, sizeof ret_family->target, "%s port %u",
             net_address_text(target, text), port);
    err = shoot_counted(options, fds[SOCKET_TCP], TLX_SOCK_PROBE, shoot_tcp, target, port,
                        &ret_family->tcp);
    if (!err)
      err = shoot_counted(options, fds[SOCKET_UDP], TLX_SOCK_PROBE, shoot_udp, target, port,
                          &ret_family->udp);
    if (!err) err = shoot_packet(options, fds, target, port, &ret_family->packet);
    if (!err && ret_family->packet.outcome == PROBE_NO_ROUTE)
      err = shoot_neighbours(options, family, fds, port, &ret_family->packet);
  }
  return err;
}

/* First of all, so that its answer comes while the others are tried. */
static void start_own(const struct probe_options *options, unsigned family, const int *fds,
                      struct probe_family *ret_family) {
  const struct probe_console *console = &options->console[family];
  if (!console->port || fds[SOCKET_OWN] < 0) return;
  ret_family->has_console = true;
  net_own_mark(options->pin_folder, fds[SOCKET_OWN]);
  ret_family->own = start_tcp(fds[SOCKET_OWN], console->address, console->port);
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_answered(const struct probe_shot *own) {
  return own->outcome == PROBE_PASSED || own->outcome == PROBE_ANSWERED;
}

void probe_own_wait(const int fds[2], unsigned limit_ms, struct probe *probe) {
  const uint64_t end_ms = now_ms() + limit_ms;
  struct pollfd items[2];
  for (;;) {
    bool is_over = true;
    for (unsigned i = 0; i < 2; i++) {
      const struct probe_shot *own = &probe->families[i].own;
      bool waits = own->outcome == PROBE_SILENT && own->err == -EINPROGRESS;
      if (is_answered(own)) return;
      items[i] = (struct pollfd){.fd = waits ? fds[i] : -1, .events = POLLOUT};
      is_over &= !waits;
    }
    const uint64_t now = now_ms();
    if (is_over || (poll(items, 2, now < end_ms ? (int)(end_ms - now) : 0) <= 0 && now >= end_ms))
      return;
    for (unsigned i = 0; i < 2; i++)
      if (items[i].revents) probe->families[i].own = end_tcp(fds[i]);
  }
}

int probe_run(const struct probe_options *options, struct probe *ret_probe) {
  int fds[N_SOCKETS];
  uint64_t probes, before = 0, after = 0;
  struct probe probe = {.console_is_local = options->console_is_local};
  int err = 0;
  if (options->scope_folder)
    err = make_sockets_in(options->scope_folder, fds);
  else
    make_sockets(fds);
  if (err) return err;
  for (unsigned family = 0; family < 2; family++)
    start_own(options, family, fds + family * SOCKET_COUNT, &probe.families[family]);
  err = counters(options, &probes, &before);
  for (unsigned family = 0; family < 2 && !err; family++)
    err = probe_one(options, family, fds + family * SOCKET_COUNT, &probe.families[family]);
  if (!err) err = counters(options, &probes, &after);
  const int own[2] = {fds[SOCKET_OWN], fds[SOCKET_COUNT + SOCKET_OWN]};
  if (!err) probe_own_wait(own, PROBE_OWN_LIMIT_MS, &probe);
  for (int i = 0; i < N_SOCKETS; i++)
    if (fds[i] >= 0) close(fds[i]);
  if (err) return err;
  probe.would_grown = after - before;
  *ret_probe = probe;
  return 0;
}

/* ---- judgement ---- */

static const char *const outcome_words[] = {
    [PROBE_NOT_TRIED] = "was not tried",
    [PROBE_PASSED] = "got through",
    [PROBE_ANSWERED] = "reached a peer",
    [PROBE_DENIED] = "got EPERM",
    [PROBE_SILENT] = "got no answer",
    [PROBE_NO_ROUTE] = "found no route",
    [PROBE_ERROR] = "failed",
};

/* Of an unmarked socket. */
static enum probe_verdict judge_shot(const struct probe_family *family, const char *what,
                                     const struct probe_shot *shot, bool may_be_silent, char *why,
                                     size_t size) {
  bool stopped = shot->outcome == PROBE_DENIED || (may_be_silent && shot->outcome == PROBE_SILENT);
  if (stopped && shot->was_counted) return PROBE_HOLDS;
  snprintf(why, size, "an unmarked %s socket to %s %s%s%s%s", what, family->target,
           outcome_words[shot->outcome], shot->outcome == PROBE_ERROR ? ": " : "",
           shot->outcome == PROBE_ERROR ? tlx_err_text(shot->err) : "",
           shot->was_counted ? "" : ", and our programs did not stop it");
  return shot->outcome == PROBE_ERROR ? PROBE_FAILED : PROBE_LEAKS;
}

static enum probe_verdict judge_family(const struct probe_family *family, bool has_connect,
                                       char *why, size_t size) {
  if (!family->exists) return PROBE_HOLDS;
  if (!family->has_target) {
    snprintf(why, size, "the allow list covers every address that could be tried");
    return PROBE_FAILED;
  }
  enum probe_verdict verdict = judge_shot(family, "TCP", &family->tcp, !has_connect, why, size);
  if (verdict == PROBE_HOLDS) verdict = judge_shot(family, "UDP", &family->udp, false, why, size);
  /* A family without a way there is nothing to wonder at; then the other one tells. */
  if (verdict != PROBE_HOLDS || family->packet.outcome == PROBE_NO_ROUTE) return verdict;
  if (family->packet.outcome != PROBE_DENIED || family->packet.was_counted)
    return judge_shot(family, "datagram", &family->packet, false, why, size);
  snprintf(why, size, "packets to %s were stopped by another program before ours could be tried",
           family->target);
  return PROBE_FAILED;
}

/* The program of packets is the same for both families. */
static bool has_packet_stopped(const struct probe *probe) {
  for (unsigned i = 0; i < 2; i++)
    if (probe->families[i].packet.outcome == PROBE_DENIED) return true;
  return false;
}

/* One Console address that answers is enough: a host without IPv6 may have a Console with it. */
static enum probe_verdict judge_own(const struct probe *probe, char *why, size_t size) {
  bool was_tried = false, answered = false;
  for (unsigned i = 0; i < 2; i++) {
    const struct probe_family *family = &probe->families[i];
    if (!family->exists || !family->has_console) continue;
    was_tried = true;
    answered |= is_answered(&family->own);
    if (family->own.outcome != PROBE_DENIED) continue;
    snprintf(why, size, "the sensor's own socket is stopped too");
    return PROBE_CUTS_OWN;
  }
  if (answered && !has_packet_stopped(probe)) {
    snprintf(why, size, "no packet of an unmarked socket could be tried: there is no route");
    return PROBE_NO_CONSOLE;
  }
  if (answered || (!was_tried && probe->console_is_local)) return PROBE_HOLDS;
  snprintf(why, size,
           was_tried ? "no address of the Console answers" : "no address of the Console is known");
  return PROBE_NO_CONSOLE;
}

enum probe_verdict probe_judge(const struct probe *probe, uint32_t mode, bool has_connect,
                               char *why, size_t size) {
  if (mode == TLX_NET_OBSERVE) {
    if (probe->would_grown) return PROBE_HOLDS;
    snprintf(why, size, "the programs counted nothing of what was sent");
    return PROBE_LEAKS;
  }
  for (unsigned i = 0; i < 2; i++) {
    enum probe_verdict verdict = judge_family(&probe->families[i], has_connect, why, size);
    if (verdict != PROBE_HOLDS) return verdict;
  }
  if (!probe->families[0].exists && !probe->families[1].exists) {
    snprintf(why, size, "this kernel has neither IPv4 nor IPv6");
    return PROBE_FAILED;
  }
  return judge_own(probe, why, size);
}
