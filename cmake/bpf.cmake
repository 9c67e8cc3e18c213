# tlx_bpf_skeletons(TARGET NAMES...): compiles each NAME.bpf.c of this folder for the kernel and makes NAME.skel.h of it
# in ${TLX_BPF_SKELETONS}. Who includes one depends on TARGET.
#
# Always clang: gcc's BPF back end of this release writes no relocations that libbpf can use, and the presets choose
# CMAKE_C_COMPILER for user space only.
find_program(TLX_BPF_CLANG clang REQUIRED)
find_program(TLX_BPFTOOL bpftool PATHS /usr/sbin /sbin REQUIRED)
set(TLX_BPF_SKELETONS ${CMAKE_BINARY_DIR}/bpf)

function(tlx_bpf_skeletons target)
  set(out ${TLX_BPF_SKELETONS})
  file(MAKE_DIRECTORY ${out})
  set(made)
  foreach(name ${ARGN})
    add_custom_command(
      OUTPUT ${out}/${name}.bpf.o
      COMMAND ${TLX_BPF_CLANG} -target bpf -std=gnu11 -g -O2 -Wall -Wextra -Werror -Wno-unused-parameter
        -I${CMAKE_CURRENT_SOURCE_DIR}/include
        # <linux/types.h> looks for asm/ where the host's compiler finds it.
        -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
        -MD -MF ${out}/${name}.d -MT ${out}/${name}.bpf.o
        -c ${CMAKE_CURRENT_SOURCE_DIR}/${name}.bpf.c -o ${out}/${name}.bpf.o
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}.bpf.c
      DEPFILE ${out}/${name}.d
      VERBATIM)
    # The linker drops what only a debugger reads; the skeleton holds the object, so that the sensor is one file.
    add_custom_command(
      OUTPUT ${out}/${name}.o ${out}/${name}.skel.h
      COMMAND ${TLX_BPFTOOL} gen object ${out}/${name}.o ${out}/${name}.bpf.o
      COMMAND sh -c "\"$1\" gen skeleton \"$2\" name \"$3\" >\"$4\"" sh
        ${TLX_BPFTOOL} ${out}/${name}.o ${name} ${out}/${name}.skel.h
      DEPENDS ${out}/${name}.bpf.o
      VERBATIM)
    list(APPEND made ${out}/${name}.skel.h)
  endforeach()
  add_custom_target(${target} DEPENDS ${made})
endfunction()
