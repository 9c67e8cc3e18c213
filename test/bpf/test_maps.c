// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_maps.h"

#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bed.h"

static struct bed bed;

static void begin(void) {
  bool adopted;
  bed_begin(&bed);
  bed.object = bed_open(&bed, &adopted);
}
static void end(void) {
  bed_end(&bed);
}
TestSuite(maps, .init = begin, .fini = end);

/* |n| entries that differ in |first|. */
static struct bpf_image_entry *make(size_t n, uint64_t first) {
  struct bpf_image_entry *entries = calloc(n ? n : 1, sizeof *entries);
  cr_assert(entries);
  for (size_t i = 0; i < n; i++) {
    entries[i].key = (struct tlx_exec_key){.kind = TLX_KEY_FILE, .dev = 7, .ino = first + i};
    entries[i].rule = (struct tlx_exec_rule){.slot = 1, .mode = TLX_MODE_ENFORCE};
  }
  return entries;
}

static bool holds(const struct bpf_image_entry *entries, size_t n) {
  struct bpf_image_entry *found = NULL;
  size_t n_found = 0;
  int err = bpf_maps_read(bed.object, &found, &n_found);
  cr_assert_eq(err, 0, "read: %d", err);
  bool same = n_found == n;
  for (size_t i = 0; i < n_found; i++) {
    size_t at = 0;
    while (at < n && memcmp(&entries[at], &found[i], sizeof *found) != 0)
      at++;
    same &= at < n;
  }
  free(found);
  return same;
}

Test(maps, what_is_published_is_read_back) {
  struct bpf_image_entry *found = NULL;
  size_t n;
  cr_expect_eq(bpf_maps_read(bed.object, &found, &n), -ENOENT);
  const size_t sizes[] = {1, 0, 1000, TLX_IMAGE_MAX};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct bpf_image_entry *entries = make(sizes[i], 1);
    cr_expect_eq(bpf_maps_publish(bed.object, entries, sizes[i]), 0, "%zu entries", sizes[i]);
    if (sizes[i] <= 1000) cr_expect(holds(entries, sizes[i]), "%zu entries", sizes[i]);
    free(entries);
  }
}

Test(maps, a_failed_publication_leaves_the_former_image) {
  struct bpf_image_entry *former = make(3, 1), *entries = make(3, 10),
                         *many = make(TLX_IMAGE_MAX + 1, 1);
  cr_assert_eq(bpf_maps_publish(bed.object, former, 3), 0);
  entries[2].key = entries[0].key;
  cr_expect_eq(bpf_maps_publish(bed.object, entries, 3), -EEXIST);
  cr_expect(holds(former, 3));
  cr_expect_eq(bpf_maps_publish(bed.object, many, TLX_IMAGE_MAX + 1), -E2BIG);
  cr_expect(holds(former, 3));
  free(former), free(entries), free(many);
}

static uint32_t used_image(void) {
  uint32_t zero = 0, id = 0;
  cr_assert_eq(bpf_map_lookup_elem(bpf_object_rules_fd(bed.object), &zero, &id), 0);
  return id;
}

Test(maps, a_published_image_is_frozen) {
  struct bpf_image_entry *entries = make(2, 1), *more = make(1, 50);
  cr_assert_eq(bpf_maps_publish(bed.object, entries, 2), 0);
  int fd = bpf_map_get_fd_by_id(used_image());
  cr_assert_geq(fd, 0);
  cr_expect_neq(bpf_map_update_elem(fd, &more->key, &more->rule, BPF_ANY), 0);
  cr_expect_eq(errno, EPERM);
  cr_expect_neq(bpf_map_delete_elem(fd, &entries->key), 0);
  cr_expect_eq(errno, EPERM);
  close(fd);
  free(entries), free(more);
}

/* Notes of one verification; and that a second one finds nothing. */
static void expect_repaired(const struct bpf_image_entry *entries, size_t n, const char *how) {
  struct bpf_tampers tampers = {0};
  cr_expect_eq(bpf_maps_verify(bed.object, entries, n, &tampers), 0);
  cr_assert_eq(tampers.n, 1, "%s: %u", how, tampers.n);
  cr_expect_str_eq(tampers.list[0].what, "map rules");
  cr_expect(strstr(tampers.list[0].how, how), "%s: %s", how, tampers.list[0].how);
  cr_expect(tampers.list[0].repaired);
  cr_expect(holds(entries, n));
  cr_expect_eq(bpf_maps_verify(bed.object, entries, n, &tampers), 0);
  cr_expect_eq(tampers.n, 1);
}

Test(maps, verification_puts_the_image_back) {
  struct bpf_image_entry *entries = make(5, 1), *others = make(5, 100);
  struct bpf_tampers tampers = {0};
  const uint32_t zero = 0;
  cr_assert_eq(bpf_maps_publish(bed.object, entries, 5), 0);
  cr_expect_eq(bpf_maps_verify(bed.object, entries, 5, &tampers), 0);
  cr_expect_eq(tampers.n, 0);

  int empty = bpf_map_create(BPF_MAP_TYPE_HASH, "foreign", sizeof entries->key,
                             sizeof entries->rule, 1, NULL);
  cr_assert_geq(empty, 0);
  cr_assert_eq(bpf_map_update_elem(bpf_object_rules_fd(bed.object), &zero, &empty, BPF_ANY), 0);
  close(empty);
  expect_repaired(entries, 5, "another image");

  cr_assert_eq(bpf_map_delete_elem(bpf_object_rules_fd(bed.object), &zero), 0);
  expect_repaired(entries, 5, "emptied");

  /* Ours, and not what it should say. */
  cr_assert_eq(bpf_maps_publish(bed.object, others, 5), 0);
  expect_repaired(entries, 5, "altered");
  cr_assert_eq(bpf_maps_publish(bed.object, entries, 4), 0);
  expect_repaired(entries, 5, "altered");
  free(entries), free(others);
}

Test(maps, counters) {
  struct tlx_count count = {3, 4}, found = {0};
  struct tlx_stats stats;
  const uint32_t slot = 9;
  cr_assert_eq(bpf_map_update_elem(bpf_object_count_fd(bed.object), &slot, &count, BPF_ANY), 0);
  cr_expect_eq(bpf_maps_count(bed.object, slot, &found), 0);
  cr_expect(found.acted == 3 && found.would == 4);
  const struct tlx_count none = {0};
  cr_expect_eq(bpf_maps_count_set(bed.object, slot, &none), 0);
  cr_expect_eq(bpf_maps_count(bed.object, slot, &found), 0);
  cr_expect(found.acted == 0 && found.would == 0);
  found.acted = 77;
  cr_expect_neq(bpf_maps_count(bed.object, TLX_SLOTS, &found), 0);
  cr_expect_eq(found.acted, 77);
  cr_expect_eq(bpf_maps_stats(bed.object, &stats), 0);
  cr_expect_eq(stats.seen, 0);
}

/* FNV-1a, 64 bits: the published test values of the hash. That the programs agree is shown by the
 * name rows of test_exec. */
Test(maps, name_hash) {
  cr_expect_eq(bpf_maps_name_hash("", 0), 0xcbf29ce484222325ull);
  cr_expect_eq(bpf_maps_name_hash("a", 1), 0xaf63dc4c8601ec8cull);
  cr_expect_eq(bpf_maps_name_hash("foobar", 6), 0x85944171f73967e8ull);
}
