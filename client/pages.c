// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/pages.h"

#include <stdio.h>
#include <string.h>

void pages_init(struct pages *pages, struct client *client, uint64_t limit) {
  enum output_format format = client->args.format;
  *pages = (struct pages){.client = client,
                          .limit = limit,
                          .has_table = format == OUTPUT_TABLE || format == OUTPUT_WIDE};
}

bool pages_have_room(const struct pages *pages) {
  return pages->limit == 0 || pages->shown < pages->limit;
}

uint32_t pages_size(const struct pages *pages, uint32_t most) {
  uint64_t left = pages->limit ? pages->limit - pages->shown : most;
  return (uint32_t)(left < most ? left : most);
}

bool pages_show(struct pages *pages, const ProtobufCMessage *item, const char *name) {
  pages->shown++;
  if (pages->has_table) return true;
  if (pages->client->args.format == OUTPUT_JSON)
    output_json(item);
  else
    puts(name);
  return false;
}

void pages_next(struct pages *pages, const char *token) {
  if (!pages_have_room(pages) || strlen(token) >= sizeof pages->token) token = "";
  strcpy(pages->token, token);
}

void pages_done(struct pages *pages) {
  if (pages->has_table) output_table_print(pages->table);
}
