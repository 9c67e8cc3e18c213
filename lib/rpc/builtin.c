// SPDX-License-Identifier: GPL-2.0-or-later
#include "rpc/builtin.h"

#include <errno.h>
#include <grpc/health/v1/health.pb-c.h>
#include <grpc/reflection/v1/reflection.pb-c.h>
#include <grpc/reflection/v1alpha/reflection.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "rpc/descriptor_index.h"
#include "rpc/limits.h"
#include "rpc/pb_scan.h"

#define HEALTH "grpc.health.v1.Health"
#define REFLECTION_V1 "grpc.reflection.v1.ServerReflection"
#define REFLECTION_V1ALPHA "grpc.reflection.v1alpha.ServerReflection"
#define FILES_MAX 64u

static const char *const own_services[] = {HEALTH, REFLECTION_V1, REFLECTION_V1ALPHA};
#define N_OWN (sizeof own_services / sizeof *own_services)

/* One open Watch of health. */
struct watcher {
  struct tlx_builtin *builtin;
  struct watcher *next, **prev;
  struct tlx_call *call; /* referenced */
  bool is_known;
};

struct tlx_builtin {
  struct tlx_descriptor_index *index;
  const char **services; /* all, the standard ones included */
  size_t n_services;
  bool serving;
  struct watcher *watchers;
};

/* ---- health (gRPC doc/health-checking.md) ---- */

static bool is_service(const struct tlx_builtin *builtin, const char *name) {
  if (!*name) return true;
  for (size_t i = 0; i < builtin->n_services; i++)
    if (strcmp(builtin->services[i], name) == 0) return true;
  return false;
}

static Grpc__Health__V1__HealthCheckResponse health_now(const struct tlx_builtin *builtin,
                                                        bool is_known) {
  Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
  if (!is_known)
    response.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
  else if (builtin->serving)
    response.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
  else
    response.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
  return response;
}

static void check(struct tlx_call *call, const ProtobufCMessage *message) {
  const Grpc__Health__V1__HealthCheckRequest *request = (const void *)message;
  struct tlx_builtin *builtin = tlx_builtin_of_call(call);
  struct tlx_status status;
  if (!is_service(builtin, request->service)) {
    tlx_status_set(&status, TLX_GRPC_NOT_FOUND, "unknown_service", "there is no such service");
    tlx_call_fail(call, &status);
    return;
  }
  Grpc__Health__V1__HealthCheckResponse response = health_now(builtin, true);
  tlx_call_reply(call, &response.base);
}

static void drop_watcher(struct watcher *watcher) {
  *watcher->prev = watcher->next;
  if (watcher->next) watcher->next->prev = watcher->prev;
  tlx_call_on_cancel(watcher->call, NULL, NULL);
  tlx_call_unref(watcher->call);
  free(watcher);
}

static void on_watch_cancelled(struct tlx_call *call, void *arg) {
  tlx_call_ref(call);
  drop_watcher(arg);
  tlx_call_end(call);
  tlx_call_unref(call);
}

static void tell_watcher(struct watcher *watcher) {
  Grpc__Health__V1__HealthCheckResponse response = health_now(watcher->builtin, watcher->is_known);
  /* A stream that cannot take one small message has a reader that is gone. */
  (void)tlx_call_send(watcher->call, &response.base);
}

static void watch(struct tlx_call *call, const ProtobufCMessage *message) {
  const Grpc__Health__V1__HealthCheckRequest *request = (const void *)message;
  struct tlx_builtin *builtin = tlx_builtin_of_call(call);
  struct watcher *watcher = calloc(1, sizeof *watcher);
  struct tlx_status status;
  if (!watcher) {
    tlx_status_set(&status, TLX_GRPC_RESOURCE_EXHAUSTED, "no_memory", "no memory");
    tlx_call_fail(call, &status);
    return;
  }
  watcher->builtin = builtin;
  watcher->call = tlx_call_ref(call);
  watcher->is_known = is_service(builtin, request->service);
  watcher->next = builtin->watchers;
  watcher->prev = &builtin->watchers;
  if (builtin->watchers) builtin->watchers->prev = &watcher->next;
  builtin->watchers = watcher;
  tlx_call_start_stream(call);
  tlx_call_on_cancel(call, on_watch_cancelled, watcher);
  tell_watcher(watcher);
}

void tlx_builtin_set_serving(struct tlx_builtin *builtin, bool serving) {
  if (builtin->serving == serving) return;
  builtin->serving = serving;
  for (struct watcher *watcher = builtin->watchers; watcher; watcher = watcher->next)
    if (watcher->is_known) tell_watcher(watcher);
}

bool tlx_builtin_is_health(const char *path) {
  return strncmp(path, "/" HEALTH "/", sizeof HEALTH + 1) == 0;
}

/* ---- reflection (gRPC doc/server-reflection.md) ---- */

/* What one answer points to. */
struct answer {
  Grpc__Reflection__V1__ServerReflectionResponse response;
  Grpc__Reflection__V1__FileDescriptorResponse files;
  Grpc__Reflection__V1__ExtensionNumberResponse extensions;
  Grpc__Reflection__V1__ListServiceResponse list;
  Grpc__Reflection__V1__ErrorResponse error;
  ProtobufCBinaryData bytes[FILES_MAX];
  Grpc__Reflection__V1__ServiceResponse services[FILES_MAX], *service_list[FILES_MAX];
  char text[256];
};

static void answer_error(struct answer *answer, int code, const char *what, const char *name) {
  answer->error = (Grpc__Reflection__V1__ErrorResponse)GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
  snprintf(answer->text, sizeof answer->text, "%s%.150s", what, name);
  answer->error.error_code = code;
  answer->error.error_message = answer->text;
  answer->response.message_response_case =
      GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
  answer->response.error_response = &answer->error;
}

static void answer_file(const struct tlx_builtin *builtin, struct answer *answer,
                        const struct tlx_descriptor_file *file, const char *what,
                        const char *name) {
  const struct tlx_descriptor_file *list[FILES_MAX];
  if (!file) {
    answer_error(answer, TLX_GRPC_NOT_FOUND, what, name);
    return;
  }
  size_t n = tlx_descriptor_file_closure(builtin->index, file, list, FILES_MAX);
  for (size_t i = 0; i < n; i++) {
    struct tlx_bytes bytes = tlx_descriptor_file_bytes(list[i]);
    answer->bytes[i] = (ProtobufCBinaryData){bytes.len, (uint8_t *)bytes.data};
  }
  answer->files = (Grpc__Reflection__V1__FileDescriptorResponse)
      GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
  answer->files.n_file_descriptor_proto = n;
  answer->files.file_descriptor_proto = answer->bytes;
  answer->response.message_response_case =
      GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
  answer->response.file_descriptor_response = &answer->files;
}

static void answer_extensions(const struct tlx_builtin *builtin, struct answer *answer,
                              const char *type) {
  if (!tlx_descriptor_has_message(builtin->index, type)) {
    answer_error(answer, TLX_GRPC_NOT_FOUND, "no message ", type);
    return;
  }
  answer->extensions = (Grpc__Reflection__V1__ExtensionNumberResponse)
      GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
  answer->extensions.base_type_name = (char *)type;
  answer->response.message_response_case =
      GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
  answer->response.all_extension_numbers_response = &answer->extensions;
}

static void answer_services(const struct tlx_builtin *builtin, struct answer *answer) {
  answer->list =
      (Grpc__Reflection__V1__ListServiceResponse)GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
  for (size_t i = 0; i < builtin->n_services && i < FILES_MAX; i++) {
    answer->services[i] =
        (Grpc__Reflection__V1__ServiceResponse)GRPC__REFLECTION__V1__SERVICE_RESPONSE__INIT;
    answer->services[i].name = (char *)builtin->services[i];
    answer->service_list[answer->list.n_service++] = &answer->services[i];
  }
  answer->list.service = answer->service_list;
  answer->response.message_response_case =
      GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
  answer->response.list_services_response = &answer->list;
}

static void answer_request(const struct tlx_builtin *builtin,
                           Grpc__Reflection__V1__ServerReflectionRequest *request,
                           struct answer *answer) {
  answer->response = (Grpc__Reflection__V1__ServerReflectionResponse)
      GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
  answer->response.valid_host = request->host;
  answer->response.original_request = request;
  switch (request->message_request_case) {
  case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
    answer_file(builtin, answer,
                tlx_descriptor_file_named(builtin->index, request->file_by_filename), "no file ",
                request->file_by_filename);
    return;
  case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
    answer_file(builtin, answer,
                tlx_descriptor_file_of_symbol(builtin->index, request->file_containing_symbol),
                "no symbol ", request->file_containing_symbol);
    return;
  case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
    answer_error(answer, TLX_GRPC_NOT_FOUND, "no extension of ",
                 request->file_containing_extension->containing_type);
    return;
  case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
    answer_extensions(builtin, answer, request->all_extension_numbers_of_type);
    return;
  case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
    answer_services(builtin, answer);
    return;
  default:
    answer_error(answer, TLX_GRPC_UNIMPLEMENTED, "the request asks nothing that is known here", "");
  }
}

/* Both versions have the same fields and numbers: v1alpha goes through bytes. */
static const ProtobufCMessage *recast(const ProtobufCMessage *message,
                                      const ProtobufCMessageDescriptor *descriptor,
                                      struct tlx_arena *arena) {
  struct tlx_buf packed = {0};
  ProtobufCMessage *result = NULL;
  tlx_pb_pack(message, &packed);
  if (packed.err || tlx_pb_unpack_trusted(descriptor, (struct tlx_bytes){packed.data, packed.len},
                                          arena, &result) != 0)
    result = NULL;
  tlx_buf_done(&packed);
  return result;
}

static void reflect(struct tlx_call *call, const ProtobufCMessage *message, bool is_alpha) {
  struct tlx_status status;
  struct tlx_arena arena;
  if (!message) {
    tlx_call_end(call);
    return;
  }
  /* A stream may ask without end: what one answer needs does not stay. */
  tlx_arena_init(&arena, TLX_ARENA_MAX);
  struct answer *answer = tlx_arena_zalloc(&arena, sizeof *answer);
  const ProtobufCMessage *request =
      is_alpha
          ? recast(message, &grpc__reflection__v1__server_reflection_request__descriptor, &arena)
          : message;
  const ProtobufCMessage *reply = NULL;
  if (answer && request) {
    answer_request(tlx_builtin_of_call(call), (void *)request, answer);
    reply = is_alpha
                ? recast(&answer->response.base,
                         &grpc__reflection__v1alpha__server_reflection_response__descriptor, &arena)
                : &answer->response.base;
  }
  if (!reply) {
    tlx_status_set(&status, TLX_GRPC_RESOURCE_EXHAUSTED, "no_memory", "no memory");
    tlx_call_fail(call, &status);
  } else if (tlx_call_send(call, reply) == TLX_E_LIMIT) {
    tlx_status_set(&status, TLX_GRPC_RESOURCE_EXHAUSTED, "reader_too_slow",
                   "the answers are not read");
    tlx_call_fail(call, &status);
  }
  tlx_arena_done(&arena);
}

static void reflect_v1(struct tlx_call *call, const ProtobufCMessage *message) {
  reflect(call, message, false);
}

static void reflect_v1alpha(struct tlx_call *call, const ProtobufCMessage *message) {
  reflect(call, message, true);
}

/* ---- table and life ---- */

struct tlx_method *tlx_builtin_methods(struct tlx_builtin *builtin, const struct tlx_method *own,
                                       size_t n_own, size_t *ret_n) {
  const struct tlx_method standard[] = {
      {"/" HEALTH "/Check", TLX_UNARY, &grpc__health__v1__health_check_request__descriptor,
       &grpc__health__v1__health_check_response__descriptor, check},
      {"/" HEALTH "/Watch", TLX_SERVER_STREAM, &grpc__health__v1__health_check_request__descriptor,
       &grpc__health__v1__health_check_response__descriptor, watch},
      {"/" REFLECTION_V1 "/ServerReflectionInfo", TLX_BIDI,
       &grpc__reflection__v1__server_reflection_request__descriptor,
       &grpc__reflection__v1__server_reflection_response__descriptor, reflect_v1},
      {"/" REFLECTION_V1ALPHA "/ServerReflectionInfo", TLX_BIDI,
       &grpc__reflection__v1alpha__server_reflection_request__descriptor,
       &grpc__reflection__v1alpha__server_reflection_response__descriptor, reflect_v1alpha},
  };
  size_t n_standard = sizeof standard / sizeof *standard;
  struct tlx_method *methods = calloc(n_own + n_standard, sizeof *methods);
  if (!methods) return NULL;
  if (n_own) memcpy(methods, own, n_own * sizeof *own);
  memcpy(methods + n_own, standard, sizeof standard);
  *ret_n = n_own + n_standard;
  return methods;
}

int tlx_builtin_new(const void *descriptor_set, size_t len, const char *const *services,
                    size_t n_services, struct tlx_builtin **ret_builtin) {
  struct tlx_builtin *builtin = calloc(1, sizeof *builtin);
  if (!builtin) return -ENOMEM;
  int err = -ENOMEM;
  builtin->services = calloc(n_services + N_OWN, sizeof *builtin->services);
  if (builtin->services) err = tlx_descriptor_index_new(descriptor_set, len, &builtin->index);
  if (err) {
    tlx_builtin_free(builtin);
    return err;
  }
  if (n_services) memcpy(builtin->services, services, n_services * sizeof *services);
  memcpy(builtin->services + n_services, own_services, sizeof own_services);
  builtin->n_services = n_services + N_OWN;
  *ret_builtin = builtin;
  return 0;
}

void tlx_builtin_free(struct tlx_builtin *builtin) {
  if (!builtin) return;
  tlx_descriptor_index_free(builtin->index);
  free(builtin->services);
  free(builtin);
}
