#pragma once

#include <string_view>

namespace phidias::serve {

// The chat page: one HTML document (UTF-8) that loads nothing else and talks to the server it came from. Its own
// Content-Security-Policy stands in it.
std::string_view WebPage();

}  // namespace phidias::serve
