// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "pki/cert.h"

/* Who a certificate speaks for, and whom we trust to say so. */

/* Whom a URI names. */
enum tlx_principal_kind {
  TLX_PRINCIPAL_NONE,
  TLX_PRINCIPAL_SENSOR,
  TLX_PRINCIPAL_OPERATOR,
  TLX_PRINCIPAL_CONSOLE
};

/* spiffe://<fleet_id>/sensor/<id>, …/operator/<name>, …/console. */
struct tlx_spiffe {
  enum tlx_principal_kind kind;
  char fleet_id[32];
  char name[64]; /* sensor id or operator name; empty for the Console */
};
/* Parses the only three forms there are. 0 or TLX_E_MALFORMED; ids and names are checked by their
 * rules (common/text.h). */
int tlx_spiffe_parse(const char *uri, struct tlx_spiffe *ret_id);
/* Writes that form; |out| of 256. 0, or -EINVAL when a part breaks its rule. */
int tlx_spiffe_format(const struct tlx_spiffe *id, char *out);

/* The CA certificates that are trusted, at most 8 (now, and the next one staged). */
#define TLX_CA_MAX 8
struct tlx_ca_bundle;

/* Reads 1 to TLX_CA_MAX certificates; the bundle has its own copy, the caller frees it. 0, -ENOMEM,
 * TLX_E_MALFORMED, TLX_E_LIMIT, TLX_E_CERT_PURPOSE (one is no CA). */
int tlx_ca_bundle_parse_pem(const void *pem, size_t len, struct tlx_ca_bundle **ret_bundle);
/* The same from a file of at most 128 KiB; also a negative errno or TLX_E_TOO_LARGE. */
int tlx_ca_bundle_load(const char *path, struct tlx_ca_bundle **ret_bundle);
/* NULL is fine. */
void tlx_ca_bundle_free(struct tlx_ca_bundle *bundle);
TLX_CLEANUP_DEFINE(struct tlx_ca_bundle *, tlx_ca_bundle_free)
/* How many certificates it holds, at least 1. */
size_t tlx_ca_bundle_count(const struct tlx_ca_bundle *bundle);
/* The |i|-th certificate, the one in use first; lives with the bundle. NULL when there is none. */
const struct tlx_cert *tlx_ca_bundle_get(const struct tlx_ca_bundle *bundle, size_t i);
/* Appends all of them as PEM. 0 or a negative error. */
int tlx_ca_bundle_format_pem(const struct tlx_ca_bundle *bundle, struct tlx_buf *buf);
/* Checks that |leaf| was signed by a CA of the bundle, that both are valid at |wall_ms|, and that
 * the leaf is made for |purpose| (serverAuth for TLX_PRINCIPAL_CONSOLE, else clientAuth). 0 or one
 * of TLX_E_CERT_{UNTRUSTED,PURPOSE,EXPIRED,NOT_YET_VALID}, found in this order. The chain has
 * length one: an issuer is always a CA of the bundle. */
int tlx_ca_bundle_check(const struct tlx_ca_bundle *bundle, const struct tlx_cert *leaf,
                        enum tlx_principal_kind purpose, uint64_t wall_ms);

/* "sha256:" + hex of SHA-256 over the certificate's SubjectPublicKeyInfo. |out| of 72. */
void tlx_pin_format(const struct tlx_cert *ca, char *out);
/* Parses that form, hex of either case. 0 or TLX_E_MALFORMED. */
int tlx_pin_parse(const char *text, uint8_t ret_digest[32]);
/* Finds in a peer's chain (leaf first, DER each) the CA certificate with that key, and checks that
 * the leaf was issued by it. 0, TLX_E_CERT_PIN, TLX_E_CERT_UNTRUSTED, TLX_E_MALFORMED. */
int tlx_pin_check(const uint8_t digest[32], const struct tlx_bytes *chain, size_t n,
                  size_t *ret_ca_index);
