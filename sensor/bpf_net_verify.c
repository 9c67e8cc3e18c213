// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "sensor/bpf_net_int.h"

/* The verification of bpf_net.h. Unlike those of executions, links of a cgroup can be detached by
 * whoever has CAP_SYS_ADMIN: pin and descriptor stay, and name cgroup 0. So each link is asked what
 * it is attached to. */

static int check_hook(struct bpf_net *net, enum bpf_net_prog prog, struct bpf_tampers *tampers) {
  struct bpf_net_hook *hook = &net->hooks[prog];
  struct bpf_link_info info = {0};
  __u32 len = sizeof info;
  char what[64], why[240] = "";
  if (hook->link_fd < 0) return 0; /* a layer that this kernel does not have */
  snprintf(what, sizeof what, "link %s", bpf_net_prog_word(prog));
  if (bpf_obj_get_info_by_fd(hook->link_fd, &info, &len) != 0) return -errno;
  if (info.cgroup.cgroup_id != net->cgroup_id) {
    /* A detached link cannot be attached again. */
    int err = bpf_net_hook_attach(net, prog, why);
    bpf_tampers_note(tampers, !err, what, "it was detached%s%.100s", err ? ": " : "", why);
    return err;
  }
  if (info.prog_id != hook->prog_id) {
    int err = bpf_link_update(hook->link_fd, hook->prog_fd, NULL) == 0 ? 0 : -errno;
    bpf_tampers_note(tampers, !err, what, "it held another program: id %u, not %u", info.prog_id,
                     hook->prog_id);
    if (err) return err;
  }
  if (net->has_former) return 0;
  return bpf_tampers_check_pin(net->folder, bpf_net_prog_word(prog), BPF_PIN_LINK, hook->link_fd,
                               hook->link_id, tampers);
}

/* A frozen map is of no more use: nothing in it can be set, or set right, again. */
static int check_frozen(const struct bpf_net *net, struct bpf_tampers *tampers) {
  char what[64];
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT; i++) {
    if (!bpf_pin_is_frozen(net->maps[i].fd)) continue;
    snprintf(what, sizeof what, "map %s", bpf_net_map_word(i));
    bpf_tampers_note(tampers, false, what, "it was frozen");
    return -EPERM;
  }
  return 0;
}

int bpf_net_verify(struct bpf_net *net, struct bpf_tampers *tampers) {
  char name[16], why[240];
  int first = 0;
#define CHECK(call)                                                                                \
  do {                                                                                             \
    int err_ = (call);                                                                             \
    if (!first) first = err_;                                                                      \
  } while (0)
  if (net->maps[BPF_NET_MAP_CFGS].fd < 0) return -EBADF;
  CHECK(check_frozen(net, tampers));
  snprintf(name, sizeof name, "net-%d", TLX_NET_ABI_VERSION);
  CHECK(bpf_pin_folder_make_named(net->pin_folder, name, why, net->folder));
  for (unsigned i = 0; net->maps_pinned && i < BPF_NET_MAP_COUNT; i++)
    CHECK(bpf_tampers_check_pin(net->folder, bpf_net_map_word(i), BPF_PIN_MAP, net->maps[i].fd,
                                net->maps[i].id, tampers));
  CHECK(bpf_net_publish_verify(net, tampers));
  CHECK(bpf_net_local_verify(net, tampers));
  if (net->maps_pinned && net->cfg_fd >= 0)
    CHECK(bpf_tampers_check_pin(net->folder, BPF_NET_CFG_PIN, BPF_PIN_MAP, net->cfg_fd, net->cfg_id,
                                tampers));
  for (unsigned i = 0; net->is_attached && i < BPF_NET_CGROUP_PROGS; i++)
    CHECK(check_hook(net, i, tampers));
  CHECK(bpf_net_devices_verify(net, tampers));
#undef CHECK
  return first;
}

/* ---- marks of sockets ---- */

/* A dead one, or one that somebody's hand is in, is not used again. */
static void drop_own(struct bpf_net *net, int err) {
  bpf_net_own_close(*net->own);
  *net->own = NULL;
  bpf_net_layer_lost(net, BPF_NET_LAYER_OWN, !bpf_net_is_final(err));
  snprintf(net->layer_why[BPF_NET_LAYER_OWN], sizeof net->layer_why[0],
           "the iterator over marks does not work: %s", tlx_err_text(err));
}

void bpf_net_own_attach(struct bpf_net *net) {
  char *why = net->layer_why[BPF_NET_LAYER_OWN];
  int err = *net->own ? 0 : bpf_net_own_open(net->btf_path, why, net->own);
  if (err) {
    bpf_net_layer_lost(net, BPF_NET_LAYER_OWN, !bpf_net_is_final(err));
    return;
  }
  /* A kernel whose iterator tells nothing lacks it, and does not drift for ever. */
  err = bpf_net_own_try(*net->own, net->maps[BPF_NET_MAP_OWN].fd);
  if (err) {
    drop_own(net, err);
    return;
  }
  net->layers |= 1u << BPF_NET_LAYER_OWN;
  *why = '\0';
}

int bpf_net_own_verify(struct bpf_net *net, bool (*knows)(uint64_t cookie),
                       struct bpf_tampers *tampers) {
  unsigned n = 0;
  if (!(net->layers & 1u << BPF_NET_LAYER_OWN)) return 0;
  int err = bpf_net_own_clear(*net->own, net->maps[BPF_NET_MAP_OWN].fd, knows, &n);
  if (n)
    bpf_tampers_note(tampers, !err, "map own_sock", "%u sockets of others were marked in it", n);
  if (err) drop_own(net, err);
  return err;
}
