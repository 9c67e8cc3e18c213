// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"
#include "common/settings.h"
#include "common/text.h"
#include "pki/cert.h"

#define INI "sensor.ini"
#define KEY "identity/client.key"
#define CRT "identity/client.crt"
#define CA "identity/ca.crt"
#define PENDING "identity/pending.key"
#define PENDING_CRT "identity/pending.crt"
#define FILE_MAX (256u << 10)

static int fail(char *why, const char *folder, const char *name, int err) {
  snprintf(why, 512, "%.300s/%s: %s", folder, name, tlx_err_text(err));
  return err;
}

/* ---- sensor.ini ---- */

static int set_text(char *to, size_t size, const char *value, char *why) {
  if (strlen(value) >= size) {
    snprintf(why, 256, "is too long");
    return TLX_E_TOO_LARGE;
  }
  strcpy(to, value);
  return 0;
}

static int set_sensor_id(void *target, const char *value, char *why) {
  struct identity *identity = target;
  if (!tlx_id_valid("sensor_", value)) {
    snprintf(why, 256, "want sensor_ and 16 of [a-z0-9]");
    return TLX_E_MALFORMED;
  }
  return set_text(identity->sensor_id, sizeof identity->sensor_id, value, why);
}

static int set_fleet_id(void *target, const char *value, char *why) {
  struct identity *identity = target;
  if (!tlx_id_valid("fleet-", value)) {
    snprintf(why, 256, "want fleet- and 16 of [a-z0-9]");
    return TLX_E_MALFORMED;
  }
  return set_text(identity->fleet_id, sizeof identity->fleet_id, value, why);
}

static int set_fleet(void *target, const char *value, char *why) {
  struct identity *identity = target;
  return set_text(identity->fleet_name, sizeof identity->fleet_name, value, why);
}

static int set_node(void *target, const char *value, char *why) {
  struct identity *identity = target;
  return set_text(identity->node_name, sizeof identity->node_name, value, why);
}

static int set_console(void *target, const char *value, char *why) {
  struct identity *identity = target;
  char host[256];
  uint16_t port;
  for (size_t len; *value; value += len) {
    value += strspn(value, ", ");
    len = strcspn(value, ", ");
    if (len == 0) break;
    if (identity->n_addresses == IDENTITY_ADDRESSES_MAX || len >= sizeof *identity->addresses) {
      snprintf(why, 256, "want at most %u addresses", IDENTITY_ADDRESSES_MAX);
      return TLX_E_LIMIT;
    }
    char *to = identity->addresses[identity->n_addresses];
    memcpy(to, value, len);
    to[len] = '\0';
    if (tlx_address_parse(to, host, &port) != 0) {
      snprintf(why, 256, "want HOST:PORT, not %.100s", to);
      return TLX_E_MALFORMED;
    }
    identity->n_addresses++;
  }
  return 0;
}

static const struct tlx_setting settings[] = {
    {"sensor", "sensor_id", set_sensor_id}, {"sensor", "fleet_id", set_fleet_id},
    {"sensor", "fleet", set_fleet},         {"sensor", "node_name", set_node},
    {"sensor", "console", set_console},
};

static int read_ini(const char *folder, struct identity *identity, char *why) {
  char *path TLX_AUTOFREE = tlx_path_join(folder, INI);
  if (!path) return -ENOMEM;
  int err = tlx_settings_read(path, settings, sizeof settings / sizeof *settings, identity, why);
  if (err) return err;
  if (!*identity->sensor_id || !*identity->fleet_id || !identity->n_addresses) {
    snprintf(why, 512, "%.300s: sensor_id, fleet_id and console must be given", path);
    return TLX_E_MALFORMED;
  }
  return 0;
}

/* ---- load ---- */

static int read_chain(const char *folder, struct identity *identity, char *why) {
  char *path TLX_AUTOFREE = tlx_path_join(folder, CRT);
  struct tlx_buf pem TLX_CLEANUP(tlx_buf_done) = {0};
  struct tlx_cert leaf;
  int err = path ? tlx_file_read(path, FILE_MAX, &pem) : -ENOMEM;
  if (!err)
    err = tlx_cert_parse_pem(pem.data, pem.len, &identity->chain_der, identity->chain,
                             sizeof identity->chain / sizeof *identity->chain, &identity->n_chain);
  if (!err) err = tlx_cert_parse(identity->chain[0], &leaf);
  if (err) return fail(why, folder, CRT, err);
  identity->not_before_wall_ms = leaf.not_before_wall_ms;
  identity->not_after_wall_ms = leaf.not_after_wall_ms;
  return 0;
}

static int sync_folder(const char *folder, const char *name) {
  char *path TLX_AUTOFREE = tlx_path_join(folder, name);
  if (!path) return -ENOMEM;
  int fd TLX_AUTOCLOSE = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 || fsync(fd) != 0 ? -errno : 0;
}

static int move(const char *folder, const char *from, const char *to) {
  char *old TLX_AUTOFREE = tlx_path_join(folder, from);
  char *new TLX_AUTOFREE = tlx_path_join(folder, to);
  if (!old || !new) return -ENOMEM;
  return rename(old, new) == 0 ? sync_folder(folder, "identity") : -errno;
}

static bool has_key(const char *folder, const char *name, const struct tlx_cert *leaf) {
  char *path TLX_AUTOFREE = tlx_path_join(folder, name);
  struct tlx_key *key TLX_CLEANUP(tlx_key_free_p) = NULL;
  if (!path || tlx_key_load(path, &key) != 0) return false;
  struct tlx_bytes spki = tlx_key_spki(key);
  return spki.len == leaf->spki.len && memcmp(spki.data, leaf->spki.data, spki.len) == 0;
}

/* Completes a replacement. pending.crt is the point of no return: it is written whole, for a key
 * that is on disk. Then the key takes its place, and then the certificate; wherever that was cut
 * off, the names that are left tell how to go on. */
static int settle(const char *folder) {
  char *path TLX_AUTOFREE = tlx_path_join(folder, PENDING_CRT);
  struct tlx_buf pem TLX_CLEANUP(tlx_buf_done) = {0}, der TLX_CLEANUP(tlx_buf_done) = {0};
  struct tlx_bytes list[8];
  struct tlx_cert leaf;
  size_t n;
  int err = path ? tlx_file_read(path, FILE_MAX, &pem) : -ENOMEM;
  if (err) return err == -ENOENT ? 0 : err;
  err = tlx_cert_parse_pem(pem.data, pem.len, &der, list, 8, &n);
  if (!err) err = tlx_cert_parse(list[0], &leaf);
  if (!err && has_key(folder, PENDING, &leaf)) {
    err = move(folder, PENDING, KEY);
    return err ? err : move(folder, PENDING_CRT, CRT);
  }
  if (!err && has_key(folder, KEY, &leaf)) return move(folder, PENDING_CRT, CRT);
  return tlx_file_remove(path); /* of no key that we have */
}

int identity_load(const char *folder, struct identity *ret_identity, char *why) {
  struct identity *identity = calloc(1, sizeof *identity);
  char *key TLX_AUTOFREE = tlx_path_join(folder, KEY);
  char *ca TLX_AUTOFREE = tlx_path_join(folder, CA);
  *why = '\0';
  int err = identity && key && ca ? read_ini(folder, identity, why) : -ENOMEM;
  if (!err) {
    err = settle(folder);
    if (err) fail(why, folder, PENDING_CRT, err);
  }
  if (!err) err = read_chain(folder, identity, why);
  if (!err) {
    err = tlx_key_load(key, &identity->key);
    if (err) fail(why, folder, KEY, err);
  }
  if (!err) {
    err = tlx_ca_bundle_load(ca, &identity->ca);
    if (err) fail(why, folder, CA, err);
  }
  if (!err)
    *ret_identity = *identity;
  else if (identity)
    identity_done(identity);
  free(identity);
  return err;
}

void identity_done(struct identity *identity) {
  tlx_key_free(identity->key);
  tlx_ca_bundle_free(identity->ca);
  tlx_buf_done(&identity->chain_der);
  memset(identity, 0, sizeof *identity);
}

int identity_tls(const struct identity *identity, uint64_t (*wall_ms)(void *arg), void *arg,
                 struct tlx_tls_ctx **ret_ctx) {
  struct tlx_spiffe console = {.kind = TLX_PRINCIPAL_CONSOLE};
  char uri[256];
  snprintf(console.fleet_id, sizeof console.fleet_id, "%s", identity->fleet_id);
  int err = tlx_spiffe_format(&console, uri);
  if (err) return err;
  struct tlx_tls_options options = {.chain = identity->chain,
                                    .n_chain = identity->n_chain,
                                    .key = identity->key,
                                    .ca = identity->ca,
                                    .server_uri = uri,
                                    .wall_ms = wall_ms,
                                    .wall_arg = arg};
  return tlx_tls_ctx_new(&options, ret_ctx);
}

/* ---- enrollment's side ---- */

int identity_peek(const char *folder, struct identity *ret_identity, char *why) {
  struct identity *identity = calloc(1, sizeof *identity);
  *why = '\0';
  int err = identity ? read_ini(folder, identity, why) : -ENOMEM;
  if (!err) *ret_identity = *identity;
  free(identity);
  return err;
}

int identity_pending_key(const char *folder, struct tlx_key **ret_key) {
  char *sub TLX_AUTOFREE = tlx_path_join(folder, "identity");
  char *path TLX_AUTOFREE = tlx_path_join(folder, PENDING);
  struct tlx_key *key;
  if (!sub || !path) return -ENOMEM;
  int err = tlx_folder_make(sub, 0700);
  if (err) return err;
  err = tlx_key_load(path, ret_key);
  if (err != -ENOENT) return err;
  err = tlx_key_new(&key);
  if (err) return err;
  err = tlx_key_save(key, path);
  if (err)
    tlx_key_free(key);
  else
    *ret_key = key;
  return err;
}

static int write_certs(const char *folder, const char *name, const struct tlx_bytes *list, size_t n,
                       char *why) {
  char *path TLX_AUTOFREE = tlx_path_join(folder, name);
  struct tlx_buf pem TLX_CLEANUP(tlx_buf_done) = {0};
  int err = path ? 0 : -ENOMEM;
  for (size_t i = 0; !err && i < n; i++)
    err = tlx_cert_format_pem(list[i], &pem);
  if (!err) err = tlx_file_write_atomic(path, pem.data, pem.len, 0600);
  return err ? fail(why, folder, name, err) : 0;
}

static int write_ini(const char *folder, const struct identity_offer *offer, char *why) {
  char *path TLX_AUTOFREE = tlx_path_join(folder, INI);
  struct tlx_buf ini TLX_CLEANUP(tlx_buf_done) = {0};
  tlx_buf_printf(&ini, "[sensor]\nsensor_id = %s\nnode_name = %s\nfleet_id = %s\nfleet = %s\n",
                 offer->sensor_id, offer->node_name, offer->fleet_id, offer->fleet_name);
  tlx_buf_add_text(&ini, "console =");
  for (size_t i = 0; i < offer->n_addresses; i++)
    tlx_buf_printf(&ini, "%s%s", i ? ", " : " ", offer->addresses[i]);
  tlx_buf_add_text(&ini, "\n");
  int err = path ? ini.err : -ENOMEM;
  if (!err) err = tlx_file_write_atomic(path, ini.data, ini.len, 0600);
  return err ? fail(why, folder, INI, err) : 0;
}

int identity_save(const char *folder, const struct identity_offer *offer, char *why) {
  char *pending TLX_AUTOFREE = tlx_path_join(folder, PENDING);
  char *key TLX_AUTOFREE = tlx_path_join(folder, KEY);
  if (!pending || !key) return -ENOMEM;
  int err = write_certs(folder, CRT, offer->chain, offer->n_chain, why);
  if (!err) err = write_certs(folder, CA, offer->ca, offer->n_ca, why);
  /* Both names until sensor.ini completes it: whenever we are interrupted, a retry has the same
   * key. */
  if (!err && link(pending, key) != 0 && errno != EEXIST) err = fail(why, folder, KEY, -errno);
  if (!err) err = sync_folder(folder, "identity");
  if (!err) err = write_ini(folder, offer, why);
  if (!err) err = tlx_file_remove(pending);
  return err;
}

/* ---- replacement ---- */

static int check_offer(const char *folder, const char *fleet_id, const char *sensor_id,
                       const struct tlx_bytes *chain, size_t n_chain, const struct tlx_bytes *ca,
                       size_t n_ca) {
  struct tlx_ca_bundle *bundle TLX_CLEANUP(tlx_ca_bundle_free_p) = NULL;
  struct tlx_buf pem TLX_CLEANUP(tlx_buf_done) = {0};
  struct tlx_cert leaf;
  struct tlx_spiffe id;
  if (n_chain == 0 || n_ca == 0) return TLX_E_MALFORMED;
  int err = tlx_cert_parse(chain[0], &leaf);
  for (size_t i = 0; !err && i < n_ca; i++)
    err = tlx_cert_format_pem(ca[i], &pem);
  if (!err) err = tlx_ca_bundle_parse_pem(pem.data, pem.len, &bundle);
  if (err) return err;
  if (!has_key(folder, PENDING, &leaf)) return TLX_E_KEY_MISMATCH;
  if (leaf.n_uris != 1 || tlx_spiffe_parse(leaf.uri, &id) != 0 || id.kind != TLX_PRINCIPAL_SENSOR ||
      strcmp(id.fleet_id, fleet_id) != 0 || strcmp(id.name, sensor_id) != 0)
    return TLX_E_CERT_IDENTITY;
  /* Its times are the Console's matter, whose clock may be another. */
  return tlx_ca_bundle_check(bundle, &leaf, TLX_PRINCIPAL_SENSOR, leaf.not_before_wall_ms);
}

int identity_replace(const char *folder, const char *fleet_id, const char *sensor_id,
                     const struct tlx_bytes *chain, size_t n_chain, const struct tlx_bytes *ca,
                     size_t n_ca, char *why) {
  int err = check_offer(folder, fleet_id, sensor_id, chain, n_chain, ca, n_ca);
  if (err) {
    snprintf(why, 512, "the Console answered with an identity that cannot be ours: %s",
             tlx_err_text(err));
    return err;
  }
  /* The CAs first: with more of them the former identity is as good as before. */
  err = write_certs(folder, CA, ca, n_ca, why);
  if (!err) err = write_certs(folder, PENDING_CRT, chain, n_chain, why);
  if (err) return err;
  err = settle(folder);
  return err ? fail(why, folder, PENDING_CRT, err) : 0;
}

int identity_rename(const char *folder, const struct identity_offer *offer, char *why) {
  return write_ini(folder, offer, why);
}
