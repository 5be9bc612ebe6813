#pragma once

// How a program comes to the emulated card instead of a real one: XRT is told where to find the shim, and from then on
// nothing differs. What belongs to it lies in the folder u280-emu beside the program (or in PHIDIAS_EMU_DIR).

#include <string>
#include <vector>

#include "common/status.h"

namespace phidias::emu {

// Before the first use of XRT in this process. Errors: the folder or the shim isn't there.
Status EnableEmulatedCard();

// The path of the emulated card's xclbin of that name ("report-f16"). Errors: there is none.
Result<std::string> EmulatedXclbin(const std::string& name);

// The names of all of them, sorted. Errors: the emulated card isn't there.
Result<std::vector<std::string>> EmulatedXclbins();

// JSON of what the emulated card has counted: runs by unit, bytes by port and bank, violations. Empty where no emulated
// card has been used by this process.
std::string EmulatedCardReport();

}  // namespace phidias::emu
