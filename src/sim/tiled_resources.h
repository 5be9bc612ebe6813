#pragma once

#include <string>
#include <vector>

#include "sim/tiled_design.h"

// What the kernels of the design `tiled` take of the chip, stage by stage: their streams, arrays and multipliers with
// the widths and depths of hls/tiled_*.h, by the rules below. No tool has synthesised them.
namespace phidias::sim {

struct Resources {
  double lut = 0;
  double ff = 0;
  double bram36 = 0;
  double uram = 0;
  double dsp = 0;

  Resources& operator+=(const Resources& other);
  Resources operator*(double count) const;
};

// Where an array or a stream lies: shift registers (streams alone), distributed RAM, block RAM, UltraRAM.
enum class Storage : uint8_t { kShift, kLutram, kBram, kUram };
// `bits` x `depth`. A LUT holds 2 bits of a shift register of 16, 1 of 32, 2 bits x 32 or 7/8 x 64 of distributed RAM;
// a BRAM36 is 72 x 512, 36 x 1,024, ..., 9 x 4,096 (half of one: 36 x 512), a URAM 72 x 4,096.
Resources MemoryResources(Storage storage, int bits, int64_t depth);
// A product of signed integers in DSP48E2 (27 x 18 bits each), or in logic.
Resources ProductResources(int bits, int other_bits, bool in_logic = false);
// Logic beside: bits of adders, of multiplexers with so many inputs, of shifters by any distance; with its registers.
Resources AdderResources(double bits);
Resources MuxResources(double bits, int inputs);
Resources ShifterResources(int bits);

struct StageUse {
  std::string stage;  // "Multiply"
  std::string what;   // "weights", "64 products of two lanes each"
  Resources uses;
};

// One of each kernel.
std::vector<StageUse> TileUses(const TiledDesign& design);
std::vector<StageUse> CoreUses(const TiledDesign& design);
std::vector<StageUse> MemoryUnitUses(const TiledDesign& design);
std::vector<StageUse> SequencerUses();
Resources SumOf(const std::vector<StageUse>& uses);

}  // namespace phidias::sim
