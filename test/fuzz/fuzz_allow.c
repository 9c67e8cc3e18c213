// SPDX-License-Identifier: GPL-2.0-or-later
/* Entries of an allow list (common/allow.h): what is accepted lets through what its text says and
 * no more, has one canonical text, and every entry that can be meant has one. The first byte picks:
 * a text, or the numbers of an entry. */
#include "common/allow.h"

#include "common/err.h"
#include "fuzz.h"

static bool bit(const uint8_t *addr, unsigned i) {
  return addr[i / 8] >> (7 - i % 8) & 1;
}

/* What no entry may be, said bit by bit. */
static bool is_sound(const struct tlx_allow_entry *entry) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  unsigned bits = entry->family == 4 ? 32 : 128;
  if (entry->family != 4 && entry->family != 6) return false;
  if (entry->prefix_len == 0 || entry->prefix_len > bits) return false;
  for (unsigned i = entry->prefix_len; i < 128; i++)
    if (bit(entry->addr, i)) return false;
  if (entry->family == 6 && entry->prefix_len >= 96 && memcmp(entry->addr, mapped, 12) == 0)
    return false;
  if (entry->protocol != 0 && entry->protocol != 6 && entry->protocol != 17) return false;
  bool every_port = entry->port_first == 0 && entry->port_last == 65535;
  return every_port || (entry->port_first > 0 && entry->port_first <= entry->port_last);
}

static bool same(const struct tlx_allow_entry *a, const struct tlx_allow_entry *b) {
  return a->is_in == b->is_in && a->family == b->family && a->prefix_len == b->prefix_len &&
         memcmp(a->addr, b->addr, sizeof a->addr) == 0 && a->protocol == b->protocol &&
         a->port_first == b->port_first && a->port_last == b->port_last;
}

static void text_in(struct tlx_bytes bytes) {
  char *text = exact_text(bytes), *shown = malloc(TLX_ALLOW_TEXT_MAX),
       again_text[TLX_ALLOW_TEXT_MAX];
  struct tlx_allow_entry entry, again;
  const char *fault = NULL;
  must(shown);
  int err = tlx_allow_parse(text, &entry, &fault);
  must(err == 0 || err == TLX_E_MALFORMED);
  must((err != 0) == (fault != NULL));
  if (!err) {
    must(is_sound(&entry));
    must(strncmp(text, entry.is_in ? "in:" : "out:", entry.is_in ? 3 : 4) == 0);
    must((strstr(text, "/tcp") != NULL) == (entry.protocol == 6));
    must((strstr(text, "/udp") != NULL) == (entry.protocol == 17));
    must((strchr(text, ',') != NULL) == (entry.port_first != 0));
    tlx_allow_format(&entry, shown);
    must(strlen(shown) < TLX_ALLOW_TEXT_MAX &&
         strspn(shown, "inoutcdp:/.,-0123456789abcdef") == strlen(shown));
    must(tlx_allow_parse(shown, &again, &fault) == 0 && same(&entry, &again));
    tlx_allow_format(&again, again_text);
    must(strcmp(shown, again_text) == 0);
  }
  free(shown);
  free(text);
}

static void numbers_in(struct input *input) {
  struct tlx_allow_entry entry = {.is_in = input_u8(input) & 1}, again;
  char text[TLX_ALLOW_TEXT_MAX];
  const char *fault = NULL;
  entry.family = input_u8(input) & 1 ? 6 : 4;
  entry.prefix_len = input_u8(input);
  entry.protocol = input_u8(input);
  entry.port_first = input_u16(input);
  entry.port_last = input_u16(input);
  struct tlx_bytes addr = input_bytes(input, entry.family == 4 ? 4 : 16);
  if (addr.len) memcpy(entry.addr, addr.data, addr.len);
  /* Every sound entry has a text that means it, and no other entry has one at all. */
  if (entry.protocol != 0 && entry.protocol != 6 && entry.protocol != 17) return;
  tlx_allow_format(&entry, text);
  must(strlen(text) < sizeof text);
  bool is_accepted = tlx_allow_parse(text, &again, &fault) == 0;
  if (is_sound(&entry)) must(is_accepted && same(&entry, &again));
  if (is_accepted) must(is_sound(&again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  if (input_u8(&input) == 'n')
    numbers_in(&input);
  else
    text_in((struct tlx_bytes){input.at, input.left});
  return 0;
}
