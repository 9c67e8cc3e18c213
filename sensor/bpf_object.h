// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "sensor/bpf_caps.h"

/* Programs, links and maps of the exec rules: loaded, attached, pinned, adopted from a former
 * process, verified, repaired. A pin outlives this process; closing our descriptors detaches
 * nothing that is pinned. Pins live in PIN_FOLDER/TLX_ABI_VERSION/:
 * - cfg, rules, stats, count, events: the shared maps; image: the inner map in force.
 * - BACKEND_HOOK: links; BACKEND_HOOK_prog: the program of each, by whose tag a successor knows it;
 *   BACKEND_self: the map that the programs of one load have for themselves.
 * - NAME_new: what a process was killed in the middle of; it enforces, and the next keep sweeps it.
 *
 * Not thread-safe: one thread at a time (the engine's worker). */
struct bpf_object;

struct bpf_object_options {
  const char *pin_folder; /* e.g. /sys/fs/bpf/telovix; made with mode 0700 */
  bool whole_host;        /* false = only below the cgroup */
  uint64_t scope_cgroup_id;
  uint32_t scope_level;
  const char *btf_path; /* NULL = the kernel's */
};

/* What was altered behind our back. */
#define BPF_TAMPERS_MAX 16u
struct bpf_tamper {
  char what[64]; /* "link lsm_bprm_check", "map rules" */
  char how[160]; /* "pin was missing", "holds another program (tag …)" */
  bool repaired;
};
struct bpf_tampers {
  struct bpf_tamper list[BPF_TAMPERS_MAX];
  unsigned n;
};

/* Opens the pinned maps of a former process, after checking owner, type, sizes and BTF layout, or
 * makes new ones, which bpf_object_keep pins in their place. Nothing is attached by it.
 * |ret_adopted| says whether pins of a former process are in use: then what they enforce goes on
 * enforcing. So does what cannot be adopted, until bpf_object_keep. 0; -ENOENT (no BPF file
 * system), -EPERM (a capability is missing, or the folder is somebody else's), another negative
 * errno, with words in |why|. */
int bpf_object_open(const struct bpf_object_options *options, char why[240], bool *ret_adopted,
                    struct bpf_object **ret_object);
/* Closes our descriptors; pinned objects go on. NULL is fine. */
void bpf_object_close(struct bpf_object *object);

/* The backend whose links are pinned and attached now; NONE = none. */
enum bpf_backend bpf_object_backend(const struct bpf_object *object);
/* Whether rules by directory and name work (kernel text can be read). */
bool bpf_object_reads_names(const struct bpf_object *object);

/* Loads the programs of |backend| and attaches them beside whatever is attached; nothing is pinned
 * yet, so that a backend that proves dead can be dropped again. Links of a former process with the
 * same program tags are adopted instead of attached anew. 0 or a negative errno with words (the
 * verifier's last line, "trampolines refused by this kernel", the capability that is missing) in
 * |why|. */
int bpf_object_attach(struct bpf_object *object, enum bpf_backend backend, char why[240]);
/* Pins the links of the last attach and only then removes those of other backends or programs: no
 * gap. */
int bpf_object_keep(struct bpf_object *object, char why[240]);
/* Detaches what the last attach added; what was there before goes on. */
void bpf_object_drop(struct bpf_object *object);
/* Detaches and unpins all, maps included: nothing is enforced afterwards. */
int bpf_object_remove(struct bpf_object *object);

/* Arms or disarms by map tlx_cfg: whole host, or the scope. */
int bpf_object_arm(struct bpf_object *object, bool armed);

/* Compares everything that can be altered from outside with what we made: pins, link ids, program
 * ids and tags, attach state, map ids, frozen maps, tlx_cfg. Each difference is repaired where it
 * can be (re-pinned, attached anew) and noted. 0 when all is as it should be now (maybe after
 * repair); -EPERM, -EPROTO: this object cannot be repaired, only replaced by a new one; another
 * negative errno. The image of the rules: bpf_maps_verify. */
int bpf_object_verify(struct bpf_object *object, struct bpf_tampers *ret_tampers);

/* Descriptors of the maps, owned by |object|. */
int bpf_object_rules_fd(const struct bpf_object *object);
int bpf_object_stats_fd(const struct bpf_object *object);
int bpf_object_count_fd(const struct bpf_object *object);
int bpf_object_events_fd(const struct bpf_object *object);
