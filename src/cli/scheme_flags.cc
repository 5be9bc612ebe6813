#include "cli/scheme_flags.h"

#include "cli/flags.h"
#include "cli/numbers.h"

namespace phidias::cli {

void AddSchemeFlags(CLI::App& app, SchemeFlags* flags) {
  const char* group = "Scheme";
  AddText(app, "--recipe", &flags->recipe, "report (the source report's) or best (default); the flags\nbelow change it")
      ->type_name("NAME")
      ->group(group);
  AddText(app, "--weights", &flags->weights, "none, symmetric, asymmetric, percentile or mse")
      ->type_name("KIND")
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
  app.add_option("--skip", flags->skip,
                 "leave these linear layers in float: a name, its end (\"fc2\"),\n"
                 "a glob, or re:REGEX; may be repeated")
      ->type_name("PATTERN")
      ->allow_extra_args(false)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
}

Result<QuantScheme> SchemeOf(const SchemeFlags& flags) {
  ASSIGN_OR_RETURN(QuantScheme scheme, PresetScheme(flags.recipe.value_or("best")));
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
  RETURN_IF_ERROR(ValidateScheme(scheme));
  return scheme;
}

int64_t SampleTokensFor(const QuantScheme& scheme) {
  constexpr int64_t kSearchTokens = 512;
  return scheme.smoothing == Smoothing::kNone ? 0 : kSearchTokens;
}

}  // namespace phidias::cli
