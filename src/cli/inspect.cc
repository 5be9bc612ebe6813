// phidias inspect: what a checkpoint holds.

#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/inspection.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "engine/loaded_model.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias inspect [OPTIONS] [MODEL]";
constexpr const char* kExamples =
    "Reads headers, not weights: quick on a model of any size.\n"
    "\n"
    "Examples:\n"
    "  phidias inspect phi-2\n"
    "  phidias inspect -m phi-2.gguf --tensors\n"
    "  phidias inspect phi-2 --json\n";

struct InspectFlags {
  ModelOption model;
  bool tensors = false;
  bool json = false;
};

Status Inspect(const InspectFlags& flags) {
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(path));
  ASSIGN_OR_RETURN(Inspection inspection, InspectCheckpoint(checkpoint));
  // A model without a tokenizer is whole (trace takes ids); one whose tokenizer is broken is shown and then refused.
  const Result<Tokenizer> tokenizer = LoadTokenizer(checkpoint);
  Status refused;
  if (tokenizer.ok()) {
    inspection.tokenizer = &*tokenizer;
  } else if (tokenizer.status().code() != StatusCode::kNotFound) {
    refused = tokenizer.status();
    inspection.tokenizer_error = refused.message();
  }
  RETURN_IF_ERROR(
      WriteStdout(flags.json ? JsonLine(InspectionJson(inspection), 2) : InspectionText(inspection, flags.tensors)));
  return refused;
}

}  // namespace

int InspectVerb(std::span<const std::string> arguments) {
  CLI::App app("What a checkpoint holds and how much memory it takes.", "phidias inspect");
  InspectFlags flags;
  AddModelOption(app, &flags.model);
  app.add_flag("--tensors", flags.tensors, "list every tensor: name, type, shape, file (tabs between)");
  app.add_flag("--json", flags.json, "everything, tensors included, as one JSON object");
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "inspect", arguments)) {
    return *code;
  }
  const Status status = Inspect(flags);
  return status.ok() ? kExitOk : Fail("inspect", status);
}

}  // namespace phidias::cli
