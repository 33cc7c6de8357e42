# One static library per layer: target align_<layer>, alias align::<layer>.
if(ALIGN_NATIVE)
  set(align_march -march=native)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  # The kernels write their FMAs out: they need AVX2 and FMA to be fast.
  set(align_march -march=x86-64-v3)
endif()
# GCC 12 for AVX-512 copies a constant such as double{1, 1, 1, 0} as if its last
# element were 1 too: it takes the leading zeros that a wide constant leaves out
# for more of the same. Copies in pieces of 16 bytes are right.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU"
   AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12
   AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13 AND align_march)
  list(APPEND align_march -mmove-max=128 -mstore-max=128)
endif()
add_library(align_options INTERFACE)
target_compile_options(align_options INTERFACE
  # A row's bits must not depend on how the compiler contracts expressions.
  -ffp-contract=off -fno-math-errno -fno-trapping-math
  ${align_march}
  $<$<BOOL:${ALIGN_WERROR}>:-Wall -Wextra -Werror
    # GCC 12 warns falsely of overlapping copies in std::string (its bug 105651).
    -Wno-restrict -Wno-missing-field-initializers>
  $<$<BOOL:${ALIGN_BUILD_FUZZERS}>:-fsanitize=fuzzer-no-link>
  $<$<BOOL:${ALIGN_SANITIZE}>:-fsanitize=address,undefined
    -fno-sanitize-recover=all -fno-omit-frame-pointer>)
target_link_options(align_options INTERFACE
  $<$<BOOL:${ALIGN_SANITIZE}>:-fsanitize=address,undefined>)

set_property(GLOBAL PROPERTY ALIGN_LIBRARIES align_options)

function(align_configure_library target)
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
    $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:align_options>)
  set_property(GLOBAL APPEND PROPERTY ALIGN_LIBRARIES ${target})
endfunction()

# align_folder_library(<target> <alias> <folder> DEPS ...)
function(align_folder_library target alias folder)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  if(sources)
    add_library(${target} STATIC ${sources})
    target_link_libraries(${target} PUBLIC ${ARG_DEPS})
    align_configure_library(${target})
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${ARG_DEPS})
  endif()
  add_library(${alias} ALIAS ${target})
  string(REGEX REPLACE "^align_" "" export_name ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${export_name})
endfunction()

function(align_layer name)
  align_folder_library(align_${name} align::${name} align/${name} ${ARGN})
endfunction()

function(align_samplers)
  align_folder_library(align_samplers align::samplers samplers ${ARGN})
endfunction()

function(align_losses)
  add_library(align_losses INTERFACE)
  target_include_directories(align_losses INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(align_losses INTERFACE cxx_std_20)
  target_link_libraries(align_losses INTERFACE Eigen3::Eigen)
  set_target_properties(align_losses PROPERTIES EXPORT_NAME losses)
  add_library(align::losses ALIAS align_losses)
endfunction()

# Schemas in proto/, compiled once; #include "proto/<name>.pb.h".
function(align_proto_library)
  file(GLOB protos CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/proto/*.proto)
  set(out ${PROJECT_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${out})
  set(generated)
  foreach(proto ${protos})
    get_filename_component(stem ${proto} NAME_WE)
    set(pb ${out}/proto/${stem}.pb)
    add_custom_command(
      OUTPUT ${pb}.cc ${pb}.h
      COMMAND protobuf::protoc --cpp_out=${out}
              -I ${PROJECT_SOURCE_DIR} ${proto}
      DEPENDS ${proto} VERBATIM)
    list(APPEND generated ${pb}.cc ${pb}.h)
  endforeach()
  add_library(align_proto STATIC ${generated})
  target_link_libraries(align_proto PUBLIC protobuf::libprotobuf)
  align_configure_library(align_proto)
  set_target_properties(align_proto PROPERTIES EXPORT_NAME proto)
  add_library(align::proto ALIAS align_proto)
endfunction()
align_proto_library()

# align::align pulls in every layer that a program links; the program `align`
# itself is align/cli/main.cc.
function(align_umbrella)
  add_library(align_align INTERFACE)
  target_link_libraries(align_align INTERFACE align_config)
  set_target_properties(align_align PROPERTIES EXPORT_NAME align)
  add_library(align::align ALIAS align_align)
  if(EXISTS ${PROJECT_SOURCE_DIR}/align/cli/main.cc)
    add_executable(align_program align/cli/main.cc)
    set_target_properties(align_program PROPERTIES OUTPUT_NAME align)
    target_link_libraries(align_program PRIVATE align_cli align_options)
  endif()
endfunction()
