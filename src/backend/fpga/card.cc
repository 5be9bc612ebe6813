#include "backend/fpga/card.h"

namespace phidias::fpga {

const Card* FindCard(std::string_view name_or_platform) {
  for (const Card& card : kCards) {
    if (name_or_platform == card.name || name_or_platform == card.platform) {
      return &card;
    }
  }
  return nullptr;
}

const CardMemory* FindMemory(const Card& card, std::string_view memory) {
  for (const CardMemory& candidate : card.memories) {
    if (memory == candidate.name) {
      return &candidate;
    }
  }
  return nullptr;
}

int SlrOfBank(std::string_view memory, int bank) {
  // HBM and the host's bridge lie below region 0; DDR[1] is on region 1; each region has two of the six PLRAMs.
  if (memory == "DDR") {
    return bank;
  }
  return memory == "PLRAM" ? bank / 2 : 0;
}

std::string BankTag(std::string_view memory, int bank) {
  return std::string(memory) + "[" + std::to_string(bank) + "]";
}

}  // namespace phidias::fpga
