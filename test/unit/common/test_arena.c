// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/arena.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

Test(arena, aligned_and_apart) {
  struct tlx_arena arena;
  tlx_arena_init(&arena, 1 << 20);
  uint8_t *last = NULL;
  for (size_t len = 1; len < 5000; len += 37) {
    uint8_t *data = tlx_arena_alloc(&arena, len);
    cr_assert(data);
    cr_assert_eq((uintptr_t)data % _Alignof(max_align_t), 0);
    memset(data, (int)len, len);
    if (last) cr_assert_eq(*last, (uint8_t)(len - 37), "a later block overwrote an earlier one");
    last = data;
  }
  tlx_arena_done(&arena);
}

Test(arena, the_cap_holds_and_is_told) {
  struct tlx_arena arena;
  tlx_arena_init(&arena, 1000);
  cr_assert(tlx_arena_alloc(&arena, 900));
  cr_assert_not(arena.refused);
  cr_assert_null(tlx_arena_alloc(&arena, 200));
  cr_assert(arena.refused);
  cr_assert_null(tlx_arena_alloc(&arena, SIZE_MAX));
  tlx_arena_reset(&arena);
  cr_assert_not(arena.refused);
  cr_assert(tlx_arena_alloc(&arena, 900));
  tlx_arena_done(&arena);
}

Test(arena, copies) {
  struct tlx_arena arena;
  tlx_arena_init(&arena, 1 << 16);
  const uint8_t *zero = tlx_arena_zalloc(&arena, 300);
  for (int i = 0; i < 300; i++)
    cr_assert_eq(zero[i], 0);
  cr_assert_str_eq(tlx_arena_strdup(&arena, "text"), "text");
  cr_assert_null(tlx_arena_strdup(&arena, NULL));
  cr_assert_arr_eq(tlx_arena_memdup(&arena, "abc", 3), "abc", 3);
  cr_assert_str_eq(tlx_arena_printf(&arena, "%s-%d", "a", 7), "a-7");
  tlx_arena_done(&arena);
  tlx_arena_done(NULL);
}
