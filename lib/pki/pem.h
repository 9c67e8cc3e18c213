// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/bytes.h"

/* PEM blocks (RFC 7468). Internal to this folder. */

/* Finds the next block in |*text|/|*len| (both are moved behind it) and appends its DER to |der|.
 * |label| of 64 gets its name. 0; -ENOENT when there is no further block; TLX_E_MALFORMED,
 * TLX_E_TOO_LARGE (above 1 MiB), or the error of |der|. Text between blocks is skipped. */
int tlx_pem_next(const char **text, size_t *len, char *label, struct tlx_buf *der);
/* Appends |der| as one block with |label|. 0, TLX_E_TOO_LARGE (above 1 MiB), TLX_E_CRYPTO, or the
 * error of |buf|. */
int tlx_pem_format(const char *label, struct tlx_bytes der, struct tlx_buf *buf);
