// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Programs at network devices of this namespace, by the kernel's two ways (Documentation/bpf/ and
 * net/sched/cls_bpf.c):
 *
 * - tcx (6.6 on): links, which pins keep alive, at the head of the device's list.
 * - clsact: filters with a handle and a priority of ours, which live without any process until they
 * are taken away.
 *
 * Any thread. */

/* Whether the kernel has tcx. */
bool bpf_tcx_is_there(void);
/* Attaches at the head. A link's descriptor; -EEXIST (this very program is there already); another
 * negative errno. */
int bpf_tcx_attach(uint32_t ifindex, bool in, int prog_fd);
/* What a link is attached to: its device (0 = none: it was detached, or the device is gone),
 * direction and program. -EPROTO: it is no link of tcx. */
int bpf_tcx_info(int link_fd, uint32_t *ret_ifindex, bool *ret_in, uint32_t *ret_prog_id);
/* The program that is asked first. -ENOENT = none. */
int bpf_tcx_first(uint32_t ifindex, bool in, uint32_t *ret_prog_id);

/* Makes the clsact qdisc where there is none, and puts our filter there or another program into it,
 * at once. */
int bpf_clsact_attach(uint32_t ifindex, bool in, int prog_fd);
/* The program of our filter. -ENOENT = there is none. */
int bpf_clsact_query(uint32_t ifindex, bool in, uint32_t *ret_prog_id);
/* The program of the filter that is asked first, ours or not; 0 = that filter is no program.
 * -ENOENT = none. */
int bpf_clsact_first(uint32_t ifindex, bool in, uint32_t *ret_prog_id);
/* Puts our filter, with this program, before all others; at no moment is there none of ours. */
int bpf_clsact_to_front(uint32_t ifindex, bool in, int prog_fd);
/* Takes our filter away; the qdisc stays, as others may use it. 0 also when there is none. */
int bpf_clsact_detach(uint32_t ifindex, bool in);

/* What a frame of the device begins with. */
enum bpf_tc_frame {
  BPF_TC_ETHERNET,
  BPF_TC_IP,
};
/* -ENODEV; -EINVAL (loopback is never filtered); -EOPNOTSUPP (a link layer that the programs cannot
 * read), with words. */
int bpf_tc_frame_of(uint32_t ifindex, char why[240], enum bpf_tc_frame *ret_frame);
