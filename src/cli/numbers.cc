#include "cli/numbers.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <string>

namespace phidias::cli {
namespace {

std::string_view Trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  while (!text.empty() && blank(text.front())) {
    text.remove_prefix(1);
  }
  while (!text.empty() && blank(text.back())) {
    text.remove_suffix(1);
  }
  return text;
}

}  // namespace

Result<int64_t> ParseInteger(std::string_view text, int64_t low, int64_t high) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = end == text.data() + text.size() && !text.empty();
  if (error == std::errc::invalid_argument || !whole) {
    return InvalidArgument(Quoted(text), " is not a whole number");
  }
  if (error != std::errc() || value < low || value > high) {
    return InvalidArgument(text, " is out of range: must be ", low, " to ", high);
  }
  return value;
}

Result<double> ParseReal(std::string_view text, double low, double high) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = end == text.data() + text.size() && !text.empty();
  if (error == std::errc::invalid_argument || !whole || std::isnan(value)) {
    return InvalidArgument(Quoted(text), " is not a number");
  }
  if (error != std::errc() || !(value >= low && value <= high)) {
    return InvalidArgument(text, " is out of range: must be ", low, " to ", high);
  }
  return value;
}

Result<std::vector<int32_t>> ParseIds(std::string_view text) {
  text = Trim(text);
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') {
    text = Trim(text.substr(1, text.size() - 2));
  }
  std::vector<int32_t> ids;
  if (text.empty()) {
    return ids;
  }
  while (true) {
    const size_t comma = text.find(',');
    const auto id = ParseInteger(Trim(text.substr(0, comma)), 0, std::numeric_limits<int32_t>::max());
    if (!id.ok()) {
      return InvalidArgument("item ", ids.size() + 1, " of the ids: ", id.status().message());
    }
    ids.push_back(static_cast<int32_t>(*id));
    if (comma == std::string_view::npos) {
      return ids;
    }
    text.remove_prefix(comma + 1);
  }
}

}  // namespace phidias::cli
