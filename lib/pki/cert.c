// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads certificates (RFC 5280): only what this fleet decides by; anything critical that is not
 * understood is refused. */
#include "pki/cert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "common/err.h"
#include "common/text.h"
#include "pki/der.h"
#include "pki/digest.h"
#include "pki/oid.h"
#include "pki/pem.h"

#define CERT_MAX (16u << 10)

static bool is_oid(struct tlx_bytes content, const char *dotted) {
  uint8_t data[32];
  struct tlx_buf wanted = {.data = NULL, .cap = sizeof data};
  tlx_der_add_oid(&wanted, dotted);
  bool ret = !wanted.err && content.len == wanted.len - 2 &&
             memcmp(content.data, wanted.data + 2, content.len) == 0;
  tlx_buf_done(&wanted);
  return ret;
}

/* The common name, if there is one that fits; other attributes are skipped. */
static int parse_cn(struct tlx_bytes name, char *out, size_t size) {
  struct tlx_reader sets;
  tlx_reader_init(&sets, name.data, name.len);
  while (tlx_reader_left(&sets)) {
    struct tlx_bytes set, pair, oid, value, whole;
    struct tlx_reader reader;
    uint8_t tag;
    tlx_der_read(&sets, 0x31, &set);
    tlx_reader_init(&reader, set.data, set.len);
    tlx_der_read(&reader, 0x30, &pair);
    if (sets.err || reader.err) return TLX_E_MALFORMED;
    tlx_reader_init(&reader, pair.data, pair.len);
    tlx_der_read(&reader, 0x06, &oid);
    tlx_der_read_any(&reader, &tag, &value, &whole);
    if (reader.err) return TLX_E_MALFORMED;
    if (!is_oid(oid, OID_COMMON_NAME)) continue;
    /* UTF8String, PrintableString or IA5String. */
    if (tag != 0x0c && tag != 0x13 && tag != 0x16) return TLX_E_MALFORMED;
    if (value.len >= size || !tlx_text_utf8_valid((const char *)value.data, value.len))
      return TLX_E_MALFORMED;
    memcpy(out, value.data, value.len);
    out[value.len] = '\0';
  }
  return sets.err;
}

static int parse_basic_constraints(struct tlx_bytes value, struct tlx_cert *cert) {
  struct tlx_reader reader;
  struct tlx_bytes content, flag;
  tlx_reader_init(&reader, value.data, value.len);
  tlx_der_read(&reader, 0x30, &content);
  if (reader.err) return TLX_E_MALFORMED;
  tlx_reader_init(&reader, content.data, content.len);
  if (tlx_der_peek(&reader) == 0x01) {
    tlx_der_read(&reader, 0x01, &flag);
    if (reader.err || flag.len != 1) return TLX_E_MALFORMED;
    cert->is_ca = flag.data[0] != 0;
  }
  return 0;
}

static int parse_key_usage(struct tlx_bytes value, struct tlx_cert *cert) {
  struct tlx_reader reader;
  struct tlx_bytes bits;
  tlx_reader_init(&reader, value.data, value.len);
  tlx_der_read(&reader, 0x03, &bits);
  if (reader.err || bits.len < 2 || bits.data[0] > 7) return TLX_E_MALFORMED;
  cert->has_key_usage = true;
  cert->ku_digital_signature = bits.data[1] & 0x80;
  cert->ku_cert_sign = bits.data[1] & 0x04;
  return 0;
}

static int parse_purposes(struct tlx_bytes value, struct tlx_cert *cert) {
  struct tlx_reader reader;
  struct tlx_bytes content, oid;
  tlx_reader_init(&reader, value.data, value.len);
  tlx_der_read(&reader, 0x30, &content);
  if (reader.err) return TLX_E_MALFORMED;
  cert->has_eku = true;
  tlx_reader_init(&reader, content.data, content.len);
  while (tlx_reader_left(&reader)) {
    tlx_der_read(&reader, 0x06, &oid);
    if (reader.err) return TLX_E_MALFORMED;
    if (is_oid(oid, OID_CLIENT_AUTH)) cert->eku_client_auth = true;
    if (is_oid(oid, OID_SERVER_AUTH)) cert->eku_server_auth = true;
  }
  return reader.err;
}

static int parse_alt_names(struct tlx_bytes value, struct tlx_cert *cert) {
  struct tlx_reader reader;
  struct tlx_bytes content, name, whole;
  uint8_t tag;
  tlx_reader_init(&reader, value.data, value.len);
  tlx_der_read(&reader, 0x30, &content);
  if (reader.err) return TLX_E_MALFORMED;
  cert->alt_names = content;
  tlx_reader_init(&reader, content.data, content.len);
  while (tlx_reader_left(&reader)) {
    tlx_der_read_any(&reader, &tag, &name, &whole);
    if (reader.err) return TLX_E_MALFORMED;
    if (tag != 0x86) continue;
    if (name.len == 0 || name.len >= sizeof cert->uri || memchr(name.data, 0, name.len))
      return TLX_E_MALFORMED;
    /* Two URIs would be two identities: the count is kept, the text only of a single one. */
    if (cert->n_uris++ == 0) {
      memcpy(cert->uri, name.data, name.len);
      cert->uri[name.len] = '\0';
    } else {
      cert->uri[0] = '\0';
    }
  }
  return reader.err;
}

static const struct {
  const char *oid;
  int (*parse)(struct tlx_bytes value,
               struct tlx_cert *cert); /* NULL = known, nothing to decide by */
} extensions[] = {
    {OID_BASIC_CONSTRAINTS, parse_basic_constraints},
    {OID_KEY_USAGE, parse_key_usage},
    {OID_EXT_KEY_USAGE, parse_purposes},
    {OID_SUBJECT_ALT_NAME, parse_alt_names},
    {OID_SUBJECT_KEY_ID, NULL},
    {OID_AUTHORITY_KEY_ID, NULL},
};
#define N_EXTENSIONS (sizeof extensions / sizeof *extensions)

static int parse_extensions(struct tlx_bytes list, struct tlx_cert *cert) {
  struct tlx_reader reader;
  unsigned seen = 0;
  tlx_reader_init(&reader, list.data, list.len);
  while (tlx_reader_left(&reader)) {
    struct tlx_bytes content, oid, flag = {0}, value;
    struct tlx_reader inner;
    tlx_der_read(&reader, 0x30, &content);
    if (reader.err) return TLX_E_MALFORMED;
    tlx_reader_init(&inner, content.data, content.len);
    tlx_der_read(&inner, 0x06, &oid);
    if (tlx_der_peek(&inner) == 0x01) tlx_der_read(&inner, 0x01, &flag);
    tlx_der_read(&inner, 0x04, &value);
    if (inner.err || tlx_reader_left(&inner)) return TLX_E_MALFORMED;
    size_t i = 0;
    while (i < N_EXTENSIONS && !is_oid(oid, extensions[i].oid))
      i++;
    if (i == N_EXTENSIONS) {
      if (flag.len == 1 && flag.data[0]) return TLX_E_MALFORMED;
      continue;
    }
    /* RFC 5280 §4.2: at most once each. */
    if (seen & 1u << i) return TLX_E_MALFORMED;
    seen |= 1u << i;
    int err = extensions[i].parse ? extensions[i].parse(value, cert) : 0;
    if (err) return err;
  }
  return reader.err;
}

static int parse_tbs(struct tlx_cert *cert) {
  struct tlx_reader reader, inner;
  struct tlx_bytes content, whole, serial, validity, wrapper, list;
  uint8_t tag;
  tlx_reader_init(&reader, cert->tbs.data, cert->tbs.len);
  tlx_der_read(&reader, 0x30, &content);
  if (reader.err) return TLX_E_MALFORMED;
  tlx_reader_init(&reader, content.data, content.len);
  tlx_der_read(&reader, 0xa0,
               &wrapper); /* only version 3 has extensions, and only it is accepted */
  tlx_der_read(&reader, 0x02, &serial);
  tlx_der_read_any(&reader, &tag, &content, &whole); /* signature algorithm: checked by verifying */
  tlx_der_read_any(&reader, &tag, &content, &cert->issuer_name);
  struct tlx_bytes issuer = content;
  tlx_der_read(&reader, 0x30, &validity);
  tlx_der_read_any(&reader, &tag, &content, &cert->subject_name);
  struct tlx_bytes subject = content;
  tlx_der_read_any(&reader, &tag, &content, &cert->spki);
  if (reader.err || issuer.data == NULL) return TLX_E_MALFORMED;
  static const uint8_t version_3[] = {0x02, 0x01, 0x02};
  if (wrapper.len != sizeof version_3 || memcmp(wrapper.data, version_3, sizeof version_3) != 0)
    return TLX_E_MALFORMED;
  while (serial.len > 1 && serial.data[0] == 0) {
    serial.data++;
    serial.len--;
  }
  if (serial.len == 0 || serial.len > sizeof cert->serial) return TLX_E_MALFORMED;
  memcpy(cert->serial, serial.data, serial.len);
  cert->serial_len = serial.len;
  tlx_reader_init(&inner, validity.data, validity.len);
  tlx_der_read_time(&inner, &cert->not_before_wall_ms);
  tlx_der_read_time(&inner, &cert->not_after_wall_ms);
  if (inner.err || tlx_reader_left(&inner)) return TLX_E_MALFORMED;
  int err = parse_cn(subject, cert->subject_cn, sizeof cert->subject_cn);
  if (err || tlx_reader_left(&reader) == 0) return err;
  tlx_der_read(&reader, 0xa3, &wrapper); /* unique ids ([1], [2]) are refused: nobody writes them */
  if (reader.err || tlx_reader_left(&reader)) return TLX_E_MALFORMED;
  tlx_reader_init(&inner, wrapper.data, wrapper.len);
  tlx_der_read(&inner, 0x30, &list);
  if (inner.err || tlx_reader_left(&inner)) return TLX_E_MALFORMED;
  return parse_extensions(list, cert);
}

int tlx_cert_parse(struct tlx_bytes der, struct tlx_cert *ret_cert) {
  struct tlx_cert cert = {.der = der};
  struct tlx_reader reader, inner;
  struct tlx_bytes content, whole, algorithm, bits, oid;
  uint8_t tag;
  if (der.len > CERT_MAX) return TLX_E_MALFORMED;
  tlx_reader_init(&reader, der.data, der.len);
  tlx_der_read(&reader, 0x30, &content);
  if (reader.err || tlx_reader_left(&reader)) return TLX_E_MALFORMED;
  tlx_reader_init(&reader, content.data, content.len);
  tlx_der_read_any(&reader, &tag, &content, &cert.tbs);
  tlx_der_read(&reader, 0x30, &algorithm);
  tlx_der_read(&reader, 0x03, &bits);
  if (reader.err || tlx_reader_left(&reader) || bits.len < 2 || bits.data[0] != 0)
    return TLX_E_MALFORMED;
  tlx_reader_init(&inner, algorithm.data, algorithm.len);
  tlx_der_read_any(&inner, &tag, &oid, &whole);
  if (inner.err || tag != 0x06 || !is_oid(oid, OID_ECDSA_SHA256)) return TLX_E_MALFORMED;
  cert.signature = (struct tlx_bytes){bits.data + 1, bits.len - 1};
  int err = parse_tbs(&cert);
  if (!err) *ret_cert = cert;
  return err;
}

int tlx_cert_verify_issued(const struct tlx_cert *cert, const struct tlx_cert *issuer) {
  uint8_t digest[TLX_SHA256_LEN];
  if (!issuer->is_ca || (issuer->has_key_usage && !issuer->ku_cert_sign))
    return TLX_E_CERT_UNTRUSTED;
  if (cert->issuer_name.len != issuer->subject_name.len ||
      memcmp(cert->issuer_name.data, issuer->subject_name.data, cert->issuer_name.len) != 0)
    return TLX_E_CERT_UNTRUSTED;
  tlx_sha256(cert->tbs.data, cert->tbs.len, digest);
  return tlx_spki_verify(issuer->spki, digest, cert->signature) == 0 ? 0 : TLX_E_CERT_UNTRUSTED;
}

int tlx_cert_check_time(const struct tlx_cert *cert, uint64_t wall_ms) {
  if (wall_ms < cert->not_before_wall_ms) return TLX_E_CERT_NOT_YET_VALID;
  /* notAfter is the last second that is still valid. */
  if (wall_ms >= cert->not_after_wall_ms + 1000) return TLX_E_CERT_EXPIRED;
  return 0;
}

int tlx_cert_format_pem(struct tlx_bytes der, struct tlx_buf *buf) {
  return tlx_pem_format("CERTIFICATE", der, buf);
}

int tlx_cert_parse_pem(const void *pem, size_t len, struct tlx_buf *storage,
                       struct tlx_bytes *ret_list, size_t max, size_t *ret_n) {
  const char *text = pem;
  char label[64];
  size_t start = storage->len, n = 0, offset = start;
  int err;
  /* The storage may move while it grows: the list is made at the end. */
  while ((err = tlx_pem_next(&text, &len, label, storage)) == 0) {
    if (strcmp(label, "CERTIFICATE") != 0) return TLX_E_MALFORMED;
    if (n == max) return TLX_E_LIMIT;
    ret_list[n++] = (struct tlx_bytes){NULL, storage->len - offset};
    offset = storage->len;
  }
  if (err != -ENOENT) return err;
  if (n == 0) return TLX_E_MALFORMED;
  offset = start;
  for (size_t i = 0; i < n; i++) {
    ret_list[i].data = storage->data + offset;
    offset += ret_list[i].len;
  }
  *ret_n = n;
  return 0;
}

bool tlx_cert_has_host(const struct tlx_cert *cert, const char *host) {
  struct tlx_reader reader;
  struct tlx_bytes name, whole;
  uint8_t tag, address[16], wanted_tag = 0x82; /* dNSName */
  const void *wanted = host;
  size_t len = strlen(host);
  if (inet_pton(AF_INET, host, address) == 1)
    len = 4, wanted = address, wanted_tag = 0x87;
  else if (inet_pton(AF_INET6, host, address) == 1)
    len = 16, wanted = address, wanted_tag = 0x87;
  tlx_reader_init(&reader, cert->alt_names.data, cert->alt_names.len);
  while (tlx_reader_left(&reader)) {
    tlx_der_read_any(&reader, &tag, &name, &whole);
    if (reader.err) return false;
    if (tag == wanted_tag && name.len == len && memcmp(name.data, wanted, len) == 0) return true;
  }
  return false;
}
