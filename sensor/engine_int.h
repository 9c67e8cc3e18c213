// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "sensor/bpf_file.h"
#include "sensor/bpf_maps.h"
#include "sensor/engine.h"
#include "sensor/net_sweep.h"
#include "sensor/rule_block.h"
#include "sensor/rule_contain.h"

/* What a pass works on. It belongs to the worker while a pass runs and to the loop between passes;
 * a pass leaves a snapshot that the loop reads while the next one runs. */

enum rule_kind {
  RULE_KIND_BLOCK,
  RULE_KIND_CONTAIN,
};

struct core_rule {
  enum rule_kind kind;
  struct rule_block block;
  struct rule_contain *contain; /* of kind CONTAIN, when it could be read; owned */
  uint8_t revision[16];
  uint32_t slot, mode; /* slot 0 = none yet */
  bool is_known;       /* the template is one of ours, and the policy could be read */
  bool may_contain;    /* it is a containment, or nobody can tell */
  bool goes_without;   /* of a containment: a host that cannot have it does without */
  struct rule_result result;
  uint64_t since_boot_ns;
  struct tlx_count count; /* as last read */
  struct bpf_image_entry entries[RULE_BLOCK_ENTRIES_MAX];
  size_t n_entries;
};

/* The network part. Nothing of it is loaded before a containment is wanted, or was found in force,
 * but for the iterator over marks: it touches nothing, and the first order shall not wait for it.
 */
struct core_net {
  struct bpf_net_own *own; /* NULL = not loaded, or it cannot be */
  bool is_prepared;        /* that was tried */
  struct bpf_net *net;     /* NULL = not opened */
  unsigned n_opened;       /* counts openings, so that the loop knows a new ring of events */
  bool was_found;          /* it is of a former process, or was until this one had it in force */
  bool has_rest;           /* it was taken down in part: there may be more than pins show */
  bool is_attached, is_published, is_settled;
  struct rule_contain published;
  struct net_sweep_result sweep;
  uint64_t tried_mono_ms;   /* when what is missing of it was last tried */
  uint32_t link_gaps;       /* found while devices were followed */
  uint32_t aside_gaps;      /* found among sockets that pass by devices, and in other namespaces */
  uint64_t up_mono_ms;      /* since when it is in force, or known to be; 0 = it is not */
  bool has_late_links;      /* devices that get their programs after the configuration */
  uint64_t proved_boot_ns;  /* begin of the comparison before the last whole proof; 0 = none */
  unsigned n_drifts;        /* passes in a row that found something altered */
  bool wants_again;         /* another pass shall follow at once */
  struct desired_name lost; /* the set under which it was released by itself */
  bool has_lost;
  uint32_t hazards; /* bit n = enum hazard n */
  bool knows_hazards;
  uint64_t hazards_mono_ms;
  struct tlx_net_addr *local; /* addresses of this host, sorted */
  size_t n_local;
  struct net_link *links;
  size_t n_links;
  char proof[240]; /* of the last attempt, in words */
  struct tlx_net_stats stats;
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

  bool exec_in_force; /* the exec rules of |name| were published, or nothing of them is in force */
  bool in_force;      /* the same of all rules */
  struct core_net net;
  /* What the loop gives to a pass. */
  struct engine_link link;
  bool is_lifted; /* root took everything down: nothing is put in force */
  bool is_down;   /* lifted, and nothing of ours is left */
  bool is_boot;   /* there is no network yet: nothing can be proved */
  bool net_only;  /* leaves the exec part alone */
  uint64_t verified_boot_ns, repaired_boot_ns;
  struct bpf_tampers tampers; /* of the last pass */
  uint32_t n_passes;
};

/* At an orderly end: a host that shall enforce nothing keeps nothing of ours; else everything stays
 * in force. */
void core_leave(struct core *core);
/* Frees what the core owns; pinned objects go on. */
void core_done(struct core *core);
/* Frees nothing that |options| points to. 0, -ENOMEM or the errors of host_cgroup_id. */
int core_init(struct core *core, const struct engine_options *options);
/* The network part of a pass: rules of kind CONTAIN. */
void core_net_pass(struct core *core);
/* Takes the containment off this host, if there is one. Whether nothing of it is left. */
bool core_net_remove(struct core *core);
/* What can be loaded before there is an order; once. */
void core_net_prepare(struct core *core);
void core_net_done(struct core *core);
/* The containment rule that counts: the first one that could be read; NULL = there is none. */
struct core_rule *core_contain_rule(const struct core *core);
/* Whether a containment is wanted, or may be: also by a rule that cannot be read. */
bool core_may_contain(const struct core *core);
/* Keeps |result| with the time at which it came to be so, unless nothing of it is new. */
void core_note_result(struct core *core, struct core_rule *rule, const struct rule_result *result);
/* One pass. |desired| (borrowed) NULL = as before. Worker thread; never fails: what failed stands
 * in the core. */
void core_pass(struct core *core, const struct desired *desired);
