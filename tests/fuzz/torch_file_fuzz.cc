// The torch.save reader over a memory buffer. An even first byte: the rest is a whole file. An odd one: the rest is the
// pickle of a well-formed file with four storages, which mutations would otherwise hardly ever reach past the checksum.
// Every byte of every tensor that is accepted gets read.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "model/files/torch_file.h"
#include "model/files/torch_test_util.h"

namespace {

std::string WrapPickle(std::string pickle) {
  using phidias::torch_test::BuildTorchFile;
  return BuildTorchFile(pickle, {{.name = "archive/data/0", .data = std::string(96, '\1')},
                                 {.name = "archive/data/1", .data = std::string(24, '\2')},
                                 {.name = "archive/data/2", .data = std::string(8, '\3')},
                                 {.name = "archive/data/3", .data = ""}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  std::string file(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 != 0) {
    file = WrapPickle(std::move(file));
  }
  // An allocation of exactly this size, so that the sanitizer sees one byte too many.
  const auto exact = std::make_unique<std::byte[]>(file.size());
  std::memcpy(exact.get(), file.data(), file.size());
  const auto store = phidias::ReadTorchBytes({exact.get(), file.size()}, "fuzz.bin");
  if (!store.ok()) {
    if (store.status().message().empty()) {
      std::abort();
    }
    return 0;
  }
  unsigned sum = 0;
  for (const auto& [name, tensor] : store->tensors) {
    for (size_t i = 0; i < tensor.bytes; ++i) {
      sum += static_cast<unsigned>(tensor.data[i]);
    }
  }
  asm volatile("" : : "r"(sum));  // the reads above must happen
  return 0;
}
