// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/* The Console's durable store: one LMDB environment in a folder, opened once per process. All
 * functions return 0 or a negative error; -ENOSPC covers a full disk and a full map. */
struct tlx_store;

/* What a new store is told about itself. Borrowed for the call. */
struct tlx_store_facts {
  const char *fleet_id, *fleet_name;
  uint8_t epoch[16];
  uint64_t created_wall_ms;
};
#define TLX_STORE_MAP_SIZE_DEFAULT (16ull << 30)
/* 2: with rules and events; 3: with containments, which an older Console would take for blocked
 * files; 4: with uses of fleet tokens, and with certificates that are good beside the current one,
 * which an older Console would never end. */
#define TLX_STORE_SCHEMA 4

/* Makes |folder| (0700) and an empty store in it, in one step: after a crash there is none or a
 * whole one. |map_size| 0 = default. -EEXIST when there is one, -EINVAL for missing facts. */
int tlx_store_create(const char *folder, const struct tlx_store_facts *facts, uint64_t map_size);
/* Opens it: takes the lock (TLX_E_LOCKED: another Console runs), checks format and schema
 * (TLX_E_SCHEMA_NEWER / _OLDER, TLX_E_CORRUPT; -ENOTSUP for another LMDB's file), clears stale
 * readers. -ENOENT when there is no store. |map_size| 0 = default; only grows. Not across fork. */
int tlx_store_open(const char *folder, uint64_t map_size, struct tlx_store **ret_store);
/* No transaction may be open. NULL is fine. */
void tlx_store_close(struct tlx_store *store);
TLX_CLEANUP_DEFINE(struct tlx_store *, tlx_store_close)

/* What a person can do about |err| of this folder, as a sentence without a final stop; NULL when
 * there is nothing particular to say. Static storage. */
const char *tlx_store_advice(int err);

/* How full the store is. */
struct tlx_store_usage {
  uint64_t map_bytes, used_bytes; /* size of the map, and pages in use */
};
/* Fills both; 0 or a negative error. A short read transaction: any thread. */
int tlx_store_usage(struct tlx_store *store, struct tlx_store_usage *ret_usage);
