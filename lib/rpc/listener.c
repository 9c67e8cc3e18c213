// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"
#include "common/log.h"
#include "common/text.h"

#define BACKLOG 1024
/* Accepted in one turn, so that a flood of connections does not starve those that stand. */
#define ACCEPTS_PER_TURN 64u

struct tlx_listener {
  uv_poll_t poll;
  int fd, spare_fd; /* the spare one lets us accept and refuse when no descriptor is left */
  uint16_t port;
  void (*accepted)(void *arg, int fd);
  void *arg;
  void (*closed)(void *arg);
  void *closed_arg;
};

static int open_spare(void) {
  return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Without a free descriptor the waiting connection would make the loop spin. */
static void refuse_one(struct tlx_listener *listener) {
  tlx_error(RPC, "no file descriptor is left: a connection is refused; raise LimitNOFILE");
  if (listener->spare_fd >= 0) close(listener->spare_fd);
  int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
  listener->spare_fd = open_spare();
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  struct tlx_listener *listener = poll->data;
  for (unsigned i = 0; i < ACCEPTS_PER_TURN && listener->fd >= 0; i++) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      listener->accepted(listener->arg, fd);
    } else if (errno == EMFILE || errno == ENFILE) {
      refuse_one(listener);
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

/* tlx_address_parse refuses port 0, which means "any" here. */
static int parse_address(const char *text, struct sockaddr_storage *ret_address,
                         socklen_t *ret_len) {
  char host[64];
  uint64_t port;
  const char *colon = strrchr(text, ':');
  size_t len = colon ? (size_t)(colon - text) : 0;
  if (!colon || len >= sizeof host || tlx_u64_parse(colon + 1, 65535, &port) != 0) return -EINVAL;
  memcpy(host, text, len);
  host[len] = '\0';
  memset(ret_address, 0, sizeof *ret_address);
  struct sockaddr_in6 *v6 = (void *)ret_address;
  struct sockaddr_in *v4 = (void *)ret_address;
  if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
    host[len - 1] = '\0';
    if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1) return -EINVAL;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    *ret_len = sizeof *v6;
    return 0;
  }
  if (inet_pton(AF_INET, host, &v4->sin_addr) != 1) return -EINVAL;
  v4->sin_family = AF_INET;
  v4->sin_port = htons((uint16_t)port);
  *ret_len = sizeof *v4;
  return 0;
}

static int open_socket(const struct sockaddr *address, socklen_t len) {
  int on = 1, off = 0;
  int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      (address->sa_family == AF_INET6 &&
       setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) ||
      bind(fd, address, len) != 0 || listen(fd, BACKLOG) != 0) {
    int err = -errno;
    close(fd);
    return err;
  }
  return fd;
}

static uint16_t port_of(int fd) {
  struct sockaddr_storage bound = {0};
  socklen_t len = sizeof bound;
  if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0) return 0;
  return ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                           : ((struct sockaddr_in *)&bound)->sin_port);
}

int tlx_listener_new(uv_loop_t *loop, const char *address, void (*accepted)(void *arg, int fd),
                     void *arg, struct tlx_listener **ret_listener) {
  struct sockaddr_storage parsed;
  socklen_t len;
  int err = parse_address(address, &parsed, &len);
  if (err) return err;
  struct tlx_listener *listener = calloc(1, sizeof *listener);
  if (!listener) return -ENOMEM;
  listener->fd = open_socket((struct sockaddr *)&parsed, len);
  err = listener->fd < 0 ? listener->fd : uv_poll_init(loop, &listener->poll, listener->fd);
  if (err) {
    if (listener->fd >= 0) close(listener->fd);
    free(listener);
    return err;
  }
  listener->poll.data = listener;
  listener->spare_fd = open_spare();
  listener->port = port_of(listener->fd);
  listener->accepted = accepted;
  listener->arg = arg;
  err = uv_poll_start(&listener->poll, UV_READABLE, on_readable);
  if (err) {
    tlx_listener_close(listener, NULL, NULL);
    return err;
  }
  *ret_listener = listener;
  return 0;
}

uint16_t tlx_listener_port(const struct tlx_listener *listener) {
  return listener->port;
}

static void on_closed(uv_handle_t *handle) {
  struct tlx_listener *listener = handle->data;
  void (*closed)(void *arg) = listener->closed;
  void *arg = listener->closed_arg;
  free(listener);
  if (closed) closed(arg);
}

void tlx_listener_close(struct tlx_listener *listener, void (*closed)(void *arg), void *arg) {
  listener->closed = closed;
  listener->closed_arg = arg;
  uv_poll_stop(&listener->poll);
  close(listener->fd);
  if (listener->spare_fd >= 0) close(listener->spare_fd);
  listener->fd = listener->spare_fd = -1;
  uv_close((uv_handle_t *)&listener->poll, on_closed);
}
