# Compiler settings for every target, and the functions that make a layer, its tests and its fuzzers.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

# Every library that the layers use, found once: imported targets are known only in and below the folder that finds them.
find_package(Threads REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(EDIT REQUIRED IMPORTED_TARGET libedit)
find_package(ZLIB REQUIRED)
include(PhidiasXrt)

# The numerics contract (docs/numerics.md) forbids contraction of a*b+c into one rounding and every fast-math licence.
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -ffp-contract=off -fno-fast-math)
if(PHIDIAS_SANITIZE)
  add_compile_options(-fsanitize=${PHIDIAS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PHIDIAS_SANITIZE})
endif()
if(PHIDIAS_BUILD_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

if(PHIDIAS_BUILD_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

# phidias_quick_to_compile(TARGET): for code that isn't hot, of which a release build would spend half its time on optimising.
function(phidias_quick_to_compile target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()

# phidias_layer(NAME DEPS ...): library phidias_NAME from the current folder's *.cc, its public dependencies, and the test
# program NAME_tests from the *_test.cc beside them. A layer may only include what its DEPS name (tools/check_includes.py).
function(phidias_layer name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  add_library(phidias_${name} STATIC ${sources})
  target_include_directories(phidias_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(phidias_${name} PUBLIC ${ARG_DEPS})
  if(PHIDIAS_BUILD_TESTS AND tests)
    phidias_test(${name}_tests SOURCES ${tests} DEPS phidias_${name})
  endif()
endfunction()

# A GoogleTest program whose cases CTest lists one by one. Tests find data under PHIDIAS_SOURCE_DIR. LABEL quality: what the
# numbers of a whole model are worth; sanitizers, which would take minutes for each, leave it out (./check asan).
function(phidias_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  phidias_quick_to_compile(${name})
  # It is the layers whose undefined behaviour matters; tests would take twice as long to compile.
  if("${PHIDIAS_SANITIZE}" MATCHES undefined)
    target_compile_options(${name} PRIVATE -fno-sanitize=undefined)
  endif()
  target_compile_definitions(${name} PRIVATE PHIDIAS_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 1200 LABELS ${ARG_LABEL})
endfunction()
