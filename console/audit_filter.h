// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "rpc/status.h"
#include "storage/txn.h"
#include "telovix/store/v1/store.pb-c.h"
#include "telovix/v1/audit.pb-c.h"

/* Which audit records a list or an export wants; a copy, which outlives the request. */
struct audit_filter {
  char actor[64], action_type[64], sensor_id[32]; /* empty = all */
  int outcome;                                    /* of telovix.v1; 0 = any */
  uint64_t since_wall_ms, until_wall_ms;          /* 0 and UINT64_MAX = no bound */
};
/* What a request says; |sensor| is an id or a node name. */
struct audit_filter_wish {
  const char *actor, *action_type, *sensor;
  int outcome;
  const Google__Protobuf__Timestamp *since, *until; /* NULL = no bound */
};
/* Takes what can be judged without the store. Adds a violation for each field that is wrong: text
 * that no record could have would match nothing, or, cut, the wrong thing. */
void audit_filter_take(struct audit_filter *ret_filter, const struct audit_filter_wish *wish,
                       struct tlx_status *status);
/* Resolves the sensor of |wish|. An id is taken as it is: records outlive their sensor. A node name
 * must be that of one sensor, else false with unknown_sensor or ambiguous_name in |status|. */
bool audit_filter_resolve(struct audit_filter *filter, const struct audit_filter_wish *wish,
                          struct tlx_txn *txn, struct tlx_status *status);
/* Whether |record| is wanted. Pure. */
bool audit_filter_wants(const struct audit_filter *filter,
                        const Telovix__Store__V1__AuditRecord *record);
