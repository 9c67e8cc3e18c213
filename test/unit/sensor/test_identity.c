// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../harness/folder.h"
#include "../pki/fixture.h"
#include "common/err.h"
#include "common/file.h"
#include "rpc/tls.h"

#define SENSOR "sensor_0123456789abcdef"

/* ---- the moments of a crash: before the n-th rename or link ---- */

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to);
static unsigned crash_at;

static void maybe_crash(void) {
  if (crash_at && --crash_at == 0) _exit(42);
}

int __wrap_rename(const char *from, const char *to) {
  maybe_crash();
  return __real_rename(from, to);
}

int __wrap_link(const char *from, const char *to) {
  maybe_crash();
  return __real_link(from, to);
}

/* ---- world ---- */

struct world {
  struct folder folder;
  struct fixture_ca ca;
  struct tlx_buf leaf;
  struct tlx_bytes chain[1], roots[1];
  struct identity_offer offer;
};

static const char *const addresses[] = {"console.example.org:15483", "[::1]:1"};

/* A certificate for the pending key, as enrollment gets it. */
static void issue(struct world *world) {
  struct tlx_key *key;
  cr_assert_eq(identity_pending_key(world->folder.path, &key), 0);
  struct tlx_cert_template template = {.profile = TLX_CERT_CLIENT,
                                       .subject_cn = SENSOR,
                                       .issuer_cn = world->ca.cert.subject_cn,
                                       .not_before_wall_ms = FIXTURE_WALL_MS,
                                       .not_after_wall_ms = FIXTURE_WALL_MS + FIXTURE_DAY_MS,
                                       .subject_spki = tlx_key_spki(key),
                                       .issuer_spki = tlx_key_spki(world->ca.key),
                                       .uri = "spiffe://" FIXTURE_FLEET "/sensor/" SENSOR};
  cr_assert_eq(tlx_serial_make(template.serial), 0);
  tlx_buf_done(&world->leaf);
  cr_assert_eq(tlx_cert_issue(&template, world->ca.key, &world->leaf), 0);
  tlx_key_free(key);
  world->chain[0] = (struct tlx_bytes){world->leaf.data, world->leaf.len};
}

static void world_init(struct world *world) {
  memset(world, 0, sizeof *world);
  folder_init(&world->folder);
  fixture_ca_init(&world->ca, "Fleet CA", FIXTURE_WALL_MS);
  issue(world);
  world->roots[0] = (struct tlx_bytes){world->ca.der.data, world->ca.der.len};
  world->offer = (struct identity_offer){.sensor_id = SENSOR,
                                         .fleet_id = FIXTURE_FLEET,
                                         .fleet_name = "Fleet; the \"first\"",
                                         .node_name = "web-1",
                                         .addresses = addresses,
                                         .n_addresses = 2,
                                         .chain = world->chain,
                                         .n_chain = 1,
                                         .ca = world->roots,
                                         .n_ca = 1};
}

static void world_done(struct world *world) {
  tlx_buf_done(&world->leaf);
  fixture_ca_done(&world->ca);
  folder_done(&world->folder);
}

static void save(struct world *world) {
  char why[512] = "";
  cr_assert_eq(identity_save(world->folder.path, &world->offer, why), 0, "%s", why);
}

static void expect_fails(struct world *world, int err, const char *part) {
  struct identity identity;
  char why[512];
  memset(&identity, 0xee, sizeof identity);
  int got = identity_load(world->folder.path, &identity, why);
  cr_assert_eq(got, err, "%d: %s", got, why);
  cr_assert(strstr(why, part), "%s is not in: %s", part, why);
  cr_assert_eq(((uint8_t *)&identity)[0], 0xee, "untouched on failure");
}

static bool is_enrolled(const char *folder) {
  struct identity identity;
  char why[512];
  int err = identity_peek(folder, &identity, why);
  cr_assert(err == 0 || err == -ENOENT, "%d: %s", err, why);
  return err == 0;
}

/* ---- tests ---- */

Test(identity, saved_and_loaded) {
  struct world world;
  struct identity identity;
  struct stat info;
  struct tlx_tls_ctx *ctx;
  char why[512];
  world_init(&world);
  cr_assert_not(is_enrolled(world.folder.path));
  cr_assert_eq(identity_load(world.folder.path, &identity, why), -ENOENT);
  save(&world);
  cr_assert(is_enrolled(world.folder.path));
  cr_assert_eq(identity_load(world.folder.path, &identity, why), 0, "%s", why);
  cr_assert_str_eq(identity.sensor_id, SENSOR);
  cr_assert_str_eq(identity.fleet_id, FIXTURE_FLEET);
  cr_assert_str_eq(identity.node_name, "web-1");
  cr_assert_str_eq(identity.fleet_name, "Fleet; the \"first\"");
  cr_assert_eq(identity.n_addresses, 2);
  cr_assert_str_eq(identity.addresses[0], addresses[0]);
  cr_assert_str_eq(identity.addresses[1], addresses[1]);
  cr_assert_eq(identity.n_chain, 1);
  cr_assert_eq(identity.not_after_wall_ms, FIXTURE_WALL_MS + FIXTURE_DAY_MS);
  cr_assert_eq(identity_tls(&identity, NULL, NULL, &ctx), 0, "key and certificate belong together");
  tlx_tls_ctx_unref(ctx);
  identity_done(&identity);
  identity_done(&identity);
  static const char *const private[] = {"sensor.ini", "identity/client.key", "identity/client.crt",
                                        "identity/ca.crt"};
  for (int i = 0; i < 4; i++) {
    cr_assert_eq(stat(folder_join(&world.folder, private[i]), &info), 0, "%s", private[i]);
    cr_assert_eq(info.st_mode & 0777, 0600, "%s", private[i]);
  }
  cr_assert_not(folder_has(&world.folder, "identity/pending.key"));
  world_done(&world);
}

Test(identity, the_pending_key_is_made_once) {
  struct world world;
  struct tlx_key *first, *second;
  world_init(&world);
  cr_assert_eq(identity_pending_key(world.folder.path, &first), 0);
  cr_assert_eq(identity_pending_key(world.folder.path, &second), 0);
  cr_assert_arr_eq(tlx_key_spki(first).data, tlx_key_spki(second).data, tlx_key_spki(first).len);
  tlx_key_free(first);
  tlx_key_free(second);
  cr_assert_eq(chmod(folder_join(&world.folder, "identity/pending.key"), 0644), 0);
  cr_assert_eq(identity_pending_key(world.folder.path, &first), TLX_E_MODE,
               "somebody may have read it");
  world_done(&world);
}

/* Whenever enrollment dies, the same command is safe to repeat: with the same key there is the same
 * identity, and what is half there is never taken for one. */
Test(identity, a_crash_at_every_step) {
  for (unsigned step = 1; step <= 4; step++) {
    struct world world;
    struct identity identity;
    char why[512];
    int status;
    world_init(&world);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
      crash_at = step;
      _exit(identity_save(world.folder.path, &world.offer, why) == 0 ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42, "step %u: there are not so many",
              step);
    cr_assert_not(is_enrolled(world.folder.path));
    cr_assert_eq(identity_load(world.folder.path, &identity, why), -ENOENT);
    struct tlx_cert leaf;
    struct tlx_key *key;
    cr_assert_eq(identity_pending_key(world.folder.path, &key), 0);
    cr_assert_eq(tlx_cert_parse(world.chain[0], &leaf), 0);
    cr_assert_arr_eq(tlx_key_spki(key).data, leaf.spki.data, leaf.spki.len, "step %u: another key",
                     step);
    tlx_key_free(key);
    save(&world);
    cr_assert_eq(identity_load(world.folder.path, &identity, why), 0, "step %u: %s", step, why);
    identity_done(&identity);
    world_done(&world);
  }
}

Test(identity, damaged_files_are_named) {
  struct world world;
  struct tlx_buf crt = {0};
  world_init(&world);
  save(&world);
  cr_assert_eq(tlx_file_read(folder_join(&world.folder, "identity/client.crt"), 65536, &crt), 0);
  cr_assert_eq(chmod(folder_join(&world.folder, "identity/client.key"), 0640), 0);
  expect_fails(&world, TLX_E_MODE, "identity/client.key");
  cr_assert_eq(chmod(folder_join(&world.folder, "identity/client.key"), 0600), 0);
  folder_write(&world.folder, "identity/client.crt", "no", 2, 0600);
  expect_fails(&world, TLX_E_MALFORMED, "identity/client.crt");
  folder_write(&world.folder, "identity/client.crt", crt.data, crt.len, 0600);
  tlx_buf_done(&crt);
  folder_write(&world.folder, "identity/ca.crt", "", 0, 0600);
  expect_fails(&world, TLX_E_MALFORMED, "identity/ca.crt");
  cr_assert_eq(unlink(folder_join(&world.folder, "identity/ca.crt")), 0);
  expect_fails(&world, -ENOENT, "identity/ca.crt");
  world_done(&world);
}

Test(identity, settings_are_checked) {
  static const char good[] =
      "sensor_id = " SENSOR "\nfleet_id = " FIXTURE_FLEET "\nconsole = a:1\n";
  static const struct {
    const char *text, *part;
    int err;
  } cases[] = {
      {"", "must be given", TLX_E_MALFORMED},
      {"sensor_id = " SENSOR "\nfleet_id = " FIXTURE_FLEET "\n", "must be given", TLX_E_MALFORMED},
      {"sensor_id = " SENSOR "\nfleet_id = " FIXTURE_FLEET "\nconsole = \n", "", TLX_E_MALFORMED},
      {"sensor_id = sensor_x\n", "sensor_id", TLX_E_MALFORMED},
      {"fleet_id = " SENSOR "\n", "fleet_id", TLX_E_MALFORMED},
      {"console = a:1, b\n", "HOST:PORT, not b", TLX_E_MALFORMED},
      {"console = a:1 a:1 a:1 a:1 a:1 a:1 a:1 a:1 a:1\n", "at most 8", TLX_E_LIMIT},
      {"unknown = 1\n", "unknown", TLX_E_NOT_FOUND},
  };
  struct world world;
  struct identity identity;
  char ini[512], why[512];
  world_init(&world);
  save(&world);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int len = snprintf(ini, sizeof ini, "[sensor]\n%s", cases[i].text);
    folder_write(&world.folder, "sensor.ini", ini, (size_t)len, 0600);
    int err = identity_load(world.folder.path, &identity, why);
    cr_assert_eq(err, cases[i].err, "%s: %d %s", cases[i].text, err, why);
    cr_assert(strstr(why, cases[i].part), "%s", why);
  }
  int len = snprintf(ini, sizeof ini, "[sensor]\n%s", good);
  folder_write(&world.folder, "sensor.ini", ini, (size_t)len, 0600);
  cr_assert_eq(identity_load(world.folder.path, &identity, why), 0, "%s", why);
  identity_done(&identity);
  world_done(&world);
}

/* Another sensor's key beside our certificate: no connection is ever made with it. */
Test(identity, key_and_certificate_must_match) {
  struct world world;
  struct identity identity;
  struct tlx_tls_ctx *ctx;
  struct tlx_key *other;
  char why[512];
  world_init(&world);
  save(&world);
  cr_assert_eq(unlink(folder_join(&world.folder, "identity/client.key")), 0);
  cr_assert_eq(tlx_key_new(&other), 0);
  cr_assert_eq(tlx_key_save(other, folder_join(&world.folder, "identity/client.key")), 0);
  tlx_key_free(other);
  cr_assert_eq(identity_load(world.folder.path, &identity, why), 0);
  cr_assert_eq(identity_tls(&identity, NULL, NULL, &ctx), TLX_E_KEY_MISMATCH);
  identity_done(&identity);
  world_done(&world);
}

/* ---- replacement ---- */

static int replace(struct world *world, char *why) {
  return identity_replace(world->folder.path, FIXTURE_FLEET, SENSOR, world->chain, 1, world->roots,
                          1, why);
}

/* The serial that the folder's certificate has; key and certificate must belong together. */
static void expect_whole(struct world *world, struct tlx_cert *ret_leaf,
                         struct identity *identity) {
  char why[512];
  struct tlx_tls_ctx *ctx;
  cr_assert_eq(identity_load(world->folder.path, identity, why), 0, "%s", why);
  cr_assert_eq(identity_tls(identity, NULL, NULL, &ctx), 0, "key and certificate belong together");
  tlx_tls_ctx_unref(ctx);
  cr_assert_eq(tlx_cert_parse(identity->chain[0], ret_leaf), 0);
}

Test(identity, replaced) {
  struct world world;
  struct identity identity;
  struct tlx_cert leaf, fresh;
  char why[512] = "";
  world_init(&world);
  save(&world);
  issue(&world);
  cr_assert_eq(replace(&world, why), 0, "%s", why);
  expect_whole(&world, &leaf, &identity);
  cr_assert_eq(tlx_cert_parse(world.chain[0], &fresh), 0);
  cr_assert_arr_eq(leaf.serial, fresh.serial, leaf.serial_len);
  cr_assert_eq(identity.not_before_wall_ms, FIXTURE_WALL_MS);
  cr_assert_not(folder_has(&world.folder, "identity/pending.key"));
  cr_assert_not(folder_has(&world.folder, "identity/pending.crt"));
  identity_done(&identity);
  world_done(&world);
}

/* However early or late it dies, there is a usable identity: the former one or the new one, and the
 * new one for good once it was seen. */
Test(identity, replaced_with_a_crash_at_every_step) {
  unsigned n_old = 0, n_new = 0;
  for (unsigned step = 1;; step++) {
    struct world world;
    struct identity identity;
    struct tlx_cert leaf, fresh;
    char why[512];
    int status;
    world_init(&world);
    save(&world);
    issue(&world);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
      crash_at = step;
      _exit(replace(&world, why) == 0 ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 0));
    expect_whole(&world, &leaf, &identity);
    cr_assert_eq(tlx_cert_parse(world.chain[0], &fresh), 0);
    bool is_new = memcmp(leaf.serial, fresh.serial, leaf.serial_len) == 0;
    n_old += !is_new;
    n_new += is_new;
    identity_done(&identity);
    /* The retry has the same key and ends well. */
    if (!is_new) cr_assert_eq(replace(&world, why), 0, "step %u: %s", step, why);
    expect_whole(&world, &leaf, &identity);
    cr_assert_arr_eq(leaf.serial, fresh.serial, leaf.serial_len);
    identity_done(&identity);
    world_done(&world);
    if (WEXITSTATUS(status) == 0) break;
  }
  cr_assert_geq(n_old, 2, "before the point of no return");
  cr_assert_geq(n_new, 3, "behind it, and at the end");
}

static void expect_refused(struct world *world, int err, const char *fleet_id,
                           const char *sensor_id) {
  struct identity identity;
  struct tlx_cert before, after;
  uint8_t serial[20];
  char why[512] = "";
  expect_whole(world, &before, &identity);
  memcpy(serial, before.serial, sizeof serial);
  identity_done(&identity);
  int got = identity_replace(world->folder.path, fleet_id, sensor_id, world->chain, 1, world->roots,
                             1, why);
  cr_assert_eq(got, err, "%d: %s", got, why);
  cr_assert(strstr(why, "cannot be ours"), "%s", why);
  expect_whole(world, &after, &identity);
  cr_assert_arr_eq(after.serial, serial, after.serial_len);
  identity_done(&identity);
}

Test(identity, what_cannot_be_ours_replaces_nothing) {
  struct world world;
  struct fixture_ca other;
  struct tlx_key *key;
  world_init(&world);
  save(&world);
  /* The key of the former identity is not the pending one. */
  cr_assert_eq(identity_pending_key(world.folder.path, &key), 0);
  tlx_key_free(key);
  expect_refused(&world, TLX_E_KEY_MISMATCH, FIXTURE_FLEET, SENSOR);
  issue(&world);
  expect_refused(&world, TLX_E_CERT_IDENTITY, FIXTURE_FLEET, "sensor_ffffffffffffffff");
  expect_refused(&world, TLX_E_CERT_IDENTITY, "fleet-ffffffffffffffff", SENSOR);
  fixture_ca_init(&other, "Other CA", FIXTURE_WALL_MS);
  world.roots[0] = (struct tlx_bytes){other.der.data, other.der.len};
  expect_refused(&world, TLX_E_CERT_UNTRUSTED, FIXTURE_FLEET, SENSOR);
  fixture_ca_done(&other);
  world_done(&world);
}

/* A certificate of no key that is there is no reason to have no identity. */
Test(identity, a_stray_pending_certificate) {
  struct world world;
  struct identity identity;
  struct tlx_cert leaf;
  struct tlx_buf crt = {0};
  world_init(&world);
  save(&world);
  issue(&world);
  cr_assert_eq(tlx_cert_format_pem(world.chain[0], &crt), 0);
  cr_assert_eq(unlink(folder_join(&world.folder, "identity/pending.key")), 0);
  folder_write(&world.folder, "identity/pending.crt", crt.data, crt.len, 0600);
  tlx_buf_done(&crt);
  expect_whole(&world, &leaf, &identity);
  cr_assert_not(folder_has(&world.folder, "identity/pending.crt"));
  identity_done(&identity);
  folder_write(&world.folder, "identity/pending.crt", "no", 2, 0600);
  expect_whole(&world, &leaf, &identity);
  cr_assert_not(folder_has(&world.folder, "identity/pending.crt"));
  identity_done(&identity);
  world_done(&world);
}

/* Who this host is can be told also when its key is damaged. */
Test(identity, peek_reads_the_settings_alone) {
  struct world world;
  struct identity identity;
  char why[512];
  world_init(&world);
  save(&world);
  folder_write(&world.folder, "identity/client.key", "no", 2, 0600);
  cr_assert_eq(identity_peek(world.folder.path, &identity, why), 0, "%s", why);
  cr_assert_str_eq(identity.sensor_id, SENSOR);
  cr_assert_str_eq(identity.node_name, "web-1");
  cr_assert_null(identity.key);
  identity_done(&identity);
  world_done(&world);
}
