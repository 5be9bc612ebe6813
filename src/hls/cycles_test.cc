// The loop model against the source report's measured tables, at its clock.

#include "hls/cycles.h"

#include <gtest/gtest.h>

namespace phidias::hls {
namespace {

constexpr double kHertz = 300e6;

// Table 6, fc1 of Phi-2: what the loops alone take is below what was measured, by no more than 42 cycles a row.
TEST(Cycles, LinearAgainstTable6) {
  struct Row {
    LinearDesign design;
    double measured_ms;
  };
  for (const Row& row :
       {Row{kLinearB1W8, 176.124}, Row{kLinearB4W8, 45.129}, Row{kLinearB1W512, 43.936}, Row{kLinearB4W512, 11.253}}) {
    const double modelled = static_cast<double>(LinearCycles(row.design, 10240, 2560));
    const double measured = row.measured_ms * 1e-3 * kHertz;
    EXPECT_LT(modelled, measured);
    EXPECT_LT((measured - modelled) / 10240, 43.0) << row.design.banks << " x " << row.design.port_bits;
  }
}

// Table 7, 500 tokens: reading V in memory order is the faster one, and neither beats what was measured by more than
// what is unknown of the report's attention (its scores' speed, the overlap of its stages) can explain.
TEST(Cycles, AttentionAgainstTable7) {
  double seconds[2] = {};
  for (const bool by_column : {false, true}) {
    int64_t cycles = 0;
    for (int64_t pos = 0; pos < 500; ++pos) {
      cycles += 32 * AttentionCycles(pos, 32, 80, by_column);
    }
    seconds[by_column ? 1 : 0] = static_cast<double>(cycles) / kHertz;
  }
  EXPECT_GT(seconds[0], 0.7 * 11.39);
  EXPECT_LT(seconds[0], 11.39);
  EXPECT_GT(seconds[1], 0.7 * 17.54);
  EXPECT_LT(seconds[1], 17.54);
}

TEST(Cycles, SizesThatFillNoWord) {
  EXPECT_EQ(LinearCycles(kLinearB4W512, 1, 1), 32);
  EXPECT_EQ(LinearCycles(kLinearB4W512, 10, 257), 10 * 64);
  EXPECT_EQ(LmHeadCycles(65, 17), 2 * 16 * (2 + 4));
  EXPECT_EQ(LayerNormCycles(17), 4 * 32);
  EXPECT_EQ(GeluCycles(17), 16);
  EXPECT_EQ(ResidualCycles(1), 16);
}

}  // namespace
}  // namespace phidias::hls
