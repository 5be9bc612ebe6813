#pragma once

#include <string>
#include <vector>

#include "sim/tiled_design.h"

// The depths of the tiled design's streams: found, beside those that hls/tiled_design.h builds.
namespace phidias::sim {

struct StreamDepth {
  std::string stream;    // as the tile names it: "weights"
  std::string constant;  // of hls/tiled_design.h: "kPrefetchDepth"
  int64_t found = 0;     // the least that does
  int64_t built = 0;
  std::string basis;  // "simulated: ...", or what it has to hold
};

// Weights and keys and values: by events, the least power of two that costs less than `loss` of the tokens a second
// that streams of any depth would give, and that no stage waits for in vain, for a token after 512 and 2,047 positions
// and for a prompt's passes at both; of the model's layers a few stand for all. The others: what a pass has to put into
// them before anyone takes. Error: a stall, with its streams.
inline constexpr double kDepthLoss = 0.005;
Result<std::vector<StreamDepth>> FindDepths(const TiledDesign& design, const ModelShape& shape,
                                            const Parameters& parameters, double loss = kDepthLoss);

}  // namespace phidias::sim
