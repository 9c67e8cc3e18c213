// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "client/output.h"
#include "telovix/v1/fleet.pb-c.h"

/* How a sensor is shown: a row of a list, a line of a watch, or all that is known. What the Console
 * wants and what the host reported stand side by side and are never mixed. Main thread. */

/* An empty table with the heads of the rows below; NULL when out of memory. */
struct output_table *sensor_view_table(bool wide);
/* Adds one row; |wide| as for the table. |table| NULL is fine. */
void sensor_view_row(struct output_table *table, const Telovix__V1__Sensor *sensor, bool wide);
/* One line, escaped and flushed: name, id, status, health, reasons, trust, connection, engine,
 * rules, desired and in force, trial scope. */
void sensor_view_line(const Telovix__V1__Sensor *sensor);
/* One line: the sensor is no longer part of the watch, because it was revoked or deleted. */
void sensor_view_removed(const Telovix__V1__Sensor *sensor);
/* Everything, a line for each thing. */
void sensor_view_print(const Telovix__V1__Sensor *sensor);
/* How the state in force stands to the desired one: "same", "differs" (epoch, generation and digest
 * are compared together), or "not known" when the host has not said. Static storage. */
const char *sensor_view_agreement(const Telovix__V1__Sensor *sensor);
