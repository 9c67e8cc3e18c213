// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "sensor/bpf_net.h"
#include "sensor/bpf_net_load.h"
#include "sensor/bpf_object_int.h"
#include "sensor/bpf_pin.h"
#include "sensor/bpf_tc.h"

/* What the bpf_net_*.c files share. Pins in PIN_FOLDER/net-VERSION:
 * - cfgs, allow4, allow6, local, own_sock, stats, events: the maps; cfg: the inner map with the
 * configuration in force.
 * - skb_out, skb_in, connect4, ...: links of the cgroup. tc_out_IFINDEX, tc_in_IFINDEX: links of
 * tcx.
 * - NAME_new: what a process was killed in the middle of. */

struct bpf_net_hook {
  int link_fd, prog_fd;
  uint32_t link_id, prog_id;
};
/* One filtered device; [0] out, [1] in. Without tcx the kernel keeps the filters and link_fd is -1.
 */
struct bpf_net_device {
  uint32_t ifindex;
  bool is_ip;
  int link_fd[2];
  uint32_t link_id[2], prog_id[2];
};

struct bpf_net {
  char pin_folder[BPF_PIN_PATH_MAX], folder[BPF_PIN_PATH_MAX];
  char *btf_path;
  bool whole_host;
  int cgroup_fd;
  uint64_t cgroup_id;
  struct {
    int fd;
    uint32_t id;
  } maps[BPF_NET_MAP_COUNT];
  bool maps_pinned; /* the pins are these maps */
  /* Links of a former process with other maps are in force. Ours stand beside them, not pinned,
   * until they are attached and a configuration is published; then they take their place. */
  bool has_former;
  bool has_others; /* pins of another version were there, and go with the first configuration */
  bool is_attached;
  struct bpf_net_hook hooks[BPF_NET_CGROUP_PROGS];
  struct bpf_net_hook tc[BPF_NET_PROG_COUNT - BPF_NET_CGROUP_PROGS]; /* programs only */
  uint32_t layers;
  uint32_t may_come; /* missing layers that are worth another try */
  char layer_why[BPF_NET_LAYER_COUNT][240];
  bool has_tcx;
  struct bpf_net_own **own; /* the owner's, or |its_own|; *own NULL = not loaded */
  struct bpf_net_own *its_own;
  struct bpf_net_device *devices;
  unsigned n_devices;
  /* What was published. */
  bool is_published;
  struct tlx_net_cfg cfg;
  struct tlx_allow_entry allow[TLX_ALLOW_LIST_MAX];
  size_t n_allow;
  int cfg_fd; /* inner map in force; -1 = none, or not known */
  uint32_t cfg_id;
  int bank_fds[2]; /* inner maps of the bank in force: IPv4, IPv6 */
  uint32_t bank_ids[2];
  bool knows_local;
  struct tlx_net_addr *local;
  size_t n_local;
};

#define BPF_NET_CFG_PIN "cfg"

/* Where the program is kept. */
static inline struct bpf_net_hook *bpf_net_hook_of(struct bpf_net *net, unsigned prog) {
  return prog < BPF_NET_CGROUP_PROGS ? &net->hooks[prog] : &net->tc[prog - BPF_NET_CGROUP_PROGS];
}
/* Closes what is open and leaves -1. */
void bpf_net_close_fd(int *fd);
/* Whether |err|, of loading or trying a program, is what this kernel or the process's rights will
 * always answer: EPERM, EACCES (also the verifier), EINVAL, EOPNOTSUPP, ENOTSUPP, ENOSYS, ESRCH and
 * ENOENT (a type or a function is missing), E2BIG (the verifier's limit), EIO (it does nothing). */
bool bpf_net_is_final(int err);
/* Notes that |layer| is missing, and whether it is worth another try. */
void bpf_net_layer_lost(struct bpf_net *net, enum bpf_net_layer layer, bool may_come);
/* Loads the programs of devices anew. */
int bpf_net_tc_load(struct bpf_net *net, char why[240]);
/* Takes over from the links of a former process, if ours are attached and a configuration is
 * published. */
int bpf_net_succeed(struct bpf_net *net);
/* Attaches or updates the link of one cgroup hook, and pins it. */
int bpf_net_hook_attach(struct bpf_net *net, enum bpf_net_prog prog, char why[240]);
/* Links of devices that a former process left. */
void bpf_net_devices_adopt(struct bpf_net *net);
/* Takes all filters and links of devices away. The first error. */
int bpf_net_devices_remove(struct bpf_net *net);
/* Closes descriptors; what is attached goes on. */
void bpf_net_devices_close(struct bpf_net *net);
/* Repairs one after another; the first error. */
int bpf_net_devices_verify(struct bpf_net *net, struct bpf_tampers *tampers);
/* Loads the iterator over marks, unless it is, and tries it; sets the layer or says why there is
 * none. */
void bpf_net_own_attach(struct bpf_net *net);
int bpf_net_publish_verify(struct bpf_net *net, struct bpf_tampers *tampers);
int bpf_net_local_verify(struct bpf_net *net, struct bpf_tampers *tampers);
