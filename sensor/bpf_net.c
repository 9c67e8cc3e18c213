// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_net.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/log.h"
#include "sensor/bpf_net_int.h"

/* Whatever a kill -9 interrupts, what enforced before goes on or its successor does. Usually the
 * maps of a former process are adopted and its links get new programs by one update each, which has
 * no gap. Where the maps cannot be adopted, new links stand beside the old ones (a packet must pass
 * both) until a configuration is published in the new maps. */

static const uint32_t zero;

static const enum bpf_attach_type attach_types[BPF_NET_CGROUP_PROGS] = {
    [BPF_NET_PROG_SKB_OUT] = BPF_CGROUP_INET_EGRESS,
    [BPF_NET_PROG_SKB_IN] = BPF_CGROUP_INET_INGRESS,
    [BPF_NET_PROG_CONNECT4] = BPF_CGROUP_INET4_CONNECT,
    [BPF_NET_PROG_CONNECT6] = BPF_CGROUP_INET6_CONNECT,
    [BPF_NET_PROG_SENDMSG4] = BPF_CGROUP_UDP4_SENDMSG,
    [BPF_NET_PROG_SENDMSG6] = BPF_CGROUP_UDP6_SENDMSG,
    [BPF_NET_PROG_SETSOCKOPT] = BPF_CGROUP_SETSOCKOPT};

const char *bpf_net_layer_word(enum bpf_net_layer layer) {
  static const char *const words[BPF_NET_LAYER_COUNT] = {
#define X(name, word) [BPF_NET_LAYER_##name] = word,
      BPF_NET_LAYER_MAP(X)
#undef X
  };
  return words[layer];
}

void bpf_net_close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* ---- adopting ---- */

/* Whether the link is attached to our cgroup at the hook of |prog|. */
static bool is_ours(const struct bpf_net *net, enum bpf_net_prog prog, int link_fd,
                    uint32_t *ret_prog_id) {
  struct bpf_link_info info = {0};
  __u32 len = sizeof info;
  if (bpf_obj_get_info_by_fd(link_fd, &info, &len) != 0) return false;
  *ret_prog_id = info.prog_id;
  return info.type == BPF_LINK_TYPE_CGROUP && info.cgroup.cgroup_id == net->cgroup_id &&
         info.cgroup.attach_type == attach_types[prog];
}

/* Whether program |id| works on the map |map_id|; true also where it cannot be known (that takes
 * CAP_SYS_ADMIN). */
static bool may_use(uint32_t id, uint32_t map_id) {
  uint32_t map_ids[16], n = 0;
  uint8_t tag[8];
  TLX_AUTOCLOSE int fd = bpf_prog_get_fd_by_id(id);
  if (fd < 0 || bpf_object_prog_info(fd, tag, map_ids, &n) != 0) return true;
  for (uint32_t i = 0; i < n; i++)
    if (map_ids[i] == map_id) return true;
  return false;
}

/* How many links of packets are in force; |*ret_strange|: one of any kind does not work on our
 * maps. */
static unsigned count_former(const struct bpf_net *net, bool *ret_any, bool *ret_strange) {
  unsigned n = 0;
  *ret_any = *ret_strange = false;
  for (unsigned i = 0; i < BPF_NET_CGROUP_PROGS; i++) {
    uint32_t id, prog_id = 0;
    TLX_AUTOCLOSE int fd = -1;
    if (bpf_pin_open(net->folder, bpf_net_prog_word(i), BPF_PIN_LINK, &fd, &id) != 0) continue;
    if (!is_ours(net, i, fd, &prog_id)) continue;
    *ret_any = true;
    if (!may_use(prog_id, net->maps[BPF_NET_MAP_CFGS].id)) *ret_strange = true;
    n += i == BPF_NET_PROG_SKB_OUT || i == BPF_NET_PROG_SKB_IN;
  }
  return n;
}

/* One that somebody froze can be read for ever and never be set again. */
static int check_writable(enum bpf_net_map map, int fd, char why[240]) {
  if (!bpf_pin_is_frozen(fd)) return 0;
  snprintf(why, 240, "map %s was frozen", bpf_net_map_word(map));
  return -EPERM;
}

static int adopt_map(struct bpf_net *net, enum bpf_net_map map, char why[240]) {
  TLX_AUTOCLOSE int fd = -1;
  uint32_t id = 0;
  int err = bpf_pin_open(net->folder, bpf_net_map_word(map), BPF_PIN_MAP, &fd, &id);
  if (err) {
    snprintf(why, 240, "pin %s: %s", bpf_net_map_word(map), tlx_err_text(err));
    return err;
  }
  err = bpf_net_load_check_map(map, fd, why);
  if (!err) err = check_writable(map, fd, why);
  if (err) return err;
  net->maps[map].fd = TLX_TAKE_FD(fd);
  net->maps[map].id = id;
  return 0;
}

static void close_maps(struct bpf_net *net, bool own_too) {
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT; i++)
    if (own_too || i != BPF_NET_MAP_OWN) bpf_net_close_fd(&net->maps[i].fd);
}

/* All maps of a former process, or none of them; but for the marks of sockets, which would be lost.
 */
static int adopt_maps(struct bpf_net *net, char why[240]) {
  char ignored[240];
  int err = 0;
  bool any, strange;
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT && !err; i++)
    err = adopt_map(net, i, why);
  if (!err) {
    count_former(net, &any, &strange);
    if (strange) {
      snprintf(why, 240, "links work on other maps than the pinned ones");
      err = -EPROTO;
    }
  }
  if (!err) return 0;
  close_maps(net, true);
  (void)adopt_map(net, BPF_NET_MAP_OWN, ignored);
  return err;
}

static int make_maps(struct bpf_net *net, char why[240]) {
  int fds[BPF_NET_MAP_COUNT];
  int err = bpf_net_load_maps(net->btf_path, why, fds);
  if (err) return err;
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT; i++) {
    if (net->maps[i].fd >= 0) {
      close(fds[i]);
      continue;
    }
    net->maps[i].fd = fds[i];
    int id_err = bpf_pin_id(fds[i], BPF_PIN_MAP, &net->maps[i].id);
    if (id_err) err = id_err;
  }
  if (err) snprintf(why, 240, "%s", tlx_err_text(err));
  return err;
}

/* ---- life ---- */

static int open_cgroup(struct bpf_net *net, const char *path, char why[240]) {
  struct stat st;
  net->cgroup_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (net->cgroup_fd < 0 || fstat(net->cgroup_fd, &st) != 0) {
    int err = -errno;
    snprintf(why, 240, "cgroup %.180s: %s", path, tlx_err_text(err));
    return err;
  }
  net->cgroup_id = st.st_ino; /* kernfs: the number of the inode is the id */
  return 0;
}

int bpf_net_open(const struct bpf_net_options *options, char why[240], bool *ret_adopted,
                 struct bpf_net **ret_net) {
  struct bpf_net *net = calloc(1, sizeof *net);
  char name[16], reason[240] = "";
  bool any = false, strange = false;
  if (!net) return -ENOMEM;
  net->cgroup_fd = net->cfg_fd = net->bank_fds[0] = net->bank_fds[1] = -1;
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT; i++)
    net->maps[i].fd = -1;
  for (unsigned i = 0; i < BPF_NET_PROG_COUNT; i++)
    *bpf_net_hook_of(net, i) = (struct bpf_net_hook){.link_fd = -1, .prog_fd = -1};
  net->whole_host = options->whole_host;
  net->own = options->own ? options->own : &net->its_own;
  snprintf(net->pin_folder, sizeof net->pin_folder, "%s", options->pin_folder);
  snprintf(name, sizeof name, "net-%d", TLX_NET_ABI_VERSION);
  int err = bpf_pin_folder_make_named(options->pin_folder, name, why, net->folder);
  if (!err && options->btf_path) {
    net->btf_path = strdup(options->btf_path);
    if (!net->btf_path) err = -ENOMEM;
  }
  if (!err) err = open_cgroup(net, options->cgroup_folder, why);
  if (err) goto fail;

  err = adopt_maps(net, reason);
  net->maps_pinned = !err;
  const unsigned n = count_former(net, &any, &strange);
  if (err) {
    net->has_former = any;
    if (any || err != -ENOENT)
      tlx_warn(BPF, "network pins of a former process cannot be adopted and will be replaced: %s",
               reason);
    err = make_maps(net, why);
  }
  if (err) goto fail;
  net->has_others = bpf_pin_has_numbered(net->pin_folder, "net-", TLX_NET_ABI_VERSION);
  *ret_adopted = net->maps_pinned && n == 2;
  *ret_net = net;
  return 0;
fail:
  bpf_net_close(net);
  return err;
}

void bpf_net_close(struct bpf_net *net) {
  if (!net) return;
  bpf_net_devices_close(net);
  for (unsigned i = 0; i < BPF_NET_PROG_COUNT; i++) {
    bpf_net_close_fd(&bpf_net_hook_of(net, i)->link_fd);
    bpf_net_close_fd(&bpf_net_hook_of(net, i)->prog_fd);
  }
  bpf_net_close_fd(&net->cfg_fd);
  bpf_net_close_fd(&net->bank_fds[0]);
  bpf_net_close_fd(&net->bank_fds[1]);
  close_maps(net, true);
  bpf_net_own_close(net->its_own);
  bpf_net_close_fd(&net->cgroup_fd);
  free(net->btf_path);
  free(net->local);
  free(net);
}

/* ---- attaching ---- */

/* Loads the programs |first| to |last| in place of those that are held. */
static int load_layer(struct bpf_net *net, enum bpf_net_prog first, enum bpf_net_prog last,
                      char why[240]) {
  int map_fds[BPF_NET_MAP_COUNT], fds[BPF_NET_PROG_COUNT];
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT; i++)
    map_fds[i] = net->maps[i].fd;
  int err = bpf_net_load_progs(first, last, map_fds, net->btf_path, why, fds);
  if (err) return err;
  for (unsigned i = first; i <= last; i++) {
    struct bpf_net_hook *hook = bpf_net_hook_of(net, i);
    bpf_net_close_fd(&hook->prog_fd);
    hook->prog_fd = fds[i];
    int id_err = bpf_pin_id(fds[i], BPF_PIN_PROG, &hook->prog_id);
    if (!err) err = id_err;
  }
  return err;
}

int bpf_net_tc_load(struct bpf_net *net, char why[240]) {
  return load_layer(net, BPF_NET_PROG_TC_OUT, BPF_NET_PROG_COUNT - 1, why);
}

/* Pins |link_fd|, and ends the link whose pin that was: left to itself it goes some moments later,
 * when the kernel clears up the former pin. */
static int pin_over(const struct bpf_net *net, enum bpf_net_prog prog, int link_fd) {
  const char *word = bpf_net_prog_word(prog);
  TLX_AUTOCLOSE int former_fd = -1;
  uint32_t former_id = 0, id = 0;
  (void)bpf_pin_open(net->folder, word, BPF_PIN_LINK, &former_fd, &former_id);
  int err = bpf_pin_put(net->folder, word, link_fd);
  if (!err) err = bpf_pin_id(link_fd, BPF_PIN_LINK, &id);
  if (!err && former_fd >= 0 && former_id != id) (void)bpf_link_detach(former_fd);
  return err;
}

/* The link of a former process (or our own), with our program in it now. */
static int update_pinned(struct bpf_net *net, enum bpf_net_prog prog, int *ret_fd,
                         uint32_t *ret_id) {
  TLX_AUTOCLOSE int fd = -1;
  uint32_t id, prog_id;
  int err = bpf_pin_open(net->folder, bpf_net_prog_word(prog), BPF_PIN_LINK, &fd, &id);
  if (err) return err;
  if (!is_ours(net, prog, fd, &prog_id)) return -ENOLINK;
  if (bpf_link_update(fd, net->hooks[prog].prog_fd, NULL) != 0) return -errno;
  *ret_fd = TLX_TAKE_FD(fd);
  *ret_id = id;
  return 0;
}

int bpf_net_hook_attach(struct bpf_net *net, enum bpf_net_prog prog, char why[240]) {
  struct bpf_net_hook *hook = &net->hooks[prog];
  const char *word = bpf_net_prog_word(prog);
  TLX_AUTOCLOSE int fd = -1;
  uint32_t id = 0;
  int err = net->has_former ? -ENOENT : update_pinned(net, prog, &fd, &id);
  if (err) {
    fd = bpf_link_create(hook->prog_fd, net->cgroup_fd, attach_types[prog], NULL);
    err = fd < 0 ? -errno : bpf_pin_id(fd, BPF_PIN_LINK, &id);
    if (!err && !net->has_former) err = pin_over(net, prog, fd);
  }
  if (err) {
    snprintf(why, 240, "hook %s cannot be attached: %s", word, tlx_err_text(err));
    return err;
  }
  bpf_net_close_fd(&hook->link_fd);
  hook->link_fd = TLX_TAKE_FD(fd);
  hook->link_id = id;
  return 0;
}

bool bpf_net_is_final(int err) {
  enum { KERNEL_ENOTSUPP = 524 }; /* include/linux/errno.h: never meant to reach user space */
  switch (-err) {
  case EPERM:
  case EACCES:
  case EINVAL:
  case EOPNOTSUPP:
  case KERNEL_ENOTSUPP:
  case ENOSYS:
  case ESRCH:
  case ENOENT:
  case E2BIG:
  case EIO:
    return true;
  default:
    return false;
  }
}

void bpf_net_layer_lost(struct bpf_net *net, enum bpf_net_layer layer, bool may_come) {
  net->layers &= ~(1u << layer);
  net->may_come &= ~(1u << layer);
  if (may_come) net->may_come |= 1u << layer;
}

static int attach_layer(struct bpf_net *net, enum bpf_net_layer layer, enum bpf_net_prog first,
                        enum bpf_net_prog last) {
  char *why = net->layer_why[layer];
  int err = load_layer(net, first, last, why);
  bool is_loaded = !err;
  for (unsigned i = first; i <= last && !err; i++)
    err = bpf_net_hook_attach(net, i, why);
  if (err) {
    /* What could be loaded is refused by another's program, which may go. */
    bool is_barred = is_loaded && err == -EPERM;
    bpf_net_layer_lost(net, layer, is_barred || !bpf_net_is_final(err));
    return err;
  }
  net->layers |= 1u << layer;
  *why = '\0';
  return 0;
}

/* Maps are pinned before the links that need them; again too, since somebody may have taken a pin
 * away. */
static int pin_maps(struct bpf_net *net, char why[240]) {
  char name[16];
  snprintf(name, sizeof name, "net-%d", TLX_NET_ABI_VERSION);
  int err = bpf_pin_folder_make_named(net->pin_folder, name, why, net->folder);
  if (err) return err;
  for (unsigned i = 0; i < BPF_NET_MAP_COUNT && !err; i++)
    err = bpf_pin_put(net->folder, bpf_net_map_word(i), net->maps[i].fd);
  if (!err && net->cfg_fd >= 0) err = bpf_pin_put(net->folder, BPF_NET_CFG_PIN, net->cfg_fd);
  if (!err) net->maps_pinned = true;
  if (err)
    snprintf(why, 240, "maps cannot be pinned in %.150s: %s", net->folder, tlx_err_text(err));
  return err;
}

static void attach_connect(struct bpf_net *net) {
  (void)attach_layer(net, BPF_NET_LAYER_CONNECT, BPF_NET_PROG_CONNECT4, BPF_NET_PROG_SENDMSG6);
}

static void attach_options(struct bpf_net *net) {
  (void)attach_layer(net, BPF_NET_LAYER_OPTIONS, BPF_NET_PROG_SETSOCKOPT, BPF_NET_PROG_SETSOCKOPT);
}

static void attach_tc(struct bpf_net *net) {
  char *why = net->layer_why[BPF_NET_LAYER_TC];
  int err = bpf_net_tc_load(net, why);
  if (err) {
    bpf_net_layer_lost(net, BPF_NET_LAYER_TC, !bpf_net_is_final(err));
    return;
  }
  net->layers |= 1u << BPF_NET_LAYER_TC;
  net->has_tcx = bpf_tcx_is_there();
  *why = '\0';
}

int bpf_net_attach(struct bpf_net *net, char why[240]) {
  if (net->maps[BPF_NET_MAP_CFGS].fd < 0) return -EBADF;
  int err = net->has_former ? 0 : pin_maps(net, why);
  if (err) return err;
  err = attach_layer(net, BPF_NET_LAYER_CGROUP_SKB, BPF_NET_PROG_SKB_OUT, BPF_NET_PROG_SKB_IN);
  if (err) {
    snprintf(why, 240, "%s", net->layer_why[BPF_NET_LAYER_CGROUP_SKB]);
    return err;
  }
  attach_connect(net);
  attach_options(net);
  if (net->whole_host)
    attach_tc(net);
  else
    snprintf(net->layer_why[BPF_NET_LAYER_TC], 240,
             "devices belong to the whole host, not to a trial's cgroup");
  bpf_net_own_attach(net);
  net->is_attached = true;
  if (net->has_former) return bpf_net_succeed(net);
  if (net->layers & 1u << BPF_NET_LAYER_TC) bpf_net_devices_adopt(net);
  return 0;
}

void bpf_net_retry(struct bpf_net *net) {
  uint32_t again = net->is_attached ? net->may_come & ~net->layers : 0;
  if (again >> BPF_NET_LAYER_CONNECT & 1) attach_connect(net);
  if (again >> BPF_NET_LAYER_OPTIONS & 1) attach_options(net);
  if (again >> BPF_NET_LAYER_OWN & 1) bpf_net_own_attach(net);
  if (!(again >> BPF_NET_LAYER_TC & 1)) return;
  attach_tc(net);
  if ((net->layers & 1u << BPF_NET_LAYER_TC) && !net->has_former) bpf_net_devices_adopt(net);
}

int bpf_net_succeed(struct bpf_net *net) {
  char why[240];
  if (!net->has_former || !net->is_attached || !net->is_published) return 0;
  /* Maps first: whoever finds them beside old links either sees that those work on others, and
   * begins anew, or gives the links programs on maps that hold the configuration. */
  int err = pin_maps(net, why);
  for (unsigned i = 0; i < BPF_NET_CGROUP_PROGS && !err; i++)
    if (net->hooks[i].link_fd >= 0) err = pin_over(net, i, net->hooks[i].link_fd);
  if (err) return err;
  net->has_former = false;
  if (net->layers & 1u << BPF_NET_LAYER_TC) bpf_net_devices_adopt(net);
  return 0;
}

uint32_t bpf_net_layers(const struct bpf_net *net) {
  return net->layers;
}
const char *bpf_net_layer_why(const struct bpf_net *net, enum bpf_net_layer layer) {
  return net->layer_why[layer];
}

int bpf_net_remove(struct bpf_net *net) {
  int first = 0;
  /* Off first: whoever else holds a link holds one that lets everything through. EPERM: the map was
   * frozen; detaching has to do. */
  if (net->maps[BPF_NET_MAP_CFGS].fd >= 0 &&
      bpf_map_delete_elem(net->maps[BPF_NET_MAP_CFGS].fd, &zero) != 0 && errno != ENOENT &&
      errno != EPERM)
    first = -errno;
  int err = bpf_net_devices_remove(net);
  if (!first) first = err;
  for (unsigned i = 0; i < BPF_NET_CGROUP_PROGS; i++) {
    uint32_t id;
    TLX_AUTOCLOSE int pinned_fd = -1;
    /* Not left to the kernel's clearing up, so that all is open when this returns. */
    if (bpf_pin_open(net->folder, bpf_net_prog_word(i), BPF_PIN_LINK, &pinned_fd, &id) == 0)
      (void)bpf_link_detach(pinned_fd);
    if (net->hooks[i].link_fd >= 0) (void)bpf_link_detach(net->hooks[i].link_fd);
    bpf_net_close_fd(&net->hooks[i].link_fd);
  }
  err = bpf_pin_sweep(net->folder, NULL, 0);
  if (!first) first = err;
  err = bpf_pin_sweep_numbered(net->pin_folder, "net-", TLX_NET_ABI_VERSION);
  if (!first) first = err;
  close_maps(net, true);
  bpf_net_close_fd(&net->cfg_fd);
  net->maps_pinned = net->has_former = net->is_attached = net->is_published = net->knows_local =
      false;
  net->layers = net->may_come = 0;
  if (rmdir(net->folder) == 0) (void)rmdir(net->pin_folder);
  return first;
}

/* ---- sockets, counters ---- */

int bpf_net_mark(const char *pin_folder, int fd, uint32_t what) {
  char folder[BPF_PIN_PATH_MAX];
  uint32_t id;
  TLX_AUTOCLOSE int map_fd = -1;
  int n = snprintf(folder, sizeof folder, "%s/net-%d", pin_folder, TLX_NET_ABI_VERSION);
  if (n < 0 || (size_t)n >= sizeof folder) return -ENAMETOOLONG;
  int err = bpf_pin_open(folder, bpf_net_map_word(BPF_NET_MAP_OWN), BPF_PIN_MAP, &map_fd, &id);
  if (err) return err;
  return bpf_map_update_elem(map_fd, &fd, &what, BPF_ANY) == 0 ? 0 : -errno;
}

int bpf_net_events_fd(const struct bpf_net *net) {
  return net->maps[BPF_NET_MAP_EVENTS].fd;
}

int bpf_net_stats(struct bpf_net *net, struct tlx_net_stats *ret_stats) {
  const size_t n_counters = sizeof *ret_stats / sizeof(uint64_t);
  int fd = net->maps[BPF_NET_MAP_STATS].fd, n = bpf_load_n_cpus();
  struct tlx_net_stats sum = {{0}};
  if (fd < 0) return -EBADF;
  if (n < 0) return n;
  TLX_AUTOFREE struct tlx_net_stats *each = calloc((size_t)n, sizeof *each);
  if (!each) return -ENOMEM;
  if (bpf_map_lookup_elem(fd, &zero, each) != 0) return -errno;
  /* Nothing but counters of one width. */
  for (int i = 0; i < n; i++)
    for (size_t at = 0; at < n_counters; at++)
      ((uint64_t *)&sum)[at] += ((const uint64_t *)&each[i])[at];
  *ret_stats = sum;
  return 0;
}
