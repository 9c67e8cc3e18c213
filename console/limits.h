// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
/* Every number of the Console that bounds a peer or an operator, each with its reason. */

#define CONSOLE_PORT_DEFAULT 15483
#define OPEN_ORDERS_PER_SENSOR_MAX 64u     /* spec §8; a heartbeat reply stays small */
#define ENDED_ORDERS_PER_SENSOR_KEEP 1000u /* history to list; the audit log keeps everything */
#define RULES_PER_SENSOR_MAX 256u          /* spec §8; the host's maps have as many slots */
#define REMOVING_PER_SENSOR_MAX 256u /* a silent host confirms nothing, and rules come and go */
#define DESIRED_SET_MAX (512u << 10) /* spec §8; with the rest of a reply below one message */
#define RULE_PATH_MAX 4095u          /* spec §5.2: PATH_MAX of the kernel less its NUL */
#define EVENTS_PER_SENSOR_MAX 10000u /* spec §8 */
#define EVENT_LIFE_MS (30ull * 24 * 3600 * 1000)
#define EVENT_SWEEP_MAX 1000u          /* expired in one transaction */
#define EVENT_SWEEP_INTERVAL_MS 60000u /* a day more or less is no matter */
/* Audit records of tampering a sensor may cause in a minute; its events tell the rest. A host in
 * other hands must not fill the log. */
#define TAMPER_AUDITS_PER_MIN 16u
#define WATCH_EVENTS_LAG_MAX 10000u   /* events that a slow reader may be behind */
#define REPORT_ALL_INTERVAL_MS 10000u /* asked again for everything: an answer comes at once */
#define TOKENS_MAX 10000u             /* spec §8 */
#define OPERATORS_MAX 10000u          /* names are never used again; as for tokens */
#define LABELS_PER_SENSOR_MAX 32u     /* spec §8 */
#define WATCHES_PER_OPERATOR_MAX 4u   /* spec §8; each costs a queue */
#define REASON_CHARS_MAX 500u         /* spec §5 */
#define KILL_LIFE_MIN_MS (10ull * 1000)
#define KILL_LIFE_MAX_MS (24ull * 3600 * 1000)
#define KILL_LIFE_DEFAULT_MS (5ull * 60 * 1000)
#define TOKEN_LIFE_MIN_MS (60ull * 1000)
#define TOKEN_LIFE_MAX_MS (24ull * 3600 * 1000) /* one-time tokens */
#define TOKEN_LIFE_DEFAULT_MS (15ull * 60 * 1000)
#define FLEET_TOKEN_LIFE_MAX_MS (730ull * 24 * 3600 * 1000) /* spec §2.1 */
#define FLEET_TOKEN_LIFE_DEFAULT_MS (24ull * 3600 * 1000)
#define FLEET_TOKEN_USES_MAX 100000u /* ten times the fleet that this is built for */
#define PAGE_DEFAULT 50u
#define PAGE_MAX 1000u
#define PAGE_AUDIT_MAX 5000u
#define PAGE_BYTES_MAX (512u << 10) /* a page ends early here */
#define WRITER_OPS_MAX 4096u        /* queued ops; more get RESOURCE_EXHAUSTED */
#define WRITER_BYTES_MAX (16u << 20)
/* How long a commit waits for an op that was announced. About two trips on a fast network: less
 * than the commit that it saves, and nothing that an operator feels when the other side is slow. */
#define WRITER_FOLLOWER_NS 400000
#define BASELINE_AGE_MAX_MS 30000u   /* spec §5.1: a baseline is aged by at most this */
#define DENIED_ANONYMOUS_PER_MIN 60u /* audited in full; more become one summary */
#define DENIED_SOURCES_MAX 4096u     /* remembered (source, method) pairs */
#define KNOWN_PEERS_MAX 65536u       /* addresses of sensors that are remembered */
/* Tombstones of deleted sensors stay while the certificate could ask for anything: an expired one
 * may ask for its renewal for so long (spec §2). */
#define TOMBSTONE_KEEP_MS (60ull * 24 * 3600 * 1000)
#define SERIAL_SWEEP_MAX 256u /* forgotten in one transaction */
#define SERIAL_LOOK_MAX 2000u /* certificates looked at in one turn of the sweep */
#define SERIAL_SWEEP_INTERVAL_MS 60000u
#define HEALTH_NAMES_MAX 10u /* node names beside a reason: the first of them, to start with */
#define CHECKPOINT_INTERVAL_MS 10000u /* last-seen times are written behind */
#define SENSOR_CERT_LIFE_MS (30ull * 24 * 3600 * 1000)
#define SENSOR_CERT_LATE_MS                                                                        \
  (60ull * 24 * 3600 * 1000) /* spec §2: expired so long, it may still renew */
/* A sensor gets another certificate at most so often: each one before it stays on record until it
 * ends. */
#define SENSOR_RENEW_INTERVAL_MS (3600ull * 1000)
/* Requests that were on their way when a newer certificate was first used are no clone's. */
#define CLONE_GRACE_MS (2ull * 60 * 1000)
#define OPERATOR_CERT_LIFE_MS (365ull * 24 * 3600 * 1000)
#define SERVER_CERT_LIFE_MS (90ull * 24 * 3600 * 1000)
#define CA_CERT_LIFE_MS (3650ull * 24 * 3600 * 1000)
#define NOT_BEFORE_SLACK_MS (3600ull * 1000)
#define HEARTBEAT_INTERVAL_DEFAULT_MS 15000u
#define STALE_AFTER_DEFAULT_MS 90000u
