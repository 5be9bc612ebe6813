#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "model/files/tensor_store.h"

namespace phidias {

inline const std::string kGolden = std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/";
inline const std::string kDemo = std::string(PHIDIAS_SOURCE_DIR) + "/models/demo";

// A golden tensor's values; a failure of the test where it isn't there.
template <class T>
std::vector<T> Values(const TensorStore& store, const std::string& name) {
  const auto found = store.tensors.find(name);
  if (found == store.tensors.end()) {
    ADD_FAILURE() << "no golden " << name;
    return {};
  }
  std::vector<T> out(found->second.bytes / sizeof(T));
  std::memcpy(out.data(), found->second.data, found->second.bytes);
  return out;
}

}  // namespace phidias
