#include "model/int4_constants_file.h"

#include <map>
#include <span>

#include "model/files/safetensors.h"
#include "model/files/safetensors_writer.h"

namespace phidias {
namespace {

constexpr const char* kFormat = "phidias-int4";
constexpr const char* kVersion = "1";

}  // namespace

Status WriteInt4Constants(const std::string& path, const std::vector<Int4Constants>& layers) {
  // All scales before all multipliers: the larger elements first, which is what keeps them aligned.
  std::vector<SafetensorsEntry> entries;
  for (const Int4Constants& layer : layers) {
    entries.push_back({layer.name + kRowScaleSuffix, DType::kF32, {static_cast<int64_t>(layer.quant->scale.size())}});
  }
  for (const Int4Constants& layer : layers) {
    const auto rows = static_cast<int64_t>(layer.quant->scale.size());
    const auto groups = static_cast<int64_t>(layer.quant->multiplier.size()) / rows;
    entries.push_back({layer.name + kMultiplierSuffix, DType::kU8, {rows, groups}});
  }
  ASSIGN_OR_RETURN(SafetensorsWriter file,
                   SafetensorsWriter::Create(path, entries, {{"format", kFormat}, {"version", kVersion}}));
  for (const Int4Constants& layer : layers) {
    RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(layer.quant->scale))));
  }
  for (const Int4Constants& layer : layers) {
    RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(layer.quant->multiplier))));
  }
  return file.Finish();
}

Result<TensorStore> ReadInt4Constants(const std::string& path) {
  std::map<std::string, std::string> metadata;
  ASSIGN_OR_RETURN(TensorStore store, ReadSafetensors(path, &metadata));
  if (metadata["format"] != kFormat) {
    return DataError(path, ": __metadata__.format is ", Quoted(metadata["format"], 40), "; expected \"", kFormat, "\"");
  }
  if (metadata["version"] != kVersion) {
    return Unsupported(path, ": version ", Quoted(metadata["version"], 40), " isn't read here; \"", kVersion,
                       "\" is: quantise the model again");
  }
  return store;
}

}  // namespace phidias
