// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_net_own.h"

#include <criterion/criterion.h>

#define CANARY 9u

static bool knows_even(uint64_t cookie) {
  return cookie % 2 == 0;
}

Test(net_own, spares_ours_and_takes_the_rest) {
  static uint64_t cookies[TLX_UNMARK_MAX];
  const struct tlx_net_mark marks[] = {{2, TLX_SOCK_OWN, 1},        {3, TLX_SOCK_OWN, 1},
                                       {5, TLX_SOCK_PROBE, 1},      {7, TLX_SOCK_OWN, 0},
                                       {CANARY, TLX_SOCK_PROBE, 1}, {4, TLX_SOCK_OWN, 0}};
  unsigned strangers = 10;
  bool is_seen = false;
  cr_assert_eq(bpf_net_own_judge(marks, 6, CANARY, knows_even, cookies, &is_seen, &strangers), 3);
  cr_expect(cookies[0] == 3 && cookies[1] == 5 && cookies[2] == 7);
  cr_expect(is_seen);
  /* One without an owner may be what the former process left. */
  cr_expect_eq(strangers, 12);
}

Test(net_own, an_iterator_that_tells_nothing_is_not_an_empty_map) {
  static uint64_t cookies[TLX_UNMARK_MAX];
  const struct tlx_net_mark mark = {2, TLX_SOCK_OWN, 1};
  unsigned strangers = 0;
  bool is_seen = true;
  cr_expect_eq(bpf_net_own_judge(NULL, 0, CANARY, knows_even, cookies, &is_seen, &strangers), 0);
  cr_expect_not(is_seen);
  is_seen = true;
  cr_expect_eq(bpf_net_own_judge(&mark, 1, CANARY, knows_even, cookies, &is_seen, &strangers), 0);
  cr_expect_not(is_seen);
  cr_expect_eq(strangers, 0);
}

Test(net_own, as_many_as_one_walk_takes) {
  static struct tlx_net_mark marks[TLX_UNMARK_MAX + 2];
  static uint64_t cookies[TLX_UNMARK_MAX];
  unsigned strangers = 0;
  bool is_seen = false;
  for (unsigned i = 0; i < TLX_UNMARK_MAX + 1; i++)
    marks[i] = (struct tlx_net_mark){2 * i + 101, TLX_SOCK_OWN, 1};
  marks[TLX_UNMARK_MAX + 1] = (struct tlx_net_mark){CANARY, TLX_SOCK_PROBE, 1};
  cr_expect_eq(bpf_net_own_judge(marks, TLX_UNMARK_MAX + 2, CANARY, knows_even, cookies, &is_seen,
                                 &strangers),
               TLX_UNMARK_MAX);
  cr_expect(is_seen);
  cr_expect_eq(strangers, TLX_UNMARK_MAX);
  cr_expect_eq(cookies[TLX_UNMARK_MAX - 1], 2 * (TLX_UNMARK_MAX - 1) + 101);
}
