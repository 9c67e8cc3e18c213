// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/renew.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "../../harness/folder.h"
#include "../pki/fixture.h"
#include "common/err.h"

#define DAY_MS 86400000ull

/* ---- when ---- */

Test(renew, between_45_and_35_percent_of_the_life_left) {
  const uint64_t start = 1000 * DAY_MS, end = 1030 * DAY_MS, life = end - start;
  cr_assert_eq(renewal_due_wall_ms(start, end, 0), end - life * 45 / 100);
  cr_assert_eq(renewal_due_wall_ms(start, end, 1000), end - life * 35 / 100);
  cr_assert_eq(renewal_due_wall_ms(start, end, 500), end - life * 40 / 100);
  /* Before any reason of health arises: a third of the life left. */
  cr_assert_lt(renewal_due_wall_ms(start, end, 1000), end - life / 3);
  cr_assert_eq(renewal_due_wall_ms(end, start, 0), end, "a certificate without a life is due");
}

/* Its start may be that of one long before it: it must not be due from its first day on. */
Test(renew, a_start_long_ago_is_no_long_life) {
  const uint64_t start = 1000 * DAY_MS, end = 1300 * DAY_MS;
  cr_assert_eq(renewal_due_wall_ms(start, end, 0), end - 30 * DAY_MS * 45 / 100);
  cr_assert_eq(renewal_due_wall_ms(start, end, 1000), end - 30 * DAY_MS * 35 / 100);
}

/* ---- what a try does without a Console ---- */

struct world {
  struct folder folder;
  uv_loop_t loop;
  struct tlx_clock_fake clock;
  struct identity identity;
  struct renewal *renewal;
  unsigned n_asked, n_failed, n_renewed;
  int renewed_err;
  bool closed;
};

static struct tlx_channel *on_channel(void *arg) {
  ((struct world *)arg)->n_asked++;
  return NULL; /* as while the sensor stops */
}

static int on_renewed(void *arg) {
  ((struct world *)arg)->n_renewed++;
  return ((struct world *)arg)->renewed_err;
}

static void on_failed(void *arg) {
  ((struct world *)arg)->n_failed++;
}

static void on_closed(void *arg) {
  ((struct world *)arg)->closed = true;
}

static void world_init(struct world *world) {
  *world = (struct world){.n_asked = 0};
  folder_init(&world->folder);
  cr_assert_eq(uv_loop_init(&world->loop), 0);
  tlx_clock_fake_init(&world->clock, 1000 * DAY_MS, 1000, 1000);
  world->identity = (struct identity){.sensor_id = "sensor_0123456789abcdef",
                                      .fleet_id = "fleet-0123456789abcdef",
                                      .node_name = "web-1",
                                      .not_before_wall_ms = 1000 * DAY_MS,
                                      .not_after_wall_ms = 1030 * DAY_MS};
  struct renewal_options options = {.loop = &world->loop,
                                    .clock = &world->clock.clock,
                                    .folder = world->folder.path,
                                    .identity = &world->identity,
                                    .channel = on_channel,
                                    .renewed = on_renewed,
                                    .told = on_failed,
                                    .arg = world};
  cr_assert_eq(renewal_new(&options, &world->renewal), 0);
}

static void world_done(struct world *world) {
  renewal_close(world->renewal, on_closed, world);
  cr_assert_eq(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
  cr_assert(world->closed);
  cr_assert_eq(uv_loop_close(&world->loop), 0);
  folder_done(&world->folder);
}

Test(renew, looks_at_the_consoles_clock) {
  struct world world;
  world_init(&world);
  renewal_look(world.renewal, 1016 * DAY_MS, false);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_asked, 0, "more than 45 % are left");
  renewal_look(world.renewal, 1020 * DAY_MS, false);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_asked, 1, "less than 35 % are left");
  cr_assert(folder_has(&world.folder, "identity/pending.key"),
            "before it asks, the key is on disk");
  renewal_look(world.renewal, 1000 * DAY_MS, true);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_asked, 2, "the Console asks for it");
  world_done(&world);
}

Test(renew, waits_after_a_failure_but_not_when_expired) {
  struct world world;
  world_init(&world);
  /* A file where the folder of the key should be. */
  folder_write(&world.folder, "identity", "x", 1, 0600);
  renewal_look(world.renewal, 1020 * DAY_MS, false);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_failed, 1);
  cr_assert(strstr(renewal_error(world.renewal), "a new key: "), "%s",
            renewal_error(world.renewal));
  for (unsigned i = 0; i < 3; i++)
    renewal_look(world.renewal, 1020 * DAY_MS, true);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_failed, 1, "not at once");
  tlx_clock_fake_advance(&world.clock, 60000);
  renewal_look(world.renewal, 1020 * DAY_MS, false);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_failed, 2);
  tlx_clock_fake_advance(&world.clock, 59000);
  renewal_look(world.renewal, 1020 * DAY_MS, false);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_failed, 2, "the wait grows");
  renewal_now(world.renewal);
  renewal_now(world.renewal);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_failed, 3, "one try at a time");
  cr_assert_eq(unlink(folder_join(&world.folder, "identity")), 0);
  renewal_now(world.renewal);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_asked, 1);
  cr_assert_neq(*renewal_error(world.renewal), 0, "no renewal, no end of the report");
  renewal_look(world.renewal, 1001 * DAY_MS, false);
  cr_assert_eq(*renewal_error(world.renewal), 0, "there is nothing to renew: a clock was wrong");
  cr_assert_eq(world.n_failed, 4, "and that is told");
  world_done(&world);
}

/* ---- what was got and not taken ---- */

/* A further identity of this sensor on disk, |identity| untouched. */
static void put_on_disk(struct world *world) {
  struct fixture_ca ca;
  struct tlx_key *key;
  struct tlx_buf der = {0};
  char why[512] = "";
  fixture_ca_init(&ca, "Fleet CA", FIXTURE_WALL_MS);
  cr_assert_eq(identity_pending_key(world->folder.path, &key), 0);
  struct tlx_cert_template template = {.profile = TLX_CERT_CLIENT,
                                       .subject_cn = "x",
                                       .issuer_cn = ca.cert.subject_cn,
                                       .not_before_wall_ms = FIXTURE_WALL_MS,
                                       .not_after_wall_ms = FIXTURE_WALL_MS + FIXTURE_DAY_MS,
                                       .subject_spki = tlx_key_spki(key),
                                       .issuer_spki = tlx_key_spki(ca.key),
                                       .uri = "spiffe://" FIXTURE_FLEET
                                              "/sensor/sensor_0123456789abcdef"};
  cr_assert_eq(tlx_serial_make(template.serial), 0);
  cr_assert_eq(tlx_cert_issue(&template, ca.key, &der), 0);
  tlx_key_free(key);
  const char *address = "console.example.org:15483";
  struct tlx_bytes chain = {der.data, der.len}, root = {ca.der.data, ca.der.len};
  struct identity_offer offer = {.sensor_id = "sensor_0123456789abcdef",
                                 .fleet_id = FIXTURE_FLEET,
                                 .fleet_name = "Fleet",
                                 .node_name = "web-1",
                                 .addresses = &address,
                                 .n_addresses = 1,
                                 .chain = &chain,
                                 .n_chain = 1,
                                 .ca = &root,
                                 .n_ca = 1};
  cr_assert_eq(identity_save(world->folder.path, &offer, why), 0, "%s", why);
  tlx_buf_done(&der);
  fixture_ca_done(&ca);
}

/* To ask with the former certificate for another would end the one on disk. */
Test(renew, what_is_on_disk_is_taken_before_another_is_asked_for) {
  struct world world;
  world_init(&world);
  put_on_disk(&world);
  world.renewed_err = -ENOMEM;
  renewal_now(world.renewal);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_renewed, 1);
  cr_assert_eq(world.n_failed, 1);
  cr_assert(strstr(renewal_error(world.renewal), "cannot be used"), "%s",
            renewal_error(world.renewal));
  world.renewed_err = 0;
  renewal_now(world.renewal);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_renewed, 2);
  cr_assert_eq(*renewal_error(world.renewal), 0);
  cr_assert_eq(world.n_asked, 0, "nothing was asked for");
  cr_assert_not(folder_has(&world.folder, "identity/pending.key"));
  /* Once it is in use, another is asked for when that is due. */
  char why[512];
  cr_assert_eq(identity_load(world.folder.path, &world.identity, why), 0, "%s", why);
  renewal_now(world.renewal);
  uv_run(&world.loop, UV_RUN_DEFAULT);
  cr_assert_eq(world.n_asked, 1);
  cr_assert_eq(world.n_renewed, 2);
  world_done(&world);
  identity_done(&world.identity);
}

Test(renew, closing_waits_for_the_worker) {
  struct world world;
  world_init(&world);
  renewal_now(world.renewal);
  world_done(&world);
  cr_assert_eq(world.n_asked + world.n_failed + world.n_renewed, 0);
}
