// SPDX-License-Identifier: GPL-2.0-or-later
/* Tells the identity of one open file of the process that reads the iterator, in the numbers that
 * the exec hooks see.
 *
 * - Hook: iterator over tasks and their open files; it runs only while somebody reads it.
 * - Denied: nothing, it only reads.
 * - On failure nothing is written, and the reader says that the file was not found. Where helpers
 *   may not read kernel memory (tlx_reads) the file behind an overlay file is reported as 0: not
 *   known. */
#include "core_fixes.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct tlx_query);
} tlx_query SEC(".maps");

SEC("iter/task_file")
int tlx_file_id(struct bpf_iter__task_file *ctx) {
  __u32 zero = 0;
  const struct tlx_query *query = bpf_map_lookup_elem(&tlx_query, &zero);
  const struct task_struct *task = ctx->task;
  const struct file *file = ctx->file;
  if (!query || !task || !file || ctx->fd != query->fd) return 0;
  /* The reader's own number in the initial namespace, which it may not know itself. */
  if ((__u32)task->tgid != (__u32)(bpf_get_current_pid_tgid() >> 32)) return 0;
  const struct inode *inode = file->f_inode;
  const struct super_block *sb = inode->i_sb;
  struct tlx_file_id id = {.ino = inode->i_ino,
                           .dev = sb->s_dev,
                           .magic = (__u32)sb->s_magic,
                           .mode = inode->i_mode,
                           .generation = inode->i_generation};
  struct tlx_real real;
  if (id.magic == TLX_OVERLAYFS_MAGIC && tlx_real_id(file, &real)) {
    id.real_ino = real.ino;
    id.real_dev = real.dev;
    id.real_generation = real.generation;
  }
  bpf_seq_write(ctx->meta->seq, &id, sizeof id);
  return 0;
}
