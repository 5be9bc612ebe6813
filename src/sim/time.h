#pragma once

#include <cmath>
#include <cstdint>

namespace phidias::sim {

// Simulated time in picoseconds: whole numbers, so that a run gives the same result everywhere.
using Time = int64_t;

inline Time FromNs(double ns) {
  return std::llround(ns * 1e3);
}
inline Time FromUs(double us) {
  return std::llround(us * 1e6);
}
inline double ToSeconds(Time time) {
  return static_cast<double>(time) * 1e-12;
}
// `cycles` of a clock.
inline Time CyclesAt(double mhz, int64_t cycles) {
  return std::llround(static_cast<double>(cycles) * 1e6 / mhz);
}

}  // namespace phidias::sim
