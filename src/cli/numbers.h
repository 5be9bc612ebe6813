#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace phidias::cli {

// A whole decimal number in [low, high]. Anything else in the text, blanks included, is an error.
Result<int64_t> ParseInteger(std::string_view text, int64_t low, int64_t high);

// A finite decimal number ("0.8", "1e-3") in [low, high].
Result<double> ParseReal(std::string_view text, double low, double high);

// Token ids, "1,2,3" or "[1, 2, 3]" (what `tokenize` prints). Errors name the item by its position, from 1.
// An empty list is one.
Result<std::vector<int32_t>> ParseIds(std::string_view text);

}  // namespace phidias::cli
