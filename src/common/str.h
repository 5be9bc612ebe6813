#pragma once

#include <sstream>
#include <string>
#include <string_view>

namespace phidias {

// Concatenates anything that has operator<<. For messages, not for hot paths.
template <class... Parts>
std::string StrCat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return std::move(out).str();
}

// `text` in double quotes, with control and non-ASCII bytes as \xNN and cut to `max_bytes`: safe to print whatever a
// hostile file put into a name.
std::string Quoted(std::string_view text, size_t max_bytes = 120);

// "2.98 GB", "640 B": decimal units, as model cards use them.
std::string HumanBytes(uint64_t bytes);

}  // namespace phidias
