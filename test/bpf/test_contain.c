// SPDX-License-Identifier: GPL-2.0-or-later
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "net_bed.h"
#include "rpc/pb_scan.h"
#include "sensor/bpf_net_int.h"
#include "sensor/bpf_net_own.h"
#include "sensor/engine_rules.h"
#include "sensor/net_addresses.h"
#include "sensor/net_own.h"
#include "sensor/offline.h"
#include "sensor/probe.h"
#include "sensor/state.h"
#include "telovix/v1/policy.pb-c.h"

/* The network part of a pass with the running kernel: what is told of a containment is what the
 * kernel does. The test's process is in the cgroup of the trial; the Console is the peer, in
 * another network namespace. */

/* ---- what fails when a test wants it ---- */

static bool no_addresses, no_attach, no_own_marks, no_sockets, no_publication;
int __real_net_addresses_read(struct tlx_net_addr **ret_list, size_t *ret_n);
int __wrap_net_addresses_read(struct tlx_net_addr **ret_list, size_t *ret_n);
int __wrap_net_addresses_read(struct tlx_net_addr **ret_list, size_t *ret_n) {
  return no_addresses ? -ETIMEDOUT : __real_net_addresses_read(ret_list, ret_n);
}
int __real_bpf_net_attach(struct bpf_net *net, char why[240]);
int __wrap_bpf_net_attach(struct bpf_net *net, char why[240]);
int __wrap_bpf_net_attach(struct bpf_net *net, char why[240]) {
  return no_attach ? -ENOMEM : __real_bpf_net_attach(net, why);
}

int __real_bpf_net_own_open(const char *btf_path, char why[240], struct bpf_net_own **ret_own);
int __wrap_bpf_net_own_open(const char *btf_path, char why[240], struct bpf_net_own **ret_own);
int __wrap_bpf_net_own_open(const char *btf_path, char why[240], struct bpf_net_own **ret_own) {
  return no_own_marks ? -EINVAL : __real_bpf_net_own_open(btf_path, why, ret_own);
}

/* What happens while a pass goes on: after its first comparison, and in its proof. */
static void (*on_local)(void), (*on_probe)(void);
int __real_bpf_net_set_local(struct bpf_net *net, const struct tlx_net_addr *list, size_t n);
int __wrap_bpf_net_set_local(struct bpf_net *net, const struct tlx_net_addr *list, size_t n);
int __wrap_bpf_net_set_local(struct bpf_net *net, const struct tlx_net_addr *list, size_t n) {
  if (on_local) on_local();
  return __real_bpf_net_set_local(net, list, n);
}
int __real_probe_run(const struct probe_options *options, struct probe *ret_probe);
int __wrap_probe_run(const struct probe_options *options, struct probe *ret_probe);
int __wrap_probe_run(const struct probe_options *options, struct probe *ret_probe) {
  if (on_probe) on_probe();
  if (no_sockets) return -EMFILE;
  return __real_probe_run(options, ret_probe);
}

int __real_bpf_net_publish(struct bpf_net *net, const struct tlx_net_cfg *cfg,
                           const struct tlx_allow_entry *allow, size_t n);
int __wrap_bpf_net_publish(struct bpf_net *net, const struct tlx_net_cfg *cfg,
                           const struct tlx_allow_entry *allow, size_t n);
int __wrap_bpf_net_publish(struct bpf_net *net, const struct tlx_net_cfg *cfg,
                           const struct tlx_allow_entry *allow, size_t n) {
  return no_publication ? -ENOMEM : __real_bpf_net_publish(net, cfg, allow, n);
}

/* What a moment's want leaves out. */
static int no_connect_err, no_sweep_err;
static unsigned n_loads, n_sweeps;
int __real_bpf_net_load_progs(enum bpf_net_prog first, enum bpf_net_prog last, const int *map_fds,
                              const char *btf_path, char why[240], int *ret_fds);
int __wrap_bpf_net_load_progs(enum bpf_net_prog first, enum bpf_net_prog last, const int *map_fds,
                              const char *btf_path, char why[240], int *ret_fds);
int __wrap_bpf_net_load_progs(enum bpf_net_prog first, enum bpf_net_prog last, const int *map_fds,
                              const char *btf_path, char why[240], int *ret_fds) {
  n_loads++;
  return no_connect_err && first == BPF_NET_PROG_CONNECT4
             ? no_connect_err
             : __real_bpf_net_load_progs(first, last, map_fds, btf_path, why, ret_fds);
}
void __real_net_sweep(const struct net_sweep_options *options, struct net_sweep_result *ret_result);
void __wrap_net_sweep(const struct net_sweep_options *options, struct net_sweep_result *ret_result);
void __wrap_net_sweep(const struct net_sweep_options *options,
                      struct net_sweep_result *ret_result) {
  n_sweeps++;
  __real_net_sweep(options, ret_result);
  if (no_sweep_err) ret_result->err = no_sweep_err;
}

struct world {
  struct net_bed bed;
  struct tlx_clock_fake clock;
  struct core *core;
  uint64_t generation;
};
static struct world world;

static void enter_cgroup(void) {
  char path[256];
  snprintf(path, sizeof path, "%s/cgroup.procs", world.bed.bed.cgroup);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  cr_assert(fd >= 0 && write(fd, "0", 1) == 1);
  close(fd);
}

static void open_core(void) {
  struct bpf_caps_paths paths = {.btf = "/sys/kernel/btf/vmlinux",
                                 .securityfs = "/sys/kernel/security",
                                 .bpffs = world.bed.bed.bpffs};
  struct engine_options options = {.clock = &world.clock.clock,
                                   .state_folder = world.bed.bed.folder,
                                   .scope_folder = world.bed.bed.cgroup,
                                   .paths = &paths};
  world.core = calloc(1, sizeof *world.core);
  cr_assert_eq(core_init(world.core, &options), 0);
  world.core->net_only = true;
}

static void close_core(void) {
  if (!world.core) return;
  core_done(world.core);
  free(world.core);
  world.core = NULL;
}

static void begin(void) {
  memset(&world, 0, sizeof world);
  tlx_clock_fake_init(&world.clock, 1700000000000, 1000, 1000000);
  net_bed_ground(&world.bed);
  net_bed_peer(&world.bed);
  enter_cgroup();
  open_core();
}

static void end(void) {
  if (world.core) (void)core_net_remove(world.core);
  close_core();
  net_bed_end(&world.bed);
}

/* ---- what is wanted ---- */

struct want {
  const char *allow[4];
  unsigned n_allow, n_rules;
  bool release_when_lost, force;
  bool has_strange_mode, is_garbage; /* nobody can read it */
};

static struct desired *make_desired(const struct want *want) {
  struct tlx_buf packed[2] = {0};
  struct tlx_bytes bytes[2];
  struct desired_name name = {.generation = ++world.generation};
  struct desired *desired = NULL;
  for (unsigned i = 0; i < want->n_rules; i++) {
    Telovix__V1__EnforcementPolicy policy = TELOVIX__V1__ENFORCEMENT_POLICY__INIT;
    Telovix__V1__NetworkContainment contain = TELOVIX__V1__NETWORK_CONTAINMENT__INIT;
    char rule_id[32];
    uint8_t revision[16] = {(uint8_t)world.generation};
    snprintf(rule_id, sizeof rule_id, "rule_000000000000000%u", i);
    contain.allow = (char **)want->allow;
    contain.n_allow = want->n_allow;
    contain.force = want->force;
    contain.on_lost_console = want->release_when_lost
                                  ? TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_RELEASE
                                  : TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_KEEP;
    policy.rule_id = rule_id;
    policy.template_ = (char[]){"network-containment"};
    policy.mode = want->has_strange_mode ? (Telovix__V1__RuleMode)9
                                         : TELOVIX__V1__RULE_MODE__RULE_MODE_ENFORCE;
    policy.revision = (ProtobufCBinaryData){sizeof revision, revision};
    policy.network_containment = &contain;
    if (want->is_garbage)
      tlx_buf_add_text(&packed[i], "\x0a\x7fgarbage");
    else
      tlx_pb_pack(&policy.base, &packed[i]);
    bytes[i] = (struct tlx_bytes){packed[i].data, packed[i].len};
  }
  desired_digest(bytes, want->n_rules, name.digest);
  cr_assert_eq(desired_new(&name, bytes, want->n_rules, &desired), 0);
  for (unsigned i = 0; i < want->n_rules; i++)
    tlx_buf_done(&packed[i]);
  return desired;
}

/* The Console at the peer, or at an address where nobody is. */
static void link_to(const char *address) {
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  uint16_t port;
  world.core->link.n_console = 0;
  if (!address) return;
  cr_assert_eq(inet_pton(AF_INET, address, &v4.sin_addr), 1);
  cr_assert(net_address_of((struct sockaddr *)&v4, world.core->link.console[0].address, &port));
  world.core->link.console[0].port = NET_PORT;
  world.core->link.n_console = 1;
}

/* A pass of the network part alone. */
static const struct rule_result *pass(const struct want *want) {
  struct desired *desired = want ? make_desired(want) : NULL;
  world.core->tampers.n = 0;
  if (desired) cr_assert_eq(core_take_desired(world.core, desired), 0);
  core_net_pass(world.core);
  desired_free(desired);
  return world.core->n_rules ? &world.core->rules[0]->result : NULL;
}

static const struct rule_result *contain(const struct want *want) {
  const struct rule_result *result = pass(want);
  if (result->reason == RULE_REASON_NO_ENFORCEMENT) cr_skip_test("%s", result->step);
  return result;
}

static const struct want plain = {.n_rules = 1}, nothing = {.n_rules = 0};
#define TRIAL_GAPS (1u << RULE_GAP_TRIAL_SCOPE | 1u << RULE_GAP_PACKET_SOCKET)

static int talk(const char *address) {
  return net_talk(&world.bed, strchr(address, ':') ? AF_INET6 : AF_INET, SOCK_STREAM, address,
                  NET_PORT, 0);
}

static bool has_pins(void) {
  char path[256];
  snprintf(path, sizeof path, "%s/net-1", world.bed.bed.pins);
  return access(path, F_OK) == 0;
}

/* ---- tests ---- */

Test(contain, nothing_is_loaded_before_it_is_wanted, .fini = end) {
  begin();
  pass(NULL);
  cr_assert_null(world.core->net.net);
  cr_assert_not(has_pins());
  pass(&nothing);
  cr_assert_null(world.core->net.net);
  cr_assert_not(has_pins());
  cr_assert(world.core->net.is_settled);
}

Test(contain, is_proved_and_partial_in_a_trial, .fini = end) {
  begin();
  link_to(NET_PEER4);
  const struct rule_result *result = contain(&plain);
  cr_assert_eq(result->state, RULE_PARTIAL, "%s %s %s", rule_reason_word(result->reason),
               result->step, world.core->net.proof);
  cr_expect_eq(result->gaps, TRIAL_GAPS, "%x", result->gaps);
  cr_expect_neq(world.core->net.proved_boot_ns, 0);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
  cr_expect_eq(talk(NET_PEER6), -EPERM);
  pass(&nothing);
  cr_expect_not(has_pins());
  cr_expect(world.core->net.is_settled);
  cr_expect_eq(talk(NET_PEER4), 0);
}

Test(contain, waits_with_its_word_for_an_answer_of_the_console, .fini = end) {
  begin();
  link_to("10.77.0.77");
  const struct rule_result *result = contain(&plain);
  cr_expect_eq(result->reason, RULE_REASON_CONSOLE_SILENT, "%s", rule_reason_word(result->reason));
  cr_expect_eq(result->state, RULE_PENDING);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
  link_to(NULL);
  cr_expect_eq(pass(NULL)->reason, RULE_REASON_CONSOLE_SILENT);
  link_to(NET_PEER4);
  cr_expect_eq(pass(NULL)->state, RULE_PARTIAL);
}

/* There is nobody to tell apart from: loopback is everybody's. */
Test(contain, is_proved_with_a_console_on_this_host, .fini = end) {
  begin();
  link_to(NET_OWN4);
  const struct rule_result *result = contain(&plain);
  cr_expect_eq(result->state, RULE_PARTIAL, "%s %s", rule_reason_word(result->reason),
               world.core->net.proof);
}

Test(contain, an_allow_list_is_replaced, .fini = end) {
  begin();
  link_to(NET_PEER4);
  struct want want = {.n_rules = 1, .n_allow = 1, .allow = {"out:" NET_PEER4 "/32,7001/tcp"}};
  const struct rule_result *result = contain(&want);
  cr_expect_eq(result->state, RULE_PARTIAL, "%s %s", rule_reason_word(result->reason),
               world.core->net.proof);
  cr_expect_eq(talk(NET_PEER4), 0);
  cr_expect_eq(talk(NET_PEER6), -EPERM);
  int fd = net_connect(&world.bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0, 1000);
  cr_assert_geq(fd, 0);
  cr_assert_eq(net_echo(fd, 1000), 0);
  cr_expect_eq(pass(&plain)->state, RULE_PARTIAL);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
  char byte;
  cr_expect(recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNABORTED, "%s", strerror(errno));
  close(fd);
  struct want bad = {.n_rules = 1, .n_allow = 1, .allow = {"sideways:10.0.0.0/8"}};
  result = pass(&bad);
  cr_expect_eq(result->reason, RULE_REASON_BAD_ALLOW);
  cr_expect(strstr(result->step, "sideways"), "%s", result->step);
}

Test(contain, open_sessions_end_but_not_ours, .fini = end) {
  begin();
  link_to(NET_PEER4);
  char byte;
  int theirs = net_connect(&world.bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0, 1000);
  int v6 = net_connect(&world.bed, AF_INET6, SOCK_STREAM, NET_PEER6, NET_PORT, 0, 1000);
  int udp = net_connect(&world.bed, AF_INET, SOCK_DGRAM, NET_PEER4, NET_PORT, 0, 1000);
  int ours = net_connect(&world.bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0, 1000);
  cr_assert(theirs >= 0 && v6 >= 0 && udp >= 0 && ours >= 0);
  cr_assert(net_echo(theirs, 1000) == 0 && net_echo(v6, 1000) == 0 && net_echo(ours, 1000) == 0);
  world.core->link.fd = dup(ours);
  contain(&plain);
  cr_expect_eq(world.core->net.sweep.err, 0, "%d", world.core->net.sweep.err);
  if (world.core->net.sweep.lacks_diag) cr_skip_test("this kernel cannot end sessions");
  cr_expect_eq(world.core->net.sweep.n_spaces, 1);
  cr_expect(recv(theirs, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNABORTED);
  cr_expect(recv(v6, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNABORTED);
  cr_expect(recv(udp, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNABORTED);
  cr_expect_eq(net_echo(ours, 2000), 0, "the own session goes on");
  close(theirs), close(v6), close(udp), close(ours);
}

/* Each alteration is unknown at once, and repaired before the next word. */
static void alter_and_look(const char *what, void (*alter)(void)) {
  cr_assert_eq(pass(NULL)->state, RULE_PARTIAL, "before %s", what);
  alter();
  const struct rule_result *result = pass(NULL);
  cr_expect_eq(result->state, RULE_UNKNOWN, "%s: %d %s", what, result->state,
               rule_reason_word(result->reason));
  cr_expect_eq(result->reason, RULE_REASON_DRIFT, "%s", what);
  cr_expect(world.core->net.wants_again);
  for (unsigned i = 0; i < 3 && result->state != RULE_PARTIAL; i++)
    result = pass(NULL);
  cr_expect_eq(result->state, RULE_PARTIAL, "after %s: %s %s", what,
               rule_reason_word(result->reason), result->step);
  cr_expect_eq(talk(NET_PEER4), -EPERM, "after %s", what);
}

static void remove_all_pins(void) {
  cr_assert(bed_command("rm -r %s/net-1", world.bed.bed.pins));
}

static void switch_off(void) {
  static const struct tlx_net_cfg off;
  cr_assert_eq(bpf_net_publish(world.core->net.net, &off, NULL, 0), 0);
}

Test(contain, what_is_altered_is_unknown_and_then_repaired, .fini = end) {
  begin();
  link_to(NET_PEER4);
  contain(&plain);
  alter_and_look("the pins", remove_all_pins);
  alter_and_look("the configuration", switch_off);
}

static void take_a_second(void) {
  tlx_clock_fake_advance(&world.clock, 1000);
}

static void detach_connect(void) {
  on_local = NULL;
  cr_assert_eq(
      bpf_link_detach(bpf_net_hook_of(world.core->net.net, BPF_NET_PROG_CONNECT4)->link_fd), 0);
}

/* What the proof vouches for was compared before it. */
Test(contain, a_proof_is_as_old_as_its_comparison, .fini = end) {
  begin();
  link_to(NET_PEER4);
  contain(&plain);
  on_probe = take_a_second;
  for (unsigned i = 0; i < 2; i++) {
    uint64_t before_boot_ns = tlx_boot_ns(&world.clock.clock);
    cr_expect_eq(pass(NULL)->state, RULE_PARTIAL);
    cr_expect_eq(world.core->net.proved_boot_ns, before_boot_ns);
  }
  on_probe = NULL;
}

Test(contain, what_is_altered_while_a_pass_looks_around_is_no_proof, .fini = end) {
  begin();
  link_to(NET_PEER4);
  cr_assert_eq(contain(&plain)->state, RULE_PARTIAL);
  on_local = detach_connect;
  const struct rule_result *result = pass(NULL);
  cr_expect_eq(result->reason, RULE_REASON_DRIFT, "%s %s", rule_reason_word(result->reason),
               result->step);
  cr_expect_eq(world.core->tampers.n, 1);
  cr_expect(world.core->tampers.list[0].repaired);
  cr_expect_eq(pass(NULL)->state, RULE_PARTIAL);
}

/* ---- what a moment's want left out ---- */

/* Without the hooks of calls only a packet that goes out can be stopped: it needs a route. */
static void begin_with_route(void) {
  begin();
  cr_assert(bed_command("ip -6 route add default via " NET_PEER6 " dev h0"));
  link_to(NET_PEER4);
}

static const struct rule_result *pass_after(uint64_t ms) {
  tlx_clock_fake_advance(&world.clock, ms);
  return pass(NULL);
}

Test(contain, a_layer_that_had_no_memory_comes_later, .fini = end) {
  begin_with_route();
  no_connect_err = -ENOMEM;
  const struct rule_result *result = contain(&plain);
  cr_expect_eq(result->state, RULE_PARTIAL, "%s", world.core->net.proof);
  cr_expect_eq(result->gaps, TRIAL_GAPS | 1u << RULE_GAP_SLOW_ERRORS, "%x", result->gaps);
  cr_expect_eq(talk(NET_PEER4), -ETIMEDOUT, "held, without an error at once");
  cr_expect_eq(pass_after(5000)->gaps, TRIAL_GAPS | 1u << RULE_GAP_SLOW_ERRORS);
  no_connect_err = 0;
  cr_expect_eq(pass_after(5000)->gaps, TRIAL_GAPS);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
  unsigned n = n_loads;
  cr_expect_eq(pass_after(5000)->state, RULE_PARTIAL);
  cr_expect_eq(n_loads, n, "nothing is missing");
}

/* Loading costs too much to do it for nothing every 5 s. */
Test(contain, a_layer_that_the_kernel_refuses_is_not_tried_again, .fini = end) {
  begin_with_route();
  no_connect_err = -EINVAL;
  cr_expect_eq(contain(&plain)->state, RULE_PARTIAL, "%s", world.core->net.proof);
  unsigned n = n_loads;
  cr_expect_eq(pass_after(5000)->gaps, TRIAL_GAPS | 1u << RULE_GAP_SLOW_ERRORS);
  cr_expect_eq(n_loads, n);
  no_connect_err = 0;
}

Test(contain, sessions_that_could_not_be_ended_are_ended_later, .fini = end) {
  begin();
  link_to(NET_PEER4);
  no_sweep_err = -ENOBUFS;
  cr_expect(contain(&plain)->gaps >> RULE_GAP_NO_TCP_DIAG & 1);
  cr_expect(pass_after(1000)->gaps >> RULE_GAP_NO_TCP_DIAG & 1);
  cr_expect_eq(n_sweeps, 1, "not with each change of a device");
  no_sweep_err = 0;
  pass_after(5000);
  cr_expect_eq(world.core->net.sweep.err, 0);
  cr_expect_eq(n_sweeps, 2);
  pass_after(5000);
  cr_expect_eq(n_sweeps, 2);
}

/* ---- sockets that somebody else marked ---- */

/* As root does by hand: the sensor does not remember it. */
static int marked_by_hand(int type) {
  return net_connect(&world.bed, AF_INET, type, NET_PEER4, NET_PORT, TLX_SOCK_OWN, 1000);
}

static void expect_drift(const struct rule_result *result) {
  cr_expect_eq(result->reason, RULE_REASON_DRIFT, "%s %s", rule_reason_word(result->reason),
               result->step);
  cr_expect_eq(result->state, RULE_UNKNOWN);
  cr_assert_geq(world.core->tampers.n, 1);
  cr_expect_str_eq(world.core->tampers.list[0].what, "map own_sock");
  cr_expect(world.core->tampers.list[0].repaired);
  cr_expect(world.core->net.wants_again);
}

Test(contain, a_socket_that_somebody_marked_is_drift_and_cut, .fini = end) {
  begin();
  link_to(NET_PEER4);
  char byte;
  int ours = net_connect(&world.bed, AF_INET, SOCK_STREAM, NET_PEER4, NET_PORT, 0, 1000);
  cr_assert_geq(ours, 0);
  world.core->link.fd = dup(ours);
  cr_assert_eq(contain(&plain)->state, RULE_PARTIAL);
  int tcp = marked_by_hand(SOCK_STREAM), udp = marked_by_hand(SOCK_DGRAM);
  cr_assert(tcp >= 0 && udp >= 0);
  cr_assert(net_echo(tcp, 2000) == 0 && net_echo(udp, 2000) == 0, "what the mark is for");
  expect_drift(pass(NULL));
  cr_expect(strstr(world.core->tampers.list[0].how, "2 sockets"), "%s",
            world.core->tampers.list[0].how);
  if (!world.core->net.sweep.lacks_diag)
    cr_expect(recv(tcp, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNABORTED, "%s",
              strerror(errno));
  cr_expect_neq(net_echo(tcp, 700), 0);
  cr_expect_neq(net_echo(udp, 700), 0);
  cr_expect_eq(pass(NULL)->state, RULE_PARTIAL, "proved anew");
  cr_expect_eq(net_echo(ours, 2000), 0, "the own link goes on");
  close(tcp), close(udp), close(ours);
}

/* Also one that passes as a probe, which would let another's refusal count as ours. */
Test(contain, what_was_marked_without_a_sensor_is_found_before_the_proof, .fini = end) {
  begin();
  link_to(NET_PEER4);
  contain(&plain);
  close_core();
  int fd = marked_by_hand(SOCK_STREAM);
  int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  cr_assert(fd >= 0 && net_echo(fd, 2000) == 0);
  cr_assert_eq(bpf_net_mark(world.bed.bed.pins, probe, TLX_SOCK_PROBE), 0);
  open_core();
  link_to(NET_PEER4);
  expect_drift(pass(&plain));
  cr_expect_eq(world.core->net.proved_boot_ns, 0);
  cr_expect_neq(net_echo(fd, 700), 0);
  cr_expect_eq(pass(NULL)->state, RULE_PARTIAL);
  cr_expect_eq(world.core->tampers.n, 0);
  close(fd), close(probe);
}

Test(contain, more_marked_sockets_than_one_walk_takes, .fini = end) {
  enum { N = TLX_UNMARK_MAX + 300 };
  static int fds[N];
  struct rlimit limit;
  begin();
  cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_max < N + 100)
    cr_skip_test("a process may have %lu descriptors here", limit.rlim_max);
  link_to(NET_PEER4);
  contain(&plain);
  for (unsigned i = 0; i < N; i++) {
    fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fds[i], 0);
    cr_assert_eq(bpf_net_mark(world.bed.bed.pins, fds[i], TLX_SOCK_OWN), 0);
  }
  char wanted[32];
  snprintf(wanted, sizeof wanted, "%d sockets", N);
  expect_drift(pass(NULL));
  cr_expect(strstr(world.core->tampers.list[0].how, wanted), "%s", world.core->tampers.list[0].how);
  cr_expect_eq(pass(NULL)->state, RULE_PARTIAL);
  for (unsigned i = 0; i < N; i++)
    close(fds[i]);
}

/* It says so instead of what it cannot know. */
Test(contain, a_kernel_that_does_not_tell_of_marks_has_a_gap, .fini = end) {
  begin();
  link_to(NET_PEER4);
  no_own_marks = true;
  const struct rule_result *result = contain(&plain);
  cr_expect_eq(result->state, RULE_PARTIAL, "%s", rule_reason_word(result->reason));
  cr_expect_eq(result->gaps, TRIAL_GAPS | 1u << RULE_GAP_OWN_MARKS, "%x", result->gaps);
  cr_expect_eq(pass(NULL)->state, RULE_PARTIAL);
  no_own_marks = false;
}

Test(contain, a_successor_takes_it_over_and_proves_it_anew, .fini = end) {
  begin();
  link_to(NET_PEER4);
  contain(&plain);
  close_core();
  cr_expect_eq(talk(NET_PEER4), -EPERM, "without a sensor");
  open_core();
  core_net_pass(world.core);
  cr_expect_eq(talk(NET_PEER4), -EPERM, "without a word of the Console it stays");
  link_to(NET_PEER4);
  cr_expect_eq(contain(&plain)->state, RULE_PARTIAL);
  close_core();
  open_core();
  pass(&nothing);
  cr_expect_not(has_pins(), "released by a successor");
  cr_expect_eq(talk(NET_PEER4), 0);
}

Test(contain, is_released_without_a_console_when_its_rule_says_so, .fini = end) {
  begin();
  struct want want = {.n_rules = 1, .release_when_lost = true};
  link_to("10.77.0.77");
  contain(&want);
  tlx_clock_fake_advance(&world.clock, 59999);
  cr_expect_eq(pass(NULL)->reason, RULE_REASON_CONSOLE_SILENT);
  world.core->link.seen_mono_ms = tlx_mono_ms(&world.clock.clock);
  tlx_clock_fake_advance(&world.clock, 59999);
  cr_expect_eq(pass(NULL)->reason, RULE_REASON_CONSOLE_SILENT, "it was there meanwhile");
  tlx_clock_fake_advance(&world.clock, 1);
  cr_expect_eq(pass(NULL)->reason, RULE_REASON_LOST_CONSOLE);
  cr_expect_not(has_pins());
  cr_expect_eq(talk(NET_PEER4), 0);
  /* The Console is back: only another desired state contains again. */
  link_to(NET_PEER4);
  world.core->link.seen_mono_ms = tlx_mono_ms(&world.clock.clock);
  cr_expect_eq(pass(NULL)->reason, RULE_REASON_LOST_CONSOLE);
  cr_expect_eq(pass(&want)->state, RULE_PARTIAL);
}

Test(contain, keeps_without_a_console, .fini = end) {
  begin();
  link_to("10.77.0.77");
  contain(&plain);
  tlx_clock_fake_advance(&world.clock, 3600 * 1000);
  cr_expect_eq(pass(NULL)->reason, RULE_REASON_CONSOLE_SILENT);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
}

Test(contain, there_is_one, .fini = end) {
  begin();
  link_to(NET_PEER4);
  struct want two = {.n_rules = 2};
  cr_expect_eq(contain(&two)->state, RULE_PARTIAL);
  cr_expect_eq(world.core->rules[1]->result.reason, RULE_REASON_ONE_CONTAINMENT);
  cr_expect_eq(world.core->rules[1]->result.state, RULE_REFUSED);
}

Test(contain, at_boot_it_is_in_force_and_not_said_to_be_proved, .fini = end) {
  begin();
  world.core->is_boot = true;
  const struct rule_result *result = contain(&plain);
  cr_expect_eq(result->reason, RULE_REASON_UNPROVED, "%s %s", rule_reason_word(result->reason),
               result->step);
  cr_expect_eq(result->state, RULE_PENDING);
  cr_expect_eq(world.core->net.proved_boot_ns, 0);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
}

Test(contain, a_hazard_refuses_it_without_force, .fini = end) {
  begin();
  cr_assert_eq(setenv("TELOVIX_TEST_HAZARDS", "network_root", 1), 0);
  const struct rule_result *result = pass(&plain);
  cr_expect_eq(result->reason, RULE_REASON_HAZARD);
  cr_expect(strstr(result->step, "network_root"), "%s", result->step);
  cr_expect_not(has_pins());
  link_to(NET_PEER4);
  struct want forced = {.n_rules = 1, .force = true};
  cr_expect_eq(contain(&forced)->state, RULE_PARTIAL);
  cr_assert_eq(unsetenv("TELOVIX_TEST_HAZARDS"), 0);
}

/* The proof alone, without the comparison of programs, links and maps. */
static void prove(struct probe *ret_probe, enum probe_verdict wanted) {
  struct probe_options options = {.net = world.core->net.net,
                                  .pin_folder = world.core->pin_folder,
                                  .scope_folder = world.core->scope_folder,
                                  .rule = world.core->rules[0]->contain,
                                  .local = world.core->net.local,
                                  .n_local = world.core->net.n_local};
  memcpy(options.console[0].address, world.core->link.console[0].address, 16);
  options.console[0].port = NET_PORT;
  char why[240] = "";
  cr_assert_eq(probe_run(&options, ret_probe), 0);
  cr_expect_eq(probe_judge(ret_probe, TLX_NET_ENFORCE, true, why, sizeof why), wanted, "%s", why);
}

/* A hook that is dead, or another's refusal, is no containment: with our programs switched off
 * behind our back the proof itself says so, whatever the books say. */
Test(contain, the_proof_finds_a_dead_hook, .fini = end) {
  begin();
  link_to(NET_PEER4);
  contain(&plain);
  switch_off();
  struct probe probe;
  prove(&probe, PROBE_LEAKS);
  cr_expect_eq(probe.families[0].own.outcome, PROBE_PASSED);
  cr_expect_eq(probe.families[0].tcp.outcome, PROBE_PASSED);
}

/* The hooks of calls live on and refuse; behind them every packet would pass. */
Test(contain, the_proof_finds_a_dead_hook_of_packets, .fini = end) {
  const struct bpf_insn open[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 1},
                                  {.code = BPF_JMP | BPF_EXIT}};
  LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_CGROUP_INET_EGRESS);
  struct probe probe;
  char path[256];
  begin();
  link_to(NET_PEER4);
  contain(&plain);
  prove(&probe, PROBE_HOLDS);
  for (unsigned i = 0; i < 2; i++)
    cr_expect(probe.families[i].packet.was_counted, "%u: on the link, if nowhere else", i);
  snprintf(path, sizeof path, "%s/net-1/skb_out", world.bed.bed.pins);
  int link = bpf_obj_get(path);
  int prog = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SKB, "open", "GPL", open, 2, &opts);
  cr_assert(link >= 0 && prog >= 0, "%d %d", link, prog);
  cr_assert_eq(bpf_link_update(link, prog, NULL), 0, "%s", strerror(errno));
  prove(&probe, PROBE_LEAKS);
  cr_expect_eq(probe.families[0].tcp.outcome, PROBE_DENIED);
  cr_expect_eq(probe.families[0].packet.outcome, PROBE_PASSED);
  close(link), close(prog);
}

/* By satellite. */
Test(contain, a_console_far_away_is_waited_for, .fini = end) {
  begin();
  if (!bed_command("tc qdisc add dev h0 root netem delay 700ms 2>/dev/null"))
    cr_skip_test("this kernel cannot delay packets (sch_netem)");
  link_to(NET_PEER4);
  const struct rule_result *result = contain(&plain);
  cr_expect_eq(result->state, RULE_PARTIAL, "%s %s", rule_reason_word(result->reason),
               result->step);
}

/* ---- nothing loosens by accident ---- */

static const struct want strange_allow = {.n_rules = 1, .n_allow = 1, .allow = {"sideways:10/8"}},
                         strange_mode = {.n_rules = 1, .has_strange_mode = true},
                         garbage = {.n_rules = 1, .is_garbage = true};

/* A host that is cut off is not called open, nor is a wait for it ended. */
Test(contain, what_fails_for_a_moment_is_unknown_and_no_failure, .fini = end) {
  begin();
  link_to(NET_PEER4);
  no_attach = true;
  cr_expect_eq(pass(&plain)->state, RULE_FAILED, "nothing was in force");
  no_attach = false;
  cr_assert_eq(contain(&plain)->state, RULE_PARTIAL);
  bool *const wants[] = {&no_addresses, &no_sockets, &no_publication};
  struct want want = {.n_rules = 1, .n_allow = 1, .allow = {"out:" NET_PEER6 "/128"}};
  for (unsigned i = 0; i < 3; i++) {
    *wants[i] = true;
    const struct rule_result *result = pass(i == 2 ? &want : NULL);
    cr_expect_eq(result->state, RULE_UNKNOWN, "%u: %d", i, result->state);
    cr_expect_eq(result->reason, RULE_REASON_STEP_REPEATED, "%u: %s", i,
                 rule_reason_word(result->reason));
    cr_expect_neq(*result->step, '\0', "%u", i);
    cr_expect_eq(world.core->repaired_boot_ns, 0, "nobody altered anything: %u", i);
    cr_expect_eq(talk(NET_PEER4), -EPERM);
    *wants[i] = false;
    cr_expect_eq(pass(NULL)->state, RULE_PARTIAL, "%u", i);
  }
}

/* A successor that cannot go on yet: what it found is not its to take down. */
Test(contain, what_fails_after_a_restart_leaves_it_in_force, .fini = end) {
  char path[256];
  begin();
  link_to(NET_PEER4);
  contain(&plain);
  close_core();
  open_core();
  link_to(NET_PEER4);
  no_addresses = true;
  cr_expect_eq(pass(&plain)->reason, RULE_REASON_STEP_REPEATED);
  cr_expect_eq(pass(NULL)->reason, RULE_REASON_STEP_REPEATED);
  cr_expect_eq(talk(NET_PEER4), -EPERM, "addresses cannot be read");
  no_addresses = false;
  /* Maps that cannot be adopted, and programs that cannot be loaded beside the former ones. */
  snprintf(path, sizeof path, "%s/net-1/cfgs", world.bed.bed.pins);
  cr_assert_eq(unlink(path), 0);
  no_attach = true;
  for (unsigned i = 0; i < 2; i++) {
    cr_expect_eq(pass(NULL)->reason, RULE_REASON_STEP_REPEATED);
    cr_expect_eq(talk(NET_PEER4), -EPERM, "programs cannot be loaded");
  }
  no_attach = false;
  cr_expect_eq(pass(NULL)->state, RULE_PARTIAL, "%s %s", world.core->rules[0]->result.step,
               world.core->net.proof);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
  pass(&nothing);
  cr_expect_not(has_pins());
  cr_expect_eq(talk(NET_PEER4), 0);
  /* What this process began and could not end goes. */
  no_attach = true;
  cr_expect_eq(pass(&plain)->reason, RULE_REASON_STEP_FAILED);
  cr_expect_not(has_pins());
  no_attach = false;
}

/* Of another version, before ours is in force, and when nothing shall be. */
Test(contain, pins_of_another_version_count, .fini = end) {
  char ours[256], others[256];
  begin();
  snprintf(ours, sizeof ours, "%s/net-%d", world.bed.bed.pins, TLX_NET_ABI_VERSION);
  snprintf(others, sizeof others, "%s/net-99", world.bed.bed.pins);
  link_to(NET_PEER4);
  contain(&plain);
  close_core();
  cr_assert_eq(rename(ours, others), 0, "%s", strerror(errno));
  open_core();
  link_to(NET_PEER4);
  no_attach = true;
  cr_expect_eq(pass(&plain)->reason, RULE_REASON_STEP_REPEATED);
  cr_expect_eq(access(others, F_OK), 0, "they hold until ours do");
  cr_expect_eq(talk(NET_PEER4), -EPERM);
  no_attach = false;
  cr_expect_eq(pass(NULL)->state, RULE_PARTIAL, "%s", world.core->rules[0]->result.step);
  cr_expect_neq(access(others, F_OK), 0);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
  close_core();
  cr_assert_eq(rename(ours, others), 0, "%s", strerror(errno));
  open_core();
  pass(&nothing);
  cr_expect(world.core->net.is_settled);
  cr_expect_neq(access(others, F_OK), 0);
  /* The kernel clears up in its own time. */
  while (talk(NET_PEER4) != 0)
    usleep(10000);
}

Test(contain, what_cannot_be_read_takes_nothing_off, .fini = end) {
  const struct want *const unreadable[] = {&strange_allow, &strange_mode, &garbage};
  begin();
  link_to(NET_PEER4);
  contain(&plain);
  for (size_t i = 0; i < 3; i++) {
    cr_expect_neq(pass(unreadable[i])->state, RULE_PARTIAL, "%zu", i);
    cr_expect(world.core->net.is_settled);
    cr_expect_eq(talk(NET_PEER4), -EPERM, "%zu", i);
    /* And it is looked after. */
    switch_off();
    cr_expect_eq(talk(NET_PEER4), 0);
    pass(NULL);
    cr_expect(world.core->net.wants_again);
    pass(NULL);
    cr_expect_eq(talk(NET_PEER4), -EPERM, "%zu", i);
  }
  for (size_t i = 0; i < 3; i++) {
    close_core();
    open_core();
    link_to(NET_PEER4);
    pass(unreadable[i]);
    cr_expect_eq(talk(NET_PEER4), -EPERM, "a successor: %zu", i);
  }
  pass(&nothing);
  cr_expect_not(has_pins());
  cr_expect_eq(talk(NET_PEER4), 0);
  pass(&strange_allow);
  cr_expect_eq(talk(NET_PEER4), 0, "and it puts nothing up");
}

/* The state as a running sensor leaves it, then what a boot makes of it. */
static int restore(const struct want *want) {
  struct state *state = NULL;
  uv_loop_t loop;
  cr_assert_eq(uv_loop_init(&loop), 0);
  cr_assert_eq(state_open(world.bed.bed.folder, &loop, &world.clock.clock, &state), 0);
  state_desired_put(state, make_desired(want), NULL, NULL);
  state_close(state, NULL, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  cr_assert_eq(uv_loop_close(&loop), 0);
  return offline_restore(world.bed.bed.folder, world.bed.bed.cgroup, world.bed.bed.bpffs);
}

Test(contain, a_boot_fails_for_what_cannot_be_read, .fini = end) {
  struct want goes_without = strange_allow;
  begin();
  close_core();
  cr_expect_eq(restore(&nothing), 0);
  cr_expect_eq(restore(&strange_allow), 1);
  cr_expect_eq(restore(&strange_mode), 1);
  cr_expect_eq(restore(&garbage), 1);
  goes_without.release_when_lost = true;
  cr_expect_eq(restore(&goes_without), 0, "its rule says to go without");
  cr_expect_eq(talk(NET_PEER4), 0);
  cr_expect_eq(restore(&plain), 0);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
  open_core();
}

Test(contain, one_that_refuses_us_is_not_lost, .fini = end) {
  begin();
  struct want want = {.n_rules = 1, .release_when_lost = true};
  link_to("10.77.0.77");
  contain(&want);
  world.core->link.is_refused = true;
  tlx_clock_fake_advance(&world.clock, 3600 * 1000);
  cr_expect_eq(pass(NULL)->reason, RULE_REASON_CONSOLE_SILENT);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
}

Test(contain, a_containment_after_a_release_that_failed, .fini = end) {
  char inner[256], outer[256];
  begin();
  link_to(NET_PEER4);
  contain(&plain);
  /* A pin folder that cannot be emptied. */
  snprintf(outer, sizeof outer, "%s/net-1/x", world.bed.bed.pins);
  snprintf(inner, sizeof inner, "%s/y", outer);
  cr_assert(mkdir(outer, 0700) == 0 && mkdir(inner, 0700) == 0, "%s", strerror(errno));
  for (unsigned i = 0; i < 2; i++) {
    pass(&nothing);
    cr_expect_not(world.core->net.is_settled);
    cr_expect_eq(talk(NET_PEER4), 0);
  }
  const struct rule_result *result = pass(&plain);
  cr_expect_eq(result->state, RULE_PARTIAL, "%s %s", rule_reason_word(result->reason),
               result->step);
  cr_expect_eq(talk(NET_PEER4), -EPERM);
  cr_assert(rmdir(inner) == 0 && rmdir(outer) == 0);
  pass(&nothing);
  cr_expect(world.core->net.is_settled);
  cr_expect_not(has_pins());
  cr_expect_eq(talk(NET_PEER4), 0);
}
