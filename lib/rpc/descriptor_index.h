// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "common/bytes.h"

/* The files of a FileDescriptorSet by name and by the symbols that they define. Immutable after it
 * was made; any thread. */
struct tlx_descriptor_index;
struct tlx_descriptor_file;

/* |set| is a serialized google.protobuf.FileDescriptorSet with imports; it must outlive the index.
 * 0, TLX_E_MALFORMED or -ENOMEM. */
int tlx_descriptor_index_new(const void *set, size_t len, struct tlx_descriptor_index **ret_index);
/* NULL is fine. */
void tlx_descriptor_index_free(struct tlx_descriptor_index *index);
/* The file of this exact import name, e.g. "telovix/v1/types.proto"; NULL when there is none. Lives
 * with the index. */
const struct tlx_descriptor_file *
tlx_descriptor_file_named(const struct tlx_descriptor_index *index, const char *name);
/* The file that defines |symbol|: full name without a leading dot of a service, service.method,
 * message, field, enum or enum value. NULL when there is none. */
const struct tlx_descriptor_file *
tlx_descriptor_file_of_symbol(const struct tlx_descriptor_index *index, const char *symbol);
/* Whether |name| is the full name of a message. */
bool tlx_descriptor_has_message(const struct tlx_descriptor_index *index, const char *name);
/* The serialized FileDescriptorProto, as it stands in the set. */
struct tlx_bytes tlx_descriptor_file_bytes(const struct tlx_descriptor_file *file);
/* Fills |ret_list| (of |max|) with the file and all that it imports, itself first, each once.
 * Returns how many. */
size_t tlx_descriptor_file_closure(const struct tlx_descriptor_index *index,
                                   const struct tlx_descriptor_file *file,
                                   const struct tlx_descriptor_file **ret_list, size_t max);
