#include "quant/sweep_state.h"

#include <nlohmann/json.hpp>

namespace phidias {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "phidias-sweep-1";

Json OptionalNumber(const std::optional<double>& value) {
  return value.has_value() ? Json(*value) : Json();
}

Json CellJson(const SweepCell& cell) {
  const bool quantised = cell.scheme.weights != RangeKind::kNone;
  return {{"weights", RangeKindName(cell.scheme.weights)},
          {"granularity", quantised ? Json(GranularityName(cell.scheme.granularity)) : Json()},
          {"activations", RangeKindName(cell.scheme.activations)},
          {"perplexity", cell.perplexity},
          {"standard_error", OptionalNumber(cell.standard_error)},
          {"change", cell.change.relative},
          {"change_standard_error", OptionalNumber(cell.change.standard_error)},
          {"nll", cell.nll},
          {"tokens", cell.tokens},
          {"seconds", cell.seconds}};
}

std::optional<double> NumberIn(const Json& cell, const char* key) {
  return cell.contains(key) && cell[key].is_number() ? std::optional(cell[key].get<double>()) : std::nullopt;
}

std::string TextIn(const Json& cell, const char* key) {
  return cell.contains(key) && cell[key].is_string() ? cell[key].get<std::string>() : "";
}

// Nothing where the cell isn't whole.
std::optional<SweepCell> ReadCell(const Json& json) {
  if (!json.is_object()) {
    return std::nullopt;
  }
  const Result<RangeKind> weights = ParseWeightKind(TextIn(json, "weights"));
  const Result<RangeKind> activations = ParseActivationKind(TextIn(json, "activations"));
  const std::string granularity_text = TextIn(json, "granularity");
  const Result<Granularity> granularity = ParseGranularity(granularity_text.empty() ? "tensor" : granularity_text);
  const auto perplexity = NumberIn(json, "perplexity");
  const auto change = NumberIn(json, "change");
  const auto nll = NumberIn(json, "nll");
  const auto tokens = NumberIn(json, "tokens");
  const auto seconds = NumberIn(json, "seconds");
  if (!weights.ok() || !activations.ok() || !granularity.ok() || !perplexity || !change || !nll || !tokens ||
      !seconds) {
    return std::nullopt;
  }
  return SweepCell{.scheme = {*weights, *granularity, *activations},
                   .perplexity = *perplexity,
                   .nll = *nll,
                   .tokens = static_cast<int64_t>(*tokens),
                   .standard_error = NumberIn(json, "standard_error"),
                   .change = {.relative = *change, .standard_error = NumberIn(json, "change_standard_error")},
                   .seconds = *seconds};
}

bool ReadRows(const Json& json, std::vector<RowScore>* rows) {
  for (const Json& row : json) {
    if (!row.is_array() || row.size() != 2 || !row[0].is_number() || !row[1].is_number_unsigned()) {
      return false;
    }
    rows->push_back({.nll = row[0].get<double>(), .tokens = row[1].get<int64_t>()});
  }
  return true;
}

}  // namespace

std::string SweepStateText(const std::string& fingerprint, const SweepState& state) {
  Json cells = Json::array();
  for (const SweepCell& cell : state.cells) {
    cells.push_back(CellJson(cell));
  }
  Json rows = Json::array();
  for (const RowScore& row : state.float_rows) {
    rows.push_back({row.nll, row.tokens});
  }
  const Json json = {
      {"format", kFormat}, {"fingerprint", fingerprint}, {"cells", std::move(cells)}, {"float_rows", std::move(rows)}};
  return json.dump(1) + "\n";
}

Result<SweepState> ParseSweepState(const std::string& text, const std::string& path, const std::string& fingerprint) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || TextIn(json, "format") != kFormat || !json.contains("cells") || !json["cells"].is_array() ||
      !json.contains("float_rows") || !json["float_rows"].is_array()) {
    return DataError(path, ": is not the state of a sweep; remove it to start anew");
  }
  if (TextIn(json, "fingerprint") != fingerprint) {
    return InvalidArgument(path,
                           ": is of a sweep with another model, other data or other options; remove it to start "
                           "anew, or name another directory");
  }
  SweepState state;
  for (const Json& entry : json["cells"]) {
    std::optional<SweepCell> cell = ReadCell(entry);
    if (!cell.has_value()) {
      return DataError(path, ": is broken (cell ", state.cells.size() + 1, "); remove it to start anew");
    }
    state.cells.push_back(*cell);
  }
  if (!ReadRows(json["float_rows"], &state.float_rows)) {
    return DataError(path, ": is broken (float_rows); remove it to start anew");
  }
  return state;
}

}  // namespace phidias
