// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "bpf-progs/tlx_abi.h"
#include "sensor/bpf_object.h"

/* The image of all rules: filled in a map that nobody uses yet, read back, frozen, and published
 * with one update. After bpf_maps_publish returned no program uses the former image any more (the
 * kernel waits for RCU, ≈ 12 ms). Worker thread. */

struct bpf_image_entry {
  struct tlx_exec_key key;
  struct tlx_exec_rule rule;
};
/* 64-bit FNV-1a over |name|, as the programs compute it. */
uint64_t bpf_maps_name_hash(const char *name, size_t len);
/* Publishes |entries|. 0; -EEXIST when two entries have one key; -E2BIG above TLX_IMAGE_MAX;
 * another negative errno; on failure the former image stays in force. */
int bpf_maps_publish(struct bpf_object *object, const struct bpf_image_entry *entries, size_t n);
/* Reads the image in force (of a former process too). |*ret_entries| is the caller's to free.
 * -ENOENT = none. */
int bpf_maps_read(struct bpf_object *object, struct bpf_image_entry **ret_entries, size_t *ret_n);
/* Compares the image in force with |entries|; publishes it again and notes it in |tampers| when it
 * differs. */
int bpf_maps_verify(struct bpf_object *object, const struct bpf_image_entry *entries, size_t n,
                    struct bpf_tampers *tampers);
/* Hits of |slot|. For TLX_SLOT_CANARY `acted` counts only what the programs of the last attach
 * stopped (those in force if none is pending): a canary that older programs beside them stopped
 * proves nothing about the new ones. */
int bpf_maps_count(struct bpf_object *object, uint32_t slot, struct tlx_count *ret_count);
/* Sets the hits of |slot|, of which one or the other may be lost when it is in use. */
int bpf_maps_count_set(struct bpf_object *object, uint32_t slot, const struct tlx_count *count);
/* Totals over all CPUs. */
int bpf_maps_stats(struct bpf_object *object, struct tlx_stats *ret_stats);
