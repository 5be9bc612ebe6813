// Any bytes as a packed model: no crash, and the segments of an accepted file lie inside it, one behind the other.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "backend/fpga/packed_file.h"

namespace {

using namespace phidias::fpga;  // NOLINT: the whole file is about it

void Check(std::span<const std::byte> bytes) {
  const auto file = PackedFile::Parse(bytes, "fuzz.packed");
  if (!file.ok()) {
    return;
  }
  const std::byte* at = bytes.data() + kPackedPage;
  for (size_t i = 0; i < file->header().segments.size(); ++i) {
    const std::span<const std::byte> segment = file->Segment(i);
    if (segment.data() != at || segment.size() > static_cast<size_t>(bytes.data() + bytes.size() - at)) {
      std::abort();
    }
    at += segment.size();
  }
  phidias::ThreadPool pool(1);
  if (file->VerifyChecksums(&pool).ok() && at > bytes.data() + bytes.size()) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  Check(bytes);
  // The same with a header whose checksum is right: the fuzzer would never find it.
  if (size >= kPackedPage) {
    std::vector<std::byte> sealed(bytes.begin(), bytes.end());
    std::memcpy(sealed.data(), "PHIDPACK\1\0\0\0", 12);
    const uint64_t sum = PackedChecksum(std::span(sealed).first(kPackedPage - 8));
    std::memcpy(sealed.data() + kPackedPage - 8, &sum, sizeof sum);
    Check(sealed);
  }
  return 0;
}
