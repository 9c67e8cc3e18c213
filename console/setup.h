// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "console/settings.h"

/* `telovix-console init`: a data folder with CA, server certificate, store and the first admin's
 * profile, made beside its place and renamed there, so that there is a whole one or none. Prints
 * what it did and the next commands. Returns the exit status of the process. */
int setup_init(const char *data, const char *fleet_name, const struct settings *settings);

/* `telovix-console verify`: walks the whole store and says what it found. Returns the exit status.
 */
int setup_verify(const char *data);
