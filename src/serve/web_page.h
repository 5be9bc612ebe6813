#pragma once

#include <string_view>

namespace phidias::serve {

// The page at "/": one HTML file that needs nothing else.
std::string_view WebPage();

}  // namespace phidias::serve
