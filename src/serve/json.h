#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace phidias::serve {

using Json = nlohmann::ordered_json;  // of answers
// Of requests: an ordered_json looks through all keys for every key that it reads, which makes hostile objects
// quadratic.
using RequestJson = nlohmann::json;

// Bytes that aren't UTF-8 become U+FFFD, numbers that aren't finite null.
inline std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace phidias::serve
