#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "common/status.h"
#include "engine/loaded_model.h"

namespace phidias::cli {

// How a verb is told its model: -m, or a positional argument.
struct ModelOption {
  std::optional<std::string> flag;
  std::optional<std::string> positional;
};

void AddModelFlag(CLI::App& app, std::optional<std::string>* flag);
// -m MODEL and [MODEL].
void AddModelOption(CLI::App& app, ModelOption* option);

// The demo model that comes with the program: beside it, or in ./models/demo.
Result<std::string> DemoModel();

// The model's path: `given`, else PHIDIAS_MODEL, else the demo model beside the program or in ./models/demo.
// Errors: the path isn't there; no demo model either (the message says how to give one).
Result<std::string> ChooseModel(const std::optional<std::string>& given);
// The same for a verb with AddModelOption; given twice is an error.
Result<std::string> ChooseModel(const ModelOption& option);

// LoadModel; what the checkpoint wants the user to know (a pattern that matches nothing, say) goes to stderr if
// `notes`.
Result<LoadedModel> LoadWithNotes(const LoadOptions& options, bool notes);

}  // namespace phidias::cli
