// Any bytes into the restricted pickle machine. What it accepts must hold together: every reference inside the arena,
// every text inside the input.
#include <cstdint>
#include <cstdlib>

#include "model/files/pickle.h"

namespace {

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto pickle = phidias::ReadPickle(std::as_bytes(std::span(data, size)));
  if (!pickle.ok()) {
    Require(!pickle.status().message().empty());
    return 0;
  }
  Require(pickle->root < pickle->values.size());
  const char* begin = reinterpret_cast<const char*>(data);
  for (const phidias::PickleValue& value : pickle->values) {
    for (const phidias::PickleId item : value.items) {
      Require(item < pickle->values.size());
    }
    Require(value.text.empty() ||
            (value.text.data() >= begin && value.text.data() + value.text.size() <= begin + size));
    Require(value.kind != phidias::PickleKind::kDict || value.items.size() % 2 == 0);
    Require(value.kind != phidias::PickleKind::kTensor ||
            static_cast<uint64_t>(value.integer) < pickle->tensors.size());
  }
  for (const phidias::PickleTensor& tensor : pickle->tensors) {
    Require(tensor.shape.size() == tensor.strides.size() && tensor.storage.elements >= 0);
  }
  return 0;
}
