// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "storage/order_tbl.h"

/* When the clock alone moves |record| on: the value of its order_open entry. False when it has
 * ended and has none. */
bool tlx_order_due(const Telovix__Store__V1__OrderRecord *record, uint64_t *ret_due_wall_ms);
