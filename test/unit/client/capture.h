// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* What a test prints on standard output, as text. Every function asserts. */
struct capture {
  int saved, into;
  char text[65536];
};

/* From now on standard output goes into memory. */
static inline void capture_start(struct capture *capture) {
  fflush(NULL);
  capture->into = memfd_create("out", MFD_CLOEXEC);
  capture->saved = dup(STDOUT_FILENO);
  cr_assert(capture->into >= 0 && capture->saved >= 0);
  dup2(capture->into, STDOUT_FILENO);
}

/* Ends that; returns |capture->text|. */
static inline const char *capture_stop(struct capture *capture) {
  fflush(stdout);
  dup2(capture->saved, STDOUT_FILENO);
  close(capture->saved);
  ssize_t n = pread(capture->into, capture->text, sizeof capture->text - 1, 0);
  capture->text[n > 0 ? n : 0] = '\0';
  close(capture->into);
  return capture->text;
}
