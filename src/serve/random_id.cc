#include "serve/random_id.h"

#include <random>

namespace phidias::serve {

std::string RandomId() {
  static constexpr char kDigits[] = "0123456789abcdef";
  thread_local std::random_device device;
  std::string id;
  for (int word = 0; word < 4; ++word) {
    uint32_t bits = device();
    for (int digit = 0; digit < 8; ++digit, bits >>= 4) {
      id += kDigits[bits & 15];
    }
  }
  return id;
}

}  // namespace phidias::serve
