// SPDX-License-Identifier: GPL-2.0-or-later
#include "pki/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/file.h"
#include "common/text.h"
#include "pki/digest.h"

#define BUNDLE_FILE_MAX (128u << 10)
static const char scheme[] = "spiffe://";
static const char pin_prefix[] = "sha256:";

static bool name_valid(const struct tlx_spiffe *id) {
  switch (id->kind) {
  case TLX_PRINCIPAL_SENSOR:
    return tlx_id_valid("sensor_", id->name);
  case TLX_PRINCIPAL_OPERATOR:
    return tlx_name_operator_valid(id->name);
  case TLX_PRINCIPAL_CONSOLE:
    return id->name[0] == '\0';
  case TLX_PRINCIPAL_NONE:
    break;
  }
  return false;
}

static const char *const kind_words[] = {[TLX_PRINCIPAL_SENSOR] = "/sensor/",
                                         [TLX_PRINCIPAL_OPERATOR] = "/operator/",
                                         [TLX_PRINCIPAL_CONSOLE] = "/console"};

int tlx_spiffe_parse(const char *uri, struct tlx_spiffe *ret_id) {
  struct tlx_spiffe id = {.kind = TLX_PRINCIPAL_NONE};
  if (strncmp(uri, scheme, sizeof scheme - 1) != 0) return TLX_E_MALFORMED;
  const char *fleet = uri + sizeof scheme - 1, *path = strchr(fleet, '/');
  if (!path || (size_t)(path - fleet) >= sizeof id.fleet_id) return TLX_E_MALFORMED;
  memcpy(id.fleet_id, fleet, (size_t)(path - fleet));
  if (!tlx_id_valid("fleet-", id.fleet_id)) return TLX_E_MALFORMED;
  for (int kind = TLX_PRINCIPAL_SENSOR; kind <= TLX_PRINCIPAL_CONSOLE; kind++) {
    size_t len = strlen(kind_words[kind]);
    if (strncmp(path, kind_words[kind], len) != 0) continue;
    if (strlen(path + len) >= sizeof id.name) return TLX_E_MALFORMED;
    id.kind = (enum tlx_principal_kind)kind;
    strcpy(id.name, path + len);
    break;
  }
  if (!name_valid(&id)) return TLX_E_MALFORMED;
  *ret_id = id;
  return 0;
}

int tlx_spiffe_format(const struct tlx_spiffe *id, char *out) {
  if (!tlx_id_valid("fleet-", id->fleet_id) || !name_valid(id)) return -EINVAL;
  snprintf(out, 256, "%s%s%s%s", scheme, id->fleet_id, kind_words[id->kind], id->name);
  return 0;
}

struct tlx_ca_bundle {
  struct tlx_buf der;
  size_t n;
  struct tlx_cert certs[TLX_CA_MAX];
};

void tlx_ca_bundle_free(struct tlx_ca_bundle *bundle) {
  if (!bundle) return;
  tlx_buf_done(&bundle->der);
  free(bundle);
}

int tlx_ca_bundle_parse_pem(const void *pem, size_t len, struct tlx_ca_bundle **ret_bundle) {
  struct tlx_bytes list[TLX_CA_MAX];
  TLX_CLEANUP(tlx_ca_bundle_free_p) struct tlx_ca_bundle *bundle = calloc(1, sizeof *bundle);
  if (!bundle) return -ENOMEM;
  int err = tlx_cert_parse_pem(pem, len, &bundle->der, list, TLX_CA_MAX, &bundle->n);
  for (size_t i = 0; !err && i < bundle->n; i++) {
    err = tlx_cert_parse(list[i], &bundle->certs[i]);
    if (!err && !bundle->certs[i].is_ca) err = TLX_E_CERT_PURPOSE;
  }
  if (!err) *ret_bundle = TLX_TAKE_PTR(bundle);
  return err;
}

int tlx_ca_bundle_load(const char *path, struct tlx_ca_bundle **ret_bundle) {
  struct tlx_buf pem = {0};
  int err = tlx_file_read(path, BUNDLE_FILE_MAX, &pem);
  if (!err) err = tlx_ca_bundle_parse_pem(pem.data, pem.len, ret_bundle);
  tlx_buf_done(&pem);
  return err;
}

size_t tlx_ca_bundle_count(const struct tlx_ca_bundle *bundle) {
  return bundle->n;
}

const struct tlx_cert *tlx_ca_bundle_get(const struct tlx_ca_bundle *bundle, size_t i) {
  return i < bundle->n ? &bundle->certs[i] : NULL;
}

int tlx_ca_bundle_format_pem(const struct tlx_ca_bundle *bundle, struct tlx_buf *buf) {
  int err = 0;
  for (size_t i = 0; !err && i < bundle->n; i++)
    err = tlx_cert_format_pem(bundle->certs[i].der, buf);
  return err;
}

int tlx_ca_bundle_check(const struct tlx_ca_bundle *bundle, const struct tlx_cert *leaf,
                        enum tlx_principal_kind purpose, uint64_t wall_ms) {
  const struct tlx_cert *issuer = NULL;
  for (size_t i = 0; i < bundle->n && !issuer; i++)
    if (tlx_cert_verify_issued(leaf, &bundle->certs[i]) == 0) issuer = &bundle->certs[i];
  if (!issuer) return TLX_E_CERT_UNTRUSTED;
  bool fits = purpose == TLX_PRINCIPAL_CONSOLE ? leaf->eku_server_auth : leaf->eku_client_auth;
  if (!fits || leaf->is_ca || (leaf->has_key_usage && !leaf->ku_digital_signature))
    return TLX_E_CERT_PURPOSE;
  int err = tlx_cert_check_time(issuer, wall_ms);
  return err ? err : tlx_cert_check_time(leaf, wall_ms);
}

void tlx_pin_format(const struct tlx_cert *ca, char *out) {
  uint8_t digest[TLX_SHA256_LEN];
  tlx_sha256(ca->spki.data, ca->spki.len, digest);
  strcpy(out, pin_prefix);
  tlx_hex_format(digest, sizeof digest, out + sizeof pin_prefix - 1);
}

int tlx_pin_parse(const char *text, uint8_t ret_digest[32]) {
  if (strncmp(text, pin_prefix, sizeof pin_prefix - 1) != 0) return TLX_E_MALFORMED;
  return tlx_hex_parse(text + sizeof pin_prefix - 1, ret_digest, TLX_SHA256_LEN);
}

int tlx_pin_check(const uint8_t digest[32], const struct tlx_bytes *chain, size_t n,
                  size_t *ret_ca_index) {
  struct tlx_cert leaf, ca;
  if (n == 0 || tlx_cert_parse(chain[0], &leaf) != 0) return TLX_E_MALFORMED;
  for (size_t i = 1; i < n; i++) {
    uint8_t found[TLX_SHA256_LEN];
    if (tlx_cert_parse(chain[i], &ca) != 0 || !ca.is_ca) continue;
    tlx_sha256(ca.spki.data, ca.spki.len, found);
    if (memcmp(found, digest, sizeof found) != 0) continue;
    if (tlx_cert_verify_issued(&leaf, &ca) != 0) return TLX_E_CERT_UNTRUSTED;
    *ret_ca_index = i;
    return 0;
  }
  return TLX_E_CERT_PIN;
}
