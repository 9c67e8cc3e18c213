// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* What this kernel and these privileges allow, found out step by step, and why not, in words that
 * an operator understands (kernel documents: Documentation/bpf/, capabilities(7)). Nothing here
 * proves that a hook works: only the canary does (canary.h). */

/* Ways to stop an execution, best first. The order is that of trying. */
#define BPF_BACKEND_MAP(X)                                                                         \
  X(LSM, "lsm", "bprm_check_security and mmap_file refuse: the caller gets EPERM")                 \
  X(FMOD_RET, "fmod_ret", "the same functions are made to return EPERM")                           \
  X(TRACEPOINT, "tracepoint", "sched_process_exec sends SIGKILL before the first instruction")
enum bpf_backend {
  BPF_BACKEND_NONE,
#define X(name, word, text) BPF_BACKEND_##name,
  BPF_BACKEND_MAP(X)
#undef X
      BPF_BACKEND_COUNT
};
/* "lsm"; "" for NONE. Static storage. */
const char *bpf_backend_word(enum bpf_backend backend);

/* Steps of probing, in their order. */
#define BPF_CAP_MAP(X)                                                                             \
  X(BTF, "btf")                   /* /sys/kernel/btf/vmlinux can be read */                        \
  X(BPFFS, "bpffs")               /* a BPF file system to pin in */                                \
  X(CGROUP2, "cgroup2")           /* mounted */                                                    \
  X(CAPABILITIES, "capabilities") /* CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN */                  \
  X(LOCKDOWN, "lockdown")         /* available = not confidentiality */                            \
  X(LSM_LIST, "lsm_list")         /* bpf is in the list of security modules */                     \
  X(READ_NAME, "read_name")       /* kernel text can be read: rules by directory and name */       \
  X(LSM, "lsm")                   /* programs load, attach, and the canary is stopped */           \
  X(FMOD_RET, "fmod_ret")                                                                          \
  X(TRACEPOINT, "tracepoint")
enum bpf_cap {
#define X(name, word) BPF_CAP_##name,
  BPF_CAP_MAP(X)
#undef X
      BPF_CAP_COUNT
};
struct bpf_cap_finding {
  bool tried, available;
  int err;          /* negative errno of the step; 0 = none */
  char detail[240]; /* why not, or what was found */
};
struct bpf_caps {
  struct bpf_cap_finding findings[BPF_CAP_COUNT];
};
/* Where to look; the seam by which tests take things away from a kernel. */
struct bpf_caps_paths {
  const char *btf;        /* /sys/kernel/btf/vmlinux */
  const char *securityfs; /* /sys/kernel/security */
  const char *bpffs;      /* folder that shall be on a BPF file system, e.g. /sys/fs/bpf */
};
/* The word of |cap|, static storage. */
const char *bpf_cap_word(enum bpf_cap cap);
/* Fills everything before LSM; a file that is not there is "unknown", not "no". Never fails. Any
 * thread. */
void bpf_caps_probe(const struct bpf_caps_paths *paths, struct bpf_caps *ret_caps);
/* Notes what became of a step that another part tried. |format| NULL keeps the detail empty. */
void bpf_caps_note(struct bpf_caps *caps, enum bpf_cap cap, bool available, int err,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Whether anything can be enforced; else |ret_reason| (stable word, "no_btf", "no_bpffs",
 * "no_capability", "no_cgroup2") and |detail| of |size| say what is missing. */
bool bpf_caps_enough(const struct bpf_caps *caps, const char **ret_reason, char *detail,
                     size_t size);
/* Whether this process may load programs at all: CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN,
 * effective now. */
bool bpf_caps_privileged(void);
