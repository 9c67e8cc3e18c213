// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/bytes.h"
#include "pki/key.h"

/* Pieces that certificates and signing requests share. Internal to this folder. Errors stick in
 * |buf|. */

/* AlgorithmIdentifier of ECDSA with SHA-256. */
void tlx_x509_add_algorithm(struct tlx_buf *buf);
/* Name (RFC 5280 §4.1.2.4) with one common name as UTF8String. */
void tlx_x509_add_name(struct tlx_buf *buf, const char *cn);
/* SEQUENCE { |body|, algorithm, signature of |key| over |body| }, appended to |buf|. 0,
 * TLX_E_CRYPTO, or the error that stuck in one of the buffers. */
int tlx_x509_sign(const struct tlx_buf *body, const struct tlx_key *key, struct tlx_buf *buf);
