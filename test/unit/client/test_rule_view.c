// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/rule_view.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "capture.h"

#define STATE(name) TELOVIX__V1__RULE_STATE__RULE_STATE_##name
#define MODE(name) TELOVIX__V1__RULE_MODE__RULE_MODE_##name

static struct capture out;
static char sentence[RULE_SENTENCE_MAX];
static Google__Protobuf__Timestamp changed, applied, verified;
static Google__Protobuf__Duration age;
static Telovix__V1__RuleGap copy, script, *gaps[] = {&copy, &script};

static Telovix__V1__EnforcementRule rule_in(int state) {
  Telovix__V1__EnforcementRule rule = TELOVIX__V1__ENFORCEMENT_RULE__INIT;
  google__protobuf__timestamp__init(&changed);
  google__protobuf__timestamp__init(&applied);
  google__protobuf__timestamp__init(&verified);
  google__protobuf__duration__init(&age);
  telovix__v1__rule_gap__init(&copy);
  telovix__v1__rule_gap__init(&script);
  changed.seconds = applied.seconds = verified.seconds = 1769850000;
  age.seconds = 12;
  copy.gap = (char *)"copy";
  copy.detail = (char *)"a copy under another name runs";
  script.gap = (char *)"script";
  script.detail = (char *)"only the interpreter is seen";
  script.by_kernel = true;
  rule.rule_id = (char *)"rule_1111111111111111";
  rule.node_name = (char *)"web-1";
  rule.path = (char *)"/usr/bin/nc";
  rule.desired_mode = MODE(ENFORCE);
  rule.observed_state = (Telovix__V1__RuleState)state;
  rule.changed_at = &changed;
  rule.changed_age = &age;
  return rule;
}

/* The exit status of --wait is made of this: applied alone is success. */
Test(rule_view, ends_and_successes) {
  static const struct {
    int state;
    bool ended, succeeded;
    const char *enforce, *observe; /* parts of the sentence: what the operator may rely on */
  } cases[] = {
      {STATE(UNSPECIFIED), false, false, "does not know", "does not know"},
      {STATE(PENDING), false, false, "is not confirmed to be blocked",
       "is not confirmed to be observed"},
      {STATE(APPLIED), true, true, "is blocked", "is observed, not blocked"},
      {STATE(PARTIAL), true, false, "is blocked only in part", "is observed only in part"},
      {STATE(REFUSED), true, false, "is not blocked: the host refuses",
       "is not observed: the host refuses"},
      {STATE(FAILED), true, false, "could not be blocked", "could not be put under observation"},
      {STATE(UNKNOWN), false, false, "may or may not", "may or may not"},
      {STATE(REMOVING), false, false, "may still be", "may still be"},
      {4711, true, false, "does not know", "does not know"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Telovix__V1__EnforcementRule rule = rule_in(cases[i].state);
    cr_assert_eq(rule_view_ended(&rule), cases[i].ended, "%d", cases[i].state);
    cr_assert_eq(rule_view_succeeded(&rule), cases[i].succeeded, "%d", cases[i].state);
    rule_view_sentence(&rule, 0, sentence);
    cr_assert(strstr(sentence, ": /usr/bin/nc on web-1 "), "%s", sentence);
    cr_assert(strstr(sentence, cases[i].enforce), "%s", sentence);
    rule.desired_mode = MODE(OBSERVE);
    cr_assert(strstr(rule_view_sentence(&rule, 0, sentence), cases[i].observe), "%s", sentence);
    rule.unconfirmed_since_restart = true;
    cr_assert_not(rule_view_ended(&rule), "a report from before the restart proves nothing now");
    cr_assert_not(rule_view_succeeded(&rule));
    rule_view_sentence(&rule, 0, sentence);
    cr_assert(strstr(sentence, "[unconfirmed since restart]"), "%s", sentence);
  }
}

Test(rule_view, the_whole_sentence) {
  Telovix__V1__EnforcementRule rule = rule_in(STATE(APPLIED));
  rule.applied_at = &applied;
  applied.nanos = 35000000;
  cr_assert_str_eq(rule_view_sentence(&rule, 77, sentence),
                   "applied: /usr/bin/nc on web-1 is blocked, 35 ms after the change");
  rule.gaps = gaps;
  rule.n_gaps = 2;
  rule.scope_cgroup = (char *)"/test/a";
  rule.observed_reason = (char *)"no_file_yet";
  rule.observed_detail = (char *)"there is no file\033 yet";
  cr_assert_str_eq(rule_view_sentence(&rule, 0, sentence),
                   "applied: /usr/bin/nc on web-1 is blocked: there is no file\\x1B yet, 35 ms "
                   "after the change; not covered: copy, script [trial scope /test/a]");
  applied.seconds--;
  cr_assert(strstr(rule_view_sentence(&rule, 0, sentence), ", changed 12s ago;"),
            "a clock that was set back has no span: %s", sentence);
  rule = rule_in(STATE(FAILED));
  rule.error_number = EPERM;
  rule.observed_reason = (char *)"attach";
  cr_assert_str_eq(rule_view_sentence(&rule, 77, sentence),
                   "failed: /usr/bin/nc on web-1 could not be blocked: attach (Operation not "
                   "permitted), 77 ms after the command");
}

/* Everything a peer may choose, as long as it can be: the sentence stays inside its room, and what
 * the operator must not miss is not pushed out of it. */
Test(rule_view, a_sentence_has_its_limits) {
  static char endless[16384];
  char state[256];
  memset(endless, '\033', sizeof endless - 1);
  Telovix__V1__EnforcementRule rule = rule_in(STATE(PARTIAL));
  rule.path = rule.node_name = rule.observed_detail = rule.observed_reason = endless;
  rule.gaps = gaps;
  rule.n_gaps = 2;
  rule.scope_cgroup = endless;
  rule_view_sentence(&rule, 0, sentence);
  cr_assert_lt(strlen(sentence), sizeof sentence);
  cr_assert_null(strchr(sentence, '\033'));
  cr_assert(strstr(sentence, "; not covered: copy, script [trial scope "), "%s", sentence);
  rule_view_state(&rule, state);
  cr_assert_lt(strlen(state), sizeof state);
  cr_assert_null(strchr(state, '\033'));
}

Test(rule_view, the_state_alone) {
  char state[256];
  Telovix__V1__EnforcementRule rule = rule_in(STATE(PENDING));
  cr_assert_str_eq(rule_view_state(&rule, state), "pending 12s");
  rule.observed_reason = (char *)"no_directory";
  rule.observed_detail = (char *)"/opt/x is not there";
  cr_assert_str_eq(rule_view_state(&rule, state), "pending 12s, no_directory: /opt/x is not there");
  rule = rule_in(STATE(APPLIED));
  rule.unconfirmed_since_restart = true;
  cr_assert_str_eq(rule_view_state(&rule, state), "applied (unconfirmed since restart)");
}

/* ---- tables ---- */

static const char *table_of(bool wide, Telovix__V1__EnforcementRule *const *rules, size_t n) {
  capture_start(&out);
  struct output_table *table = rule_view_table(wide);
  for (size_t i = 0; i < n; i++)
    rule_view_row(table, rules[i], wide);
  output_table_print(table);
  return capture_stop(&out);
}

Test(rule_view, a_table) {
  Telovix__V1__EnforcementRule pending = rule_in(STATE(PENDING)), done = rule_in(STATE(APPLIED)),
                               *rules[] = {&pending, &done};
  done.desired_mode = MODE(OBSERVE);
  done.gaps = gaps;
  done.n_gaps = 2;
  done.hits = 3;
  done.scope_cgroup = (char *)"/test/a";
  done.observed_reason = (char *)"no_file_yet";
  cr_assert_str_eq(table_of(false, rules, 2), "RULE                   NODE   PATH         DESIRED  "
                                              "OBSERVED     SCOPE    REASON       GAPS  "
                                              "HITS\n"
                                              "rule_1111111111111111  web-1  /usr/bin/nc  enforce  "
                                              "pending 12s  -        -            -     "
                                              "0\n"
                                              "rule_1111111111111111  web-1  /usr/bin/nc  observe  "
                                              "applied      /test/a  no_file_yet  2     "
                                              "3\n");
}

Test(rule_view, a_wide_table) {
  Telovix__V1__EnforcementRule rule = rule_in(STATE(APPLIED)), *rules[] = {&rule};
  rule.backend = (char *)"lsm";
  rule.file = (char *)"/usr/bin/nc.traditional";
  rule.would_hits = 7;
  rule.forced = true;
  rule.actor = (char *)"bob";
  rule.verified_at = &verified;
  verified.seconds += 9;
  cr_assert_str_eq(
      table_of(true, rules, 1),
      "RULE                   NODE   PATH         DESIRED  OBSERVED  SCOPE  REASON  GAPS  HITS  "
      "WOULD HIT  BACKEND  FILE                     FORCE  CHANGED  VERIFIED  ACTOR\n"
      "rule_1111111111111111  web-1  /usr/bin/nc  enforce  applied   host   -       0     0     "
      "7          lsm      /usr/bin/nc.traditional  yes    12s      3s        bob\n");
}

/* ---- one rule ---- */

Test(rule_view, one_rule) {
  Telovix__V1__EnforcementRule rule = rule_in(STATE(PARTIAL));
  rule.gaps = gaps;
  rule.n_gaps = 2;
  rule.backend = (char *)"tracepoint";
  rule.hook = (char *)"sys_execve";
  rule.action = (char *)"Sigkill";
  rule.reason = (char *)"why\033not";
  rule.scope_cgroup = (char *)"/test/a";
  capture_start(&out);
  rule_view_print(&rule);
  const char *text = capture_stop(&out);
  static const char *const parts[] = {
      "\nstate          desired enforce | observed partial\n",
      "\nscope          /test/a\n",
      "\nbackend        tracepoint\n",
      "\ngaps           2\n",
      "\n  gap          copy: a copy under another name runs\n",
      "\n  gap          script (another kernel would close it): only the interpreter is seen\n",
      "\nwhy            why\\x1Bnot\n",
      "\nverified       -\n"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    cr_assert(strstr(text, parts[i]), "%s is not in:\n%s", parts[i], text);
  const char *last = text + strlen(text) - 1;
  while (last > text && last[-1] != '\n')
    last--;
  cr_assert(strncmp(last, "partial: /usr/bin/nc on web-1 is blocked only in part", 53) == 0, "%s",
            last);
}

Test(rule_view, the_end_of_a_wait) {
  Telovix__V1__EnforcementRule rule = rule_in(STATE(REFUSED));
  rule.observed_detail = (char *)"a shell is blocked only with --force";
  capture_start(&out);
  rule_view_print_end(&rule, 41);
  cr_assert_str_eq(capture_stop(&out),
                   "rule           rule_1111111111111111\n"
                   "refused: /usr/bin/nc on web-1 is not blocked: the host refuses: a shell is "
                   "blocked only with --force, 41 ms after the command\n");
}

/* ---- containments ---- */

static Telovix__V1__EnforcementRule containment_in(int state) {
  static char first[] = "in:10.0.0.0/8,22/tcp", second[] = "out:192.0.2.1/32",
              *allow[] = {first, second};
  Telovix__V1__EnforcementRule rule = rule_in(state);
  rule.template_ = (char *)"network-containment";
  rule.path = (char *)"";
  rule.hook = (char *)"cgroup_skb";
  rule.action = (char *)"Deny";
  rule.allow = allow;
  rule.n_allow = 2;
  rule.on_lost_console = TELOVIX__V1__ON_LOST_CONSOLE__ON_LOST_CONSOLE_RELEASE;
  return rule;
}

Test(rule_view, sentences_of_a_containment) {
  static const struct {
    int state;
    const char *begin;
  } cases[] = {
      {STATE(PENDING), "pending: web-1 is not confirmed to be cut off from the network yet"},
      {STATE(APPLIED), "contained: web-1 is cut off from the network, proved by the host"},
      {STATE(PARTIAL), "partial: web-1 is cut off from the network only in part"},
      {STATE(REFUSED), "refused: web-1 is not cut off from the network: the host refuses"},
      {STATE(FAILED), "failed: web-1 is not proved to be cut off from the network"},
      {STATE(UNKNOWN), "unknown: web-1 may or may not be cut off from the network"},
      {STATE(REMOVING), "removing: web-1 may still be cut off from the network"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Telovix__V1__EnforcementRule rule = containment_in(cases[i].state);
    rule.scope_cgroup = (char *)"/test/a";
    rule.gaps = gaps;
    rule.n_gaps = 1;
    rule_view_sentence(&rule, 77, sentence);
    cr_assert(strncmp(sentence, cases[i].begin, strlen(cases[i].begin)) == 0, "%s", sentence);
    cr_assert(
        strstr(sentence, ", 77 ms after the command; not covered: copy [trial scope /test/a]"),
        "%s", sentence);
  }
}

Test(rule_view, a_containment) {
  Telovix__V1__EnforcementRule rule = containment_in(STATE(APPLIED)), *rules[] = {&rule};
  table_of(false, rules, 1);
  cr_assert(strstr(out.text, "  web-1  network-containment  enforce  applied  "), "%s", out.text);
  capture_start(&out);
  rule_view_print(&rule);
  capture_stop(&out);
  cr_assert(strstr(out.text, "\ntemplate       network-containment\n"), "%s", out.text);
  cr_assert(strstr(out.text, "\nallow          in:10.0.0.0/8,22/tcp out:192.0.2.1/32\n"), "%s",
            out.text);
  cr_assert(strstr(out.text, "\non lost        release\n"), "%s", out.text);
  cr_assert(strstr(out.text, "\nhook, action   cgroup_skb, Deny (names;"), "%s", out.text);
  cr_assert_null(strstr(out.text, "\npath "), "%s", out.text);
  rule.n_allow = 0;
  capture_start(&out);
  rule_view_print(&rule);
  cr_assert(strstr(capture_stop(&out), "\nallow          nothing\n"), "%s", out.text);
}

Test(rule_view, an_allow_list_is_cut_to_its_room) {
  char small[12], first[] = "in:10.0.0.0/8", *allow[] = {first, first};
  cr_assert_str_eq(rule_view_allow(allow, 2, small, sizeof small), "in:10.0.0.0");
  cr_assert_str_eq(rule_view_allow(NULL, 0, small, sizeof small), "nothing");
}
