// SPDX-License-Identifier: GPL-2.0-or-later
#include "sensor/bpf_file.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bed.h"

static struct bed bed;
static struct bpf_file *file;

static void begin(void) {
  char why[240] = "";
  bed_begin(&bed);
  int err = bpf_file_open(NULL, why, &file);
  if (err) cr_skip_test("%s", why);
}
static void end(void) {
  bpf_file_close(file);
  bed_end(&bed);
}
TestSuite(file, .init = begin, .fini = end);

static int identify(const char *path, struct tlx_file_id *ret_id) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
  int err = bpf_file_identify(file, fd, ret_id);
  close(fd);
  return err;
}
/* The kernel's own form of a device number. */
static uint32_t kernel_dev(dev_t dev) {
  return major(dev) << 20 | minor(dev);
}

static void expect_same_as_stat(const char *path) {
  struct tlx_file_id id = {0};
  struct statfs fs;
  struct stat st;
  cr_assert_eq(identify(path, &id), 0, "%s", path);
  cr_assert_eq(stat(path, &st), 0);
  cr_assert_eq(statfs(path, &fs), 0);
  cr_expect_eq(id.ino, st.st_ino, "%s", path);
  cr_expect_eq(id.dev, kernel_dev(st.st_dev), "%s", path);
  cr_expect_eq(id.mode, st.st_mode, "%s", path);
  cr_expect_eq(id.magic, (uint32_t)fs.f_type, "%s", path);
  cr_expect_eq(id.real_ino, 0);
}

Test(file, on_plain_file_systems_it_is_what_stat_says) {
  const char *folder = bed_path(&bed, "tmpfs"), *inside = bed_path(&bed, "tmpfs/program");
  expect_same_as_stat(bed.program);
  expect_same_as_stat(bed.folder);
  cr_assert_eq(mkdir(folder, 0755), 0);
  cr_assert_eq(mount("tmpfs", folder, "tmpfs", 0, NULL), 0);
  bed_copy_program(&bed, inside);
  expect_same_as_stat(inside);
  expect_same_as_stat("/proc/self/status");
}

Test(file, a_descriptor_that_is_not_open) {
  struct tlx_file_id id = {.ino = 7};
  cr_expect_eq(bpf_file_identify(file, 987, &id), -ENOENT);
  cr_expect_eq(id.ino, 7);
}

Test(file, on_overlayfs_it_names_the_file_behind) {
  const char *folder = bed_path(&bed, "overlay");
  char lower[256], merged[256], upper[256];
  struct tlx_file_id id = {0}, real = {0};
  cr_assert_eq(mkdir(folder, 0755), 0);
  cr_assert_eq(mount("tmpfs", folder, "tmpfs", 0, NULL), 0);
  cr_assert(bed_command("cd %s && mkdir lower upper work merged", folder));
  snprintf(lower, sizeof lower, "%s/lower/program", folder);
  snprintf(merged, sizeof merged, "%s/merged/program", folder);
  snprintf(upper, sizeof upper, "%s/upper/program", folder);
  bed_copy_program(&bed, lower);
  if (!bed_command(
          "cd %s && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged",
          folder))
    cr_skip_test("this kernel has no overlayfs");
  cr_assert_eq(identify(merged, &id), 0);
  cr_assert_eq(identify(lower, &real), 0);
  if (!id.real_ino) cr_skip_test("lockdown: the file behind cannot be read");
  cr_expect_eq(id.magic, 0x794c7630);
  cr_expect(id.real_ino == real.ino && id.real_dev == real.dev);
  cr_expect_neq(id.dev, real.dev);
  cr_assert(bed_command("printf x >>%s", merged));
  cr_assert_eq(identify(merged, &id), 0);
  cr_assert_eq(identify(upper, &real), 0);
  cr_expect(id.real_ino == real.ino && id.real_dev == real.dev);
}

/* stat tells a device of the subvolume that no hook ever sees. */
Test(file, on_btrfs_it_is_not_what_stat_says) {
  const char *image = bed_path(&bed, "image"), *folder = bed_path(&bed, "btrfs");
  struct tlx_file_id id = {0};
  struct stat st;
  unsigned major_number = 0, minor_number = 0;
  char line[1024];
  if (!bed_command("command -v mkfs.btrfs >/dev/null")) cr_skip_test("mkfs.btrfs is not installed");
  cr_assert(bed_command("truncate -s 128M %s && mkfs.btrfs -q %s >/dev/null 2>&1 && mkdir %s",
                        image, image, folder));
  if (!bed_command("mount -o loop %s %s 2>/dev/null", image, folder))
    cr_skip_test("this kernel mounts no btrfs");
  const char *path = bed_path(&bed, "btrfs/program");
  bed_copy_program(&bed, path);
  cr_expect_eq(identify(path, &id), 0);
  cr_assert_eq(stat(path, &st), 0);
  FILE *mounts = fopen("/proc/self/mountinfo", "re");
  cr_assert(mounts);
  while (fgets(line, sizeof line, mounts))
    if (strstr(line, folder)) sscanf(line, "%*s %*s %u:%u", &major_number, &minor_number);
  fclose(mounts);
  umount(folder);
  cr_expect_eq(id.ino, st.st_ino);
  cr_expect_eq(id.magic, 0x9123683e);
  cr_expect_eq(id.dev, major_number << 20 | minor_number);
  cr_expect_neq(id.dev, kernel_dev(st.st_dev));
}
