// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
#include "bpf-progs/tlx_abi.h"
#include "sensor/bpf_load.h"
#include "sensor/bpf_object.h"
#include "sensor/bpf_pin.h"

/* What bpf_object.c, bpf_verify.c and bpf_maps.c share. They speak to the kernel by <bpf/bpf.h>
 * alone: libbpf.h has a struct bpf_object of its own. */

/* One attached program. Owns both descriptors. */
struct bpf_hook {
  const char *name; /* "bprm_check" */
  int link_fd, prog_fd;
  uint32_t link_id, prog_id;
  uint8_t tag[8];
};
/* The attached programs of one backend: together in force, or not at all. */
struct bpf_set {
  enum bpf_backend backend; /* NONE = empty */
  struct bpf_hook hooks[BPF_HOOKS_MAX];
  unsigned n;
  int self_fd;
  uint32_t self_id;
  bool reads;
};

struct bpf_object {
  struct bpf_object_options options;
  char pin_folder[BPF_PIN_PATH_MAX], folder[BPF_PIN_PATH_MAX]; /* folder = pin_folder / version */
  char *btf_path;
  struct {
    int fd;
    uint32_t id;
  } maps[BPF_MAP_COUNT];
  bool maps_pinned; /* the pins are these maps; else they still are a former process's, or none */
  struct bpf_set current; /* pinned */
  bool is_former;         /* |current| was found, not made: attach may adopt it */
  struct bpf_set pending; /* of the last attach */
  bool is_adopted;        /* |pending| holds the links of |current| */
  struct tlx_cfg cfg;
  bool knows_cfg; /* |cfg| is what we want, not only what we found */
  int image_fd;   /* inner map in force; -1 = none, or not known */
  uint32_t image_id;
};

/* Names of pins. |out| of BPF_PIN_NAME_MAX. */
void bpf_object_link_name(const struct bpf_set *set, unsigned hook, char *out);
void bpf_object_prog_name(const struct bpf_set *set, unsigned hook, char *out);
void bpf_object_self_name(const struct bpf_set *set, char *out);
#define BPF_IMAGE_PIN "image"
/* Pins all of |set| that is not pinned already: links last, so that a link is never without what
 * tells whose it is. */
int bpf_object_pin_set(struct bpf_object *object, const struct bpf_set *set);
/* Tag and map ids of a program. 0 or a negative errno. */
int bpf_object_prog_info(int prog_fd, uint8_t ret_tag[8], uint32_t ret_map_ids[16],
                         uint32_t *ret_n);
/* Notes one difference; a full list drops it. */
void bpf_tampers_note(struct bpf_tampers *tampers, bool repaired, const char *what,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Compares one pin with the object that it must be, and puts it back. */
int bpf_tampers_check_pin(const char *folder, const char *name, enum bpf_pin_kind kind, int fd,
                          uint32_t id, struct bpf_tampers *tampers);
/* Writes |cfg| so that no torn state of it arms the wrong scope. */
int bpf_object_write_cfg(struct bpf_object *object, const struct tlx_cfg *cfg);
