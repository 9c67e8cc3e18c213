// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_tc.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "sensor/bpf_load.h"
#include "sensor/netlink.h"

/* The installed headers may be older than the running kernel: numbers of include/uapi/linux/bpf.h.
 */
#define TCX_IN 46
#define TCX_OUT 47
#define TCX_LINK_TYPE 11
#define TCX_BEFORE (1u << 3)
#define TCX_PROGS_MAX 64u /* BPF_MPROG_MAX */

/* "TLX" and the priority that is asked before every other. */
#define CLSACT_HANDLE 0x544c58u
#define CLSACT_PRIORITY 1u
/* Holds the place while the filter moves to the front. */
#define CLSACT_HANDLE_MOVING (CLSACT_HANDLE + 1)

/* Link layers that <net/if_arp.h> leaves out (include/uapi/linux/if_arp.h). */
#ifndef ARPHRD_RAWIP
#define ARPHRD_RAWIP 519
#endif
#ifndef ARPHRD_NONE
#define ARPHRD_NONE 0xfffe
#endif
#ifndef ARPHRD_IP6GRE
#define ARPHRD_IP6GRE 823
#endif

/* ---- tcx ---- */

int bpf_tcx_attach(uint32_t ifindex, bool in, int prog_fd) {
  /* The head of union bpf_attr for BPF_LINK_CREATE; libbpf knows no tcx yet. No relative program:
   * before all others. */
  struct {
    uint32_t prog_fd, target_ifindex, attach_type, flags;
    uint32_t relative_fd, reserved;
    uint64_t expected_revision;
    uint64_t rest[16];
  } attr = {.prog_fd = (uint32_t)prog_fd,
            .target_ifindex = ifindex,
            .attach_type = in ? TCX_IN : TCX_OUT,
            .flags = TCX_BEFORE};
  long fd = syscall(__NR_bpf, BPF_LINK_CREATE, &attr, 32u);
  return fd < 0 ? -errno : (int)fd;
}

bool bpf_tcx_is_there(void) {
  __u32 n = 0;
  /* Without it the attach type is unknown; with it there is no such device. */
  return bpf_prog_query(0x7fffffff, TCX_IN, 0, NULL, NULL, &n) == 0 || errno == ENODEV;
}

int bpf_tcx_info(int link_fd, uint32_t *ret_ifindex, bool *ret_in, uint32_t *ret_prog_id) {
  struct bpf_link_info info = {0};
  __u32 len = sizeof info;
  if (bpf_obj_get_info_by_fd(link_fd, &info, &len) != 0) return -errno;
  if (info.type != TCX_LINK_TYPE) return -EPROTO;
  /* tcx {ifindex, attach_type} stands where the installed header has netns {ino, attach_type}. */
  *ret_ifindex = info.netns.netns_ino;
  *ret_in = info.netns.attach_type == TCX_IN;
  *ret_prog_id = info.prog_id;
  return 0;
}

int bpf_tcx_first(uint32_t ifindex, bool in, uint32_t *ret_prog_id) {
  __u32 ids[TCX_PROGS_MAX], n = TCX_PROGS_MAX, flags = 0;
  if (bpf_prog_query((int)ifindex, in ? TCX_IN : TCX_OUT, 0, &flags, ids, &n) != 0) return -errno;
  if (!n) return -ENOENT;
  *ret_prog_id = ids[0];
  return 0;
}

/* ---- clsact ---- */

/* By memset, padding included: libbpf refuses a structure with anything in it that it does not
 * know. */
static void hook_init(struct bpf_tc_hook *hook, uint32_t ifindex, bool in) {
  memset(hook, 0, sizeof *hook);
  hook->sz = sizeof *hook;
  hook->ifindex = (int)ifindex;
  hook->attach_point = in ? BPF_TC_INGRESS : BPF_TC_EGRESS;
  bpf_load_log();
}

static int put_filter(uint32_t ifindex, bool in, uint32_t handle, int prog_fd) {
  struct bpf_tc_hook hook;
  LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd, .flags = BPF_TC_F_REPLACE, .handle = handle,
              .priority = CLSACT_PRIORITY);
  hook_init(&hook, ifindex, in);
  return bpf_tc_attach(&hook, &opts);
}

static int take_filter(uint32_t ifindex, bool in, uint32_t handle) {
  struct bpf_tc_hook hook;
  LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle, .priority = CLSACT_PRIORITY);
  hook_init(&hook, ifindex, in);
  int err = bpf_tc_detach(&hook, &opts);
  return err == -ENOENT || err == -EINVAL || err == -ENODEV ? 0 : err;
}

int bpf_clsact_attach(uint32_t ifindex, bool in, int prog_fd) {
  struct bpf_tc_hook hook;
  hook_init(&hook, ifindex, in);
  int err = bpf_tc_hook_create(&hook);
  return err && err != -EEXIST ? err : put_filter(ifindex, in, CLSACT_HANDLE, prog_fd);
}

int bpf_clsact_to_front(uint32_t ifindex, bool in, int prog_fd) {
  /* A new filter goes to the head of its priority, another program in an old one stays where that
   * is. */
  int err = put_filter(ifindex, in, CLSACT_HANDLE_MOVING, prog_fd);
  if (!err) err = take_filter(ifindex, in, CLSACT_HANDLE);
  if (!err) err = put_filter(ifindex, in, CLSACT_HANDLE, prog_fd);
  return err ? err : take_filter(ifindex, in, CLSACT_HANDLE_MOVING);
}

int bpf_clsact_query(uint32_t ifindex, bool in, uint32_t *ret_prog_id) {
  struct bpf_tc_hook hook;
  LIBBPF_OPTS(bpf_tc_opts, opts, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);
  hook_init(&hook, ifindex, in);
  int err = bpf_tc_query(&hook, &opts);
  /* No qdisc: EINVAL. */
  if (err) return err == -EINVAL ? -ENOENT : err;
  *ret_prog_id = opts.prog_id;
  return 0;
}

/* The first filter of a dump, which is in the order of asking; a priority is announced with handle
 * 0. */
struct first_filter {
  bool is_there;
  uint32_t prog_id;
};

static int take_first(void *arg, const struct nlmsghdr *message) {
  struct first_filter *first = arg;
  const struct tcmsg *filter = NLMSG_DATA(message);
  size_t len = 0;
  if (message->nlmsg_len < NLMSG_LENGTH(sizeof *filter)) return -EPROTO;
  if (first->is_there || !filter->tcm_handle) return 0;
  const char *attributes = (const char *)filter + NLMSG_ALIGN(sizeof *filter);
  const void *options = netlink_find(attributes, message->nlmsg_len - NLMSG_LENGTH(sizeof *filter),
                                     TCA_OPTIONS, &len);
  first->is_there = true;
  /* Of another kind than bpf the number is no id, and not ours. */
  if (options) first->prog_id = netlink_u32(options, len, TCA_BPF_ID);
  return 0;
}

int bpf_clsact_first(uint32_t ifindex, bool in, uint32_t *ret_prog_id) {
  struct tcmsg about = {.tcm_family = AF_UNSPEC,
                        .tcm_ifindex = (int)ifindex,
                        .tcm_parent =
                            TC_H_MAKE(TC_H_CLSACT, in ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS)};
  const uint32_t chain = 0; /* others are asked only when a filter of it says so */
  struct first_filter first = {0};
  struct netlink_request request;
  TLX_AUTOCLOSE int fd = netlink_open(NETLINK_ROUTE);
  if (fd < 0) return fd;
  netlink_begin(&request, RTM_GETTFILTER, NLM_F_DUMP, &about, sizeof about);
  netlink_add(&request, TCA_CHAIN, &chain, sizeof chain);
  int err = netlink_ask(fd, &request, take_first, &first);
  if (err) return err;
  if (!first.is_there) return -ENOENT;
  *ret_prog_id = first.prog_id;
  return 0;
}

int bpf_clsact_detach(uint32_t ifindex, bool in) {
  int err = take_filter(ifindex, in, CLSACT_HANDLE),
      moving_err = take_filter(ifindex, in, CLSACT_HANDLE_MOVING);
  return err ? err : moving_err;
}

/* ---- devices ---- */

int bpf_tc_frame_of(uint32_t ifindex, char why[240], enum bpf_tc_frame *ret_frame) {
  struct ifreq request = {0};
  TLX_AUTOCLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (!if_indextoname(ifindex, request.ifr_name)) {
    snprintf(why, 240, "there is no device %u", ifindex);
    return -ENODEV;
  }
  if (ioctl(fd, SIOCGIFHWADDR, &request) != 0) return -errno;
  switch (request.ifr_hwaddr.sa_family) {
  case ARPHRD_ETHER:
    *ret_frame = BPF_TC_ETHERNET;
    return 0;
  case ARPHRD_NONE:
  case ARPHRD_RAWIP:
  case ARPHRD_PPP:
  case ARPHRD_TUNNEL:
  case ARPHRD_TUNNEL6:
  case ARPHRD_SIT:
  case ARPHRD_IPGRE:
  case ARPHRD_IP6GRE:
    *ret_frame = BPF_TC_IP;
    return 0;
  case ARPHRD_LOOPBACK:
    snprintf(why, 240, "loopback is never filtered");
    return -EINVAL;
  default:
    snprintf(why, 240, "device %.20s has a link layer that cannot be read: type %u",
             request.ifr_name, request.ifr_hwaddr.sa_family);
    return -EOPNOTSUPP;
  }
}
