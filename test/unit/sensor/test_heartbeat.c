// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/heartbeat.h"

#include <stdio.h>
#include <string.h>

#include "../../harness/folder.h"
#include "../../harness/loop.h"
#include "common/log.h"
#include "pki/digest.h"
#include "sensor/rule_report.h"
#include "telovix/v1/sensor.pb-c.h"

#define STATE(name) TELOVIX__V1__KILL_STATE__KILL_STATE_##name
#define WALL_MS 1767225600123ull
#define BOOT_NS 86400000000000ull

struct world {
  struct folder folder;
  uv_loop_t loop;
  struct tlx_clock_fake clock;
  struct host host;
  struct heartbeat heartbeat;
  Telovix__V1__HeartbeatRequest request;
};

static void world_init(struct world *world) {
  memset(world, 0, sizeof *world);
  folder_init(&world->folder);
  tlx_clock_fake_init(&world->clock, WALL_MS, 0, BOOT_NS);
  cr_assert_eq(uv_loop_init(&world->loop), 0);
  cr_assert_eq(host_read(&world->host), 0);
  world->host.in_initial_namespaces = true;
  world->heartbeat.clock = &world->clock.clock;
  world->heartbeat.host = &world->host;
  world->heartbeat.scope_cgroup = "";
  cr_assert_eq(
      state_open(world->folder.path, &world->loop, &world->clock.clock, &world->heartbeat.state),
      0);
  heartbeat_init(&world->heartbeat);
}

static void world_done(struct world *world) {
  state_close(world->heartbeat.state, NULL, NULL);
  heartbeat_done(&world->heartbeat);
  loop_done(&world->loop);
  folder_done(&world->folder);
}

static void fill(struct world *world) {
  world->request = (Telovix__V1__HeartbeatRequest)TELOVIX__V1__HEARTBEAT_REQUEST__INIT;
  heartbeat_fill(&world->heartbeat, &world->request);
}

static uint64_t apply(struct world *world) {
  Telovix__V1__HeartbeatReply reply = TELOVIX__V1__HEARTBEAT_REPLY__INIT;
  return heartbeat_apply(&world->heartbeat, &reply);
}

static void keep(struct world *world, const char *order_id, unsigned state, const char *comm) {
  struct kill_result result = {
      .state = state, .signalled_boot_ns = 10, .observed_boot_ns = 20, .start_ticks = 30};
  struct tlx_buf packed = {0};
  snprintf(result.order_id, sizeof result.order_id, "%s", order_id);
  memcpy(result.comm, comm, strlen(comm));
  result.boot_id[0] = 5;
  heartbeat_pack_result(&result, &packed);
  cr_assert_eq(packed.err, 0);
  cr_assert_eq(state_result_put(world->heartbeat.state, order_id, packed.data, packed.len), 0);
  tlx_buf_done(&packed);
}

static struct kill_result alive(const char *order_id) {
  struct kill_result result = {.state = STATE(STILL_ALIVE), .process_state = "D"};
  snprintf(result.order_id, sizeof result.order_id, "%s", order_id);
  return result;
}

/* ---- what is said ---- */

Test(heartbeat, names_of_host_and_time) {
  struct world world;
  world_init(&world);
  world.heartbeat.n_kills = 3;
  world.heartbeat.n_reconnects = 4;
  world.heartbeat.scope_cgroup = "/test/a";
  fill(&world);
  cr_assert_eq(world.request.boot_ns, BOOT_NS);
  cr_assert_eq(world.request.boot_id.len, 16);
  cr_assert_arr_eq(world.request.boot_id.data, world.host.boot_id, 16);
  cr_assert_eq(world.request.wall_time->seconds, 1767225600);
  cr_assert_eq(world.request.wall_time->nanos, 123000000);
  cr_assert_eq(world.request.counters->kills, 3);
  cr_assert_eq(world.request.counters->reconnects, 4);
  cr_assert_eq(world.request.counters->error_lines, tlx_log_error_count());
  cr_assert_gt(world.request.usage->rss_bytes, 0);
  cr_assert_str_eq(world.request.scope_cgroup, "/test/a");
  cr_assert_str_eq(world.request.sensor_version, TLX_VERSION);
  cr_assert_not(world.request.kills_refused);
  cr_assert_null(world.request.in_force);
  cr_assert_null(world.request.audit_head);
  world.host.in_initial_namespaces = false;
  fill(&world);
  cr_assert(world.request.kills_refused);
  world_done(&world);
}

/* Once a start, and again until it is known to have arrived. */
Test(heartbeat, facts_are_told_once) {
  struct world world;
  world_init(&world);
  fill(&world);
  cr_assert(world.request.facts);
  cr_assert_str_eq(world.request.facts->kernel_release, world.host.kernel_release);
  heartbeat_retry(&world.heartbeat);
  fill(&world);
  cr_assert(world.request.facts, "the first one may be lost");
  apply(&world);
  fill(&world);
  cr_assert_null(world.request.facts);
  world_done(&world);
}

Test(heartbeat, results_until_acknowledged) {
  struct world world;
  world_init(&world);
  keep(&world, "kill_1111111111111111", STATE(KILLED), "victim");
  keep(&world, "kill_2222222222222222", STATE(FAILED), "other");
  for (int i = 0; i < 2; i++) {
    fill(&world);
    cr_assert_eq(world.request.n_kill_results, 2);
    const Telovix__V1__KillResult *first = world.request.kill_results[0];
    cr_assert_str_eq(first->order_id, "kill_1111111111111111");
    cr_assert_eq(first->state, STATE(KILLED));
    cr_assert_eq(first->signalled_boot_ns, 10);
    cr_assert_eq(first->observed_boot_ns, 20);
    cr_assert_eq(first->start_ticks, 30);
    cr_assert_str_eq(first->comm, "victim");
    cr_assert_eq(first->boot_id.data[0], 5);
    apply(&world); /* an answer that acknowledges nothing */
  }
  char *ids[] = {(char *)"kill_2222222222222222", (char *)"kill_9999999999999999"};
  Telovix__V1__HeartbeatReply reply = TELOVIX__V1__HEARTBEAT_REPLY__INIT;
  reply.acknowledged_order_ids = ids;
  reply.n_acknowledged_order_ids = 2;
  heartbeat_apply(&world.heartbeat, &reply);
  fill(&world);
  cr_assert_eq(world.request.n_kill_results, 1);
  cr_assert_str_eq(world.request.kill_results[0]->order_id, "kill_1111111111111111");
  cr_assert_not(world.heartbeat.has_more);
  world_done(&world);
}

Test(heartbeat, the_rest_goes_with_the_next) {
  struct world world;
  char id[32];
  world_init(&world);
  for (unsigned i = 0; i <= HEARTBEAT_RESULTS_MAX; i++) {
    snprintf(id, sizeof id, "kill_%016u", i);
    keep(&world, id, STATE(KILLED), "x");
  }
  fill(&world);
  cr_assert_eq(world.request.n_kill_results, HEARTBEAT_RESULTS_MAX);
  cr_assert(world.heartbeat.has_more);
  state_result_remove(world.heartbeat.state, "kill_0000000000000000");
  fill(&world);
  cr_assert_eq(world.request.n_kill_results, HEARTBEAT_RESULTS_MAX);
  cr_assert_not(world.heartbeat.has_more);
  world_done(&world);
}

/* Told once it has arrived; what comes while a heartbeat is under way is kept for the next. */
Test(heartbeat, progress) {
  struct world world;
  world_init(&world);
  struct kill_result first = alive("kill_1111111111111111"),
                     second = alive("kill_2222222222222222");
  heartbeat_add_progress(&world.heartbeat, &first);
  fill(&world);
  cr_assert_eq(world.request.n_kill_results, 1);
  cr_assert_str_eq(world.request.kill_results[0]->process_state, "D");
  heartbeat_add_progress(&world.heartbeat, &second);
  heartbeat_retry(&world.heartbeat);
  fill(&world);
  cr_assert_eq(world.request.n_kill_results, 2);
  heartbeat_retry(&world.heartbeat);
  fill(&world);
  struct kill_result third = alive("kill_3333333333333333");
  heartbeat_add_progress(&world.heartbeat, &third);
  apply(&world);
  fill(&world);
  cr_assert_eq(world.request.n_kill_results, 1);
  cr_assert_str_eq(world.request.kill_results[0]->order_id, "kill_3333333333333333");
  for (unsigned i = 0; i < 2 * HEARTBEAT_PROGRESS_MAX; i++)
    heartbeat_add_progress(&world.heartbeat, &first);
  cr_assert_eq(world.heartbeat.n_progress, HEARTBEAT_PROGRESS_MAX);
  world_done(&world);
}

/* A process may call itself anything; a message that is not UTF-8 would be refused as a whole. */
Test(heartbeat, a_name_that_is_no_text) {
  struct world world;
  world_init(&world);
  keep(&world, "kill_1111111111111111", STATE(KILLED), "\xff\x01\xfe");
  fill(&world);
  cr_assert_eq(world.request.n_kill_results, 1);
  cr_assert_str_eq(world.request.kill_results[0]->comm, "?\x01?",
                   "not escaped: whoever shows it does that");
  world_done(&world);
}

/* ---- size ---- */

static void set_digest(uint8_t digest[32]) {
  static const uint8_t domain[] = "telovix-set-v1";
  tlx_sha256(domain, sizeof domain, digest);
}

/* An idle exchange with everything that can stand in one, both ways: under 300 bytes each (spec
 * §4), and within the trial scope not far above. */
static const struct engine_view *view_of(void *arg) {
  return arg;
}

Test(heartbeat, an_idle_one_is_small) {
  struct world world;
  uint8_t hash[32], epoch[16], digest[32];
  world_init(&world);
  memset(hash, 0xab, sizeof hash);
  memset(epoch, 0xcd, sizeof epoch);
  set_digest(digest);
  Telovix__V1__HeartbeatReply reply = TELOVIX__V1__HEARTBEAT_REPLY__INIT;
  Telovix__V1__DesiredName desired = TELOVIX__V1__DESIRED_NAME__INIT;
  Telovix__V1__AuditHead head = TELOVIX__V1__AUDIT_HEAD__INIT;
  Google__Protobuf__Timestamp now = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  Google__Protobuf__Duration interval = GOOGLE__PROTOBUF__DURATION__INIT;
  char *addresses[] = {(char *)"console-1.example.org:15483",
                       (char *)"console-2.example.org:15483"};
  desired.epoch = (ProtobufCBinaryData){sizeof epoch, epoch};
  desired.digest = (ProtobufCBinaryData){sizeof digest, digest};
  desired.generation = 1000000;
  head.seq = 100000000;
  head.hash = (ProtobufCBinaryData){sizeof hash, hash};
  now.seconds = 1767225600;
  now.nanos = 999999999;
  interval.seconds = 15;
  interval.nanos = 999999999;
  reply.desired = &desired;
  reply.audit_head = &head;
  reply.console_time = &now;
  reply.interval = &interval;
  reply.console_addresses = addresses;
  reply.n_console_addresses = 2;
  struct engine_view view = {.state = ENGINE_READY,
                             .backend = BPF_BACKEND_LSM,
                             .reason = "",
                             .has_in_force = true,
                             .in_force = {.generation = 1000000},
                             .coverage_partial = true,
                             .verified_boot_ns = 1ull << 50,
                             .repaired_boot_ns = 1ull << 50,
                             .stats = {.acted = 1000000, .would = 1000000}};
  struct event_queue events;
  struct rule_report report = {.view = view_of, .arg = &view, .events = &events};
  cr_assert_eq(event_queue_init(&events), 0);
  fill(&world);
  rule_report_fill(&report, &world.request, &world.heartbeat.arena);
  cr_assert(world.request.facts && world.request.engine);
  heartbeat_apply(&world.heartbeat, &reply);
  rule_report_arrived(&report, &reply);
  world.heartbeat.n_kills = world.heartbeat.n_reconnects = 1000000;
  world.clock.wall_now_ms += 999;
  fill(&world);
  rule_report_fill(&report, &world.request, &world.heartbeat.arena);
  cr_assert(world.request.in_force && world.request.engine_beat && world.request.audit_head &&
            !world.request.facts && !world.request.engine);
  event_queue_done(&events);
  size_t up = protobuf_c_message_get_packed_size(&world.request.base);
  size_t down = protobuf_c_message_get_packed_size(&reply.base);
  cr_assert_lt(up, 300, "%zu", up);
  cr_assert_lt(down, 300, "%zu", down);
  world_done(&world);
}

/* ---- what is told ---- */

Test(heartbeat, interval) {
  static const struct {
    int64_t seconds;
    int32_t nanos;
    uint64_t ms;
  } cases[] = {{15, 0, 15000}, {0, 500000000, 500}, {0, 0, 0},           {-1, 0, 0},
               {86400, 0, 0},  {1, -1, 0},          {86399, 0, 86399000}};
  struct world world;
  world_init(&world);
  cr_assert_eq(apply(&world), 0);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Telovix__V1__HeartbeatReply reply = TELOVIX__V1__HEARTBEAT_REPLY__INIT;
    Google__Protobuf__Duration interval = GOOGLE__PROTOBUF__DURATION__INIT;
    interval.seconds = cases[i].seconds;
    interval.nanos = cases[i].nanos;
    reply.interval = &interval;
    cr_assert_eq(heartbeat_apply(&world.heartbeat, &reply), cases[i].ms);
  }
  world_done(&world);
}

static void tell_head(struct world *world, uint64_t seq, uint8_t fill_byte, size_t len) {
  Telovix__V1__HeartbeatReply reply = TELOVIX__V1__HEARTBEAT_REPLY__INIT;
  Telovix__V1__AuditHead head = TELOVIX__V1__AUDIT_HEAD__INIT;
  uint8_t hash[32];
  memset(hash, fill_byte, sizeof hash);
  head.seq = seq;
  head.hash = (ProtobufCBinaryData){len, hash};
  reply.audit_head = &head;
  heartbeat_apply(&world->heartbeat, &reply);
}

/* The highest head is kept: a log that was cut or rewritten behind it is told to the Console and on
 * our own log. */
Test(heartbeat, the_audit_log_only_grows) {
  struct world world;
  uint8_t hash[32];
  world_init(&world);
  tell_head(&world, 5, 5, 32);
  cr_assert_eq(state_audit_head(world.heartbeat.state, hash), 5);
  uint64_t n_errors = tlx_log_error_count();
  tell_head(&world, 5, 5, 32);
  tell_head(&world, 6, 6, 32);
  tell_head(&world, 0, 0, 32);
  tell_head(&world, 9, 9, 31);
  cr_assert_eq(tlx_log_error_count(), n_errors);
  cr_assert_eq(state_audit_head(world.heartbeat.state, hash), 6);
  tell_head(&world, 5, 5, 32);
  cr_assert_eq(tlx_log_error_count(), n_errors + 1, "rolled back");
  tell_head(&world, 6, 7, 32);
  cr_assert_eq(tlx_log_error_count(), n_errors + 2, "rewritten");
  fill(&world);
  cr_assert_eq(world.request.audit_head->seq, 6);
  cr_assert_eq(world.request.audit_head->hash.data[0], 6);
  world_done(&world);
}

Test(heartbeat, the_consoles_time) {
  struct world world;
  Telovix__V1__HeartbeatReply reply = TELOVIX__V1__HEARTBEAT_REPLY__INIT;
  Google__Protobuf__Timestamp now = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  world_init(&world);
  reply.console_time = &now;
  now.seconds = -5;
  heartbeat_apply(&world.heartbeat, &reply);
  cr_assert_eq(state_certificate_wall_ms(world.heartbeat.state), WALL_MS);
  now.seconds = 1767229200;
  heartbeat_apply(&world.heartbeat, &reply);
  cr_assert_eq(state_certificate_wall_ms(world.heartbeat.state), 1767229200000);
  /* A Console cannot know a time at which its own certificate has ended: its clock is wrong. */
  world.heartbeat.console_time_max_wall_ms = 1767229300000;
  now.seconds = 1767229301;
  heartbeat_apply(&world.heartbeat, &reply);
  cr_assert_eq(state_certificate_wall_ms(world.heartbeat.state), 1767229200000);
  now.seconds = 1767229300;
  heartbeat_apply(&world.heartbeat, &reply);
  cr_assert_eq(state_certificate_wall_ms(world.heartbeat.state), 1767229300000);
  world_done(&world);
}

Test(heartbeat, a_failed_renewal_is_told) {
  struct world world;
  world_init(&world);
  fill(&world);
  cr_assert_str_eq(world.request.renewal_error, "");
  world.heartbeat.renewal_error = "UNAVAILABLE: no way";
  fill(&world);
  cr_assert_str_eq(world.request.renewal_error, "UNAVAILABLE: no way");
  world_done(&world);
}

/* ---- orders ---- */

Test(heartbeat, orders) {
  struct kill_order order = {.pid = 7};
  uint8_t boot_id[16] = {4};
  Telovix__V1__KillGuards guards = TELOVIX__V1__KILL_GUARDS__INIT;
  Telovix__V1__PendingKill pending = TELOVIX__V1__PENDING_KILL__INIT;
  pending.order_id = (char *)"kill_1111111111111111";
  pending.pid = 42;
  pending.boot_id = (ProtobufCBinaryData){16, boot_id};
  pending.baseline_boot_ns = 99;
  cr_assert(heartbeat_read_order(&pending, &order));
  cr_assert_str_eq(order.order_id, "kill_1111111111111111");
  cr_assert_eq(order.pid, 42);
  cr_assert_eq(order.boot_id[0], 4);
  cr_assert_eq(order.baseline_boot_ns, 99);
  cr_assert_eq(order.guard_start_ticks, 0);
  cr_assert_str_eq(order.guard_exe, "");
  guards.start_ticks = 5;
  guards.exe = (char *)"/bin/x";
  pending.guards = &guards;
  cr_assert(heartbeat_read_order(&pending, &order));
  cr_assert_eq(order.guard_start_ticks, 5);
  cr_assert_str_eq(order.guard_exe, "/bin/x");
  /* What cannot be an order is not carried out in part. */
  pending.pid = 0;
  cr_assert_not(heartbeat_read_order(&pending, &order));
  pending.pid = (uint32_t)INT32_MAX + 1;
  cr_assert_not(heartbeat_read_order(&pending, &order), "a negative PID is a group of processes");
  pending.pid = INT32_MAX;
  cr_assert(heartbeat_read_order(&pending, &order));
  pending.boot_id.len = 15;
  cr_assert_not(heartbeat_read_order(&pending, &order));
  pending.boot_id.len = 16;
  pending.order_id = (char *)"rule_1111111111111111";
  cr_assert_not(heartbeat_read_order(&pending, &order));
  pending.order_id = (char *)"";
  cr_assert_not(heartbeat_read_order(&pending, &order));
}
