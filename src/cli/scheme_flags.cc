#include "cli/scheme_flags.h"

#include "cli/flags.h"
#include "cli/numbers.h"

namespace phidias::cli {

namespace {

constexpr const char* kHelpGroup = "Scheme";

void AddPatterns(CLI::App& app, const char* name, std::vector<std::string>* out, const char* description) {
  app.add_option(name, *out, description)
      ->type_name("PATTERN")
      ->allow_extra_args(false)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(kHelpGroup);
}

// 0: not given.
Result<int64_t> BitsOf(const SchemeFlags& flags) {
  return flags.weights_bits.has_value() ? ParseWeightBits(*flags.weights_bits) : Result<int64_t>(0);
}

}  // namespace

void AddSchemeFlags(CLI::App& app, SchemeFlags* flags) {
  const char* group = kHelpGroup;
  AddText(app, "--recipe", &flags->recipe,
          "report (the source report's), best (default), or best4 (default\nwith --weights-bits 4); the flags below "
          "change it")
      ->type_name("NAME")
      ->group(group);
  AddText(app, "--weights", &flags->weights, "none, symmetric, asymmetric, percentile, mse, or (4 bits) gptq")
      ->type_name("KIND")
      ->group(group);
  AddText(app, "--weights-bits", &flags->weights_bits, "8, or 4 with symmetric (rounding), mse or gptq weights")
      ->type_name("N")
      ->group(group);
  AddText(app, "--group", &flags->group, "of 4 bits: inputs that share a multiplier: 32 (default), 64 or 128")
      ->type_name("N")
      ->group(group);
  AddText(app, "--granularity", &flags->granularity, "one scale per tensor or per channel")
      ->type_name("KIND")
      ->group(group);
  AddText(app, "--activations", &flags->activations, "none, symmetric, asymmetric, percentile, mse or dynamic")
      ->type_name("KIND")
      ->group(group);
  AddText(app, "--percentile", &flags->percentile, "of the percentile kinds (99.9)")->type_name("X")->group(group);
  AddText(app, "--smooth", &flags->smooth, "SmoothQuant: none, auto, or alpha from 0 to 1")
      ->type_name("X")
      ->group(group);
  AddText(app, "--lm-head", &flags->lm_head, "float, int8 or int16")->type_name("KIND")->group(group);
  AddPatterns(app, "--skip", &flags->skip,
              "leave these linear layers in float: a name, its end (\"fc2\"),\n"
              "a glob, or re:REGEX; may be repeated");
  AddPatterns(app, "--eight-bits", &flags->eight_bits, "of 4 bits: leave these linear layers at 8; as --skip");
}

Result<QuantScheme> SchemeOf(const SchemeFlags& flags) {
  ASSIGN_OR_RETURN(const int64_t bits, BitsOf(flags));
  ASSIGN_OR_RETURN(QuantScheme scheme, PresetScheme(flags.recipe.value_or(bits == 4 ? "best4" : "best")));
  scheme.weight_bits = bits == 0 ? scheme.weight_bits : bits;
  if (flags.group.has_value()) {
    if (scheme.weight_bits != 4) {
      return InvalidArgument("--group ", *flags.group, ": is of 4-bit weights; add --weights-bits 4");
    }
    ASSIGN_OR_RETURN(scheme.group, ParseGroup(*flags.group));
  }
  if (flags.weights.has_value()) {
    ASSIGN_OR_RETURN(scheme.weights, ParseWeightKind(*flags.weights));
  }
  if (flags.granularity.has_value()) {
    ASSIGN_OR_RETURN(scheme.granularity, ParseGranularity(*flags.granularity));
  }
  if (flags.activations.has_value()) {
    ASSIGN_OR_RETURN(scheme.activations, ParseActivationKind(*flags.activations));
  }
  if (flags.percentile.has_value()) {
    const Result<double> percentile = ParseReal(*flags.percentile, 0, 100);
    if (!percentile.ok()) {
      return percentile.status().WithContext("--percentile");
    }
    scheme.percentile = *percentile;
  }
  if (flags.smooth.has_value()) {
    RETURN_IF_ERROR(ParseSmoothing(*flags.smooth, &scheme));
  }
  if (flags.lm_head.has_value()) {
    ASSIGN_OR_RETURN(scheme.lm_head, ParseLmHead(*flags.lm_head));
  }
  scheme.skip = flags.skip;
  scheme.eight_bits = flags.eight_bits;
  RETURN_IF_ERROR(ValidateScheme(scheme));
  return scheme;
}

int64_t SampleTokensFor(const QuantScheme& scheme) {
  constexpr int64_t kSearchTokens = 512;
  return scheme.smoothing == Smoothing::kNone ? 0 : kSearchTokens;
}

}  // namespace phidias::cli
