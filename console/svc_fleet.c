// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "console/convert.h"
#include "console/fleet_health.h"
#include "console/limits.h"
#include "console/page.h"
#include "console/svc.h"
#include "console/watch.h"
#include "storage/rule_tbl.h"
#include "storage/sensor_tbl.h"
#include "telovix/v1/fleet.pb-c.h"

/* The fleet as the Console sees it (FleetService). */

#define STATE(name) TELOVIX__V1__HEALTH_STATE__HEALTH_STATE_##name

void svc_get_sensor(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__GetSensorRequest *request = (const void *)message;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__SensorRecord *record = svc_find_sensor(call, txn, request->sensor);
  if (!record) return;
  const Telovix__V1__Sensor *sensor =
      convert_sensor(console_of(call), txn, record, tlx_call_arena(call));
  if (svc_read_ok(call, txn)) svc_reply(call, sensor ? &sensor->base : NULL);
}

void svc_watch_fleet(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__WatchFleetRequest *request = (const void *)message;
  watch_fleet(console_of(call)->watch, call, request->include_revoked);
}

/* ---- GetFleetHealth ---- */

struct fleet_count {
  struct console *console;
  struct tlx_txn *txn;
  struct fleet_health *fleet;
  uint32_t n_contained;
};

static bool count_sensor(void *arg, const Telovix__Store__V1__SensorRecord *record) {
  struct fleet_count *count = arg;
  struct health health;
  convert_health(count->console, record, &health);
  fleet_health_add(count->fleet, record->node_name, &health);
  if (record->disabled || record->trust_state == OP_TRUST_REVOKED) return true;
  /* No set of desired rules was ever named: there is nothing to look for. */
  if (record->desired_generation == 0) return true;
  count->n_contained += tlx_rule_find_containment(count->txn, record->sensor_id, false) != NULL;
  /* What was read of the rules is of no more use. */
  tlx_txn_forget(count->txn);
  return true;
}

/* NULL = no memory. */
static Telovix__V1__FleetHealthReason **reason_messages(struct fleet_health *fleet,
                                                        struct tlx_arena *arena) {
  Telovix__V1__FleetHealthReason **list =
      tlx_arena_alloc(arena, (fleet->n_reasons + 1) * sizeof *list);
  for (unsigned i = 0; list && i < fleet->n_reasons; i++) {
    struct fleet_reason *from = &fleet->reasons[i];
    list[i] = tlx_arena_alloc(arena, sizeof **list);
    char **names = tlx_arena_alloc(arena, (from->n_node_names + 1) * sizeof *names);
    if (!list[i] || !names) return NULL;
    telovix__v1__fleet_health_reason__init(list[i]);
    list[i]->reason = (char *)from->reason;
    list[i]->state = (Telovix__V1__HealthState)from->state;
    list[i]->sensors = from->n_sensors;
    list[i]->node_names = names;
    for (unsigned k = 0; k < from->n_node_names; k++)
      names[list[i]->n_node_names++] = from->node_names[k];
  }
  return list;
}

void svc_get_fleet_health(struct tlx_call *call, const ProtobufCMessage *message) {
  struct console *console = console_of(call);
  Telovix__V1__FleetHealth reply = TELOVIX__V1__FLEET_HEALTH__INIT;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct fleet_health *fleet TLX_AUTOFREE = malloc(sizeof *fleet);
  if (!fleet) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  fleet_health_init(fleet);
  if (!svc_begin(call, &txn)) return;
  struct fleet_count count = {.console = console, .txn = txn, .fleet = fleet};
  tlx_sensor_each(txn, NULL, NULL, count_sensor, &count);
  if (!svc_read_ok(call, txn)) return;
  fleet_health_sort(fleet);
  reply.state = (Telovix__V1__HealthState)fleet->state;
  reply.sensors = fleet->n_sensors;
  reply.critical = fleet->n_in_state[STATE(CRITICAL)];
  reply.offline = fleet->n_in_state[STATE(OFFLINE)];
  reply.degraded = fleet->n_in_state[STATE(DEGRADED)];
  reply.watch = fleet->n_in_state[STATE(WATCH)];
  reply.healthy = fleet->n_in_state[STATE(HEALTHY)];
  reply.unconfirmed_since_restart = fleet->n_unconfirmed;
  reply.stale = fleet->n_stale;
  reply.disabled = fleet->n_disabled;
  reply.revoked = fleet->n_revoked;
  reply.contained = count.n_contained;
  reply.fleet_name = console->fleet_name;
  reply.n_reasons = fleet->n_reasons;
  reply.reasons = reason_messages(fleet, tlx_call_arena(call));
  svc_reply(call, reply.reasons ? &reply.base : NULL);
}

/* ---- ListSensors ---- */

struct sensor_page {
  struct console *console;
  struct tlx_txn *txn;
  const Telovix__V1__ListSensorsRequest *request;
  struct tlx_arena *arena;
  Telovix__V1__Sensor **sensors;
  size_t n, max, bytes;
  char last_node[256], last_id[32];
  bool more, failed;
};

static bool has_labels(const Telovix__Store__V1__SensorRecord *record,
                       const Telovix__V1__ListSensorsRequest *request) {
  for (size_t i = 0; i < request->n_labels; i++) {
    bool found = false;
    for (size_t k = 0; k < record->n_labels && !found; k++)
      found = strcmp(record->labels[k]->key, request->labels[i]->key) == 0 &&
              strcmp(record->labels[k]->value, request->labels[i]->value) == 0;
    if (!found) return false;
  }
  return true;
}

static bool is_wanted(struct sensor_page *page, const Telovix__Store__V1__SensorRecord *record) {
  const Telovix__V1__ListSensorsRequest *request = page->request;
  struct health health;
  bool wants_revoked = request->include_revoked ||
                       request->status == TELOVIX__V1__SENSOR_STATUS__SENSOR_STATUS_REVOKED;
  if (record->trust_state == OP_TRUST_REVOKED && !wants_revoked) return false;
  if (!has_labels(record, request)) return false;
  if (!request->status && !request->health_state) return true;
  convert_health(page->console, record, &health);
  return (!request->status || (uint32_t)request->status == health.status) &&
         (!request->health_state || (uint32_t)request->health_state == health.state);
}

static bool collect_sensor(void *arg, const Telovix__Store__V1__SensorRecord *record) {
  struct sensor_page *page = arg;
  if (!is_wanted(page, record)) return true;
  if (page->n == page->max || page->bytes >= PAGE_BYTES_MAX) {
    page->more = true;
    return false;
  }
  Telovix__V1__Sensor *sensor = convert_sensor(page->console, page->txn, record, page->arena);
  if (!sensor) {
    page->failed = true;
    return false;
  }
  page->sensors[page->n++] = sensor;
  page->bytes += protobuf_c_message_get_packed_size(&sensor->base);
  snprintf(page->last_node, sizeof page->last_node, "%s", record->node_name);
  snprintf(page->last_id, sizeof page->last_id, "%s", record->sensor_id);
  return true;
}

/* What the page token is bound to. Heap; NULL = no memory. */
static char *filter_text(const Telovix__V1__ListSensorsRequest *request) {
  struct tlx_buf buf = {0};
  tlx_buf_printf(&buf, "ListSensors|%d|%d|%d", request->status, request->health_state,
                 request->include_revoked);
  for (size_t i = 0; i < request->n_labels; i++)
    tlx_buf_printf(&buf, "|%s=%s", request->labels[i]->key, request->labels[i]->value);
  char *text = tlx_buf_take_text(&buf);
  tlx_buf_done(&buf);
  return text;
}

/* The key of a page is node name, NUL, id. Adds the NUL behind. */
static void check_key(uint8_t *key, size_t key_len, struct tlx_status *status) {
  key[key_len] = 0;
  size_t node_len = strlen((char *)key);
  const char *id = key_len > node_len ? (char *)key + node_len + 1 : "";
  if (key_len && (!tlx_id_valid("sensor_", id) || node_len + 1 + strlen(id) != key_len))
    tlx_status_add_violation(status, "page_token", "is not a token of this list");
}

void svc_list_sensors(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ListSensorsRequest *request = (const void *)message;
  Telovix__V1__ListSensorsReply reply = TELOVIX__V1__LIST_SENSORS_REPLY__INIT;
  struct sensor_page page = {.console = console_of(call),
                             .request = request,
                             .arena = tlx_call_arena(call),
                             .max = page_size(request->page_size, PAGE_MAX)};
  char *filter TLX_AUTOFREE = filter_text(request);
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  uint8_t key[PAGE_KEY_MAX + 1];
  size_t key_len = 0;
  char token[512];
  tlx_status_clear(&status);
  svc_check_enum(&status, "status", &telovix__v1__sensor_status__descriptor, request->status);
  svc_check_enum(&status, "health_state", &telovix__v1__health_state__descriptor,
                 request->health_state);
  if (filter && page_token_parse(request->page_token, filter, key, &key_len, &status) == 0)
    check_key(key, key_len, &status);
  if (status.code != TLX_GRPC_OK) {
    svc_fail_status(call, &status);
    return;
  }
  page.sensors = tlx_arena_alloc(page.arena, page.max * sizeof *page.sensors);
  if (!filter || !page.sensors) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  size_t node_len = strlen((char *)key);
  const char *after_node = key_len ? (char *)key : NULL;
  const char *after_id = key_len > node_len ? (char *)key + node_len + 1 : NULL;
  if (!svc_begin(call, &txn)) return;
  page.txn = txn;
  tlx_sensor_each(txn, after_node, after_id, collect_sensor, &page);
  if (!svc_read_ok(call, txn)) return;
  if (page.failed) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  if (page.more) {
    int len = snprintf((char *)key, sizeof key, "%s%c%s", page.last_node, '\0', page.last_id);
    page_token_format(filter, key, (size_t)len, token);
    reply.next_page_token = token;
  }
  reply.sensors = page.sensors;
  reply.n_sensors = page.n;
  svc_reply(call, &reply.base);
}
