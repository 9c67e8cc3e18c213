// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/new_identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"

#define CSR_MAX 4096u

static int fail(char *why, const char *path, int err) {
  snprintf(why, 512, "%.400s: %s", path ? path : "new key", tlx_err_text(err));
  return err;
}

/* Whether an earlier try left a key and a request of that key. */
static bool take_up(struct new_identity *identity) {
  struct tlx_bytes spki, own;
  if (tlx_key_load(identity->key_path, &identity->key) == 0 &&
      tlx_file_read_private(identity->csr_path, CSR_MAX, &identity->csr) == 0 &&
      tlx_csr_verify((struct tlx_bytes){identity->csr.data, identity->csr.len}, &spki) == 0) {
    own = tlx_key_spki(identity->key);
    if (own.len == spki.len && memcmp(own.data, spki.data, own.len) == 0) return true;
  }
  tlx_key_free(TLX_TAKE_PTR(identity->key));
  identity->csr.len = 0;
  return false;
}

static int make(struct new_identity *identity, const char *name) {
  int err = tlx_file_remove(identity->key_path);
  if (!err) err = tlx_key_new(&identity->key);
  if (!err) err = tlx_csr_make(identity->key, name, &identity->csr);
  if (!err) err = tlx_key_save(identity->key, identity->key_path);
  if (!err)
    err = tlx_file_write_atomic(identity->csr_path, identity->csr.data, identity->csr.len, 0600);
  return err;
}

int new_identity_open(const char *folder, const char *key_name, const char *csr_name,
                      const char *name, struct new_identity *ret_identity, char *why) {
  *ret_identity = (struct new_identity){.key_path = tlx_path_join(folder, key_name),
                                        .csr_path = tlx_path_join(folder, csr_name)};
  int err = ret_identity->key_path && ret_identity->csr_path ? 0 : -ENOMEM;
  ret_identity->is_new = !err && !take_up(ret_identity);
  if (ret_identity->is_new) err = make(ret_identity, name);
  if (!err) return 0;
  err = fail(why, ret_identity->key_path, err);
  new_identity_done(ret_identity);
  return err;
}

void new_identity_done(struct new_identity *identity) {
  tlx_key_free(identity->key);
  tlx_buf_done(&identity->csr);
  free(identity->key_path);
  free(identity->csr_path);
  *identity = (struct new_identity){0};
}

static int format(const struct tlx_bytes *list, size_t n, struct tlx_buf *pem) {
  int err = n ? 0 : TLX_E_MALFORMED;
  for (size_t i = 0; i < n && !err; i++)
    err = tlx_cert_format_pem(list[i], pem);
  return err;
}

static int check_leaf(const struct new_identity *identity, const char *fleet_id, const char *name,
                      struct tlx_bytes der, const struct tlx_buf *bundle_pem) {
  TLX_CLEANUP(tlx_ca_bundle_free_p) struct tlx_ca_bundle *ca = NULL;
  struct tlx_cert leaf;
  struct tlx_spiffe id;
  struct tlx_bytes own = tlx_key_spki(identity->key);
  int err = tlx_cert_parse(der, &leaf);
  if (!err) err = tlx_ca_bundle_parse_pem(bundle_pem->data, bundle_pem->len, &ca);
  /* Our clock may be wrong; the Console's is what decides. */
  if (!err) err = tlx_ca_bundle_check(ca, &leaf, TLX_PRINCIPAL_OPERATOR, leaf.not_before_wall_ms);
  if (!err) err = tlx_spiffe_parse(leaf.uri, &id);
  if (err) return err;
  if (leaf.spki.len != own.len || memcmp(leaf.spki.data, own.data, own.len) != 0)
    return TLX_E_KEY_MISMATCH;
  return id.kind == TLX_PRINCIPAL_OPERATOR && strcmp(id.fleet_id, fleet_id) == 0 &&
                 strcmp(id.name, name) == 0
             ? 0
             : TLX_E_CERT_UNTRUSTED;
}

int new_identity_check(const struct new_identity *identity, const char *fleet_id, const char *name,
                       const struct tlx_bytes *chain, size_t n_chain,
                       const struct tlx_bytes *bundle, size_t n_bundle, struct tlx_buf *chain_pem,
                       struct tlx_buf *bundle_pem, char *why) {
  int err = format(chain, n_chain, chain_pem);
  if (!err) err = format(bundle, n_bundle, bundle_pem);
  if (!err) err = check_leaf(identity, fleet_id, name, chain[0], bundle_pem);
  if (err)
    snprintf(why, 512, "the Console answered with a certificate that is not one for %.64s: %s",
             name, tlx_err_text(err));
  return err;
}
