// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/file.h"
#include "common/log.h"
#include "sensor/bpf_pin.h"
#include "sensor/engine_int.h"
#include "sensor/hazards.h"
#include "sensor/host.h"
#include "sensor/net_addresses.h"
#include "sensor/net_elsewhere.h"
#include "sensor/net_kernel.h"
#include "sensor/net_links.h"
#include "sensor/net_own.h"
#include "sensor/net_taps.h"
#include "sensor/net_xfrm.h"
#include "sensor/probe.h"

/* How long a host that releases itself waits for its Console. */
#define LOST_MS 60000u
/* Hazards change slowly, and looking for them reads all of /proc. */
#define HAZARDS_MS 30000u
/* Of connections in other namespaces, whose owners shall hear of it within 2 s. */
#define USER_TIMEOUT_MS 1000u
/* Passes that follow at once upon one that found something altered; then every 5 s. */
#define AGAIN_MAX 5u
/* What a moment's want left out is tried again every 5 s, not with each change of a device. */
#define RETRY_MS 4000u
#define CONTAIN_SLOT 1u

/* ---- what is around ---- */

/* A former process left something, maybe of another version, or we did. */
static bool has_pins(const struct core *core) {
  return bpf_pin_has_numbered(core->pin_folder, "net-", -1);
}

static int read_surroundings(struct core_net *net) {
  struct tlx_net_addr *local = NULL;
  struct net_link *links = NULL;
  size_t n_local = 0, n_links = 0;
  int err = net_addresses_read(&local, &n_local);
  if (!err) err = net_links_read(&links, &n_links);
  if (err) {
    free(local);
    return err;
  }
  for (size_t i = 0; net->net && i < net->n_links; i++)
    if (!net_links_find(links, n_links, net->links[i].index))
      bpf_net_link_gone(net->net, net->links[i].index);
  free(net->local);
  free(net->links);
  net->local = local;
  net->n_local = n_local;
  net->links = links;
  net->n_links = n_links;
  return 0;
}

/* Hazards that a test wants to see. */
static uint32_t pretended_hazards(void) {
  uint32_t found = 0;
#ifndef TLX_RELEASE
  const char *words = getenv("TELOVIX_TEST_HAZARDS");
  for (unsigned i = 0; words && i < HAZARD_COUNT; i++)
    if (strstr(words, hazard_word(i))) found |= 1u << i;
#endif
  return found;
}

/* A trial hurts no host: it has no hazards. */
static void find_hazards(struct core *core) {
  struct core_net *net = &core->net;
  uint8_t console[ENGINE_CONSOLE_MAX][16];
  uint64_t now_mono_ms = tlx_mono_ms(core->clock);
  if (!core->whole_host) {
    net->hazards = pretended_hazards();
    net->knows_hazards = true;
    return;
  }
  /* As they are when one is about to be put up; else now and then. */
  bool is_asked = !net->net && core_contain_rule(core);
  if (net->knows_hazards && !is_asked && now_mono_ms - net->hazards_mono_ms < HAZARDS_MS) return;
  if (read_surroundings(net) != 0) return;
  for (unsigned i = 0; i < core->link.n_console; i++)
    memcpy(console[i], core->link.console[i].address, sizeof console[i]);
  struct hazards_options options = {.proc = "/proc",
                                    .sys = "/sys",
                                    .console = (const uint8_t(*)[16])console,
                                    .n_console = core->link.n_console,
                                    .local = net->local,
                                    .n_local = net->n_local,
                                    .links = net->links,
                                    .n_links = net->n_links,
                                    .route = net_links_route,
                                    .is_wrapped = net_xfrm_wraps};
  net->hazards = hazards_find(&options) | pretended_hazards();
  net->knows_hazards = true;
  net->hazards_mono_ms = now_mono_ms;
}

static void note_step(struct rule_result *result, enum rule_reason reason, int err,
                      const char *step) {
  rule_result_set(result, reason);
  result->err = err;
  snprintf(result->step, sizeof result->step, "%s", step);
}

/* ---- taking down ---- */

static void forget(struct core_net *net) {
  bpf_net_close(net->net);
  net->net = NULL;
  net->is_attached = net->is_published = net->was_found = false;
  net->up_mono_ms = net->proved_boot_ns = 0;
  net->n_drifts = 0;
  net->proof[0] = '\0';
  net->published = (struct rule_contain){0};
  net->stats = (struct tlx_net_stats){0};
}

static int open_net(struct core *core, char why[240]) {
  struct core_net *net = &core->net;
  char root[256];
  bool adopted = false;
  struct bpf_net_options options = {.pin_folder = core->pin_folder,
                                    .cgroup_folder = core->scope_folder,
                                    .whole_host = core->whole_host,
                                    .btf_path = core->btf_path,
                                    .own = &net->own};
  if (net->net) return 0;
  if (core->whole_host) {
    int err = host_cgroup_root(root, sizeof root);
    if (err) {
      snprintf(why, 240, "the root of cgroup2 is not mounted here: %s", tlx_err_text(err));
      return err;
    }
    options.cgroup_folder = root;
  }
  int err = bpf_net_open(&options, why, &adopted, &net->net);
  if (err) return err;
  net->n_opened++;
  /* What was found is in force, and nobody knows for how long without a Console: since now. */
  if (adopted) net->up_mono_ms = tlx_mono_ms(core->clock);
  return 0;
}

bool core_net_remove(struct core *core) {
  struct core_net *net = &core->net;
  static const struct tlx_net_cfg off = {.mode = TLX_NET_OFF};
  char why[240] = "";
  if (!net->net && !net->has_rest && !has_pins(core)) return true;
  int err = bpf_pin_lock(core->pin_folder, why, &core->lock_fd);
  if (!err) err = open_net(core, why);
  /* First everything passes, then the programs go: no packet meets half of them. */
  if (!err) {
    int off_err = bpf_net_publish(net->net, &off, NULL, 0);
    err = bpf_net_remove(net->net);
    if (off_err && !err) tlx_debug(BPF, "switching off: %s", tlx_err_text(off_err));
    /* Nothing of it can be used again, whatever could not be taken down: the next try, or the next
     * containment, opens what is there. */
    forget(net);
    net->has_rest = err != 0;
  }
  if (err) {
    tlx_error(RULE, "the containment cannot be taken off: %s%s%s", tlx_err_text(err),
              *why ? ": " : "", why);
    return false;
  }
  tlx_notice(RULE, "the containment is off");
  return true;
}

/* ---- putting up ---- */

static bool may_put_up(struct core *core, const struct rule_contain *rule,
                       struct rule_result *result) {
  char words[120] = "";
  if (core->net.net || core->net.hazards == 0 || rule->force || has_pins(core)) return true;
  for (unsigned i = 0; i < HAZARD_COUNT; i++)
    if (core->net.hazards >> i & 1)
      snprintf(words + strlen(words), sizeof words - strlen(words), "%s%s", *words ? ", " : "",
               hazard_word(i));
  note_step(result, RULE_REASON_HAZARD, 0, words);
  return false;
}

/* The live connection, before the first packet can be stopped. */
static void mark_own(struct core *core) {
  if (core->link.fd >= 0) net_own_mark(core->pin_folder, core->link.fd);
}

/* Every uplink gets its programs before the configuration names them; what cannot be held is a gap.
 */
static void follow_links(struct core *core) {
  struct core_net *net = &core->net;
  net->link_gaps = 0;
  net->has_late_links = false;
  if (!core->whole_host) return;
  for (size_t i = 0; i < net->n_links; i++) {
    char why[240] = "";
    /* Also where nothing leaves: it may send on through another device. */
    if (net->links[i].has_xdp) net->link_gaps |= 1u << RULE_GAP_XDP;
    if (!net_link_is_uplink(&net->links[i])) continue;
    /* What was detached since the comparison is drift, and not a device that is new. */
    (void)bpf_net_link_check(net->net, net->links[i].index, &core->tampers);
    int err = bpf_net_link_add(net->net, net->links[i].index, why);
    if (err == -ENODEV) continue; /* it went meanwhile */
    if (err == -EAGAIN) {
      net->has_late_links = true;
      continue;
    }
    if (err) {
      net->link_gaps |=
          1u << RULE_GAP_PACKET_SOCKET | 1u << RULE_GAP_FORWARDED | 1u << RULE_GAP_V6_RESET;
      tlx_warn(BPF, "no programs on device %s: %s", net->links[i].name, why);
    }
  }
}

/* What passes by the programs of devices. After the publication, since from then on no socket comes
 * to do it, but for those of 32-bit processes. */
static void look_aside(struct core *core) {
  struct net_taps taps = {.n_listening = 1, .n_bypassing = 1, .may_xdp = true};
  struct net_elsewhere elsewhere;
  char sender[320] = "";
  uint32_t gaps = 0, before = core->net.aside_gaps;
  core->net.aside_gaps = 0;
  if (!core->whole_host) return;
  int err = net_taps_look("/proc", &taps);
  net_elsewhere_look("/proc", &elsewhere);
  if (taps.n_listening) gaps |= 1u << RULE_GAP_PACKET_LISTEN;
  if (taps.n_bypassing) gaps |= 1u << RULE_GAP_PACKET_BYPASS;
  if (taps.may_xdp || elsewhere.has_xdp) gaps |= 1u << RULE_GAP_XDP;
  if (elsewhere.n_ways_out) gaps |= 1u << RULE_GAP_DEVICE_ELSEWHERE;
  if (elsewhere.is_blind) gaps |= 1u << RULE_GAP_NAMESPACE_NOT_ENTERED;
  if (net_kernel_bypasses("/sys", "/proc", sender, sizeof sender))
    gaps |= 1u << RULE_GAP_KERNEL_BYPASS;
  core->net.aside_gaps = gaps;
  if (gaps & ~before & 1u << RULE_GAP_KERNEL_BYPASS)
    tlx_warn(RULE, "what passes by: %s sends past all programs", sender);
  if (gaps & ~before & ~(1u << RULE_GAP_KERNEL_BYPASS))
    tlx_warn(
        RULE,
        "what passes by: %u packet sockets listen, %u may send past devices, XDP %s, %u devices "
        "(%s) lead out of other network namespaces%s%s",
        taps.n_listening, taps.n_bypassing, taps.may_xdp || elsewhere.has_xdp ? "yes" : "no",
        elsewhere.n_ways_out, elsewhere.name, err ? ": " : "", err ? tlx_err_text(err) : "");
}

static int netns_cookie(__u64 *ret_cookie) {
  socklen_t len = sizeof *ret_cookie;
  int fd TLX_AUTOCLOSE = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, ret_cookie, &len) != 0) return -errno;
  return 0;
}

static void sweep(struct core *core, const struct rule_contain *rule) {
  struct net_sweep_result *result = &core->net.sweep;
  struct net_sweep_options options = {
      .rule = rule, .scope_folder = core->scope_folder, .proc = "/proc"};
  *result = (struct net_sweep_result){0};
  /* At boot there is no session yet, and an observed one goes on. */
  if (core->is_boot || rule->mode != TLX_NET_ENFORCE) return;
  net_sweep(&options, result);
  tlx_notice(RULE, "%u sessions ended in %u network namespaces, %u not entered",
             result->n_destroyed, result->n_spaces, result->n_skipped);
}

/* Without a right to do it the next one ends no session either. */
static bool wants_sweep(const struct net_sweep_result *last) {
  return last->err && last->err != -EPERM && last->err != -EACCES;
}

/* |is_due|: what is missing is tried again. */
static int publish(struct core *core, const struct rule_contain *rule, bool is_due) {
  struct core_net *net = &core->net;
  struct tlx_net_cfg cfg = {
      .mode = rule->mode, .slot = CONTAIN_SLOT, .user_timeout_ms = USER_TIMEOUT_MS};
  if (net->is_published && rule_contain_equal(rule, &net->published)) {
    if (is_due && wants_sweep(&net->sweep)) sweep(core, rule);
    return 0;
  }
  int err = netns_cookie(&cfg.host_netns_cookie);
  if (!err) err = bpf_net_publish(net->net, &cfg, rule->allow, rule->n_allow);
  if (err) return err;
  if (!net->is_published && !net->up_mono_ms)
    tlx_notice(RULE, "containment in force: %s", core->whole_host ? "whole host" : "trial scope");
  net->published = *rule;
  net->is_published = true;
  if (!net->up_mono_ms) net->up_mono_ms = tlx_mono_ms(core->clock);
  sweep(core, rule);
  return 0;
}

/* From nothing, or from what is there already, to |rule| in force. */
static int put_up(struct core *core, const struct rule_contain *rule, char step[240]) {
  struct core_net *net = &core->net;
  uint64_t now_mono_ms = tlx_mono_ms(core->clock);
  bool is_due = net->is_attached && now_mono_ms - net->tried_mono_ms >= RETRY_MS;
  int err = open_net(core, step);
  if (!err && !net->is_attached) err = bpf_net_attach(net->net, step);
  if (err) return err;
  if (is_due) bpf_net_retry(net->net);
  if (is_due || !net->is_attached) net->tried_mono_ms = now_mono_ms;
  net->is_attached = true;
  mark_own(core);
  err = bpf_net_set_local(net->net, net->local, net->n_local);
  if (err) {
    snprintf(step, 240, "the addresses of this host: %s", tlx_err_text(err));
    return err;
  }
  follow_links(core);
  err = publish(core, rule, is_due);
  /* Those of a former process went on until now. */
  if (!err && net->has_late_links) follow_links(core);
  /* Marks of a map that had to be replaced are lost; the new one is pinned by now. */
  mark_own(core);
  if (err) snprintf(step, 240, "it cannot be published: %s", tlx_err_text(err));
  if (!err) look_aside(core);
  return err;
}

/* ---- gaps ---- */

static uint32_t gaps_of(const struct core *core) {
  const struct core_net *net = &core->net;
  uint32_t layers = bpf_net_layers(net->net), gaps = net->link_gaps | net->aside_gaps;
  if (!core->whole_host) gaps |= 1u << RULE_GAP_TRIAL_SCOPE | 1u << RULE_GAP_PACKET_SOCKET;
  if (core->whole_host && !(layers >> BPF_NET_LAYER_TC & 1))
    gaps |= 1u << RULE_GAP_PACKET_SOCKET | 1u << RULE_GAP_FORWARDED | 1u << RULE_GAP_V6_RESET;
  if (core->whole_host && !(layers >> BPF_NET_LAYER_OPTIONS & 1))
    gaps |= 1u << RULE_GAP_PACKET_BYPASS | 1u << RULE_GAP_XDP;
  if (!(layers >> BPF_NET_LAYER_OWN & 1)) gaps |= 1u << RULE_GAP_OWN_MARKS;
  if (!(layers >> BPF_NET_LAYER_CONNECT & 1)) gaps |= 1u << RULE_GAP_SLOW_ERRORS;
  if (net->sweep.lacks_diag || net->sweep.err) gaps |= 1u << RULE_GAP_NO_TCP_DIAG;
  if (net->sweep.n_skipped) gaps |= 1u << RULE_GAP_NAMESPACE_NOT_ENTERED;
  if (core->link.is_unsaved) gaps |= 1u << RULE_GAP_NOT_SAVED;
  return gaps;
}

/* ---- the proof ---- */

static void choose_console(struct core *core, struct probe_options *options) {
  struct sockaddr_storage peer;
  socklen_t len = sizeof peer;
  uint8_t address[16];
  uint16_t port;
  /* The one that the link is connected to comes first. */
  if (core->link.fd >= 0 && getpeername(core->link.fd, (struct sockaddr *)&peer, &len) == 0 &&
      net_address_of((struct sockaddr *)&peer, address, &port)) {
    struct probe_console *to = &options->console[!net_address_is_v4(address)];
    options->console_is_local |= net_address_is_local(address, core->net.local, core->net.n_local);
    if (!options->console_is_local) {
      memcpy(to->address, address, sizeof address);
      to->port = port;
    }
  }
  for (unsigned i = 0; i < core->link.n_console; i++) {
    const uint8_t *known = core->link.console[i].address;
    struct probe_console *to = &options->console[!net_address_is_v4(known)];
    bool is_local = net_address_is_local(known, core->net.local, core->net.n_local);
    options->console_is_local |= is_local;
    if (is_local || to->port) continue;
    memcpy(to->address, known, sizeof to->address);
    to->port = core->link.console[i].port;
  }
}

static enum probe_verdict prove(struct core *core, const struct rule_contain *rule) {
  struct core_net *net = &core->net;
  struct probe_options options = {.net = net->net,
                                  .pin_folder = core->pin_folder,
                                  .scope_folder = core->scope_folder,
                                  .rule = rule,
                                  .local = net->local,
                                  .n_local = net->n_local};
  struct probe probe;
  choose_console(core, &options);
  net->proof[0] = '\0';
  int err = probe_run(&options, &probe);
  if (err) {
    snprintf(net->proof, sizeof net->proof, "it could not be tried: %s", tlx_err_text(err));
    return PROBE_FAILED;
  }
  bool has_connect = bpf_net_layers(net->net) >> BPF_NET_LAYER_CONNECT & 1;
  return probe_judge(&probe, rule->mode, has_connect, net->proof, sizeof net->proof);
}

/* ---- what was altered ---- */

/* |first|: of what was found, among the tampers. */
static void note_drift(struct core *core, int err, unsigned first, struct rule_result *result) {
  bool is_altered = core->tampers.n > first;
  if (is_altered) core->repaired_boot_ns = tlx_boot_ns(core->clock);
  note_step(result, is_altered ? RULE_REASON_DRIFT : RULE_REASON_STEP_REPEATED, err,
            is_altered ? core->tampers.list[first].what : "what is in force cannot be compared");
  core->net.n_drifts++;
}

/* Whether no socket but ours is let through by its mark, also of those that were marked before this
 * process, or before there was a rule. */
static bool has_own_marks_only(struct core *core, struct rule_result *result) {
  struct core_net *net = &core->net;
  unsigned n_before = core->tampers.n;
  int err = bpf_net_own_verify(net->net, net_own_has, &core->tampers);
  if (!err && core->tampers.n == n_before) return true;
  if (result->reason != RULE_REASON_DRIFT)
    note_drift(core, err, n_before, result);
  else if (core->tampers.n > n_before)
    core->repaired_boot_ns = tlx_boot_ns(core->clock);
  if (!err) return false;
  tlx_error(BPF, "the marks of sockets cannot be verified: %s", tlx_err_text(err));
  net->is_attached = net->is_published = false;
  return false;
}

/* ---- the word ---- */

/* |seen_boot_ns|: when the comparison before it began, which is all that the proof vouches for. */
static void conclude(struct core *core, const struct rule_contain *rule, uint64_t seen_boot_ns,
                     struct rule_result *result) {
  struct core_net *net = &core->net;
  result->gaps = gaps_of(core);
  if (core->is_boot) {
    rule_result_set(result, RULE_REASON_UNPROVED);
    return;
  }
  enum probe_verdict verdict = prove(core, rule);
  /* Before it too; but whoever marks a socket again and again had time to while the proof waited.
   */
  if (verdict == PROBE_HOLDS && !has_own_marks_only(core, result)) {
    sweep(core, rule);
    return;
  }
  switch (verdict) {
  case PROBE_HOLDS:
    net->proved_boot_ns = seen_boot_ns;
    net->n_drifts = 0;
    result->state = result->gaps ? RULE_PARTIAL : RULE_APPLIED;
    return;
  case PROBE_NO_CONSOLE:
    net->n_drifts = 0;
    note_step(result, RULE_REASON_CONSOLE_SILENT, 0, net->proof);
    return;
  default:
    break;
  }
  /* Attached and published anew in the next pass, whatever our books say. */
  bool was_proved = net->proved_boot_ns != 0;
  tlx_error(RULE, "the containment is not proved, putting it up anew: %s", net->proof);
  /* What was altered since the comparison is told: afterwards nothing of it is left to be seen. */
  size_t n_before = core->tampers.n;
  bpf_net_verify(net->net, &core->tampers);
  if (core->tampers.n > n_before) core->repaired_boot_ns = tlx_boot_ns(core->clock);
  net->is_attached = net->is_published = false;
  net->n_drifts++;
  enum rule_reason reason = was_proved ? RULE_REASON_DRIFT : RULE_REASON_NOT_PROVED;
  /* That it could not be tried says nothing of what is in force. */
  note_step(result, verdict == PROBE_FAILED ? RULE_REASON_STEP_REPEATED : reason, 0, net->proof);
}

/* ---- a pass ---- */

/* What somebody froze cannot be set right: its pins go on until a successor beside them is in
 * force. */
static void set_aside(struct core_net *net) {
  bpf_net_close(net->net);
  net->net = NULL;
}

/* Whether all is as we made it; else it has been repaired as far as it could be, and that is not
 * proved yet. */
static bool is_as_made(struct core *core, struct rule_result *result) {
  struct core_net *net = &core->net;
  unsigned n_before = core->tampers.n;
  if (!net->is_attached || !net->is_published) return true;
  int err = bpf_net_verify(net->net, &core->tampers);
  if (!err && core->tampers.n == n_before) return true;
  note_drift(core, err, n_before, result);
  if (err) net->is_attached = net->is_published = false;
  if (err == -EPERM) set_aside(net);
  return false;
}

static bool is_lost(const struct core *core, const struct rule_contain *rule) {
  const struct core_net *net = &core->net;
  uint64_t since_mono_ms = net->up_mono_ms;
  /* One that refuses us is there: what it revoked stays contained. */
  if (!rule->release_when_lost || rule->mode != TLX_NET_ENFORCE || !since_mono_ms ||
      core->is_boot || core->link.is_refused)
    return false;
  if (core->link.seen_mono_ms > since_mono_ms) since_mono_ms = core->link.seen_mono_ms;
  return tlx_mono_ms(core->clock) - since_mono_ms >= LOST_MS;
}

static bool was_lost(const struct core *core) {
  return core->net.has_lost && memcmp(&core->net.lost, &core->name, sizeof core->name) == 0;
}

static void release_by_itself(struct core *core, struct rule_result *result) {
  if (!was_lost(core))
    tlx_notice(RULE, "no Console for %u s: the containment is released, as its rule says",
               LOST_MS / 1000);
  core->net.is_settled = core_net_remove(core);
  core->net.has_lost = true;
  core->net.lost = core->name;
  rule_result_set(result, RULE_REASON_LOST_CONSOLE);
}

/* By us, or by a former process. */
static bool holds_something(const struct core_net *net) {
  return net->up_mono_ms || net->was_found;
}

/* A host that is cut off is not called open because one pass could not do its work. */
static void note_failure(const struct core_net *net, int err, const char *step,
                         struct rule_result *result) {
  bool is_denied = err == -EPERM || err == -EACCES || err == -EOPNOTSUPP;
  enum rule_reason reason = is_denied ? RULE_REASON_NO_ENFORCEMENT : RULE_REASON_STEP_FAILED;
  note_step(result, holds_something(net) ? RULE_REASON_STEP_REPEATED : reason, err, step);
}

static void hold(struct core *core, const struct rule_contain *rule, struct rule_result *result) {
  struct core_net *net = &core->net;
  char step[240] = "";
  if (!net->net) net->was_found = has_pins(core);
  if (was_lost(core) || is_lost(core, rule)) {
    release_by_itself(core, result);
    return;
  }
  if (!may_put_up(core, rule, result)) {
    net->is_settled = true;
    return;
  }
  /* Two sensors with the same pins would undo each other's containment. */
  int err = bpf_pin_lock(core->pin_folder, step, &core->lock_fd);
  if (err == TLX_E_LOCKED) {
    note_failure(net, err, step, result);
    return;
  }
  /* Before the comparison: programs on a device that went are not missing. */
  if (!err) {
    err = read_surroundings(net);
    if (err) snprintf(step, sizeof step, "addresses and devices cannot be read");
  }
  unsigned n_before = core->tampers.n;
  bool was_made = is_as_made(core, result), is_aside = !was_made && !net->net;
  bool goes_on = net->is_published;
  unsigned n_compared = core->tampers.n;
  if (!err) err = put_up(core, rule, step);
  /* The successor has none of it. */
  for (unsigned i = n_before; is_aside && !err && i < core->tampers.n; i++)
    core->tampers.list[i].repaired = true;
  if (err) {
    note_failure(net, err, step, result);
    tlx_error(RULE, "the containment cannot be put in force: %s: %s", step, tlx_err_text(err));
    /* Whatever is half made goes, unless it holds something: what a former process left does. */
    if (!holds_something(net)) net->is_settled = core_net_remove(core);
    return;
  }
  net->is_settled = true;
  if (core->tampers.n > n_compared && was_made) {
    was_made = false;
    note_drift(core, 0, n_compared, result);
  }
  /* Of this pass too: what it made, and what was altered while it looked around. Nothing is made
   * from here on. */
  uint64_t seen_boot_ns = tlx_boot_ns(core->clock);
  if (was_made && !is_as_made(core, result)) {
    was_made = false;
    goes_on = true;
  }
  if (!net->net) return;
  /* Also before the first proof. What was opened meanwhile ends, unless the publication has ended
   * it. */
  bool is_clean = has_own_marks_only(core, result);
  if (!is_clean || (!was_made && goes_on)) sweep(core, rule);
  if (was_made && is_clean)
    conclude(core, rule, seen_boot_ns, result);
  else
    result->gaps = gaps_of(core);
}

static void refuse_others(struct core *core, const struct core_rule *first) {
  struct rule_result *result = calloc(1, sizeof *result);
  for (size_t i = 0; result && i < core->n_rules; i++) {
    struct core_rule *rule = core->rules[i];
    if (rule->kind != RULE_KIND_CONTAIN || rule == first) continue;
    *result = (struct rule_result){.state = RULE_PENDING};
    if (!rule->is_known)
      rule_result_set(result, RULE_REASON_UNKNOWN_TEMPLATE);
    else if (rule->contain)
      rule_result_set(result, RULE_REASON_ONE_CONTAINMENT);
    else
      note_step(result, RULE_REASON_BAD_ALLOW, 0, rule->result.step);
    core_note_result(core, rule, result);
  }
  free(result);
}

void core_net_pass(struct core *core) {
  struct core_net *net = &core->net;
  struct core_rule *rule = core_contain_rule(core);
  net->wants_again = false;
  if (!core->is_boot) find_hazards(core);
  /* Without a word of the Console what a former process had in force stays. */
  if (!core->has_name) return;
  refuse_others(core, rule);
  if (!rule && !core_may_contain(core)) {
    net->is_settled = core_net_remove(core);
    return;
  }
  /* What is in force goes on in the place of one that cannot be read, with nothing to say about
   * that one; nor is anything to be done where nothing is in force that we know the rule of. */
  const struct rule_contain *contain = rule ? rule->contain : &net->published;
  if (!*contain->rule_id) {
    net->is_settled = true;
    return;
  }
  struct rule_result *result = calloc(1, sizeof *result);
  if (!result) return;
  result->state = RULE_PENDING;
  hold(core, contain, result);
  if (rule) core_note_result(core, rule, result);
  net->wants_again = net->n_drifts && net->n_drifts <= AGAIN_MAX;
  if (net->net) (void)bpf_net_stats(net->net, &net->stats);
  free(result);
}

void core_net_prepare(struct core *core) {
  char why[240] = "";
  if (core->net.is_prepared || core->is_boot) return;
  core->net.is_prepared = true;
  if (!core->net.own && bpf_net_own_open(core->btf_path, why, &core->net.own) != 0)
    tlx_debug(BPF, "marks of sockets will not be told of: %s", why);
}

void core_net_done(struct core *core) {
  forget(&core->net);
  bpf_net_own_close(core->net.own);
  core->net.own = NULL;
  free(core->net.local);
  free(core->net.links);
  if (core->link.fd >= 0) close(core->link.fd);
  core->link.fd = -1;
}
