// SPDX-License-Identifier: GPL-2.0-or-later
/* What a sensor makes of a heartbeat's reply (sensor/heartbeat.h): only an order that can be
 * carried out is taken, in exactly its own words; a result is forgotten only when it was
 * acknowledged; the audit head never goes back. Input: a packed telovix.v1.HeartbeatReply. */
#include <ftw.h>
#include <uv.h>

#include "common/log.h"
#include "common/text.h"
#include "fuzz.h"
#include "pki/digest.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"
#include "sensor/heartbeat.h"

#define DAY_MS 86400000ull
#define KEPT "kill_aaaaaaaaaaaaaaaa"

static char root[] = "/tmp/telovix-fuzz-XXXXXX";
static uv_loop_t loop;
static struct tlx_clock_fake fake;
static struct state *state;
static struct host host;

static void quiet(void *arg, enum tlx_log_level level, const char *line) {
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  return remove(path);
}

static void end(void) {
  state_close(state, NULL, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* One state for all inputs. Its loop does not run before the end: what is to be saved waits. */
static void begin(void) {
  tlx_log_set_sink(quiet, NULL);
  tlx_clock_fake_init(&fake, 20000 * DAY_MS, 1000, 1000000);
  must(mkdtemp(root) && uv_loop_init(&loop) == 0);
  must(state_open(root, &loop, &fake.clock, &state) == 0);
  atexit(end);
}

static void look_at_order(const Telovix__V1__PendingKill *pending) {
  struct kill_order order;
  memset(&order, 0x5a, sizeof order);
  struct kill_order before = order;
  if (!heartbeat_read_order(pending, &order)) {
    must(memcmp(&order, &before, sizeof order) == 0);
    return;
  }
  must(tlx_id_valid("kill_", order.order_id) && strcmp(order.order_id, pending->order_id) == 0);
  must(order.pid > 0 && order.pid <= INT32_MAX && order.pid == pending->pid);
  must(memcmp(order.boot_id, pending->boot_id.data, sizeof order.boot_id) == 0);
  must(order.baseline_boot_ns == pending->baseline_boot_ns);
  /* A guard that was lost on the way would kill what it was to protect. */
  must(order.guard_start_ticks == (pending->guards ? pending->guards->start_ticks : 0));
  must(strcmp(order.guard_exe, pending->guards ? pending->guards->exe : "") == 0);
}

static bool is_acknowledged(const Telovix__V1__HeartbeatReply *reply, const char *order_id) {
  for (size_t i = 0; i < reply->n_acknowledged_order_ids; i++)
    if (strcmp(reply->acknowledged_order_ids[i], order_id) == 0) return true;
  return false;
}

static void apply(const Telovix__V1__HeartbeatReply *reply) {
  struct heartbeat heartbeat = {
      .clock = &fake.clock, .host = &host, .state = state, .scope_cgroup = ""};
  Telovix__V1__HeartbeatRequest request = TELOVIX__V1__HEARTBEAT_REQUEST__INIT;
  struct kill_result progress = {.order_id = KEPT, .state = 1};
  uint8_t hash[32], head_after[32];
  struct tlx_buf packed = {0}, request_bytes = {0};
  struct tlx_status status;
  struct tlx_arena arena;
  ProtobufCMessage *again;
  heartbeat_init(&heartbeat);
  heartbeat_pack_result(&progress, &packed);
  must(state_result_put(state, KEPT, packed.data, packed.len) == 0);
  heartbeat_add_progress(&heartbeat, &progress);
  uint64_t seq = state_audit_head(state, hash);
  heartbeat_fill(&heartbeat, &request);
  must(request.n_kill_results == 2);
  heartbeat_add_progress(&heartbeat, &progress); /* came up while the request was under way */
  uint64_t interval_ms = heartbeat_apply(&heartbeat, reply);
  must(interval_ms <= DAY_MS);
  must(heartbeat.n_progress == 1 && heartbeat.facts_told);
  must(state_result_has(state, KEPT) == !is_acknowledged(reply, KEPT));
  uint64_t seq_after = state_audit_head(state, head_after);
  must(seq_after >= seq && (seq_after != seq || memcmp(hash, head_after, sizeof hash) == 0));
  must(state_certificate_wall_ms(state) >= tlx_wall_ms(&fake.clock));
  /* The next request is one that a Console takes. */
  request = (Telovix__V1__HeartbeatRequest)TELOVIX__V1__HEARTBEAT_REQUEST__INIT;
  heartbeat_fill(&heartbeat, &request);
  tlx_pb_pack(&request.base, &request_bytes);
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  must(tlx_pb_unpack(&telovix__v1__heartbeat_request__descriptor,
                     (struct tlx_bytes){request_bytes.data, request_bytes.len}, &arena, &again,
                     &status) == 0);
  tlx_arena_done(&arena);
  state_result_remove(state, KEPT);
  tlx_buf_done(&request_bytes);
  tlx_buf_done(&packed);
  heartbeat_done(&heartbeat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tlx_arena arena;
  struct tlx_status status;
  ProtobufCMessage *message;
  if (!state) begin();
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  if (tlx_pb_unpack(&telovix__v1__heartbeat_reply__descriptor, (struct tlx_bytes){data, size},
                    &arena, &message, &status) == 0) {
    const Telovix__V1__HeartbeatReply *reply = (const void *)message;
    for (size_t i = 0; i < reply->n_pending_kill_pids; i++)
      look_at_order(reply->pending_kill_pids[i]);
    apply(reply);
  }
  tlx_arena_done(&arena);
  return 0;
}
