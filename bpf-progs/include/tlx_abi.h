/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TLX_ABI_H
#define TLX_ABI_H
/* What the BPF programs and the sensor share: the layout of every map entry and event. The programs
 * include it after their kernel types, user space after <linux/types.h>. Fixed width, no padding
 * that is not named; each size is asserted on both sides, and a test compares the layouts from BTF.
 *
 * A change of meaning or layout is a new TLX_ABI_VERSION: objects are pinned in a folder of that
 * number, so that a new sensor never reads maps of an old one by mistake.
 *
 * - tlx_cfg, array[1] of struct tlx_cfg: whom the programs may touch. All zero = nobody.
 * - tlx_rules, array of maps[1]: the image of all rules, a frozen hash of struct tlx_exec_key to
 *   struct tlx_exec_rule.
 * - tlx_stats, per-CPU array[1] of struct tlx_stats: totals.
 * - tlx_count, array[TLX_SLOTS] of struct tlx_count: hits by rule slot.
 * - tlx_events, ring buffer of struct tlx_event.
 * - tlx_self, array[1] of struct tlx_self: of one loaded object, shared with no other. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define TLX_ABI_VERSION 1

/* 256 rules; slot 0 is the canary's; the rest lets a slot rest before another rule takes it. */
#define TLX_SLOTS 512
#define TLX_SLOT_CANARY 0
/* NAME_MAX with its NUL. */
#define TLX_NAME_SIZE 256
/* Entries of one image: each rule has its file, its real file (overlayfs), older files and the
 * name. */
#define TLX_IMAGE_MAX 8192
#define TLX_EVENTS_SIZE (256 * 1024)

/* tlx_cfg.flags */
#define TLX_CFG_ARMED 1u      /* without it the programs look at nothing */
#define TLX_CFG_WHOLE_HOST 2u /* every process; without it only those below scope_cgroup_id */

struct tlx_cfg {
  __u64 scope_cgroup_id; /* id of the cgroup2 folder */
  __u32 scope_level;     /* its depth below the cgroup2 root, which has 0 */
  __u32 flags;
};

/* tlx_exec_key.kind: (dev, ino) is that of the file itself, and name_hash is 0; or of the directory
 * that holds it, and name_hash is that of the last name. */
#define TLX_KEY_FILE 1u
#define TLX_KEY_NAME 2u

struct tlx_exec_key {
  __u32 kind;
  __u32 dev; /* s_dev of the super block, as the kernel has it: major << 20 | minor */
  __u64 ino;
  __u64 name_hash; /* FNV-1a of the name, 64 bits */
};

/* tlx_exec_rule.mode */
#define TLX_MODE_ENFORCE 1u
#define TLX_MODE_OBSERVE 2u

struct tlx_exec_rule {
  __u32 slot; /* below TLX_SLOTS */
  __u32 mode;
  __u32 name_len; /* of TLX_KEY_NAME, without NUL; 0 for TLX_KEY_FILE */
  /* Of TLX_KEY_FILE: the inode's; 0 = any. When a file is gone its number is given to another one,
   * which no rule is about. An owner can change it on an old ext4, which is worth to him what a
   * copy of the file is. */
  __u32 generation;
  char name[TLX_NAME_SIZE]; /* compared in full: two names may share a hash */
};

struct tlx_count {
  __u64 acted; /* stopped */
  __u64 would; /* would have been stopped, in TLX_MODE_OBSERVE */
};

/* Helpers whose failure is counted. */
#define TLX_HELPER_SIGNAL 0
#define TLX_HELPER_READ_NAME 1
#define TLX_HELPER_EVENT 2 /* the ring buffer had no room: an event was lost */
#define TLX_HELPERS 4

struct tlx_stats {
  __u64 seen; /* executions and executable mappings in scope */
  __u64 acted;
  __u64 would;
  __u64 failed[TLX_HELPERS];
};

/* What tells one loaded object from another that is attached beside it and shares its maps. */
struct tlx_self {
  __u64 proofs; /* executions of the canary that the object's own programs met */
  __u32 reads;  /* they may read kernel text; the tags are the same with and without */
  __u32 reserved;
};

/* tlx_event.type */
#define TLX_EVENT_EXEC 1u
/* tlx_event.action */
#define TLX_ACTION_DENIED 1u /* the caller got EPERM */
#define TLX_ACTION_KILLED 2u /* SIGKILL before the first instruction */
#define TLX_ACTION_WOULD 3u  /* observed only */

struct tlx_event {
  __u64 boot_ns; /* CLOCK_BOOTTIME */
  __u64 ino;     /* of the key that matched */
  __u32 type;
  __u32 action;
  __u32 slot;
  __u32 kind; /* tlx_exec_key.kind that matched */
  __u32 dev;
  __u32 pid; /* of the initial PID namespace */
  __u32 parent_pid;
  __u32 uid;
  char comm[16];
};

/* What the task_file iterator says of one open file: the numbers that the exec hooks see. */
struct tlx_file_id {
  __u64 ino;
  __u64 real_ino; /* of the backing file on overlayfs; else 0 */
  __u32 dev;
  __u32 real_dev;
  __u32 magic; /* s_magic */
  __u32 mode;  /* i_mode */
  __u32 generation, real_generation;
};

/* Which open file of the reading process the iterator is asked for: map tlx_query, array[1]. */
struct tlx_query {
  __u32 fd;
  __u32 reserved;
};

#define TLX_ABI_SIZE(type, size)                                                                   \
  _Static_assert(sizeof(struct type) == (size), #type " has another size")
TLX_ABI_SIZE(tlx_cfg, 16);
TLX_ABI_SIZE(tlx_exec_key, 24);
TLX_ABI_SIZE(tlx_exec_rule, 272);
TLX_ABI_SIZE(tlx_count, 16);
TLX_ABI_SIZE(tlx_stats, 56);
TLX_ABI_SIZE(tlx_self, 16);
TLX_ABI_SIZE(tlx_event, 64);
TLX_ABI_SIZE(tlx_file_id, 40);
TLX_ABI_SIZE(tlx_query, 8);
#endif
