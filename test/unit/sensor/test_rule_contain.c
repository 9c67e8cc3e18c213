// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/rule_contain.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "sensor/net_addresses.h"
#include "telovix/v1/policy.pb-c.h"

static void address_of(const char *text, uint8_t out[16]) {
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
  uint16_t port;
  bool is_v4 = inet_pton(AF_INET, text, &v4.sin_addr) == 1;
  cr_assert(is_v4 || inet_pton(AF_INET6, text, &v6.sin6_addr) == 1, "%s", text);
  cr_assert(net_address_of(is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, out, &port));
}

static bool read_rule(const char *const *allow, size_t n, struct rule_contain *rule, char *fault) {
  Telovix__V1__EnforcementPolicy policy = TELOVIX__V1__ENFORCEMENT_POLICY__INIT;
  Telovix__V1__NetworkContainment contain = TELOVIX__V1__NETWORK_CONTAINMENT__INIT;
  contain.allow = (char **)allow;
  contain.n_allow = n;
  contain.force = true;
  contain.on_lost_console = TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_RELEASE;
  policy.rule_id = (char[]){"rule_abcdefghijklmnop"};
  policy.mode = TELOVIX__V1__RULE_MODE__RULE_MODE_ENFORCE;
  policy.network_containment = &contain;
  return rule_contain_read(&policy, rule, fault, 240);
}

static struct rule_contain rule_of(const char *entry) {
  struct rule_contain rule;
  char fault[240] = "";
  cr_assert(read_rule(&entry, 1, &rule, fault), "%s", fault);
  return rule;
}

Test(rule_contain, reads_all_of_it) {
  const char *allow[] = {"out:10.0.0.0/8", "in:2001:db8::/32,22/tcp"};
  struct rule_contain rule;
  char fault[240] = "";
  cr_assert(read_rule(allow, 2, &rule, fault));
  cr_expect_str_eq(rule.rule_id, "rule_abcdefghijklmnop");
  cr_expect_eq(rule.n_allow, 2);
  cr_expect_eq(rule.mode, TLX_NET_ENFORCE);
  cr_expect(rule.force && rule.release_when_lost);
}

Test(rule_contain, one_bad_entry_refuses_all) {
  const char *allow[] = {"out:10.0.0.0/8", "out:0.0.0.0/0"}, *many[TLX_ALLOW_LIST_MAX + 1];
  struct rule_contain rule = {.n_allow = 7};
  char fault[240] = "";
  cr_expect_not(read_rule(allow, 2, &rule, fault));
  cr_expect(strstr(fault, "out:0.0.0.0/0"), "%s", fault);
  cr_expect_eq(rule.n_allow, 7, "untouched");
  for (size_t i = 0; i < sizeof many / sizeof *many; i++)
    many[i] = "out:10.0.0.0/8";
  cr_expect_not(read_rule(many, TLX_ALLOW_LIST_MAX + 1, &rule, fault));
  cr_expect(strstr(fault, "65"), "%s", fault);
  cr_expect(read_rule(many, TLX_ALLOW_LIST_MAX, &rule, fault));
}

static const struct match {
  const char *entry, *remote;
  uint8_t protocol;
  uint16_t local_port, remote_port;
  bool allows, mentions;
} matches[] = {
    {"out:10.0.0.0/8", "10.1.2.3", IPPROTO_TCP, 4000, 443, true, true},
    {"out:10.0.0.0/8", "10.1.2.3", IPPROTO_ICMP, 0, 0, true, true},
    {"out:10.0.0.0/8", "11.1.2.3", IPPROTO_TCP, 4000, 443, false, false},
    {"out:10.0.0.0/9", "10.127.0.1", IPPROTO_UDP, 1, 1, true, true},
    {"out:10.0.0.0/9", "10.128.0.1", IPPROTO_UDP, 1, 1, false, false},
    {"out:10.9.8.7/32", "10.9.8.7", IPPROTO_UDP, 1, 1, true, true},
    {"out:10.9.8.7/32", "10.9.8.6", IPPROTO_UDP, 1, 1, false, false},
    {"out:10.0.0.0/8,443/tcp", "10.1.2.3", IPPROTO_TCP, 4000, 443, true, true},
    {"out:10.0.0.0/8,443/tcp", "10.1.2.3", IPPROTO_TCP, 443, 4000, false, true},
    {"out:10.0.0.0/8,443/tcp", "10.1.2.3", IPPROTO_UDP, 4000, 443, false, true},
    {"out:10.0.0.0/8,443/tcp", "10.1.2.3", IPPROTO_ICMP, 0, 443, false, true},
    {"out:10.0.0.0/8,100-200/udp", "10.1.2.3", IPPROTO_UDP, 1, 100, true, true},
    {"out:10.0.0.0/8,100-200/udp", "10.1.2.3", IPPROTO_UDP, 1, 200, true, true},
    {"out:10.0.0.0/8,100-200/udp", "10.1.2.3", IPPROTO_UDP, 1, 99, false, true},
    {"out:10.0.0.0/8,100-200/udp", "10.1.2.3", IPPROTO_UDP, 1, 201, false, true},
    {"in:10.0.0.0/8,22/tcp", "10.1.2.3", IPPROTO_TCP, 22, 50000, true, true},
    {"in:10.0.0.0/8,22/tcp", "10.1.2.3", IPPROTO_TCP, 50000, 22, false, true},
    {"out:2001:db8::/33", "2001:db8:7fff::1", IPPROTO_TCP, 1, 1, true, true},
    {"out:2001:db8::/33", "2001:db8:8000::1", IPPROTO_TCP, 1, 1, false, false},
    {"out:10.0.0.0/8", "::ffff:10.1.2.3", IPPROTO_TCP, 1, 1, true, true},
    {"out:10.0.0.0/8", "a01:203::", IPPROTO_TCP, 1, 1, false, false},
};

Test(rule_contain, matches_as_the_programs_do) {
  for (size_t i = 0; i < sizeof matches / sizeof *matches; i++) {
    const struct match *match = &matches[i];
    struct rule_contain rule = rule_of(match->entry);
    uint8_t remote[16];
    address_of(match->remote, remote);
    cr_expect_eq(
        rule_contain_allows(&rule, remote, match->protocol, match->local_port, match->remote_port),
        match->allows, "%zu %s %s", i, match->entry, match->remote);
    cr_expect_eq(rule_contain_mentions(&rule, remote), match->mentions, "%zu %s %s", i,
                 match->entry, match->remote);
  }
}

Test(rule_contain, differs_by_what_it_lets_through) {
  struct rule_contain a = rule_of("out:10.0.0.0/8"), b = rule_of("out:10.0.0.0/8");
  cr_expect(rule_contain_equal(&a, &b));
  b.force = !b.force;
  cr_expect(rule_contain_equal(&a, &b), "force is nothing that is published");
  b.mode = TLX_NET_OBSERVE;
  cr_expect_not(rule_contain_equal(&a, &b));
  b = rule_of("in:10.0.0.0/8");
  cr_expect_not(rule_contain_equal(&a, &b));
  b = a;
  b.n_allow = 0;
  cr_expect_not(rule_contain_equal(&a, &b));
}
