#pragma once

// What an xclbin says: the card's memory, the compute units, and what each port is wired to.

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "emu/kernel_export.h"

struct axlf;

namespace phidias::emu {

// One entry of the memory topology: a bank, or a group of banks that a port is wired to.
struct Bank {
  std::string tag;
  uint64_t base = 0;
  uint64_t size = 0;
  bool used = false;
  uint32_t stream_depth = 0;  // a stream between two units, not memory; 0: memory

  bool Holds(uint64_t address) const { return address >= base && address - base < size; }
  bool IsGroup() const { return tag.starts_with("MBG"); }
  bool IsHostMemory() const { return tag.starts_with("HOST"); }
};

struct Argument {
  std::string name;
  bool is_memory = false;
  bool is_stream = false;
  bool is_output = false;  // of a stream
  bool writes = false;     // memory that the kernel's type lets it write
  unsigned offset = 0;     // in the register map
  unsigned bytes = 0;
  std::set<int> banks;  // indices into Image::banks
};

struct UnitImage {
  std::string name;  // "linear_s8_b4w512:fc1", as XRT spells it
  std::vector<Argument> arguments;
  void (*run)(void* const* values) = nullptr;
  const EmuKernel* kernel = nullptr;
  bool by_itself = false;  // nothing but streams: no registers, started by nobody

  std::string unit() const { return name.substr(name.find(':') + 1); }
};

// The kernels' code stays loaded for as long as this lives.
class KernelLibrary;

// A stream from an argument of one unit to one of another: indices into Image::units and their arguments.
struct StreamImage {
  std::string name;  // "tile_0.ring_out"
  int from_unit = -1;
  int from_argument = -1;
  int to_unit = -1;
  int to_argument = -1;
  uint32_t depth = 0;
};

struct Image {
  std::vector<Bank> banks;
  std::vector<UnitImage> units;  // in the order of XRT's indices, then those that run by themselves
  std::vector<StreamImage> streams;
  EmuRunSystem* run_system = nullptr;  // null where no units exchange streams
  std::shared_ptr<KernelLibrary> library;
};

using MemoryListener = void (*)(const volatile void* address, uint64_t bytes, bool write);

// Reads the sections of an xclbin that XRT has already found to be well formed as a container, loads the library of
// kernels in its BITSTREAM section and compares its functions' types with the metadata. `listener` hears about the
// kernels' bursts. False: `error` says why.
bool LoadImage(const axlf* top, MemoryListener listener, Image* image, std::string* error);

}  // namespace phidias::emu
