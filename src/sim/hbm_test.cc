#include "sim/hbm.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "sim/hbm_patterns.h"

namespace phidias::sim {
namespace {
TEST(X, Y) {
  const Parameters p;
  for (int bytes : {64, 128, 256, 512, 1024}) {
    for (int out : {16, 32})
      for (double issue : {10.0, 13.333})
        std::printf(
            "%d %d %.1f seq %.3f rand %.3f pc2 %.3f pc4 %.3f\n", bytes, out, issue,
            MeasurePattern(p, {.bytes = bytes, .random = false, .issue_ns = 0, .outstanding = out}).gbs,
            MeasurePattern(p, {.bytes = bytes, .random = true, .issue_ns = issue, .outstanding = out}).gbs,
            MeasurePattern(
                p, {.bytes = bytes, .random = true, .channels_of_port = 2, .issue_ns = issue, .outstanding = out})
                .gbs,
            MeasurePattern(
                p, {.bytes = bytes, .random = true, .channels_of_port = 4, .issue_ns = issue, .outstanding = out})
                .gbs);
  }
}
}  // namespace
}  // namespace phidias::sim
