// SPDX-License-Identifier: GPL-2.0-or-later
/* Stops executions by the kernel's security hooks: the best way where the kernel calls BPF programs
 * from them.
 *
 * - Hooks: bprm_check_security, once for a script and once more for its interpreter; mmap_file and
 *   file_mprotect with PROT_EXEC, for a file that is mapped instead of executed (the dynamic loader
 *   run by hand).
 * - Denied: a process in scope gets EPERM from execve, mmap or mprotect of a file with an enforcing
 *   rule; PID 1 too. What an earlier program denied stays denied.
 * - Not denied: reading the file, so an interpreter that is given it as an argument, a copy, a
 *   memfd.
 * - On failure it is open: a missing map or image denies nothing (the canary finds that: a kernel
 *   started without `bpf` in lsm= loads and attaches all this and never calls it). A name that
 *   cannot be read leaves the file keys and is counted. */
#include "exec_deny.bpf.h"

char LICENSE[] SEC("license") = "GPL";

SEC("lsm/bprm_check_security")
long BPF_PROG(tlx_lsm_bprm, struct linux_binprm *bprm, int ret) {
  TLX_RETURN(ret || tlx_deny_exec(bprm->file));
}

SEC("lsm/mmap_file")
long BPF_PROG(tlx_lsm_mmap, struct file *file, unsigned long reqprot, unsigned long prot,
              unsigned long flags, int ret) {
  TLX_RETURN(ret || ((prot & TLX_PROT_EXEC) && tlx_deny_map(file)));
}

SEC("lsm/file_mprotect")
long BPF_PROG(tlx_lsm_mprot, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot,
              int ret) {
  TLX_RETURN(ret || ((prot & TLX_PROT_EXEC) && tlx_deny_map(vma->vm_file)));
}
