# One interface target carries the flags of all our code; generated code gets tlx_flags_generated.
add_library(tlx_flags_base INTERFACE)
target_compile_features(tlx_flags_base INTERFACE c_std_11)
target_compile_definitions(tlx_flags_base INTERFACE _GNU_SOURCE TLX_VERSION="${PROJECT_VERSION}"
  $<$<BOOL:${TLX_RELEASE}>:TLX_RELEASE=1>)
# No strict aliasing: libuv's handles are reached through several struct types.
target_compile_options(tlx_flags_base INTERFACE -std=gnu11 -fno-strict-aliasing -fvisibility=hidden -g
  -fno-omit-frame-pointer)
if(TLX_SANITIZE)
  target_compile_options(tlx_flags_base INTERFACE -fsanitize=${TLX_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(tlx_flags_base INTERFACE -fsanitize=${TLX_SANITIZE})
endif()
if(TLX_FUZZ)
  target_compile_options(tlx_flags_base INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(tlx_flags_base INTERFACE -O2 -flto=auto -fstack-protector-strong -D_FORTIFY_SOURCE=2
    -fstack-clash-protection -fcf-protection -fPIE)
  target_link_options(tlx_flags_base INTERFACE -flto=auto -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack -s)
endif()

add_library(tlx_flags INTERFACE)
target_link_libraries(tlx_flags INTERFACE tlx_flags_base)
target_compile_options(tlx_flags INTERFACE -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes
  -Wold-style-definition -Wtype-limits -Wpointer-arith -Wwrite-strings -Wundef -Wvla
  -Wno-unused-parameter -Wno-missing-field-initializers)
# clang 14 does not know this warning, and takes its name for an error.
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(tlx_flags INTERFACE -Wno-format-truncation)
endif()
