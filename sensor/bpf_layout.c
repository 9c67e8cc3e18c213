// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_layout.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Our structs nest two deep; a foreign map may hold anything. */
#define DEPTH_MAX 8u

static const struct btf_type *plain(const struct btf *btf, __u32 *id) {
  const struct btf_type *type = btf__type_by_id(btf, *id);
  for (unsigned i = 0; type && i < 32 && (btf_is_mod(type) || btf_is_typedef(type)); i++) {
    *id = type->type;
    type = btf__type_by_id(btf, *id);
  }
  return type;
}

static bool same(const struct btf *a, __u32 id_a, const struct btf *b, __u32 id_b, unsigned depth) {
  const struct btf_type *ta = plain(a, &id_a), *tb = plain(b, &id_b);
  if (!ta || !tb || depth > DEPTH_MAX || btf_kind(ta) != btf_kind(tb)) return false;
  switch (btf_kind(ta)) {
  case BTF_KIND_INT:
    return ta->size == tb->size && btf_int_encoding(ta) == btf_int_encoding(tb);
  case BTF_KIND_ARRAY:
    return btf_array(ta)->nelems == btf_array(tb)->nelems &&
           same(a, btf_array(ta)->type, b, btf_array(tb)->type, depth + 1);
  case BTF_KIND_STRUCT:
  case BTF_KIND_UNION:
    if (ta->size != tb->size || btf_vlen(ta) != btf_vlen(tb)) return false;
    for (unsigned i = 0; i < btf_vlen(ta); i++) {
      const struct btf_member *ma = btf_members(ta) + i, *mb = btf_members(tb) + i;
      if (strcmp(btf__name_by_offset(a, ma->name_off), btf__name_by_offset(b, mb->name_off)) != 0)
        return false;
      if (btf_member_bit_offset(ta, i) != btf_member_bit_offset(tb, i)) return false;
      if (!same(a, ma->type, b, mb->type, depth + 1)) return false;
    }
    return true;
  default:
    return false;
  }
}

bool bpf_layout_same(const struct btf *a, uint32_t id_a, const struct btf *b, uint32_t id_b) {
  return same(a, id_a, b, id_b, 0);
}

int bpf_layout_check_map(const struct bpf_map *wanted, const struct btf *btf, const char *word,
                         int fd, char why[240]) {
  struct bpf_map_info info = {0};
  __u32 len = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0) return -errno;
  if (info.type != bpf_map__type(wanted) || info.key_size != bpf_map__key_size(wanted) ||
      info.value_size != bpf_map__value_size(wanted) ||
      info.max_entries != bpf_map__max_entries(wanted) ||
      info.map_flags != bpf_map__map_flags(wanted)) {
    snprintf(why, 240, "map %s has another type or size", word);
    return -EPROTO;
  }
  __u32 value = bpf_map__btf_value_type_id(wanted);
  if (!value || !info.btf_id) return 0;
  /* Reading another object's BTF takes CAP_SYS_ADMIN: without it, sizes and the version in the path
   * must do. */
  struct btf *found = btf__load_from_kernel_by_id(info.btf_id);
  if (!found) return 0;
  bool same = bpf_layout_same(btf, value, found, info.btf_value_type_id);
  btf__free(found);
  if (same) return 0;
  snprintf(why, 240, "map %s has another layout", word);
  return -EPROTO;
}
