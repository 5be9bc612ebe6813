#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backend/fpga/placement.h"
#include "backend/fpga/schedule_recorder.h"
#include "sim/dataflow.h"
#include "sim/parameters.h"
#include "sim/timing.h"

namespace phidias::sim {

struct TokenOptions {
  int64_t position = 0;  // of the token: 0..position are attended to
  bool events = true;    // false: kernels' times in closed form
  bool logits = true;
  bool prompt = false;  // one of a prompt's: the host fetches every activation after it, as the runtime does
};

// Times the tokens that the card runtime would execute: walks its Schedule by its ScheduleRun, starts kernels as
// TokenRunner does, and lets them run on the simulated card.
class ReportSimulator {
 public:
  // Both outlive this. Error: a KV cache of the placement's positions has no place.
  static Result<ReportSimulator> Create(const fpga::TokenSchedule& token, const fpga::HbmPlacement& placement,
                                        const Parameters& parameters);

  Result<TokenTiming> Run(const TokenOptions& options);
  // In closed form, attention takes so many cycles for each position and head instead of what its kernel would; 0: the
  // kernel's. For the source report's own kernel, of which only two times are known.
  void set_attention_cycles(double cycles) { attention_cycles_ = cycles; }

 private:
  class Card;
  class EventCard;
  class ClosedFormCard;
  struct Walk;
  using RegionKey = std::tuple<int, std::string, int64_t, int>;  // op, unit, position of attention, bank of its cache

  ReportSimulator(const fpga::TokenSchedule& token, const fpga::HbmPlacement& placement, const Parameters& parameters)
      : token_(token), placement_(placement), parameters_(parameters) {}
  Result<std::shared_ptr<const RegionSpec>> RegionOf(const fpga::ScheduleNode& node, int64_t position);
  Result<double> ClosedForm(const fpga::ScheduleNode& node, int64_t position);
  RegionKey KeyOf(const fpga::ScheduleNode& node, int64_t position) const;
  double HostSeconds(const fpga::ScheduleNode& node, int64_t position) const;
  double TransferSeconds(int32_t activation) const;
  int64_t ProductsOf(const fpga::ScheduleNode& node, int64_t position) const;
  Status StartNode(int32_t index, Walk* walk);
  Status Execute(Walk* walk);
  TokenTiming Summarise(const Walk& walk) const;

  const fpga::TokenSchedule& token_;
  const fpga::HbmPlacement& placement_;
  Parameters parameters_;
  double attention_cycles_ = 0;
  std::vector<int> kv_bank_;  // by layer: which of the banks of keys (and of values)
  std::map<RegionKey, std::shared_ptr<const RegionSpec>> regions_;
  std::map<RegionKey, double> closed_forms_;
};

// Mean seconds of a token in closed form over positions first..last (their times lie on a line within the rounding of
// whole words, so a few stand for all).
Result<double> MeanTokenSeconds(ReportSimulator* simulator, int64_t first, int64_t last);

}  // namespace phidias::sim
