// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(err, names_and_texts_of_our_own) {
  cr_assert_str_eq(tlx_err_name(TLX_E_CORRUPT), "TLX_E_CORRUPT");
  cr_assert_str_eq(tlx_err_name(-TLX_E_CORRUPT), "TLX_E_CORRUPT");
#define X(name, number, text)                                                                      \
  cr_assert_str_eq(tlx_err_name(number), "TLX_E_" #name);                                          \
  cr_assert_str_eq(tlx_err_text(number), text);                                                    \
  cr_assert_neq(text[strlen(text) - 1], '.');
  TLX_ERR_MAP(X)
#undef X
}

Test(err, names_and_texts_of_the_system) {
  cr_assert_str_eq(tlx_err_name(-ENOENT), "ENOENT");
  cr_assert_str_eq(tlx_err_name(ENOENT), "ENOENT");
  cr_assert_str_eq(tlx_err_text(-ENOENT), strerror(ENOENT));
  cr_assert_str_eq(tlx_err_name(-99999), "UNKNOWN");
  cr_assert_gt(strlen(tlx_err_text(-99999)), 0);
}
