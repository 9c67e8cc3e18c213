// SPDX-License-Identifier: GPL-2.0-or-later
#include "bpf-progs/tlx_abi.h"

#include <bpf/btf.h>
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "bpf-progs/tlx_net_abi.h"
#include "sensor/bpf_layout.h"

/* What the compiler of the programs made of the shared structs, read from the BTF of the built
 * objects, against what the compiler of the sensor made of them. */

struct member {
  const char *structure, *name;
  size_t offset, size, structure_size;
};
#define MEMBER(type, name)                                                                         \
  {                                                                                                \
#type, #name, offsetof(struct type, name), sizeof(((struct type *)0)->name),                   \
        sizeof(struct type)                                                                        \
  }
static const struct member members[] = {
    MEMBER(tlx_cfg, scope_cgroup_id),
    MEMBER(tlx_cfg, scope_level),
    MEMBER(tlx_cfg, flags),
    MEMBER(tlx_exec_key, kind),
    MEMBER(tlx_exec_key, dev),
    MEMBER(tlx_exec_key, ino),
    MEMBER(tlx_exec_key, name_hash),
    MEMBER(tlx_exec_rule, slot),
    MEMBER(tlx_exec_rule, mode),
    MEMBER(tlx_exec_rule, name_len),
    MEMBER(tlx_exec_rule, generation),
    MEMBER(tlx_exec_rule, name),
    MEMBER(tlx_count, acted),
    MEMBER(tlx_count, would),
    MEMBER(tlx_stats, seen),
    MEMBER(tlx_stats, acted),
    MEMBER(tlx_stats, would),
    MEMBER(tlx_stats, failed),
    MEMBER(tlx_self, proofs),
    MEMBER(tlx_self, reads),
    MEMBER(tlx_self, reserved),
    MEMBER(tlx_event, boot_ns),
    MEMBER(tlx_event, ino),
    MEMBER(tlx_event, type),
    MEMBER(tlx_event, action),
    MEMBER(tlx_event, slot),
    MEMBER(tlx_event, kind),
    MEMBER(tlx_event, dev),
    MEMBER(tlx_event, pid),
    MEMBER(tlx_event, parent_pid),
    MEMBER(tlx_event, uid),
    MEMBER(tlx_event, comm),
    MEMBER(tlx_file_id, ino),
    MEMBER(tlx_file_id, real_ino),
    MEMBER(tlx_file_id, dev),
    MEMBER(tlx_file_id, real_dev),
    MEMBER(tlx_file_id, magic),
    MEMBER(tlx_file_id, mode),
    MEMBER(tlx_file_id, generation),
    MEMBER(tlx_file_id, real_generation),
    MEMBER(tlx_query, fd),
    MEMBER(tlx_query, reserved),
    MEMBER(tlx_net_cfg, host_netns_cookie),
    MEMBER(tlx_net_cfg, mode),
    MEMBER(tlx_net_cfg, bank),
    MEMBER(tlx_net_cfg, slot),
    MEMBER(tlx_net_cfg, user_timeout_ms),
    MEMBER(tlx_net_addr, bytes),
    MEMBER(tlx_allow4_key, prefix_len),
    MEMBER(tlx_allow4_key, addr),
    MEMBER(tlx_allow6_key, prefix_len),
    MEMBER(tlx_allow6_key, addr),
    MEMBER(tlx_allow, port_first),
    MEMBER(tlx_allow, port_last),
    MEMBER(tlx_allow, protocol),
    MEMBER(tlx_allow, direction),
    MEMBER(tlx_allow, reserved),
    MEMBER(tlx_allow_set, n),
    MEMBER(tlx_allow_set, reserved),
    MEMBER(tlx_allow_set, list),
    MEMBER(tlx_net_stats, seen),
    MEMBER(tlx_net_stats, denied),
    MEMBER(tlx_net_stats, would),
    MEMBER(tlx_net_stats, own),
    MEMBER(tlx_net_stats, probes),
    MEMBER(tlx_net_stats, events_lost),
    MEMBER(tlx_net_stats, failed),
    MEMBER(tlx_net_event, boot_ns),
    MEMBER(tlx_net_event, at),
    MEMBER(tlx_net_event, action),
    MEMBER(tlx_net_event, slot),
    MEMBER(tlx_net_event, pid),
    MEMBER(tlx_net_event, uid),
    MEMBER(tlx_net_event, local_port),
    MEMBER(tlx_net_event, remote_port),
    MEMBER(tlx_net_event, protocol),
    MEMBER(tlx_net_event, family),
    MEMBER(tlx_net_event, reserved),
    MEMBER(tlx_net_event, ifindex),
    MEMBER(tlx_net_event, remote),
    MEMBER(tlx_net_event, comm),
    MEMBER(tlx_net_mark, cookie),
    MEMBER(tlx_net_mark, mark),
    MEMBER(tlx_net_mark, is_held),
};
#define N_MEMBERS (sizeof members / sizeof *members)

static struct btf *open_object(const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s.o", TLX_BPF_OBJECTS, name);
  struct btf *btf = btf__parse_elf(path, NULL);
  cr_assert(btf, "%s", path);
  return btf;
}

/* Compares every struct of the list that the object knows; returns how many members that were. */
static unsigned compare(const struct btf *btf, bool *seen) {
  unsigned n = 0;
  for (size_t i = 0; i < N_MEMBERS; i++) {
    const struct member *wanted = &members[i];
    int id = btf__find_by_name_kind(btf, wanted->structure, BTF_KIND_STRUCT);
    if (id < 0) continue;
    const struct btf_type *type = btf__type_by_id(btf, (__u32)id);
    cr_expect_eq(type->size, wanted->structure_size, "%s", wanted->structure);
    unsigned in_list = 0;
    bool found = false;
    for (size_t j = 0; j < N_MEMBERS; j++)
      in_list += strcmp(members[j].structure, wanted->structure) == 0;
    cr_expect_eq(in_list, btf_vlen(type), "%s has members that this test does not know",
                 wanted->structure);
    for (unsigned j = 0; j < btf_vlen(type); j++) {
      const struct btf_member *member = btf_members(type) + j;
      if (strcmp(btf__name_by_offset(btf, member->name_off), wanted->name) != 0) continue;
      found = true;
      cr_expect_eq(btf_member_bit_offset(type, j), 8 * wanted->offset, "%s.%s", wanted->structure,
                   wanted->name);
      cr_expect_eq(btf__resolve_size(btf, member->type), (long)wanted->size, "%s.%s",
                   wanted->structure, wanted->name);
    }
    cr_expect(found, "%s.%s", wanted->structure, wanted->name);
    seen[i] = true;
    n++;
  }
  return n;
}

Test(abi, layouts_are_the_same_on_both_sides) {
  static const char *const objects[] = {"exec_lsm",   "exec_fmod", "exec_tp", "file_id",
                                        "net_cgroup", "net_tc",    "abi"};
  bool seen[N_MEMBERS] = {false};
  for (unsigned i = 0; i < sizeof objects / sizeof *objects; i++) {
    struct btf *btf = open_object(objects[i]);
    cr_expect_gt(compare(btf, seen), 0, "%s", objects[i]);
    btf__free(btf);
  }
  for (size_t i = 0; i < N_MEMBERS; i++)
    cr_expect(seen[i], "struct %s is in no object", members[i].structure);
}

static __u32 find(const struct btf *btf, const char *name) {
  int id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);
  cr_assert_gt(id, 0, "%s", name);
  return (__u32)id;
}

Test(abi, layouts_are_compared_all_the_way_down) {
  struct btf *a = open_object("exec_tp"), *b = open_object("exec_lsm"), *other = btf__new_empty();
  cr_assert(other);
  cr_expect(bpf_layout_same(a, find(a, "tlx_stats"), b, find(b, "tlx_stats")));
  cr_expect(bpf_layout_same(a, find(a, "tlx_cfg"), b, find(b, "tlx_cfg")));
  cr_expect_not(bpf_layout_same(a, find(a, "tlx_stats"), b, find(b, "tlx_cfg")));
  /* The same sizes under other names; and signed where it was not. */
  int u32 = btf__add_int(other, "unsigned int", 4, 0),
      s32 = btf__add_int(other, "int", 4, BTF_INT_SIGNED);
  int u64 = btf__add_int(other, "unsigned long long", 8, 0);
  const struct {
    const char *last;
    int type;
    bool same;
  } rows[] = {{"flags", u32, true}, {"flag", u32, false}, {"flags", s32, false}};
  for (unsigned i = 0; i < 3; i++) {
    int id = btf__add_struct(other, "tlx_cfg", 16);
    cr_assert_eq(btf__add_field(other, "scope_cgroup_id", u64, 0, 0), 0);
    cr_assert_eq(btf__add_field(other, "scope_level", u32, 64, 0), 0);
    cr_assert_eq(btf__add_field(other, rows[i].last, rows[i].type, 96, 0), 0);
    cr_expect_eq(bpf_layout_same(a, find(a, "tlx_cfg"), other, (__u32)id), rows[i].same, "row %u",
                 i);
  }
  btf__free(a), btf__free(b), btf__free(other);
}
