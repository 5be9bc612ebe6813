#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/api_error.h"
#include "serve/json.h"

namespace phidias::serve {

// The text of a request's body as a JSON object. Nested at most 32 deep: what nests deeper is nothing that an API here
// takes, and would cost far more memory than its text.
Parsed<RequestJson> ParseObject(std::string_view body);

// Reads the fields of a JSON object into variables. null counts as absent, and what is absent leaves its variable
// alone. The first field that is wrong is remembered; after it nothing more is read.
class Fields {
 public:
  // `object` outlives this. `prefix`: of the fields' names in messages, "messages[2]." for example.
  explicit Fields(const RequestJson& object, std::string prefix = "") : object_(object), prefix_(std::move(prefix)) {}

  void Integer(const char* name, int64_t low, int64_t high, int64_t* out);
  void Real(const char* name, double low, double high, float* out);
  void Bool(const char* name, bool* out);
  void Text(const char* name, std::string* out);
  // Ids of tokens, each below `vocab_size`.
  void Ids(const char* name, int64_t vocab_size, std::vector<int32_t>* out);

  // The field's value, or null if it is absent. Stays valid as long as the object.
  const RequestJson* Find(const char* name) const;
  // Complains about the field.
  void Wrong(const std::string& name, const std::string& why);
  void Wrong(ApiError error);
  bool ok() const { return !error_.has_value(); }
  const std::optional<ApiError>& error() const { return error_; }

 private:
  const RequestJson& object_;
  std::string prefix_;
  std::optional<ApiError> error_;
};

// "a string", "a number": for messages.
const char* KindOf(const RequestJson& value);

// A whole number, also where it is written as 5.0. None for anything else.
std::optional<int64_t> WholeNumber(const RequestJson& value);

// A JSON list of token ids. None if some item isn't an id below `vocab_size`; `*why` then says which and what is wrong.
std::optional<std::vector<int32_t>> IdList(const RequestJson& list, int64_t vocab_size, std::string* why);

}  // namespace phidias::serve
