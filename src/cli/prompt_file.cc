#include "cli/prompt_file.h"

#include <limits>
#include <utility>

#include "quant/line_reader.h"

namespace phidias::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kBlank = " \t\r\n";

// A list of objects is JSON, but not JSON lines.
bool IsJsonList(std::string_view head) {
  const size_t first = head.find_first_not_of(kBlank);
  const size_t second = first == std::string_view::npos ? first : head.find_first_not_of(kBlank, first + 1);
  return second != std::string_view::npos && head[first] == '[' && head[second] == '{';
}

// A whole number in [0, high], or none where the key is absent.
Result<std::optional<uint64_t>> WholeNumber(const Json& row, const char* key, uint64_t high) {
  const auto it = row.find(key);
  if (it == row.end() || it->is_null()) {
    return std::optional<uint64_t>();
  }
  if (!it->is_number_unsigned() || it->get<uint64_t>() > high) {
    return DataError("\"", key, "\" must be a whole number from 0 to ", high);
  }
  return std::optional(it->get<uint64_t>());
}

Result<PromptRow> ParseJsonRow(std::string_view line) {
  // What lies inside of other keys is left out as it is read: it may be large, and means nothing here.
  const auto keep = [](int depth, Json::parse_event_t event, const Json&) {
    return depth == 0 || (event != Json::parse_event_t::object_start && event != Json::parse_event_t::array_start);
  };
  Json json = Json::parse(line, keep, false);
  if (!json.is_object()) {
    return DataError("is not one JSON object on one line");
  }
  PromptRow row;
  const auto prompt = json.find("prompt");
  if (prompt == json.end() || !prompt->is_string()) {
    return DataError("has no \"prompt\" with a string");
  }
  row.prompt = std::move(prompt->get_ref<std::string&>());
  if (const auto id = json.find("id"); id != json.end() && !id->is_null()) {
    if (!id->is_string() && !id->is_number()) {
      return DataError("\"id\" is neither a string nor a number");
    }
    row.id = std::move(*id);
  }
  ASSIGN_OR_RETURN(const std::optional<uint64_t> max_tokens,
                   WholeNumber(json, "max_tokens", std::numeric_limits<int32_t>::max()));
  if (max_tokens.has_value()) {
    row.max_tokens = static_cast<int64_t>(*max_tokens);
  }
  ASSIGN_OR_RETURN(row.seed, WholeNumber(json, "seed", std::numeric_limits<int64_t>::max()));
  return row;
}

}  // namespace

Result<std::vector<PromptRow>> ReadPromptFile(const std::string& path, size_t max_bytes) {
  const std::string name = path == "-" ? "stdin" : path;
  ASSIGN_OR_RETURN(LineReader reader, LineReader::Open(path == "-" ? "/dev/stdin" : path));
  ASSIGN_OR_RETURN(std::string_view head, reader.Peek(4096));
  const size_t mark = head.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  head.remove_prefix(mark);
  if (IsJsonList(head)) {
    return DataError(name, ": is a JSON list; expected JSON lines: one object with \"prompt\" a line");
  }
  const bool json = head.starts_with('{');
  std::vector<PromptRow> rows;
  std::string line;
  size_t total = 0;
  while (true) {
    ASSIGN_OR_RETURN(const bool any, reader.Next(max_bytes - total, &line));
    if (!any) {
      break;
    }
    total += line.size();
    if (reader.line_number() == 1) {
      line.erase(0, mark);
    }
    if (line.find_first_not_of(kBlank) == std::string::npos) {
      continue;
    }
    Result<PromptRow> row = json ? ParseJsonRow(line) : PromptRow{.prompt = line};
    if (row.ok() && row->prompt.empty()) {
      row = DataError("the prompt is empty");
    }
    if (!row.ok()) {
      return row.status().WithContext(StrCat(name, ": line ", reader.line_number()));
    }
    row->line = reader.line_number();
    rows.push_back(*std::move(row));
  }
  if (rows.empty()) {
    return DataError(name, ": has no prompts; expected one a line, as text or as {\"prompt\": \"...\"}");
  }
  return rows;
}

}  // namespace phidias::cli
