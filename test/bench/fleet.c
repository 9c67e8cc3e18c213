// SPDX-License-Identifier: GPL-2.0-or-later
/* bench-fleet: virtual sensors in one process. Each has its own identity (made by telovix-mint
 * sensors), its own mutual TLS connection, an open wake stream and a heartbeat at the interval that
 * the Console asks for. Nothing is killed here: a virtual sensor acknowledges no order.
 *
 *   bench-fleet HOST:PORT FOLDER COUNT [INTERVAL_MS]
 *
 * Prints "ready COUNT" once every sensor was answered, and totals at SIGTERM. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/file.h"
#include "common/text.h"
#include "pki/identity.h"
#include "rpc/channel.h"
#include "rpc/client_call.h"
#include "telovix/v1/sensor.pb-c.h"

/* Connections are opened in groups, so that the handshakes do not meet the Console's budget. */
#define START_GROUP 20u
#define START_EVERY_MS 100u

struct fleet;
struct virtual_sensor {
  struct fleet *fleet;
  struct tlx_channel *channel;
  uv_timer_t beat;
  bool answered, beating, closing;
  struct tlx_client_call *wake;
};
struct fleet {
  uv_loop_t loop;
  const char *address, *folder;
  struct virtual_sensor *sensors;
  unsigned n, n_started, n_answered, n_closed;
  uint64_t interval_ms, n_heartbeats, n_failed, n_wakes_ended;
  uint8_t boot_id[16];
  uv_timer_t start;
  uv_signal_t stop;
  bool stopping;
};

static void need(int err, const char *what) {
  if (err == 0) return;
  fprintf(stderr, "bench-fleet: %s: %s\n", what, tlx_err_text(err));
  exit(1);
}

static struct tlx_tls_ctx *load(const struct fleet *fleet, unsigned i) {
  char path[4096];
  struct tlx_key *key;
  struct tlx_ca_bundle *ca;
  struct tlx_buf pem = {0}, der = {0};
  struct tlx_bytes chain[1];
  size_t n_chain;
  struct tlx_tls_ctx *ctx;
  snprintf(path, sizeof path, "%s/ca.crt", fleet->folder);
  need(tlx_ca_bundle_load(path, &ca), path);
  snprintf(path, sizeof path, "%s/%u/client.key", fleet->folder, i);
  need(tlx_key_load(path, &key), path);
  snprintf(path, sizeof path, "%s/%u/client.crt", fleet->folder, i);
  need(tlx_file_read(path, 65536, &pem), path);
  need(tlx_cert_parse_pem(pem.data, pem.len, &der, chain, 1, &n_chain), path);
  struct tlx_tls_options options = {.chain = chain, .n_chain = n_chain, .key = key, .ca = ca};
  need(tlx_tls_ctx_new(&options, &ctx), path);
  tlx_buf_done(&pem);
  tlx_buf_done(&der);
  tlx_key_free(key);
  tlx_ca_bundle_free(ca);
  return ctx;
}

static void on_beat(uv_timer_t *timer);

static void beat_answered(struct tlx_client_call *call, const struct tlx_status *status,
                          void *arg) {
  struct virtual_sensor *sensor = arg;
  struct fleet *fleet = sensor->fleet;
  sensor->beating = false;
  if (sensor->closing) return;
  if (status->code != TLX_GRPC_OK) {
    if (fleet->n_failed++ < 5) fprintf(stderr, "bench-fleet: heartbeat: %s\n", status->message);
  } else {
    fleet->n_heartbeats++;
    if (!sensor->answered) {
      sensor->answered = true;
      if (++fleet->n_answered == fleet->n) {
        printf("ready %u\n", fleet->n);
        fflush(stdout);
      }
    }
  }
  /* ± 10 %, so that the fleet does not beat in step. */
  uint32_t random = 0;
  need(tlx_random(&random, sizeof random), "random");
  uint64_t wait_ms = fleet->interval_ms * 9 / 10 + random % (fleet->interval_ms / 5 + 1);
  uv_timer_start(&sensor->beat, on_beat, wait_ms, 0);
}

static void on_beat(uv_timer_t *timer) {
  struct virtual_sensor *sensor = timer->data;
  if (sensor->beating || sensor->closing) return;
  const struct tlx_clock *clock = tlx_clock_system();
  Telovix__V1__HeartbeatRequest request = TELOVIX__V1__HEARTBEAT_REQUEST__INIT;
  Google__Protobuf__Timestamp wall = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  Telovix__V1__SensorCounters counters = TELOVIX__V1__SENSOR_COUNTERS__INIT;
  Telovix__V1__SensorUsage usage = TELOVIX__V1__SENSOR_USAGE__INIT;
  wall.seconds = (int64_t)(tlx_wall_ms(clock) / 1000);
  usage.rss_bytes = 20 << 20;
  request.sensor_version = (char *)"virtual";
  request.boot_id.data = (uint8_t *)sensor->fleet->boot_id;
  request.boot_id.len = sizeof sensor->fleet->boot_id;
  request.boot_ns = tlx_boot_ns(clock);
  request.wall_time = &wall;
  request.counters = &counters;
  request.usage = &usage;
  struct tlx_client_call_options options = {.channel = sensor->channel,
                                            .path = "/telovix.v1.SensorService/Heartbeat",
                                            .request = &request.base,
                                            .reply = &telovix__v1__heartbeat_reply__descriptor,
                                            .timeout_ms = 30000,
                                            .wait_for_ready = true,
                                            .done = beat_answered,
                                            .arg = sensor};
  struct tlx_client_call *call;
  sensor->beating = true;
  need(tlx_client_call_start(&options, &call), "heartbeat");
}

static void woken(struct tlx_client_call *call, const ProtobufCMessage *message, void *arg) {
  struct virtual_sensor *sensor = arg;
  if (!sensor->beating) uv_timer_start(&sensor->beat, on_beat, 0, 0);
}

static void wake_ended(struct tlx_client_call *call, const struct tlx_status *status, void *arg) {
  struct virtual_sensor *sensor = arg;
  sensor->wake = NULL;
  sensor->fleet->n_wakes_ended++;
}

static void start_sensor(struct fleet *fleet, unsigned i) {
  struct virtual_sensor *sensor = &fleet->sensors[i];
  sensor->fleet = fleet;
  struct tlx_tls_ctx *tls_ctx = load(fleet, i);
  struct tlx_channel_options options = {.loop = &fleet->loop,
                                        .clock = tlx_clock_system(),
                                        .tls_ctx = tls_ctx,
                                        .addresses = &fleet->address,
                                        .n_addresses = 1,
                                        .user_agent = "bench-fleet",
                                        .stay_connected = true};
  need(tlx_channel_new(&options, &sensor->channel), "channel");
  tlx_tls_ctx_unref(tls_ctx);
  uv_timer_init(&fleet->loop, &sensor->beat);
  sensor->beat.data = sensor;
  uv_timer_start(&sensor->beat, on_beat, 0, 0);
  Telovix__V1__WakeRequest request = TELOVIX__V1__WAKE_REQUEST__INIT;
  struct tlx_client_call_options wake = {.channel = sensor->channel,
                                         .path = "/telovix.v1.SensorService/Wake",
                                         .request = &request.base,
                                         .reply = &telovix__v1__wake_message__descriptor,
                                         .is_stream = true,
                                         .wait_for_ready = true,
                                         .message = woken,
                                         .done = wake_ended,
                                         .arg = sensor};
  need(tlx_client_call_start(&wake, &sensor->wake), "wake");
}

static void on_start(uv_timer_t *timer) {
  struct fleet *fleet = timer->data;
  for (unsigned i = 0; i < START_GROUP && fleet->n_started < fleet->n; i++)
    start_sensor(fleet, fleet->n_started++);
  if (fleet->n_started == fleet->n) uv_timer_stop(timer);
}

static void channel_closed(void *arg) {
  struct virtual_sensor *sensor = arg;
  uv_close((uv_handle_t *)&sensor->beat, NULL);
}

static void on_stop(uv_signal_t *handle, int number) {
  struct fleet *fleet = handle->data;
  if (fleet->stopping) return;
  fleet->stopping = true;
  printf("heartbeats %llu failed %llu wakes_ended %llu\n", (unsigned long long)fleet->n_heartbeats,
         (unsigned long long)fleet->n_failed, (unsigned long long)fleet->n_wakes_ended);
  for (unsigned i = 0; i < fleet->n_started; i++) {
    fleet->sensors[i].closing = true;
    uv_timer_stop(&fleet->sensors[i].beat);
    tlx_channel_close(fleet->sensors[i].channel, channel_closed, &fleet->sensors[i]);
  }
  uv_close((uv_handle_t *)&fleet->start, NULL);
  uv_close((uv_handle_t *)&fleet->stop, NULL);
}

int main(int argc, char **argv) {
  struct fleet fleet = {.interval_ms = 15000};
  uint64_t n;
  if (argc < 4 || tlx_u64_parse(argv[3], 20000, &n) != 0 ||
      (argc > 4 && tlx_u64_parse(argv[4], 3600000, &fleet.interval_ms) != 0)) {
    fprintf(stderr, "usage: bench-fleet HOST:PORT FOLDER COUNT [INTERVAL_MS]\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  fleet.address = argv[1];
  fleet.folder = argv[2];
  fleet.n = (unsigned)n;
  fleet.sensors = calloc(fleet.n, sizeof *fleet.sensors);
  tlx_require(fleet.sensors);
  need(tlx_random(fleet.boot_id, sizeof fleet.boot_id), "random");
  uv_loop_init(&fleet.loop);
  uv_timer_init(&fleet.loop, &fleet.start);
  fleet.start.data = &fleet;
  uv_timer_start(&fleet.start, on_start, 0, START_EVERY_MS);
  uv_signal_init(&fleet.loop, &fleet.stop);
  fleet.stop.data = &fleet;
  uv_signal_start(&fleet.stop, on_stop, SIGTERM);
  uv_run(&fleet.loop, UV_RUN_DEFAULT);
  tlx_require(uv_loop_close(&fleet.loop) == 0);
  free(fleet.sensors);
  return 0;
}
