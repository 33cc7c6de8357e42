# Everything the libraries link, as imported targets.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)  # Debian ships no protobuf-config: module mode
find_package(dnnl REQUIRED)
find_package(simdjson REQUIRED)
find_package(spdlog REQUIRED)
find_package(ZLIB REQUIRED)

# Libraries without a CMake package of their own.
function(align_find_plain target header library)
  find_path(${library}_INCLUDE_DIR ${header} REQUIRED)
  find_library(${library}_LIBRARY ${library} REQUIRED)
  add_library(${target} UNKNOWN IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES
    IMPORTED_LOCATION ${${library}_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${${library}_INCLUDE_DIR})
endfunction()
if(NOT TARGET isal::isal)
  align_find_plain(isal::isal isa-l.h isal)
endif()
if(NOT TARGET xxHash::xxHash)
  align_find_plain(xxHash::xxHash xxhash.h xxhash)
endif()
if(NOT TARGET PCRE2::PCRE2)
  align_find_plain(PCRE2::PCRE2 pcre2.h pcre2-8)
endif()
if(NOT TARGET utf8proc::utf8proc)
  align_find_plain(utf8proc::utf8proc utf8proc.h utf8proc)
endif()
