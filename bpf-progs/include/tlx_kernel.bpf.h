/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_KERNEL_BPF_H
#define TLX_KERNEL_BPF_H
/* The few kernel structs that the programs look into, each with the few fields that they read.
 * libbpf finds the real offsets in the running kernel's BTF, so no header of one kernel is needed.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "tlx_abi.h"

/* include/uapi/asm-generic/errno-base.h, mman-common.h, signal.h: user-space headers do not compile
 * for this target. */
#define TLX_EPERM 1
#define TLX_PROT_EXEC 0x4
#define TLX_SIGKILL 9

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct super_block {
  __u32 s_dev;
  unsigned long s_magic;
};
struct inode {
  __u16 i_mode;
  struct super_block *i_sb;
  unsigned long i_ino;
  __u32 i_generation;
};
struct qstr {
  const unsigned char *name;
};
struct dentry {
  struct dentry *d_parent;
  struct qstr d_name;
  struct inode *d_inode;
};
struct path {
  struct dentry *dentry;
};
struct file {
  struct inode *f_inode;
  struct path f_path;
  void *private_data;
};
struct linux_binprm {
  struct file *file;
};
struct vm_area_struct {
  struct file *vm_file;
};
struct mm_struct {
  struct file *exe_file;
};
struct task_struct {
  int tgid;
  struct task_struct *real_parent;
  struct mm_struct *mm;
};
/* What a task_file iterator is called with (kernel/bpf/task_iter.c). */
struct bpf_iter_meta {
  struct seq_file *seq;
};
struct bpf_iter__task_file {
  struct bpf_iter_meta *meta;
  struct task_struct *task;
  __u32 fd;
  struct file *file;
};
/* What still has an owner has a socket. */
struct socket;
struct sock {
  struct socket *sk_socket;
};
/* What an iterator over socket storage is called with (net/core/bpf_sk_storage.c). */
struct bpf_iter__bpf_sk_storage_map {
  struct bpf_iter_meta *meta;
  struct sock *sk;
  void *value;
};
#pragma clang attribute pop
#endif
