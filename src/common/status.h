#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "common/str.h"

namespace phidias {

// What kind of failure a Status is. The command line maps each to an exit code (cli/exit_code.h).
enum class StatusCode {
  kOk,
  kInvalidArgument,    // a flag, a request or an argument that can't be right
  kNotFound,           // a file, tensor or device that isn't there
  kDataError,          // a file's content is broken, lies, or changed while in use
  kUnsupported,        // well formed, but not something that this program runs
  kResourceExhausted,  // too large: memory, context, disk
  kIoError,            // the operating system said no
  kCancelled,          // stopped on request
  kInternal,           // a defect of this program
};

// Success, or a code with a message written for the person at the keyboard: it names the file, tensor, field or flag,
// says what was found and what would be right.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same failure, told from one level up: "context: message".
  Status WithContext(const std::string& context) const {
    return ok() ? *this : Status(code_, context + ": " + message_);
  }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

template <class... Parts>
Status InvalidArgument(const Parts&... parts) {
  return {StatusCode::kInvalidArgument, StrCat(parts...)};
}
template <class... Parts>
Status NotFound(const Parts&... parts) {
  return {StatusCode::kNotFound, StrCat(parts...)};
}
template <class... Parts>
Status DataError(const Parts&... parts) {
  return {StatusCode::kDataError, StrCat(parts...)};
}
template <class... Parts>
Status Unsupported(const Parts&... parts) {
  return {StatusCode::kUnsupported, StrCat(parts...)};
}
template <class... Parts>
Status ResourceExhausted(const Parts&... parts) {
  return {StatusCode::kResourceExhausted, StrCat(parts...)};
}
template <class... Parts>
Status IoError(const Parts&... parts) {
  return {StatusCode::kIoError, StrCat(parts...)};
}

// A value or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {}  // NOLINT: implicit by design

  bool ok() const { return state_.index() == 0; }
  Status status() const { return ok() ? Status() : std::get<1>(state_); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace phidias

#define PHIDIAS_CONCAT_INNER(a, b) a##b
#define PHIDIAS_CONCAT(a, b) PHIDIAS_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                                \
  do {                                                       \
    if (::phidias::Status status_ = (expr); !status_.ok()) { \
      return status_;                                        \
    }                                                        \
  } while (false)

#define ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                           \
  if (!tmp.ok()) {                             \
    return tmp.status();                       \
  }                                            \
  lhs = *std::move(tmp)

// ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_INNER(PHIDIAS_CONCAT(result_, __LINE__), lhs, expr)
