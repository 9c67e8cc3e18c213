// SPDX-License-Identifier: GPL-2.0-or-later
#include "common/file.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/err.h"

static char folder[64];

static void make_folder(void) {
  strcpy(folder, "/tmp/telovix-file-XXXXXX");
  cr_assert(mkdtemp(folder));
}

static void remove_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_assert_eq(system(command), 0);
}

TestSuite(file, .init = make_folder, .fini = remove_folder);

static char *in_folder(const char *name) {
  static char path[4][256];
  static unsigned n;
  char *to = path[n++ % 4];
  snprintf(to, sizeof *path, "%s/%s", folder, name);
  return to;
}

Test(file, join) {
  char *path = tlx_path_join("/a/", "b");
  cr_assert_str_eq(path, "/a/b");
  free(path);
  path = tlx_path_join("a", "b");
  cr_assert_str_eq(path, "a/b");
  free(path);
}

Test(file, write_replaces_whole_and_keeps_the_mode) {
  struct stat info;
  struct tlx_buf buf = {0};
  cr_assert_eq(tlx_file_write_atomic(in_folder("a"), "first", 5, 0600), 0);
  cr_assert_eq(tlx_file_write_atomic(in_folder("a"), "second!", 7, 0600), 0);
  cr_assert_eq(stat(in_folder("a"), &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0600);
  cr_assert_eq(tlx_file_read(in_folder("a"), 100, &buf), 0);
  cr_assert_arr_eq(buf.data, "second!", 7);
  cr_assert_eq(tlx_file_read(in_folder("a"), 6, &buf), TLX_E_TOO_LARGE);
  cr_assert_eq(tlx_file_create_atomic(in_folder("a"), "x", 1, 0600), -EEXIST);
  cr_assert_eq(tlx_file_create_atomic(in_folder("b"), "x", 1, 0600), 0);
  cr_assert_eq(tlx_file_write_atomic(in_folder("none/a"), "x", 1, 0600), -ENOENT);
  tlx_buf_done(&buf);
}

Test(file, nothing_is_left_over) {
  cr_assert_eq(tlx_file_write_atomic(in_folder("a"), "x", 1, 0600), 0);
  cr_assert_eq(tlx_file_remove(in_folder("a")), 0);
  cr_assert_eq(tlx_file_remove(in_folder("a")), 0);
  cr_assert_eq(rmdir(folder), 0, "a temporary file stayed behind");
  cr_assert_eq(mkdir(folder, 0700), 0);
}

Test(file, secrets_of_others_are_refused) {
  struct tlx_buf buf = {0};
  cr_assert_eq(tlx_file_write_atomic(in_folder("key"), "k", 1, 0600), 0);
  cr_assert_eq(tlx_file_read_private(in_folder("key"), 10, &buf), 0);
  cr_assert_eq(chmod(in_folder("key"), 0640), 0);
  cr_assert_eq(tlx_file_read_private(in_folder("key"), 10, &buf), TLX_E_MODE);
  cr_assert_eq(tlx_file_read_private(in_folder("none"), 10, &buf), -ENOENT);
  tlx_buf_done(&buf);
}

Test(file, folders) {
  struct stat info;
  cr_assert_eq(tlx_folder_make_all(in_folder("x/y/z"), 0700), 0);
  cr_assert_eq(stat(in_folder("x/y/z"), &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0700);
  cr_assert_eq(tlx_folder_make(in_folder("x/y/z"), 0700), 0);
  cr_assert_eq(chmod(in_folder("x/y/z"), 0755), 0);
  cr_assert_eq(tlx_folder_make(in_folder("x/y/z"), 0700), TLX_E_MODE);
  cr_assert_eq(tlx_folder_make(in_folder("no/parent"), 0700), -ENOENT);
}

Test(file, lock_is_exclusive_between_processes) {
  int fd, status;
  cr_assert_eq(tlx_file_lock(in_folder("lock"), &fd), 0);
  pid_t child = fork();
  if (child == 0) {
    int other;
    _exit(tlx_file_lock(in_folder("lock"), &other) == TLX_E_LOCKED ? 0 : 1);
  }
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert_eq(status, 0);
  close(fd);
  cr_assert_eq(tlx_file_lock(in_folder("lock"), &fd), 0);
  close(fd);
}
