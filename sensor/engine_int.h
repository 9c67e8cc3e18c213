// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "sensor/bpf_file.h"
#include "sensor/bpf_maps.h"
#include "sensor/engine.h"
#include "sensor/rule_block.h"

/* What a pass works on. It belongs to the worker while a pass runs and to the loop between passes;
 * a pass leaves a snapshot that the loop reads while the next one runs. */

struct core_rule {
  struct rule_block block;
  uint8_t revision[16];
  uint32_t slot, mode; /* slot 0 = none yet */
  bool is_known;       /* the template is one of ours, and the policy could be read */
  struct rule_result result;
  uint64_t since_boot_ns;
  struct tlx_count count; /* as last read */
  struct bpf_image_entry entries[RULE_BLOCK_ENTRIES_MAX];
  size_t n_entries;
};

struct core {
  const struct tlx_clock *clock;
  char *pin_folder, *canary_path, *scope_folder, *btf_path, *securityfs, *bpffs;
  bool whole_host;
  uint64_t scope_cgroup_id;
  uint32_t scope_level;

  struct bpf_object *object;
  uint32_t n_objects;      /* opened so far: tells one from the next */
  struct bpf_object *lost; /* cannot be repaired; it enforces until |object| is kept */
  bool is_kept;            /* the links of |object| are pinned */
  int lock_fd;             /* holds the folder of pins; -1 = not yet */
  struct bpf_file *file;
  struct bpf_caps caps;
  enum bpf_backend backend; /* proved by the canary; NONE = nothing is proved */
  bool was_proved;          /* something was in force in this process, or is adopted */
  const char *reason;       /* why nothing can be enforced; "" = it can */
  char detail[240];
  uint64_t retry_mono_ms; /* when to try again what could not be done */

  struct desired_name name;
  bool has_name;
  struct core_rule **rules;
  size_t n_rules;
  uint32_t last_slot; /* given */
  /* The image that was published and read back. */
  struct bpf_image_entry *image;
  size_t n_image;
  bool is_published;
  struct bpf_image_entry canary[2];
  unsigned n_canary;
  /* Image of a former process or of an object that was set aside, until it was taken over. */
  struct bpf_image_entry *former;
  size_t n_former;

  bool in_force; /* |name| was published, or nothing of anything is in force */
  uint64_t verified_boot_ns, repaired_boot_ns;
  struct bpf_tampers tampers; /* of the last pass */
  uint32_t n_passes;
};

/* At an orderly end: a host that shall enforce nothing keeps nothing of ours; else everything stays
 * in force. */
void core_leave(struct core *core);
/* Frees what the core owns; pinned objects go on. */
void core_done(struct core *core);
/* One pass. |desired| (borrowed) NULL = as before. Worker thread; never fails: what failed stands
 * in the core. */
void core_pass(struct core *core, const struct desired *desired);
