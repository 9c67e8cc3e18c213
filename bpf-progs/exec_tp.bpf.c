// SPDX-License-Identifier: GPL-2.0-or-later
/* Stops executions where no hook can refuse them.
 *
 * - Hook: sched_process_exec, a tracepoint. The new program is in memory, not one of its
 *   instructions has run.
 * - Stopped: a process in scope that executes a file with an enforcing rule dies of SIGKILL before
 *   it returns to user space, however it reached the file (link, bind mount, descriptor, namespace,
 *   interpreter line).
 * - Not stopped: a script, as the tracepoint sees only its interpreter; the file as an argument of
 *   the dynamic loader; PID 1 of the host, which the kernel protects from the signal; copies, as
 *   another inode is another file.
 * - On failure it is open: a missing map or image stops nothing (the canary finds that). A name
 *   that cannot be read leaves the file keys; a signal that is refused leaves the process alive.
 *   Both are counted, none is counted as stopped. */
#include "exec_event.bpf.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sched_process_exec")
int BPF_PROG(tlx_exec_tp, struct task_struct *task, int old_pid, struct linux_binprm *bprm) {
  struct tlx_hit hit = {};
  const struct file *file = bprm->file;
  if (tlx_is_null(file) || !tlx_in_scope()) return 0;
  tlx_count_seen();
  tlx_match(file, &hit);
  if (!hit.mode) return 0;
  if (hit.mode != TLX_MODE_ENFORCE)
    tlx_report(&hit, TLX_ACTION_WOULD);
  else if (bpf_send_signal(TLX_SIGKILL) == 0)
    tlx_report(&hit, TLX_ACTION_KILLED);
  else
    tlx_count_failed(TLX_HELPER_SIGNAL);
  return 0;
}
