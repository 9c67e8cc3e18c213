// SPDX-License-Identifier: GPL-2.0-or-later
#include "net_bed.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static uint64_t cookie_of_namespace(void) {
  uint64_t cookie = 0;
  socklen_t len = sizeof cookie;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len), 0);
  close(fd);
  return cookie;
}

void net_bed_ground(struct net_bed *bed) {
  bed_begin(&bed->bed);
  if (unshare(CLONE_NEWNET) != 0) cr_skip_test("no network namespaces in this kernel");
  cr_assert(bed_command("ip link set lo up"));
  bed->cookie = cookie_of_namespace();
}

struct bpf_net *net_bed_open(struct net_bed *bed, bool whole_host, bool *ret_adopted) {
  struct bpf_net_options options = {
      .pin_folder = bed->bed.pins, .cgroup_folder = bed->bed.cgroup, .whole_host = whole_host};
  struct bpf_net *net = NULL;
  char why[240] = "";
  int err = bpf_net_open(&options, why, ret_adopted, &net);
  cr_assert_eq(err, 0, "open: %d %s", err, why);
  return net;
}

/* Moves this process into the bed's cgroup, or out of it, to where nobody is held. */
static void move(const struct net_bed *bed, bool inside) {
  char path[256];
  snprintf(path, sizeof path, "%s%s/cgroup.procs", bed->bed.cgroup, inside ? "" : "/..");
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "0", 1) != 1) _exit(9);
  close(fd);
}

void net_bed_begin(struct net_bed *bed) {
  char why[240] = "";
  bool adopted = true;
  net_bed_ground(bed);
  bed->net = net_bed_open(bed, false, &adopted);
  cr_assert_not(adopted);
  int err = bpf_net_attach(bed->net, why);
  if (err == -EPERM) cr_skip_test("%s", why);
  cr_assert_eq(err, 0, "attach: %d %s", err, why);
  cr_assert_eq(bpf_net_layers(bed->net),
               1u << BPF_NET_LAYER_CGROUP_SKB | 1u << BPF_NET_LAYER_CONNECT |
                   1u << BPF_NET_LAYER_OPTIONS | 1u << BPF_NET_LAYER_OWN,
               "%s", bpf_net_layer_why(bed->net, BPF_NET_LAYER_CONNECT));
  if (!bed->is_outside) move(bed, true);
}

void net_bed_end(struct net_bed *bed) {
  if (bed->net) bpf_net_remove(bed->net);
  bpf_net_close(bed->net);
  if (bed->peer_pid) {
    kill(bed->peer_pid, SIGKILL);
    waitpid(bed->peer_pid, NULL, 0);
  }
  /* The guardian ends whoever is left in the cgroup. */
  if (*bed->bed.cgroup) move(bed, false);
  bed_end(&bed->bed);
}

/* ---- peer ---- */

static int listen_on(int type, uint16_t port) {
  struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  const int one = 1;
  int fd = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) _exit(2);
  if (type == SOCK_STREAM && listen(fd, 16) != 0) _exit(3);
  return fd;
}

/* Sends back what comes, until it is killed. */
static _Noreturn void serve(void) {
  struct pollfd fds[64] = {{listen_on(SOCK_STREAM, NET_PORT), POLLIN, 0},
                           {listen_on(SOCK_STREAM, NET_PORT + 1), POLLIN, 0},
                           {listen_on(SOCK_DGRAM, NET_PORT), POLLIN, 0},
                           {listen_on(SOCK_DGRAM, NET_PORT + 1), POLLIN, 0}};
  unsigned n = 4;
  while (poll(fds, n, -1) > 0)
    for (unsigned i = 0; i < n; i++) {
      char data[2048];
      struct sockaddr_in6 from;
      socklen_t len = sizeof from;
      if (!fds[i].revents) continue;
      if (i < 2) {
        int fd = accept(fds[i].fd, NULL, NULL);
        if (fd >= 0 && n < 64)
          fds[n++] = (struct pollfd){fd, POLLIN, 0};
        else
          close(fd);
      } else if (i < 4) {
        ssize_t got = recvfrom(fds[i].fd, data, sizeof data, 0, (struct sockaddr *)&from, &len);
        if (got > 0) (void)!sendto(fds[i].fd, data, (size_t)got, 0, (struct sockaddr *)&from, len);
      } else {
        ssize_t got = read(fds[i].fd, data, sizeof data);
        if (got <= 0 || write(fds[i].fd, data, (size_t)got) != got) {
          close(fds[i].fd);
          fds[i] = fds[--n];
        }
      }
    }
  _exit(4);
}

void net_bed_peer(struct net_bed *bed) {
  int ready[2], set[2], up[2];
  char byte;
  cr_assert(pipe(ready) == 0 && pipe(set) == 0 && pipe(up) == 0);
  const pid_t parent = getpid();
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    move(bed, false);
    if (getppid() != parent || unshare(CLONE_NEWNET) != 0 || write(ready[1], "r", 1) != 1 ||
        read(set[0], &byte, 1) != 1)
      _exit(1);
    if (!bed_command("ip link set lo up && ip link set p0 up && ip address add " NET_PEER4
                     "/24 dev p0 && "
                     "ip address add " NET_PEER6 "/64 dev p0 nodad"))
      _exit(1);
    if (write(up[1], "u", 1) != 1) _exit(1);
    serve();
  }
  bed->peer_pid = pid;
  cr_assert_eq(read(ready[0], &byte, 1), 1);
  cr_assert(bed_command(
      "ip link add index 50 name h0 type veth peer name p0 && ip link set p0 netns %d && "
      "ip link set h0 up && ip address add " NET_OWN4 "/24 dev h0 && ip address add " NET_OWN6
      "/64 dev h0 nodad",
      pid));
  cr_assert_eq(write(set[1], "s", 1), 1);
  cr_assert_eq(read(up[0], &byte, 1), 1);
  for (unsigned i = 0; i < 2; i++)
    close(ready[i]), close(set[i]), close(up[i]);
  /* The device counts as up some moments later, and its servers bind. */
  for (unsigned i = 0; i < 500 && net_talk(bed, AF_INET6, SOCK_STREAM, NET_PEER6, NET_PORT, 0) != 0;
       i++)
    usleep(10000);
  cr_assert_eq(net_talk(bed, AF_INET6, SOCK_STREAM, NET_PEER6, NET_PORT, 0), 0);
  cr_assert_eq(net_talk(bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0), 0);
}

/* ---- configuration ---- */

void net_bed_publish(struct net_bed *bed, uint32_t mode, ...) {
  struct tlx_net_cfg cfg = {
      .host_netns_cookie = bed->cookie, .mode = mode, .slot = 7, .user_timeout_ms = 1000};
  struct tlx_allow_entry allow[TLX_ALLOW_LIST_MAX];
  size_t n = 0;
  va_list args;
  va_start(args, mode);
  for (const char *text; (text = va_arg(args, const char *));) {
    const char *fault = "";
    cr_assert_eq(tlx_allow_parse(text, &allow[n++], &fault), 0, "%s %s", text, fault);
  }
  va_end(args);
  int err = bpf_net_publish(bed->net, &cfg, allow, n);
  cr_assert_eq(err, 0, "publish: %d", err);
}

struct tlx_net_stats net_bed_stats(struct net_bed *bed) {
  struct tlx_net_stats stats;
  cr_assert_eq(bpf_net_stats(bed->net, &stats), 0);
  return stats;
}

/* ---- sockets ---- */

static socklen_t make_address(int family, const char *text, uint16_t port,
                              struct sockaddr_storage *out) {
  memset(out, 0, sizeof *out);
  out->ss_family = (sa_family_t)family;
  if (family == AF_INET) {
    struct sockaddr_in *in = (void *)out;
    in->sin_port = htons(port);
    cr_assert_eq(inet_pton(AF_INET, text, &in->sin_addr), 1);
    return sizeof *in;
  }
  struct sockaddr_in6 *in6 = (void *)out;
  in6->sin6_port = htons(port);
  cr_assert_eq(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
  return sizeof *in6;
}

int net_connect(struct net_bed *bed, int family, int type, const char *address, uint16_t port,
                uint32_t what, int timeout_ms) {
  struct sockaddr_storage to;
  socklen_t len = make_address(family, address, port, &to), err_len = sizeof(int);
  int err = 0;
  int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  cr_assert_geq(fd, 0);
  if (what) cr_assert_eq(bpf_net_mark(bed->bed.pins, fd, what), 0);
  if (connect(fd, (struct sockaddr *)&to, len) == 0) return fd;
  err = errno;
  if (err == EINPROGRESS) {
    struct pollfd wait = {fd, POLLOUT, 0};
    err = ETIMEDOUT;
    if (poll(&wait, 1, timeout_ms) == 1) getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_len);
  }
  if (!err) return fd;
  close(fd);
  return -err;
}

int net_echo(int fd, int timeout_ms) {
  char back[8];
  struct pollfd wait = {fd, POLLIN, 0};
  if (send(fd, "word", 4, MSG_NOSIGNAL) != 4) return -errno;
  if (poll(&wait, 1, timeout_ms) != 1) return -ETIMEDOUT;
  return recv(fd, back, sizeof back, 0) >= 4 ? 0 : -errno;
}

int net_talk(struct net_bed *bed, int family, int type, const char *address, uint16_t port,
             uint32_t what) {
  int fd = net_connect(bed, family, type, address, port, what, 10000);
  if (fd < 0) return fd;
  int err = net_echo(fd, 10000);
  close(fd);
  return err;
}

int net_sendto(int family, const char *address, uint16_t port) {
  struct sockaddr_storage to;
  socklen_t len = make_address(family, address, port, &to);
  int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  cr_assert_geq(fd, 0);
  int err = sendto(fd, "word", 4, 0, (struct sockaddr *)&to, len) == 4 ? 0 : -errno;
  close(fd);
  return err;
}
