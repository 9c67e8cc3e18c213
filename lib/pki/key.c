// SPDX-License-Identifier: GPL-2.0-or-later
#include "pki/key.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

#include "common/err.h"
#include "common/file.h"
#include "pki/der.h"
#include "pki/oid.h"
#include "pki/pem.h"

#define SCALAR_LEN 32u
#define POINT_LEN 65u
#define SPKI_LEN 91u
#define KEY_FILE_MAX (16u << 10)

/* SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480): always the same. */
static const uint8_t spki_head[SPKI_LEN - POINT_LEN] = {
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};

struct tlx_key {
  ecc_key ecc;
  WC_RNG rng;
  uint8_t spki[SPKI_LEN];
};

static int alloc(struct tlx_key **ret_key) {
  struct tlx_key *key = calloc(1, sizeof *key);
  if (!key) return -ENOMEM;
  if (wc_ecc_init(&key->ecc) != 0) {
    free(key);
    return TLX_E_CRYPTO;
  }
  if (wc_InitRng(&key->rng) != 0) {
    wc_ecc_free(&key->ecc);
    free(key);
    return TLX_E_CRYPTO;
  }
  /* Blinding against timing, where the build has it. */
  (void)wc_ecc_set_rng(&key->ecc, &key->rng);
  *ret_key = key;
  return 0;
}

void tlx_key_free(struct tlx_key *key) {
  if (!key) return;
  wc_ecc_free(&key->ecc);
  wc_FreeRng(&key->rng);
  tlx_bytes_wipe(key, sizeof *key);
  free(key);
}

static int export_spki(struct tlx_key *key) {
  word32 len = POINT_LEN;
  memcpy(key->spki, spki_head, sizeof spki_head);
  return wc_ecc_export_x963(&key->ecc, key->spki + sizeof spki_head, &len) == 0 && len == POINT_LEN
             ? 0
             : TLX_E_CRYPTO;
}

int tlx_key_new(struct tlx_key **ret_key) {
  TLX_CLEANUP(tlx_key_free_p) struct tlx_key *key = NULL;
  int err = alloc(&key);
  if (err) return err;
  if (wc_ecc_make_key_ex(&key->rng, SCALAR_LEN, &key->ecc, ECC_SECP256R1) != 0) return TLX_E_CRYPTO;
  err = export_spki(key);
  if (!err) *ret_key = TLX_TAKE_PTR(key);
  return err;
}

/* ECPrivateKey (RFC 5915). */
static int parse_sec1(struct tlx_bytes der, struct tlx_key **ret_key) {
  TLX_CLEANUP(tlx_key_free_p) struct tlx_key *key = NULL;
  struct tlx_reader outer, reader;
  struct tlx_bytes content, version, scalar;
  tlx_reader_init(&outer, der.data, der.len);
  tlx_der_read(&outer, 0x30, &content);
  tlx_reader_init(&reader, content.data, content.len);
  tlx_der_read(&reader, 0x02, &version);
  tlx_der_read(&reader, 0x04, &scalar);
  if (outer.err || reader.err || scalar.len != SCALAR_LEN || version.len != 1 ||
      version.data[0] != 1)
    return TLX_E_MALFORMED;
  int err = alloc(&key);
  if (err) return err;
  if (wc_ecc_import_private_key_ex(scalar.data, SCALAR_LEN, NULL, 0, &key->ecc, ECC_SECP256R1) != 0)
    return TLX_E_MALFORMED;
  /* The public half is computed, not believed. */
  if (wc_ecc_make_pub_ex(&key->ecc, NULL, &key->rng) != 0) return TLX_E_CRYPTO;
  err = export_spki(key);
  if (!err) *ret_key = TLX_TAKE_PTR(key);
  return err;
}

static void add_algorithm(struct tlx_buf *buf) {
  size_t mark = tlx_der_begin(buf, 0x30);
  tlx_der_add_oid(buf, OID_EC_PUBLIC_KEY);
  tlx_der_add_oid(buf, OID_P256);
  tlx_der_end(buf, mark);
}

/* PrivateKeyInfo (RFC 5208). */
static int parse_pkcs8(struct tlx_bytes der, struct tlx_key **ret_key) {
  struct tlx_reader outer, reader;
  struct tlx_bytes content, version, algorithm, whole, inner;
  struct tlx_buf wanted = {0};
  uint8_t tag;
  tlx_reader_init(&outer, der.data, der.len);
  tlx_der_read(&outer, 0x30, &content);
  tlx_reader_init(&reader, content.data, content.len);
  tlx_der_read(&reader, 0x02, &version);
  tlx_der_read_any(&reader, &tag, &algorithm, &whole);
  tlx_der_read(&reader, 0x04, &inner);
  if (outer.err || reader.err) return TLX_E_MALFORMED;
  add_algorithm(&wanted);
  bool p256 =
      !wanted.err && wanted.len == whole.len && memcmp(wanted.data, whole.data, whole.len) == 0;
  tlx_buf_done(&wanted);
  return p256 ? parse_sec1(inner, ret_key) : TLX_E_MALFORMED;
}

int tlx_key_parse_pem(const void *pem, size_t len, struct tlx_key **ret_key) {
  const char *text = pem;
  struct tlx_buf der = {0};
  char label[64];
  int err;
  do {
    der.len = 0;
    err = tlx_pem_next(&text, &len, label, &der);
    /* openssl writes the curve into a block of its own in front of the key. */
  } while (err == 0 && strcmp(label, "EC PARAMETERS") == 0);
  if (err == -ENOENT) err = TLX_E_MALFORMED;
  if (err == 0) {
    struct tlx_bytes bytes = {der.data, der.len};
    err = TLX_E_MALFORMED;
    if (strcmp(label, "PRIVATE KEY") == 0) err = parse_pkcs8(bytes, ret_key);
    if (strcmp(label, "EC PRIVATE KEY") == 0) err = parse_sec1(bytes, ret_key);
  }
  tlx_bytes_wipe(der.data, der.capacity);
  tlx_buf_done(&der);
  return err;
}

int tlx_key_format_der(const struct tlx_key *key, struct tlx_buf *buf) {
  uint8_t scalar[SCALAR_LEN];
  word32 len = sizeof scalar;
  static const uint8_t zero = 0, one = 1;
  /* The library does not know const; it only reads. */
  if (wc_ecc_export_private_only((ecc_key *)&key->ecc, scalar, &len) != 0 || len != SCALAR_LEN)
    return TLX_E_CRYPTO;
  size_t info = tlx_der_begin(buf, 0x30);
  tlx_der_add_uint(buf, &zero, 1);
  add_algorithm(buf);
  size_t octets = tlx_der_begin(buf, 0x04), sec1 = tlx_der_begin(buf, 0x30);
  tlx_der_add_uint(buf, &one, 1);
  tlx_der_add(buf, 0x04, scalar, sizeof scalar);
  size_t public_key = tlx_der_begin(buf, 0xa1);
  tlx_der_add_bits(buf, key->spki + sizeof spki_head, POINT_LEN);
  tlx_der_end(buf, public_key);
  tlx_der_end(buf, sec1);
  tlx_der_end(buf, octets);
  tlx_der_end(buf, info);
  tlx_bytes_wipe(scalar, sizeof scalar);
  return buf->err;
}

int tlx_key_format_pem(const struct tlx_key *key, struct tlx_buf *buf) {
  struct tlx_buf der = {0};
  int err = tlx_key_format_der(key, &der);
  if (!err) err = tlx_pem_format("PRIVATE KEY", (struct tlx_bytes){der.data, der.len}, buf);
  tlx_bytes_wipe(der.data, der.capacity);
  tlx_buf_done(&der);
  return err;
}

int tlx_key_load(const char *path, struct tlx_key **ret_key) {
  struct tlx_buf pem = {0};
  int err = tlx_file_read_private(path, KEY_FILE_MAX, &pem);
  if (!err) err = tlx_key_parse_pem(pem.data, pem.len, ret_key);
  tlx_bytes_wipe(pem.data, pem.capacity);
  tlx_buf_done(&pem);
  return err;
}

int tlx_key_save(const struct tlx_key *key, const char *path) {
  struct tlx_buf pem = {0};
  int err = tlx_key_format_pem(key, &pem);
  if (!err) err = tlx_file_create_atomic(path, pem.data, pem.len, 0600);
  tlx_bytes_wipe(pem.data, pem.capacity);
  tlx_buf_done(&pem);
  return err;
}

struct tlx_bytes tlx_key_spki(const struct tlx_key *key) {
  return (struct tlx_bytes){key->spki, sizeof key->spki};
}

int tlx_key_sign(const struct tlx_key *key, const uint8_t digest[32], struct tlx_buf *buf) {
  uint8_t signature[ECC_MAX_SIG_SIZE];
  word32 len = sizeof signature;
  struct tlx_key *mutable_key = (struct tlx_key *)key; /* the random generator moves on */
  if (wc_ecc_sign_hash(digest, 32, signature, &len, &mutable_key->rng, &mutable_key->ecc) != 0)
    return TLX_E_CRYPTO;
  tlx_buf_add(buf, signature, len);
  return buf->err;
}

int tlx_spki_verify(struct tlx_bytes spki, const uint8_t digest[32], struct tlx_bytes signature) {
  if (spki.len != SPKI_LEN || memcmp(spki.data, spki_head, sizeof spki_head) != 0)
    return TLX_E_MALFORMED;
  if (signature.len < 8 || signature.len > ECC_MAX_SIG_SIZE) return TLX_E_CRYPTO;
  ecc_key ecc;
  int match = 0;
  if (wc_ecc_init(&ecc) != 0) return TLX_E_CRYPTO;
  int err = TLX_E_MALFORMED;
  /* A point that is not on the curve is refused here. */
  if (wc_ecc_import_x963_ex(spki.data + sizeof spki_head, POINT_LEN, &ecc, ECC_SECP256R1) == 0 &&
      wc_ecc_check_key(&ecc) == 0) {
    err =
        wc_ecc_verify_hash(signature.data, (word32)signature.len, digest, 32, &match, &ecc) == 0 &&
                match == 1
            ? 0
            : TLX_E_CRYPTO;
  }
  wc_ecc_free(&ecc);
  return err;
}
