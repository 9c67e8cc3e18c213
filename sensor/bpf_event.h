// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <uv.h>

#include "bpf-progs/tlx_abi.h"
#include "bpf-progs/tlx_net_abi.h"

/* Events of the programs, read from the ring buffer on the loop. Loop thread. */
struct bpf_event;

/* |events_fd| is duplicated. At most 4,096 events a turn, so that a flood does not hold the loop.
 */
int bpf_event_new(uv_loop_t *loop, int events_fd,
                  void (*event)(void *arg, const struct tlx_event *event), void *arg,
                  struct bpf_event **ret_reader);
/* Events wait in the ring, which loses those for which it has no room; resume tells at once of
 * those that waited. */
void bpf_event_pause(struct bpf_event *reader);
void bpf_event_resume(struct bpf_event *reader);
/* The same for the ring of the network programs. */
int bpf_event_net_new(uv_loop_t *loop, int events_fd,
                      void (*event)(void *arg, const struct tlx_net_event *event), void *arg,
                      struct bpf_event **ret_reader);
/* NULL is fine; the memory goes when the loop has closed the handle. */
void bpf_event_close(struct bpf_event *reader);
