/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_NET_COUNT_BPF_H
#define TLX_NET_COUNT_BPF_H
/* What was seen, denied, would have been: the counters are the truth, events are a sample. Atomic
 * although they are per CPU: the programs can be preempted by another one on the same CPU. */
#include "net_parse.bpf.h"

/* Of one place, on one processor. A port scan fills no ring; the first ones of a burst are told. */
#define TLX_EVENTS_BURST 16
#define TLX_EVENTS_SPAN_NS 100000000ull

#define TLX_ADD(counter) __sync_fetch_and_add(&(counter), 1)

static __always_inline struct tlx_net_stats *tlx_net_totals(void) {
  const __u32 zero = 0;
  return bpf_map_lookup_elem(&tlx_net_stats, &zero);
}

/* The configuration, if it says that something is to be done. */
static __always_inline const struct tlx_net_cfg *tlx_net_now(void) {
  const __u32 zero = 0;
  void *inner = bpf_map_lookup_elem(&tlx_net_cfgs, &zero);
  const struct tlx_net_cfg *cfg = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
  return cfg && (cfg->mode == TLX_NET_ENFORCE || cfg->mode == TLX_NET_OBSERVE) ? cfg : NULL;
}

static __always_inline bool tlx_gate_opens(__u32 at, __u64 now) {
  struct tlx_gate *gate = bpf_map_lookup_elem(&tlx_net_gate, &at);
  if (!gate) return false;
  if (now - gate->since_ns >= TLX_EVENTS_SPAN_NS) {
    gate->since_ns = now;
    gate->n = 0;
  }
  return gate->n++ < TLX_EVENTS_BURST;
}

/* |has_process|: the running process is the one that is refused, a constant. */
static __always_inline void tlx_net_tell(const struct tlx_net_cfg *cfg, __u32 at, bool has_process,
                                         const struct tlx_packet *p, struct tlx_net_stats *totals) {
  const __u64 now = bpf_ktime_get_boot_ns();
  if (!tlx_gate_opens(at, now)) return;
  struct tlx_net_event *event = bpf_ringbuf_reserve(&tlx_net_events, sizeof *event, 0);
  if (!event) {
    TLX_ADD(totals->events_lost);
    return;
  }
  __builtin_memset(event, 0, sizeof *event);
  event->boot_ns = now;
  event->at = at;
  event->action = cfg->mode == TLX_NET_ENFORCE ? TLX_ACTION_DENIED : TLX_ACTION_WOULD;
  event->slot = cfg->slot;
  event->uid = TLX_NET_UID_NONE;
  if (p->has_ports) {
    event->local_port = p->local_port;
    event->remote_port = p->remote_port;
  }
  event->protocol = p->protocol;
  event->family = p->family;
  event->ifindex = p->ifindex;
  event->remote = p->remote.net;
  if (has_process) {
    event->pid = bpf_get_current_pid_tgid() >> 32;
    event->uid = (__u32)bpf_get_current_uid_gid();
    bpf_get_current_comm(event->comm, sizeof event->comm);
  }
  bpf_ringbuf_submit(event, 0);
}

/* What is not let through. True: it is stopped. */
static __always_inline bool tlx_net_stop(const struct tlx_net_cfg *cfg, __u32 at, bool has_process,
                                         __u32 mark, const struct tlx_packet *p,
                                         struct tlx_net_stats *totals) {
  const bool enforces = cfg->mode == TLX_NET_ENFORCE;
  if (at >= TLX_NET_AT_MAX) return true;
  if (enforces)
    TLX_ADD(totals->denied[at]);
  else
    TLX_ADD(totals->would[at]);
  /* A proof is no attempt of anybody's: counted, not told. */
  if (mark == TLX_SOCK_PROBE || mark == TLX_SOCK_PROBE_PACKET) {
    if (enforces && (mark == TLX_SOCK_PROBE || at == TLX_NET_AT_CGROUP_OUT))
      TLX_ADD(totals->probes);
  } else {
    tlx_net_tell(cfg, at, has_process, p, totals);
  }
  return enforces;
}
#endif
