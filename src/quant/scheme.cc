#include "quant/scheme.h"

#include <cmath>
#include <cstdlib>
#include <span>
#include <utility>

namespace phidias {
namespace {

template <class T>
struct Named {
  std::string_view name;
  T value;
};

constexpr Named<RangeKind> kRangeKinds[] = {{"none", RangeKind::kNone},
                                            {"symmetric", RangeKind::kSymmetric},
                                            {"asymmetric", RangeKind::kAsymmetric},
                                            {"percentile", RangeKind::kPercentile},
                                            {"mse", RangeKind::kMse},
                                            {"dynamic", RangeKind::kDynamic},
                                            {"gptq", RangeKind::kGptq}};
constexpr Named<RangeKind> kWeightKinds[] = {{"none", RangeKind::kNone},
                                             {"symmetric", RangeKind::kSymmetric},
                                             {"asymmetric", RangeKind::kAsymmetric},
                                             {"percentile", RangeKind::kPercentile},
                                             {"mse", RangeKind::kMse},
                                             {"gptq", RangeKind::kGptq}};
constexpr Named<Granularity> kGranularities[] = {{"tensor", Granularity::kTensor}, {"channel", Granularity::kChannel}};
constexpr Named<int64_t> kWeightBits[] = {{"8", 8}, {"4", 4}};
constexpr Named<int64_t> kGroups[] = {{"32", 32}, {"64", 64}, {"128", 128}};
constexpr Named<LmHead> kLmHeads[] = {{"float", LmHead::kFloat}, {"int8", LmHead::kInt8}, {"int16", LmHead::kInt16}};

template <class T>
Result<T> Parse(std::string_view flag, std::string_view text, std::span<const Named<T>> choices) {
  std::string possible;
  for (const Named<T>& choice : choices) {
    if (choice.name == text) {
      return choice.value;
    }
    possible += (possible.empty() ? "" : ", ") + std::string(choice.name);
  }
  return InvalidArgument(flag, " ", Quoted(text), ": must be one of ", possible);
}

template <class T, size_t n>
std::string_view NameOf(const Named<T> (&choices)[n], T value) {
  for (const Named<T>& choice : choices) {
    if (choice.value == value) {
      return choice.name;
    }
  }
  return "?";
}

}  // namespace

bool QuantScheme::NeedsCalibration() const {
  const bool static_inputs = activations != RangeKind::kNone && activations != RangeKind::kDynamic;
  return static_inputs || smoothing != Smoothing::kNone || weights == RangeKind::kGptq || integer;
}

Result<QuantScheme> PresetScheme(std::string_view name) {
  QuantScheme scheme;
  if (name == "report") {
    scheme.granularity = Granularity::kTensor;
    return scheme;
  }
  if (name == "best") {
    scheme.activations = RangeKind::kMse;
    scheme.smoothing = Smoothing::kAuto;
    return scheme;
  }
  if (name == "best4") {
    scheme.weights = RangeKind::kGptq;
    scheme.weight_bits = 4;
    scheme.activations = RangeKind::kMse;
    scheme.smoothing = Smoothing::kAuto;
    return scheme;
  }
  return InvalidArgument("--recipe ", Quoted(name), ": must be one of report, best, best4");
}

Result<RangeKind> ParseWeightKind(std::string_view text) {
  return Parse<RangeKind>("--weights", text, kWeightKinds);
}

Result<RangeKind> ParseActivationKind(std::string_view text) {
  return Parse<RangeKind>("--activations", text, std::span(kRangeKinds).first(6));  // gptq is for weights alone
}

Result<Granularity> ParseGranularity(std::string_view text) {
  return Parse<Granularity>("--granularity", text, kGranularities);
}

Result<LmHead> ParseLmHead(std::string_view text) {
  return Parse<LmHead>("--lm-head", text, kLmHeads);
}

Result<int64_t> ParseWeightBits(std::string_view text) {
  return Parse<int64_t>("--weights-bits", text, kWeightBits);
}

Result<int64_t> ParseGroup(std::string_view text) {
  return Parse<int64_t>("--group", text, kGroups);
}

Status ParseSmoothing(std::string_view text, QuantScheme* scheme) {
  if (text == "none" || text == "auto") {
    scheme->smoothing = text == "auto" ? Smoothing::kAuto : Smoothing::kNone;
    return {};
  }
  const std::string number(text);
  char* end = nullptr;
  const double alpha = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0' || !(alpha >= 0 && alpha <= 1)) {
    return InvalidArgument("--smooth ", Quoted(text), ": must be none, auto, or a number from 0 to 1");
  }
  scheme->smoothing = Smoothing::kFixed;
  scheme->alpha = alpha;
  return {};
}

namespace {

Status ValidateBits(const QuantScheme& scheme) {
  if (scheme.weight_bits == 8) {
    if (scheme.weights == RangeKind::kGptq) {
      return InvalidArgument("--weights gptq: is for 4-bit weights; add --weights-bits 4, or use --weights mse");
    }
    if (!scheme.eight_bits.empty()) {
      return InvalidArgument("--eight-bits: names layers that 4-bit weights leave at 8; add --weights-bits 4");
    }
    return {};
  }
  if (scheme.weight_bits != 4) {
    return InvalidArgument("--weights-bits ", scheme.weight_bits, ": must be 8 or 4");
  }
  if (scheme.group != 32 && scheme.group != 64 && scheme.group != 128) {
    return InvalidArgument("--group ", scheme.group, ": must be 32, 64 or 128");
  }
  const RangeKind kind = scheme.weights;
  if (kind != RangeKind::kSymmetric && kind != RangeKind::kMse && kind != RangeKind::kGptq) {
    return InvalidArgument("--weights ", RangeKindName(kind),
                           " with --weights-bits 4: must be symmetric (rounding), mse or gptq");
  }
  if (scheme.granularity != Granularity::kChannel) {
    return InvalidArgument("--granularity tensor with --weights-bits 4: 4-bit weights have a scale per row and a ",
                           "multiplier per group; leave the flag out");
  }
  return {};
}

}  // namespace

Status ValidateScheme(const QuantScheme& scheme) {
  if (scheme.weights == RangeKind::kDynamic) {
    return InvalidArgument("--weights dynamic: weights don't change at run time; dynamic is for --activations");
  }
  RETURN_IF_ERROR(ValidateBits(scheme));
  if (!(scheme.percentile > 50 && scheme.percentile <= 100)) {
    return InvalidArgument("--percentile ", scheme.percentile, ": must be above 50 and at most 100");
  }
  if (!(scheme.alpha >= 0 && scheme.alpha <= 1)) {
    return InvalidArgument("--smooth ", scheme.alpha, ": must be from 0 to 1");
  }
  const bool static_inputs = scheme.activations != RangeKind::kNone && scheme.activations != RangeKind::kDynamic;
  if (scheme.integer && (scheme.weights == RangeKind::kNone || !static_inputs)) {
    return InvalidArgument(
        "--arith integer: needs int8 weights and static activations (symmetric, asymmetric, percentile or mse), not "
        "--weights ",
        RangeKindName(scheme.weights), " --activations ", RangeKindName(scheme.activations));
  }
  if (scheme.integer && (scheme.weights == RangeKind::kAsymmetric || !scheme.skip.empty())) {
    return InvalidArgument("--arith integer: needs every layer in int8 with symmetric weights; leave out ",
                           scheme.skip.empty() ? "--weights asymmetric" : "--skip");
  }
  return {};
}

std::string_view RangeKindName(RangeKind kind) {
  return NameOf(kRangeKinds, kind);
}

std::string_view GranularityName(Granularity granularity) {
  return NameOf(kGranularities, granularity);
}

std::string_view LmHeadName(LmHead lm_head) {
  return NameOf(kLmHeads, lm_head);
}

std::string DescribeScheme(const QuantScheme& scheme) {
  std::string text = StrCat("weights ", RangeKindName(scheme.weights));
  if (scheme.weight_bits == 4) {
    text += StrCat(" in 4 bits per group of ", scheme.group);
  } else if (scheme.weights != RangeKind::kNone) {
    text += StrCat(" per ", GranularityName(scheme.granularity));
  }
  text += StrCat(", activations ", RangeKindName(scheme.activations));
  if (scheme.weights == RangeKind::kPercentile || scheme.activations == RangeKind::kPercentile) {
    text += StrCat(", percentile ", scheme.percentile);
  }
  if (scheme.smoothing != Smoothing::kNone) {
    text += scheme.smoothing == Smoothing::kAuto ? ", smooth auto" : StrCat(", smooth ", scheme.alpha);
  }
  if (scheme.lm_head != LmHead::kFloat) {
    text += StrCat(", lm_head ", LmHeadName(scheme.lm_head));
  }
  if (!scheme.eight_bits.empty()) {
    text += StrCat(", ", scheme.eight_bits.size(), " at 8 bits");
  }
  return text + (scheme.integer ? ", arithmetic integer" : "");
}

}  // namespace phidias
