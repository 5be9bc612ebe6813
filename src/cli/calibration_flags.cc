#include "cli/calibration_flags.h"

#include <limits>

#include "cli/data_flags.h"
#include "cli/flags.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "quant/rank_calibration.h"

namespace phidias::cli {

void AddCalibrationFlags(CLI::App& app, CalibrationFlags* flags, bool required, bool alone) {
  const auto names = [alone](const std::string& name) {
    return alone ? "--" + name + ",--calibration-" + name : "--calibration-" + name;
  };
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  AddText(app, "--calibration", &flags->path, "rows that static ranges are found on; formats as for --data")
      ->type_name("FILE")
      ->required(required);
  AddInteger(app, names("samples"), &flags->samples, 0, kMax, nullptr, "rows of it (1024); 0: all");
  AddInteger(app, names("max-tokens"), &flags->max_tokens, 1, kMaxPositions, nullptr,
             "tokens that such a row is cut to (512)");
  AddInteger(app, names("seed"), &flags->seed, -1, kMax, nullptr,
             "choose them at random; -1 (default): the first ones");
}

Result<Calibrated> RunCalibration(const CalibrationFlags& flags, const LoadedModel& model, int64_t sample_tokens,
                                  const std::string& state_path, bool notes, const std::atomic<bool>* cancel,
                                  Ranks& ranks) {
  const int64_t context = model.phi->config().max_position_embeddings;
  if (flags.max_tokens > context) {
    return InvalidArgument("--calibration-max-tokens ", flags.max_tokens, ": this model's context has ", context,
                           " positions");
  }
  DatasetOptions rows{.samples = flags.samples, .max_tokens = flags.max_tokens, .min_tokens = 1, .seed = {}};
  if (flags.seed >= 0) {
    rows.seed = static_cast<uint64_t>(flags.seed);
  }
  Calibrated result;
  ASSIGN_OR_RETURN(result.dataset, LoadDataset(*model.tokenizer, *flags.path, rows));
  if (notes) {
    WriteStderr(DatasetNotes(result.dataset, flags.samples));
  }
  ProgressBar bar("calibration", "rows", notes);
  CalibrationOptions options;
  options.sample_tokens = sample_tokens;
  options.state_path = state_path;
  options.cancel = cancel;
  options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  ASSIGN_OR_RETURN(result.stats, CalibrateOnRanks(*model.phi, result.dataset.rows, options, ranks));
  return result;
}

}  // namespace phidias::cli
