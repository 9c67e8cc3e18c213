// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/operator_tbl.h"

#include <errno.h>
#include <string.h>

#include "fixture.h"

static void put(struct tlx_txn *txn, const char *name, uint32_t role) {
  Telovix__Store__V1__OperatorRecord record = TELOVIX__STORE__V1__OPERATOR_RECORD__INIT;
  record.name = (char *)name;
  record.role = role;
  tlx_operator_put(txn, &record);
}

Test(operator_tbl, put_get_replace) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "anna", 1);
  put(txn, "anna", 3);
  fixture_commit(txn);
  txn = fixture_read(&fx);
  const Telovix__Store__V1__OperatorRecord *record = tlx_operator_get(txn, "anna");
  cr_assert(record);
  cr_assert_eq(record->role, 3);
  cr_assert_null(tlx_operator_get(txn, "ann"));
  cr_assert_null(tlx_operator_get(txn, "annaa"));
  cr_assert_null(tlx_operator_get(txn, ""));
  cr_assert_null(tlx_operator_get(txn, NULL));
  cr_assert_null(tlx_operator_get(txn, "a-name-that-is-longer-than-any-name"));
  fixture_commit(txn);
}

Test(operator_tbl, longest_name) {
  FIXTURE fx;
  fixture_init(&fx);
  const char *longest = "abcdefghijklmnopqrstuvwxyz012345";
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, longest, 2);
  cr_assert(tlx_operator_get(txn, longest));
  fixture_commit(txn);
}

Test(operator_tbl, bad_names_are_refused) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  put(txn, "", 1);
  fixture_commit_fails(txn, -EINVAL);
  txn = fixture_write(&fx);
  put(txn, "abcdefghijklmnopqrstuvwxyz0123456", 1);
  fixture_commit_fails(txn, -EINVAL);
}

struct names {
  char text[128];
  unsigned stop_after, n;
};

static bool add_name(void *arg, const Telovix__Store__V1__OperatorRecord *record) {
  struct names *names = arg;
  strcat(strcat(names->text, record->name), " ");
  return ++names->n != names->stop_after;
}

Test(operator_tbl, each) {
  FIXTURE fx;
  fixture_init(&fx);
  struct tlx_txn *txn = fixture_write(&fx);
  struct names all = {0}, two = {.stop_after = 2}, none = {0};
  tlx_operator_each(txn, NULL, add_name, &none);
  cr_assert_eq(none.n, 0);
  put(txn, "carl", 1);
  put(txn, "anna", 1);
  put(txn, "an", 1);
  tlx_operator_each(txn, NULL, add_name, &all);
  cr_assert_str_eq(all.text, "an anna carl ");
  tlx_operator_each(txn, NULL, add_name, &two);
  cr_assert_str_eq(two.text, "an anna ");
  cr_assert_eq(tlx_operator_count(txn), 3);
  /* Behind a name, whether it is there or not; one name may begin another. */
  struct names behind = {0}, between = {0}, last = {0};
  tlx_operator_each(txn, "an", add_name, &behind);
  cr_assert_str_eq(behind.text, "anna carl ");
  tlx_operator_each(txn, "b", add_name, &between);
  cr_assert_str_eq(between.text, "carl ");
  tlx_operator_each(txn, "carl", add_name, &last);
  cr_assert_eq(last.n, 0);
  fixture_commit(txn);
}
