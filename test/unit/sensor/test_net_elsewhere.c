// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_elsewhere.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>

#include "../../harness/folder.h"
#include "sensor/net_links.h"

/* A /proc whose process 7 is in the namespace at |target|. */
static void make_proc(struct folder *folder, const char *target) {
  folder_init(folder);
  static const char *const folders[] = {"thread-self", "thread-self/ns", "self", "7", "7/ns"};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
    cr_assert_eq(mkdir(folder_join(folder, folders[i]), 0700), 0);
  cr_assert_eq(symlink("/proc/thread-self/ns/net", folder_join(folder, "thread-self/ns/net")), 0);
  cr_assert_eq(symlink(target, folder_join(folder, "7/ns/net")), 0);
}

/* The namespace that the test began in, seen from one of its own. */
Test(net_elsewhere, finds_what_leads_out_of_another_namespace) {
  FOLDER folder;
  char target[64];
  struct net_link *links = NULL;
  struct net_elsewhere found;
  size_t n = 0, n_ways_out = 0;
  cr_assert_eq(net_links_read_devices(&links, &n), 0);
  for (size_t i = 0; i < n; i++)
    n_ways_out += net_link_leads_out(&links[i]);
  free(links);
  int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  cr_assert_geq(fd, 0);
  if (unshare(CLONE_NEWNET) != 0)
    cr_skip_test("no network namespace of its own: %s", strerror(errno));
  snprintf(target, sizeof target, "/proc/%d/fd/%d", (int)getpid(), fd);
  make_proc(&folder, target);
  net_elsewhere_look(folder.path, &found);
  cr_expect_eq(found.n_ways_out, n_ways_out);
  cr_expect_eq(*found.name != '\0', n_ways_out != 0);
  cr_expect_not(found.is_blind);
  close(fd);
}

/* Its own is looked at by others. */
Test(net_elsewhere, nothing_elsewhere) {
  FOLDER folder;
  struct net_elsewhere found;
  make_proc(&folder, "/proc/thread-self/ns/net");
  net_elsewhere_look(folder.path, &found);
  cr_expect(found.n_ways_out == 0 && !found.has_xdp && !found.is_blind);
}

Test(net_elsewhere, a_namespace_that_cannot_be_entered) {
  FOLDER folder;
  struct net_elsewhere found;
  make_proc(&folder, "/proc/self/ns/uts");
  net_elsewhere_look(folder.path, &found);
  cr_expect(found.is_blind);
}
