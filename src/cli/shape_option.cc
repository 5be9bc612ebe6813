#include "cli/shape_option.h"

#include <utility>

#include "common/file.h"
#include "model/files/json_fields.h"
#include "quant/synthetic.h"

namespace phidias::cli {

Result<Shape> ReadShape(const std::string& name) {
  std::string path = name;
  if (IsDirectory(path)) {
    path += "/config.json";
  }
  if (!FileExists(path)) {
    Result<PhiConfig> preset = PresetShape(name);
    if (!preset.ok()) {
      return InvalidArgument("--shape: ", preset.status().message(), ", and there is no such file");
    }
    return Shape{*std::move(preset), ""};
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(PhiConfig config, ParsePhiConfig(text, path, "", ""));
  config.vocab_size = (config.vocab_size + config.vocab_multiple - 1) / config.vocab_multiple * config.vocab_multiple;
  const size_t slash = path.rfind('/');
  return Shape{std::move(config), slash == std::string::npos ? "." : path.substr(0, slash + 1)};
}

}  // namespace phidias::cli
