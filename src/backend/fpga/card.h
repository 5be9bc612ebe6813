#pragma once

// The Alveo cards that a design can be linked for: memories, regions, limits. What the plan, the link files and the
// emulated card know about a card comes from here.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace phidias::fpga {

// A group of equal banks under one name: HBM[0] to HBM[31].
struct CardMemory {
  const char* name;
  int banks;
  uint64_t bank_bytes;
  uint64_t first_address;
  uint64_t address_step;  // from one bank's first address to the next one's
  bool dram;              // behind a memory controller, HBM and DDR; PLRAM is on the chip, HOST is the host's own
};

struct Card {
  const char* name;      // "u280"
  const char* platform;  // what v++ --platform takes, and what the xclbin says it was made for
  const char* shell;     // what the card's shell calls itself
  const char* board;     // the board's name in xclbin metadata
  const char* fpga;      // the device's name in xclbin metadata
  std::span<const CardMemory> memories;
  int max_hbm_masters;
  int slrs;
  std::array<int, 3> dsp;    // what a user has in each region
  std::array<int, 2> wires;  // between regions 0 and 1, and 1 and 2
};

// Sources: UG1120, UG1393, RapidStream's device file for what a user has (docs/fpga-emulation.md says which is which).
inline constexpr CardMemory kU280Memories[] = {
    {"HBM", 32, uint64_t{256} << 20, 0, uint64_t{256} << 20, true},
    {"DDR", 2, uint64_t{16} << 30, uint64_t{0x4000000000}, uint64_t{0x1000000000}, true},
    {"PLRAM", 6, uint64_t{128} << 10, uint64_t{0x3000000000}, uint64_t{0x2000000}, false},
    {"HOST", 1, uint64_t{4} << 30, uint64_t{0x2000000000}, uint64_t{4} << 30, false},
};
inline constexpr CardMemory kU55cMemories[] = {
    {"HBM", 32, uint64_t{512} << 20, 0, uint64_t{512} << 20, true},
    {"PLRAM", 6, uint64_t{128} << 10, uint64_t{0x3000000000}, uint64_t{0x2000000}, false},
    {"HOST", 1, uint64_t{4} << 30, uint64_t{0x2000000000}, uint64_t{4} << 30, false},
};
inline constexpr Card kCards[] = {
    {"u280",
     "xilinx_u280_gen3x16_xdma_1_202211_1",
     "xilinx_u280_gen3x16_xdma_base_1",
     "u280",
     "virtexuplusHBM:xcu280:fsvh2892:-2L:e",
     kU280Memories,
     32,
     3,
     {2664, 2784, 2856},
     {16797, 18773}},
    {"u55c",
     "xilinx_u55c_gen3x16_xdma_3_202210_1",
     "xilinx_u55c_gen3x16_xdma_base_3",
     "u55c",
     "virtexuplusHBM:xcu55c:fsvh2892:-2L:e",
     kU55cMemories,
     32,
     3,
     {2664, 2784, 2856},
     {16797, 18773}},
};

// The card of that name or platform, or null.
const Card* FindCard(std::string_view name_or_platform);
// The card's memory of that name ("HBM"), or null.
const CardMemory* FindMemory(const Card& card, std::string_view memory);
// The region that the memory's bank is attached to.
int SlrOfBank(std::string_view memory, int bank);
// "HBM[3]".
std::string BankTag(std::string_view memory, int bank);

}  // namespace phidias::fpga
