// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/audit_filter.h"

#include <string.h>

#include "../storage/fixture.h"
#include "storage/sensor_tbl.h"

#define SENSOR "sensor_aaaaaaaaaaaaaaaa"

static const struct audit_filter_wish all = {"", "", "", 0, NULL, NULL};

static struct audit_filter take(const struct audit_filter_wish *wish, const char *wrong) {
  struct audit_filter filter;
  struct tlx_status status;
  tlx_status_clear(&status);
  audit_filter_take(&filter, wish, &status);
  cr_assert_eq(status.n_violations, *wrong ? 1 : 0);
  if (*wrong) cr_assert_str_eq(status.violations[0].field, wrong);
  return filter;
}

static bool wants(const struct audit_filter *filter, const char *actor, const char *action,
                  const char *sensor_id, const char *outcome, const char *created_at) {
  Telovix__Store__V1__AuditRecord record = TELOVIX__STORE__V1__AUDIT_RECORD__INIT;
  record.actor = (char *)actor;
  record.action_type = (char *)action;
  record.sensor_id = (char *)sensor_id;
  record.outcome = (char *)outcome;
  record.created_at = (char *)created_at;
  return audit_filter_wants(filter, &record);
}
#define AT "2024-01-02T03:04:05.000Z"

Test(audit_filter, each_field_alone_and_none) {
  struct audit_filter filter = take(&all, "");
  cr_assert(wants(&filter, "bob", "x", "", "failure", "no time"));
  struct audit_filter_wish wish = all;
  wish.actor = "bob";
  filter = take(&wish, "");
  cr_assert(wants(&filter, "bob", "x", "", "success", AT));
  cr_assert_not(wants(&filter, "bobby", "x", "", "success", AT));
  cr_assert_not(wants(&filter, "", "x", "", "success", AT));
  wish = all;
  wish.action_type = "sensor_contained";
  filter = take(&wish, "");
  cr_assert(wants(&filter, "", "sensor_contained", "", "success", AT));
  cr_assert_not(wants(&filter, "", "sensor_contain", "", "success", AT));
  wish = all;
  wish.outcome = TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_FAILURE;
  filter = take(&wish, "");
  cr_assert(wants(&filter, "", "x", "", "failure", AT));
  cr_assert_not(wants(&filter, "", "x", "", "success", AT));
  wish.outcome = TELOVIX__V1__AUDIT_OUTCOME__AUDIT_OUTCOME_SUCCESS;
  filter = take(&wish, "");
  cr_assert_not(wants(&filter, "", "x", "", "failure", AT));
  cr_assert(wants(&filter, "", "x", "", "success", AT));
}

Test(audit_filter, both_ends_of_the_time_belong_to_it) {
  Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  time.seconds = FIXTURE_WALL_MS / 1000;
  struct audit_filter_wish wish = all;
  wish.since = wish.until = &time;
  struct audit_filter filter = take(&wish, "");
  cr_assert(wants(&filter, "", "x", "", "success", AT));
  cr_assert_not(wants(&filter, "", "x", "", "success", "2024-01-02T03:04:05.001Z"));
  cr_assert_not(wants(&filter, "", "x", "", "success", "2024-01-02T03:04:04.999Z"));
  cr_assert_not(wants(&filter, "", "x", "", "success", "no time"));
}

Test(audit_filter, what_no_record_can_have) {
  char longest[65];
  struct audit_filter_wish wish = all;
  memset(longest, 'a', sizeof longest);
  longest[64] = 0;
  wish.actor = longest;
  take(&wish, "actor");
  longest[63] = 0;
  take(&wish, "");
  wish.actor = "bob\"";
  take(&wish, "actor");
  wish = all;
  wish.action_type = "Sensor";
  take(&wish, "action_type");
  wish = all;
  wish.outcome = 7;
  take(&wish, "outcome");
  Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  time.nanos = -1;
  wish = all;
  wish.since = &time;
  take(&wish, "since");
  wish = all;
  wish.until = &time;
  take(&wish, "until");
}

static bool resolve(struct fixture *fx, const char *sensor, const char *reason,
                    struct audit_filter *ret_filter) {
  struct audit_filter_wish wish = all;
  struct tlx_status status;
  wish.sensor = sensor;
  *ret_filter = take(&wish, "");
  tlx_status_clear(&status);
  struct tlx_txn *txn = fixture_read(fx);
  bool ok = audit_filter_resolve(ret_filter, &wish, txn, &status);
  fixture_commit(txn);
  cr_assert_str_eq(status.reason, reason);
  return ok;
}

/* Records outlive their sensor: its id is taken as it is, a node name must be there. */
Test(audit_filter, sensors) {
  FIXTURE fx;
  struct audit_filter filter;
  fixture_init(&fx);
  cr_assert(resolve(&fx, "", "", &filter));
  cr_assert(wants(&filter, "", "x", "", "success", AT));
  cr_assert(resolve(&fx, SENSOR, "", &filter));
  cr_assert(wants(&filter, "", "x", SENSOR, "success", AT));
  cr_assert_not(wants(&filter, "", "x", "", "success", AT));
  cr_assert_not(resolve(&fx, "web-1", "unknown_sensor", &filter));
  struct tlx_txn *txn = fixture_write(&fx);
  Telovix__Store__V1__SensorRecord record = fixture_sensor(SENSOR, "web-1");
  tlx_sensor_put(txn, &record);
  fixture_commit(txn);
  cr_assert(resolve(&fx, "WEB-1", "", &filter));
  cr_assert_str_eq(filter.sensor_id, SENSOR);
}
