// SPDX-License-Identifier: GPL-2.0-or-later
#include "run.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void start(const char *const *argv, const char *const *env, int out, int err) {
  int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  for (; env && *env; env++)
    putenv((char *)*env);
  execv(argv[0], (char **)argv);
  _exit(126);
}

/* Appends what there is; false at the end. */
static bool take(int fd, char *text, size_t *len) {
  char rest[4096];
  bool is_full = *len + 1 >= sizeof((struct run_result *)0)->out;
  ssize_t n = is_full ? read(fd, rest, sizeof rest)
                      : read(fd, text + *len, sizeof((struct run_result *)0)->out - 1 - *len);
  if (n < 0 && errno == EINTR) return true;
  if (n > 0 && !is_full) *len += (size_t)n;
  return n > 0;
}

void run_program(const char *const *argv, const char *const *env, struct run_result *ret_result) {
  int pipes[2][2], status;
  size_t len[2] = {0, 0};
  bool open[2] = {true, true};
  memset(ret_result, 0, sizeof *ret_result);
  for (int i = 0; i < 2; i++)
    cr_assert_eq(pipe2(pipes[i], O_CLOEXEC), 0);
  pid_t pid = fork();
  cr_assert_geq(pid, 0);
  if (pid == 0) start(argv, env, pipes[0][1], pipes[1][1]);
  for (int i = 0; i < 2; i++)
    close(pipes[i][1]);
  while (open[0] || open[1]) {
    struct pollfd items[2] = {{.fd = open[0] ? pipes[0][0] : -1, .events = POLLIN},
                              {.fd = open[1] ? pipes[1][0] : -1, .events = POLLIN}};
    cr_assert(poll(items, 2, -1) > 0 || errno == EINTR);
    if (items[0].revents) open[0] = take(pipes[0][0], ret_result->out, &len[0]);
    if (items[1].revents) open[1] = take(pipes[1][0], ret_result->err, &len[1]);
  }
  for (int i = 0; i < 2; i++)
    close(pipes[i][0]);
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  ret_result->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  cr_assert_neq(ret_result->status, 126, "%s cannot be run", argv[0]);
}
