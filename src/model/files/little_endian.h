#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <span>

namespace phidias {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian and are used where they lie");

// The little-endian number at `offset`, at any alignment. The caller has checked that it lies inside `bytes`.
template <class T>
T LoadLittleEndian(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

}  // namespace phidias
