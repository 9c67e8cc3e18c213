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
#define LINE_MAX_LEN 96u
#define FILE_MAX_LEN (WITNESS_HEADS_MAX * LINE_MAX_LEN)

/* "SEQ:HEX" */
static int parse(const char *text, size_t len, struct witness_head *ret_head) {
  char copy[LINE_MAX_LEN];
  struct witness_head head;
  if (len >= sizeof copy || memchr(text, 0, len)) return TLX_E_MALFORMED;
  memcpy(copy, text, len);
  copy[len] = 0;
  char *colon = strchr(copy, ':');
  if (!colon || strlen(colon + 1) != 2 * TLX_SHA256_LEN) return TLX_E_MALFORMED;
  *colon = 0;
  if (tlx_u64_parse(copy, UINT64_MAX, &head.seq) != 0 || head.seq == 0 ||
      tlx_hex_parse(colon + 1, head.hash, sizeof head.hash) != 0)
    return TLX_E_MALFORMED;
  *ret_head = head;
  return 0;
}

static uint64_t last_seq(const struct witness *witness) {
  return witness->n ? witness->heads[witness->n - 1].seq : 0;
}

/* 0 without a head when there is no file. */
static int read_kept(const char *folder, struct witness *witness) {
  TLX_AUTOFREE char *path = tlx_path_join(folder, FILE_NAME);
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf text = {0};
  int err = path ? tlx_file_read(path, FILE_MAX_LEN, &text) : -ENOMEM;
  if (err) return err == -ENOENT ? 0 : err;
  const char *at = (const char *)text.data, *end = at + text.len;
  while (!err && at < end) {
    const char *line_end = memchr(at, '\n', (size_t)(end - at));
    struct witness_head head;
    if (!line_end || witness->n == WITNESS_HEADS_MAX) return TLX_E_MALFORMED;
    err = parse(at, (size_t)(line_end - at), &head);
    if (!err && head.seq <= last_seq(witness)) err = TLX_E_MALFORMED;
    if (!err) witness->heads[witness->n++] = head;
    at = line_end + 1;
  }
  return err;
}

void witness_load(struct witness *witness, const char *folder) {
  *witness = (struct witness){.n = 0};
  int err = read_kept(folder, witness);
  if (err) {
    witness->n = 0;
    snprintf(witness->fault, sizeof witness->fault,
             "%.300s/" FILE_NAME ": %s; verify the log with a head noted elsewhere, then remove "
             "the file",
             folder, tlx_err_text(err));
  }
  witness->kept_seq = last_seq(witness);
}

/* The newest and the oldest stay; of those in between every other one. */
static void thin_out(struct witness *witness) {
  size_t n = 1;
  for (size_t i = 2; i < witness->n; i += 2)
    witness->heads[n++] = witness->heads[i];
  witness->n = n;
}

void witness_see(struct witness *witness, const char *text) {
  struct witness_head head;
  if (*witness->fault || parse(text, strlen(text), &head) != 0) return;
  if (head.seq < last_seq(witness))
    snprintf(witness->fault, sizeof witness->fault,
             "the Console's audit log ends at record %llu, and record %llu was told before: it was "
             "cut or rolled back",
             (unsigned long long)head.seq, (unsigned long long)last_seq(witness));
  else if (!witness_knows(witness, head.seq, head.hash))
    snprintf(witness->fault, sizeof witness->fault,
             "the Console's audit log has another record %llu than was told before: it was "
             "rewritten",
             (unsigned long long)head.seq);
  if (*witness->fault || head.seq == last_seq(witness)) return;
  if (witness->n == WITNESS_HEADS_MAX) thin_out(witness);
  witness->heads[witness->n++] = head;
}

bool witness_knows(const struct witness *witness, uint64_t seq, const uint8_t *hash) {
  for (size_t i = 0; i < witness->n; i++)
    if (witness->heads[i].seq == seq)
      return memcmp(witness->heads[i].hash, hash, TLX_SHA256_LEN) == 0;
  return true;
}

void witness_verified(struct witness *witness, uint64_t seq, const uint8_t *hash) {
  if (*witness->fault || seq < last_seq(witness)) return;
  witness->n = 1;
  witness->heads[0].seq = seq;
  memcpy(witness->heads[0].hash, hash, TLX_SHA256_LEN);
  witness->is_verified = true;
}

int witness_keep(const struct witness *witness, const char *folder) {
  struct witness kept = {.n = 0};
  TLX_CLEANUP(tlx_buf_done) struct tlx_buf text = {0};
  if (*witness->fault || (last_seq(witness) == witness->kept_seq && !witness->is_verified))
    return 0;
  int err = read_kept(folder, &kept);
  /* Another telovixctl may have been told more meanwhile. */
  if (err || last_seq(&kept) > last_seq(witness)) return err;
  TLX_AUTOFREE char *path = tlx_path_join(folder, FILE_NAME);
  if (!path) return -ENOMEM;
  for (size_t i = 0; i < witness->n; i++) {
    char hex[2 * TLX_SHA256_LEN + 1];
    tlx_hex_format(witness->heads[i].hash, TLX_SHA256_LEN, hex);
    tlx_buf_printf(&text, "%llu:%s\n", (unsigned long long)witness->heads[i].seq, hex);
  }
  return text.err ? text.err : tlx_file_write_atomic(path, text.data, text.len, 0600);
}
