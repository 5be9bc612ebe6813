#include "serve/fields.h"

#include <cmath>

#include "common/json_depth.h"

namespace phidias::serve {
namespace {

constexpr int kMaxDepth = 32;

// What the parser says, without its name for the exception: "parse error at line 1, column 5: ...".
std::string PlainMessage(const std::string& what) {
  const size_t end = what.find("] ");
  return Quoted(end == std::string::npos ? what : what.substr(end + 2), 300);
}

}  // namespace

Parsed<RequestJson> ParseObject(std::string_view body) {
  if (body.empty()) {
    return ApiError{.message = "the request has no body: a JSON object is expected"};
  }
  if (JsonNestsDeeperThan(body, kMaxDepth)) {
    return ApiError{.message = StrCat("the JSON is nested more than ", kMaxDepth, " deep")};
  }
  try {
    RequestJson json = RequestJson::parse(body);
    if (!json.is_object()) {
      return ApiError{.message = std::string("the body must be a JSON object, it is ") + KindOf(json)};
    }
    return json;
  } catch (const RequestJson::exception& error) {
    return ApiError{.message = "the body is no valid JSON: " + PlainMessage(error.what())};
  }
}

const char* KindOf(const RequestJson& value) {
  switch (value.type()) {
    case RequestJson::value_t::null: return "null";
    case RequestJson::value_t::object: return "an object";
    case RequestJson::value_t::array: return "a list";
    case RequestJson::value_t::string: return "a string";
    case RequestJson::value_t::boolean: return "a boolean";
    default: return "a number";
  }
}

std::optional<int64_t> WholeNumber(const RequestJson& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    return number <= static_cast<uint64_t>(INT64_MAX) ? std::optional(static_cast<int64_t>(number)) : std::nullopt;
  }
  if (value.is_number_integer()) {
    return value.get<int64_t>();
  }
  if (value.is_number_float()) {
    const auto real = value.get<double>();
    constexpr double kExact = 9007199254740992.0;  // 2^53
    if (std::abs(real) <= kExact && std::floor(real) == real) {
      return static_cast<int64_t>(real);
    }
  }
  return std::nullopt;
}

std::optional<std::vector<int32_t>> IdList(const RequestJson& list, int64_t vocab_size, std::string* why) {
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const RequestJson& item : list) {
    const std::optional<int64_t> id = WholeNumber(item);
    if (!id.has_value() || *id < 0 || *id >= vocab_size) {
      *why = "item " + std::to_string(ids.size()) + " must be a token id, 0 to " + std::to_string(vocab_size - 1) +
             ", it is " + (item.is_number() ? item.dump() : KindOf(item));
      return std::nullopt;
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

const RequestJson* Fields::Find(const char* name) const {
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void Fields::Wrong(ApiError error) {
  if (ok()) {
    error_ = std::move(error);
  }
}

void Fields::Wrong(const std::string& name, const std::string& why) {
  Wrong(BadField(prefix_ + name, "'" + prefix_ + name + "' " + why));
}

void Fields::Integer(const char* name, int64_t low, int64_t high, int64_t* out) {
  const RequestJson* const value = Find(name);
  if (value == nullptr) {
    return;
  }
  const std::optional<int64_t> number = WholeNumber(*value);
  if (!number.has_value()) {
    Wrong(name, std::string("must be a whole number, it is ") + (value->is_number() ? value->dump() : KindOf(*value)));
  } else if (*number < low || *number > high) {
    Wrong(name, "is " + std::to_string(*number) + ": must be " + std::to_string(low) + " to " + std::to_string(high));
  } else {
    *out = *number;
  }
}

void Fields::Real(const char* name, double low, double high, float* out) {
  const RequestJson* const value = Find(name);
  if (value == nullptr) {
    return;
  }
  if (!value->is_number()) {
    return Wrong(name, std::string("must be a number, it is ") + KindOf(*value));
  }
  const auto number = value->get<double>();
  if (!(number >= low && number <= high)) {
    return Wrong(name, StrCat("is ", number, ": must be ", low, " to ", high));
  }
  *out = static_cast<float>(number);
}

void Fields::Bool(const char* name, bool* out) {
  const RequestJson* const value = Find(name);
  if (value == nullptr) {
    return;
  }
  if (!value->is_boolean()) {
    return Wrong(name, std::string("must be true or false, it is ") + KindOf(*value));
  }
  *out = value->get<bool>();
}

void Fields::Text(const char* name, std::string* out) {
  const RequestJson* const value = Find(name);
  if (value == nullptr) {
    return;
  }
  if (!value->is_string()) {
    return Wrong(name, std::string("must be a string, it is ") + KindOf(*value));
  }
  *out = value->get<std::string>();
}

void Fields::Ids(const char* name, int64_t vocab_size, std::vector<int32_t>* out) {
  const RequestJson* const value = Find(name);
  if (value == nullptr) {
    return;
  }
  if (!value->is_array()) {
    return Wrong(name, std::string("must be a list of token ids, it is ") + KindOf(*value));
  }
  std::string why;
  std::optional<std::vector<int32_t>> ids = IdList(*value, vocab_size, &why);
  if (!ids.has_value()) {
    return Wrong(name, why);
  }
  *out = *std::move(ids);
}

}  // namespace phidias::serve
