// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/log.h"
#include "sensor/bpf_net_int.h"

/* The devices of a containment (bpf_net.h: links). A link of tcx is pinned and gets a new program
 * by an update; a filter of clsact is replaced in its place. Neither has a gap. */

static const char *const directions[] = {"out", "in"};

static enum bpf_net_prog prog_of(bool is_ip, unsigned in) {
  return is_ip ? (in ? BPF_NET_PROG_TC_IN_IP : BPF_NET_PROG_TC_OUT_IP)
         : in  ? BPF_NET_PROG_TC_IN
               : BPF_NET_PROG_TC_OUT;
}

static void pin_name(unsigned in, uint32_t ifindex, char out[BPF_PIN_NAME_MAX]) {
  snprintf(out, BPF_PIN_NAME_MAX, "tc_%s_%u", directions[in], ifindex);
}

static bool exists(uint32_t ifindex) {
  char name[IF_NAMESIZE];
  return if_indextoname(ifindex, name) != NULL;
}

/* ---- the list ---- */

static struct bpf_net_device *find(struct bpf_net *net, uint32_t ifindex) {
  for (unsigned i = 0; i < net->n_devices; i++)
    if (net->devices[i].ifindex == ifindex) return &net->devices[i];
  return NULL;
}

static struct bpf_net_device *find_or_add(struct bpf_net *net, uint32_t ifindex) {
  struct bpf_net_device *device = find(net, ifindex);
  if (device) return device;
  struct bpf_net_device *devices = realloc(net->devices, (net->n_devices + 1) * sizeof *devices);
  if (!devices) return NULL;
  net->devices = devices;
  device = &devices[net->n_devices++];
  *device = (struct bpf_net_device){.ifindex = ifindex, .link_fd = {-1, -1}};
  return device;
}

static void drop(struct bpf_net *net, struct bpf_net_device *device) {
  bpf_net_close_fd(&device->link_fd[0]);
  bpf_net_close_fd(&device->link_fd[1]);
  *device = net->devices[--net->n_devices];
}

static void unpin(const struct bpf_net *net, uint32_t ifindex) {
  for (unsigned in = 0; in < 2; in++) {
    char name[BPF_PIN_NAME_MAX], path[BPF_PIN_PATH_MAX + BPF_PIN_NAME_MAX];
    pin_name(in, ifindex, name);
    snprintf(path, sizeof path, "%s/%s", net->folder, name);
    (void)unlink(path);
  }
}

void bpf_net_devices_close(struct bpf_net *net) {
  while (net->n_devices)
    drop(net, &net->devices[net->n_devices - 1]);
  free(net->devices);
  net->devices = NULL;
}

/* ---- attaching ---- */

/* A new link at the head, pinned in the place of whatever is pinned. */
static int link_new(struct bpf_net *net, struct bpf_net_device *device, unsigned in) {
  const struct bpf_net_hook *prog = bpf_net_hook_of(net, prog_of(device->is_ip, in));
  char name[BPF_PIN_NAME_MAX];
  uint32_t id = 0;
  TLX_AUTOCLOSE int fd = bpf_tcx_attach(device->ifindex, in, prog->prog_fd);
  if (fd < 0) return fd;
  pin_name(in, device->ifindex, name);
  int err = bpf_pin_id(fd, BPF_PIN_LINK, &id);
  if (!err) err = bpf_pin_put(net->folder, name, fd);
  if (err) return err;
  bpf_net_close_fd(&device->link_fd[in]);
  device->link_fd[in] = TLX_TAKE_FD(fd);
  device->link_id[in] = id;
  device->prog_id[in] = prog->prog_id;
  return 0;
}

/* The pinned link, with our program in it now. */
static int link_update(struct bpf_net *net, struct bpf_net_device *device, unsigned in) {
  const struct bpf_net_hook *prog = bpf_net_hook_of(net, prog_of(device->is_ip, in));
  char name[BPF_PIN_NAME_MAX];
  uint32_t id, ifindex, prog_id;
  bool is_in;
  TLX_AUTOCLOSE int fd = -1;
  pin_name(in, device->ifindex, name);
  int err = bpf_pin_open(net->folder, name, BPF_PIN_LINK, &fd, &id);
  if (!err) err = bpf_tcx_info(fd, &ifindex, &is_in, &prog_id);
  if (err) return err;
  if (ifindex != device->ifindex || is_in != (in == 1)) return -ENOLINK;
  if (prog_id != prog->prog_id && bpf_link_update(fd, prog->prog_fd, NULL) != 0) return -errno;
  bpf_net_close_fd(&device->link_fd[in]);
  device->link_fd[in] = TLX_TAKE_FD(fd);
  device->link_id[in] = id;
  device->prog_id[in] = prog->prog_id;
  return 0;
}

/* Whether no other program is asked before ours, who could let everything through. */
static bool is_first(const struct bpf_net *net, const struct bpf_net_device *device, unsigned in) {
  uint32_t first_id = 0;
  int err = net->has_tcx ? bpf_tcx_first(device->ifindex, in, &first_id)
                         : bpf_clsact_first(device->ifindex, in, &first_id);
  return !err && first_id == device->prog_id[in];
}

static int to_front(struct bpf_net *net, struct bpf_net_device *device, unsigned in) {
  char why[240];
  if (!net->has_tcx)
    return bpf_clsact_to_front(device->ifindex, in,
                               bpf_net_hook_of(net, prog_of(device->is_ip, in))->prog_fd);
  /* A program cannot be on one list twice: a second copy goes to the head before the first one
   * leaves. */
  int err = bpf_net_tc_load(net, why);
  return err ? err : link_new(net, device, in);
}

static int attach(struct bpf_net *net, struct bpf_net_device *device, unsigned in) {
  const struct bpf_net_hook *prog = bpf_net_hook_of(net, prog_of(device->is_ip, in));
  int err = 0;
  if (net->has_tcx) {
    if (link_update(net, device, in) != 0) return link_new(net, device, in);
  } else {
    err = bpf_clsact_attach(device->ifindex, in, prog->prog_fd);
    if (err) return err;
    device->prog_id[in] = prog->prog_id;
  }
  /* Of a former process: somebody may have stepped before it since. */
  return is_first(net, device, in) ? 0 : to_front(net, device, in);
}

int bpf_net_link_add(struct bpf_net *net, uint32_t ifindex, char why[240]) {
  enum bpf_tc_frame frame;
  if (!(net->layers & 1u << BPF_NET_LAYER_TC)) {
    snprintf(why, 240, "%s",
             net->is_attached ? net->layer_why[BPF_NET_LAYER_TC] : "nothing is attached");
    return -EOPNOTSUPP;
  }
  /* A link of tcx stands beside that of another version; a filter of clsact takes its place. */
  if (net->has_former || (net->has_others && !net->has_tcx && !net->is_published)) {
    snprintf(why, 240, "links of a former process go on until a configuration is published");
    return -EAGAIN;
  }
  int err = bpf_tc_frame_of(ifindex, why, &frame);
  if (err) return err;
  struct bpf_net_device *device = find_or_add(net, ifindex);
  if (!device) return -ENOMEM;
  device->is_ip = frame == BPF_TC_IP;
  for (unsigned in = 0; in < 2 && !err; in++) {
    err = attach(net, device, in);
    if (err)
      snprintf(why, 240, "device %u, %s: %s cannot be attached: %s", ifindex, directions[in],
               net->has_tcx ? "tcx" : "clsact", tlx_err_text(err));
  }
  /* Half of it stays: it denies what it sees. It is reported as missing, and tried again. */
  return err;
}

void bpf_net_link_gone(struct bpf_net *net, uint32_t ifindex) {
  struct bpf_net_device *device = find(net, ifindex);
  unpin(net, ifindex);
  if (device) drop(net, device);
}

/* ---- a former process's ---- */

/* The device that a pin is of; 0 = it is none of a device. */
static uint32_t device_of(const char *name) {
  unsigned ifindex = 0;
  char end;
  for (unsigned in = 0; in < 2; in++) {
    char format[16];
    snprintf(format, sizeof format, "tc_%s_%%u%%c", directions[in]);
    if (sscanf(name, format, &ifindex, &end) == 1) return ifindex;
  }
  return 0;
}

void bpf_net_devices_adopt(struct bpf_net *net) {
  DIR *dir = opendir(net->folder);
  if (!dir) return;
  for (struct dirent *entry; (entry = readdir(dir));) {
    char why[240] = "";
    uint32_t ifindex = device_of(entry->d_name);
    if (!ifindex) continue;
    if (!exists(ifindex))
      bpf_net_link_gone(net, ifindex);
    else if (bpf_net_link_add(net, ifindex, why) != 0)
      tlx_warn(BPF, "the filter of a former process goes on with its own programs: %s", why);
  }
  closedir(dir);
  /* Filters of clsact have no pins: they get the new programs when their device is added again. */
}

int bpf_net_devices_remove(struct bpf_net *net) {
  int first = 0;
  while (net->n_devices) {
    struct bpf_net_device *device = &net->devices[net->n_devices - 1];
    for (unsigned in = 0; in < 2; in++)
      if (device->link_fd[in] >= 0) (void)bpf_link_detach(device->link_fd[in]);
    unpin(net, device->ifindex);
    drop(net, device);
  }
  if (!net->whole_host) return 0;
  /* Filters live without us, also on devices that only a former process knew. */
  struct if_nameindex *all = if_nameindex();
  for (unsigned i = 0; all && all[i].if_index; i++)
    for (unsigned in = 0; in < 2; in++) {
      int err = bpf_clsact_detach(all[i].if_index, in);
      if (!first) first = err;
    }
  if (!all) first = -errno;
  if_freenameindex(all);
  return first;
}

/* ---- verification ---- */

static int note(const struct bpf_net_device *device, unsigned in, int err, const char *how,
                struct bpf_tampers *tampers) {
  char what[64];
  snprintf(what, sizeof what, "device %u, tc %s", device->ifindex, directions[in]);
  bpf_tampers_note(tampers, !err, what, "%s", how);
  return err;
}

static int check_tcx(struct bpf_net *net, struct bpf_net_device *device, unsigned in,
                     struct bpf_tampers *tampers) {
  uint32_t ifindex = 0, prog_id = 0;
  bool is_in;
  char name[BPF_PIN_NAME_MAX];
  int err = device->link_fd[in] < 0 ? -EBADF
                                    : bpf_tcx_info(device->link_fd[in], &ifindex, &is_in, &prog_id);
  if (err || ifindex != device->ifindex)
    return note(device, in, link_new(net, device, in), "the link was detached", tampers);
  if (prog_id != device->prog_id[in]) {
    err = link_update(net, device, in);
    char what[64];
    snprintf(what, sizeof what, "device %u, tc %s", device->ifindex, directions[in]);
    bpf_tampers_note(tampers, !err, what, "the link held another program: id %u", prog_id);
    if (err) return err;
  }
  if (!is_first(net, device, in))
    return note(device, in, to_front(net, device, in), "another program stood before it", tampers);
  pin_name(in, device->ifindex, name);
  return bpf_tampers_check_pin(net->folder, name, BPF_PIN_LINK, device->link_fd[in],
                               device->link_id[in], tampers);
}

static int check_clsact(struct bpf_net *net, struct bpf_net_device *device, unsigned in,
                        struct bpf_tampers *tampers) {
  uint32_t prog_id = 0;
  if (bpf_clsact_query(device->ifindex, in, &prog_id) != 0)
    return note(device, in, attach(net, device, in), "the filter was missing", tampers);
  if (prog_id != device->prog_id[in])
    return note(device, in, attach(net, device, in), "the filter held another program", tampers);
  if (is_first(net, device, in)) return 0;
  return note(device, in, to_front(net, device, in), "another filter stood before it", tampers);
}

/* A direction that never got its program is no drift: bpf_net_link_add tries it again. */
static int check(struct bpf_net *net, struct bpf_net_device *device, struct bpf_tampers *tampers) {
  int first = 0;
  for (unsigned in = 0; in < 2; in++) {
    if (!device->prog_id[in]) continue;
    int err =
        net->has_tcx ? check_tcx(net, device, in, tampers) : check_clsact(net, device, in, tampers);
    if (!first) first = err;
  }
  return first;
}

int bpf_net_link_check(struct bpf_net *net, uint32_t ifindex, struct bpf_tampers *tampers) {
  struct bpf_net_device *device = find(net, ifindex);
  return device && exists(ifindex) ? check(net, device, tampers) : 0;
}

int bpf_net_devices_verify(struct bpf_net *net, struct bpf_tampers *tampers) {
  int first = 0;
  for (unsigned i = 0; i < net->n_devices;) {
    struct bpf_net_device *device = &net->devices[i];
    if (!exists(device->ifindex)) {
      bpf_net_link_gone(net, device->ifindex);
      continue;
    }
    int err = check(net, device, tampers);
    if (!first) first = err;
    i++;
  }
  return first;
}
