/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_EXEC_DENY_BPF_H
#define TLX_EXEC_DENY_BPF_H
/* The decision of the hooks that can refuse: the same for LSM programs and for fmod_ret. */
#include "exec_event.bpf.h"

/* Returns from a hook, whose type is long: as an int, clang 14 puts -1 into the register as
 * 4294967295. Spelled out with a barrier, as it would make arithmetic of `hit ? -1 : 0`. The
 * verifier of 6.12 sees in neither a number between -4095 and 0, and refuses the program. */
#define TLX_RETURN(denied)                                                                         \
  do {                                                                                             \
    if (denied) {                                                                                  \
      asm volatile("" ::: "memory");                                                               \
      return -TLX_EPERM;                                                                           \
    }                                                                                              \
    return 0;                                                                                      \
  } while (0)

/* Whether |file| must not be executed by the running process. */
static __always_inline bool tlx_deny_exec(const struct file *file) {
  struct tlx_hit hit = {};
  if (tlx_is_null(file) || !tlx_in_scope()) return false;
  tlx_count_seen();
  tlx_match(file, &hit);
  if (hit.mode == TLX_MODE_ENFORCE) {
    tlx_report(&hit, TLX_ACTION_DENIED);
    return true;
  }
  if (hit.mode) tlx_report(&hit, TLX_ACTION_WOULD);
  return false;
}

/* Whether the running process executes |file|, or begins to. */
static __always_inline bool tlx_is_own_program(const struct file *file) {
  const struct task_struct *task = (void *)bpf_get_current_task_btf();
  const struct mm_struct *mm = task->mm;
  if (!mm) return false;
  const struct file *exe = mm->exe_file;
  return exe && exe->f_inode->i_ino == file->f_inode->i_ino &&
         exe->f_inode->i_sb->s_dev == file->f_inode->i_sb->s_dev;
}

/* The same for an executable mapping. In the middle of an execution the kernel maps the file that
 * bprm_check let pass: a rule that observes counted it there. */
static __always_inline bool tlx_deny_map(const struct file *file) {
  struct tlx_hit hit = {};
  if (tlx_is_null(file) || !tlx_in_scope()) return false;
  tlx_count_seen();
  tlx_match(file, &hit);
  if (hit.mode == TLX_MODE_ENFORCE) {
    tlx_report(&hit, TLX_ACTION_DENIED);
    return true;
  }
  if (hit.mode && !tlx_is_own_program(file)) tlx_report(&hit, TLX_ACTION_WOULD);
  return false;
}
#endif
