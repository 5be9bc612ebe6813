#include "cli/data_flags.h"

#include <limits>

#include "cli/flags.h"

namespace phidias::cli {

void AddDataFlags(CLI::App& app, DataFlags* flags) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  AddText(app, "--data", &flags->path,
          "the text: JSON lines with \"messages\" (as ultrachat_200k)\nor \"text\", or plain text")
      ->type_name("FILE")
      ->required();
  AddInteger(app, "--samples", &flags->samples, 0, kMax, nullptr, "rows of it; 0 (default): all");
  AddInteger(app, "--max-tokens", &flags->max_tokens, 2, kMaxPositions, nullptr, "tokens that a row is cut to (512)");
  AddInteger(app, "--seed", &flags->seed, -1, kMax, nullptr, "choose the rows at random; -1 (default): the first ones");
  app.add_option("--data-format", flags->format, "auto (default), jsonl or text")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"auto", "jsonl", "text"}));
}

DataFormat FormatOf(const DataFlags& flags) {
  if (flags.format == "jsonl") {
    return DataFormat::kJsonLines;
  }
  return flags.format == "text" ? DataFormat::kText : DataFormat::kAuto;
}

DatasetOptions OptionsOf(const DataFlags& flags) {
  DatasetOptions options;
  options.samples = flags.samples;
  options.max_tokens = flags.max_tokens;
  options.format = FormatOf(flags);
  if (flags.seed >= 0) {
    options.seed = static_cast<uint64_t>(flags.seed);
  }
  return options;
}

Status CheckRowLength(const DataFlags& flags, const PhiConfig& config) {
  if (flags.max_tokens > config.max_position_embeddings) {
    return InvalidArgument("--max-tokens ", flags.max_tokens, ": this model's context has ",
                           config.max_position_embeddings, " positions");
  }
  return {};
}

std::string DatasetNotes(const Dataset& dataset, int64_t samples) {
  std::string notes;
  const auto rows = static_cast<int64_t>(dataset.rows.size());
  if (rows < samples) {
    notes += StrCat(dataset.path, ": has only ", rows, " rows that can be used; ", samples, " were asked for\n");
  }
  if (dataset.rows_short > 0) {
    notes += StrCat(dataset.path, ": ", dataset.rows_short, dataset.rows_short == 1 ? " row is" : " rows are",
                    " too short and left out\n");
  }
  return notes;
}

}  // namespace phidias::cli
