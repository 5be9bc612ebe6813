#pragma once

// Kernels with streams for the emulated card: as emu/kernel_export.h, and one line EMU_SYSTEM in one file of the
// library.

#include "emu/kernel_export.h"
#include "hls/csim/system.h"

namespace phidias::emu {

template <class T>
struct ArgumentOf<::hls::stream<T>&> {
  static void* Add(void* system, const char* name, uint32_t depth) {
    return &static_cast<hls::csim::System*>(system)->AddStream<T>(name, depth);
  }
  static constexpr EmuArgument kDescription = {0, 0, sizeof(T), &Add};
  static ::hls::stream<T>& Get(void* value) { return *static_cast<::hls::stream<T>*>(value); }
};

inline void RunSystem(const EmuSystem& system) {
  hls::csim::System simulated("the card");
  for (int i = 0; i < system.stream_count; ++i) {
    const EmuSystemStream& stream = system.streams[i];
    const EmuSystemUnit& from = system.units[stream.from_unit];
    void* const made = from.kernel->arguments[stream.from_argument].add_stream(&simulated, stream.name, stream.depth);
    from.values[stream.from_argument] = made;
    system.units[stream.to_unit].values[stream.to_argument] = made;
  }
  for (int i = 0; i < system.unit_count; ++i) {
    const EmuSystemUnit& unit = system.units[i];
    simulated.AddUnit(unit.name, [&unit] { unit.kernel->run(unit.values); });
  }
  simulated.Run(system.stop);
}

}  // namespace phidias::emu

#define EMU_SYSTEM                                                                                \
  extern "C" __attribute__((visibility("default"))) void emu_run_system(const EmuSystem* system); \
  extern "C" void emu_run_system(const EmuSystem* system) {                                       \
    phidias::emu::RunSystem(*system);                                                             \
  }
