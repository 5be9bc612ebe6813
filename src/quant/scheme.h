#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace phidias {

// How the range that the integers cover is found.
enum class RangeKind : uint8_t {
  kNone,        // left in float
  kSymmetric,   // -absmax..absmax
  kAsymmetric,  // min..max, with a zero point
  kPercentile,  // weights: symmetric, the percentile of |w|; inputs: asymmetric, both tails cut
  kMse,         // the clipped range with the least squared error; weights symmetric, inputs asymmetric
  kDynamic,     // inputs only: per token at run time, symmetric
  kGptq,        // 4-bit weights only: as kMse, each column's rounding made up for by those after it (quant/gptq.h)
};

enum class Granularity : uint8_t { kTensor, kChannel };   // one scale for a weight, or one per output row
enum class LmHead : uint8_t { kFloat, kInt8, kInt16 };    // kInt16 matters to the `integer` arithmetic alone
enum class Smoothing : uint8_t { kNone, kFixed, kAuto };  // SmoothQuant: not, with `alpha`, searched per layer

// What is to be quantised, and how. Parse... functions take what the command line has; errors name the flag and list
// what is possible.
struct QuantScheme {
  RangeKind weights = RangeKind::kSymmetric;
  int64_t weight_bits = 8;  // or 4; lm_head's never have less than 8
  int64_t group = 32;       // of 4 bits: inputs that share a multiplier, 32, 64 or 128
  Granularity granularity = Granularity::kChannel;
  RangeKind activations = RangeKind::kAsymmetric;
  double percentile = 99.9;  // of kPercentile, for weights and inputs
  LmHead lm_head = LmHead::kFloat;
  Smoothing smoothing = Smoothing::kNone;
  double alpha = 0.5;                   // of Smoothing::kFixed
  std::vector<std::string> skip;        // linear layers left in float: names, globs ("*.mlp.fc2"), or "re:" and a regex
  std::vector<std::string> eight_bits;  // of 4 bits: linear layers left at 8, patterns as those of `skip`
  bool integer = false;                 // also the constants of the `integer` arithmetic

  bool NeedsCalibration() const;  // static ranges, smoothing, GPTQ or integer constants

  bool operator==(const QuantScheme&) const = default;
};

// The named presets: `report` is the source report's, `best` the one that docs/quantisation.md arrives at, `best4` that
// for 4-bit weights.
Result<QuantScheme> PresetScheme(std::string_view name);

Result<RangeKind> ParseWeightKind(std::string_view text);      // --weights
Result<RangeKind> ParseActivationKind(std::string_view text);  // --activations
Result<Granularity> ParseGranularity(std::string_view text);   // --granularity
Result<LmHead> ParseLmHead(std::string_view text);             // --lm-head
Result<int64_t> ParseWeightBits(std::string_view text);        // --weights-bits
Result<int64_t> ParseGroup(std::string_view text);             // --group
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
