#include "sim/explore.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/model_shapes.h"

namespace phidias::sim {
namespace {

using testing_support::kPhi2;

TEST(Explore, KeepsWhatFitsAndNamesWhatDoesNot) {
  Space space;
  space.tiles = {4, 24, 32};
  space.attention_lanes = {16, 64};
  const std::vector<Candidate> all = Explore(space, kPhi2, 512, *fpga::FindCard("u280"), {});
  EXPECT_EQ(all.size(), 3U * 3 * 2 * 2 * 2 * 5 * 2 * 2);
  bool some = false;
  for (const Candidate& c : all) {
    if (c.design.tiles == 24) {
      EXPECT_NE(c.refused.find("doesn't divide"), std::string::npos);
    } else if (c.design.tiles == 4) {
      EXPECT_NE(c.refused.find("bytes"), std::string::npos) << "neither 2.7 GB nor 1.5 fit into four channels";
    } else if (c.refused.empty()) {
      EXPECT_GT(c.decode, 50) << DesignText(c.design);
      EXPECT_LT(c.hbm_gbs, 460);
    }
    some |= c.on_front;
    EXPECT_FALSE(c.on_front && !c.refused.empty());
  }
  EXPECT_TRUE(some);
}

TEST(Explore, NothingBeatsTheFront) {
  Space space;
  space.tiles = {16, 32};
  const std::vector<Candidate> all = Explore(space, kPhi2, 512, *fpga::FindCard("u55c"), {});
  const auto fastest = std::max_element(all.begin(), all.end(),
                                        [](const Candidate& a, const Candidate& b) { return a.decode < b.decode; });
  const auto bits = [](const Candidate& c) { return c.design.weight_bits + c.design.kv_bits + c.design.lm_head_bits; };
  for (const Candidate& c : all) {
    if (!c.on_front) {
      continue;
    }
    for (const Candidate& other : all) {
      const bool better = other.refused.empty() && other.decode > c.decode && other.prefill >= c.prefill &&
                          other.energy.tokens_per_joule >= c.energy.tokens_per_joule &&
                          other.resources.total.dsp <= c.resources.total.dsp &&
                          other.resources.total.bram36 <= c.resources.total.bram36 && bits(other) >= bits(c);
      EXPECT_FALSE(better) << DesignText(other.design) << " beats " << DesignText(c.design);
    }
  }
  EXPECT_GT(fastest->decode, 140);
}

}  // namespace
}  // namespace phidias::sim
