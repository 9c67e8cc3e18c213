// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/probe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sensor/net_addresses.h"

/* The table by which a proof is judged; the shots themselves are test/bpf/test_contain.c. */

static struct probe proved(void) {
  struct probe probe = {0};
  for (unsigned i = 0; i < 2; i++)
    probe.families[i] = (struct probe_family){.exists = true,
                                              .has_target = true,
                                              .has_console = true,
                                              .target = "target",
                                              .own = {.outcome = PROBE_PASSED},
                                              .tcp = {PROBE_DENIED, -EPERM, true},
                                              .udp = {PROBE_DENIED, -EPERM, true},
                                              .packet = {PROBE_DENIED, -EPERM, true}};
  return probe;
}

static enum probe_verdict judge(const struct probe *probe, bool has_connect) {
  char why[240] = "";
  enum probe_verdict verdict = probe_judge(probe, TLX_NET_ENFORCE, has_connect, why, sizeof why);
  cr_expect_eq(*why == '\0', verdict == PROBE_HOLDS, "%d: '%s'", verdict, why);
  return verdict;
}

Test(probe, a_whole_proof_holds) {
  struct probe probe = proved();
  cr_expect_eq(judge(&probe, true), PROBE_HOLDS);
  cr_expect_eq(judge(&probe, false), PROBE_HOLDS);
}

/* Whatever an unmarked socket meets other than the counted error of our hook is no proof. */
Test(probe, an_unmarked_socket_must_get_the_counted_error) {
  static const enum probe_outcome others[] = {PROBE_NOT_TRIED, PROBE_PASSED,   PROBE_ANSWERED,
                                              PROBE_SILENT,    PROBE_NO_ROUTE, PROBE_ERROR};
  for (unsigned family = 0; family < 2; family++)
    for (unsigned udp = 0; udp < 2; udp++) {
      struct probe probe = proved();
      struct probe_shot *shot = udp ? &probe.families[family].udp : &probe.families[family].tcp;
      for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        *shot = (struct probe_shot){others[i], -EIO, true};
        cr_expect_eq(judge(&probe, true), others[i] == PROBE_ERROR ? PROBE_FAILED : PROBE_LEAKS,
                     "%zu", i);
      }
      /* Another firewall's error. */
      *shot = (struct probe_shot){PROBE_DENIED, -EPERM, false};
      cr_expect_eq(judge(&probe, true), PROBE_LEAKS);
    }
}

/* What the hooks of calls let pass must be stopped, and counted, by the program of packets. */
Test(probe, the_program_of_packets_must_stop_and_count_one) {
  static const enum probe_outcome others[] = {PROBE_NOT_TRIED, PROBE_PASSED, PROBE_ANSWERED,
                                              PROBE_SILENT, PROBE_ERROR};
  for (unsigned family = 0; family < 2; family++) {
    struct probe probe = proved();
    struct probe_shot *shot = &probe.families[family].packet;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
      for (unsigned counted = 0; counted < 2; counted++) {
        *shot = (struct probe_shot){others[i], -EIO, counted};
        cr_expect_eq(judge(&probe, true), others[i] == PROBE_ERROR ? PROBE_FAILED : PROBE_LEAKS,
                     "%zu", i);
        cr_expect_neq(judge(&probe, false), PROBE_HOLDS, "%zu", i);
      }
    *shot = (struct probe_shot){PROBE_DENIED, -EPERM, false};
    cr_expect_eq(judge(&probe, true), PROBE_FAILED, "another firewall's");
    /* A host of one family. */
    *shot = (struct probe_shot){PROBE_NO_ROUTE, -ENETUNREACH, false};
    cr_expect_eq(judge(&probe, true), PROBE_HOLDS);
    probe.families[!family].packet = (struct probe_shot){PROBE_PASSED, 0, false};
    cr_expect_eq(judge(&probe, true), PROBE_LEAKS);
  }
}

/* The one who answers us can be reached, so there is a way for others. */
Test(probe, without_a_route_for_any_packet_it_is_not_whole) {
  struct probe probe = proved();
  for (unsigned i = 0; i < 2; i++)
    probe.families[i].packet = (struct probe_shot){PROBE_NO_ROUTE, -ENETUNREACH, false};
  cr_expect_eq(judge(&probe, true), PROBE_NO_CONSOLE);
  probe.families[0].has_console = probe.families[1].has_console = false;
  probe.console_is_local = true;
  cr_expect_eq(judge(&probe, true), PROBE_HOLDS, "a host without a network");
}

/* Without the hooks of calls the SYN is dropped without a word, and counted. */
Test(probe, tcp_may_be_silent_only_without_the_hooks_of_calls) {
  struct probe probe = proved();
  probe.families[0].tcp = (struct probe_shot){PROBE_SILENT, -ETIMEDOUT, true};
  cr_expect_eq(judge(&probe, false), PROBE_HOLDS);
  cr_expect_eq(judge(&probe, true), PROBE_LEAKS);
  probe.families[0].tcp.was_counted = false;
  cr_expect_eq(judge(&probe, false), PROBE_LEAKS, "a dead network is no containment");
  probe = proved();
  probe.families[0].udp = (struct probe_shot){PROBE_SILENT, -ETIMEDOUT, true};
  cr_expect_eq(judge(&probe, false), PROBE_LEAKS);
}

Test(probe, the_marked_socket_must_get_an_answer_somewhere) {
  static const struct {
    enum probe_outcome v4, v6;
    enum probe_verdict verdict;
  } cases[] = {
      {PROBE_PASSED, PROBE_PASSED, PROBE_HOLDS},
      {PROBE_PASSED, PROBE_NO_ROUTE, PROBE_HOLDS},
      {PROBE_SILENT, PROBE_PASSED, PROBE_HOLDS},
      {PROBE_ANSWERED, PROBE_SILENT, PROBE_HOLDS},
      {PROBE_SILENT, PROBE_SILENT, PROBE_NO_CONSOLE},
      {PROBE_NO_ROUTE, PROBE_SILENT, PROBE_NO_CONSOLE},
      {PROBE_ERROR, PROBE_ERROR, PROBE_NO_CONSOLE},
      {PROBE_DENIED, PROBE_PASSED, PROBE_CUTS_OWN},
      {PROBE_PASSED, PROBE_DENIED, PROBE_CUTS_OWN},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct probe probe = proved();
    probe.families[0].own.outcome = cases[i].v4;
    probe.families[1].own.outcome = cases[i].v6;
    cr_expect_eq(judge(&probe, true), cases[i].verdict, "%zu", i);
  }
}

Test(probe, without_a_console_to_ask_only_a_local_one_holds) {
  struct probe probe = proved();
  probe.families[0].has_console = probe.families[1].has_console = false;
  cr_expect_eq(judge(&probe, true), PROBE_NO_CONSOLE);
  probe.console_is_local = true;
  cr_expect_eq(judge(&probe, true), PROBE_HOLDS);
  probe.families[0].has_console = true;
  probe.families[0].own.outcome = PROBE_SILENT;
  cr_expect_eq(judge(&probe, true), PROBE_NO_CONSOLE, "one address is local, the other silent");
}

Test(probe, a_family_may_be_missing_but_not_both) {
  struct probe probe = proved();
  probe.families[1] = (struct probe_family){0};
  cr_expect_eq(judge(&probe, true), PROBE_HOLDS);
  probe.families[0] = (struct probe_family){0};
  cr_expect_eq(judge(&probe, true), PROBE_FAILED);
}

Test(probe, an_allow_list_that_covers_all_targets_is_no_proof) {
  struct probe probe = proved();
  probe.families[1].has_target = false;
  cr_expect_eq(judge(&probe, true), PROBE_FAILED);
}

Test(probe, observing_is_proved_by_counting) {
  struct probe probe = {.would_grown = 1};
  char why[240] = "";
  cr_expect_eq(probe_judge(&probe, TLX_NET_OBSERVE, true, why, sizeof why), PROBE_HOLDS);
  probe.would_grown = 0;
  cr_expect_eq(probe_judge(&probe, TLX_NET_OBSERVE, true, why, sizeof why), PROBE_LEAKS);
}

/* ---- the wait for the marked ones ---- */

/* One that is full, as a connection that nobody answers: nothing can be written. */
static int silent(int ret_pair[2]) {
  static const char data[4096];
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_pair), 0);
  while (write(ret_pair[0], data, sizeof data) > 0) {
  }
  return ret_pair[0];
}

static struct probe waiting(void) {
  struct probe probe = proved();
  for (unsigned i = 0; i < 2; i++)
    probe.families[i].own = (struct probe_shot){PROBE_SILENT, -EINPROGRESS, false};
  return probe;
}

/* With no limit to speak of: it would not come back. */
Test(probe, one_answer_ends_the_wait, .timeout = 60) {
  int pair[2], other[2];
  int fds[2] = {silent(pair), silent(other)};
  struct probe probe = waiting();
  char data[4096];
  while (read(other[1], data, sizeof data) > 0) {
  }
  probe_own_wait(fds, 3600 * 1000, &probe);
  cr_expect_eq(probe.families[0].own.outcome, PROBE_SILENT);
  cr_expect_eq(probe.families[1].own.outcome, PROBE_PASSED);
  cr_expect_eq(judge(&probe, true), PROBE_HOLDS);
  /* One is known already; and nobody is waited for. */
  probe = waiting();
  probe.families[1].own = (struct probe_shot){PROBE_ANSWERED, -ECONNREFUSED, false};
  probe_own_wait(fds, 3600 * 1000, &probe);
  cr_expect_eq(probe.families[0].own.outcome, PROBE_SILENT);
  for (unsigned i = 0; i < 2; i++)
    probe.families[i].own = (struct probe_shot){PROBE_NO_ROUTE, -ENETUNREACH, false};
  probe_own_wait(fds, 3600 * 1000, &probe);
  for (unsigned i = 0; i < 2; i++)
    close(pair[i]), close(other[i]);
}

Test(probe, the_wait_ends_without_an_answer, .timeout = 60) {
  int pair[2], other[2];
  int fds[2] = {silent(pair), silent(other)};
  struct probe probe = waiting();
  probe_own_wait(fds, 20, &probe);
  cr_expect_eq(judge(&probe, true), PROBE_NO_CONSOLE);
  for (unsigned i = 0; i < 2; i++)
    close(pair[i]), close(other[i]);
  /* A SYN is sent again after one second, and its answer may take as long. */
  cr_expect_gt(PROBE_OWN_LIMIT_MS, 2000);
}

/* ---- targets ---- */

static void allow(struct rule_contain *rule, const char *entry) {
  const char *fault = "";
  cr_assert_eq(tlx_allow_parse(entry, &rule->allow[rule->n_allow++], &fault), 0, "%s", fault);
}

static const char *target(const struct probe_options *options, unsigned family) {
  static char text[46];
  uint8_t address[16];
  uint16_t port;
  return probe_target(options, family, address, &port) ? net_address_text(address, text) : "none";
}

Test(probe, the_target_is_the_console_or_nobody) {
  static const uint8_t console[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 7};
  struct rule_contain rule = {0};
  struct probe_options options = {.rule = &rule};
  cr_expect_str_eq(target(&options, 0), "192.0.2.1");
  cr_expect_str_eq(target(&options, 1), "2001:db8::1");
  memcpy(options.console[0].address, console, sizeof console);
  options.console[0].port = 15483;
  cr_expect_str_eq(target(&options, 0), "10.0.0.7");
  struct tlx_net_addr local;
  memcpy(local.bytes, console, sizeof console);
  options.local = &local;
  options.n_local = 1;
  cr_expect_str_eq(target(&options, 0), "192.0.2.1", "a local address is let through");
  options.n_local = 0;
  allow(&rule, "in:10.0.0.0/8,22/tcp");
  cr_expect_str_eq(target(&options, 0), "192.0.2.1", "an allowed address proves nothing");
  allow(&rule, "out:192.0.2.0/24");
  cr_expect_str_eq(target(&options, 0), "198.51.100.1");
  allow(&rule, "out:198.51.100.0/24");
  allow(&rule, "out:203.0.113.0/24");
  cr_expect_str_eq(target(&options, 0), "none");
  allow(&rule, "out:2001:db8::/32");
  cr_expect_str_eq(target(&options, 1), "none");
}
