// Any bytes as a GGUF file: no crash, and every tensor of an accepted file lies inside it. Then the configuration.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "model/files/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto file = phidias::ParseGguf(bytes, "fuzz.gguf");
  if (!file.ok()) {
    return 0;
  }
  uint64_t covered = 0;
  for (const auto& [name, tensor] : file->store.tensors) {
    const bool inside = tensor.data >= bytes.data() && tensor.data <= bytes.data() + size &&
                        tensor.bytes <= static_cast<size_t>(bytes.data() + size - tensor.data);
    if (!inside || tensor.name != name) {
      std::abort();
    }
    covered += tensor.bytes;
  }
  if (covered > size) {  // they don't overlap
    std::abort();
  }
  const auto config = phidias::GgufPhiConfig(*file);
  if (config.ok() && (config->n_heads <= 0 || config->head_dim * config->n_heads != config->hidden_size)) {
    std::abort();
  }
  return 0;
}
