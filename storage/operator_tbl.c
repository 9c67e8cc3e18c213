// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage/operator_tbl.h"

#include <errno.h>

#include "storage/table.h"

Telovix__Store__V1__OperatorRecord *tlx_operator_get(struct tlx_txn *txn, const char *name) {
  struct tlx_db_key key;
  return tlx_db_key_operator(name, &key) ? tlx_table_get(txn, TLX_TABLE_OPERATOR, &key, NULL)
                                         : NULL;
}

void tlx_operator_put(struct tlx_txn *txn, const Telovix__Store__V1__OperatorRecord *record) {
  struct tlx_db_key key;
  if (!tlx_db_key_operator(record->name, &key)) {
    tlx_txn_fail(txn, -EINVAL);
    return;
  }
  tlx_table_put(txn, TLX_TABLE_OPERATOR, &key, &record->base);
}

uint64_t tlx_operator_count(struct tlx_txn *txn) {
  return tlx_table_count(txn, TLX_TABLE_OPERATOR);
}

void tlx_operator_each(struct tlx_txn *txn, const char *after,
                       bool (*cb)(void *arg, const Telovix__Store__V1__OperatorRecord *record),
                       void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  struct tlx_db_key key;
  bool on;
  tlx_cursor_open(&cursor, txn, TLX_TABLE_OPERATOR);
  if (after && tlx_db_key_operator(after, &key)) {
    on = tlx_cursor_seek(&cursor, &key);
    if (on && tlx_db_key_has_prefix(&cursor.key, &key, key.len)) on = tlx_cursor_next(&cursor);
  } else {
    on = tlx_cursor_first(&cursor);
  }
  for (; on; on = tlx_cursor_next(&cursor)) {
    const Telovix__Store__V1__OperatorRecord *record = tlx_cursor_record(&cursor);
    if (!record || !cb(arg, record)) break;
  }
}
