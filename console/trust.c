// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/trust.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/file.h"
#include "common/log.h"
#include "console/limits.h"

#define PEM_FILE_MAX (256u << 10)

static char *path_of(const char *data, const char *name) {
  return tlx_path_join(data, name);
}

static int fail(char *why, const char *path, int err) {
  snprintf(why, 512, "%.400s: %s", path ? path : "data folder", tlx_err_text(err));
  return err;
}

/* ---- the CA ---- */

static int issue_ca(const struct tlx_key *key, const char *fleet_id, uint64_t wall_ms,
                    struct tlx_buf *ret_der) {
  char cn[64];
  snprintf(cn, sizeof cn, "Telovix CA %s", fleet_id);
  struct tlx_cert_template template = {
      .profile = TLX_CERT_CA,
      .subject_cn = cn,
      .issuer_cn = cn,
      .not_before_wall_ms = wall_ms - NOT_BEFORE_SLACK_MS,
      .not_after_wall_ms = wall_ms + CA_CERT_LIFE_MS,
      .subject_spki = tlx_key_spki(key),
      .issuer_spki = tlx_key_spki(key),
  };
  int err = tlx_serial_make(template.serial);
  return err ? err : tlx_cert_issue(&template, key, ret_der);
}

static int save_cert(const char *path, struct tlx_bytes der) {
  struct tlx_buf pem = {0};
  int err = tlx_cert_format_pem(der, &pem);
  if (!err) err = tlx_file_write_atomic(path, pem.data, pem.len, 0644);
  tlx_buf_done(&pem);
  return err;
}

static int make_folder(const char *data, const char *name) {
  char *path TLX_AUTOFREE = path_of(data, name);
  return path ? tlx_folder_make(path, 0700) : -ENOMEM;
}

int trust_create(const char *data, const char *fleet_id, const struct settings *settings,
                 uint64_t wall_ms, char *why) {
  char *ca_crt TLX_AUTOFREE = path_of(data, "ca/ca.crt");
  char *ca_key_path TLX_AUTOFREE = path_of(data, "ca/ca.key");
  char *server_key_path TLX_AUTOFREE = path_of(data, "tls/server.key");
  struct tlx_key *ca_key TLX_CLEANUP(tlx_key_free_p) = NULL;
  struct tlx_key *server_key TLX_CLEANUP(tlx_key_free_p) = NULL;
  struct tlx_buf ca_der TLX_CLEANUP(tlx_buf_done) = {0};
  struct trust loaded = {0};
  if (!ca_crt || !ca_key_path || !server_key_path) return fail(why, NULL, -ENOMEM);
  int err = make_folder(data, "ca");
  if (!err) err = make_folder(data, "tls");
  if (!err) err = tlx_key_new(&ca_key);
  if (!err) err = tlx_key_new(&server_key);
  if (!err) err = issue_ca(ca_key, fleet_id, wall_ms, &ca_der);
  if (!err) err = tlx_key_save(ca_key, ca_key_path);
  if (!err) err = tlx_key_save(server_key, server_key_path);
  if (!err) err = save_cert(ca_crt, (struct tlx_bytes){ca_der.data, ca_der.len});
  if (err) return fail(why, data, err);
  /* Loading issues the server certificate that is missing, and proves that all of it is usable. */
  err = trust_load(data, fleet_id, settings, wall_ms, &loaded, why);
  trust_done(&loaded);
  return err;
}

uint64_t trust_start(const struct trust *trust, const struct tlx_cert *replaced,
                     uint64_t now_wall_ms) {
  uint64_t start_wall_ms = now_wall_ms - NOT_BEFORE_SLACK_MS;
  uint64_t ca_wall_ms = tlx_ca_bundle_get(trust->ca, 0)->not_before_wall_ms;
  if (!replaced) return start_wall_ms;
  uint64_t former_wall_ms =
      replaced->not_before_wall_ms > ca_wall_ms ? replaced->not_before_wall_ms : ca_wall_ms;
  return former_wall_ms < start_wall_ms ? former_wall_ms : start_wall_ms;
}

int trust_issue_client(const struct trust *trust, const char *cn, const char *uri,
                       struct tlx_bytes spki, const uint8_t serial[TLX_SERIAL_LEN],
                       uint64_t not_before_wall_ms, uint64_t not_after_wall_ms,
                       struct tlx_buf *ret_der) {
  const struct tlx_cert *ca = tlx_ca_bundle_get(trust->ca, 0);
  struct tlx_cert_template template = {
      .profile = TLX_CERT_CLIENT,
      .subject_cn = cn,
      .issuer_cn = ca->subject_cn,
      .not_before_wall_ms = not_before_wall_ms,
      .not_after_wall_ms = not_after_wall_ms,
      .subject_spki = spki,
      .issuer_spki = ca->spki,
      .uri = uri,
  };
  memcpy(template.serial, serial, sizeof template.serial);
  return tlx_cert_issue(&template, trust->ca_key, ret_der);
}

/* ---- the server certificate ---- */

bool trust_is_due(const struct trust *trust, uint64_t wall_ms) {
  uint64_t life_ms = trust->server_not_after_wall_ms - trust->server_not_before_wall_ms;
  return wall_ms + life_ms / 3 >= trust->server_not_after_wall_ms ||
         wall_ms < trust->server_not_before_wall_ms;
}

/* Hosts of the advertised addresses, and the loopback names that local tools use. */
static size_t hosts_of(const struct settings *settings, char (*hosts)[256], const char **ret_list) {
  size_t n = 0;
  uint16_t port;
  for (unsigned i = 0; i < settings->n_advertise; i++)
    if (settings_split(settings->advertise[i], hosts[n], &port) == 0) {
      ret_list[n] = hosts[n];
      n++;
    }
  static const char *const local[] = {"localhost", "127.0.0.1", "::1"};
  for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
    bool there = false;
    for (size_t k = 0; k < n; k++)
      there |= strcmp(ret_list[k], local[i]) == 0;
    if (!there) ret_list[n++] = local[i];
  }
  return n;
}

static int issue_server(struct trust *trust, const char *fleet_id, const struct settings *settings,
                        uint64_t wall_ms, struct tlx_buf *ret_der) {
  char hosts[SETTINGS_ADVERTISE_MAX][256], uri[256];
  const char *list[SETTINGS_ADVERTISE_MAX + 3];
  const struct tlx_cert *ca = tlx_ca_bundle_get(trust->ca, 0);
  struct tlx_spiffe id = {.kind = TLX_PRINCIPAL_CONSOLE};
  snprintf(id.fleet_id, sizeof id.fleet_id, "%s", fleet_id);
  int err = tlx_spiffe_format(&id, uri);
  if (err) return err;
  struct tlx_cert_template template = {
      .profile = TLX_CERT_SERVER,
      .subject_cn = "telovix-console",
      .issuer_cn = ca->subject_cn,
      .not_before_wall_ms = wall_ms - NOT_BEFORE_SLACK_MS,
      .not_after_wall_ms = wall_ms + SERVER_CERT_LIFE_MS,
      .subject_spki = tlx_key_spki(trust->server_key),
      .issuer_spki = ca->spki,
      .uri = uri,
      .hosts = list,
      .n_hosts = hosts_of(settings, hosts, list),
  };
  err = tlx_serial_make(template.serial);
  return err ? err : tlx_cert_issue(&template, trust->ca_key, ret_der);
}

/* Whether the certificate on disk is what we would issue, less serial and times: the same key, and
 * each host in it (as the bytes of its name, which a certificate holds as they are). */
static bool serves(const struct trust *trust, const struct tlx_cert *cert,
                   const struct settings *settings) {
  char hosts[SETTINGS_ADVERTISE_MAX][256];
  const char *list[SETTINGS_ADVERTISE_MAX + 3];
  struct tlx_bytes own = tlx_key_spki(trust->server_key);
  if (cert->spki.len != own.len || memcmp(cert->spki.data, own.data, own.len) != 0) return false;
  size_t n = hosts_of(settings, hosts, list);
  for (size_t i = 0; i < n; i++)
    if (!tlx_cert_has_host(cert, list[i])) return false;
  return true;
}

static int read_server_cert(const char *path, struct tlx_buf *ret_der, struct tlx_cert *ret_cert) {
  struct tlx_buf pem TLX_CLEANUP(tlx_buf_done) = {0};
  struct tlx_bytes list[4];
  size_t n;
  int err = tlx_file_read(path, PEM_FILE_MAX, &pem);
  if (!err) err = tlx_cert_parse_pem(pem.data, pem.len, ret_der, list, 4, &n);
  if (err) return err;
  ret_der->len = list[0].len;
  return tlx_cert_parse((struct tlx_bytes){ret_der->data, ret_der->len}, ret_cert);
}

static int load_server(const char *data, const char *fleet_id, const struct settings *settings,
                       uint64_t wall_ms, struct trust *trust, char *why) {
  char *path TLX_AUTOFREE = path_of(data, "tls/server.crt");
  struct tlx_cert cert;
  if (!path) return fail(why, NULL, -ENOMEM);
  int err = read_server_cert(path, &trust->server_der, &cert);
  if (!err) {
    trust->server_not_before_wall_ms = cert.not_before_wall_ms;
    trust->server_not_after_wall_ms = cert.not_after_wall_ms;
    if (!trust_is_due(trust, wall_ms) && serves(trust, &cert, settings)) return 0;
  }
  trust->server_der.len = 0;
  err = issue_server(trust, fleet_id, settings, wall_ms, &trust->server_der);
  struct tlx_bytes der = {trust->server_der.data, trust->server_der.len};
  if (!err) err = save_cert(path, der);
  if (!err) err = tlx_cert_parse(der, &cert);
  if (err) return fail(why, path, err);
  trust->server_not_before_wall_ms = cert.not_before_wall_ms;
  trust->server_not_after_wall_ms = cert.not_after_wall_ms;
  tlx_notice(TLS, "server certificate issued");
  return 0;
}

/* ---- all of it ---- */

static int load_ca(const char *data, struct trust *trust, char *why) {
  char *crt TLX_AUTOFREE = path_of(data, "ca/ca.crt");
  char *key TLX_AUTOFREE = path_of(data, "ca/ca.key");
  char *server_key TLX_AUTOFREE = path_of(data, "tls/server.key");
  if (!crt || !key || !server_key) return fail(why, NULL, -ENOMEM);
  int err = tlx_ca_bundle_load(crt, &trust->ca);
  if (err) return fail(why, crt, err);
  err = tlx_key_load(key, &trust->ca_key);
  if (err) return fail(why, key, err);
  err = tlx_key_load(server_key, &trust->server_key);
  if (err) return fail(why, server_key, err);
  const struct tlx_cert *ca = tlx_ca_bundle_get(trust->ca, 0);
  struct tlx_bytes own = tlx_key_spki(trust->ca_key);
  if (ca->spki.len != own.len || memcmp(ca->spki.data, own.data, own.len) != 0)
    return fail(why, key, TLX_E_KEY_MISMATCH);
  tlx_pin_format(ca, trust->pin);
  return 0;
}

static int make_tls(struct trust *trust, char *why) {
  struct tlx_bytes chain[] = {{trust->server_der.data, trust->server_der.len},
                              tlx_ca_bundle_get(trust->ca, 0)->der};
  struct tlx_tls_options options = {
      .server = true, .chain = chain, .n_chain = 2, .key = trust->server_key, .ca = trust->ca};
  int err = tlx_tls_ctx_new(&options, &trust->tls_ctx);
  return err ? fail(why, "TLS", err) : 0;
}

int trust_load(const char *data, const char *fleet_id, const struct settings *settings,
               uint64_t wall_ms, struct trust *ret_trust, char *why) {
  struct trust trust = {0};
  int err = load_ca(data, &trust, why);
  if (!err) err = load_server(data, fleet_id, settings, wall_ms, &trust, why);
  if (!err) err = make_tls(&trust, why);
  if (err) {
    trust_done(&trust);
    return err;
  }
  *ret_trust = trust;
  return 0;
}

void trust_done(struct trust *trust) {
  tlx_key_free(trust->ca_key);
  tlx_key_free(trust->server_key);
  tlx_ca_bundle_free(trust->ca);
  tlx_buf_done(&trust->server_der);
  tlx_tls_ctx_unref(trust->tls_ctx);
  *trust = (struct trust){0};
}
