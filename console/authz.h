// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Method → who may call it: one table. A method that is not in it cannot be called. */
enum authz_kind { AUTHZ_ANYONE, AUTHZ_SENSOR, AUTHZ_OPERATOR };
/* Same numbers as telovix.v1.Role. */
enum authz_role { AUTHZ_ROLE_NONE = 0, AUTHZ_VIEWER = 1, AUTHZ_OP = 2, AUTHZ_ADMIN = 3 };
struct authz_rule {
  const char *path;
  enum authz_kind kind;
  enum authz_role least; /* for AUTHZ_OPERATOR */
};
/* NULL when the method is not in the table. */
const struct authz_rule *authz_find(const char *path);
/* The whole table, for the test that walks it. */
const struct authz_rule *authz_table(size_t *ret_n);
const char *authz_role_name(unsigned role); /* "viewer", "operator", "admin" */
