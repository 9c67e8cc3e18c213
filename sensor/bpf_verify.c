// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "sensor/bpf_object_int.h"

/* The verification of bpf_object.h. Our descriptors hold every object, so nothing that happens to a
 * pin stops enforcement before it is put back; what it would cost is the enforcement after our own
 * end. */

void bpf_tampers_note(struct bpf_tampers *tampers, bool repaired, const char *what,
                      const char *format, ...) {
  if (tampers->n >= BPF_TAMPERS_MAX) return;
  struct bpf_tamper *tamper = &tampers->list[tampers->n++];
  va_list args;
  va_start(args, format);
  vsnprintf(tamper->how, sizeof tamper->how, format, args);
  va_end(args);
  snprintf(tamper->what, sizeof tamper->what, "%s", what);
  tamper->repaired = repaired;
}

int bpf_tampers_check_pin(const char *folder, const char *name, enum bpf_pin_kind kind, int fd,
                          uint32_t id, struct bpf_tampers *tampers) {
  static const char *const words[] = {
      [BPF_PIN_MAP] = "map", [BPF_PIN_PROG] = "program", [BPF_PIN_LINK] = "link"};
  char what[64];
  int pinned_fd = -1;
  uint32_t pinned_id = 0;
  int found = bpf_pin_open(folder, name, kind, &pinned_fd, &pinned_id);
  if (!found) close(pinned_fd);
  if (!found && pinned_id == id) return 0;
  /* That is our own want, and says nothing about the pin. */
  if (found == -EMFILE || found == -ENFILE || found == -ENOMEM) return found;
  int err = bpf_pin_put(folder, name, fd);
  snprintf(what, sizeof what, "%s %s", words[kind], name);
  if (!found)
    bpf_tampers_note(tampers, !err, what, "the pin held another %s: id %u, not %u", words[kind],
                     pinned_id, id);
  else if (found == -ENOENT)
    bpf_tampers_note(tampers, !err, what, "the pin was missing");
  else
    bpf_tampers_note(tampers, !err, what, "the pin held something else: %s", tlx_err_text(found));
  return err;
}

/* A frozen map is of no more use: nothing in it can be set, or set right, again. */
static int check_frozen(const struct bpf_object *object, struct bpf_tampers *tampers) {
  char what[64];
  for (unsigned i = 0; i < BPF_MAP_COUNT; i++) {
    if (!bpf_pin_is_frozen(object->maps[i].fd)) continue;
    snprintf(what, sizeof what, "map %s", bpf_map_word(i));
    bpf_tampers_note(tampers, false, what, "it was frozen");
    return -EPERM;
  }
  return 0;
}

/* A folder of ours that was opened to others is closed again: what they may have put there is
 * checked as ever. */
static void close_folder(const char *path, struct bpf_tampers *tampers) {
  struct stat st;
  if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
      !(st.st_mode & 07077))
    return;
  bool closed = chmod(path, 0700) == 0;
  bpf_tampers_note(tampers, closed, "folder of pins", "it had mode %o", st.st_mode & 07777);
}

static int check_cfg(struct bpf_object *object, struct bpf_tampers *tampers) {
  struct tlx_cfg now;
  const uint32_t zero = 0;
  if (!object->knows_cfg) return 0;
  if (bpf_map_lookup_elem(object->maps[BPF_MAP_CFG].fd, &zero, &now) != 0) return -errno;
  if (memcmp(&now, &object->cfg, sizeof now) == 0) return 0;
  struct tlx_cfg wanted = object->cfg;
  object->cfg = now;
  int err = bpf_object_write_cfg(object, &wanted);
  object->cfg = wanted;
  bpf_tampers_note(tampers, !err, "map cfg", "it said flags %u, cgroup %llu, level %u", now.flags,
                   (unsigned long long)now.scope_cgroup_id, now.scope_level);
  return err;
}

/* Whether the link still is attached to the program that it was made with. */
static int check_hook(struct bpf_set *set, unsigned at, struct bpf_tampers *tampers) {
  struct bpf_hook *hook = &set->hooks[at];
  struct bpf_link_info info = {0};
  __u32 len = sizeof info;
  uint32_t map_ids[16], n;
  uint8_t tag[8];
  char what[64], name[BPF_PIN_NAME_MAX];
  int err = bpf_object_prog_info(hook->prog_fd, tag, map_ids, &n);
  if (err) return err;
  if (memcmp(tag, hook->tag, 8) != 0) return -EPROTO;
  if (bpf_obj_get_info_by_fd(hook->link_fd, &info, &len) == 0 && info.id == hook->link_id &&
      info.prog_id == hook->prog_id)
    return 0;
  bpf_object_link_name(set, at, name);
  snprintf(what, sizeof what, "link %s", name);
  int fd = bpf_load_attach(set->backend, hook->prog_fd);
  bpf_tampers_note(tampers, fd >= 0, what, "it holds another program: id %u, not %u", info.prog_id,
                   hook->prog_id);
  if (fd < 0) return fd;
  close(hook->link_fd);
  hook->link_fd = fd;
  return bpf_pin_id(fd, BPF_PIN_LINK, &hook->link_id);
}

int bpf_object_verify(struct bpf_object *object, struct bpf_tampers *ret_tampers) {
  struct bpf_set *set = &object->current;
  char name[BPF_PIN_NAME_MAX], why[240] = "";
  int first = object->maps[BPF_MAP_CFG].fd < 0 ? -EBADF : check_frozen(object, ret_tampers);
  if (first) return first;
  first = check_cfg(object, ret_tampers);
#define CHECK(call)                                                                                \
  do {                                                                                             \
    int err_ = (call);                                                                             \
    if (!first) first = err_;                                                                      \
  } while (0)
  if (!object->maps_pinned) return first;
  close_folder(object->pin_folder, ret_tampers);
  close_folder(object->folder, ret_tampers);
  CHECK(bpf_pin_folder_make(object->pin_folder, why, object->folder));
  for (unsigned i = 0; i < BPF_MAP_COUNT; i++)
    CHECK(bpf_tampers_check_pin(object->folder, bpf_map_word(i), BPF_PIN_MAP, object->maps[i].fd,
                                object->maps[i].id, ret_tampers));
  if (object->image_fd >= 0)
    CHECK(bpf_tampers_check_pin(object->folder, BPF_IMAGE_PIN, BPF_PIN_MAP, object->image_fd,
                                object->image_id, ret_tampers));
  if (!set->backend) return first;
  bpf_object_self_name(set, name);
  CHECK(bpf_tampers_check_pin(object->folder, name, BPF_PIN_MAP, set->self_fd, set->self_id,
                              ret_tampers));
  for (unsigned i = 0; i < set->n; i++) {
    CHECK(check_hook(set, i, ret_tampers));
    bpf_object_prog_name(set, i, name);
    CHECK(bpf_tampers_check_pin(object->folder, name, BPF_PIN_PROG, set->hooks[i].prog_fd,
                                set->hooks[i].prog_id, ret_tampers));
    bpf_object_link_name(set, i, name);
    CHECK(bpf_tampers_check_pin(object->folder, name, BPF_PIN_LINK, set->hooks[i].link_fd,
                                set->hooks[i].link_id, ret_tampers));
  }
#undef CHECK
  return first;
}
