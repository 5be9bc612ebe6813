#include "model/files/json_fields.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "common/json_depth.h"

namespace phidias {
namespace {

constexpr int kMaxJsonDepth = 32;

// "line 3, column 7" of a byte position that counts from 1, as nlohmann::json reports it.
std::string Position(std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, std::min(byte > 0 ? byte - 1 : 0, text.size()));
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const size_t line_start = before.rfind('\n');
  const size_t column = line_start == std::string_view::npos ? before.size() + 1 : before.size() - line_start;
  return StrCat("line ", lines + 1, ", column ", column);
}

}  // namespace

Result<Json> ParseJsonObject(const std::string& text, const std::string& path) {
  if (text.size() > kMaxConfigBytes) {
    return DataError(path, ": ", HumanBytes(text.size()), " of JSON; a configuration has at most ",
                     HumanBytes(kMaxConfigBytes));
  }
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return DataError(path, ": is empty; expected a JSON object");
  }
  if (JsonNestsDeeperThan(text, kMaxJsonDepth)) {
    return DataError(path, ": JSON nests deeper than ", kMaxJsonDepth, " levels");
  }
  try {
    Json json = Json::parse(text);
    if (!json.is_object()) {
      return DataError(path, ": is a JSON ", json.type_name(), "; expected an object");
    }
    return json;
  } catch (const Json::parse_error& error) {
    return DataError(path, ": is not valid JSON at ", Position(text, error.byte),
                     " (NaN, Infinity, comments and trailing commas are not JSON)");
  } catch (const Json::exception&) {  // a number beyond double
    return DataError(path, ": holds a number that is out of range");
  }
}

std::string ShowJson(const Json& value) {
  constexpr size_t kMaxShown = 80;
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kMaxShown) {
    text = text.substr(0, kMaxShown) + "...";
  }
  return text;
}

const Json* JsonFields::Find(const char* field) const {
  const auto found = json_.find(field);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

Status JsonFields::WrongType(const char* field, const Json& value, const std::string& expected) const {
  return DataError(path_, ": ", prefix_, field, " is ", ShowJson(value), "; expected ", expected);
}

Status JsonFields::OptionalInt(const char* field, int64_t min, int64_t max, int64_t* out) const {
  const Json* value = Find(field);
  if (value == nullptr) {
    return {};
  }
  if (!value->is_number_integer()) {
    return WrongType(field, *value, "a whole number");
  }
  const bool too_large = value->is_number_unsigned() &&
                         value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (too_large || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    return WrongType(field, *value, StrCat(min, " to ", max));
  }
  *out = value->get<int64_t>();
  return {};
}

Status JsonFields::RequiredInt(const char* field, int64_t min, int64_t max, int64_t* out) const {
  if (!Has(field)) {
    return DataError(path_, ": field ", prefix_, field, " is missing");
  }
  return OptionalInt(field, min, max, out);
}

Status JsonFields::OptionalDouble(const char* field, std::optional<double>* out) const {
  const Json* value = Find(field);
  if (value == nullptr) {
    return {};
  }
  if (!value->is_number()) {
    return WrongType(field, *value, "a number");
  }
  *out = value->get<double>();
  return {};
}

Status JsonFields::OptionalBool(const char* field, bool* out) const {
  const Json* value = Find(field);
  if (value == nullptr) {
    return {};
  }
  if (!value->is_boolean()) {
    return WrongType(field, *value, "true or false");
  }
  *out = value->get<bool>();
  return {};
}

Status JsonFields::OptionalString(const char* field, std::optional<std::string>* out) const {
  const Json* value = Find(field);
  if (value == nullptr) {
    return {};
  }
  if (!value->is_string()) {
    return WrongType(field, *value, "a string");
  }
  *out = value->get<std::string>();
  return {};
}

}  // namespace phidias
