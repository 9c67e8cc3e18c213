// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/cleanup.h"

/* ECDSA P-256 key pairs. Private keys never leave this folder except into a file of mode 0600. One
 * thread at a time a key. */
struct tlx_key;

/* New key pair. 0, -ENOMEM or TLX_E_CRYPTO. */
int tlx_key_new(struct tlx_key **ret_key);
/* NULL is fine; wipes. */
void tlx_key_free(struct tlx_key *key);
TLX_CLEANUP_DEFINE(struct tlx_key *, tlx_key_free)
/* PEM (PKCS#8 "PRIVATE KEY" or SEC1 "EC PRIVATE KEY"); wipes nothing of the caller's. 0 or
 * TLX_E_MALFORMED. */
int tlx_key_parse_pem(const void *pem, size_t len, struct tlx_key **ret_key);
/* Appends the private key as PKCS#8 PEM; the caller wipes |buf|. 0, TLX_E_CRYPTO or the error of
 * |buf|. */
int tlx_key_format_pem(const struct tlx_key *key, struct tlx_buf *buf);
/* The same as PKCS#8 DER (RFC 5208), which TLS contexts take. */
int tlx_key_format_der(const struct tlx_key *key, struct tlx_buf *buf);
/* Reads a private file (ours, no rights for others; else TLX_E_MODE). 0, negative errno,
 * TLX_E_MODE, TLX_E_MALFORMED, TLX_E_TOO_LARGE. */
int tlx_key_load(const char *path, struct tlx_key **ret_key);
/* Writes it as PEM, atomically and with mode 0600; refuses to replace a file (-EEXIST). */
int tlx_key_save(const struct tlx_key *key, const char *path);
/* SubjectPublicKeyInfo (RFC 5480), DER, always 91 bytes. Borrowed, lives with the key. */
struct tlx_bytes tlx_key_spki(const struct tlx_key *key);
/* ECDSA-Sig-Value (RFC 3279, DER) over a SHA-256 digest, appended to |buf|. 0, TLX_E_CRYPTO or the
 * error of |buf|. */
int tlx_key_sign(const struct tlx_key *key, const uint8_t digest[32], struct tlx_buf *buf);
/* Checks an ECDSA-Sig-Value against a P-256 SubjectPublicKeyInfo, whose point must lie on the
 * curve. 0, TLX_E_CRYPTO (does not match) or TLX_E_MALFORMED (another kind of key). Any bytes are
 * safe; any thread. */
int tlx_spki_verify(struct tlx_bytes spki, const uint8_t digest[32], struct tlx_bytes signature);
