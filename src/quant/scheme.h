#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace phidias {

// How the range that int8 covers is found.
enum class RangeKind : uint8_t {
  kNone,        // left in float
  kSymmetric,   // -absmax..absmax
  kAsymmetric,  // min..max, with a zero point
  kPercentile,  // weights: symmetric, the percentile of |w|; inputs: asymmetric, both tails cut
  kMse,         // the clipped range with the least squared error; weights symmetric, inputs asymmetric
  kDynamic,     // inputs only: per token at run time, symmetric
};

enum class Granularity : uint8_t { kTensor, kChannel };   // one scale for a weight, or one per output row
enum class LmHead : uint8_t { kFloat, kInt8, kInt16 };    // kInt16 matters to the `integer` arithmetic alone
enum class Smoothing : uint8_t { kNone, kFixed, kAuto };  // SmoothQuant: not, with `alpha`, searched per layer

// What is to be quantised, and how. Parse... functions take what the command line has; errors name the flag and list
// what is possible.
struct QuantScheme {
  RangeKind weights = RangeKind::kSymmetric;
  Granularity granularity = Granularity::kChannel;
  RangeKind activations = RangeKind::kAsymmetric;
  double percentile = 99.9;  // of kPercentile, for weights and inputs
  LmHead lm_head = LmHead::kFloat;
  Smoothing smoothing = Smoothing::kNone;
  double alpha = 0.5;             // of Smoothing::kFixed
  std::vector<std::string> skip;  // linear layers left in float: names, globs ("*.mlp.fc2"), or "re:" and a regex
  bool integer = false;           // also the constants of the `integer` arithmetic

  bool NeedsCalibration() const;  // static ranges, smoothing or integer constants

  bool operator==(const QuantScheme&) const = default;
};

// The named presets: `report` is the source report's, `best` the one that docs/quantisation.md arrives at.
Result<QuantScheme> PresetScheme(std::string_view name);

Result<RangeKind> ParseWeightKind(std::string_view text);      // --weights
Result<RangeKind> ParseActivationKind(std::string_view text);  // --activations
Result<Granularity> ParseGranularity(std::string_view text);   // --granularity
Result<LmHead> ParseLmHead(std::string_view text);             // --lm-head
// --smooth: "none", "auto", or alpha in 0..1.
Status ParseSmoothing(std::string_view text, QuantScheme* scheme);

// Combinations that can't be right, and percentile and alpha out of range.
Status ValidateScheme(const QuantScheme& scheme);

std::string_view RangeKindName(RangeKind kind);
std::string_view GranularityName(Granularity granularity);
std::string_view LmHeadName(LmHead lm_head);
// "weights symmetric per channel, activations asymmetric, smooth auto".
std::string DescribeScheme(const QuantScheme& scheme);

}  // namespace phidias
