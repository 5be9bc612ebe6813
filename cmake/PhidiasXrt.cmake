# Finds the Xilinx runtime. Sets PHIDIAS_XRT_FOUND with the imported target XRT::coreutil, and PHIDIAS_XRT_SHIM_OBJECTS with
# the objects that the emulated card needs on top, where they are: Debian's libxrt-dev 2.13 has them. xrt.pc isn't used:
# Debian's has a prefix that doesn't exist.

set(PHIDIAS_WITH_XRT AUTO CACHE STRING "FPGA devices through the Xilinx runtime: AUTO (where it is installed), ON or OFF")
set_property(CACHE PHIDIAS_WITH_XRT PROPERTY STRINGS AUTO ON OFF)

set(PHIDIAS_XRT_FOUND FALSE)
set(PHIDIAS_XRT_SHIM_OBJECTS)
if(NOT PHIDIAS_WITH_XRT STREQUAL "OFF")
  set(xrt_roots $ENV{XILINX_XRT} /opt/xilinx/xrt)
  find_path(XRT_INCLUDE_DIR xrt/xrt_device.h PATHS ${xrt_roots} PATH_SUFFIXES xrt include)
  find_library(XRT_COREUTIL xrt_coreutil PATHS ${xrt_roots} PATH_SUFFIXES lib)
  find_library(XRT_UUID uuid)
  if(XRT_INCLUDE_DIR AND XRT_COREUTIL AND XRT_UUID)
    set(PHIDIAS_XRT_FOUND TRUE)
    add_library(XRT::coreutil UNKNOWN IMPORTED)
    set_target_properties(XRT::coreutil PROPERTIES IMPORTED_LOCATION ${XRT_COREUTIL}
      INTERFACE_INCLUDE_DIRECTORIES ${XRT_INCLUDE_DIR} INTERFACE_LINK_LIBRARIES "${XRT_UUID};Threads::Threads")
  elseif(PHIDIAS_WITH_XRT STREQUAL "ON")
    message(FATAL_ERROR "PHIDIAS_WITH_XRT is ON, but XRT isn't installed: apt-get install libxrt-dev")
  else()
    message(STATUS "XRT isn't installed (Debian: libxrt-dev): no FPGA devices")
  endif()
endif()

if(PHIDIAS_XRT_FOUND)
  get_filename_component(xrt_library_dir ${XRT_COREUTIL} DIRECTORY)
  set(xrt_swemu ${xrt_library_dir}/libxrt_swemu.a)
  set(xrt_hwemu ${xrt_library_dir}/libxrt_hwemu.a)
  file(STRINGS ${XRT_INCLUDE_DIR}/version.h xrt_version REGEX "xrt_build_version\\[\\] = \"2\\.13\\.")
  if(EXISTS ${xrt_swemu} AND EXISTS ${xrt_hwemu} AND xrt_version)
    set(xrt_objects ${CMAKE_BINARY_DIR}/xrt-objects)
    file(MAKE_DIRECTORY ${xrt_objects})
    foreach(archive_and_objects
        "${xrt_swemu};system_swemu.cxx.o;device_swemu.cxx.o;device_pcie.cpp.o;system_pcie.cpp.o"
        "${xrt_hwemu};aie_stubs.cpp.o")
      list(POP_FRONT archive_and_objects archive)
      execute_process(COMMAND ${CMAKE_AR} x ${archive} ${archive_and_objects}
        WORKING_DIRECTORY ${xrt_objects} COMMAND_ERROR_IS_FATAL ANY)
      list(TRANSFORM archive_and_objects PREPEND ${xrt_objects}/)
      list(APPEND PHIDIAS_XRT_SHIM_OBJECTS ${archive_and_objects})
    endforeach()
  else()
    message(STATUS "XRT is not Debian's 2.13 with its static archives: no emulated card")
  endif()
endif()
