// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/log.h"
#include "sensor/bpf_net_int.h"

/* The configuration of bpf_net.h. What is in force is never written to: the bank and the
 * configuration that follow are made whole beside it, read back, frozen, and come into force with
 * one update of the map that names them. The kernel waits with each such update until no program
 * uses the former one. */

static const uint32_t zero;

/* One trie of a bank. */
union trie_key {
  struct tlx_allow4_key v4;
  struct tlx_allow6_key v6;
};
struct trie_item {
  union trie_key key;
  struct tlx_allow_set set;
};

/* ---- the allow list ---- */

static bool covers(const struct tlx_allow_entry *wide, const struct tlx_allow_entry *narrow) {
  const unsigned whole = wide->prefix_len / 8u, rest = wide->prefix_len % 8u;
  if (wide->family != narrow->family || wide->prefix_len > narrow->prefix_len) return false;
  if (memcmp(wide->addr, narrow->addr, whole) != 0) return false;
  return !rest || (wide->addr[whole] ^ narrow->addr[whole]) >> (8 - rest) == 0;
}

static int check_entries(const struct tlx_allow_entry *allow, size_t n) {
  if (n > TLX_ALLOW_MAX) return -E2BIG;
  for (size_t i = 0; i < n; i++)
    if ((allow[i].family != 4 && allow[i].family != 6) ||
        allow[i].prefix_len > (allow[i].family == 4 ? 32 : 128))
      return -EINVAL;
  return 0;
}

/* The items of |family|, one for each prefix, each with every entry that covers it: the trie finds
 * the longest alone. */
static size_t make_items(const struct tlx_allow_entry *allow, size_t n, uint8_t family,
                         struct trie_item *items) {
  size_t n_items = 0;
  for (size_t i = 0; i < n; i++) {
    bool seen = allow[i].family != family;
    for (size_t j = 0; j < i && !seen; j++)
      seen = allow[j].prefix_len == allow[i].prefix_len && covers(&allow[j], &allow[i]);
    if (seen) continue;
    struct trie_item *item = &items[n_items++];
    memset(item, 0, sizeof *item);
    item->key.v6.prefix_len = allow[i].prefix_len; /* both begin with it */
    memcpy(item->key.v6.addr, allow[i].addr, family == 4 ? 4 : 16);
    for (size_t j = 0; j < n; j++) {
      if (!covers(&allow[j], &allow[i])) continue;
      item->set.list[item->set.n++] =
          (struct tlx_allow){.port_first = allow[j].port_first,
                             .port_last = allow[j].port_last,
                             .protocol = allow[j].protocol,
                             .direction = allow[j].is_in ? TLX_ALLOW_IN : TLX_ALLOW_OUT};
    }
  }
  return n_items;
}

/* Whether |fd| holds |items| and nothing else. */
static bool holds(int fd, const struct trie_item *items, size_t n) {
  union trie_key key, next;
  size_t found = 0;
  for (void *at = NULL; bpf_map_get_next_key(fd, at, &next) == 0; at = &key) {
    key = next;
    if (++found > n) return false;
  }
  for (size_t i = 0; i < n; i++) {
    struct tlx_allow_set set;
    if (bpf_map_lookup_elem(fd, &items[i].key, &set) != 0 ||
        memcmp(&set, &items[i].set, sizeof set) != 0)
      return false;
  }
  return found == n;
}

static int make_trie(const struct trie_item *items, size_t n, uint8_t family, int *ret_fd) {
  LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
  TLX_AUTOCLOSE int fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "tlx_bank",
                                        family == 4 ? sizeof items->key.v4 : sizeof items->key.v6,
                                        sizeof items->set, TLX_ALLOW_MAX, &opts);
  if (fd < 0) return -errno;
  for (size_t i = 0; i < n; i++)
    if (bpf_map_update_elem(fd, &items[i].key, &items[i].set, BPF_NOEXIST) != 0) return -errno;
  if (!holds(fd, items, n)) return -EIO;
  if (bpf_map_freeze(fd) != 0) return -errno;
  *ret_fd = TLX_TAKE_FD(fd);
  return 0;
}

/* ---- the configuration ---- */

static int make_cfg(const struct tlx_net_cfg *cfg, int *ret_fd) {
  struct tlx_net_cfg back;
  TLX_AUTOCLOSE int fd =
      bpf_map_create(BPF_MAP_TYPE_ARRAY, "tlx_net_cfg", sizeof zero, sizeof *cfg, 1, NULL);
  if (fd < 0 || bpf_map_update_elem(fd, &zero, cfg, BPF_ANY) != 0 ||
      bpf_map_lookup_elem(fd, &zero, &back) != 0)
    return -errno;
  if (memcmp(&back, cfg, sizeof back) != 0) return -EIO;
  if (bpf_map_freeze(fd) != 0) return -errno;
  *ret_fd = TLX_TAKE_FD(fd);
  return 0;
}

/* Id of an inner map in force. -ENOENT = none. */
static int used(const struct bpf_net *net, enum bpf_net_map map, uint32_t at, uint32_t *ret_id) {
  if (net->maps[map].fd < 0) return -EBADF;
  return bpf_map_lookup_elem(net->maps[map].fd, &at, ret_id) == 0 ? 0 : -errno;
}

/* Opens the inner map |id|: ours, the pinned one of a former process, or, with CAP_SYS_ADMIN, any.
 */
static int open_cfg(struct bpf_net *net, uint32_t id) {
  static const char *const pins[] = {BPF_NET_CFG_PIN, BPF_NET_CFG_PIN "_new"};
  struct bpf_map_info info = {0};
  __u32 len = sizeof info;
  TLX_AUTOCLOSE int fd = -1;
  if (net->cfg_fd >= 0 && net->cfg_id == id) return 0;
  for (unsigned i = 0; i < 2 && fd < 0; i++) {
    uint32_t pinned_id = 0;
    if (bpf_pin_open(net->folder, pins[i], BPF_PIN_MAP, &fd, &pinned_id) == 0 && pinned_id != id)
      bpf_net_close_fd(&fd);
  }
  if (fd < 0) fd = bpf_map_get_fd_by_id(id);
  if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) != 0) return -errno;
  if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != sizeof(struct tlx_net_cfg))
    return -EPROTO;
  bpf_net_close_fd(&net->cfg_fd);
  net->cfg_fd = TLX_TAKE_FD(fd);
  net->cfg_id = id;
  return 0;
}

int bpf_net_config(struct bpf_net *net, struct tlx_net_cfg *ret_cfg) {
  struct tlx_net_cfg cfg;
  uint32_t id = 0;
  int err = used(net, BPF_NET_MAP_CFGS, 0, &id);
  if (!err) err = open_cfg(net, id);
  if (err) return err;
  if (bpf_map_lookup_elem(net->cfg_fd, &zero, &cfg) != 0) return -errno;
  *ret_cfg = cfg;
  return 0;
}

static int put_inner(const struct bpf_net *net, enum bpf_net_map map, uint32_t at, int fd) {
  return bpf_map_update_elem(net->maps[map].fd, &at, &fd, BPF_ANY) == 0 ? 0 : -errno;
}

/* Fills |bank|, which nobody uses. */
static int put_bank(const struct bpf_net *net, const struct tlx_allow_entry *allow, size_t n,
                    uint32_t bank, int ret_fds[2], uint32_t ret_ids[2]) {
  TLX_AUTOFREE struct trie_item *items = calloc(TLX_ALLOW_MAX, sizeof *items);
  if (!items) return -ENOMEM;
  for (unsigned i = 0; i < 2; i++) {
    const uint8_t family = i ? 6 : 4;
    size_t n_items = make_items(allow, n, family, items);
    int err = make_trie(items, n_items, family, &ret_fds[i]);
    if (!err) err = bpf_pin_id(ret_fds[i], BPF_PIN_MAP, &ret_ids[i]);
    if (!err) err = put_inner(net, i ? BPF_NET_MAP_ALLOW6 : BPF_NET_MAP_ALLOW4, bank, ret_fds[i]);
    if (err) return err;
  }
  return 0;
}

static int publish(struct bpf_net *net, struct tlx_net_cfg cfg, const struct tlx_allow_entry *allow,
                   size_t n) {
  struct tlx_net_cfg now;
  uint32_t bank_ids[2], cfg_id = 0;
  TLX_AUTOCLOSE int out_fd = -1, in_fd = -1, cfg_fd = -1;
  int bank_fds[2] = {-1, -1};
  int err = bpf_net_config(net, &now);
  /* A configuration that cannot be read names a bank all the same. */
  if (err && err != -ENOENT) return err;
  cfg.bank = err ? 0 : !now.bank;
  err = put_bank(net, allow, n, cfg.bank, bank_fds, bank_ids);
  out_fd = bank_fds[0], in_fd = bank_fds[1];
  if (!err) err = make_cfg(&cfg, &cfg_fd);
  if (!err) err = bpf_pin_id(cfg_fd, BPF_PIN_MAP, &cfg_id);
  if (err) return err;
  /* Pinned beside the former one before it is used, so that a successor can read whichever is in
   * force. */
  bool pinned = net->maps_pinned && bpf_pin_prepare(net->folder, BPF_NET_CFG_PIN, cfg_fd) == 0;
  err = put_inner(net, BPF_NET_MAP_CFGS, 0, cfg_fd);
  if (err) return err;
  if (pinned && bpf_pin_commit(net->folder, BPF_NET_CFG_PIN) != 0)
    tlx_debug(BPF, "the new configuration is not pinned yet");
  bpf_net_close_fd(&net->cfg_fd);
  bpf_net_close_fd(&net->bank_fds[0]);
  bpf_net_close_fd(&net->bank_fds[1]);
  net->cfg_fd = TLX_TAKE_FD(cfg_fd);
  net->cfg_id = cfg_id;
  net->bank_fds[0] = TLX_TAKE_FD(out_fd);
  net->bank_fds[1] = TLX_TAKE_FD(in_fd);
  memcpy(net->bank_ids, bank_ids, sizeof bank_ids);
  net->cfg = cfg;
  return 0;
}

/* Pins of other versions hold until ours do, by their configuration. */
static void sweep_others(const struct bpf_net *net) {
  int err = bpf_pin_sweep_numbered(net->pin_folder, "net-", TLX_NET_ABI_VERSION);
  if (err)
    tlx_warn(BPF, "network pins of other versions cannot be removed, what they enforce stays: %s",
             tlx_err_text(err));
}

int bpf_net_publish(struct bpf_net *net, const struct tlx_net_cfg *cfg,
                    const struct tlx_allow_entry *allow, size_t n) {
  if (net->maps[BPF_NET_MAP_CFGS].fd < 0) return -EBADF;
  int err = check_entries(allow, n);
  if (!err) err = publish(net, *cfg, allow, n);
  if (err) return err;
  if (n) memmove(net->allow, allow, n * sizeof *allow);
  net->n_allow = n;
  net->is_published = true;
  err = bpf_net_succeed(net);
  if (!err && net->is_attached) sweep_others(net);
  return err;
}

/* Whether the bank in force is what was published. */
static bool is_bank_right(const struct bpf_net *net, struct trie_item *items) {
  for (unsigned i = 0; i < 2; i++) {
    uint32_t id = 0;
    if (used(net, i ? BPF_NET_MAP_ALLOW6 : BPF_NET_MAP_ALLOW4, net->cfg.bank, &id) != 0 ||
        id != net->bank_ids[i])
      return false;
    if (!holds(net->bank_fds[i], items, make_items(net->allow, net->n_allow, i ? 6 : 4, items)))
      return false;
  }
  return true;
}

int bpf_net_publish_verify(struct bpf_net *net, struct bpf_tampers *tampers) {
  struct tlx_net_cfg now;
  uint32_t id = 0;
  if (!net->is_published) return 0;
  TLX_AUTOFREE struct trie_item *items = calloc(TLX_ALLOW_MAX, sizeof *items);
  if (!items) return -ENOMEM;
  int found = used(net, BPF_NET_MAP_CFGS, 0, &id);
  if (found == -EBADF) return found;
  bool is_ours = !found && id == net->cfg_id;
  bool is_same = is_ours && bpf_map_lookup_elem(net->cfg_fd, &zero, &now) == 0 &&
                 memcmp(&now, &net->cfg, sizeof now) == 0;
  bool is_right = is_bank_right(net, items);
  if (is_same && is_right) return 0;
  /* What stands there now may be unreadable; then the former bank is as good as any. */
  if (!is_ours) {
    int err = net->cfg_fd >= 0 ? put_inner(net, BPF_NET_MAP_CFGS, 0, net->cfg_fd) : 0;
    if (err) return err;
  }
  int err = publish(net, net->cfg, net->allow, net->n_allow);
  if (found)
    bpf_tampers_note(tampers, !err, "map cfgs", "it was emptied");
  else if (!is_ours)
    bpf_tampers_note(tampers, !err, "map cfgs", "it held another configuration: map id %u", id);
  else if (!is_same)
    bpf_tampers_note(tampers, !err, "map cfgs", "the configuration in it was altered");
  if (!is_right) bpf_tampers_note(tampers, !err, "allow list", "the bank in force was altered");
  return err;
}

/* ---- local addresses ---- */

static bool has_address(const struct tlx_net_addr *list, size_t n,
                        const struct tlx_net_addr *address) {
  for (size_t i = 0; i < n; i++)
    if (memcmp(&list[i], address, sizeof *address) == 0) return true;
  return false;
}

/* Makes the map hold |list| and nothing else; what is missing comes before what is too much goes.
 * |*ret_changes|. */
static int write_local(struct bpf_net *net, const struct tlx_net_addr *list, size_t n,
                       unsigned *ret_changes) {
  const int fd = net->maps[BPF_NET_MAP_LOCAL].fd;
  const uint32_t one = 1;
  struct tlx_net_addr key, next, stale[64];
  unsigned n_stale, changes = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t there;
    if (bpf_map_lookup_elem(fd, &list[i], &there) == 0) continue;
    if (bpf_map_update_elem(fd, &list[i], &one, BPF_ANY) != 0) return -errno;
    changes++;
  }
  do {
    n_stale = 0;
    for (void *at = NULL; n_stale < 64 && bpf_map_get_next_key(fd, at, &next) == 0; at = &key) {
      key = next;
      if (!has_address(list, n, &key)) stale[n_stale++] = key;
    }
    for (unsigned i = 0; i < n_stale; i++)
      if (bpf_map_delete_elem(fd, &stale[i]) != 0 && errno != ENOENT) return -errno;
    changes += n_stale;
  } while (n_stale == 64);
  *ret_changes = changes;
  return 0;
}

int bpf_net_set_local(struct bpf_net *net, const struct tlx_net_addr *list, size_t n) {
  unsigned changes;
  if (net->maps[BPF_NET_MAP_LOCAL].fd < 0) return -EBADF;
  if (n > TLX_LOCAL_MAX) return -E2BIG;
  TLX_AUTOFREE struct tlx_net_addr *copy = malloc(n ? n * sizeof *copy : 1);
  if (!copy) return -ENOMEM;
  if (n) memcpy(copy, list, n * sizeof *copy);
  int err = write_local(net, copy, n, &changes);
  if (err) return err;
  free(net->local);
  net->local = TLX_TAKE_PTR(copy);
  net->n_local = n;
  net->knows_local = true;
  return 0;
}

int bpf_net_local_verify(struct bpf_net *net, struct bpf_tampers *tampers) {
  unsigned changes = 0;
  if (!net->knows_local || net->maps[BPF_NET_MAP_LOCAL].fd < 0) return 0;
  int err = write_local(net, net->local, net->n_local, &changes);
  if (err || changes)
    bpf_tampers_note(tampers, !err, "map local", "%u addresses were not as they were set", changes);
  return err;
}
