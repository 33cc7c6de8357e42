# Installs BINARY_DIR's project into WORK_DIR, then builds and runs the outside
# project beside this file against what was installed and nothing else.
#   cmake -DBINARY_DIR=... -DWORK_DIR=... -DGENERATOR=... -DCXX_COMPILER=...
#         -DCXX_FLAGS=... [-DLAUNCHER=...] -P check.cmake
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ECHO STDOUT RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "failed (${result}): ${ARGV}")
  endif()
endfunction()

set(prefix ${WORK_DIR}/prefix)
set(build ${WORK_DIR}/build)
file(REMOVE_RECURSE ${WORK_DIR})
run(${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${prefix})

# Nothing private, nothing of the tests.
file(GLOB_RECURSE headers RELATIVE ${prefix} ${prefix}/include/*)
foreach(header ${headers})
  if(NOT header MATCHES "^include/(align|losses|samplers|proto)/.*\\.h$"
     OR header MATCHES "/impl\\.h$|_test\\.h$")
    message(FATAL_ERROR "installed, but not a public header: ${header}")
  endif()
endforeach()

run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${build} -G ${GENERATOR}
    -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_CXX_COMPILER=${CXX_COMPILER} -DCMAKE_CXX_FLAGS=${CXX_FLAGS}
    -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER})
run(${CMAKE_COMMAND} --build ${build})
run(${CMAKE_CTEST_COMMAND} --test-dir ${build} --verbose)
