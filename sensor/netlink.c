// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/netlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/check.h"
#include "common/cleanup.h"

#define ANSWER_MAX (64u << 10)
#define WAIT_S 2
#define READ_TRIES 3

int netlink_open(int protocol) {
  int fd TLX_AUTOCLOSE = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  struct timeval wait = {.tv_sec = WAIT_S};
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0) return -errno;
  return TLX_TAKE_FD(fd);
}

void netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags, const void *body,
                   size_t body_len) {
  memset(request, 0, sizeof *request);
  tlx_require(NLMSG_SPACE(body_len) <= sizeof request->bytes);
  request->head = (struct nlmsghdr){.nlmsg_len = (uint32_t)NLMSG_LENGTH(body_len),
                                    .nlmsg_type = type,
                                    .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)};
  memcpy(request->bytes + NLMSG_HDRLEN, body, body_len);
}

void netlink_add(struct netlink_request *request, uint16_t type, const void *data, size_t len) {
  size_t at = NLMSG_ALIGN(request->head.nlmsg_len);
  struct nlattr attribute = {.nla_len = (uint16_t)(NLA_HDRLEN + len), .nla_type = type};
  tlx_require(at + NLA_HDRLEN + len <= sizeof request->bytes);
  memcpy(request->bytes + at, &attribute, sizeof attribute);
  memcpy(request->bytes + at + NLA_HDRLEN, data, len);
  request->head.nlmsg_len = (uint32_t)(at + NLA_HDRLEN + len);
}

/* 1: the answer is whole. */
static int take(const struct nlmsghdr *message, uint16_t flags,
                int (*each)(void *arg, const struct nlmsghdr *message), void *arg) {
  int number = 0;
  if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE) {
    /* The error comes first in both; the end of a dump may be without. */
    if (message->nlmsg_len >= NLMSG_LENGTH(sizeof number))
      memcpy(&number, NLMSG_DATA(message), sizeof number);
    return number < 0 ? number : 1;
  }
  if (message->nlmsg_flags & NLM_F_DUMP_INTR) return -EINTR;
  int err = each ? each(arg, message) : 0;
  return err ? err : !(flags & NLM_F_ACK) && (flags & NLM_F_DUMP) != NLM_F_DUMP;
}

int netlink_ask(int fd, struct netlink_request *request,
                int (*each)(void *arg, const struct nlmsghdr *message), void *arg) {
  static _Thread_local uint32_t last_seq;
  uint16_t flags = request->head.nlmsg_flags;
  void *answer TLX_AUTOFREE = malloc(ANSWER_MAX);
  if (!answer) return -ENOMEM;
  request->head.nlmsg_seq = ++last_seq;
  if (send(fd, request, request->head.nlmsg_len, 0) < 0) return -errno;
  for (;;) {
    ssize_t n = recv(fd, answer, ANSWER_MAX, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN ? -ETIMEDOUT : -errno;
    size_t left = (size_t)n;
    for (const struct nlmsghdr *message = answer; NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
      /* The rest of an answer that an earlier question did not wait for. */
      if (message->nlmsg_seq != request->head.nlmsg_seq) continue;
      int done = take(message, flags, each, arg);
      if (done) return done > 0 ? 0 : done;
    }
  }
}

int netlink_read(int protocol, int (*once)(int fd, void *arg), void *arg) {
  int err = -EINTR;
  for (unsigned tries = 0; (err == -EINTR || err == -EBUSY) && tries < READ_TRIES; tries++) {
    int fd TLX_AUTOCLOSE = netlink_open(protocol);
    err = fd < 0 ? fd : once(fd, arg);
  }
  return err;
}

const void *netlink_find(const void *data, size_t len, uint16_t type, size_t *ret_len) {
  const char *at = data;
  while (len >= NLA_HDRLEN) {
    struct nlattr attribute;
    memcpy(&attribute, at, sizeof attribute);
    if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > len) return NULL;
    if ((attribute.nla_type & NLA_TYPE_MASK) == type) {
      *ret_len = attribute.nla_len - (size_t)NLA_HDRLEN;
      return at + NLA_HDRLEN;
    }
    size_t whole = NLA_ALIGN(attribute.nla_len);
    if (whole >= len) return NULL;
    at += whole;
    len -= whole;
  }
  return NULL;
}

uint32_t netlink_u32(const void *data, size_t len, uint16_t type) {
  uint32_t value = 0;
  size_t found_len = 0;
  const void *found = netlink_find(data, len, type, &found_len);
  if (found && found_len >= sizeof value) memcpy(&value, found, sizeof value);
  return value;
}
