// SPDX-License-Identifier: GPL-2.0-or-later
#include <criterion/criterion.h>
#include <errno.h>
#include <unistd.h>

#include "bed.h"

static struct bed bed;

static void begin(void) {
  bed_begin(&bed);
  bed_engine(&bed);
}
static void end(void) {
  bed_end(&bed);
}
TestSuite(exec, .init = begin, .fini = end);

Test(exec, absolute_path) {
  cr_expect_eq(bed_exec(&bed, bed.program), BED_ALIVE);
  cr_expect(bed_trace(&bed), "the program leaves no trace even without a rule");
  bed_rule_file(&bed, bed.program, 1, TLX_MODE_ENFORCE);
  bed_publish(&bed);
  cr_expect_eq(bed_exec(&bed, bed.program), bed_stopped(&bed));
  cr_expect_not(bed_trace(&bed));
  cr_expect_eq(bed_count(&bed, 1).acted, 1);
}
