# tlx_folder_library(NAME PREFIX SOURCES... [PUBLIC targets...] [PRIVATE targets...])
#
# Makes the static library NAME of the current folder. Its headers are included as "PREFIX/file.h", and only by
# targets that link it: the include path holds nothing but a link named PREFIX to this folder.
function(tlx_folder_library name prefix)
  cmake_parse_arguments(A "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(view ${CMAKE_BINARY_DIR}/include/${name})
  file(MAKE_DIRECTORY ${view})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${view}/${prefix} SYMBOLIC)
  add_library(${name} STATIC ${A_SOURCES})
  target_include_directories(${name} PUBLIC ${view})
  target_link_libraries(${name} PUBLIC ${A_PUBLIC} PRIVATE ${A_PRIVATE} tlx_flags)
endfunction()
