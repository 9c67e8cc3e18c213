// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/descriptor_index.h"

#include <errno.h>
#include <google/protobuf/descriptor.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "common/err.h"

struct tlx_descriptor_file {
  struct tlx_descriptor_file *next;
  struct tlx_bytes bytes;
  Google__Protobuf__FileDescriptorProto *proto;
};

struct symbol {
  const struct tlx_descriptor_file *file;
  bool is_message;
  UT_hash_handle hh;
  char name[];
};

struct tlx_descriptor_index {
  struct tlx_descriptor_file *files;
  struct symbol *symbols;
  int err;
};

/* ---- symbols ---- */

static void add_symbol(struct tlx_descriptor_index *index, const struct tlx_descriptor_file *file,
                       const char *scope, const char *name, bool is_message) {
  size_t size = strlen(scope) + strlen(name) + 2;
  struct symbol *symbol = calloc(1, sizeof *symbol + size), *old;
  if (!symbol) {
    index->err = -ENOMEM;
    return;
  }
  snprintf(symbol->name, size, "%s%s%s", scope, *scope ? "." : "", name);
  symbol->file = file;
  symbol->is_message = is_message;
  HASH_FIND_STR(index->symbols, symbol->name, old);
  if (old) {
    free(symbol);
    return;
  }
  HASH_ADD_STR(index->symbols, name, symbol);
}

static void add_enum(struct tlx_descriptor_index *index, const struct tlx_descriptor_file *file,
                     const char *scope, const Google__Protobuf__EnumDescriptorProto *proto) {
  add_symbol(index, file, scope, proto->name, false);
  /* Values stand beside their enum, not in it (descriptor.proto). */
  for (size_t i = 0; i < proto->n_value; i++)
    add_symbol(index, file, scope, proto->value[i]->name, false);
}

static void add_message(struct tlx_descriptor_index *index, const struct tlx_descriptor_file *file,
                        const char *scope, const Google__Protobuf__DescriptorProto *proto) {
  char inner[512];
  add_symbol(index, file, scope, proto->name, true);
  if ((size_t)snprintf(inner, sizeof inner, "%s%s%s", scope, *scope ? "." : "", proto->name) >=
      sizeof inner) {
    index->err = TLX_E_TOO_LARGE;
    return;
  }
  for (size_t i = 0; i < proto->n_field; i++)
    add_symbol(index, file, inner, proto->field[i]->name, false);
  for (size_t i = 0; i < proto->n_nested_type; i++)
    add_message(index, file, inner, proto->nested_type[i]);
  for (size_t i = 0; i < proto->n_enum_type; i++)
    add_enum(index, file, inner, proto->enum_type[i]);
}

static void add_service(struct tlx_descriptor_index *index, const struct tlx_descriptor_file *file,
                        const char *scope, const Google__Protobuf__ServiceDescriptorProto *proto) {
  char inner[512];
  add_symbol(index, file, scope, proto->name, false);
  snprintf(inner, sizeof inner, "%s%s%s", scope, *scope ? "." : "", proto->name);
  for (size_t i = 0; i < proto->n_method; i++)
    add_symbol(index, file, inner, proto->method[i]->name, false);
}

/* ---- files ---- */

static int add_file(struct tlx_descriptor_index *index, struct tlx_bytes bytes) {
  struct tlx_descriptor_file *file = calloc(1, sizeof *file);
  if (!file) return -ENOMEM;
  file->next = index->files;
  index->files = file;
  file->bytes = bytes;
  file->proto = google__protobuf__file_descriptor_proto__unpack(NULL, bytes.len, bytes.data);
  if (!file->proto || !file->proto->name) return TLX_E_MALFORMED;
  const char *package = file->proto->package ? file->proto->package : "";
  for (size_t i = 0; i < file->proto->n_message_type; i++)
    add_message(index, file, package, file->proto->message_type[i]);
  for (size_t i = 0; i < file->proto->n_enum_type; i++)
    add_enum(index, file, package, file->proto->enum_type[i]);
  for (size_t i = 0; i < file->proto->n_service; i++)
    add_service(index, file, package, file->proto->service[i]);
  return index->err;
}

/* FileDescriptorSet { repeated FileDescriptorProto file = 1; }: read by hand, because the bytes of
 * each file are what is served. */
static int read_set(struct tlx_descriptor_index *index, const void *set, size_t len) {
  struct tlx_reader reader;
  tlx_reader_init(&reader, set, len);
  while (tlx_reader_left(&reader)) {
    if (tlx_read_varint(&reader) != (1 << 3 | 2)) return TLX_E_MALFORMED;
    size_t file_len = (size_t)tlx_read_varint(&reader);
    const uint8_t *data = tlx_read_bytes(&reader, file_len);
    if (reader.err) return TLX_E_MALFORMED;
    int err = add_file(index, (struct tlx_bytes){data, file_len});
    if (err) return err;
  }
  return reader.err;
}

int tlx_descriptor_index_new(const void *set, size_t len, struct tlx_descriptor_index **ret_index) {
  struct tlx_descriptor_index *index = calloc(1, sizeof *index);
  if (!index) return -ENOMEM;
  int err = read_set(index, set, len);
  if (err) {
    tlx_descriptor_index_free(index);
    return err;
  }
  *ret_index = index;
  return 0;
}

void tlx_descriptor_index_free(struct tlx_descriptor_index *index) {
  struct symbol *symbol, *next;
  if (!index) return;
  HASH_ITER(hh, index->symbols, symbol, next) {
    HASH_DEL(index->symbols, symbol);
    free(symbol);
  }
  while (index->files) {
    struct tlx_descriptor_file *file = index->files;
    index->files = file->next;
    if (file->proto) google__protobuf__file_descriptor_proto__free_unpacked(file->proto, NULL);
    free(file);
  }
  free(index);
}

/* ---- questions ---- */

const struct tlx_descriptor_file *
tlx_descriptor_file_named(const struct tlx_descriptor_index *index, const char *name) {
  for (const struct tlx_descriptor_file *file = index->files; file; file = file->next)
    if (strcmp(file->proto->name, name) == 0) return file;
  return NULL;
}

const struct tlx_descriptor_file *
tlx_descriptor_file_of_symbol(const struct tlx_descriptor_index *index, const char *symbol) {
  const struct symbol *found;
  HASH_FIND_STR(index->symbols, symbol, found);
  return found ? found->file : NULL;
}

bool tlx_descriptor_has_message(const struct tlx_descriptor_index *index, const char *name) {
  const struct symbol *found;
  HASH_FIND_STR(index->symbols, name, found);
  return found && found->is_message;
}

struct tlx_bytes tlx_descriptor_file_bytes(const struct tlx_descriptor_file *file) {
  return file->bytes;
}

size_t tlx_descriptor_file_closure(const struct tlx_descriptor_index *index,
                                   const struct tlx_descriptor_file *file,
                                   const struct tlx_descriptor_file **ret_list, size_t max) {
  size_t n = 0;
  if (max) ret_list[n++] = file;
  /* The list grows while it is walked: imports of imports. */
  for (size_t at = 0; at < n; at++)
    for (size_t i = 0; i < ret_list[at]->proto->n_dependency; i++) {
      const struct tlx_descriptor_file *import =
          tlx_descriptor_file_named(index, ret_list[at]->proto->dependency[i]);
      size_t k = 0;
      while (k < n && ret_list[k] != import)
        k++;
      if (import && k == n && n < max) ret_list[n++] = import;
    }
  return n;
}
