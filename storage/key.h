// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every key of the store is built and taken apart here. Numbers are big-endian, so that LMDB's byte
 * order is their order; ids and names have a fixed width and are padded with NULs. Other code that
 * relies on the shape of a key (a common prefix, an order) carries the marker KEY_LAYOUT. */

#define TLX_DB_KEY_ID_WIDTH 32       /* an id of TLX_ID_MAX with its NUL */
#define TLX_DB_KEY_OPERATOR_WIDTH 32 /* the longest operator name fills it */
#define TLX_DB_KEY_REQUEST_WIDTH 64  /* the longest request id fills it */
#define TLX_DB_KEY_NODE_MAX 253      /* the longest node name, without NUL */
#define TLX_DB_KEY_MAX 320           /* below LMDB's 511 */

/* KEY_LAYOUT: each layout with its fields, in order. */
enum tlx_db_key_layout {
  TLX_DB_KEY_ID,          /* id[32], the last byte always NUL */
  TLX_DB_KEY_NUMBER,      /* u64be */
  TLX_DB_KEY_SERIAL,      /* 16 bytes */
  TLX_DB_KEY_HASH,        /* 32 bytes */
  TLX_DB_KEY_NODE,        /* folded node name, NUL, id[32] */
  TLX_DB_KEY_SENSOR_NO,   /* id[32], u64be */
  TLX_DB_KEY_SENSOR_RULE, /* id[32], rule id[32] */
  TLX_DB_KEY_TOKEN_USE,   /* token id[32], 32 bytes */
  TLX_DB_KEY_OPERATOR,    /* name[32] */
  TLX_DB_KEY_REQUEST,     /* name[32], request id[64] */
  TLX_DB_KEY_REQUEST_TIME /* name[32], u64be milliseconds, request id[64] */
};

struct tlx_db_key {
  size_t len;
  uint8_t data[TLX_DB_KEY_MAX];
};

/* Builders. False when an argument does not fit its field (NULL, empty, too long): such a key is in
 * no table, so a look-up answers "not found" and a change is refused. |ret_key| is untouched then.
 */
/* An id of at most 31 bytes. */
bool tlx_db_key_id(const char *id, struct tlx_db_key *ret_key);
/* Cannot fail: every number is a key. */
void tlx_db_key_number(uint64_t number, struct tlx_db_key *ret_key);
/* A serial or a digest: |len| is 16 or 32. */
bool tlx_db_key_blob(const uint8_t *data, size_t len, struct tlx_db_key *ret_key);
/* The node name is folded to lower case. |id| NULL gives the common prefix of all sensors with this
 * node name. */
bool tlx_db_key_node(const char *node_name, const char *id, struct tlx_db_key *ret_key);
/* Sensor and a number of its own order: all entries of one sensor stand together, oldest first. */
bool tlx_db_key_sensor_no(const char *sensor_id, uint64_t number, struct tlx_db_key *ret_key);
/* Sensor and rule: all rules of one sensor stand together, ascending by their id. |rule_id| NULL
 * gives the common prefix of them. */
bool tlx_db_key_sensor_rule(const char *sensor_id, const char *rule_id, struct tlx_db_key *ret_key);
/* Token and the SHA-256 of the key that used it: all uses of one token stand together. |key_hash|
 * NULL gives the common prefix of them. */
bool tlx_db_key_token_use(const char *token_id, const uint8_t key_hash[32],
                          struct tlx_db_key *ret_key);
/* An operator's name, at most 32 bytes; also the prefix of all its requests. */
bool tlx_db_key_operator(const char *name, struct tlx_db_key *ret_key);
/* Operator and request id: where an answered change is looked up. */
bool tlx_db_key_request(const char *operator_name, const char *request_id,
                        struct tlx_db_key *ret_key);
/* The same by time: which of an operator's answered changes is the oldest. */
bool tlx_db_key_request_time(const char *operator_name, uint64_t wall_ms, const char *request_id,
                             struct tlx_db_key *ret_key);
/* Whether |key| starts with the first |len| bytes of |prefix|; false when one of them is shorter.
 */
bool tlx_db_key_has_prefix(const struct tlx_db_key *key, const struct tlx_db_key *prefix,
                           size_t len);

/* A key taken apart; fields that the layout does not have are zero. */
struct tlx_db_key_parts {
  char id[TLX_DB_KEY_ID_WIDTH];
  char rule_id[TLX_DB_KEY_ID_WIDTH];
  char name[TLX_DB_KEY_NODE_MAX + 1]; /* operator or folded node name */
  char request_id[TLX_DB_KEY_REQUEST_WIDTH + 1];
  uint64_t number;
  uint8_t blob[32];
};
/* Takes |len| bytes apart as |layout|. False for bytes that no builder makes, and then |ret_parts|
 * is untouched. Any bytes are safe. */
bool tlx_db_key_parse(enum tlx_db_key_layout layout, const void *data, size_t len,
                      struct tlx_db_key_parts *ret_parts);
/* The key in words for people, escaped; hex when it does not parse. Returns |out|. */
char *tlx_db_key_format(enum tlx_db_key_layout layout, const void *data, size_t len, char *out,
                        size_t size);
