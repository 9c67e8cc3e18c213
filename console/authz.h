// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Method → who may call it: one table. A method that is not in it cannot be called. */
enum authz_kind { AUTHZ_ANYONE, AUTHZ_SENSOR, AUTHZ_OPERATOR };
/* Same numbers as telovix.v1.Role. */
enum authz_role { AUTHZ_ROLE_NONE = 0, AUTHZ_VIEWER = 1, AUTHZ_OP = 2, AUTHZ_ADMIN = 3 };
/* One row. */
struct authz_rule {
  const char *path;
  enum authz_kind kind;
  enum authz_role least; /* for AUTHZ_OPERATOR */
};
/* The rule of this exact path; NULL when the method is not in the table. Static storage; any
 * thread. */
const struct authz_rule *authz_find(const char *path);
/* The whole table, for the test that walks it; |*ret_n| rows. */
const struct authz_rule *authz_table(size_t *ret_n);
/* "viewer", "operator", "admin"; "none" for other numbers. Static storage; any thread. */
const char *authz_role_name(unsigned role);
