#include "model/quantization_config.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "model/files/json_fields.h"

namespace phidias {
namespace {

constexpr size_t kMaxGroups = 64;
constexpr size_t kMaxWarnings = 10;
constexpr const char* kMethod = "compressed-tensors";
constexpr const char* kIntQuantized = "int-quantized";
constexpr const char* kNaiveQuantized = "naive-quantized";
constexpr const char* kPackQuantized = "pack-quantized";
constexpr const char* kMixedPrecision = "mixed-precision";
constexpr const char* kWayOut =
    "use an int8 or 4-bit checkpoint of that form, or the model's float16, bfloat16 or float32 checkpoint";

using Names = std::span<const std::string_view>;

// Fields without a bearing on what is computed. The status is one: checkpoints of the same form say "frozen" or
// "compressed", and the tensors' types tell.
constexpr std::string_view kTopFields[] = {
    "quant_method",  "format",          "quantization_status",     "ignore",
    "config_groups", "kv_cache_scheme", "sparsity_config",         "transform_config",
    "version",       "run_compressed",  "global_compression_ratio"};
constexpr std::string_view kGroupFields[] = {"targets", "weights", "input_activations", "output_activations", "format"};
constexpr std::string_view kArgsFields[] = {"num_bits",        "type",    "symmetric", "strategy", "group_size",
                                            "block_structure", "dynamic", "actorder",  "observer", "observer_kwargs",
                                            "scale_dtype",     "zp_dtype"};

// Keys that aren't in `known` and hold something, printable, at most kMaxWarnings.
std::vector<std::string> UnknownKeys(const Json& json, Names known) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_null() && std::find(known.begin(), known.end(), key) == known.end() && keys.size() < kMaxWarnings) {
      keys.push_back(Quoted(key, 60));
    }
  }
  return keys;
}

Status CheckKnown(const JsonFields& fields, const Json& json, Names known) {
  const std::vector<std::string> unknown = UnknownKeys(json, known);
  if (!unknown.empty()) {
    return Unsupported(fields.path(), ": ", fields.Name(""), unknown.front(), " isn't known here; ", kWayOut);
  }
  return {};
}

Result<std::vector<std::string>> ReadNames(const JsonFields& fields, const char* field) {
  std::vector<std::string> names;
  const Json* value = fields.Find(field);
  if (value == nullptr) {
    return names;
  }
  if (!value->is_array()) {
    return fields.WrongType(field, *value, "a list of names");
  }
  for (const Json& name : *value) {
    if (!name.is_string()) {
      return fields.WrongType(field, *value, "a list of names");
    }
    names.push_back(name.get<std::string>());
  }
  return names;
}

Status CheckMethod(const JsonFields& fields) {
  std::optional<std::string> method;
  RETURN_IF_ERROR(fields.OptionalString("quant_method", &method));
  if (!method) {
    return DataError(fields.path(), ": field ", fields.Name("quant_method"), " is missing; expected \"", kMethod, "\"");
  }
  if (*method != kMethod) {
    return Unsupported(fields.path(), ": ", fields.Name("quant_method"), " ", Quoted(*method), " isn't run here; \"",
                       kMethod, "\" is: ", kWayOut);
  }
  return {};
}

Status CheckFormat(const JsonFields& fields, const std::string& format) {
  for (const char* run : {kIntQuantized, kNaiveQuantized, kPackQuantized, kMixedPrecision}) {
    if (format == run) {
      return {};
    }
  }
  return Unsupported(fields.path(), ": ", fields.Name("format"), " ", Quoted(format), " isn't run here; \"",
                     kIntQuantized, "\", \"", kNaiveQuantized, "\" and \"", kPackQuantized, "\" are: ", kWayOut);
}

// Which tensors hold the weights of a group of this format.
Status CheckGroupFormat(const JsonFields& fields, const std::string& format, const QuantizationScheme& scheme) {
  if (format == kMixedPrecision) {
    return DataError(fields.path(), ": ", fields.Name("format"), " is missing; quantization_config.format \"",
                     kMixedPrecision, "\" leaves it to the groups");
  }
  const int64_t bits = scheme.weights ? scheme.weights->bits : 8;
  const bool packed = format == kPackQuantized;
  if (packed != (bits == 4)) {
    return Unsupported(fields.path(), ": ", fields.Name("weights.num_bits"), " ", bits, " with format ", Quoted(format),
                       " isn't run here; 8 with \"", kIntQuantized, "\" and 4 with \"", kPackQuantized, "\" are");
  }
  return {};
}

// A field that must be null or false, as nothing that it could say is run.
Status CheckAbsent(const JsonFields& fields, const char* field) {
  const Json* value = fields.Find(field);
  if (value != nullptr && !(value->is_boolean() && !value->get<bool>())) {
    return Unsupported(fields.path(), ": ", fields.Name(field), " ", ShowJson(*value), " isn't run here; null is");
  }
  return {};
}

Status CheckSparsity(const JsonFields& fields) {
  const Json* value = fields.Find("sparsity_config");
  if (value == nullptr || (value->is_object() && value->empty())) {
    return {};
  }
  if (!value->is_object()) {
    return fields.WrongType("sparsity_config", *value, "an object or null");
  }
  std::optional<std::string> format;
  RETURN_IF_ERROR(JsonFields(*value, fields.path(), fields.Name("sparsity_config.")).OptionalString("format", &format));
  if (format != "dense") {
    return Unsupported(fields.path(), ": ", fields.Name("sparsity_config.format"), " ",
                       format ? Quoted(*format) : "null", " isn't run here; \"dense\" is: ", kWayOut);
  }
  return {};
}

// Transforms (rotations before and after a layer) would change the function if they were passed over.
Status CheckTransform(const JsonFields& fields) {
  const Json* value = fields.Find("transform_config");
  if (value == nullptr || (value->is_object() && value->empty())) {
    return {};
  }
  if (!value->is_object()) {
    return fields.WrongType("transform_config", *value, "an object or null");
  }
  for (const auto& [key, inner] : value->items()) {
    if (!inner.is_null() && !inner.empty()) {
      return Unsupported(fields.path(), ": ", fields.Name("transform_config."), Quoted(key, 60),
                         " isn't run here; a checkpoint without transforms is");
    }
  }
  return {};
}

// What both `weights` and `input_activations` say.
struct QuantArgs {
  bool symmetric = true;
  bool dynamic = false;
  std::string strategy;
  int64_t bits = 8;
  int64_t group = 0;
};

Status ReadNumbers(const JsonFields& fields, bool weights, QuantArgs* args) {
  RETURN_IF_ERROR(fields.OptionalInt("num_bits", 1, 64, &args->bits));
  std::optional<std::string> type;
  RETURN_IF_ERROR(fields.OptionalString("type", &type));
  if (type && *type != "int") {
    return Unsupported(fields.path(), ": ", fields.Name("type"), " ", Quoted(*type),
                       " isn't run here; \"int\" is: ", kWayOut);
  }
  if (args->bits != 8 && !(weights && args->bits == 4)) {
    return Unsupported(fields.path(), ": ", fields.Name("num_bits"), " ", args->bits, " isn't run here; ",
                       weights ? "8 and 4 are: " : "8 is: ", kWayOut);
  }
  return {};
}

Status ReadDynamic(const JsonFields& fields, QuantArgs* args) {
  const Json* dynamic = fields.Find("dynamic");
  if (dynamic != nullptr && dynamic->is_string()) {  // "local": of a group of 4-bit floats
    return Unsupported(fields.path(), ": ", fields.Name("dynamic"), " ", ShowJson(*dynamic),
                       " isn't run here; true and false are");
  }
  return fields.OptionalBool("dynamic", &args->dynamic);
}

// The order of activations only matters here where it permutes columns; "weight" (or "static") says something about
// how the values were found.
Status CheckActorder(const JsonFields& fields) {
  const Json* actorder = fields.Find("actorder");
  if (actorder == nullptr || *actorder == "weight" || *actorder == "static") {
    return {};
  }
  return CheckAbsent(fields, "actorder");
}

Status ReadStrategy(const JsonFields& fields, QuantArgs* args) {
  int64_t group_size = 0;
  RETURN_IF_ERROR(fields.OptionalInt("group_size", -1, int64_t{1} << 31, &group_size));
  const bool groups = args->bits == 4 && (group_size == 32 || group_size == 64 || group_size == 128);
  if (group_size > 0 && !groups) {
    return Unsupported(fields.path(), ": ", fields.Name("group_size"), " ", group_size, " isn't run here; ",
                       args->bits == 4 ? "32, 64, 128 and null are" : "null is (a scale per row or per tensor)");
  }
  std::optional<std::string> strategy;
  RETURN_IF_ERROR(fields.OptionalString("strategy", &strategy));
  // compressed-tensors' own defaults
  args->strategy = strategy.value_or(groups ? "group" : group_size == -1 ? "channel" : "tensor");
  if (args->bits == 4 && groups != (args->strategy == "group")) {
    return DataError(fields.path(), ": ", fields.Name("strategy"), " ", Quoted(args->strategy, 40), " with group_size ",
                     group_size, "; \"group\" goes with a size, and a size with \"group\"");
  }
  args->group = groups ? group_size : 0;
  return CheckAbsent(fields, "block_structure");
}

Status ReadArgs(const JsonFields& fields, const Json& json, bool weights, QuantArgs* args) {
  RETURN_IF_ERROR(ReadNumbers(fields, weights, args));
  RETURN_IF_ERROR(fields.OptionalBool("symmetric", &args->symmetric));
  RETURN_IF_ERROR(ReadDynamic(fields, args));
  RETURN_IF_ERROR(CheckActorder(fields));
  RETURN_IF_ERROR(ReadStrategy(fields, args));
  return CheckKnown(fields, json, kArgsFields);
}

Status BadStrategy(const JsonFields& fields, const QuantArgs& args, const char* run) {
  return Unsupported(fields.path(), ": ", fields.Name("strategy"), " ", Quoted(args.strategy, 40), " with dynamic ",
                     args.dynamic ? "true" : "false", " isn't run here; ", run);
}

Status ReadInt4Weights(const JsonFields& fields, const QuantArgs& args, QuantizationScheme* scheme) {
  if (!args.symmetric) {
    return Unsupported(fields.path(), ": ", fields.Name("symmetric"), " false with 4 bits isn't run here; true is: ",
                       "zero points of groups would take the sum of every group of the input");
  }
  if (args.dynamic || (args.strategy != "group" && args.strategy != "channel")) {
    return BadStrategy(fields, args, "\"group\" and \"channel\" with dynamic false are (4 bits)");
  }
  scheme->weights = WeightScheme{.symmetric = true, .per_channel = true, .bits = 4, .group = args.group};
  return {};
}

Status ReadWeights(const JsonFields& fields, const Json& json, QuantizationScheme* scheme) {
  QuantArgs args;
  RETURN_IF_ERROR(ReadArgs(fields, json, true, &args));
  if (args.bits == 4) {
    return ReadInt4Weights(fields, args, scheme);
  }
  if (args.dynamic || (args.strategy != "channel" && args.strategy != "tensor")) {
    return BadStrategy(fields, args, "\"channel\" and \"tensor\" with dynamic false are");
  }
  scheme->weights = WeightScheme{.symmetric = args.symmetric, .per_channel = args.strategy == "channel"};
  return {};
}

// One dynamic range for a whole batch ("tensor", dynamic) would let a row's result depend on the others.
Status ReadInput(const JsonFields& fields, const Json& json, QuantizationScheme* scheme) {
  QuantArgs args;
  RETURN_IF_ERROR(ReadArgs(fields, json, false, &args));
  scheme->input_symmetric = args.symmetric;
  if (args.strategy == "tensor" && !args.dynamic) {
    scheme->input = InputQuant::Kind::kStatic;
  } else if (args.strategy == "token" && args.dynamic) {
    scheme->input = InputQuant::Kind::kDynamic;
  } else {
    return BadStrategy(fields, args, "\"tensor\" with dynamic false and \"token\" with dynamic true are");
  }
  return {};
}

template <class Read>
Status ReadArgsObject(const JsonFields& fields, const char* field, Read read, QuantizationScheme* scheme) {
  const Json* value = fields.Find(field);
  if (value == nullptr) {
    return {};
  }
  if (!value->is_object()) {
    return fields.WrongType(field, *value, "an object or null");
  }
  return read(JsonFields(*value, fields.path(), fields.Name(field) + "."), *value, scheme);
}

Status ReadGroup(const JsonFields& fields, const Json& json, const std::string& top_format, QuantizationGroup* group) {
  std::optional<std::string> format;
  RETURN_IF_ERROR(fields.OptionalString("format", &format));
  if (format) {
    RETURN_IF_ERROR(CheckFormat(fields, *format));
  }
  RETURN_IF_ERROR(ReadArgsObject(fields, "weights", ReadWeights, &group->scheme));
  RETURN_IF_ERROR(ReadArgsObject(fields, "input_activations", ReadInput, &group->scheme));
  RETURN_IF_ERROR(CheckAbsent(fields, "output_activations"));
  RETURN_IF_ERROR(CheckKnown(fields, json, kGroupFields));
  RETURN_IF_ERROR(CheckGroupFormat(fields, format.value_or(top_format), group->scheme));
  if (group->scheme == QuantizationScheme()) {
    return DataError(fields.path(), ": ", group->field, " quantises neither weights nor input_activations");
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> targets, ReadNames(fields, "targets"));
  if (targets.empty()) {
    return DataError(fields.path(), ": ", fields.Name("targets"), " names nothing; expected [\"Linear\"] or names of ",
                     "layers");
  }
  ASSIGN_OR_RETURN(group->targets,
                   ModulePatterns::Create(targets, StrCat(fields.path(), ": ", fields.Name("targets"))));
  return {};
}

// A group's name as it stands in messages.
std::string ShownKey(const std::string& key) {
  const bool plain = !key.empty() && key.size() <= 64 && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
  return plain ? key : Quoted(key, 40);
}

Status ReadGroups(const JsonFields& fields, QuantizationConfig* config) {
  const Json* groups = fields.Find("config_groups");
  if (groups == nullptr) {
    return DataError(fields.path(), ": field ", fields.Name("config_groups"), " is missing");
  }
  if (!groups->is_object() || groups->empty() || groups->size() > kMaxGroups) {
    return fields.WrongType("config_groups", *groups, StrCat("an object of 1 to ", kMaxGroups, " groups"));
  }
  const std::string prefix = fields.Name("config_groups.");
  for (const auto& [key, json] : groups->items()) {
    QuantizationGroup group;
    group.field = prefix + ShownKey(key);
    if (!json.is_object()) {
      return DataError(fields.path(), ": ", group.field, " is ", ShowJson(json), "; expected an object");
    }
    RETURN_IF_ERROR(ReadGroup(JsonFields(json, fields.path(), group.field + "."), json, config->format, &group));
    config->groups.push_back(std::move(group));
  }
  return {};
}

// Appends "FIELD: PATTERN matches no linear layer" for what didn't match; at most kMaxWarnings, then a count.
void WarnOfUnmatched(const ModulePatterns& patterns, const std::vector<bool>& matched, std::vector<std::string>* out) {
  size_t unmatched = 0;
  for (size_t i = 0; i < matched.size(); ++i) {
    if (!matched[i] && ++unmatched <= kMaxWarnings) {
      out->push_back(StrCat(patterns.field(), ": ", Quoted(patterns.patterns()[i]), " matches no linear layer"));
    }
  }
  if (unmatched > kMaxWarnings) {
    out->push_back(
        StrCat(patterns.field(), ": ", unmatched - kMaxWarnings, " more of its patterns match no linear layer"));
  }
}

nlohmann::ordered_json ArgsJson(bool symmetric, const char* strategy, bool dynamic, int64_t bits = 8,
                                int64_t group = 0) {
  nlohmann::ordered_json json = {
      {"num_bits", bits}, {"type", "int"}, {"symmetric", symmetric}, {"strategy", strategy}, {"dynamic", dynamic}};
  if (group > 0) {
    json["group_size"] = group;
  }
  if (!dynamic) {
    json["observer"] = "minmax";
  }
  return json;
}

std::string_view FormatOf(const QuantizationScheme& scheme) {
  return scheme.weights && scheme.weights->bits == 4 ? kPackQuantized : kIntQuantized;
}

nlohmann::ordered_json GroupJson(const TargetedScheme& group) {
  const QuantizationScheme& scheme = group.scheme;
  nlohmann::ordered_json json = {{"targets", group.targets},
                                 {"weights", nullptr},
                                 {"input_activations", nullptr},
                                 {"output_activations", nullptr}};
  if (scheme.weights) {
    const WeightScheme& weights = *scheme.weights;
    const char* strategy = weights.group > 0 ? "group" : weights.per_channel ? "channel" : "tensor";
    json["weights"] = ArgsJson(weights.symmetric, strategy, false, weights.bits, weights.group);
  }
  if (scheme.input != InputQuant::Kind::kNone) {
    const bool dynamic = scheme.input == InputQuant::Kind::kDynamic;
    json["input_activations"] = ArgsJson(scheme.input_symmetric, dynamic ? "token" : "tensor", dynamic);
  }
  return json;
}

}  // namespace

Result<QuantizationConfig> ParseQuantizationConfig(const Json& json, const std::string& path,
                                                   const std::string& field) {
  if (!json.is_object()) {
    return DataError(path, ": ", field, " is ", ShowJson(json), "; expected an object or null");
  }
  const JsonFields fields(json, path, field + ".");
  RETURN_IF_ERROR(CheckMethod(fields));
  QuantizationConfig config;
  std::optional<std::string> format;
  RETURN_IF_ERROR(fields.OptionalString("format", &format));
  if (!format) {
    return DataError(path, ": field ", fields.Name("format"), " is missing; expected \"", kIntQuantized, "\"");
  }
  RETURN_IF_ERROR(CheckFormat(fields, *format));
  config.format = *format;
  RETURN_IF_ERROR(CheckAbsent(fields, "kv_cache_scheme"));
  RETURN_IF_ERROR(CheckSparsity(fields));
  RETURN_IF_ERROR(CheckTransform(fields));
  RETURN_IF_ERROR(ReadGroups(fields, &config));
  ASSIGN_OR_RETURN(const std::vector<std::string> ignore, ReadNames(fields, "ignore"));
  ASSIGN_OR_RETURN(config.ignore, ModulePatterns::Create(ignore, StrCat(path, ": ", fields.Name("ignore"))));
  for (const std::string& key : UnknownKeys(json, kTopFields)) {
    config.warnings.push_back(StrCat(path, ": ", fields.Name(""), key, " isn't known here and was passed over"));
  }
  return config;
}

QuantizationMatcher::QuantizationMatcher(const QuantizationConfig& config)
    : config_(config), ignore_matched_(config.ignore.patterns().size()) {
  for (const QuantizationGroup& group : config.groups) {
    target_matched_.emplace_back(group.targets.patterns().size());
  }
}

Result<const QuantizationGroup*> QuantizationMatcher::Find(const std::string& module) {
  const QuantizationGroup* found = nullptr;
  PatternMatch best = PatternMatch::kNone;
  for (size_t i = 0; i < config_.groups.size(); ++i) {
    const QuantizationGroup& group = config_.groups[i];
    ASSIGN_OR_RETURN(const PatternMatch match, group.targets.Match(module, &target_matched_[i]));
    if (match > best) {
      best = match;
      found = &group;
    }
  }
  ASSIGN_OR_RETURN(const PatternMatch ignored, config_.ignore.Match(module, &ignore_matched_));
  return ignored == PatternMatch::kNone ? found : nullptr;
}

std::vector<std::string> QuantizationMatcher::Warnings() const {
  std::vector<std::string> warnings = config_.warnings;
  WarnOfUnmatched(config_.ignore, ignore_matched_, &warnings);
  for (size_t i = 0; i < config_.groups.size(); ++i) {
    WarnOfUnmatched(config_.groups[i].targets, target_matched_[i], &warnings);
  }
  return warnings;
}

nlohmann::ordered_json QuantizationConfigJson(const QuantizationScheme& scheme,
                                              const std::vector<std::string>& ignore) {
  return QuantizationConfigJson(std::vector<TargetedScheme>{{{"Linear"}, scheme}}, ignore);
}

nlohmann::ordered_json QuantizationConfigJson(const std::vector<TargetedScheme>& groups,
                                              const std::vector<std::string>& ignore) {
  const bool mixed = std::any_of(groups.begin(), groups.end(), [&](const TargetedScheme& group) {
    return FormatOf(group.scheme) != FormatOf(groups.front().scheme);
  });
  nlohmann::ordered_json json = {
      {"quant_method", kMethod},
      {"format", mixed ? std::string_view(kMixedPrecision) : FormatOf(groups.front().scheme)},
      {"quantization_status", "compressed"},
      {"global_compression_ratio", nullptr},
      {"kv_cache_scheme", nullptr}};
  json["ignore"] = ignore;
  for (size_t i = 0; i < groups.size(); ++i) {
    nlohmann::ordered_json group = GroupJson(groups[i]);
    if (mixed) {
      group["format"] = FormatOf(groups[i].scheme);
    }
    json["config_groups"][StrCat("group_", i)] = std::move(group);
  }
  return json;
}

}  // namespace phidias
