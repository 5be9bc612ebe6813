#include "quant/data_row.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "quant/dataset.h"

namespace phidias {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 64;
constexpr size_t kMaxKeysShown = 8;

// Picks the text out of the parser's events. Depth 1 is the row, 2 the list of messages, 3 one message.
class RowReader final : public nlohmann::json_sax<Json> {
 public:
  // A row's text, or why it has none, once the parser is through.
  Result<std::string> Finish() {
    if (has_messages_) {
      return std::move(rendered_);
    }
    if (text_.has_value()) {
      return *std::move(text_);
    }
    return DataError("the row has ", keys_.empty() ? "no keys" : "the keys " + keys_,
                     "; expected \"messages\" (a list of {\"role\", \"content\"}) or \"text\"");
  }
  // Set where the parser was stopped.
  const Status& status() const { return status_; }

  bool null() override { return Scalar("null"); }
  bool boolean(bool) override { return Scalar("true or false"); }
  bool number_integer(number_integer_t) override { return Scalar("a number"); }
  bool number_unsigned(number_unsigned_t) override { return Scalar("a number"); }
  bool number_float(number_float_t, const string_t&) override { return Scalar("a number"); }
  bool binary(binary_t&) override { return Scalar("binary data"); }

  bool string(string_t& value) override {
    if (depth_ == 1 && key_ == "text") {
      text_ = std::move(value);
      return true;
    }
    if (depth_ == 3 && in_messages_ && key_ == "role") {
      role_ = std::move(value);
      return true;
    }
    if (depth_ == 3 && in_messages_ && key_ == "content") {
      content_ = std::move(value);
      return true;
    }
    return Scalar("a string");
  }

  bool start_object(std::size_t) override {
    if (!Container("an object")) {
      return false;
    }
    if (depth_ == 2 && in_messages_) {
      role_.reset();
      content_.reset();
    }
    return Enter();
  }
  bool end_object() override {
    --depth_;
    return depth_ == 2 && in_messages_ ? EndMessage() : true;
  }
  bool start_array(std::size_t) override {
    if (depth_ == 1 && key_ == "messages") {
      in_messages_ = has_messages_ = true;
      rendered_.clear();
      messages_ = 0;
      return Enter();
    }
    return Container("a list") && Enter();
  }
  bool end_array() override {
    --depth_;
    in_messages_ = in_messages_ && depth_ > 1;
    return true;
  }

  bool key(string_t& value) override {
    key_ = value;
    if (depth_ == 1 && key_count_++ < kMaxKeysShown) {
      keys_ += (keys_.empty() ? "" : ", ") + Quoted(value, 40);
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Stop(DataError("is not one JSON object on one line (character ", position, ")"));
  }

 private:
  bool Stop(Status status) {
    status_ = std::move(status);
    return false;
  }

  bool Enter() { return ++depth_ > kMaxDepth ? Stop(DataError("nests deeper than ", kMaxDepth, " levels")) : true; }

  // A value where only another kind would be right, or a value that doesn't matter.
  bool Scalar(const char* what) {
    if (depth_ == 0) {
      return Stop(DataError("is ", what, "; expected a JSON object"));
    }
    if (depth_ == 1 && key_ == "messages") {
      return Stop(DataError("\"messages\" is ", what, "; expected a list of {\"role\", \"content\"}"));
    }
    if (depth_ == 1 && key_ == "text") {
      return Stop(DataError("\"text\" is ", what, "; expected a string"));
    }
    if (depth_ == 2 && in_messages_) {
      return Stop(DataError("messages[", messages_, "] is ", what, "; expected {\"role\", \"content\"}"));
    }
    if (depth_ == 3 && in_messages_ && (key_ == "role" || key_ == "content")) {
      return Stop(DataError("messages[", messages_, "].", key_, " is ", what, "; expected a string"));
    }
    return true;
  }

  // The same for an object or a list.
  bool Container(const char* what) {
    const bool row = depth_ == 0 && what == std::string_view("an object");
    const bool message = depth_ == 2 && in_messages_ && what == std::string_view("an object");
    return row || message || Scalar(what);
  }

  bool EndMessage() {
    if (!role_.has_value() || !content_.has_value()) {
      return Stop(DataError("messages[", messages_, "] has no \"", role_.has_value() ? "content" : "role", "\""));
    }
    const std::optional<std::string> turn = RenderTurn(*role_, *content_);
    if (!turn.has_value()) {
      return Stop(DataError("messages[", messages_, "].role is ", Quoted(*role_, 40),
                            "; expected \"user\", \"assistant\" or \"system\""));
    }
    rendered_ += *turn;
    ++messages_;
    return true;
  }

  Status status_;
  int depth_ = 0;
  std::string key_;  // the last one; stands for the value that follows it
  std::string keys_;
  size_t key_count_ = 0;
  bool in_messages_ = false;
  bool has_messages_ = false;
  int64_t messages_ = 0;
  std::optional<std::string> role_;
  std::optional<std::string> content_;
  std::string rendered_;
  std::optional<std::string> text_;
};

}  // namespace

Result<std::string> ParseDataRow(std::string_view line) {
  RowReader reader;
  if (!Json::sax_parse(line.begin(), line.end(), &reader)) {
    return reader.status();
  }
  return reader.Finish();
}

std::optional<std::string> RenderTurn(const std::string& role, const std::string& content) {
  if (role == "user" || role == "system") {
    return "Instruct: " + content + "\n";
  }
  if (role == "assistant") {
    return "Output: " + content + "\n";
  }
  return std::nullopt;
}

}  // namespace phidias
