// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_watch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN_MAX 256

struct net_watch {
  uv_poll_t poll;
  int fd;
  void (*changed)(void *arg);
  void *arg;
};

bool net_watch_matters(const void *data, size_t len) {
  for (const struct nlmsghdr *message = data; NLMSG_OK(message, len);
       message = NLMSG_NEXT(message, len)) {
    const struct rtmsg *route = NLMSG_DATA(message);
    bool is_route = message->nlmsg_type == RTM_NEWROUTE || message->nlmsg_type == RTM_DELROUTE;
    if (!is_route || message->nlmsg_len < NLMSG_LENGTH(sizeof *route) || route->rtm_dst_len == 0)
      return true;
  }
  return false;
}

/* Beyond that, what it says does not matter: who follows reads all of it. */
static void on_readable(uv_poll_t *poll, int status, int events) {
  struct net_watch *watch = poll->data;
  char message[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
  bool matters = status < 0;
  for (int i = 0; i < TURN_MAX; i++) {
    ssize_t n = recv(watch->fd, message, sizeof message, MSG_DONTWAIT);
    if (n < 0 && errno != ENOBUFS) break;
    matters |= n < 0 || net_watch_matters(message, (size_t)n);
  }
  if (matters) watch->changed(watch->arg);
}

static void on_closed(uv_handle_t *handle) {
  struct net_watch *watch = handle->data;
  close(watch->fd);
  free(watch);
}

int net_watch_new(uv_loop_t *loop, void (*changed)(void *arg), void *arg,
                  struct net_watch **ret_watch) {
  struct net_watch *watch = calloc(1, sizeof *watch);
  struct sockaddr_nl address = {.nl_family = AF_NETLINK,
                                .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                                             RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};
  if (!watch) return -ENOMEM;
  watch->changed = changed;
  watch->arg = arg;
  watch->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  int err = watch->fd < 0 ? -errno : 0;
  if (!err && bind(watch->fd, (struct sockaddr *)&address, sizeof address) != 0) err = -errno;
  if (!err) err = uv_poll_init(loop, &watch->poll, watch->fd);
  if (err) {
    if (watch->fd >= 0) close(watch->fd);
    free(watch);
    return err;
  }
  watch->poll.data = watch;
  err = uv_poll_start(&watch->poll, UV_READABLE, on_readable);
  if (err) {
    net_watch_close(watch);
    return err;
  }
  *ret_watch = watch;
  return 0;
}

void net_watch_close(struct net_watch *watch) {
  if (watch) uv_close((uv_handle_t *)&watch->poll, on_closed);
}
