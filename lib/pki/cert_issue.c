// SPDX-License-Identifier: GPL-2.0-or-later
/* Writes certificates (RFC 5280). The library's generator leaves basicConstraints non-critical,
 * which strict verifiers refuse. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"
#include "pki/cert.h"
#include "pki/cert_int.h"
#include "pki/der.h"
#include "pki/digest.h"
#include "pki/oid.h"

#define CN_MAX 64u
#define KEY_ID_LEN 20u
#define SPKI_POINT_LEN 65u

void tlx_x509_add_algorithm(struct tlx_buf *buf) {
  size_t mark = tlx_der_begin(buf, 0x30);
  tlx_der_add_oid(buf, OID_ECDSA_SHA256);
  tlx_der_end(buf, mark);
}

void tlx_x509_add_name(struct tlx_buf *buf, const char *cn) {
  size_t name = tlx_der_begin(buf, 0x30), set = tlx_der_begin(buf, 0x31),
         pair = tlx_der_begin(buf, 0x30);
  tlx_der_add_oid(buf, OID_COMMON_NAME);
  tlx_der_add(buf, 0x0c, cn, strlen(cn));
  tlx_der_end(buf, pair);
  tlx_der_end(buf, set);
  tlx_der_end(buf, name);
}

int tlx_x509_sign(const struct tlx_buf *body, const struct tlx_key *key, struct tlx_buf *buf) {
  uint8_t digest[TLX_SHA256_LEN];
  struct tlx_buf signature = {0};
  if (body->err) return body->err;
  tlx_sha256(body->data, body->len, digest);
  int err = tlx_key_sign(key, digest, &signature);
  if (!err) {
    size_t mark = tlx_der_begin(buf, 0x30);
    tlx_buf_add(buf, body->data, body->len);
    tlx_x509_add_algorithm(buf);
    tlx_der_add_bits(buf, signature.data, signature.len);
    tlx_der_end(buf, mark);
    err = buf->err;
  }
  tlx_buf_done(&signature);
  return err;
}

/* RFC 7093 §2, method 1: the first 160 bits of SHA-256 over the public point. A name for the key. */
static int key_id(struct tlx_bytes spki, uint8_t out[KEY_ID_LEN]) {
  uint8_t digest[TLX_SHA256_LEN];
  if (spki.len < SPKI_POINT_LEN) return -EINVAL;
  tlx_sha256(spki.data + spki.len - SPKI_POINT_LEN, SPKI_POINT_LEN, digest);
  memcpy(out, digest, KEY_ID_LEN);
  return 0;
}

/* Opens an extension up to its content. */
struct extension {
  size_t sequence, octets;
};
static struct extension begin_extension(struct tlx_buf *buf, const char *oid, bool critical) {
  struct extension extension = {.sequence = tlx_der_begin(buf, 0x30)};
  tlx_der_add_oid(buf, oid);
  if (critical) tlx_der_add_bool(buf, 1);
  extension.octets = tlx_der_begin(buf, 0x04);
  return extension;
}
static void end_extension(struct tlx_buf *buf, struct extension extension) {
  tlx_der_end(buf, extension.octets);
  tlx_der_end(buf, extension.sequence);
}

static void add_basic_constraints(struct tlx_buf *buf, bool is_ca) {
  struct extension extension = begin_extension(buf, OID_BASIC_CONSTRAINTS, true);
  size_t mark = tlx_der_begin(buf, 0x30);
  /* DER leaves the default (false) out. */
  if (is_ca) tlx_der_add_bool(buf, 1);
  tlx_der_end(buf, mark);
  end_extension(buf, extension);
}

static void add_key_usage(struct tlx_buf *buf, bool is_ca) {
  /* Bit 0 digitalSignature; bits 5 and 6 keyCertSign and cRLSign; first byte: unused bits. */
  static const uint8_t leaf[] = {7, 0x80}, ca[] = {1, 0x06};
  struct extension extension = begin_extension(buf, OID_KEY_USAGE, true);
  tlx_der_add(buf, 0x03, is_ca ? ca : leaf, 2);
  end_extension(buf, extension);
}

static void add_purpose(struct tlx_buf *buf, const char *oid) {
  struct extension extension = begin_extension(buf, OID_EXT_KEY_USAGE, false);
  size_t mark = tlx_der_begin(buf, 0x30);
  tlx_der_add_oid(buf, oid);
  tlx_der_end(buf, mark);
  end_extension(buf, extension);
}

static void add_alt_names(struct tlx_buf *buf, const struct tlx_cert_template *template) {
  if (!template->uri && template->n_hosts == 0) return;
  struct extension extension = begin_extension(buf, OID_SUBJECT_ALT_NAME, false);
  size_t mark = tlx_der_begin(buf, 0x30);
  if (template->uri) tlx_der_add(buf, 0x86, template->uri, strlen(template->uri));
  for (size_t i = 0; i < template->n_hosts; i++) {
    uint8_t address[16];
    if (inet_pton(AF_INET, template->hosts[i], address) == 1)
      tlx_der_add(buf, 0x87, address, 4);
    else if (inet_pton(AF_INET6, template->hosts[i], address) == 1)
      tlx_der_add(buf, 0x87, address, 16);
    else
      tlx_der_add(buf, 0x82, template->hosts[i], strlen(template->hosts[i]));
  }
  tlx_der_end(buf, mark);
  end_extension(buf, extension);
}

static int add_key_ids(struct tlx_buf *buf, const struct tlx_cert_template *template) {
  uint8_t subject[KEY_ID_LEN], issuer[KEY_ID_LEN];
  int err = key_id(template->subject_spki, subject);
  if (!err) err = key_id(template->issuer_spki, issuer);
  if (err) return err;
  struct extension extension = begin_extension(buf, OID_SUBJECT_KEY_ID, false);
  tlx_der_add(buf, 0x04, subject, sizeof subject);
  end_extension(buf, extension);
  extension = begin_extension(buf, OID_AUTHORITY_KEY_ID, false);
  size_t mark = tlx_der_begin(buf, 0x30);
  tlx_der_add(buf, 0x80, issuer, sizeof issuer);
  tlx_der_end(buf, mark);
  end_extension(buf, extension);
  return 0;
}

static bool name_fits(const char *cn) {
  size_t len = cn ? strlen(cn) : 0;
  return len >= 1 && len <= CN_MAX && tlx_text_utf8_valid(cn, len);
}

/* IA5String: what a URI or a host name may hold. */
static bool ascii_fits(const char *text) {
  size_t len = strlen(text);
  for (size_t i = 0; i < len; i++)
    if (text[i] <= 0x20 || text[i] > 0x7e) return false;
  return len >= 1 && len <= 255;
}

static int check(const struct tlx_cert_template *template) {
  if (!name_fits(template->subject_cn) || !name_fits(template->issuer_cn)) return -EINVAL;
  if (template->serial[0] < 0x01 || template->serial[0] > 0x7f) return -EINVAL;
  if (template->not_before_wall_ms > template->not_after_wall_ms) return -EINVAL;
  if (template->uri && !ascii_fits(template->uri)) return -EINVAL;
  for (size_t i = 0; i < template->n_hosts; i++)
    if (!ascii_fits(template->hosts[i])) return -EINVAL;
  return 0;
}

int tlx_cert_issue(const struct tlx_cert_template *template, const struct tlx_key *issuer,
                   struct tlx_buf *ret_der) {
  static const uint8_t version_3 = 2;
  bool is_ca = template->profile == TLX_CERT_CA;
  struct tlx_buf tbs = {0};
  int err = check(template);
  if (err) return err;
  size_t mark = tlx_der_begin(&tbs, 0x30), version = tlx_der_begin(&tbs, 0xa0);
  tlx_der_add_uint(&tbs, &version_3, 1);
  tlx_der_end(&tbs, version);
  tlx_der_add_uint(&tbs, template->serial, sizeof template->serial);
  tlx_x509_add_algorithm(&tbs);
  tlx_x509_add_name(&tbs, template->issuer_cn);
  size_t validity = tlx_der_begin(&tbs, 0x30);
  tlx_der_add_time(&tbs, template->not_before_wall_ms);
  tlx_der_add_time(&tbs, template->not_after_wall_ms);
  tlx_der_end(&tbs, validity);
  tlx_x509_add_name(&tbs, template->subject_cn);
  tlx_buf_add(&tbs, template->subject_spki.data, template->subject_spki.len);
  size_t wrapper = tlx_der_begin(&tbs, 0xa3), extensions = tlx_der_begin(&tbs, 0x30);
  add_basic_constraints(&tbs, is_ca);
  add_key_usage(&tbs, is_ca);
  if (!is_ca)
    add_purpose(&tbs, template->profile == TLX_CERT_SERVER ? OID_SERVER_AUTH : OID_CLIENT_AUTH);
  add_alt_names(&tbs, template);
  err = add_key_ids(&tbs, template);
  tlx_der_end(&tbs, extensions);
  tlx_der_end(&tbs, wrapper);
  tlx_der_end(&tbs, mark);
  if (!err) err = tlx_x509_sign(&tbs, issuer, ret_der);
  tlx_buf_done(&tbs);
  return err;
}

int tlx_serial_make(uint8_t ret_serial[TLX_SERIAL_LEN]) {
  uint8_t serial[TLX_SERIAL_LEN];
  int err;
  do {
    err = tlx_random(serial, sizeof serial);
    serial[0] &= 0x7f;
  } while (!err && serial[0] == 0);
  if (!err) memcpy(ret_serial, serial, sizeof serial);
  return err;
}
