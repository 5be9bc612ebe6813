#pragma once

#include <string_view>

namespace phidias {

// Whether brackets outside strings nest deeper than `max_depth`; to be asked before a JSON parser that recurses reads
// text from outside.
bool JsonNestsDeeperThan(std::string_view text, int max_depth);

}  // namespace phidias
