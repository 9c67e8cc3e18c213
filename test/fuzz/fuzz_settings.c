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
#include "ini_model.h"

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
  struct ini_model model;
  unsigned n_set[KEYS_MAX];
  bool refused;
};

static bool bytes_are(struct tlx_bytes bytes, const char *text) {
  return bytes_equal(bytes, (struct tlx_bytes){(const uint8_t *)text, strlen(text)});
}

/* Each value comes in its turn, whole, and under its own name. */
static int set(struct target *target, unsigned i, const char *section, const char *key,
               const char *value, char *why) {
  struct ini_pair pair;
  must(!target->refused && ++target->n_set[i] == 1);
  must(ini_model_next(&target->model, &pair));
  must(bytes_are(pair.section, section) && bytes_are(pair.key, key));
  must(bytes_are(pair.value, value));
  if (!strchr(value, '!')) return 0;
  target->refused = true;
  snprintf(why, 256, "no ! in here");
  return TLX_E_MALFORMED;
}

static int set_name(void *target, const char *value, char *why) {
  return set(target, 0, "a", "name", value, why);
}
static int set_size(void *target, const char *value, char *why) {
  return set(target, 1, "a", "size", value, why);
}
static int set_other(void *target, const char *value, char *why) {
  return set(target, 2, "b", "name", value, why);
}

static void own_list(struct tlx_bytes content) {
  static const struct tlx_setting list[KEYS_MAX] = {
      {"a", "name", set_name}, {"a", "size", set_size}, {"b", "name", set_other}};
  struct target target = {.refused = false};
  struct ini_pair pair;
  char why[512] = "";
  ini_model_init(&target.model, content);
  int err = tlx_settings_read(path, list, KEYS_MAX, &target, why);
  if (err) {
    look_at_fault(err, why, content);
    return;
  }
  /* Nothing was left out, and no line was passed over. */
  must(!target.refused && !*why && !(content.len && memchr(content.data, 0, content.len)));
  must(!ini_model_next(&target.model, &pair) && !target.model.fault);
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
  must(settings.containment_on_lost == CONTAIN_KEEP ||
       settings.containment_on_lost == CONTAIN_RELEASE);
  must(settings.containment_allow.n <= TLX_ALLOW_LIST_MAX);
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
  for (unsigned i = 0; i < settings.containment_allow.n; i++) {
    const char *fault, *entry = settings.containment_allow.entries[i];
    must(contain_list_add(&again.containment_allow, entry, &fault) == 0);
    must(again.containment_allow.n == i + 1 &&
         strcmp(again.containment_allow.entries[i], entry) == 0);
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
