#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "common/status.h"

namespace phidias {

// Reading of configuration files: JSON objects of moderate size, from anybody. For .cc files of this layer.
using Json = nlohmann::json;

inline constexpr size_t kMaxConfigBytes = size_t{1} << 20;

// Parses an object of at most kMaxConfigBytes that nests at most 32 levels deep, so that nothing recursive (printing a
// value) ever meets a deep one. Of duplicate keys the last wins. Errors name `path`, line and column.
Result<Json> ParseJsonObject(const std::string& text, const std::string& path);

// The value as the file writes it, short and printable.
std::string ShowJson(const Json& value);

// Typed access to the fields of one JSON object, which must outlive this. Null counts as absent. The Optional...
// functions leave *out alone where the field is absent; a value of another type or out of range is a data error that
// names the field and shows the value.
class JsonFields {
 public:
  // `prefix` stands before field names in messages: "rope_parameters.".
  JsonFields(const Json& json, std::string path, std::string prefix = "")
      : json_(json), path_(std::move(path)), prefix_(std::move(prefix)) {}

  const std::string& path() const { return path_; }
  // The field's full name, for messages: "rope_parameters.rope_theta".
  std::string Name(const std::string& field) const { return prefix_ + field; }

  // The value, or nullptr where the field is absent or null.
  const Json* Find(const char* field) const;
  bool Has(const char* field) const { return Find(field) != nullptr; }

  Status WrongType(const char* field, const Json& value, const std::string& expected) const;
  Status OptionalInt(const char* field, int64_t min, int64_t max, int64_t* out) const;
  Status RequiredInt(const char* field, int64_t min, int64_t max, int64_t* out) const;
  Status OptionalDouble(const char* field, std::optional<double>* out) const;
  Status OptionalBool(const char* field, bool* out) const;
  Status OptionalString(const char* field, std::optional<std::string>* out) const;

 private:
  const Json& json_;
  std::string path_;
  std::string prefix_;
};

}  // namespace phidias
