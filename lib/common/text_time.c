// SPDX-License-Identifier: GPL-2.0-or-later
/* Times and durations of text.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/err.h"
#include "common/text.h"

void tlx_time_format(uint64_t wall_ms, char *out) {
  time_t seconds = (time_t)(wall_ms / 1000);
  struct tm parts;
  /* Year 9999 is the last one of the form. */
  if (wall_ms / 1000 > 253402300799u || !gmtime_r(&seconds, &parts)) {
    strcpy(out, "9999-12-31T23:59:59.999Z");
    return;
  }
  snprintf(out, TLX_TIME_TEXT_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
           (unsigned)(parts.tm_year + 1900) % 10000, (unsigned)(parts.tm_mon + 1) % 100,
           (unsigned)parts.tm_mday % 100, (unsigned)parts.tm_hour % 100,
           (unsigned)parts.tm_min % 100, (unsigned)parts.tm_sec % 100, (unsigned)(wall_ms % 1000));
}

/* Exactly |n| digits. */
static int digits(const char **at, unsigned n, int *ret_value) {
  int value = 0;
  for (unsigned i = 0; i < n; i++, (*at)++) {
    if (**at < '0' || **at > '9') return TLX_E_MALFORMED;
    value = value * 10 + (**at - '0');
  }
  *ret_value = value;
  return 0;
}

static int literal(const char **at, char wanted) {
  if (**at != wanted) return TLX_E_MALFORMED;
  (*at)++;
  return 0;
}

int tlx_time_parse(const char *text, uint64_t *ret_wall_ms) {
  const char *at = text;
  struct tm parts = {0};
  int hours = 0, minutes = 0, ms = 0, sign = 0;
  if (digits(&at, 4, &parts.tm_year) || literal(&at, '-') || digits(&at, 2, &parts.tm_mon) ||
      literal(&at, '-') || digits(&at, 2, &parts.tm_mday))
    return TLX_E_MALFORMED;
  if (*at != 'T' && *at != 't' && *at != ' ') return TLX_E_MALFORMED;
  at++;
  if (digits(&at, 2, &parts.tm_hour) || literal(&at, ':') || digits(&at, 2, &parts.tm_min) ||
      literal(&at, ':') || digits(&at, 2, &parts.tm_sec))
    return TLX_E_MALFORMED;
  if (*at == '.') {
    unsigned n = 0;
    for (at++; *at >= '0' && *at <= '9'; at++, n++)
      if (n < 3) ms = ms * 10 + (*at - '0');
    if (n == 0) return TLX_E_MALFORMED;
    for (; n < 3; n++)
      ms *= 10;
  }
  if (*at == 'Z' || *at == 'z') {
    at++;
  } else {
    sign = *at == '+' ? 1 : *at == '-' ? -1 : 0;
    if (sign == 0) return TLX_E_MALFORMED;
    at++;
    if (digits(&at, 2, &hours) || literal(&at, ':') || digits(&at, 2, &minutes))
      return TLX_E_MALFORMED;
  }
  if (*at || parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 || parts.tm_hour > 23 ||
      parts.tm_min > 59 || parts.tm_sec > 60 || hours > 23 || minutes > 59)
    return TLX_E_MALFORMED;
  int day = parts.tm_mday;
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  if (parts.tm_sec == 60) parts.tm_sec = 59; /* a leap second, which our clock does not have */
  time_t seconds = timegm(&parts);
  /* timegm takes 31 April for 1 May. */
  if (parts.tm_mday != day) return TLX_E_MALFORMED;
  seconds -= sign * (hours * 3600 + minutes * 60);
  if (seconds < 0) return TLX_E_MALFORMED;
  *ret_wall_ms = (uint64_t)seconds * 1000 + (uint64_t)ms;
  return 0;
}

static const struct {
  const char *unit;
  uint64_t ms;
} units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
#define N_UNITS (sizeof units / sizeof *units)

int tlx_duration_parse(const char *text, uint64_t *ret_ms) {
  uint64_t total = 0;
  size_t last = 0; /* units must get smaller: "1h30m", not "30m1h" or "1h1h" */
  if (!*text) return TLX_E_MALFORMED;
  while (*text) {
    char number[21];
    size_t n = strspn(text, "0123456789");
    uint64_t value;
    if (n == 0 || n >= sizeof number) return TLX_E_MALFORMED;
    memcpy(number, text, n);
    number[n] = '\0';
    if (tlx_u64_parse(number, UINT64_MAX / 2, &value) != 0) return TLX_E_MALFORMED;
    text += n;
    size_t len = strspn(text, "dhms"), i = last;
    /* "1m30s": the unit ends where the next digit starts; "ms" is one unit. */
    while (i < N_UNITS && (strlen(units[i].unit) != len || strncmp(units[i].unit, text, len) != 0))
      i++;
    if (i == N_UNITS || value > (UINT64_MAX / 2 - total) / units[i].ms) return TLX_E_MALFORMED;
    total += value * units[i].ms;
    last = i + 1;
    text += len;
  }
  *ret_ms = total;
  return 0;
}

void tlx_duration_format(uint64_t ms, char *out) {
  size_t i = 0;
  while (i + 1 < N_UNITS && ms < units[i].ms)
    i++;
  int at = snprintf(out, TLX_TIME_TEXT_MAX, "%llu%s", (unsigned long long)(ms / units[i].ms),
                    units[i].unit);
  /* One smaller unit, but no milliseconds behind seconds. */
  if (i + 2 < N_UNITS) {
    uint64_t rest = ms % units[i].ms / units[i + 1].ms;
    if (rest)
      snprintf(out + at, TLX_TIME_TEXT_MAX - (size_t)at, "%llu%s", (unsigned long long)rest,
               units[i + 1].unit);
  }
}
