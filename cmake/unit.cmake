# tlx_unit_test(NAME SOURCES... LINK targets...): one Criterion program and its ctest.
#
# A leak found at exit does not fail a Criterion run by itself, and a program whose tests were all skipped exits 0:
# both are read from the output.
set(TLX_SANITIZER_PATTERN "ERROR: (Leak|Address|Thread)Sanitizer;WARNING: ThreadSanitizer;runtime error:")
function(tlx_unit_test name)
  cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
  foreach(source ${A_SOURCES})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${source})
      message(STATUS "PENDING ${name}: ${source}")
      return()
    endif()
  endforeach()
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE ${A_LINK} PkgConfig::CRITERION tlx_flags)
  # Criterion's macros break these two.
  target_compile_options(${name} PRIVATE -Wno-shadow -Wno-strict-prototypes)
  add_test(NAME ${name} COMMAND ${name} --verbose -j1)
  set_tests_properties(${name} PROPERTIES TIMEOUT 180 LABELS unit
    FAIL_REGULAR_EXPRESSION "${TLX_SANITIZER_PATTERN}" SKIP_REGULAR_EXPRESSION "Tested: 0 ")
endfunction()
