// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "common/arena.h"
#include "console/op.h"
#include "pki/cert.h"
#include "storage/order_tbl.h"

/* The durable part of one heartbeat: results, rule reports and events in, orders out, first sight
 * and changed facts, all in one transaction. */

#define REPORT_RESULTS_MAX                                                                         \
  128u /* open orders (64) and late ones; the sensor sends the rest next time */
#define REPORT_RULES_MAX 256u  /* as many rules as a sensor may have */
#define REPORT_EVENTS_MAX 256u /* more than that come with the next heartbeats */

/* One result of a heartbeat, copied; numbers of telovix.v1. */
struct report_result {
  char order_id[32];
  uint32_t state, error_number;
  char detail[128], process_state[4], comm[16];
  uint64_t signalled_boot_ns, observed_boot_ns, start_ticks;
};
/* What no honest sensor reports: an order of another sensor, a state that no sensor reports of such
 * an order or rule, an order that was not handed out, a rule of another sensor. */
enum report_reject {
  REPORT_FOREIGN_ORDER,
  REPORT_IMPOSSIBLE_STATE,
  REPORT_UNDELIVERED_ORDER,
  REPORT_FOREIGN_RULE,
  REPORT_REJECT_COUNT
};

/* What a sensor reports of one rule, copied; texts and gaps live in the op's arena. */
struct report_rule {
  char rule_id[32];
  uint8_t revision[16];
  uint32_t state, error_number; /* telovix.v1.RuleState; errno */
  char *reason, *detail, *backend, *file;
  Telovix__Store__V1__Gap **gaps;
  size_t n_gaps;
  uint64_t hits, would_hits;
};
/* One event with its number in the sensor's stream; texts of the record live in the op's arena, its
 * id was made before. */
struct report_event {
  uint64_t seq;
  char event_id[32];
  Telovix__Store__V1__EventRecord record;
};
/* The name of a desired set. */
struct report_name {
  uint8_t epoch[16], digest[32];
  uint64_t generation;
};

/* A sentence of a host, with its NUL: kept in its record, so not long. */
#define RENEWAL_ERROR_MAX 256u

/* Different hazards that one host may report: there are three today. */
#define REPORT_HAZARDS_MAX 8u

struct op_report {
  struct op op;
  char sensor_id[32];
  struct tlx_arena arena; /* of the rule reports and events; owned */
  struct report_rule *rules;
  size_t n_rules;
  /* The sensor's event stream, and what of it was not acknowledged yet, ascending. */
  bool has_event_stream;
  uint8_t event_stream[16];
  struct report_event *events;
  size_t n_events;
  unsigned tamper_audits_max; /* audit records that this heartbeat may still cause */
  /* What is in force on the host, to drop rules that are gone there. |epoch| is this store's. */
  bool has_in_force;
  struct report_name in_force;
  uint8_t epoch[16];
  bool has_hazards; /* to be stored; texts live in |arena| */
  char **hazards;
  size_t n_hazards;
  bool is_armed_again; /* the set in force is newer than the one that was lifted */
  bool is_first_use;   /* |serial| is the sensor's current certificate, and was not used before */
  uint8_t serial[TLX_SERIAL_LEN]; /* of the certificate with which the heartbeat came */
  bool has_renewal_error;         /* to be stored; empty = the last renewal did not fail */
  char renewal_error[RENEWAL_ERROR_MAX];
  struct report_result results[REPORT_RESULTS_MAX];
  unsigned n_results;
  bool deliver; /* commit queued orders as delivered */
  /* Facts to store; first_seen moves bootstrap_pending → trusted. */
  bool has_facts, first_seen;
  char kernel_release[128], architecture[32], os_name[128], sensor_version[64], scope_cgroup[256];
  struct tlx_sensor_seen seen; /* stored beside, since we write anyway */
  uint64_t verified_boot_ns;   /* for who submits: what counts once this is stored; 0 = nothing */
  /* out */
  char (*acknowledged)[32]; /* heap array, n_acknowledged; also ids that are unknown or already
                               ended: the sensor may forget them. Orders of another sensor are never
                               touched, and are acknowledged to nobody. */
  unsigned n_acknowledged;
  char (*changed)[32]; /* ids of orders whose state changed (watchers) */
  unsigned n_changed;
  char rejected[REPORT_REJECT_COUNT][32]; /* the first id of each kind; empty = none */
  char (
      *changed_rules)[32]; /* heap array: ids of rules that were observed otherwise, or are gone */
  unsigned n_changed_rules;
  unsigned n_events_stored, n_tamper_audits;
  uint64_t desired_generation; /* by which |in_force| was judged */
};
/* "foreign_order". Static storage. */
const char *report_reject_word(enum report_reject reject);
/* Results first, then rules, events, delivery, and last the sensor's record. A report about a
 * revision that is not the rule's, or about a rule that is being removed or unknown, is no news and
 * ignored. A rule that is being removed is dropped when the set in force is one of this store from
 * its deletion on. Events are stored once: those up to the last stored number of their stream are
 * known. One that tells of tampering or of a lift is also audited, as enforcement_tampered or
 * enforcement_lifted, up to |tamper_audits_max|, of which the last is for a lift; a lift is
 * moreover remembered in the sensor's record until a newer desired state is in force. The first
 * proof of each revision of a containment is audited as containment_verified. The first use of a
 * new certificate ends the one before. STILL_ALIVE is progress (not acknowledged). Ends are audited
 * as process_kill_finished. What is |rejected| has no effect, and the caller puts it on record,
 * throttled: a sensor can send as much of it as it likes. Refuses unknown_sensor,
 * invalid_sensor_trust, and certificate_superseded (|serial| is neither the current certificate nor
 * the one before), and then does nothing. */
void op_report_run(struct op *op, struct tlx_txn *txn);
/* Frees the op and its lists. NULL is fine. */
void op_report_free(struct op_report *op);
