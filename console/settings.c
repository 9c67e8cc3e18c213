// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "common/settings.h"
#include "common/text.h"
#include "console/limits.h"
#include "rpc/limits.h"

#define WHY_MAX 256u
#define STALE_AFTER_MIN_MS 1000u
#define STALE_AFTER_MAX_MS (24ull * 3600 * 1000)
#define HEARTBEAT_INTERVAL_MIN_MS 100u
#define MAP_SIZE_MIN (16ull << 20) /* the first records and their indexes with room to grow */
#define MAP_SIZE_MAX (1ull << 45)
#define STRANGERS_MAX 100000u

/* ---- addresses ---- */

static bool is_v6(const char *host) {
  struct in6_addr address;
  return inet_pton(AF_INET6, host, &address) == 1;
}

/* A DNS name (RFC 1123) or an address literal. */
static bool host_valid(const char *host) {
  size_t len = strlen(host), label = 0;
  if (is_v6(host)) return true;
  if (len == 0 || len > 253) return false;
  for (size_t i = 0; i < len; i++) {
    if (host[i] == '.') {
      if (label == 0 || host[i - 1] == '-') return false;
      label = 0;
      continue;
    }
    if (!isalnum((unsigned char)host[i]) && host[i] != '-') return false;
    if (host[i] == '-' && label == 0) return false;
    if (++label > 63) return false;
  }
  return label > 0 && host[len - 1] != '-';
}

int settings_split(const char *address, char *host, uint16_t *ret_port) {
  const char *port = NULL, *start = address;
  size_t len = strlen(address);
  if (*address == '[') {
    const char *end = strchr(address, ']');
    if (!end || (end[1] && end[1] != ':')) return TLX_E_MALFORMED;
    start = address + 1;
    len = (size_t)(end - start);
    if (end[1]) port = end + 2;
  } else if (!is_v6(address) && (port = strrchr(address, ':'))) {
    len = (size_t)(port++ - address);
  }
  if (len == 0 || len > 253) return TLX_E_MALFORMED;
  char copy[256];
  memcpy(copy, start, len);
  copy[len] = 0;
  if ((*address == '[') != is_v6(copy) && port) return TLX_E_MALFORMED;
  if (!host_valid(copy)) return TLX_E_MALFORMED;
  uint64_t number = 0;
  if (port && (tlx_u64_parse(port, UINT16_MAX, &number) != 0 || number == 0))
    return TLX_E_MALFORMED;
  strcpy(host, copy);
  *ret_port = (uint16_t)number;
  return 0;
}

void settings_join(const char *host, uint16_t port, char *out) {
  snprintf(out, SETTINGS_ADDRESS_MAX, is_v6(host) ? "[%.253s]:%u" : "%.253s:%u", host, port);
}

void settings_address(const struct settings *settings, unsigned i, uint16_t port, char *out) {
  char host[256] = "";
  uint16_t own = 0;
  /* Checked when it was set. */
  if (settings_split(settings->advertise[i], host, &own) != 0) host[0] = 0;
  settings_join(host, own ? own : port, out);
}

/* ---- values ---- */

int settings_set_listen(struct settings *settings, const char *value, char *why) {
  char host[256];
  uint64_t port;
  const char *colon = strrchr(value, ':');
  struct in_addr v4;
  size_t len = colon ? (size_t)(colon - value) : 0;
  bool fine = len > 0 && len < sizeof host && tlx_u64_parse(colon + 1, UINT16_MAX, &port) == 0;
  if (fine && value[0] == '[') {
    fine = len > 2 && value[len - 1] == ']';
    if (fine) snprintf(host, sizeof host, "%.*s", (int)(len - 2), value + 1);
    fine = fine && is_v6(host);
  } else if (fine) {
    snprintf(host, sizeof host, "%.*s", (int)len, value);
    fine = inet_pton(AF_INET, host, &v4) == 1;
  }
  if (!fine) {
    snprintf(why, WHY_MAX, "want ADDR:PORT with an address literal, e.g. [::]:%d or 127.0.0.1:%d",
             CONSOLE_PORT_DEFAULT, CONSOLE_PORT_DEFAULT);
    return TLX_E_MALFORMED;
  }
  snprintf(settings->listen, sizeof settings->listen, "%s", value);
  return 0;
}

int settings_add_advertise(struct settings *settings, const char *value, char *why) {
  char host[256];
  uint16_t port;
  if (settings_split(value, host, &port) != 0) {
    char shown[96];
    snprintf(why, WHY_MAX, "\"%s\": want HOST or HOST:PORT, HOST a DNS name or an address",
             tlx_text_escape(value, SIZE_MAX, shown, sizeof shown));
    return TLX_E_MALFORMED;
  }
  if (settings->n_advertise == SETTINGS_ADVERTISE_MAX) {
    snprintf(why, WHY_MAX, "at most %u addresses", SETTINGS_ADVERTISE_MAX);
    return TLX_E_LIMIT;
  }
  snprintf(settings->advertise[settings->n_advertise++], SETTINGS_ADDRESS_MAX, "%s", value);
  return 0;
}

/* What is being read: the settings and which of them were given. */
struct reading {
  struct settings settings;
  bool has_interval;
};

static int set_listen(void *target, const char *value, char *why) {
  return settings_set_listen(&((struct reading *)target)->settings, value, why);
}

/* Addresses with commas or spaces between. */
static int set_advertise(void *target, const char *value, char *why) {
  struct reading *reading = target;
  char one[SETTINGS_ADDRESS_MAX];
  for (size_t len; *value; value += len) {
    value += strspn(value, ", \t");
    len = strcspn(value, ", \t");
    if (len == 0) break;
    snprintf(one, sizeof one, "%.*s", (int)(len < sizeof one ? len : sizeof one - 1), value);
    int err = settings_add_advertise(&reading->settings, one, why);
    if (err) return err;
  }
  return 0;
}

static int set_duration(const char *value, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms,
                        char *why) {
  uint64_t ms;
  char min[TLX_TIME_TEXT_MAX], max[TLX_TIME_TEXT_MAX];
  if (tlx_duration_parse(value, &ms) != 0 || ms < min_ms || ms > max_ms) {
    tlx_duration_format(min_ms, min);
    tlx_duration_format(max_ms, max);
    snprintf(why, WHY_MAX, "want a duration from %s to %s, e.g. 90s", min, max);
    return TLX_E_MALFORMED;
  }
  *ret_ms = ms;
  return 0;
}

static int set_stale_after(void *target, const char *value, char *why) {
  struct reading *reading = target;
  return set_duration(value, STALE_AFTER_MIN_MS, STALE_AFTER_MAX_MS,
                      &reading->settings.stale_after_ms, why);
}

static int set_interval(void *target, const char *value, char *why) {
  struct reading *reading = target;
  reading->has_interval = true;
  return set_duration(value, HEARTBEAT_INTERVAL_MIN_MS, STALE_AFTER_MAX_MS / 2,
                      &reading->settings.heartbeat_interval_ms, why);
}

static int set_map_size(void *target, const char *value, char *why) {
  struct reading *reading = target;
  static const char units[] = "KMGT";
  char digits[24];
  uint64_t number = 0;
  size_t len = strspn(value, "0123456789");
  const char *unit = value[len] ? strchr(units, toupper((unsigned char)value[len])) : NULL;
  unsigned shift = unit ? 10u * (unsigned)(unit - units + 1) : 0;
  bool fine = len > 0 && len < sizeof digits && (unit ? value[len + 1] == 0 : value[len] == 0);
  if (fine) {
    memcpy(digits, value, len);
    digits[len] = 0;
    fine = tlx_u64_parse(digits, MAP_SIZE_MAX >> shift, &number) == 0;
  }
  if (!fine || number << shift < MAP_SIZE_MIN) {
    snprintf(why, WHY_MAX, "want bytes with K, M, G or T, from 16M to 32T, e.g. 16G");
    return TLX_E_MALFORMED;
  }
  reading->settings.map_size = number << shift;
  return 0;
}

static int set_strangers(void *target, const char *value, char *why) {
  struct reading *reading = target;
  uint64_t number;
  if (tlx_u64_parse(value, STRANGERS_MAX, &number) != 0 || number == 0) {
    snprintf(why, WHY_MAX, "want handshakes a second, 1 to %u", STRANGERS_MAX);
    return TLX_E_MALFORMED;
  }
  reading->settings.stranger_handshakes = (uint32_t)number;
  return 0;
}

/* Entries with blanks between: a comma is part of one. */
static int set_allow(void *target, const char *value, char *why) {
  struct settings *settings = &((struct reading *)target)->settings;
  char one[TLX_ALLOW_TEXT_MAX + 1];
  for (size_t len; *value; value += len) {
    const char *fault = NULL;
    value += strspn(value, " \t");
    len = strcspn(value, " \t");
    if (len == 0) break;
    /* One that is cut here is too long to be any. */
    snprintf(one, sizeof one, "%.*s", (int)(len < sizeof one ? len : sizeof one - 1), value);
    int err = contain_list_add(&settings->containment_allow, one, &fault);
    if (err == TLX_E_LIMIT) {
      snprintf(why, WHY_MAX, "at most %u entries", TLX_ALLOW_LIST_MAX);
      return err;
    }
    if (err) {
      char shown[160];
      snprintf(why, WHY_MAX, "\"%s\" %s", tlx_text_escape(one, SIZE_MAX, shown, sizeof shown),
               fault);
      return err;
    }
  }
  return 0;
}

static int set_on_lost(void *target, const char *value, char *why) {
  struct settings *settings = &((struct reading *)target)->settings;
  uint32_t on_lost = contain_on_lost_parse(value);
  if (!on_lost) {
    snprintf(why, WHY_MAX, "want keep or release");
    return TLX_E_MALFORMED;
  }
  settings->containment_on_lost = on_lost;
  return 0;
}

static const struct tlx_setting list[] = {
    {"console", "listen", set_listen},           {"console", "advertise", set_advertise},
    {"console", "stale_after", set_stale_after}, {"console", "heartbeat_interval", set_interval},
    {"console", "map_size", set_map_size},       {"console", "stranger_handshakes", set_strangers},
    {"containment", "allow", set_allow},         {"containment", "on_lost_console", set_on_lost},
};

void settings_init(struct settings *settings) {
  *settings = (struct settings){.stale_after_ms = STALE_AFTER_DEFAULT_MS,
                                .heartbeat_interval_ms = HEARTBEAT_INTERVAL_DEFAULT_MS,
                                .stranger_handshakes = TLX_STRANGER_HANDSHAKES_PER_S,
                                .containment_on_lost = CONTAIN_KEEP};
  snprintf(settings->listen, sizeof settings->listen, "[::]:%d", CONSOLE_PORT_DEFAULT);
}

int settings_read(const char *path, struct settings *ret_settings, char *why) {
  struct reading reading = {.has_interval = false};
  settings_init(&reading.settings);
  int err = tlx_settings_read(path, list, sizeof list / sizeof *list, &reading, why);
  if (err) return err;
  struct settings *settings = &reading.settings;
  /* Six beats fit into the threshold, so that one lost beat makes no sensor stale. */
  if (!reading.has_interval && settings->heartbeat_interval_ms > settings->stale_after_ms / 6)
    settings->heartbeat_interval_ms = settings->stale_after_ms / 6;
  if (settings->heartbeat_interval_ms > settings->stale_after_ms / 2) {
    snprintf(why, 512,
             "%.255s: heartbeat_interval may be at most half of stale_after, or every sensor would "
             "look stale between two heartbeats",
             path);
    return TLX_E_CONFLICT;
  }
  *ret_settings = *settings;
  return 0;
}
