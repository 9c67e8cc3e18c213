// SPDX-License-Identifier: GPL-2.0-or-later
/* Feeds every file of the folders given as arguments to a fuzz target, so that the corpus is an
 * ordinary test. A folder without files is a failure: a test that checks nothing must not pass. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

static int feed(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) {
    perror(path);
    return -1;
  }
  struct stat st;
  if (fstat(fileno(file), &st) != 0) {
    perror(path);
    fclose(file);
    return -1;
  }
  size_t size = (size_t)st.st_size;
  /* Exactly sized, so that the sanitizer sees the first byte past the end. */
  uint8_t *data = malloc(size ? size : 1);
  int ret = data && fread(data, 1, size, file) == size ? 0 : -1;
  fclose(file);
  if (ret == 0) LLVMFuzzerTestOneInput(data, size);
  free(data);
  return ret;
}

int main(int argc, char **argv) {
  unsigned n = 0;
  for (int i = 1; i < argc; i++) {
    DIR *folder = opendir(argv[i]);
    if (!folder) {
      perror(argv[i]);
      return 1;
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
      if (entry->d_name[0] == '.') continue;
      char path[4096];
      snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
      if (feed(path) != 0) {
        closedir(folder);
        return 1;
      }
      n++;
    }
    closedir(folder);
  }
  printf("replayed %u inputs\n", n);
  return n ? 0 : 1;
}
