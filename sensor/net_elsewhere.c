// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/net_elsewhere.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "common/cleanup.h"
#include "sensor/net_links.h"
#include "sensor/net_spaces.h"

struct look {
  const char *proc;
  struct net_elsewhere *result;
};

/* The network namespace of this thread. */
static void look_here(struct net_elsewhere *result) {
  struct net_link *links TLX_AUTOFREE = NULL;
  size_t n = 0;
  if (net_links_read_devices(&links, &n) != 0) {
    result->is_blind = true;
    return;
  }
  for (size_t i = 0; i < n; i++) {
    result->has_xdp |= links[i].has_xdp;
    if (net_link_leads_out(&links[i]) && result->n_ways_out++ == 0)
      snprintf(result->name, sizeof result->name, "%s", links[i].name);
  }
}

static void look_around(void *arg) {
  struct look *look = arg;
  struct net_spaces spaces = {0};
  look->result->is_blind = net_spaces_find(look->proc, &spaces) != 0 || spaces.is_cut;
  for (size_t i = 0; i < spaces.n; i++) {
    if (spaces.list[i].fd >= 0 && setns(spaces.list[i].fd, CLONE_NEWNET) == 0)
      look_here(look->result);
    else
      look->result->is_blind = true;
  }
  net_spaces_done(&spaces);
}

void net_elsewhere_look(const char *proc, struct net_elsewhere *ret_elsewhere) {
  struct look look = {.proc = proc, .result = ret_elsewhere};
  uv_thread_t thread;
  *ret_elsewhere = (struct net_elsewhere){0};
  if (uv_thread_create(&thread, look_around, &look) != 0 || uv_thread_join(&thread) != 0)
    ret_elsewhere->is_blind = true;
}
