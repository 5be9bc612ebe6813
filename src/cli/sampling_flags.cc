#include "cli/sampling_flags.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <random>

#include "cli/flags.h"

namespace phidias::cli {

void AddSamplingFlags(CLI::App& app, SamplingFlags* flags) {
  SamplingParams& p = flags->params;
  constexpr int64_t kMaxTop = 1 << 30;
  flags->temperature = AddReal(app, "--temp", &p.temperature, 0, 100, "PHIDIAS_TEMP",
                               "temperature; 0 (default) takes the most probable token;\n"
                               "0.8 if one of the next four is given without --temp");
  flags->others[0] = AddInteger(app, "-s,--seed", &flags->seed, -1, std::numeric_limits<int64_t>::max(), "PHIDIAS_SEED",
                                "-1 (default): a random one, shown in the summary");
  flags->others[1] = AddInteger(app, "--top-k", &flags->top_k, 0, kMaxTop, "PHIDIAS_TOP_K",
                                "draw from the k most probable (40); 0: all");
  flags->others[2] = AddReal(app, "--top-p", &p.top_p, 0, 1, "PHIDIAS_TOP_P",
                             "and from the fewest that reach this sum (0.95); 1: off");
  flags->others[3] =
      AddReal(app, "--min-p", &p.min_p, 0, 1, "PHIDIAS_MIN_P", "and at least this fraction of the best (0.05); 0: off");
  CLI::Option* const repeat =
      AddReal(app, "--repeat-penalty", &p.repeat_penalty, 0, 100, "PHIDIAS_REPEAT_PENALTY", "1 (default): off");
  CLI::Option* const last_n =
      AddInteger(app, "--repeat-last-n", &flags->repeat_last_n, -1, kMaxTop, "PHIDIAS_REPEAT_LAST_N",
                 "tokens that the penalties look back on (64); -1: all");
  CLI::Option* const presence = AddReal(app, "--presence-penalty", &p.presence_penalty, -100, 100,
                                        "PHIDIAS_PRESENCE_PENALTY", "0 (default): off");
  CLI::Option* const frequency = AddReal(app, "--frequency-penalty", &p.frequency_penalty, -100, 100,
                                         "PHIDIAS_FREQUENCY_PENALTY", "0 (default): off");
  for (CLI::Option* option : {flags->temperature, flags->others[0], flags->others[1], flags->others[2],
                              flags->others[3], repeat, last_n, presence, frequency}) {
    option->group("Sampling");
  }
}

Result<SamplingParams> ResolveSampling(const SamplingFlags& flags) {
  SamplingParams params = flags.params;
  params.top_k = static_cast<int32_t>(flags.top_k);
  params.repeat_last_n = static_cast<int32_t>(flags.repeat_last_n);
  const bool wants_sampling = std::any_of(std::begin(flags.others), std::end(flags.others),
                                          [](const CLI::Option* option) { return option->count() > 0; });
  if (wants_sampling && flags.temperature->count() == 0) {
    params.temperature = kDefaultTemperature;
  }
  params.seed = flags.seed >= 0 ? static_cast<uint64_t>(flags.seed) : std::random_device{}();
  RETURN_IF_ERROR(ValidateSampling(params));
  return params;
}

}  // namespace phidias::cli
