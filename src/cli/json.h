#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

namespace phidias::cli {

using Json = nlohmann::ordered_json;

// One line of JSON, newline included. Bytes that aren't UTF-8 (paths may hold any) become U+FFFD.
inline std::string JsonLine(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

// `count` per second; 0 where no time passed, since JSON has no infinity.
inline double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

}  // namespace phidias::cli
