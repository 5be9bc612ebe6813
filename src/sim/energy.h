#pragma once

#include "sim/parameters.h"
#include "sim/resources.h"
#include "sim/timing.h"

namespace phidias::sim {

// Energy of one token by part, in joules, and power. The chip's figure is what a tool's on-chip estimate means (the
// report's 11.8 W); the board's is what a power meter sees. The two aren't comparable.
struct Energy {
  double hbm = 0;
  double products = 0;
  double fabric = 0;
  double chip_static = 0;
  double board_idle = 0;
  double chip_watts = 0;
  double board_watts = 0;
  double board_joules = 0;  // a token
  double tokens_per_joule = 0;
};

Energy EnergyOf(const TokenTiming& timing, int64_t tokens, const ResourceReport& resources, double mhz,
                const Parameters& parameters);

}  // namespace phidias::sim
