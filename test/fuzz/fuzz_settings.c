// SPDX-License-Identifier: GPL-2.0-or-later
/* Settings files (common/settings.h, and console/settings.h on top): every byte of a line is either
 * taken as it stands or refused with file and line; nothing is cut, and nothing is skipped. The
 * first byte picks the reader; the rest is the file. */
#include <sys/mman.h>
#include <unistd.h>

#include "common/err.h"
#include "common/settings.h"
#include "common/text.h"
#include "console/settings.h"
#include "fuzz.h"

static int fd = -1;
static char path[64];

static void begin(void) {
  fd = memfd_create("settings", MFD_CLOEXEC);
  must(fd >= 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
}

static void fill(struct tlx_bytes content) {
  must(ftruncate(fd, 0) == 0);
  must(pwrite(fd, content.data, content.len, 0) == (ssize_t)content.len);
}

/* What is told: a sentence that is fit for a terminal, and of a fault in a line, where it is. */
static void look_at_fault(int err, const char *why, struct tlx_bytes content) {
  size_t n_lines = 1, len = strlen(path);
  char shown[1200];
  must(err < 0 && *why && strlen(why) < 512);
  must(strcmp(tlx_text_escape(why, SIZE_MAX, shown, sizeof shown), why) == 0 || strchr(why, '\\'));
  for (const char *c = why; *c; c++)
    must((uint8_t)*c >= 0x20 && *c != 0x7f);
  must(strncmp(why, path, len) == 0 && why[len] == ':');
  if (err == TLX_E_CONFLICT) return; /* of the file as a whole */
  for (size_t i = 0; i < content.len; i++)
    n_lines += content.data[i] == '\n';
  unsigned long line = strtoul(why + len + 1, NULL, 10);
  must(line >= 1 && line <= n_lines);
}

/* ---- a list of our own ---- */

#define KEYS_MAX 3u
struct target {
  struct tlx_bytes content;
  unsigned n_set[KEYS_MAX];
  bool refused;
};

/* The line that set |value| ends with it, but for blanks and a comment. */
static bool stands_in_file(const struct tlx_bytes content, const char *key, const char *value) {
  size_t len = strlen(value);
  const uint8_t *end = content.data + content.len;
  for (const uint8_t *line = content.data, *next; line < end; line = next) {
    const uint8_t *line_end = memchr(line, '\n', (size_t)(end - line));
    if (!line_end) line_end = end;
    next = line_end + 1;
    const uint8_t *found = memmem(line, (size_t)(line_end - line), key, strlen(key));
    if (!found) continue;
    for (const uint8_t *at = found + strlen(key); at + len <= line_end; at++) {
      if (len && memcmp(at, value, len) != 0) continue;
      if (at[-1] != '=' && at[-1] != ':' && !strchr(" \t\v\f\r", at[-1])) continue;
      const uint8_t *rest = at + len;
      bool blank = false;
      while (rest < line_end && *rest && strchr(" \t\v\f\r", *rest))
        rest++, blank = true;
      if (rest == line_end || (*rest == ';' && (blank || len == 0))) return true;
    }
  }
  return false;
}

static int set(struct target *target, unsigned i, const char *key, const char *value, char *why) {
  must(!target->refused);
  must(++target->n_set[i] == 1);
  must(!strpbrk(value, "\n"));
  must(stands_in_file(target->content, key, value));
  if (strchr(value, '!')) {
    target->refused = true;
    snprintf(why, 256, "no ! in here");
    return TLX_E_MALFORMED;
  }
  return 0;
}

static int set_name(void *target, const char *value, char *why) {
  return set(target, 0, "name", value, why);
}
static int set_size(void *target, const char *value, char *why) {
  return set(target, 1, "size", value, why);
}
static int set_other(void *target, const char *value, char *why) {
  return set(target, 2, "name", value, why);
}

static void own_list(struct tlx_bytes content) {
  static const struct tlx_setting list[KEYS_MAX] = {
      {"a", "name", set_name}, {"a", "size", set_size}, {"b", "name", set_other}};
  struct target target = {.content = content};
  char why[512] = "";
  int err = tlx_settings_read(path, list, KEYS_MAX, &target, why);
  if (err)
    look_at_fault(err, why, content);
  else
    must(!target.refused && !*why);
  /* A NUL ends a text for most readers: what stands behind it would be skipped without a word. */
  if (!err) must(!content.len || !memchr(content.data, 0, content.len));
}

/* ---- the Console's ---- */

static void console_list(struct tlx_bytes content) {
  struct settings settings, again;
  char why[512] = "", host[256], address[SETTINGS_ADDRESS_MAX];
  uint16_t port;
  memset(&settings, 0x5a, sizeof settings);
  again = settings;
  int err = settings_read(path, &settings, why);
  if (err) {
    must(memcmp(&settings, &again, sizeof settings) == 0);
    look_at_fault(err, why, content);
    return;
  }
  must(settings.n_advertise <= SETTINGS_ADVERTISE_MAX);
  must(settings.heartbeat_interval_ms &&
       settings.heartbeat_interval_ms * 2 <= settings.stale_after_ms);
  must(settings.stranger_handshakes > 0);
  /* What was accepted is accepted again, one by one. */
  settings_init(&again);
  must(settings_set_listen(&again, settings.listen, why) == 0);
  must(strcmp(again.listen, settings.listen) == 0);
  for (unsigned i = 0; i < settings.n_advertise; i++) {
    must(settings_add_advertise(&again, settings.advertise[i], why) == 0);
    must(settings_split(settings.advertise[i], host, &port) == 0 && *host);
    settings_address(&settings, i, 15483, address);
    must(settings_split(address, host, &port) == 0 && port != 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  if (fd < 0) begin();
  uint8_t reader = input_u8(&input);
  struct tlx_bytes content = {input.at, input.left};
  fill(content);
  if (reader % 2)
    console_list(content);
  else
    own_list(content);
  return 0;
}
