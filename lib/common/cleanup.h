// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Owners that clean up at the end of their scope, and the hand-over that stops them. */

#define TLX_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Declares `static inline name##_p(type *p)` for TLX_CLEANUP out of a destructor that takes NULL.
 */
#define TLX_CLEANUP_DEFINE(type, fn)                                                               \
  static inline void fn##_p(type *p) {                                                             \
    fn(*p);                                                                                        \
  }

/* What the three attributes below call at the end of a scope: free, close unless negative, fclose
 * unless NULL. */
static inline void tlx_free_p(void *p) {
  free(*(void **)p);
}
static inline void tlx_close_p(int *fd) {
  if (*fd >= 0) close(*fd);
}
static inline void tlx_fclose_p(FILE **f) {
  if (*f) fclose(*f);
}

#define TLX_AUTOFREE TLX_CLEANUP(tlx_free_p)
#define TLX_AUTOCLOSE TLX_CLEANUP(tlx_close_p)
#define TLX_AUTOFCLOSE TLX_CLEANUP(tlx_fclose_p)

/* Hands the pointer or descriptor over: yields its value and leaves NULL or -1 behind. */
#define TLX_TAKE_PTR(p)                                                                            \
  ({                                                                                               \
    __typeof__(p) taken_ = (p);                                                                    \
    (p) = NULL;                                                                                    \
    taken_;                                                                                        \
  })
#define TLX_TAKE_FD(fd)                                                                            \
  ({                                                                                               \
    int taken_ = (fd);                                                                             \
    (fd) = -1;                                                                                     \
    taken_;                                                                                        \
  })
