// SPDX-License-Identifier: GPL-2.0-or-later
#include "pki/key.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "pki/digest.h"
#include "pki/pem.h"

Test(key, sha256_known_answer) {
  static const uint8_t abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
  struct tlx_sha256 ctx;
  uint8_t out[32];
  tlx_sha256("abc", 3, out);
  cr_assert_arr_eq(out, abc, 32);
  tlx_sha256_init(&ctx);
  tlx_sha256_add(&ctx, "a", 1);
  tlx_sha256_add(&ctx, "bc", 2);
  tlx_sha256_final(&ctx, out);
  cr_assert_arr_eq(out, abc, 32);
}

Test(key, signs_and_verifies) {
  struct tlx_key *key, *other;
  struct tlx_buf signature = {0};
  uint8_t digest[32] = {1, 2, 3};
  cr_assert_eq(tlx_key_new(&key), 0);
  cr_assert_eq(tlx_key_new(&other), 0);
  cr_assert_eq(tlx_key_spki(key).len, 91);
  cr_assert_eq(tlx_key_sign(key, digest, &signature), 0);
  struct tlx_bytes bytes = {signature.data, signature.len};
  cr_assert_eq(tlx_spki_verify(tlx_key_spki(key), digest, bytes), 0);
  cr_assert_lt(tlx_spki_verify(tlx_key_spki(other), digest, bytes), 0);
  digest[0] ^= 1;
  cr_assert_eq(tlx_spki_verify(tlx_key_spki(key), digest, bytes), TLX_E_CRYPTO);
  tlx_buf_done(&signature);
  tlx_key_free(other);
  tlx_key_free(key);
  tlx_key_free(NULL);
}

Test(key, files_are_private) {
  char folder[] = "/tmp/telovix-key-XXXXXX", path[64];
  struct tlx_key *key, *loaded;
  struct stat info;
  cr_assert(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/client.key", folder);
  cr_assert_eq(tlx_key_new(&key), 0);
  cr_assert_eq(tlx_key_save(key, path), 0);
  cr_assert_eq(tlx_key_save(key, path), -EEXIST);
  cr_assert_eq(stat(path, &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0600);
  cr_assert_eq(tlx_key_load(path, &loaded), 0);
  cr_assert_arr_eq(tlx_key_spki(loaded).data, tlx_key_spki(key).data, 91);
  tlx_key_free(loaded);
  cr_assert_eq(chmod(path, 0644), 0);
  cr_assert_eq(tlx_key_load(path, &loaded), TLX_E_MODE);
  unlink(path);
  rmdir(folder);
  tlx_key_free(key);
}

Test(key, pem_blocks) {
  struct tlx_buf text = {0}, der = {0};
  char label[64];
  cr_assert_eq(
      tlx_pem_format("THING", (struct tlx_bytes){(const uint8_t *)"0123456789", 10}, &text), 0);
  const char *at = (const char *)text.data;
  size_t len = text.len;
  cr_assert_eq(tlx_pem_next(&at, &len, label, &der), 0);
  cr_assert_str_eq(label, "THING");
  cr_assert_arr_eq(der.data, "0123456789", 10);
  cr_assert_eq(tlx_pem_next(&at, &len, label, &der), -ENOENT);
  static const char cut[] = "-----BEGIN THING-----\nMDEy\n";
  at = cut;
  len = sizeof cut - 1;
  cr_assert_eq(tlx_pem_next(&at, &len, label, &der), TLX_E_MALFORMED);
  struct tlx_key *key;
  cr_assert_eq(tlx_key_parse_pem(text.data, text.len, &key), TLX_E_MALFORMED);
  tlx_buf_done(&text);
  tlx_buf_done(&der);
}
