# tlx_proto_library(NAME PROTOS... [USES targets...])
#
# Generates C for the .proto files (paths below proto/, or google/protobuf/… of the system) into the build
# folder and makes a static library of them. Generated code is not compiled with our warnings.
find_program(PROTOC_C protoc-c REQUIRED)
find_program(PROTOC protoc REQUIRED)
set(TLX_PROTO_SYSTEM /usr/include)

function(tlx_proto_library name)
  cmake_parse_arguments(A "" "" "PROTOS;USES" ${ARGN})
  set(root ${PROJECT_SOURCE_DIR}/proto)
  set(out ${CMAKE_BINARY_DIR}/proto/${name})
  file(MAKE_DIRECTORY ${out})
  set(generated)
  foreach(proto ${A_PROTOS})
    string(REGEX REPLACE "\\.proto$" ".pb-c" stem ${proto})
    if(EXISTS ${root}/${proto})
      set(source ${root}/${proto})
    else()
      set(source ${TLX_PROTO_SYSTEM}/${proto})
    endif()
    add_custom_command(
      OUTPUT ${out}/${stem}.c ${out}/${stem}.h
      COMMAND ${PROTOC_C} --proto_path=${root} --proto_path=${TLX_PROTO_SYSTEM} --c_out=${out} ${proto}
      DEPENDS ${source}
      VERBATIM)
    list(APPEND generated ${out}/${stem}.c ${out}/${stem}.h)
  endforeach()
  add_library(${name} STATIC ${generated})
  target_include_directories(${name} SYSTEM PUBLIC ${out})
  target_link_libraries(${name} PUBLIC PkgConfig::PROTOBUFC ${A_USES} PRIVATE tlx_flags_base)
endfunction()

# tlx_proto_descriptors(NAME SYMBOL PROTOS...): one C file with the serialized FileDescriptorSet (imports
# included), as `const unsigned char SYMBOL[]` and `const unsigned long SYMBOL_len`.
function(tlx_proto_descriptors name symbol)
  cmake_parse_arguments(A "" "" "PROTOS" ${ARGN})
  set(root ${PROJECT_SOURCE_DIR}/proto)
  set(out ${CMAKE_BINARY_DIR}/proto/${name})
  file(MAKE_DIRECTORY ${out})
  set(sources ${A_PROTOS})
  list(TRANSFORM sources PREPEND ${root}/)
  add_custom_command(
    OUTPUT ${out}/${symbol}.c
    COMMAND ${PROTOC} --proto_path=${root} --proto_path=${TLX_PROTO_SYSTEM} --include_imports
      --descriptor_set_out=${out}/${symbol}.bin ${A_PROTOS}
    COMMAND ${CMAKE_COMMAND} -DIN=${out}/${symbol}.bin -DOUT=${out}/${symbol}.c -DSYMBOL=${symbol}
      -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${sources} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    VERBATIM)
  add_library(${name} STATIC ${out}/${symbol}.c)
  target_link_libraries(${name} PRIVATE tlx_flags_base)
endfunction()
