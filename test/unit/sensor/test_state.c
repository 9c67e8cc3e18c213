// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/state.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../harness/folder.h"
#include "../../harness/loop.h"
#include "common/err.h"
#include "common/file.h"
#include "common/log.h"
#include "telovix/state/v1/state.pb-c.h"

/* ---- the moment of a crash ---- */

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
static bool crash_before_rename;
static char renamed[256]; /* names, in their order; the worker writes it while a save runs */

int __wrap_rename(const char *from, const char *to) {
  if (crash_before_rename) _exit(42);
  size_t len = strlen(renamed);
  snprintf(renamed + len, sizeof renamed - len, "%s ", strrchr(to, '/') + 1);
  return __real_rename(from, to);
}

/* A write that failed is tried again soon enough for a test. */
int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms);
static unsigned n_retries;

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms,
                          uint64_t repeat_ms) {
  n_retries += timeout_ms == 5000;
  return __real_uv_timer_start(timer, cb, timeout_ms == 5000 ? 10 : timeout_ms, repeat_ms);
}

/* ---- world ---- */

struct world {
  struct folder folder;
  uv_loop_t loop;
  struct tlx_clock_fake clock;
  struct state *state;
};

static int try_open(struct world *world) {
  return state_open(world->folder.path, &world->loop, &world->clock.clock, &world->state);
}

static void world_init(struct world *world) {
  memset(world, 0, sizeof *world);
  folder_init(&world->folder);
  tlx_clock_fake_init(&world->clock, 1000000, 0, 0);
  cr_assert_eq(uv_loop_init(&world->loop), 0);
  cr_assert_eq(try_open(world), 0);
}

static void on_closed(void *arg) {
  *(bool *)arg = true;
}

static void close_state(struct world *world) {
  bool closed = false;
  state_close(world->state, on_closed, &closed);
  loop_until(&world->loop, &closed);
  world->state = NULL;
}

static void reopen(struct world *world) {
  close_state(world);
  cr_assert_eq(try_open(world), 0);
}

static void world_done(struct world *world) {
  if (world->state) close_state(world);
  loop_done(&world->loop);
  folder_done(&world->folder);
}

static void save(struct world *world) {
  while (!state_is_saved(world->state))
    uv_run(&world->loop, UV_RUN_ONCE);
}

static void put(struct world *world, const char *order_id, const char *result) {
  cr_assert_eq(state_result_put(world->state, order_id, result, strlen(result)), 0);
}

static bool join(void *arg, const char *order_id, struct tlx_bytes result) {
  char *text = arg;
  sprintf(text + strlen(text), "%s=%.*s ", order_id, (int)result.len, (const char *)result.data);
  return true;
}

static void expect_results(struct world *world, const char *want) {
  char text[1024] = "";
  state_result_each(world->state, join, text);
  cr_assert_str_eq(text, want);
}

/* ---- results ---- */

Test(state, results_stay_until_they_are_removed) {
  struct world world;
  world_init(&world);
  cr_assert(state_is_saved(world.state));
  put(&world, "kill_1", "one");
  put(&world, "kill_2", "");
  put(&world, "kill_3", "three");
  cr_assert_not(state_is_saved(world.state));
  expect_results(&world, "kill_1=one kill_2= kill_3=three ");
  reopen(&world);
  expect_results(&world, "kill_1=one kill_2= kill_3=three ");
  put(&world, "kill_1", "again");
  cr_assert_eq(state_result_count(world.state), 3, "one result an order");
  state_result_remove(world.state, "kill_2");
  state_result_remove(world.state, "kill_9");
  cr_assert(state_result_has(world.state, "kill_1"));
  cr_assert_not(state_result_has(world.state, "kill_2"));
  reopen(&world);
  expect_results(&world, "kill_3=three kill_1=again ");
  state_result_remove(world.state, "kill_1");
  state_result_remove(world.state, "kill_3");
  reopen(&world);
  expect_results(&world, "");
  world_done(&world);
}

static bool stop_at_once(void *arg, const char *order_id, struct tlx_bytes result) {
  ++*(unsigned *)arg;
  return false;
}

Test(state, many_results_in_few_writes) {
  struct world world;
  char id[32];
  unsigned n = 0;
  world_init(&world);
  for (unsigned i = 0; i < 500; i++) {
    snprintf(id, sizeof id, "kill_%016u", i);
    put(&world, id, "a result of some length that fills the file a little");
  }
  state_result_each(world.state, stop_at_once, &n);
  cr_assert_eq(n, 1);
  reopen(&world);
  cr_assert_eq(state_result_count(world.state), 500);
  cr_assert(state_result_has(world.state, "kill_0000000000000499"));
  world_done(&world);
}

/* ---- crashes ---- */

/* Runs |change| in a child, which saves it, or dies between the write of the new file and its
 * rename. We start no thread before the last of them: TSan takes no fork of a process with more
 * than one. */
static void in_child(struct world *world, void (*change)(struct world *world), bool crash) {
  int status;
  close_state(world);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) {
    uv_loop_init(&world->loop);
    if (try_open(world) != 0) _exit(1);
    crash_before_rename = crash;
    change(world);
    save(world);
    _exit(0);
  }
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == (crash ? 42 : 0), "%d", status);
  cr_assert_eq(try_open(world), 0, "the lock died with it");
}

static void set_head(struct world *world, uint64_t seq) {
  uint8_t hash[32] = {(uint8_t)seq};
  state_set_audit_head(world->state, seq, hash);
}

static void first_values(struct world *world) {
  put(world, "kill_1", "one");
  set_head(world, 5);
}

static void remove_first(struct world *world) {
  state_result_remove(world->state, "kill_1");
}

static void set_next_head(struct world *world) {
  set_head(world, 99);
}

Test(state, a_crash_before_the_rename_leaves_the_old_file) {
  struct world world;
  uint8_t hash[32];
  world_init(&world);
  in_child(&world, first_values, false);
  in_child(&world, remove_first, true);
  expect_results(&world, "kill_1=one ");
  in_child(&world, set_next_head, true);
  cr_assert_eq(state_audit_head(world.state, hash), 5);
  cr_assert_eq(hash[0], 5);
  /* What lies about is in nobody's way. */
  put(&world, "kill_2", "two");
  reopen(&world);
  expect_results(&world, "kill_1=one kill_2=two ");
  world_done(&world);
}

Test(state, one_at_a_time) {
  struct world world;
  struct state *second;
  world_init(&world);
  cr_assert_eq(state_open(world.folder.path, &world.loop, &world.clock.clock, &second),
               TLX_E_LOCKED);
  world_done(&world);
}

Test(state, no_folder) {
  struct world world;
  struct state *none = NULL;
  world_init(&world);
  cr_assert_eq(state_open("/nonexistent/folder", &world.loop, &world.clock.clock, &none), -ENOENT);
  cr_assert_null(none);
  world_done(&world);
}

/* A disk that takes nothing: the sensor goes on from memory, and says so. */
Test(state, a_write_that_fails) {
  struct world world;
  world_init(&world);
  uint64_t n_errors = tlx_log_error_count();
  cr_assert_eq(mkdir(folder_join(&world.folder, "results"), 0700),
               0); /* rename cannot replace it */
  put(&world, "kill_1", "one");
  while (n_retries < 3)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert_eq(tlx_log_error_count(), n_errors + 1, "said once");
  cr_assert_not(state_is_saved(world.state));
  cr_assert(state_outlives_restart(world.state), "nothing of it is a rule");
  expect_results(&world, "kill_1=one ");
  cr_assert_eq(rmdir(folder_join(&world.folder, "results")), 0);
  put(&world, "kill_2", "two");
  reopen(&world);
  expect_results(&world, "kill_1=one kill_2=two ");
  world_done(&world);
}

/* ---- files that we did not write ---- */

static void expect_aside(struct world *world, const char *name, const void *data, size_t len) {
  char aside[32];
  snprintf(aside, sizeof aside, "%s.broken", name);
  close_state(world);
  unlink(folder_join(&world->folder, aside));
  folder_write(&world->folder, name, data, len, 0600);
  uint64_t n_errors = tlx_log_error_count();
  cr_assert_eq(try_open(world), 0, "%s of %zu bytes", name, len);
  cr_assert_eq(tlx_log_error_count(), n_errors + 1);
  cr_assert(folder_has(&world->folder, aside));
  cr_assert_not(folder_has(&world->folder, name));
  cr_assert_eq(state_result_count(world->state), 0);
}

Test(state, corrupted_files_are_kept_aside) {
  struct world world;
  static uint8_t large[(4u << 20) + 1];
  world_init(&world);
  static const char *const names[] = {"results", "uplink"};
  for (int i = 0; i < 2; i++) {
    expect_aside(&world, names[i], "garbage", 7);
    expect_aside(&world, names[i], "", 0); /* schema 0: nobody wrote that */
    expect_aside(&world, names[i], "\x08\x00", 2);
    expect_aside(&world, names[i], "\x08\x01\x12\x7f", 4); /* cut */
    expect_aside(&world, names[i], large, sizeof large);
  }
  put(&world, "kill_1", "one");
  reopen(&world);
  expect_results(&world, "kill_1=one ");
  world_done(&world);
}

Test(state, any_cut_of_a_file) {
  struct world world;
  struct tlx_buf whole = {0};
  world_init(&world);
  put(&world, "kill_1", "one");
  put(&world, "kill_2", "two");
  close_state(&world);
  cr_assert_eq(tlx_file_read(folder_join(&world.folder, "results"), 4096, &whole), 0);
  for (size_t len = 0; len < whole.len; len++) {
    folder_write(&world.folder, "results", whole.data, len, 0600);
    cr_assert_eq(try_open(&world), 0);
    cr_assert_lt(state_result_count(world.state), 2);
    close_state(&world);
  }
  tlx_buf_done(&whole);
  world_done(&world);
}

/* A newer version may say more than we know: it is neither read nor put aside. */
Test(state, a_newer_schema_is_refused) {
  struct world world;
  world_init(&world);
  static const char *const names[] = {"results", "uplink"};
  for (int i = 0; i < 2; i++) {
    close_state(&world);
    folder_write(&world.folder, names[i], "\x08\x02", 2, 0600);
    cr_assert_eq(try_open(&world), TLX_E_SCHEMA_NEWER);
    cr_assert(folder_has(&world.folder, names[i]));
    cr_assert_eq(unlink(folder_join(&world.folder, names[i])), 0);
    cr_assert_eq(try_open(&world), 0, "the lock was given back");
  }
  world_done(&world);
}

Test(state, a_file_that_others_may_write_is_not_believed) {
  struct world world;
  world_init(&world);
  close_state(&world);
  folder_write(&world.folder, "results", "\x08\x01", 2, 0620);
  cr_assert_eq(try_open(&world), TLX_E_MODE);
  cr_assert_eq(chmod(folder_join(&world.folder, "results"), 0600), 0);
  cr_assert_eq(try_open(&world), 0);
  world_done(&world);
}

/* ---- uplink ---- */

Test(state, what_the_console_told) {
  struct world world;
  const char *const *list;
  uint8_t hash[32] = {1, 2, 3}, got[32];
  char *addresses[STATE_ADDRESSES_MAX + 1] = {(char *)"a:1", (char *)"b:2"};
  world_init(&world);
  cr_assert_eq(state_addresses(world.state, &list), 0);
  cr_assert_eq(state_audit_head(world.state, got), 0);
  cr_assert(state_set_addresses(world.state, addresses, 2));
  cr_assert_not(state_set_addresses(world.state, addresses, 2), "the same");
  state_set_audit_head(world.state, 7, hash);
  reopen(&world);
  cr_assert_eq(state_addresses(world.state, &list), 2);
  cr_assert_str_eq(list[0], "a:1");
  cr_assert_str_eq(list[1], "b:2");
  cr_assert_eq(state_audit_head(world.state, got), 7);
  cr_assert_arr_eq(got, hash, 32);
  state_set_audit_head(world.state, 7, hash);
  cr_assert(state_is_saved(world.state), "nothing new, no write");
  for (unsigned i = 0; i <= STATE_ADDRESSES_MAX; i++)
    addresses[i] = (char *)"c:3";
  cr_assert(state_set_addresses(world.state, addresses, STATE_ADDRESSES_MAX + 1));
  cr_assert_eq(state_addresses(world.state, &list), STATE_ADDRESSES_MAX);
  cr_assert(state_set_addresses(world.state, addresses, 0));
  reopen(&world);
  cr_assert_eq(state_addresses(world.state, &list), 0);
  world_done(&world);
}

/* The head moves with every order: its write must not stand before that of the order's result. */
Test(state, the_audit_head_is_written_after_what_came_with_it) {
  struct world world;
  uint8_t hash[32];
  world_init(&world);
  set_head(&world, 5);
  cr_expect_not(state_is_saved(world.state));
  put(&world, "kill_1", "one");
  set_head(&world, 6);
  save(&world);
  cr_expect_str_eq(renamed, "results uplink ");
  set_head(&world, 7);
  reopen(&world);
  cr_expect_eq(state_audit_head(world.state, hash), 7, "not lost at an orderly end");
  world_done(&world);
}

Test(state, a_result_that_is_acknowledged_at_once_needs_no_disk) {
  struct world world;
  world_init(&world);
  put(&world, "kill_1", "one");
  state_result_remove(world.state, "kill_1");
  cr_expect(state_is_saved(world.state), "the file has no word of it");
  put(&world, "kill_1", "one");
  put(&world, "kill_2", "two");
  state_result_remove(world.state, "kill_1");
  cr_expect_not(state_is_saved(world.state));
  save(&world);
  cr_expect_str_eq(renamed, "results ");
  state_result_remove(world.state, "kill_2");
  cr_expect_not(state_is_saved(world.state), "the file still has it");
  reopen(&world);
  expect_results(&world, "");
  state_result_remove(world.state, "kill_2");
  put(&world, "kill_3", "three");
  reopen(&world);
  state_result_remove(world.state, "kill_3");
  cr_expect_not(state_is_saved(world.state), "so does the file of the run before");
  reopen(&world);
  expect_results(&world, "");
  world_done(&world);
}

/* A host whose clock is dead judges certificates by the Console's time; one that is ahead by its
 * own. */
Test(state, certificate_time) {
  struct world world;
  world_init(&world);
  cr_assert_eq(state_certificate_wall_ms(world.state), 1000000);
  state_set_console_time(world.state, 5000000);
  cr_assert_eq(state_certificate_wall_ms(world.state), 5000000);
  state_set_console_time(world.state, 4000000);
  cr_assert_eq(state_certificate_wall_ms(world.state), 5000000, "never back");
  tlx_clock_fake_advance(&world.clock, 9000000);
  cr_assert_eq(state_certificate_wall_ms(world.state), 10000000);
  world.clock.wall_now_ms = 0;
  reopen(&world);
  cr_assert_eq(state_certificate_wall_ms(world.state), 5000000);
  state_set_console_time(world.state, 5000000 + 599999);
  cr_assert(state_is_saved(world.state), "not a write a heartbeat");
  state_set_console_time(world.state, 5000000 + 600000);
  cr_assert_not(state_is_saved(world.state));
  world_done(&world);
}

/* ---- what a boot must not take for nothing ---- */

static void put_desired(struct world *world) {
  struct desired_name name = {.generation = 1};
  struct desired *desired = NULL;
  desired_digest(NULL, 0, name.digest);
  cr_assert_eq(desired_new(&name, NULL, 0, &desired), 0);
  state_desired_put(world->state, desired, NULL, NULL);
  save(world);
}

Test(state, a_damaged_desired_state_is_not_forgotten) {
  struct world world;
  world_init(&world);
  cr_assert_not(state_desired_is_broken(world.state), "there was none");
  put_desired(&world);
  reopen(&world);
  cr_assert_not(state_desired_is_broken(world.state));
  expect_aside(&world, "desired", "garbage", 7);
  cr_assert_null(state_desired(world.state));
  cr_assert(state_desired_is_broken(world.state));
  reopen(&world);
  cr_assert(state_desired_is_broken(world.state), "nor at the next start");
  put_desired(&world);
  cr_assert_not(state_desired_is_broken(world.state));
  reopen(&world);
  cr_assert_not(state_desired_is_broken(world.state));
  /* Another file says nothing about it. */
  expect_aside(&world, "released", "garbage", 7);
  cr_assert_not(state_desired_is_broken(world.state));
  world_done(&world);
}

static void on_desired_saved(void *arg, int err) {
  *(int *)arg = err;
}

static void try_some_times(struct world *world) {
  for (n_retries = 0; n_retries < 3;)
    uv_run(&world->loop, UV_RUN_ONCE);
}

/* A disk without room: told as long as it is so, and written as soon as it can be, though nobody
 * puts anything anew. */
Test(state, rules_that_cannot_be_written_are_tried_again) {
  struct world world;
  struct desired *desired = NULL;
  struct desired_name name = {.generation = 2};
  struct state_released released = {.is_hazard = true};
  int err = 1;
  world_init(&world);
  put_desired(&world);
  cr_assert(state_outlives_restart(world.state));
  /* What is there must not be replaced. */
  cr_assert_eq(rename(folder_join(&world.folder, "desired"), folder_join(&world.folder, "kept")),
               0);
  cr_assert_eq(mkdir(folder_join(&world.folder, "desired"), 0700), 0);
  desired_digest(NULL, 0, name.digest);
  cr_assert_eq(desired_new(&name, NULL, 0, &desired), 0);
  state_desired_put(world.state, desired, on_desired_saved, &err);
  cr_assert(state_outlives_restart(world.state), "nobody knows yet");
  while (err == 1)
    uv_run(&world.loop, UV_RUN_ONCE);
  cr_assert_lt(err, 0);
  cr_assert_not(state_outlives_restart(world.state));
  try_some_times(&world);
  cr_assert_not(state_outlives_restart(world.state));
  cr_assert_eq(rmdir(folder_join(&world.folder, "desired")), 0);
  save(&world);
  cr_assert_eq(err, 0);
  cr_assert(state_outlives_restart(world.state));
  /* The same of what was taken down, and of taking that back. */
  cr_assert_eq(mkdir(folder_join(&world.folder, "released"), 0700), 0);
  state_released_put(world.state, &released);
  try_some_times(&world);
  state_released_clear(world.state);
  try_some_times(&world);
  cr_assert_not(state_outlives_restart(world.state));
  cr_assert_eq(rmdir(folder_join(&world.folder, "released")), 0);
  save(&world);
  cr_assert(state_outlives_restart(world.state));
  reopen(&world);
  cr_assert_eq(state_desired(world.state)->name.generation, 2);
  cr_assert_null(state_released(world.state));
  world_done(&world);
}

Test(state, an_end_with_a_full_disk_is_an_end) {
  struct world world;
  world_init(&world);
  cr_assert_eq(mkdir(folder_join(&world.folder, "uplink"), 0700), 0);
  state_set_refused(world.state, true);
  try_some_times(&world);
  close_state(&world);
  cr_assert_eq(rmdir(folder_join(&world.folder, "uplink")), 0);
  world_done(&world);
}

Test(state, a_refusal_outlives_a_restart) {
  struct world world;
  world_init(&world);
  cr_assert_not(state_is_refused(world.state));
  state_set_refused(world.state, true);
  reopen(&world);
  cr_assert(state_is_refused(world.state));
  state_set_refused(world.state, false);
  reopen(&world);
  cr_assert_not(state_is_refused(world.state));
  world_done(&world);
}

Test(state, who_is_lost) {
  struct state_released released = {0};
  cr_assert_not(state_released_is_lost(NULL));
  cr_assert(state_released_is_lost(&released));
  released.is_hazard = true;
  cr_assert_not(state_released_is_lost(&released));
  released = (struct state_released){.is_lifted = true};
  cr_assert_not(state_released_is_lost(&released));
}
