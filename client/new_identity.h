// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>

#include "common/bytes.h"
#include "pki/identity.h"
#include "pki/key.h"

/* An operator's key that waits for its certificate. Key and signing request are files until then:
 * when the answer is lost, the same request goes out again, under the same request id. Main thread.
 */
struct new_identity {
  char *key_path, *csr_path; /* owned */
  struct tlx_key *key;       /* owned */
  struct tlx_buf csr;        /* DER */
  bool is_new;               /* made by this run: no request has gone out with it before */
};
/* Takes up what an earlier try left in |folder| under these names, if it is whole, or makes both
 * (the key with mode 0600) for an operator called |name|. 0, or a negative error with a sentence in
 * |why| (512 bytes). |ret_identity| is all zero on failure. */
int new_identity_open(const char *folder, const char *key_name, const char *csr_name,
                      const char *name, struct new_identity *ret_identity, char *why);
/* Lets go of the memory; the files stay. All zero is fine. */
void new_identity_done(struct new_identity *identity);
/* Checks a reply: the first certificate of |chain| is for this key and for the operator |name| of
 * the fleet |fleet_id|, and a CA of the bundle signed it. Appends chain and bundle as PEM. 0; a
 * negative error with a sentence in |why| (512 bytes). */
int new_identity_check(const struct new_identity *identity, const char *fleet_id, const char *name,
                       const struct tlx_bytes *chain, size_t n_chain,
                       const struct tlx_bytes *bundle, size_t n_bundle, struct tlx_buf *chain_pem,
                       struct tlx_buf *bundle_pem, char *why);
