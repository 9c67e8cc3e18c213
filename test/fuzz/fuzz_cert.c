// SPDX-License-Identifier: GPL-2.0-or-later
/* Certificates, signing requests, keys and identities (lib/pki) as a peer or a file gives them:
 * what is parsed lies inside its bytes, has one reading, and no input is ever trusted by a CA that
 * did not sign it. The first byte picks the form; the rest is DER, PEM or text. */
#include "common/err.h"
#include "common/text.h"
#include "fuzz.h"
#include "pki/cert.h"
#include "pki/identity.h"
#include "pki/key.h"

#define DAY_MS 86400000ull
#define NOW_WALL_MS (20000 * DAY_MS)

/* A CA whose key no input can have: it is made anew in each process. */
static struct tlx_key *ca_key;
static struct tlx_ca_bundle *ca;

static void end(void) {
  tlx_ca_bundle_free(ca);
  tlx_key_free(ca_key);
}

static void begin(void) {
  struct tlx_buf der = {0}, pem = {0};
  must(tlx_key_new(&ca_key) == 0);
  struct tlx_cert_template template = {.profile = TLX_CERT_CA,
                                       .subject_cn = "Test CA",
                                       .issuer_cn = "Test CA",
                                       .not_before_wall_ms = NOW_WALL_MS - DAY_MS,
                                       .not_after_wall_ms = NOW_WALL_MS + DAY_MS,
                                       .subject_spki = tlx_key_spki(ca_key),
                                       .issuer_spki = tlx_key_spki(ca_key)};
  must(tlx_serial_make(template.serial) == 0);
  must(tlx_cert_issue(&template, ca_key, &der) == 0);
  must(tlx_cert_format_pem((struct tlx_bytes){der.data, der.len}, &pem) == 0);
  must(tlx_ca_bundle_parse_pem(pem.data, pem.len, &ca) == 0);
  tlx_buf_done(&der);
  tlx_buf_done(&pem);
  atexit(end);
}

/* ---- certificates ---- */

static bool is_inside(struct tlx_bytes part, struct tlx_bytes whole) {
  if (part.len == 0) return true;
  return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static void look_at_identity(const char *uri) {
  struct tlx_spiffe id;
  char again[256];
  if (tlx_spiffe_parse(uri, &id) != 0) return;
  must(id.kind != TLX_PRINCIPAL_NONE);
  must(tlx_spiffe_format(&id, again) == 0);
  /* One identity has one spelling: names are compared as text. */
  must(strcmp(again, uri) == 0);
}

static void look_at_cert(const struct tlx_cert *cert, struct tlx_bytes der) {
  char pin[72];
  uint8_t digest[32];
  size_t index;
  must(cert->der.data == der.data && cert->der.len == der.len);
  must(is_inside(cert->tbs, der) && is_inside(cert->signature, der));
  must(is_inside(cert->spki, cert->tbs) && is_inside(cert->alt_names, cert->tbs));
  must(is_inside(cert->issuer_name, cert->tbs) && is_inside(cert->subject_name, cert->tbs));
  must(cert->serial_len >= 1 && cert->serial_len <= sizeof cert->serial);
  must(tlx_text_utf8_valid(cert->subject_cn, strlen(cert->subject_cn)));
  must(strlen(cert->uri) < sizeof cert->uri && (*cert->uri == '\0') == (cert->n_uris != 1));
  must(cert->not_before_wall_ms % 1000 == 0 && cert->not_after_wall_ms % 1000 == 0);
  look_at_identity(cert->uri);
  tlx_cert_has_host(cert, "127.0.0.1");
  tlx_cert_has_host(cert, "::1");
  must(!tlx_cert_has_host(cert, "never.example"));
  /* Not signed by our CA, so never trusted by it, whatever it says of itself. */
  for (int kind = TLX_PRINCIPAL_SENSOR; kind <= TLX_PRINCIPAL_CONSOLE; kind++)
    must(tlx_ca_bundle_check(ca, cert, (enum tlx_principal_kind)kind, NOW_WALL_MS) ==
         TLX_E_CERT_UNTRUSTED);
  tlx_pin_format(cert, pin);
  must(tlx_pin_parse(pin, digest) == 0);
  tlx_pin_format(tlx_ca_bundle_get(ca, 0), pin);
  must(tlx_pin_parse(pin, digest) == 0);
  struct tlx_bytes chain[2] = {der, tlx_ca_bundle_get(ca, 0)->der};
  must(tlx_pin_check(digest, chain, 2, &index) == TLX_E_CERT_UNTRUSTED);
}

static void certificate(struct tlx_bytes bytes) {
  struct tlx_cert cert, other;
  struct tlx_buf pem = {0}, storage = {0};
  uint8_t *copy = malloc(bytes.len + 1);
  must(copy);
  if (bytes.len) memcpy(copy, bytes.data, bytes.len);
  copy[bytes.len] = 0;
  struct tlx_bytes der = {exact_copy(bytes), bytes.len}, list[1];
  if (tlx_cert_parse(der, &cert) == 0) {
    size_t n;
    look_at_cert(&cert, der);
    /* A byte less or more is another thing. */
    must(tlx_cert_parse((struct tlx_bytes){copy, der.len - 1}, &other) == TLX_E_MALFORMED);
    must(tlx_cert_parse((struct tlx_bytes){copy, der.len + 1}, &other) == TLX_E_MALFORMED);
    must(tlx_cert_format_pem(der, &pem) == 0);
    must(tlx_cert_parse_pem(pem.data, pem.len, &storage, list, 1, &n) == 0 && n == 1);
    must(bytes_equal(list[0], der));
  }
  tlx_buf_done(&storage);
  tlx_buf_done(&pem);
  free((void *)der.data);
  free(copy);
}

static void request(struct tlx_bytes bytes) {
  struct tlx_bytes der = {exact_copy(bytes), bytes.len}, spki, again;
  if (tlx_csr_verify(der, &spki) == 0) {
    must(is_inside(spki, der) && spki.len == 91);
    uint8_t *changed = exact_copy(bytes);
    /* The proof covers the key: with another one it is no proof. */
    changed[spki.data - der.data + 60] ^= 1;
    must(tlx_csr_verify((struct tlx_bytes){changed, der.len}, &again) != 0);
    free(changed);
    must(tlx_csr_verify((struct tlx_bytes){der.data, der.len - 1}, &again) == TLX_E_MALFORMED);
  }
  free((void *)der.data);
}

/* ---- PEM ---- */

static void bundle(struct tlx_bytes bytes) {
  char *copy = exact_copy(bytes);
  struct tlx_ca_bundle *parsed = NULL, *again = NULL;
  struct tlx_buf pem = {0};
  if (tlx_ca_bundle_parse_pem(copy, bytes.len, &parsed) == 0) {
    size_t n = tlx_ca_bundle_count(parsed);
    must(n >= 1 && n <= TLX_CA_MAX && !tlx_ca_bundle_get(parsed, n));
    must(tlx_ca_bundle_format_pem(parsed, &pem) == 0);
    must(tlx_ca_bundle_parse_pem(pem.data, pem.len, &again) == 0);
    must(tlx_ca_bundle_count(again) == n);
    for (size_t i = 0; i < n; i++) {
      const struct tlx_cert *cert = tlx_ca_bundle_get(parsed, i);
      must(cert->is_ca && bytes_equal(cert->der, tlx_ca_bundle_get(again, i)->der));
      look_at_cert(cert, cert->der);
    }
  } else {
    must(!parsed);
  }
  tlx_buf_done(&pem);
  tlx_ca_bundle_free(again);
  tlx_ca_bundle_free(parsed);
  free(copy);
}

static void private_key(struct tlx_bytes bytes) {
  char *copy = exact_copy(bytes);
  struct tlx_key *key = NULL, *again = NULL;
  struct tlx_buf pem = {0}, signature = {0};
  if (tlx_key_parse_pem(copy, bytes.len, &key) == 0) {
    uint8_t digest[32] = "a digest";
    must(tlx_key_format_pem(key, &pem) == 0);
    must(tlx_key_parse_pem(pem.data, pem.len, &again) == 0);
    must(bytes_equal(tlx_key_spki(key), tlx_key_spki(again)));
    /* It is a whole pair: what it signs can be checked. */
    must(tlx_key_sign(key, digest, &signature) == 0);
    struct tlx_bytes signed_bytes = {signature.data, signature.len};
    must(tlx_spki_verify(tlx_key_spki(again), digest, signed_bytes) == 0);
    digest[0] ^= 1;
    must(tlx_spki_verify(tlx_key_spki(again), digest, signed_bytes) == TLX_E_CRYPTO);
  } else {
    must(!key);
  }
  tlx_buf_done(&signature);
  tlx_buf_done(&pem);
  tlx_key_free(again);
  tlx_key_free(key);
  free(copy);
}

/* ---- texts ---- */

static void identity(struct tlx_bytes bytes) {
  char *text = exact_text(bytes);
  uint8_t digest[32];
  char hex[65];
  look_at_identity(text);
  if (tlx_pin_parse(text, digest) == 0) {
    tlx_hex_format(digest, sizeof digest, hex);
    must(strncmp(text, "sha256:", 7) == 0 && strcasecmp(text + 7, hex) == 0);
  }
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const forms[])(struct tlx_bytes) = {certificate, request, bundle, private_key,
                                                    identity};
  struct input input = {data, size};
  if (!ca) begin();
  uint8_t form = input_u8(&input);
  forms[form % (sizeof forms / sizeof *forms)]((struct tlx_bytes){input.at, input.left});
  return 0;
}
