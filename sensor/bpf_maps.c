// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_maps.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "sensor/bpf_object_int.h"

static const uint32_t zero;

uint64_t bpf_maps_name_hash(const char *name, size_t len) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < len; i++)
    hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3;
  return hash;
}

/* ---- images ---- */

/* Id of the inner map that the programs use. */
static int used_image(const struct bpf_object *object, uint32_t *ret_id) {
  int fd = object->maps[BPF_MAP_RULES].fd;
  if (fd < 0) return -EBADF;
  return bpf_map_lookup_elem(fd, &zero, ret_id) == 0 ? 0 : -errno;
}

/* Whether |fd| holds |entries| and nothing else. */
static bool holds(int fd, const struct bpf_image_entry *entries, size_t n) {
  struct tlx_exec_key key, next;
  size_t found = 0;
  for (void *at = NULL; bpf_map_get_next_key(fd, at, &next) == 0; at = &key) {
    key = next;
    if (++found > n) return false;
  }
  for (size_t i = 0; i < n; i++) {
    struct tlx_exec_rule rule;
    if (bpf_map_lookup_elem(fd, &entries[i].key, &rule) != 0) return false;
    if (memcmp(&rule, &entries[i].rule, sizeof rule) != 0) return false;
  }
  return found == n;
}

/* Makes, fills, reads back and freezes an image that nobody uses yet. */
static int make_image(const struct bpf_image_entry *entries, size_t n, int *ret_fd) {
  TLX_AUTOCLOSE int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "tlx_image", sizeof(struct tlx_exec_key),
                                        sizeof(struct tlx_exec_rule), n ? (__u32)n : 1, NULL);
  if (fd < 0) return -errno;
  for (size_t i = 0; i < n; i++)
    if (bpf_map_update_elem(fd, &entries[i].key, &entries[i].rule, BPF_NOEXIST) != 0) return -errno;
  if (!holds(fd, entries, n)) return -EIO;
  if (bpf_map_freeze(fd) != 0) return -errno;
  *ret_fd = TLX_TAKE_FD(fd);
  return 0;
}

int bpf_maps_publish(struct bpf_object *object, const struct bpf_image_entry *entries, size_t n) {
  TLX_AUTOCLOSE int fd = -1;
  uint32_t id = 0;
  if (n > TLX_IMAGE_MAX) return -E2BIG;
  if (object->maps[BPF_MAP_RULES].fd < 0) return -EBADF;
  int err = make_image(entries, n, &fd);
  if (!err) err = bpf_pin_id(fd, BPF_PIN_MAP, &id);
  if (err) return err;
  /* Pinned beside the former one before it is used, so that a successor can read whichever is in
   * force. Without the pin the rules hold all the same; the verification puts it there. */
  bool pinned = object->maps_pinned && bpf_pin_prepare(object->folder, BPF_IMAGE_PIN, fd) == 0;
  if (bpf_map_update_elem(object->maps[BPF_MAP_RULES].fd, &zero, &fd, BPF_ANY) != 0) return -errno;
  if (pinned && bpf_pin_commit(object->folder, BPF_IMAGE_PIN) != 0)
    tlx_debug(BPF, "the new image is not pinned yet");
  if (object->image_fd >= 0) close(object->image_fd);
  object->image_fd = TLX_TAKE_FD(fd);
  object->image_id = id;
  return 0;
}

/* Opens the image of id |id|: ours, a pinned one, or, with CAP_SYS_ADMIN, any. */
static int open_image(struct bpf_object *object, uint32_t id) {
  static const char *const pins[] = {BPF_IMAGE_PIN, BPF_IMAGE_PIN "_new"};
  if (object->image_fd >= 0 && object->image_id == id) return 0;
  int fd = -1;
  for (unsigned i = 0; i < 2 && fd < 0; i++) {
    uint32_t pinned_id = 0;
    if (bpf_pin_open(object->folder, pins[i], BPF_PIN_MAP, &fd, &pinned_id) != 0 || pinned_id == id)
      continue;
    close(fd);
    fd = -1;
  }
  if (fd < 0) fd = bpf_map_get_fd_by_id(id);
  if (fd < 0) return -errno;
  if (object->image_fd >= 0) close(object->image_fd);
  object->image_fd = fd;
  object->image_id = id;
  return 0;
}

/* Whether the sizes are those of an image: what somebody else put there is not read as one. */
static int check_image(int fd) {
  struct bpf_map_info info = {0};
  __u32 len = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0) return -errno;
  return info.type == BPF_MAP_TYPE_HASH && info.key_size == sizeof(struct tlx_exec_key) &&
                 info.value_size == sizeof(struct tlx_exec_rule)
             ? 0
             : -EPROTO;
}

int bpf_maps_read(struct bpf_object *object, struct bpf_image_entry **ret_entries, size_t *ret_n) {
  struct tlx_exec_key key, next;
  uint32_t id = 0;
  size_t n = 0, room = 64;
  int err = used_image(object, &id);
  if (!err) err = open_image(object, id);
  if (!err) err = check_image(object->image_fd);
  if (err) return err;
  TLX_AUTOFREE struct bpf_image_entry *entries = malloc(room * sizeof *entries);
  if (!entries) return -ENOMEM;
  for (void *at = NULL; bpf_map_get_next_key(object->image_fd, at, &next) == 0; at = &key) {
    key = next;
    if (n == TLX_IMAGE_MAX) return -E2BIG;
    if (n == room) {
      struct bpf_image_entry *more = realloc(entries, 2 * room * sizeof *entries);
      if (!more) return -ENOMEM;
      entries = more;
      room *= 2;
    }
    entries[n].key = key;
    if (bpf_map_lookup_elem(object->image_fd, &key, &entries[n].rule) != 0) return -errno;
    n++;
  }
  *ret_entries = TLX_TAKE_PTR(entries);
  *ret_n = n;
  return 0;
}

int bpf_maps_verify(struct bpf_object *object, const struct bpf_image_entry *entries, size_t n,
                    struct bpf_tampers *tampers) {
  uint32_t id = 0;
  int found = used_image(object, &id);
  if (found == -EBADF) return found;
  bool is_ours = !found && object->image_fd >= 0 && id == object->image_id;
  if (is_ours && holds(object->image_fd, entries, n)) return 0;
  int err = bpf_maps_publish(object, entries, n);
  if (found)
    bpf_tampers_note(tampers, !err, "map rules", "it was emptied");
  else if (!is_ours)
    bpf_tampers_note(tampers, !err, "map rules", "it held another image: map id %u", id);
  else
    bpf_tampers_note(tampers, !err, "map rules", "the image in it was altered");
  return err;
}

/* ---- counters ---- */

int bpf_maps_count(struct bpf_object *object, uint32_t slot, struct tlx_count *ret_count) {
  const struct bpf_set *set = object->pending.backend ? &object->pending : &object->current;
  int fd = object->maps[BPF_MAP_COUNTS].fd;
  struct tlx_count count;
  if (fd < 0) return -EBADF;
  if (bpf_map_lookup_elem(fd, &slot, &count) != 0) return -errno;
  if (slot == TLX_SLOT_CANARY && set->backend) {
    struct tlx_self self;
    if (bpf_map_lookup_elem(set->self_fd, &zero, &self) != 0) return -errno;
    count.acted = self.proofs;
  }
  *ret_count = count;
  return 0;
}

int bpf_maps_count_set(struct bpf_object *object, uint32_t slot, const struct tlx_count *count) {
  int fd = object->maps[BPF_MAP_COUNTS].fd;
  if (fd < 0) return -EBADF;
  return bpf_map_update_elem(fd, &slot, count, BPF_ANY) == 0 ? 0 : -errno;
}

int bpf_maps_stats(struct bpf_object *object, struct tlx_stats *ret_stats) {
  int fd = object->maps[BPF_MAP_STATS].fd, n = bpf_load_n_cpus();
  struct tlx_stats sum = {0};
  if (fd < 0) return -EBADF;
  if (n < 0) return n;
  TLX_AUTOFREE struct tlx_stats *each = calloc((size_t)n, sizeof *each);
  if (!each) return -ENOMEM;
  if (bpf_map_lookup_elem(fd, &zero, each) != 0) return -errno;
  for (int i = 0; i < n; i++) {
    sum.seen += each[i].seen;
    sum.acted += each[i].acted;
    sum.would += each[i].would;
    for (unsigned helper = 0; helper < TLX_HELPERS; helper++)
      sum.failed[helper] += each[i].failed[helper];
  }
  *ret_stats = sum;
  return 0;
}
