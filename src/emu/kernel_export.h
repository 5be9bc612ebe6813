#pragma once

// Makes an HLS top callable from a register map. A library of kernels for the emulated card has one line per top:
//
//     EMU_KERNEL(vadd)
//
// The function's C++ type says what the card needs: T* is a memory port (read-only for const T), anything else a scalar
// register. Names, bundles and banks come from the xclbin.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

extern "C" {

struct EmuArgument {
  uint8_t is_memory;
  uint8_t is_const;
  uint16_t bytes;  // a scalar's size; what a memory port points to; a stream's element
  // Null unless the argument is a stream (emu/stream_export.h): makes one of its type within a system.
  void* (*add_stream)(void* system, const char* name, uint32_t depth);
};

// `values`: per argument the memory's address in this process, the address of the scalar's bytes, or the stream.
struct EmuKernel {
  void (*run)(void* const* values);
  const EmuArgument* arguments;
  int32_t count;
};

// Units that exchange streams, which run together. A library that has them exports emu_run_system (EmuRunSystem).
struct EmuSystemUnit {
  const char* name;
  const EmuKernel* kernel;
  void** values;  // streams are filled in by the system
};
struct EmuSystemStream {
  const char* name;
  int32_t from_unit;  // within EmuSystem::units
  int32_t from_argument;
  int32_t to_unit;
  int32_t to_argument;
  uint32_t depth;
};
struct EmuSystem {
  const EmuSystemUnit* units;
  int32_t unit_count;
  const EmuSystemStream* streams;
  int32_t stream_count;
  const bool* stop;  // ends units that poll memory once it is set (read atomically)
};
// Returns when all units have ended; throws std::runtime_error as hls/csim/dataflow.h has it.
using EmuRunSystem = void(const EmuSystem* system);

}  // extern "C"

namespace phidias::emu {

template <class T>
struct ArgumentOf {
  static constexpr EmuArgument kDescription = {0, 0, sizeof(T), nullptr};
  static T Get(void* value) {
    static_assert(std::is_trivially_copyable_v<T>);
    T scalar;
    std::memcpy(&scalar, value, sizeof scalar);
    return scalar;
  }
};
template <class T>
struct ArgumentOf<T*> {
  static constexpr EmuArgument kDescription = {1, std::is_const_v<T>, sizeof(T), nullptr};
  static T* Get(void* value) { return static_cast<T*>(value); }
};

template <auto kTop>
struct Export;
template <class... Arguments, void (*kTop)(Arguments...)>
struct Export<kTop> {
  static constexpr EmuArgument kArguments[] = {ArgumentOf<Arguments>::kDescription...};

  static void Run(void* const* values) { Call(values, std::index_sequence_for<Arguments...>()); }

 private:
  template <size_t... kIndex>
  static void Call(void* const* values, std::index_sequence<kIndex...>) {
    kTop(ArgumentOf<Arguments>::Get(values[kIndex])...);
  }
};

}  // namespace phidias::emu

#define EMU_KERNEL(top)                                                                                        \
  extern "C" __attribute__((visibility("default"))) const EmuKernel emu_kernel_##top;                          \
  const EmuKernel emu_kernel_##top = {&phidias::emu::Export<&top>::Run,                                        \
                                      static_cast<const EmuArgument*>(phidias::emu::Export<&top>::kArguments), \
                                      sizeof(phidias::emu::Export<&top>::kArguments) / sizeof(EmuArgument)};
