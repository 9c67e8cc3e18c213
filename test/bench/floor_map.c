// SPDX-License-Identifier: GPL-2.0-or-later
#include "floor_map.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/check.h"
#include "measure.h"

struct floor_map {
  int outer_fd;
};

static int new_inner(void) {
  int fd =
      bpf_map_create(BPF_MAP_TYPE_HASH, "bench_inner", sizeof(uint32_t), sizeof(uint32_t), 1, NULL);
  measure_need(fd < 0 ? -errno : 0, "inner map");
  return fd;
}

struct floor_map *floor_map_open(void) {
  struct floor_map *map = calloc(1, sizeof *map);
  tlx_require(map);
  int inner_fd = new_inner();
  LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = (__u32)inner_fd);
  map->outer_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "bench_outer", sizeof(uint32_t),
                                 sizeof(uint32_t), 1, &options);
  measure_need(map->outer_fd < 0 ? -errno : 0, "array of maps");
  close(inner_fd);
  return map;
}

uint64_t floor_map_publish(const struct floor_map *map) {
  const uint32_t zero = 0;
  int inner_fd = new_inner();
  uint64_t start_ns = measure_now_ns();
  if (bpf_map_update_elem(map->outer_fd, &zero, &inner_fd, BPF_ANY) != 0)
    measure_need(-errno, "update");
  uint64_t spent_ns = measure_now_ns() - start_ns;
  close(inner_fd);
  return spent_ns;
}

void floor_map_close(struct floor_map *map) {
  close(map->outer_fd);
  free(map);
}
