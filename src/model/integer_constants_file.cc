#include "model/integer_constants_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>
#include <string_view>

#include "common/file.h"
#include "model/files/json_fields.h"

namespace phidias {
namespace {

constexpr const char* kFormat = "phidias-integer";
constexpr int64_t kVersion = 1;
constexpr int64_t kMaxResidualShift = 20;
Status CheckFields(const JsonFields& fields, const Json& json, std::span<const std::string_view> known) {
  for (const std::string_view name : known) {
    if (!fields.Has(std::string(name).c_str())) {
      return DataError(fields.path(), ": field ", fields.Name(std::string(name)), " is missing");
    }
  }
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return DataError(fields.path(), ": field ", fields.Name(""), Quoted(key, 60), " is not one of this file's");
    }
  }
  return {};
}

// Subnormal numbers are zero in the arithmetic, so a scale must be a normal one.
Status ReadScale(const JsonFields& fields, const std::string& name, const Json& json, float* out) {
  const double value = json.is_number() ? json.get<double>() : 0.0;
  if (!(value >= std::numeric_limits<float>::min() && value <= std::numeric_limits<float>::max())) {
    return DataError(fields.path(), ": ", fields.Name(name), " is ", ShowJson(json),
                     "; expected a positive float32 number");
  }
  *out = static_cast<float>(value);
  return {};
}

Status ReadScaleField(const JsonFields& fields, const char* field, float* out) {
  return ReadScale(fields, field, *fields.Find(field), out);
}

Status ReadScales(const JsonFields& fields, const char* field, int64_t heads, std::vector<float>* out) {
  const Json& list = *fields.Find(field);
  if (!list.is_array() || list.size() != static_cast<size_t>(heads)) {
    return fields.WrongType(field, list, StrCat("a list of ", heads, " numbers, one per head"));
  }
  out->resize(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    RETURN_IF_ERROR(ReadScale(fields, StrCat(field, "[", i, "]"), list[i], &(*out)[i]));
  }
  return {};
}

Status ReadLayer(const JsonFields& fields, const Json& json, const PhiConfig& config, IntegerLayerConstants* out) {
  static constexpr std::string_view kFields[] = {"q_scale", "k_scale", "v_scale", "fc1_scale", "fc1_zero_point"};
  RETURN_IF_ERROR(CheckFields(fields, json, kFields));
  RETURN_IF_ERROR(ReadScales(fields, "q_scale", config.n_heads, &out->q_scale));
  RETURN_IF_ERROR(ReadScales(fields, "k_scale", config.n_kv_heads, &out->k_scale));
  RETURN_IF_ERROR(ReadScales(fields, "v_scale", config.n_kv_heads, &out->v_scale));
  RETURN_IF_ERROR(ReadScaleField(fields, "fc1_scale", &out->fc1_scale));
  int64_t zero_point = 0;
  RETURN_IF_ERROR(fields.RequiredInt("fc1_zero_point", -128, 127, &zero_point));
  out->fc1_zero_point = static_cast<int32_t>(zero_point);
  return {};
}

Status CheckVersion(const JsonFields& fields) {
  if (*fields.Find("format") != kFormat) {
    return fields.WrongType("format", *fields.Find("format"), StrCat("\"", kFormat, "\""));
  }
  if (*fields.Find("version") != kVersion) {
    return Unsupported(fields.path(), ": version ", ShowJson(*fields.Find("version")), " isn't read here; ", kVersion,
                       " is: quantise the model again");
  }
  return {};
}

// The shortest decimal; in the rare case that it doesn't read back as the same float32 by way of a double, the
// double's.
std::string ScaleText(float value) {
  std::array<char, 64> text = {};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  double read = 0.0;
  std::from_chars(text.data(), end, read);
  if (read <= std::numeric_limits<float>::max() && static_cast<float>(read) == value) {
    return {text.data(), end};
  }
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), static_cast<double>(value)).ptr};
}

std::string ScalesText(const std::vector<float>& scales) {
  std::string out = "[";
  for (size_t i = 0; i < scales.size(); ++i) {
    out += (i == 0 ? "" : ", ") + ScaleText(scales[i]);
  }
  return out + "]";
}

}  // namespace

Result<IntegerConstants> ParseIntegerConstants(const std::string& json_text, const std::string& path,
                                               const PhiConfig& config) {
  static constexpr std::string_view kFields[] = {"format",           "version",      "residual_shift",
                                                 "final_norm_scale", "lm_head_bits", "layers"};
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(json_text, path));
  const JsonFields fields(json, path);
  RETURN_IF_ERROR(CheckFields(fields, json, kFields));
  RETURN_IF_ERROR(CheckVersion(fields));
  IntegerConstants constants;
  int64_t shift = 0;
  RETURN_IF_ERROR(fields.RequiredInt("residual_shift", 0, kMaxResidualShift, &shift));
  constants.residual_shift = static_cast<int32_t>(shift);
  RETURN_IF_ERROR(ReadScaleField(fields, "final_norm_scale", &constants.final_norm_scale));
  const Json& bits = *fields.Find("lm_head_bits");
  if (bits != 8 && bits != 16) {
    return fields.WrongType("lm_head_bits", bits, "8 or 16");
  }
  constants.lm_head_bits = bits.get<int32_t>();
  const Json& layers = *fields.Find("layers");
  if (!layers.is_array() || layers.size() != static_cast<size_t>(config.n_layers)) {
    return fields.WrongType("layers", layers, StrCat("a list of ", config.n_layers, " objects, one per layer"));
  }
  constants.layers.resize(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string name = StrCat("layers[", i, "]");
    if (!layers[i].is_object()) {
      return fields.WrongType(name.c_str(), layers[i], "an object");
    }
    RETURN_IF_ERROR(ReadLayer(JsonFields(layers[i], path, name + "."), layers[i], config, &constants.layers[i]));
  }
  return constants;
}

Result<IntegerConstants> ReadIntegerConstants(const std::string& path, const PhiConfig& config) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  return ParseIntegerConstants(text, path, config);
}

std::string IntegerConstantsText(const IntegerConstants& constants) {
  std::string out = StrCat("{\n \"format\": \"", kFormat, "\",\n \"version\": ", kVersion,
                           ",\n \"residual_shift\": ", constants.residual_shift,
                           ",\n \"final_norm_scale\": ", ScaleText(constants.final_norm_scale),
                           ",\n \"lm_head_bits\": ", constants.lm_head_bits, ",\n \"layers\": [");
  const char* separator = "\n";
  for (const IntegerLayerConstants& layer : constants.layers) {
    out += StrCat(separator, "  {\"q_scale\": ", ScalesText(layer.q_scale),
                  ", \"k_scale\": ", ScalesText(layer.k_scale), ", \"v_scale\": ", ScalesText(layer.v_scale),
                  ", \"fc1_scale\": ", ScaleText(layer.fc1_scale), ", \"fc1_zero_point\": ", layer.fc1_zero_point, "}");
    separator = ",\n";
  }
  return out + "\n ]\n}\n";
}

Status WriteIntegerConstants(const std::string& path, const IntegerConstants& constants) {
  return WriteFile(path, IntegerConstantsText(constants));
}

}  // namespace phidias
