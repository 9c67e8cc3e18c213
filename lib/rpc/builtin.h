// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "rpc/server.h"

/* The two standard services: grpc.health.v1.Health and
 * grpc.reflection.{v1,v1alpha}.ServerReflection. Loop thread. */
struct tlx_builtin;

/* |descriptor_set| is a serialized google.protobuf.FileDescriptorSet with imports (embedded at
 * build time; lives longer). |services| are the names to list and to answer health for, without the
 * standard ones. 0, TLX_E_MALFORMED or -ENOMEM. */
int tlx_builtin_new(const void *descriptor_set, size_t len, const char *const *services,
                    size_t n_services, struct tlx_builtin **ret_builtin);
/* No call of the standard services may be open. NULL is fine. */
void tlx_builtin_free(struct tlx_builtin *builtin);
/* The method table: |own| methods and the standard ones behind them. Heap, the caller frees; NULL
 * when out of memory. Handlers of the standard ones find |builtin| through tlx_builtin_of_call
 * below. */
struct tlx_method *tlx_builtin_methods(struct tlx_builtin *builtin, const struct tlx_method *own,
                                       size_t n_own, size_t *ret_n);
/* The application tells where its builtin is: the first member of the server's ctx struct must be a
 * `struct tlx_builtin *`. */
static inline struct tlx_builtin *tlx_builtin_of_call(const struct tlx_call *call) {
  return *(struct tlx_builtin **)tlx_call_ctx(call);
}
/* Health of the whole server and of every service; open Watch streams are told when it changes.
 * Starts as NOT_SERVING. */
void tlx_builtin_set_serving(struct tlx_builtin *builtin, bool serving);
/* Whether |path| ("/package.Service/Method") belongs to health, which may be called without a
 * certificate. */
bool tlx_builtin_is_health(const char *path);
