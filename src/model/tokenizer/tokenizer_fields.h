#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/status.h"
#include "model/tokenizer/tokenizer.h"

// What the readers of tokenizer files have in common. `source` is the file's path; it and `field` are for messages.
namespace phidias::tokenizer_fields {

using Json = nlohmann::json;

inline constexpr size_t kMaxFileBytes = size_t{64} << 20;  // Phi-2's largest has 2 MB

// The text as JSON, which must be an object.
Result<Json> ParseObject(std::string_view text, const std::string& source);

// `object[key]`, or null if it isn't there or `object` isn't an object.
const Json& Get(const Json& object, const char* key);

// A value for a message: numbers and the like as they are, strings quoted, lists and objects by kind.
std::string Describe(const Json& value);

// A boolean that may be absent or null.
Result<bool> OptionalBool(const Json& object, const char* key, bool otherwise, const std::string& field,
                          const std::string& source);

// A token id: a whole number from 0 to kMaxTokenIds - 1.
Result<int32_t> TokenId(const Json& value, const std::string& field, const std::string& source);

// {"token": id, ...} as a list by id, "" in the holes. No id twice.
Result<std::vector<std::string>> VocabById(const Json& vocab, const std::string& field, const std::string& source);

// "a b" as a pair: two parts with one space between them.
std::optional<std::pair<std::string, std::string>> SplitMerge(std::string_view line);

// {"content": ..., "special": ..., ...}; the id comes from elsewhere.
Result<AddedToken> AddedTokenFrom(const Json& object, int32_t id, const std::string& field, const std::string& source);

}  // namespace phidias::tokenizer_fields
