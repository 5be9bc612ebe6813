#pragma once

#include <cstdint>
#include <string>

#include "backend/backend.h"
#include "backend/fpga/link_file.h"
#include "common/status.h"
#include "hls/tiled_plan.h"

namespace phidias::fpga {

// Which bytes of a model lie where with the design `tiled`: every channel holds its tile's share of the weights in the
// order in which a pass reads them, and KV caches behind them.
struct TiledPlacement {
  ModelShape shape;
  int64_t tiles = 0;
  int64_t positions = 0;     // of the KV cache that is planned for
  hls::tiled::Pass sizes{};  // a pass without tokens
  LinkFile link;
  LinkUsage usage;
  std::string xclbin;            // "tiled-4"
  int64_t channel_weights = 0;   // bytes of one channel
  int64_t channel_kv = 0;        // bytes of one channel, of one cache of `positions`
  int64_t channel_capacity = 0;  // bytes
  int64_t table_bytes = 0;       // in TiledTableBank
  std::string card;

  int64_t weight_bytes() const { return channel_weights * tiles; }  // what a token with logits reads at least
};

struct TiledPlanOptions {
  int64_t tiles = 0;       // 0: as many as the model's heads allow
  int64_t positions = 0;   // 0: the model's longest context
  bool int4 = false;       // the layers' weights in 4 bits
  bool wide_head = false;  // lm_head in 16 bits
  std::string card = "u280";
};

// Errors name the rule that is broken: CheckTiledShape's, a channel's or the tables' bytes, or the link file's limits
// (masters, wires between regions).
Result<TiledPlacement> PlanTiled(const ModelShape& shape, const TiledPlanOptions& options);

std::string TiledPlacementText(const TiledPlacement& placement);  // a table for people

}  // namespace phidias::fpga
