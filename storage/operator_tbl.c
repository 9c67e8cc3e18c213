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

void tlx_operator_each(struct tlx_txn *txn,
                       bool (*cb)(void *arg, const Telovix__Store__V1__OperatorRecord *record),
                       void *arg) {
  struct tlx_cursor cursor TLX_AUTOCURSOR = {0};
  tlx_cursor_open(&cursor, txn, TLX_TABLE_OPERATOR);
  for (bool on = tlx_cursor_first(&cursor); on; on = tlx_cursor_next(&cursor)) {
    const Telovix__Store__V1__OperatorRecord *record = tlx_cursor_record(&cursor);
    if (!record || !cb(arg, record)) break;
  }
}
