#pragma once

#include "sim/dataflow.h"
#include "sim/parameters.h"

namespace phidias::sim {

// The region's time without events: its slowest stage or port, each loop no faster than what its streams' other ends
// let through beyond their depth, plus the time until the first element has come through. Seconds. Takes microseconds;
// agrees with the Engine to a few per cent where a region has its memory banks to itself.
double ClosedFormSeconds(const RegionSpec& region, const Parameters& parameters);

}  // namespace phidias::sim
