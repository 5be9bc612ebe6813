#pragma once

#include <string>

namespace phidias::serve {

// 128 random bits as 32 hexadecimal digits.
std::string RandomId();

}  // namespace phidias::serve
