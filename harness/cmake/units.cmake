# GoogleTest: the distribution's sources where it has them (Debian's package googletest), else a pinned release.
set(BUILD_GMOCK OFF)
set(INSTALL_GTEST OFF)
set(gtest_force_shared_crt ON) # MSVC: the same C runtime as the tests
if(EXISTS /usr/src/googletest/CMakeLists.txt)
  add_subdirectory(/usr/src/googletest googletest EXCLUDE_FROM_ALL)
else()
  include(FetchContent)
  FetchContent_Declare(googletest
    URL https://github.com/google/googletest/archive/refs/tags/v1.14.0.tar.gz
    URL_HASH SHA256=8ad598c73ad796e0d8280b082cebd82a630d73e73cd3c70057938a6501bba5d7)
  FetchContent_MakeAvailable(googletest)
endif()

# One test program, one CTest test. A test that hangs is ended; no verdict comes from how long it took.
function(lab_units name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE lab gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/harness/cpp)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY $<1:${CMAKE_BINARY_DIR}/units>)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 60)
endfunction()
