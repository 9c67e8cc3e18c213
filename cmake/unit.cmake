# All test programs that are labelled `threads`: what the TSan run builds.
add_custom_target(tsan_tests)

# tlx_unit_test(NAME SOURCES... LINK targets... [THREADS]): one Criterion program and its ctest. THREADS: it runs code on
# more than one thread, so it is labelled `threads`, built by tsan_tests and run under TSan too.
#
# A leak found at exit does not fail a Criterion run by itself, and a program whose tests were all skipped exits 0:
# both are read from the output.
set(TLX_SANITIZER_PATTERN "ERROR: (Leak|Address|Thread)Sanitizer;WARNING: ThreadSanitizer;runtime error:")
function(tlx_unit_test name)
  cmake_parse_arguments(A "THREADS" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE ${A_LINK} PkgConfig::CRITERION tlx_flags)
  # Criterion's macros break these two.
  target_compile_options(${name} PRIVATE -Wno-shadow -Wno-strict-prototypes)
  add_test(NAME ${name} COMMAND ${name} --verbose -j1)
  set(labels unit)
  if(A_THREADS)
    list(APPEND labels threads)
    add_dependencies(tsan_tests ${name})
    if(TLX_SANITIZE STREQUAL "thread")
      target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/test/harness/tsan_main.c)
    endif()
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT 180 LABELS "${labels}"
    FAIL_REGULAR_EXPRESSION "${TLX_SANITIZER_PATTERN}" SKIP_REGULAR_EXPRESSION "Tested: 0 ")
endfunction()
