// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* One line per event on stderr: "level group message key=value …" (with a timestamp unless stderr
 * is the journal). Libraries stay silent above debug; whoever decides logs, once. Never log keys,
 * tokens or file contents; text chosen by a peer goes through tlx_text_escape first (the %s of
 * these functions is not escaped). */

/* Levels with their consequence. */
#define TLX_LOG_LEVEL_MAP(X)                                                                       \
  X(CRIT, "crit")     /* the process ends */                                                       \
  X(ERROR, "error")   /* something asked for will not happen */                                    \
  X(WARN, "warn")     /* degraded, goes on by itself */                                            \
  X(NOTICE, "notice") /* life cycle and security decisions */                                      \
  X(INFO, "info")     /* per operation */                                                          \
  X(DEBUG, "debug")   /* off by default; arguments are not evaluated */

#define TLX_LOG_GROUP_MAP(X)                                                                       \
  X(CORE, "core")                                                                                  \
  X(TLS, "tls") X(H2, "h2") X(RPC, "rpc") X(AUTH, "auth") X(STORE, "store") X(OP, "op")            \
      X(AUDIT, "audit") X(ORDER, "order") X(RULE, "rule") X(BPF, "bpf") X(KILL, "kill")            \
          X(UPLINK, "uplink")

enum tlx_log_level {
#define X(name, text) TLX_LOG_##name,
  TLX_LOG_LEVEL_MAP(X)
#undef X
};
enum tlx_log_group {
#define X(name, text) TLX_LG_##name,
  TLX_LOG_GROUP_MAP(X)
#undef X
      TLX_LG_COUNT
};

/* Lines less urgent than |level| are dropped. Default: NOTICE, and the programs leave it there. Any
 * thread. */
void tlx_log_set_level(enum tlx_log_level level);
/* Level of a name of the list above. 0 or -EINVAL. */
int tlx_log_level_parse(const char *name, enum tlx_log_level *ret_level);
/* Sends lines to |sink| instead (tests); NULL restores stderr. |line| has no newline, no time, and
 * lives for the call; |sink| runs under the log's lock and must not log. */
void tlx_log_set_sink(void (*sink)(void *arg, enum tlx_log_level level, const char *line),
                      void *arg);
/* Whether a line of |level| would be written: the macros ask before they evaluate arguments. */
bool tlx_log_on(enum tlx_log_level level);
/* How many lines at error or crit there were since the start, those left out included (a counter of
 * the heartbeat). Any thread. */
uint64_t tlx_log_error_count(void);

/* Repeats of one place are limited to 10 in 10 s; the next line that passes says how many were left
 * out. Any thread. Use the macros. */
struct tlx_log_place {
  uint64_t window_mono_ms;
  uint32_t n_in_window, n_suppressed;
};
/* Writes one line of |place|, which is static and belongs to one call site; printf text, cut at
 * about 2 KiB. */
void tlx_log_write(struct tlx_log_place *place, enum tlx_log_group group, enum tlx_log_level level,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

#define tlx_log(group, level, ...)                                                                 \
  do {                                                                                             \
    static struct tlx_log_place place_;                                                            \
    if (tlx_log_on(level)) tlx_log_write(&place_, (group), (level), __VA_ARGS__);                  \
  } while (0)
#define tlx_crit(group, ...) tlx_log(TLX_LG_##group, TLX_LOG_CRIT, __VA_ARGS__)
#define tlx_error(group, ...) tlx_log(TLX_LG_##group, TLX_LOG_ERROR, __VA_ARGS__)
#define tlx_warn(group, ...) tlx_log(TLX_LG_##group, TLX_LOG_WARN, __VA_ARGS__)
#define tlx_notice(group, ...) tlx_log(TLX_LG_##group, TLX_LOG_NOTICE, __VA_ARGS__)
#define tlx_info(group, ...) tlx_log(TLX_LG_##group, TLX_LOG_INFO, __VA_ARGS__)
#define tlx_debug(group, ...) tlx_log(TLX_LG_##group, TLX_LOG_DEBUG, __VA_ARGS__)
