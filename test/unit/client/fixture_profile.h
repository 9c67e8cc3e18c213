// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "../../harness/folder.h"
#include "../pki/fixture.h"

/* A fleet with a Console's and an operator's certificate, and the operator's profile folder. Every
 * function asserts. */
struct profile_fixture {
  struct folder folder;
  struct fixture_ca ca;
  struct fixture_leaf server, operator;
};
#define FIXTURE_CONSOLE "spiffe://" FIXTURE_FLEET "/console"

/* Certificates are valid now; the profile names |console| (HOST:PORT). */
void profile_fixture_init(struct profile_fixture *fx, const char *console);
void profile_fixture_done(struct profile_fixture *fx);
/* Writes profile.ini with these lines in [profile]. */
void profile_fixture_ini(struct profile_fixture *fx, const char *lines);
/* Writes certificates as PEM. */
void profile_fixture_pem(struct profile_fixture *fx, const char *name, const struct tlx_buf *der);
