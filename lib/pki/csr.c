// SPDX-License-Identifier: GPL-2.0-or-later
/* Signing requests (RFC 2986). */
#include <string.h>

#include "common/err.h"
#include "pki/cert.h"
#include "pki/cert_int.h"
#include "pki/der.h"
#include "pki/digest.h"

#define CSR_MAX (8u << 10)

int tlx_csr_make(const struct tlx_key *key, const char *cn, struct tlx_buf *ret_der) {
  static const uint8_t version_1 = 0;
  struct tlx_buf info = {0};
  struct tlx_bytes spki = tlx_key_spki(key);
  size_t mark = tlx_der_begin(&info, 0x30);
  tlx_der_add_uint(&info, &version_1, 1);
  tlx_x509_add_name(&info, cn);
  tlx_buf_add(&info, spki.data, spki.len);
  tlx_der_add(&info, 0xa0, NULL, 0); /* no attributes: the Console decides everything else */
  tlx_der_end(&info, mark);
  int err = tlx_x509_sign(&info, key, ret_der);
  tlx_buf_done(&info);
  return err;
}

int tlx_csr_verify(struct tlx_bytes der, struct tlx_bytes *ret_spki) {
  struct tlx_reader reader, info;
  struct tlx_bytes content, whole, name, version, algorithm, bits, spki;
  struct tlx_buf wanted = {0};
  uint8_t tag, digest[TLX_SHA256_LEN];
  if (der.len > CSR_MAX) return TLX_E_MALFORMED;
  tlx_reader_init(&reader, der.data, der.len);
  tlx_der_read(&reader, 0x30, &content);
  if (reader.err || tlx_reader_left(&reader)) return TLX_E_MALFORMED;
  tlx_reader_init(&reader, content.data, content.len);
  tlx_der_read_any(&reader, &tag, &content, &whole);
  tlx_reader_init(&info, content.data, content.len);
  tlx_der_read(&info, 0x02, &version);
  tlx_der_read(&info, 0x30, &name);
  tlx_der_read_any(&info, &tag, &content, &spki);
  tlx_der_read_any(&reader, &tag, &content, &algorithm);
  tlx_der_read(&reader, 0x03, &bits);
  if (reader.err || info.err || tlx_reader_left(&reader) || version.len != 1 ||
      version.data[0] != 0 || bits.len < 2 || bits.data[0] != 0)
    return TLX_E_MALFORMED;
  tlx_x509_add_algorithm(&wanted);
  bool known = !wanted.err && algorithm.len == wanted.len &&
               memcmp(algorithm.data, wanted.data, wanted.len) == 0;
  tlx_buf_done(&wanted);
  if (!known) return TLX_E_MALFORMED;
  tlx_sha256(whole.data, whole.len, digest);
  int err = tlx_spki_verify(spki, digest, (struct tlx_bytes){bits.data + 1, bits.len - 1});
  if (!err) *ret_spki = spki;
  return err;
}
