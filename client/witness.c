// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/witness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"
#include "common/text.h"

#define FILE_NAME "audit_head"
#define TEXT_MAX 96u

/* "SEQ:HEX", maybe with a line feed behind it. */
static int parse(const char *text, size_t len, uint64_t *ret_seq,
                 uint8_t ret_hash[TLX_SHA256_LEN]) {
  char copy[TEXT_MAX];
  uint64_t seq;
  if (len && text[len - 1] == '\n') len--;
  if (len >= sizeof copy || memchr(text, 0, len)) return TLX_E_MALFORMED;
  memcpy(copy, text, len);
  copy[len] = 0;
  char *colon = strchr(copy, ':');
  if (!colon || strlen(colon + 1) != 2 * TLX_SHA256_LEN) return TLX_E_MALFORMED;
  *colon = 0;
  if (tlx_u64_parse(copy, UINT64_MAX, &seq) != 0 || seq == 0 ||
      tlx_hex_parse(colon + 1, ret_hash, TLX_SHA256_LEN) != 0)
    return TLX_E_MALFORMED;
  *ret_seq = seq;
  return 0;
}

/* 0 with |*ret_seq| 0 when there is no file. */
static int read_kept(const char *folder, uint64_t *ret_seq, uint8_t ret_hash[TLX_SHA256_LEN]) {
  TLX_AUTOFREE char *path = tlx_path_join(folder, FILE_NAME);
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf text = {0};
  *ret_seq = 0;
  int err = path ? tlx_file_read(path, TEXT_MAX, &text) : -ENOMEM;
  if (err) return err == -ENOENT ? 0 : err;
  return parse((const char *)text.data, text.len, ret_seq, ret_hash);
}

void witness_load(struct witness *witness, const char *folder) {
  *witness = (struct witness){.seq = 0};
  int err = read_kept(folder, &witness->seq, witness->hash);
  witness->kept_seq = witness->seq;
  if (err)
    snprintf(witness->fault, sizeof witness->fault,
             "%.300s/" FILE_NAME ": %s; verify the log with a head noted elsewhere, then remove "
             "the file",
             folder, tlx_err_text(err));
}

void witness_see(struct witness *witness, const char *head) {
  uint8_t hash[TLX_SHA256_LEN];
  uint64_t seq;
  if (*witness->fault || parse(head, strlen(head), &seq, hash) != 0) return;
  if (seq < witness->seq)
    snprintf(witness->fault, sizeof witness->fault,
             "the Console's audit log ends at record %llu, and record %llu was told before: it was "
             "cut or rolled back",
             (unsigned long long)seq, (unsigned long long)witness->seq);
  else if (seq == witness->seq && memcmp(hash, witness->hash, sizeof hash) != 0)
    snprintf(witness->fault, sizeof witness->fault,
             "the Console's audit log has another record %llu than was told before: it was "
             "rewritten",
             (unsigned long long)seq);
  if (*witness->fault) return;
  witness->seq = seq;
  memcpy(witness->hash, hash, sizeof hash);
}

int witness_keep(const struct witness *witness, const char *folder) {
  uint8_t hash[TLX_SHA256_LEN];
  uint64_t seq;
  char text[TEXT_MAX + 1];
  if (*witness->fault || witness->seq == witness->kept_seq) return 0;
  int err = read_kept(folder, &seq, hash);
  /* Another telovixctl may have been told more meanwhile. */
  if (err || seq >= witness->seq) return err;
  TLX_AUTOFREE char *path = tlx_path_join(folder, FILE_NAME);
  if (!path) return -ENOMEM;
  witness_format(witness, text);
  strcat(text, "\n");
  return tlx_file_write_atomic(path, text, strlen(text), 0600);
}

const char *witness_format(const struct witness *witness, char *out) {
  char hex[2 * TLX_SHA256_LEN + 1];
  *out = 0;
  if (witness->seq == 0) return out;
  tlx_hex_format(witness->hash, sizeof witness->hash, hex);
  snprintf(out, TEXT_MAX, "%llu:%s", (unsigned long long)witness->seq, hex);
  return out;
}
