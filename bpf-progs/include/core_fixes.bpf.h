/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_CORE_FIXES_BPF_H
#define TLX_CORE_FIXES_BPF_H
/* Where kernels differ, each with what differs and what would break. Nothing else of the programs
 * knows versions.
 *
 * - tlx_reads: lockdown=confidentiality takes the helpers away that copy kernel memory; a program
 *   that names one is refused whole. What needs them asks tlx_reads, which user space sets before
 *   loading: the verifier sees a constant and drops the dead part before it looks at its helpers.
 *   Everything else reads through BTF pointers, which lockdown does not touch.
 * - tlx_is_null: the file that mmap_file does not always get.
 * - tlx_real_id: the file behind a file of overlayfs. */
#include "tlx_kernel.bpf.h"

/* Kernel text and untyped pointers may be read by helper. */
const volatile bool tlx_reads = true;

#define TLX_OVERLAYFS_MAGIC 0x794c7630

/* mmap_file gets no file for an anonymous mapping, and kernels differ in what the verifier believes
 * of that argument:
 * - 6.1: any BTF pointer may be NULL, and reads through it are guarded.
 * - later: arguments of LSM hooks are "trusted", so never NULL, and reads are not guarded. 6.12.117
 * keeps a comparison with zero all the same; a verifier that drops it as always false would let the
 * kernel read through NULL.
 * - since "bpf: annotate file argument as __nullable in bpf_lsm_mmap_file" (end of 2025): only a
 *   comparison with zero makes the argument usable.
 *
 * So: compare with zero, then with the first page, which no verifier decides beforehand. The empty
 * assembly keeps the compiler from making one comparison of the two. */
static __always_inline bool tlx_is_null(const void *pointer) {
  if (!pointer) return true;
  asm volatile("" : "+r"(pointer));
  return (unsigned long)pointer < 4096;
}

/* Since 6.14 (ovl: store upper real file in ovl_file struct) overlayfs keeps its real file in a
 * struct of its own. */
struct ovl_file___new {
  struct file *realfile;
} __attribute__((preserve_access_index));

struct tlx_real {
  __u64 ino;
  __u32 dev, generation;
};

/* Numbers of |real|, if that looks like the file behind an overlay file of |mode|. */
static __always_inline bool tlx_read_id(const struct file *real, __u16 mode, struct tlx_real *id) {
  struct inode *inode = NULL;
  struct super_block *sb = NULL;
  unsigned long number = 0;
  __u32 device = 0, generation = 0;
  __u16 real_mode = 0;
  if (bpf_core_read(&inode, sizeof inode, &real->f_inode) || !inode) return false;
  if (bpf_core_read(&real_mode, sizeof real_mode, &inode->i_mode) || real_mode != mode)
    return false;
  if (bpf_core_read(&sb, sizeof sb, &inode->i_sb) || !sb) return false;
  if (bpf_core_read(&number, sizeof number, &inode->i_ino)) return false;
  if (bpf_core_read(&generation, sizeof generation, &inode->i_generation)) return false;
  if (bpf_core_read(&device, sizeof device, &sb->s_dev)) return false;
  *id = (struct tlx_real){.ino = number, .dev = device, .generation = generation};
  return true;
}

/* Numbers of the file behind |file|, which lies on overlayfs. False when they cannot be had.
 *
 * private_data is a void pointer, so helpers must read it. Up to 6.13 it is the real struct file,
 * later a struct ovl_file. overlayfs may be a module, whose types libbpf sees only while it is
 * loaded: where the type is not found, the later form is tried first. Read so, an earlier kernel's
 * struct file begins with a counter or flags, which are no address: that fails, and the earlier
 * form follows. overlayfs keeps the mode of both inodes alike, which rules out the rest. */
static __always_inline bool tlx_real_id(const struct file *file, struct tlx_real *id) {
  void *private_data = file->private_data;
  const __u16 mode = file->f_inode->i_mode;
  struct file *real = NULL;
  if (!tlx_reads || !private_data) return false;
  if (bpf_core_type_exists(struct ovl_file___new)) {
    struct ovl_file___new *ovl = private_data;
    return !bpf_core_read(&real, sizeof real, &ovl->realfile) && real &&
           tlx_read_id(real, mode, id);
  }
  if (!bpf_probe_read_kernel(&real, sizeof real, private_data) && real &&
      tlx_read_id(real, mode, id))
    return true;
  return tlx_read_id(private_data, mode, id);
}
#endif
