#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/fpga/placement.h"
#include "backend/fpga/schedule_recorder.h"
#include "sim/energy.h"
#include "sim/parameters.h"
#include "sim/resources.h"
#include "sim/tiled_design.h"
#include "sim/timing.h"

// Headlines with bands, for either design.
namespace phidias::sim {

// A design with a model on it.
class DesignModel {
 public:
  virtual ~DesignModel() = default;
  virtual const char* name() const = 0;
  virtual double mhz() const = 0;
  // One token at `position`, with logits.
  virtual Result<TokenTiming> Decode(int64_t position, bool events, const Parameters& parameters) const = 0;
  // Tokens of a prompt that go together (`*tokens`), without logits.
  virtual Result<TokenTiming> Prefill(int64_t position, bool events, const Parameters& parameters,
                                      int64_t* tokens) const = 0;
  virtual ResourceReport Resources() const = 0;
};

std::unique_ptr<DesignModel> MakeReportModel(fpga::TokenSchedule token, fpga::HbmPlacement placement);
std::unique_ptr<DesignModel> MakeTiledModel(const TiledDesign& design, const ModelShape& shape, const fpga::Card& card);

// NAME=VALUE of a tiled design's constants: tiles, token_lanes, mhz, kv_bits, lm_head_bits, attention_lanes,
// weight_fifo, kv_fifo. False: no such name. Error: not a whole number within bounds.
Result<bool> SetTiledConstant(std::string_view assignment, TiledDesign* design);

struct Band {
  double value = 0;
  double low = 0;
  double high = 0;
};

struct Prediction {
  std::string design;
  int64_t context = 0;
  bool events = true;
  double mhz = 0;
  Band decode;   // tokens/s
  Band prefill;  // tokens/s, at half the context
  Band tokens_per_joule;
  Band board_watts;
  double hbm_gbs = 0;
  double hbm_peak_gbs = 0;
  TokenTiming token;
  Energy energy;
  ResourceReport resources;
};

// `context` positions are there before the token. Bands: every parameter at the end of its range that is worse (better)
// for the figure, all together, in closed form, scaled to the value. Error: a design that exceeds the card.
Result<Prediction> Predict(const DesignModel& model, int64_t context, bool events, const Parameters& parameters,
                           const fpga::Card& card);

}  // namespace phidias::sim
