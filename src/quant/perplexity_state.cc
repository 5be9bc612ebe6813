#include "quant/perplexity_state.h"

#include <nlohmann/json.hpp>

#include "common/file.h"

namespace phidias {
namespace {

using Json = nlohmann::json;

constexpr const char* kFormat = "phidias-perplexity-state-1";

// [row, nll, tokens], or nothing where it isn't that. NLL of a broken model may be infinite; such runs end before.
bool ReadRow(const Json& entry, KnownScores* scores) {
  if (!entry.is_array() || entry.size() != 3 || !entry[0].is_number_unsigned() || !entry[1].is_number() ||
      !entry[2].is_number_unsigned() || entry[0].get<uint64_t>() >= scores->size()) {
    return false;
  }
  (*scores)[entry[0].get<size_t>()] = RowScore{.nll = entry[1].get<double>(), .tokens = entry[2].get<int64_t>()};
  return true;
}

}  // namespace

std::string PerplexityStateText(const std::string& fingerprint, const KnownScores& scores) {
  Json rows = Json::array();
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i].has_value()) {
      rows.push_back({i, scores[i]->nll, scores[i]->tokens});
    }
  }
  return Json{{"format", kFormat}, {"fingerprint", fingerprint}, {"rows", std::move(rows)}}.dump() + "\n";
}

Status ParsePerplexityState(const std::string& text, const std::string& path, const std::string& fingerprint,
                            KnownScores* scores) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("format", Json()) != kFormat || !json.contains("rows") ||
      !json["rows"].is_array()) {
    return DataError(path, ": is not a state of an interrupted perplexity run; remove it, or name another file");
  }
  if (json.value("fingerprint", Json()) != fingerprint) {
    return InvalidArgument(path,
                           ": is the state of a run with another model, other data or other options; remove it, "
                           "or name another file");
  }
  for (const Json& entry : json["rows"]) {
    if (!ReadRow(entry, scores)) {
      return DataError(path, ": is broken (an entry of \"rows\" is not [row, nll, tokens]); remove it to start anew");
    }
  }
  return {};
}

Status WriteWholeFile(const std::string& path, std::string_view text) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(text));
  return file.Commit();
}

}  // namespace phidias
