// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

/* Questions to the kernel over netlink(7), one at a time, answered before the call returns. Worker
 * thread. */

#define NETLINK_REQUEST_MAX 512u

/* A request that is put together: a header, the family's own header, attributes. */
struct netlink_request {
  union {
    struct nlmsghdr head;
    char bytes[NETLINK_REQUEST_MAX];
  };
};

/* Opens a socket of |protocol| (NETLINK_ROUTE, NETLINK_SOCK_DIAG) in the network namespace of this
 * thread; no answer is waited for longer than 2 s. Returns it, or a negative errno; the caller
 * closes it. */
int netlink_open(int protocol);
/* Begins |request| with |type|, |flags| (NLM_F_REQUEST is added) and the family's header. */
void netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags, const void *body,
                   size_t body_len);
/* Adds an attribute; |len| must fit (NETLINK_REQUEST_MAX in all). */
void netlink_add(struct netlink_request *request, uint16_t type, const void *data, size_t len);
/* Sends |request| and hands every message of the answer to |each|, until the end of the dump, the
 * acknowledgement, or, without NLM_F_DUMP and NLM_F_ACK, the first message. |each| may be NULL;
 * what it returns other than 0 ends the call with it. 0 or a negative errno, that of the kernel's
 * answer included: -ENOENT from a dump of sockets says that a module is missing. -EINTR: the table
 * changed while it was read. */
int netlink_ask(int fd, struct netlink_request *request,
                int (*each)(void *arg, const struct nlmsghdr *message), void *arg);
/* Reads what may change meanwhile: |once| asks its questions on |fd| and starts anew with each
 * call. It is called again, three times in all, when it returns -EINTR or -EBUSY; each time with
 * another socket, since an answer that is not read to its end keeps the former one busy. Errors of
 * netlink_open, or what |once| returned last. */
int netlink_read(int protocol, int (*once)(int fd, void *arg), void *arg);
/* The attribute |type| of |len| bytes of attributes at |data|; NULL = there is none. Nested flags
 * are ignored. |ret_len| is the length of its payload, which is returned. Pure. */
const void *netlink_find(const void *data, size_t len, uint16_t type, size_t *ret_len);
/* The same for one of 32 bits; 0 = there is none. */
uint32_t netlink_u32(const void *data, size_t len, uint16_t type);
