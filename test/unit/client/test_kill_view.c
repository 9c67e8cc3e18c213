// SPDX-License-Identifier: GPL-2.0-or-later
#include "client/kill_view.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STATE(name) TELOVIX__V1__KILL_STATE__KILL_STATE_##name

static Telovix__V1__KillOrder order_in(int state) {
  Telovix__V1__KillOrder order = TELOVIX__V1__KILL_ORDER__INIT;
  order.order_id = (char *)"kill_1111111111111111";
  order.node_name = (char *)"web-1";
  order.pid = 42;
  order.state = (Telovix__V1__KillState)state;
  return order;
}

/* Only two ends say that the process is gone; the exit status of --wait is made of this. */
Test(kill_view, ends_and_successes) {
  static const struct {
    int state;
    bool ended, succeeded;
    const char *part; /* of the sentence: what the operator may rely on */
  } cases[] = {{STATE(UNSPECIFIED), false, false, "does not know"},
               {STATE(QUEUED), false, false, "waits"},
               {STATE(DELIVERED), false, false, "no result yet"},
               {STATE(STILL_ALIVE), false, false, "has not ended yet"},
               {STATE(KILLED), true, true, "was killed"},
               {STATE(ALREADY_GONE), true, true, "was gone already"},
               {STATE(IDENTITY_MISMATCH), true, false, "not touched"},
               {STATE(PROTECTED), true, false, "not touched"},
               {STATE(FAILED), true, false, "could not be killed"},
               {STATE(EXPIRED), true, false, "not touched"},
               {STATE(CANCELLED), true, false, "not touched"},
               {STATE(RESULT_UNKNOWN), true, false, "may or may not be gone"},
               {4711, true, false, "does not know"}};
  char sentence[1024];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Telovix__V1__KillOrder order = order_in(cases[i].state);
    cr_assert_eq(kill_view_ended(&order), cases[i].ended, "%d", cases[i].state);
    cr_assert_eq(kill_view_succeeded(&order), cases[i].succeeded, "%d", cases[i].state);
    kill_view_sentence(&order, sentence);
    cr_assert(strstr(sentence, cases[i].part), "%s", sentence);
    cr_assert(strstr(sentence, "PID 42 on web-1"), "%s", sentence);
  }
}

Test(kill_view, the_whole_sentence) {
  char sentence[1024];
  Google__Protobuf__Timestamp queued = GOOGLE__PROTOBUF__TIMESTAMP__INIT,
                              finished = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
  Telovix__V1__KillOrder order = order_in(STATE(FAILED));
  order.comm = (char *)"vic\033tim";
  order.detail = (char *)"signal";
  order.error_number = EPERM;
  order.scope_cgroup = (char *)"/test/a";
  queued.seconds = finished.seconds = 1769850000;
  finished.nanos = 12000000;
  order.queued_at = &queued;
  order.finished_at = &finished;
  cr_assert_str_eq(kill_view_sentence(&order, sentence),
                   "failed: PID 42 (vic\\x1Btim) on web-1 could not be killed: signal (Operation "
                   "not permitted), 12 ms "
                   "after the order [trial scope /test/a]");
}

/* Everything a peer may choose, as long as it can be: the sentence stays inside its room. */
Test(kill_view, a_sentence_has_its_limits) {
  static char endless[8192];
  char sentence[1024];
  memset(endless, '\033', sizeof endless - 1);
  Telovix__V1__KillOrder order = order_in(STATE(PROTECTED));
  order.node_name = order.comm = order.detail = order.scope_cgroup = endless;
  kill_view_sentence(&order, sentence);
  cr_assert_lt(strlen(sentence), sizeof sentence);
  cr_assert_null(strchr(sentence, '\033'));
}
