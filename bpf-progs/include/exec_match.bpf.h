/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_EXEC_MATCH_BPF_H
#define TLX_EXEC_MATCH_BPF_H
/* Does a rule name this file? Three keys, in this order: the file's own (device, inode), of the
 * same generation; on overlayfs that of the file behind it; its directory's (device, inode) with
 * its last name, which finds a file that replaced the one that was blocked without any refresh. The
 * first match that enforces wins; one that observes counts only if nothing enforces. */
#include "core_fixes.bpf.h"
#include "exec_maps.bpf.h"
#include "tlx_count.bpf.h"

struct tlx_hit {
  __u64 ino;
  __u32 dev;
  __u32 kind;
  __u32 slot;
  __u32 mode; /* 0 = no rule */
};

/* Whether the running process may be touched at all. An empty tlx_cfg is nobody. */
static __always_inline bool tlx_in_scope(void) {
  __u32 zero = 0;
  const struct tlx_cfg *cfg = bpf_map_lookup_elem(&tlx_cfg, &zero);
  if (!cfg || !(cfg->flags & TLX_CFG_ARMED)) return false;
  if (cfg->flags & TLX_CFG_WHOLE_HOST) return true;
  return cfg->scope_cgroup_id &&
         bpf_get_current_ancestor_cgroup_id((int)cfg->scope_level) == cfg->scope_cgroup_id;
}

static __always_inline void tlx_take(const struct tlx_exec_rule *rule,
                                     const struct tlx_exec_key *key, struct tlx_hit *hit) {
  if (hit->mode && rule->mode != TLX_MODE_ENFORCE) return;
  hit->mode = rule->mode;
  hit->slot = rule->slot;
  hit->kind = key->kind;
  hit->dev = key->dev;
  hit->ino = key->ino;
}

static __always_inline void tlx_match_file(void *image, __u32 dev, __u64 ino, __u32 generation,
                                           struct tlx_hit *hit) {
  struct tlx_exec_key key = {.kind = TLX_KEY_FILE, .dev = dev, .ino = ino};
  const struct tlx_exec_rule *rule = bpf_map_lookup_elem(image, &key);
  if (!rule || (rule->generation && rule->generation != generation)) return;
  tlx_take(rule, &key, hit);
}

static __always_inline void tlx_match_name(void *image, const struct file *file,
                                           struct tlx_hit *hit) {
  union {
    char text[TLX_NAME_SIZE];
    __u64 words[TLX_NAME_SIZE / 8];
  } name = {};
  const struct dentry *dentry = file->f_path.dentry;
  const struct inode *dir = dentry->d_parent->d_inode;
  if (!dir) return;
  struct tlx_exec_key key = {.kind = TLX_KEY_NAME, .dev = dir->i_sb->s_dev, .ino = dir->i_ino};
  /* 64-bit FNV-1a, as bpf_maps_name_hash computes it. */
  __u64 hash = 0xcbf29ce484222325;
  if (bpf_probe_read_kernel_str(name.text, sizeof name.text, dentry->d_name.name) < 0) {
    tlx_count_failed(TLX_HELPER_READ_NAME);
    return;
  }
  for (int i = 0; i < TLX_NAME_SIZE - 1; i++) {
    if (!name.text[i]) break;
    hash = (hash ^ (__u8)name.text[i]) * 0x100000001b3;
  }
  key.name_hash = hash;
  const struct tlx_exec_rule *rule = bpf_map_lookup_elem(image, &key);
  if (!rule) return;
  /* Without a branch for each word, so that the verifier has one path to follow. Both are filled up
   * with zeros. */
  __u64 differs = 0;
  for (int i = 0; i < TLX_NAME_SIZE / 8; i++)
    differs |= name.words[i] ^ ((const __u64 *)rule->name)[i];
  if (!differs) tlx_take(rule, &key, hit);
}

/* Fills |hit|, which is all zero before, for |file|, which is not NULL. */
static __always_inline void tlx_match(const struct file *file, struct tlx_hit *hit) {
  __u32 zero = 0;
  void *image = bpf_map_lookup_elem(&tlx_rules, &zero);
  if (!image) return;
  const struct inode *inode = file->f_inode;
  const struct super_block *sb = inode->i_sb;
  tlx_match_file(image, sb->s_dev, inode->i_ino, inode->i_generation, hit);
  if (hit->mode != TLX_MODE_ENFORCE && sb->s_magic == TLX_OVERLAYFS_MAGIC) {
    struct tlx_real real;
    if (tlx_real_id(file, &real)) tlx_match_file(image, real.dev, real.ino, real.generation, hit);
  }
  if (hit->mode != TLX_MODE_ENFORCE && tlx_reads) tlx_match_name(image, file, hit);
}
#endif
