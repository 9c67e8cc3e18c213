// SPDX-License-Identifier: GPL-2.0-or-later
/* Stops executions by changing what the kernel's own security functions return: for kernels whose
 * lsm= has no `bpf`.
 *
 * - Hooks: security_bprm_check, security_mmap_file and security_file_mprotect, before they run; a
 *   value other than 0 is returned in their place.
 * - Denied: the same as in exec_lsm.bpf.c, and the same is not.
 * - On failure it is open, as there. */
#include "exec_deny.bpf.h"

char LICENSE[] SEC("license") = "GPL";

SEC("fmod_ret/security_bprm_check")
long BPF_PROG(tlx_fmod_bprm, struct linux_binprm *bprm, int ret) {
  TLX_RETURN(ret || tlx_deny_exec(bprm->file));
}

SEC("fmod_ret/security_mmap_file")
long BPF_PROG(tlx_fmod_mmap, struct file *file, unsigned long prot, unsigned long flags, int ret) {
  TLX_RETURN(ret || ((prot & TLX_PROT_EXEC) && tlx_deny_map(file)));
}

SEC("fmod_ret/security_file_mprotect")
long BPF_PROG(tlx_fmod_mprot, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot,
              int ret) {
  TLX_RETURN(ret || ((prot & TLX_PROT_EXEC) && tlx_deny_map(vma->vm_file)));
}
