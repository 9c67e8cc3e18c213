// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_object.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf-progs/tlx_abi.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/log.h"
#include "sensor/bpf_object_int.h"

/* Order is everything here: whatever a kill -9 interrupts, either the old links or the new ones are
 * pinned, and a restart can tell which pins belong together. Nothing is unpinned before its
 * successor is pinned. */

static const uint32_t zero;

/* ---- sets of links ---- */

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void set_init(struct bpf_set *set) {
  memset(set, 0, sizeof *set);
  set->self_fd = -1;
}

static void set_done(struct bpf_set *set) {
  for (unsigned i = 0; i < set->n; i++) {
    close_fd(&set->hooks[i].link_fd);
    close_fd(&set->hooks[i].prog_fd);
  }
  close_fd(&set->self_fd);
  set_init(set);
}

void bpf_object_link_name(const struct bpf_set *set, unsigned hook, char *out) {
  snprintf(out, BPF_PIN_NAME_MAX, "%s_%s", bpf_backend_word(set->backend), set->hooks[hook].name);
}
void bpf_object_prog_name(const struct bpf_set *set, unsigned hook, char *out) {
  snprintf(out, BPF_PIN_NAME_MAX, "%s_%s_prog", bpf_backend_word(set->backend),
           set->hooks[hook].name);
}
void bpf_object_self_name(const struct bpf_set *set, char *out) {
  snprintf(out, BPF_PIN_NAME_MAX, "%s_self", bpf_backend_word(set->backend));
}

int bpf_object_prog_info(int prog_fd, uint8_t ret_tag[8], uint32_t ret_map_ids[16],
                         uint32_t *ret_n) {
  struct bpf_prog_info info = {.nr_map_ids = 16};
  __u32 len = sizeof info;
  info.map_ids = (uintptr_t)ret_map_ids;
  if (bpf_obj_get_info_by_fd(prog_fd, &info, &len) != 0) return -errno;
  memcpy(ret_tag, info.tag, 8);
  *ret_n = info.nr_map_ids < 16 ? info.nr_map_ids : 16;
  return 0;
}

static int link_prog_id(int link_fd, uint32_t *ret_prog_id) {
  struct bpf_link_info info = {0};
  __u32 len = sizeof info;
  if (bpf_obj_get_info_by_fd(link_fd, &info, &len) != 0) return -errno;
  *ret_prog_id = info.prog_id;
  return 0;
}

/* ---- adopting ---- */

static bool has_id(const uint32_t *ids, uint32_t n, uint32_t id) {
  for (uint32_t i = 0; i < n; i++)
    if (ids[i] == id) return true;
  return false;
}

/* Opens the pins of one hook; true when link, program and maps belong together. */
static bool adopt_hook(const struct bpf_object *object, struct bpf_set *set, const char *name) {
  struct bpf_hook *hook = &set->hooks[set->n];
  char pin[BPF_PIN_NAME_MAX];
  uint32_t map_ids[16], n_map_ids = 0, linked_id = 0;
  *hook = (struct bpf_hook){.name = name, .link_fd = -1, .prog_fd = -1};
  set->n++;
  bpf_object_link_name(set, set->n - 1, pin);
  if (bpf_pin_open(object->folder, pin, BPF_PIN_LINK, &hook->link_fd, &hook->link_id) != 0)
    return false;
  bpf_object_prog_name(set, set->n - 1, pin);
  if (bpf_pin_open(object->folder, pin, BPF_PIN_PROG, &hook->prog_fd, &hook->prog_id) != 0)
    return false;
  if (link_prog_id(hook->link_fd, &linked_id) != 0 || linked_id != hook->prog_id) return false;
  if (bpf_object_prog_info(hook->prog_fd, hook->tag, map_ids, &n_map_ids) != 0) return false;
  return has_id(map_ids, n_map_ids, object->maps[BPF_MAP_CFG].id) &&
         has_id(map_ids, n_map_ids, object->maps[BPF_MAP_RULES].id) &&
         has_id(map_ids, n_map_ids, set->self_id);
}

/* Opens the pinned links of |backend|; false (and empty) when they are not whole. */
static bool adopt_set(const struct bpf_object *object, enum bpf_backend backend,
                      struct bpf_set *set) {
  char pin[BPF_PIN_NAME_MAX];
  struct tlx_self self;
  set_init(set);
  set->backend = backend;
  bpf_object_self_name(set, pin);
  bool whole = bpf_pin_open(object->folder, pin, BPF_PIN_MAP, &set->self_fd, &set->self_id) == 0 &&
               bpf_load_check_self(set->self_fd) == 0 &&
               bpf_map_lookup_elem(set->self_fd, &zero, &self) == 0;
  if (whole) set->reads = self.reads;
  const char *hook;
  for (unsigned i = 0; whole && (hook = bpf_load_hook(backend, i)); i++)
    whole = adopt_hook(object, set, hook);
  if (!whole) set_done(set);
  return whole;
}

static void close_maps(struct bpf_object *object) {
  for (unsigned i = 0; i < BPF_MAP_COUNT; i++)
    close_fd(&object->maps[i].fd);
  close_fd(&object->image_fd);
  object->image_id = 0;
}

/* Opens the pinned maps of a former process. 0; -ENOENT (none); another negative errno with words:
 * they cannot be used. */
static int adopt_maps(struct bpf_object *object, char why[240]) {
  int err = 0;
  for (unsigned i = 0; i < BPF_MAP_COUNT && !err; i++) {
    const char *word = bpf_map_word(i);
    err = bpf_pin_open(object->folder, word, BPF_PIN_MAP, &object->maps[i].fd, &object->maps[i].id);
    if (err)
      snprintf(why, 240, "pin %s: %s", word, tlx_err_text(err));
    else
      err = bpf_load_check_map(i, object->maps[i].fd, why);
    /* It can be read for ever and never be set again. */
    if (!err && bpf_pin_is_frozen(object->maps[i].fd)) {
      err = -EPERM;
      snprintf(why, 240, "map %s was frozen", word);
    }
  }
  if (!err && bpf_map_lookup_elem(object->maps[BPF_MAP_CFG].fd, &zero, &object->cfg) != 0)
    err = -errno;
  if (err) close_maps(object);
  return err;
}

static int make_maps(struct bpf_object *object, char why[240]) {
  int fds[BPF_MAP_COUNT];
  int err = bpf_load_maps(object->options.btf_path, why, fds);
  for (unsigned i = 0; i < BPF_MAP_COUNT && !err; i++) {
    object->maps[i].fd = fds[i];
    err = bpf_pin_id(fds[i], BPF_PIN_MAP, &object->maps[i].id);
    if (err) snprintf(why, 240, "map %s: %s", bpf_map_word(i), tlx_err_text(err));
  }
  return err;
}

int bpf_object_open(const struct bpf_object_options *options, char why[240], bool *ret_adopted,
                    struct bpf_object **ret_object) {
  struct bpf_object *object = calloc(1, sizeof *object);
  char reason[240] = "";
  if (!object) return -ENOMEM;
  for (unsigned i = 0; i < BPF_MAP_COUNT; i++)
    object->maps[i].fd = -1;
  object->image_fd = -1;
  set_init(&object->current);
  set_init(&object->pending);
  object->options = *options;
  object->options.pin_folder = object->pin_folder;
  snprintf(object->pin_folder, sizeof object->pin_folder, "%s", options->pin_folder);
  int err = bpf_pin_folder_make(options->pin_folder, why, object->folder);
  if (!err && options->btf_path) {
    object->btf_path = strdup(options->btf_path);
    object->options.btf_path = object->btf_path;
    if (!object->btf_path) err = -ENOMEM;
  }
  if (err) goto fail;

  err = adopt_maps(object, reason);
  if (!err) {
    object->maps_pinned = true;
    for (unsigned backend = BPF_BACKEND_NONE + 1; backend < BPF_BACKEND_COUNT && !object->is_former;
         backend++)
      object->is_former = adopt_set(object, backend, &object->current);
  } else {
    /* They go on enforcing under their own links until ours are in force: bpf_object_keep removes
     * them. */
    if (err != -ENOENT)
      tlx_warn(BPF, "pins of a former process cannot be adopted and will be replaced: %s", reason);
    err = make_maps(object, why);
  }
  if (err) goto fail;
  *ret_adopted = object->maps_pinned;
  *ret_object = object;
  return 0;
fail:
  bpf_object_close(object);
  return err;
}

void bpf_object_close(struct bpf_object *object) {
  if (!object) return;
  set_done(&object->pending);
  set_done(&object->current);
  close_maps(object);
  free(object->btf_path);
  free(object);
}

/* ---- what is there ---- */

enum bpf_backend bpf_object_backend(const struct bpf_object *object) {
  return object->current.backend;
}
bool bpf_object_reads_names(const struct bpf_object *object) {
  const struct bpf_set *set = object->pending.backend ? &object->pending : &object->current;
  return set->backend && set->reads;
}
int bpf_object_rules_fd(const struct bpf_object *object) {
  return object->maps[BPF_MAP_RULES].fd;
}
int bpf_object_stats_fd(const struct bpf_object *object) {
  return object->maps[BPF_MAP_STATS].fd;
}
int bpf_object_count_fd(const struct bpf_object *object) {
  return object->maps[BPF_MAP_COUNTS].fd;
}
int bpf_object_events_fd(const struct bpf_object *object) {
  return object->maps[BPF_MAP_EVENTS].fd;
}

/* ---- attaching ---- */

/* Whether the programs that a former process attached are these. The tag is a digest of the
 * instructions without what they read from .rodata, hence |reads|. */
static bool is_same(const struct bpf_set *set, const struct bpf_load *load) {
  if (set->n != load->n || set->reads != load->reads) return false;
  for (unsigned i = 0; i < load->n; i++) {
    uint8_t tag[8];
    uint32_t map_ids[16], n;
    if (strcmp(set->hooks[i].name, load->progs[i].hook) != 0) return false;
    if (bpf_object_prog_info(load->progs[i].fd, tag, map_ids, &n) != 0) return false;
    if (memcmp(tag, set->hooks[i].tag, 8) != 0) return false;
  }
  return true;
}

static int duplicate(int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? -errno : copy;
}

/* |pending| becomes a second owner of the links of |current|. */
static int adopt_current(struct bpf_object *object) {
  struct bpf_set *pending = &object->pending;
  int err = 0;
  *pending = object->current;
  pending->self_fd = duplicate(object->current.self_fd);
  if (pending->self_fd < 0) err = pending->self_fd;
  for (unsigned i = 0; i < pending->n; i++) {
    struct bpf_hook *hook = &pending->hooks[i];
    hook->link_fd = duplicate(object->current.hooks[i].link_fd);
    hook->prog_fd = duplicate(object->current.hooks[i].prog_fd);
    if (hook->link_fd < 0) err = hook->link_fd;
    if (hook->prog_fd < 0) err = hook->prog_fd;
  }
  if (err)
    set_done(pending);
  else
    object->is_adopted = true;
  return err;
}

/* Attaches one program and notes what it is now. */
static int attach_hook(struct bpf_set *set, const struct bpf_load_prog *prog) {
  struct bpf_hook *hook = &set->hooks[set->n];
  uint32_t map_ids[16], n;
  *hook = (struct bpf_hook){.name = prog->hook, .link_fd = -1, .prog_fd = duplicate(prog->fd)};
  set->n++;
  if (hook->prog_fd < 0) return hook->prog_fd;
  hook->link_fd = bpf_load_attach(set->backend, prog->fd);
  if (hook->link_fd < 0) return hook->link_fd;
  int err = bpf_pin_id(hook->link_fd, BPF_PIN_LINK, &hook->link_id);
  if (!err) err = bpf_pin_id(hook->prog_fd, BPF_PIN_PROG, &hook->prog_id);
  return err ? err : bpf_object_prog_info(hook->prog_fd, hook->tag, map_ids, &n);
}

/* All or nothing: half a set would be reported as what it is not. */
static int attach_new(struct bpf_object *object, enum bpf_backend backend,
                      const struct bpf_load *load, char why[240]) {
  struct bpf_set *set = &object->pending;
  int err = 0;
  set->backend = backend;
  set->reads = load->reads;
  set->self_fd = duplicate(load->self_fd);
  if (set->self_fd < 0) err = set->self_fd;
  if (!err) err = bpf_pin_id(set->self_fd, BPF_PIN_MAP, &set->self_id);
  for (unsigned i = 0; i < load->n && !err; i++) {
    err = attach_hook(set, &load->progs[i]);
    if (err)
      snprintf(why, 240, "hook %s cannot be attached: %s", load->progs[i].hook, tlx_err_text(err));
  }
  if (err) set_done(set);
  return err;
}

int bpf_object_attach(struct bpf_object *object, enum bpf_backend backend, char why[240]) {
  struct bpf_load load = {.self_fd = -1};
  int fds[BPF_MAP_COUNT];
  if (object->maps[0].fd < 0) return -EBADF;
  bpf_object_drop(object);
  for (unsigned i = 0; i < BPF_MAP_COUNT; i++)
    fds[i] = object->maps[i].fd;
  int err = bpf_load_programs(backend, fds, object->options.btf_path, why, &load);
  if (err) return err;
  if (object->is_former && object->current.backend == backend && is_same(&object->current, &load)) {
    err = adopt_current(object);
    if (err) snprintf(why, 240, "%s", tlx_err_text(err));
  } else {
    err = attach_new(object, backend, &load, why);
  }
  bpf_load_done(&load);
  return err;
}

void bpf_object_drop(struct bpf_object *object) {
  /* Links that were found and did not prove themselves are not adopted a second time. */
  if (object->is_adopted) object->is_former = false;
  object->is_adopted = false;
  set_done(&object->pending);
}

/* ---- pinning ---- */

static int pin_if_other(const char *folder, const char *name, enum bpf_pin_kind kind, int fd,
                        uint32_t id) {
  int pinned_fd = -1;
  uint32_t pinned_id = 0;
  if (bpf_pin_open(folder, name, kind, &pinned_fd, &pinned_id) == 0) close(pinned_fd);
  return pinned_id == id ? 0 : bpf_pin_put(folder, name, fd);
}

int bpf_object_pin_set(struct bpf_object *object, const struct bpf_set *set) {
  char name[BPF_PIN_NAME_MAX];
  bpf_object_self_name(set, name);
  int err = pin_if_other(object->folder, name, BPF_PIN_MAP, set->self_fd, set->self_id);
  for (unsigned i = 0; i < set->n && !err; i++) {
    bpf_object_prog_name(set, i, name);
    err = pin_if_other(object->folder, name, BPF_PIN_PROG, set->hooks[i].prog_fd,
                       set->hooks[i].prog_id);
    bpf_object_link_name(set, i, name);
    if (!err)
      err = pin_if_other(object->folder, name, BPF_PIN_LINK, set->hooks[i].link_fd,
                         set->hooks[i].link_id);
  }
  return err;
}

static int pin_maps(struct bpf_object *object) {
  int err = 0;
  for (unsigned i = 0; i < BPF_MAP_COUNT && !err; i++)
    err = bpf_pin_put(object->folder, bpf_map_word(i), object->maps[i].fd);
  if (!err && object->image_fd >= 0)
    err = bpf_pin_put(object->folder, BPF_IMAGE_PIN, object->image_fd);
  object->maps_pinned |= !err;
  return err;
}

/* Removes every pin that is not one of |set| or of our maps. */
static int sweep(struct bpf_object *object, const struct bpf_set *set) {
  char names[1 + 2 * BPF_HOOKS_MAX][BPF_PIN_NAME_MAX];
  const char *keep[BPF_MAP_COUNT + 1 + 1 + 2 * BPF_HOOKS_MAX];
  unsigned n = 0, at = 0;
  bpf_object_self_name(set, names[n++]);
  for (unsigned i = 0; i < set->n; i++) {
    bpf_object_link_name(set, i, names[n++]);
    bpf_object_prog_name(set, i, names[n++]);
  }
  for (unsigned i = 0; i < n; i++)
    keep[at++] = names[i];
  for (unsigned i = 0; i < BPF_MAP_COUNT; i++)
    keep[at++] = bpf_map_word(i);
  keep[at++] = BPF_IMAGE_PIN;
  int err = bpf_pin_sweep(object->folder, keep, at);
  int versions_err = bpf_pin_sweep_versions(object->pin_folder);
  return err ? err : versions_err;
}

int bpf_object_keep(struct bpf_object *object, char why[240]) {
  if (!object->pending.backend) {
    snprintf(why, 240, "nothing was attached");
    return -EINVAL;
  }
  int err = object->maps_pinned ? 0 : pin_maps(object);
  if (!err) err = bpf_object_pin_set(object, &object->pending);
  if (err) {
    snprintf(why, 240, "links cannot be pinned in %.150s: %s", object->folder, tlx_err_text(err));
    return err;
  }
  set_done(&object->current);
  object->current = object->pending;
  set_init(&object->pending);
  object->is_adopted = object->is_former = false;
  err = sweep(object, &object->current);
  if (err)
    tlx_warn(BPF, "old pins in %s cannot be removed, what they enforce stays: %s", object->folder,
             tlx_err_text(err));
  return 0;
}

int bpf_object_remove(struct bpf_object *object) {
  struct tlx_cfg nobody = {0};
  /* Disarmed first: whoever else holds a link holds one that looks at nothing. */
  int err = object->maps[BPF_MAP_CFG].fd < 0 ? 0 : bpf_object_write_cfg(object, &nobody);
  int sweep_err = bpf_pin_sweep(object->folder, NULL, 0);
  int versions_err = bpf_pin_sweep_versions(object->pin_folder);
  set_done(&object->pending);
  set_done(&object->current);
  close_maps(object);
  object->maps_pinned = object->is_former = object->is_adopted = object->knows_cfg = false;
  if (rmdir(object->folder) == 0) (void)rmdir(object->pin_folder);
  return sweep_err ? sweep_err : versions_err ? versions_err : err;
}

/* ---- arming ---- */

int bpf_object_write_cfg(struct bpf_object *object, const struct tlx_cfg *cfg) {
  int fd = object->maps[BPF_MAP_CFG].fd;
  struct tlx_cfg unarmed = *cfg;
  unarmed.flags = 0;
  /* An update is no atomic act for a program that reads meanwhile. Where the scope itself changes,
   * flags are off while it does. */
  bool scope_changes = cfg->scope_cgroup_id != object->cfg.scope_cgroup_id ||
                       cfg->scope_level != object->cfg.scope_level;
  if (cfg->flags && scope_changes && bpf_map_update_elem(fd, &zero, &unarmed, BPF_ANY) != 0)
    return -errno;
  if (bpf_map_update_elem(fd, &zero, cfg, BPF_ANY) != 0) return -errno;
  object->cfg = *cfg;
  return 0;
}

int bpf_object_arm(struct bpf_object *object, bool armed) {
  const struct bpf_object_options *options = &object->options;
  struct tlx_cfg cfg = {0};
  if (object->maps[BPF_MAP_CFG].fd < 0) return -EBADF;
  if (armed && options->whole_host)
    cfg.flags = TLX_CFG_ARMED | TLX_CFG_WHOLE_HOST;
  else if (armed && options->scope_cgroup_id)
    cfg = (struct tlx_cfg){options->scope_cgroup_id, options->scope_level, TLX_CFG_ARMED};
  else if (armed)
    return -EINVAL;
  if (object->cfg.flags && memcmp(&cfg, &object->cfg, sizeof cfg) != 0)
    tlx_notice(BPF, "the scope of enforcement changes from cgroup %llu to %llu (0 = %s)",
               (unsigned long long)object->cfg.scope_cgroup_id,
               (unsigned long long)cfg.scope_cgroup_id, armed ? "whole host" : "nobody");
  int err = bpf_object_write_cfg(object, &cfg);
  if (!err) object->knows_cfg = true;
  return err;
}
