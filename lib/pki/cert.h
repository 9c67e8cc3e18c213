// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "pki/key.h"

/* X.509 v3 certificates and PKCS#10 requests of this fleet (RFC 5280, RFC 2986): P-256 with SHA-256
 * only. What we issue passes `openssl verify -x509_strict`. */

/* Bytes of the serial numbers that we give; a parsed certificate may have up to 20. */
#define TLX_SERIAL_LEN 16

enum tlx_cert_profile {
  TLX_CERT_CA,     /* basicConstraints CA:TRUE critical, keyCertSign + cRLSign */
  TLX_CERT_SERVER, /* serverAuth, digitalSignature */
  TLX_CERT_CLIENT, /* clientAuth, digitalSignature */
};

/* What to issue. Everything is borrowed for the call. */
struct tlx_cert_template {
  enum tlx_cert_profile profile;
  uint8_t serial[TLX_SERIAL_LEN];                 /* first byte 0x01–0x7f: tlx_serial_make */
  const char *subject_cn, *issuer_cn;             /* at most 64 bytes each, UTF-8 */
  uint64_t not_before_wall_ms, not_after_wall_ms; /* cut to seconds */
  struct tlx_bytes subject_spki;
  struct tlx_bytes issuer_spki; /* for the authority key id */
  const char *uri;              /* SAN URI; NULL = none */
  const char *const *hosts;     /* SAN DNS names and IP literals */
  size_t n_hosts;
};

/* Random serial number of which the first byte is 0x01 to 0x7f: positive, and always of full
 * length. 0 or a negative errno. */
int tlx_serial_make(uint8_t ret_serial[TLX_SERIAL_LEN]);
/* Signs |template| with |issuer| (RFC 5280) and appends the DER certificate. The caller has decided
 * everything: nothing is checked but the forms. 0, -EINVAL (a name does not fit), TLX_E_CRYPTO,
 * -ENOMEM. */
int tlx_cert_issue(const struct tlx_cert_template *template, const struct tlx_key *issuer,
                   struct tlx_buf *ret_der);

/* A parsed certificate; every field points into the DER that was parsed, or is copied in. */
struct tlx_cert {
  struct tlx_bytes der, tbs, spki, signature, issuer_name, subject_name, alt_names;
  uint8_t serial[20];
  size_t serial_len; /* without a leading zero byte */
  uint64_t not_before_wall_ms, not_after_wall_ms;
  char subject_cn[65];
  char uri[256]; /* the only SAN URI; empty = none */
  unsigned n_uris;
  bool is_ca, has_eku, eku_client_auth, eku_server_auth, has_key_usage, ku_digital_signature,
      ku_cert_sign;
};

/* Parses DER: at most 16 KiB, one element and nothing behind it, version 3, signed with ECDSA and
 * SHA-256. An unknown critical extension, one that comes twice, or a form that is not minimal is
 * TLX_E_MALFORMED. Judges neither signature nor times. |der| must outlive |ret_cert|. Any bytes are
 * safe. */
int tlx_cert_parse(struct tlx_bytes der, struct tlx_cert *ret_cert);
/* Whether |issuer|, a CA that may sign certificates, signed |cert|, and the names match byte for
 * byte. 0 or TLX_E_CERT_UNTRUSTED. Times are not looked at. */
int tlx_cert_verify_issued(const struct tlx_cert *cert, const struct tlx_cert *issuer);
/* 0, TLX_E_CERT_EXPIRED or TLX_E_CERT_NOT_YET_VALID at |wall_ms|; the last second counts as valid
 * (RFC 5280 §4.1.2.5). */
int tlx_cert_check_time(const struct tlx_cert *cert, uint64_t wall_ms);

/* Whether the subject alternative names hold |host|: a DNS name byte for byte, or an IP literal. */
bool tlx_cert_has_host(const struct tlx_cert *cert, const char *host);

/* Makes a PKCS#10 request (RFC 2986) for |key| with CN |cn| and no attributes: whoever issues
 * decides the rest. DER appended. 0, TLX_E_CRYPTO or -ENOMEM. */
int tlx_csr_make(const struct tlx_key *key, const char *cn, struct tlx_buf *ret_der);
/* Parses a request of at most 8 KiB and verifies its signature, the proof that the sender has the
 * key; |ret_spki| borrows from |der|. 0, TLX_E_MALFORMED (also for keys other than P-256),
 * TLX_E_CRYPTO (the signature does not match). Any bytes are safe. */
int tlx_csr_verify(struct tlx_bytes der, struct tlx_bytes *ret_spki);

/* Appends |der| as one PEM block "CERTIFICATE". 0 or a negative error. */
int tlx_cert_format_pem(struct tlx_bytes der, struct tlx_buf *buf);
/* Up to |max| certificates of a PEM text; DER bytes go to |storage| (one after the other), and
 * |ret_list| borrows from it after the call: do not append to |storage| in between. 0,
 * TLX_E_MALFORMED (none, broken, or a block of another kind), TLX_E_LIMIT (more than |max|),
 * -ENOMEM. */
int tlx_cert_parse_pem(const void *pem, size_t len, struct tlx_buf *storage,
                       struct tlx_bytes *ret_list, size_t max, size_t *ret_n);
