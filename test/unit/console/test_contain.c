// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/contain.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/arena.h"
#include "common/err.h"
#include "rpc/pb_scan.h"
#include "telovix/v1/policy.pb-c.h"

static int add(struct contain_list *list, const char *text) {
  const char *fault = NULL;
  return contain_list_add(list, text, &fault);
}

Test(contain, a_list_holds_each_entry_once_in_its_canonical_form) {
  struct contain_list list = {.n = 0};
  const char *fault = NULL;
  cr_assert_eq(add(&list, "out:2001:DB8::1/128,443-443/tcp"), 0);
  cr_assert_eq(add(&list, "in:10.0.0.0/8"), 0);
  cr_assert_eq(add(&list, "out:2001:db8:0::1/128,443/tcp"), 0);
  cr_assert_eq(list.n, 2);
  cr_assert_str_eq(list.entries[0], "out:2001:db8::1/128,443/tcp");
  cr_assert_str_eq(list.entries[1], "in:10.0.0.0/8");
  cr_assert_eq(contain_list_add(&list, "in:0.0.0.0/0", &fault), TLX_E_MALFORMED);
  cr_assert_str_eq(fault, "is a /0, which would let everything through");
  cr_assert_eq(list.n, 2);
}

Test(contain, a_list_has_its_limit) {
  struct contain_list list = {.n = 0};
  char text[64];
  for (unsigned i = 0; i < TLX_ALLOW_LIST_MAX; i++) {
    snprintf(text, sizeof text, "in:10.0.0.%u/32", i);
    cr_assert_eq(add(&list, text), 0);
  }
  cr_assert_eq(add(&list, "in:10.0.1.0/32"), TLX_E_LIMIT);
  cr_assert_eq(add(&list, "in:10.0.0.7/32"), 0, "it is there already");
  cr_assert_eq(add(&list, "nonsense"), TLX_E_MALFORMED);
  cr_assert_eq(list.n, TLX_ALLOW_LIST_MAX);
}

Test(contain, lists_are_compared_as_sets) {
  struct contain_list list = {.n = 0};
  char a[] = "in:10.0.0.0/8", b[] = "out:192.0.2.0/24", c[] = "out:192.0.2.0/24/tcp";
  char *ab[] = {a, b}, *ba[] = {b, a}, *ac[] = {a, c}, *abc[] = {a, b, c};
  cr_assert(contain_list_equal(&list, ab, 0));
  add(&list, a);
  add(&list, b);
  cr_assert(contain_list_equal(&list, ab, 2));
  cr_assert(contain_list_equal(&list, ba, 2));
  cr_assert_not(contain_list_equal(&list, ac, 2));
  cr_assert_not(contain_list_equal(&list, ab, 1));
  cr_assert_not(contain_list_equal(&list, abc, 3));
  cr_assert_not(contain_list_equal(&list, ab, 0));
}

Test(contain, words) {
  cr_assert_str_eq(contain_on_lost_word(CONTAIN_KEEP), "keep");
  cr_assert_str_eq(contain_on_lost_word(CONTAIN_RELEASE), "release");
  cr_assert_str_eq(contain_on_lost_word(0), "unset");
  cr_assert_eq(contain_on_lost_parse("keep"), CONTAIN_KEEP);
  cr_assert_eq(contain_on_lost_parse("release"), CONTAIN_RELEASE);
  cr_assert_eq(contain_on_lost_parse("Keep"), 0);
  cr_assert_eq(contain_on_lost_parse(""), 0);
  cr_assert_eq((int)CONTAIN_KEEP, TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_KEEP);
  cr_assert_eq((int)CONTAIN_RELEASE, TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_RELEASE);
  cr_assert_str_eq(contain_hazard_text("console_host"), "the Console runs there");
  cr_assert_str_eq(contain_hazard_text("of_a_newer_sensor"), "of_a_newer_sensor");
}

Test(contain, the_policy_says_all_of_it) {
  struct contain_list list = {.n = 0};
  struct tlx_buf buf = {0};
  struct tlx_arena arena;
  ProtobufCMessage *message = NULL;
  struct contain_policy policy = {.rule_id = "rule_0123456789abcdef",
                                  .revision = {7},
                                  .allow = &list,
                                  .on_lost = CONTAIN_RELEASE,
                                  .force = true};
  add(&list, "out:192.0.2.1/32,53/udp");
  add(&list, "in:10.0.0.0/8");
  contain_pack(&policy, &buf);
  cr_assert_eq(buf.err, 0);
  tlx_arena_init(&arena, 1 << 20);
  cr_assert_eq(tlx_pb_unpack_trusted(&telovix__v1__enforcement_policy__descriptor,
                                     (struct tlx_bytes){buf.data, buf.len}, &arena, &message),
               0);
  const Telovix__V1__EnforcementPolicy *back = (const void *)message;
  cr_assert_str_eq(back->rule_id, "rule_0123456789abcdef");
  cr_assert_str_eq(back->template_, "network-containment");
  cr_assert_str_eq(back->name, "telovix-network-containment");
  cr_assert_eq(back->mode, TELOVIX__V1__RULE_MODE__RULE_MODE_ENFORCE);
  cr_assert_eq(back->revision.len, 16);
  cr_assert_eq(back->revision.data[0], 7);
  cr_assert_null(back->block_binary);
  cr_assert_eq(back->network_containment->n_allow, 2);
  cr_assert_str_eq(back->network_containment->allow[0], "out:192.0.2.1/32,53/udp");
  cr_assert_str_eq(back->network_containment->allow[1], "in:10.0.0.0/8");
  cr_assert_eq(back->network_containment->on_lost_console,
               TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_RELEASE);
  cr_assert(back->network_containment->force);
  tlx_arena_done(&arena);
  tlx_buf_done(&buf);
}
