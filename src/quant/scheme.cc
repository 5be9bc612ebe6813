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
                                            {"dynamic", RangeKind::kDynamic}};
constexpr Named<Granularity> kGranularities[] = {{"tensor", Granularity::kTensor}, {"channel", Granularity::kChannel}};
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
  return static_inputs || smoothing != Smoothing::kNone || integer;
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
  return InvalidArgument("--recipe ", Quoted(name), ": must be one of report, best");
}

Result<RangeKind> ParseWeightKind(std::string_view text) {
  return Parse<RangeKind>("--weights", text, std::span(kRangeKinds).first(5));  // dynamic is for inputs alone
}

Result<RangeKind> ParseActivationKind(std::string_view text) {
  return Parse<RangeKind>("--activations", text, kRangeKinds);
}

Result<Granularity> ParseGranularity(std::string_view text) {
  return Parse<Granularity>("--granularity", text, kGranularities);
}

Result<LmHead> ParseLmHead(std::string_view text) {
  return Parse<LmHead>("--lm-head", text, kLmHeads);
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

Status ValidateScheme(const QuantScheme& scheme) {
  if (scheme.weights == RangeKind::kDynamic) {
    return InvalidArgument("--weights dynamic: weights don't change at run time; dynamic is for --activations");
  }
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
  if (scheme.weights != RangeKind::kNone) {
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
  return text + (scheme.integer ? ", arithmetic integer" : "");
}

}  // namespace phidias
