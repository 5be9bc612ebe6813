#include "sim/tiled_depths.h"

#include <algorithm>

#include "common/str.h"
#include "hls/tiled_plan.h"

namespace phidias::sim {
namespace {

namespace tiled = hls::tiled;

constexpr int64_t kLayers = 3;
constexpr int64_t kShallow = 64;  // a burst
constexpr int64_t kDeep = 16384;  // as good as without a limit
constexpr int64_t kPositions[] = {512, 2047};

std::vector<TiledPass> Passes(const TiledDesign& design, const ModelShape& shape) {
  std::vector<TiledPass> passes;
  for (const int64_t position : kPositions) {
    const int64_t last = std::min(position, shape.max_positions - 1);
    passes.push_back({.position = last});
    // A pass's tokens lie in one group of the KV cache.
    passes.push_back(
        {.position = last / tiled::kKvGroup * tiled::kKvGroup, .tokens = design.token_lanes, .lm_head = false});
  }
  return passes;
}

// Seconds of each pass.
Result<std::vector<double>> Time(const TiledDesign& design, const ModelShape& shape,
                                 const std::vector<TiledPass>& passes, const Parameters& parameters) {
  std::vector<double> seconds;
  for (const TiledPass& pass : passes) {
    ASSIGN_OR_RETURN(const TokenTiming timing, TimeTiledPass(design, shape, pass, true, parameters));
    seconds.push_back(timing.seconds);
  }
  return seconds;
}

// The least power of two for one of the design's depths.
Result<int64_t> Search(TiledDesign design, int64_t TiledDesign::*depth, const ModelShape& shape, double loss,
                       const Parameters& parameters) {
  const std::vector<TiledPass> passes = Passes(design, shape);
  design.*depth = kDeep;
  ASSIGN_OR_RETURN(const std::vector<double> best, Time(design, shape, passes, parameters));
  int64_t low = kShallow;
  int64_t high = kDeep;
  while (low < high) {
    int64_t middle = low;
    while (middle * middle < low * high) {
      middle *= 2;
    }
    middle = middle == high ? middle / 2 : middle;
    design.*depth = middle;
    ASSIGN_OR_RETURN(const std::vector<double> seconds, Time(design, shape, passes, parameters));
    bool good = true;
    for (size_t i = 0; i < seconds.size(); ++i) {
      good = good && best[i] > (1 - loss) * seconds[i];
    }
    (good ? high : low) = good ? middle : 2 * middle;
  }
  return low;
}

}  // namespace

Result<std::vector<StreamDepth>> FindDepths(const TiledDesign& design, const ModelShape& shape,
                                            const Parameters& parameters, double loss) {
  ModelShape few = shape;
  few.n_layers = std::min(shape.n_layers, kLayers);
  ASSIGN_OR_RETURN(const int64_t weights, Search(design, &TiledDesign::weight_fifo, few, loss, parameters));
  ASSIGN_OR_RETURN(const int64_t cache, Search(design, &TiledDesign::kv_fifo, few, loss, parameters));
  const tiled::Pass pass = PlanOf(design, shape, {.tokens = design.token_lanes});
  const int64_t lanes = design.token_lanes;
  const int64_t group = tiled::GroupWords(std::min(pass.hidden_words, pass.slices_words), pass.int4);
  const std::string simulated = StrCat("simulated: less than ", 100 * loss, " % of tokens/s lost, no stall");
  return std::vector<StreamDepth>{
      {"weights", "kPrefetchDepth", weights, tiled::kPrefetchDepth, simulated},
      {"attention", "kKvPrefetchDepth", cache, tiled::kKvPrefetchDepth, simulated},
      {"inputs", "kInputsDepth", lanes * tiled::kParts * std::max(pass.mlp_words, pass.hidden_words),
       tiled::kInputsDepth, "holds the largest message: a broadcast waits for no product"},
      {"results", "kResultsDepth", lanes * tiled::RowGroups(pass.rows), tiled::kResultsDepth,
       "holds fc2's rows, while the attention's pass"},
      {"factors", "kConstantsDepth",
       tiled::kFactorWords * ((tiled::kPrefetchDepth + group - 1) / group) + tiled::kGeluTableWords + 1,
       tiled::kConstantsDepth, "holds those of as many row groups as `weights` holds, a table and a grid"},
      {"headers", "kHeaderDepth", 2 * tiled::kPassFields, tiled::kHeaderDepth, "holds two passes' fields"},
  };
}

}  // namespace phidias::sim
