// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/audit_filter.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "console/convert.h"
#include "console/op.h"
#include "console/svc.h"

static void take_text(char *out, size_t size, const char *text, const char *field,
                      struct tlx_status *status) {
  if (strlen(text) >= size || text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-")])
    tlx_status_add_violation(status, field, "is not 0 to %zu of [a-z0-9._-]", size - 1);
  else
    strcpy(out, text);
}

static void take_time(uint64_t *ret_wall_ms, const Google__Protobuf__Timestamp *time,
                      const char *field, struct tlx_status *status) {
  if (time && !convert_time_ms(time, ret_wall_ms))
    tlx_status_add_violation(status, field, "is out of range");
}

void audit_filter_take(struct audit_filter *ret_filter, const struct audit_filter_wish *wish,
                       struct tlx_status *status) {
  *ret_filter = (struct audit_filter){.outcome = wish->outcome, .until_wall_ms = UINT64_MAX};
  take_text(ret_filter->actor, sizeof ret_filter->actor, wish->actor, "actor", status);
  take_text(ret_filter->action_type, sizeof ret_filter->action_type, wish->action_type,
            "action_type", status);
  svc_check_enum(status, "outcome", &telovix__v1__audit_outcome__descriptor, wish->outcome);
  take_time(&ret_filter->since_wall_ms, wish->since, "since", status);
  take_time(&ret_filter->until_wall_ms, wish->until, "until", status);
}

bool audit_filter_resolve(struct audit_filter *filter, const struct audit_filter_wish *wish,
                          struct tlx_txn *txn, struct tlx_status *status) {
  struct op op = {0};
  if (!*wish->sensor) return true;
  if (tlx_id_valid("sensor_", wish->sensor)) {
    snprintf(filter->sensor_id, sizeof filter->sensor_id, "%s", wish->sensor);
    return true;
  }
  const Telovix__Store__V1__SensorRecord *sensor = op_find_sensor(&op, txn, wish->sensor);
  if (sensor)
    snprintf(filter->sensor_id, sizeof filter->sensor_id, "%s", sensor->sensor_id);
  else
    *status = op.status;
  return sensor != NULL;
}

bool audit_filter_wants(const struct audit_filter *filter,
                        const Telovix__Store__V1__AuditRecord *record) {
  uint64_t wall_ms;
  if (*filter->actor && strcmp(filter->actor, record->actor) != 0) return false;
  if (*filter->action_type && strcmp(filter->action_type, record->action_type) != 0) return false;
  if (*filter->sensor_id && strcmp(filter->sensor_id, record->sensor_id) != 0) return false;
  if (filter->outcome && (filter->outcome == TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_SUCCESS) !=
                             (strcmp(record->outcome, "success") == 0))
    return false;
  if (filter->since_wall_ms == 0 && filter->until_wall_ms == UINT64_MAX) return true;
  return tlx_time_parse(record->created_at, &wall_ms) == 0 && wall_ms >= filter->since_wall_ms &&
         wall_ms <= filter->until_wall_ms;
}
