// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/allow.h"

/* What an operator typed: every option of every verb has its place here, so that one parser reads
 * them all and a verb only lists which ones it takes. */

enum output_format { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_NAME };

#define ARGS_WORDS_MAX (4u + TLX_ALLOW_LIST_MAX)
#define ARGS_LABELS_MAX 32u
/* One --label. */
struct args_label {
  char key[64], value[64];
};
/* Texts are borrowed from argv. 0 or NULL = not given. */
struct args {
  const char *words[ARGS_WORDS_MAX]; /* positional, after the verb */
  size_t n_words;
  const char *profile, *console;
  enum output_format format;
  uint64_t timeout_ms; /* 0 = not given */
  const char *reason, *request_id;
  const char *out; /* folder of a new profile */
  const char *exe, *sensor, *actor, *action, *node_name, *name, *head, *reenroll;
  uint64_t max_uses, start_ticks, life_ms, since_wall_ms, until_wall_ms, limit;
  bool is_csv; /* --format */
  bool wait, all, observe, force, follow, accept_partial, yes, contain_first, release_first;
  unsigned on_lost_console, token_kind; /* numbers of telovix.v1; 0 = not given */
  const char *allow[TLX_ALLOW_LIST_MAX];
  size_t n_allow;
  unsigned status, health, outcome, role; /* numbers of telovix.v1; 0 = not given */
  struct args_label labels[ARGS_LABELS_MAX];
  size_t n_labels;
};

/* Options that a verb can list; combine with |. The common ones are always there. */
enum {
  ARGS_CHANGE = 1 << 0,    /* --reason --request-id */
  ARGS_KILL = 1 << 1,      /* --exe --start-ticks --expires --wait */
  ARGS_SENSORS = 1 << 2,   /* --status --health --label --all */
  ARGS_OF_SENSOR = 1 << 3, /* --sensor */
  ARGS_TOKEN = 1 << 4,     /* --kind --reenroll --expires --max-uses --node-name --label --name */
  ARGS_AUDIT = 1 << 5,     /* --actor --action --outcome --since --until --sensor */
  ARGS_LIMIT = 1 << 6,     /* --limit */
  ARGS_HEAD = 1 << 7,      /* --head */
  ARGS_ALL = 1 << 8,       /* --all */
  ARGS_BLOCK = 1 << 9,     /* --observe --force */
  ARGS_FORCE = 1 << 10,    /* --force, of a mode */
  ARGS_WAIT = 1 << 11,     /* --wait, of a rule */
  ARGS_EVENTS = 1 << 12,   /* --follow */
  ARGS_CONTAIN = 1 << 13,  /* --allow --on-lost-console --force --accept-partial */
  ARGS_OPERATOR = 1 << 20, /* --role --out */
  ARGS_EXPORT = 1 << 21,   /* --format */
  ARGS_REVOKE = 1 << 15,   /* --contain-first --release-first --accept-partial --yes */
  ARGS_DELETE = 1 << 16,   /* --force, of a deletion; --yes */
  ARGS_ENTRIES = 1 << 14,  /* no option: further words, each an entry of an allow list */
};

/* Default of --timeout where nothing else is said. */
#define ARGS_TIMEOUT_DEFAULT_MS 60000u

/* Parses the options and words behind a verb. |name| is how the program calls itself, e.g.
 * "telovixctl kill"; |usage| its words, e.g. "SENSOR PID"; |n_words| exactly so many, with
 * ARGS_ENTRIES at least. Errors go to stderr in one line. 0 = go on; 1 = help or version was
 * printed, exit 0; 2 = wrong usage, exit 2.
 */
int args_parse(const char *name, const char *usage, const char *doc, unsigned groups,
               size_t n_words, int argc, char **argv, struct args *ret_args);
/* Parses only the common options in front of a verb; |*ret_index| is the index of the first word in
 * |argv|, |argc| when there is none. Same results. */
int args_parse_common(const char *doc, int argc, char **argv, struct args *ret_args,
                      int *ret_index);
/* Number of the role called |word|. 0 or TLX_E_MALFORMED. */
int args_role(const char *word, unsigned *ret_role);
/* The paragraph on exit statuses that every --help ends with. */
extern const char args_exit_doc[];
