/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_EXEC_EVENT_BPF_H
#define TLX_EXEC_EVENT_BPF_H
/* One event for each hit; the counters are the truth, events are a sample that may be lost and then
 * is counted as lost. */
#include "exec_match.bpf.h"

/* |action| is one of TLX_ACTION_*. */
static __always_inline void tlx_report(const struct tlx_hit *hit, __u32 action) {
  tlx_count_hit(hit->slot, action != TLX_ACTION_WOULD);
  struct tlx_event *event = bpf_ringbuf_reserve(&tlx_events, sizeof *event, 0);
  if (!event) {
    tlx_count_failed(TLX_HELPER_EVENT);
    return;
  }
  const struct task_struct *task = (void *)bpf_get_current_task_btf();
  event->boot_ns = bpf_ktime_get_boot_ns();
  event->ino = hit->ino;
  event->type = TLX_EVENT_EXEC;
  event->action = action;
  event->slot = hit->slot;
  event->kind = hit->kind;
  event->dev = hit->dev;
  event->pid = (__u32)task->tgid;
  event->parent_pid = (__u32)task->real_parent->tgid;
  event->uid = (__u32)bpf_get_current_uid_gid();
  bpf_get_current_comm(event->comm, sizeof event->comm);
  bpf_ringbuf_submit(event, 0);
}
#endif
