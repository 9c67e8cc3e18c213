// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdint.h>

#include "common/bytes.h"

/* The first contact of enrollment (spec §2.1): a TLS handshake that sends nothing else, to read the
 * server's chain and find the pinned CA in it. */

/* What the pinned server showed: its CA, and the URI that its certificate carries. */
struct pin_found {
  struct tlx_buf ca_der;
  char console_uri[256], fleet_id[32];
};

/* Sees each socket before its connect(2), so that a contained host lets it through. */
typedef void (*pin_socket_cb)(int fd);

/* Connects to |address| (HOST:PORT), blocking for at most |timeout_ms| a step, and looks for a CA
 * with |digest| (SHA-256 of its SubjectPublicKeyInfo) that issued the leaf. 0 with |ret_found|,
 * whose ca_der the caller frees; TLX_E_CERT_PIN (no such CA: nothing was sent), TLX_E_CERT_IDENTITY
 * (not a Console) and others with a sentence in |why| (512 bytes). |made| may be NULL. Any thread.
 */
int pin_fetch(const char *address, const uint8_t digest[32], uint32_t timeout_ms,
              pin_socket_cb made, struct pin_found *ret_found, char *why);
