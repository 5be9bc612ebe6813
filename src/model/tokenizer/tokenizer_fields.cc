#include "model/tokenizer/tokenizer_fields.h"

#include <algorithm>

#include "model/files/file_kind.h"

namespace phidias::tokenizer_fields {

Result<Json> ParseObject(std::string_view text, const std::string& source) {
  const std::string advice =
      ForeignFileAdvice(DetectFileKind(std::as_bytes(std::span(text.data(), std::min<size_t>(text.size(), 64)))));
  if (!advice.empty()) {
    return DataError(source, ": ", advice);
  }
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    return DataError(source, ": not valid JSON: ", Quoted(error.what(), 200));
  }
  if (!json.is_object()) {
    return DataError(source, ": a JSON object is expected, found ", json.type_name());
  }
  return json;
}

const Json& Get(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) {
    return kNull;
  }
  const auto at = object.find(key);
  return at == object.end() ? kNull : *at;
}

std::string Describe(const Json& value) {
  if (value.is_string()) {
    return Quoted(value.get_ref<const std::string&>());
  }
  if (value.is_object()) {
    return "an object";
  }
  return value.is_array() ? "a list" : value.dump();
}

Result<bool> OptionalBool(const Json& object, const char* key, bool otherwise, const std::string& field,
                          const std::string& source) {
  const Json& value = Get(object, key);
  if (value.is_null()) {
    return otherwise;
  }
  if (!value.is_boolean()) {
    return DataError(source, ": ", field, ".", key, " is ", Describe(value), "; true or false is expected");
  }
  return value.get<bool>();
}

Result<int32_t> TokenId(const Json& value, const std::string& field, const std::string& source) {
  // Numbers above 2^63 are "unsigned", so both ends are checked before the cast.
  const bool fits = value.is_number_unsigned()
                        ? value.get<uint64_t>() < kMaxTokenIds
                        : value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() < kMaxTokenIds;
  if (!fits) {
    return DataError(source, ": ", field, " is ", Describe(value), "; an id is a whole number from 0 to ",
                     kMaxTokenIds - 1);
  }
  return static_cast<int32_t>(value.get<int64_t>());
}

Result<std::vector<std::string>> VocabById(const Json& vocab, const std::string& field, const std::string& source) {
  if (!vocab.is_object()) {
    return DataError(source, ": ", field, " is ", Describe(vocab), "; an object of token: id is expected");
  }
  std::vector<std::string> by_id;
  for (const auto& [token, value] : vocab.items()) {
    ASSIGN_OR_RETURN(const int32_t id, TokenId(value, StrCat("the id of ", Quoted(token), " in ", field), source));
    const auto at = static_cast<size_t>(id);
    if (at >= by_id.size()) {
      by_id.resize(at + 1);
    }
    if (!by_id[at].empty()) {
      return DataError(source, ": ", field, " gives id ", id, " to ", Quoted(by_id[at]), " and to ", Quoted(token));
    }
    by_id[at] = token;
  }
  return by_id;
}

std::optional<std::pair<std::string, std::string>> SplitMerge(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return std::pair(std::string(line.substr(0, space)), std::string(line.substr(space + 1)));
}

Result<AddedToken> AddedTokenFrom(const Json& object, int32_t id, const std::string& field, const std::string& source) {
  const Json& content = Get(object, "content");
  if (!content.is_string()) {
    return DataError(source, ": ", field, ".content is ", Describe(content), "; a string is expected");
  }
  AddedToken token;
  token.id = id;
  token.content = content.get<std::string>();
  ASSIGN_OR_RETURN(token.special, OptionalBool(object, "special", false, field, source));
  ASSIGN_OR_RETURN(token.normalized, OptionalBool(object, "normalized", !token.special, field, source));
  ASSIGN_OR_RETURN(token.lstrip, OptionalBool(object, "lstrip", false, field, source));
  ASSIGN_OR_RETURN(token.rstrip, OptionalBool(object, "rstrip", false, field, source));
  ASSIGN_OR_RETURN(token.single_word, OptionalBool(object, "single_word", false, field, source));
  return token;
}

}  // namespace phidias::tokenizer_fields
