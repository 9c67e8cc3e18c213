// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The network namespaces of this host that can be found: those of processes, and those that are
 * mounted somewhere (`ip netns`). One that only an open descriptor holds has no process and is not
 * found. Worker thread. */

#define NET_SPACES_MAX 1024u

struct net_space {
  dev_t dev;
  ino_t ino; /* together they name it */
  int fd;    /* open for setns(2), or the negative errno of the attempt */
};

struct net_spaces {
  struct net_space *list;
  size_t n;
  bool is_cut; /* there are more than NET_SPACES_MAX */
};

/* Opens every namespace but that of this thread. |proc| is "/proc" but in tests. 0, -ENOMEM or a
 * negative errno; what a single one cannot be opened for stands in its |fd|. */
int net_spaces_find(const char *proc, struct net_spaces *ret_spaces);
/* Closes and frees; all-zero is fine. */
void net_spaces_done(struct net_spaces *spaces);
/* The mount point of a line of mountinfo(5) if it is that of a network namespace: "nsfs" and a root
 * of "net:[…]". |out| of |size|, escapes undone. Pure. */
bool net_spaces_mount_parse(const char *line, char *out, size_t size);
