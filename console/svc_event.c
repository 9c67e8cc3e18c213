// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "console/convert.h"
#include "console/limits.h"
#include "console/page.h"
#include "console/svc.h"
#include "console/watch.h"
#include "storage/event_tbl.h"
#include "storage/meta_tbl.h"
#include "storage/sensor_tbl.h"
#include "telovix/v1/event.pb-c.h"

/* What enforcement did on hosts (EventService). */

void svc_watch_events(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__WatchEventsRequest *request = (const void *)message;
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__SensorRecord *sensor = NULL;
  if (*request->sensor && !(sensor = svc_find_sensor(call, txn, request->sensor))) return;
  const Telovix__Store__V1__MetaRecord *meta = tlx_meta_get(txn);
  if (!svc_read_ok(call, txn)) return;
  watch_events(console_of(call)->watch, call, sensor ? sensor->sensor_id : "",
               meta ? meta->event_no : 0);
}

/* One page of events while it is collected. */
struct event_page {
  struct tlx_arena *arena;
  Telovix__V1__Event **events;
  size_t n, max, bytes;
  uint64_t last_no;
  bool more, failed;
};

static bool collect_event(void *arg, const Telovix__Store__V1__EventRecord *record) {
  struct event_page *page = arg;
  if (page->n == page->max || page->bytes >= PAGE_BYTES_MAX) {
    page->more = true;
    return false;
  }
  Telovix__V1__Event *event = convert_event(record, page->arena);
  if (!event) {
    page->failed = true;
    return false;
  }
  page->events[page->n++] = event;
  page->bytes += protobuf_c_message_get_packed_size(&event->base);
  page->last_no = record->event_no;
  return true;
}

void svc_list_events(struct tlx_call *call, const ProtobufCMessage *message) {
  const Telovix__V1__ListEventsRequest *request = (const void *)message;
  Telovix__V1__ListEventsReply reply = TELOVIX__V1__LIST_EVENTS_REPLY__INIT;
  struct event_page page = {.arena = tlx_call_arena(call),
                            .max = page_size(request->page_size, PAGE_MAX)};
  struct tlx_txn *txn TLX_AUTOTXN = NULL;
  struct tlx_status status;
  char filter[320], token[512];
  uint64_t before_no = UINT64_MAX;
  tlx_status_clear(&status);
  snprintf(filter, sizeof filter, "ListEvents|%.253s", request->sensor);
  if (page_token_parse_number(request->page_token, filter, &before_no, &status) != 0) {
    svc_fail_status(call, &status);
    return;
  }
  if (!svc_begin(call, &txn)) return;
  const Telovix__Store__V1__SensorRecord *sensor = NULL;
  if (*request->sensor && !(sensor = svc_find_sensor(call, txn, request->sensor))) return;
  page.events = tlx_arena_alloc(page.arena, page.max * sizeof *page.events);
  if (!page.events) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  tlx_event_each(txn, sensor ? sensor->sensor_id : NULL, before_no, collect_event, &page);
  if (!svc_read_ok(call, txn)) return;
  if (page.failed) {
    svc_fail(call, REASON_NO_MEMORY);
    return;
  }
  reply.events = page.events;
  reply.n_events = page.n;
  if (page.more) {
    page_token_format_number(filter, page.last_no, token);
    reply.next_page_token = token;
  }
  svc_reply(call, &reply.base);
}
