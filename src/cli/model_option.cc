#include "cli/model_option.h"

#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "cli/flags.h"
#include "cli/output.h"
#include "common/file.h"

namespace phidias::cli {
namespace {

// The directory of the running program, or "".
std::string ProgramDirectory() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  if (size <= 0 || static_cast<size_t>(size) >= sizeof path) {
    return {};
  }
  const std::string program(path, static_cast<size_t>(size));
  return program.substr(0, program.rfind('/'));
}

Result<std::string> DemoModel() {
  const std::string program = ProgramDirectory();
  // The build tree, an installation, the repository as the current directory.
  for (const std::string& path :
       {program.empty() ? "" : program + "/../../models/demo",
        program.empty() ? "" : program + "/../share/phidias/models/demo", std::string("models/demo")}) {
    if (!path.empty() && FileExists(path + "/config.json")) {
      char* const resolved = realpath(path.c_str(), nullptr);
      std::string out = resolved != nullptr ? resolved : path;
      std::free(resolved);
      return out;
    }
  }
  return NotFound(
      "no model: give one with -m MODEL (a checkpoint directory or a GGUF file) or in PHIDIAS_MODEL; the demo "
      "model that comes with the program is not in its place either");
}

Status CheckExists(const std::string& path, const char* origin) {
  if (IsDirectory(path) || FileExists(path)) {
    return {};
  }
  return NotFound("model ", Quoted(path), origin, ": no such file or directory");
}

}  // namespace

void AddModelFlag(CLI::App& app, std::optional<std::string>* flag) {
  AddText(app, "-m,--model", flag,
          "checkpoint directory or file (safetensors,\npytorch_model.bin, GGUF); default: the demo model\n"
          "that comes with the program [PHIDIAS_MODEL]")
      ->type_name("MODEL");
}

void AddModelOption(CLI::App& app, ModelOption* option) {
  AddModelFlag(app, &option->flag);
  AddText(app, "MODEL", &option->positional, "the same as -m MODEL")->type_name("");
}

Result<std::string> ChooseModel(const std::optional<std::string>& given) {
  if (given.has_value()) {
    RETURN_IF_ERROR(CheckExists(*given, ""));
    return *given;
  }
  const char* const variable = std::getenv("PHIDIAS_MODEL");
  if (variable != nullptr && *variable != '\0') {
    RETURN_IF_ERROR(CheckExists(variable, " (from PHIDIAS_MODEL)"));
    return std::string(variable);
  }
  return DemoModel();
}

Result<std::string> ChooseModel(const ModelOption& option) {
  if (option.flag.has_value() && option.positional.has_value()) {
    return InvalidArgument("the model is given twice: -m ", Quoted(*option.flag), " and ", Quoted(*option.positional));
  }
  return ChooseModel(option.flag.has_value() ? option.flag : option.positional);
}

Result<LoadedModel> LoadWithNotes(const LoadOptions& options, bool notes) {
  Result<LoadedModel> model = LoadModel(options);
  if (model.ok() && notes) {
    for (const std::string& warning : model->checkpoint->warnings) {
      WriteStderr(warning + "\n");
    }
    if (!model->load_note.empty()) {
      WriteStderr(model->load_note + "\n");
    }
  }
  return model;
}

}  // namespace phidias::cli
