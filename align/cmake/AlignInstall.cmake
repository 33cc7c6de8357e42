# Libraries, headers and the CMake package: find_package(align).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/align)
set(layers)
foreach(name proto base dnnl tensor kernels ops text dist nn models data
        samplers train eval report config cli align)
  list(APPEND layers align_${name})
endforeach()
install(TARGETS align_losses EXPORT alignLossesTargets)
install(TARGETS ${layers} EXPORT alignTargets)
if(TARGET align_program)
  install(TARGETS align_program)
endif()
foreach(set alignLossesTargets alignTargets)
  install(EXPORT ${set} NAMESPACE align:: DESTINATION ${package_dir})
endforeach()

install(DIRECTORY align losses samplers
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h"
  PATTERN "impl.h" EXCLUDE PATTERN "cmake" EXCLUDE)
install(DIRECTORY ${PROJECT_BINARY_DIR}/generated/proto
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

configure_package_config_file(align/cmake/alignConfig.cmake.in
  ${PROJECT_BINARY_DIR}/alignConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/alignConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/alignConfig.cmake
  ${PROJECT_BINARY_DIR}/alignConfigVersion.cmake DESTINATION ${package_dir})
