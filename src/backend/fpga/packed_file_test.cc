// The reader of packed models: what WritePackedHeader writes, and every kind of lie with its message. Packing itself is
// tested with a model, in tests/fpga/.

#include "backend/fpga/packed_file.h"

#include <gtest/gtest.h>

#include <cstring>

namespace phidias::fpga {
namespace {

// A packed file with segments of these sizes, filled with their own numbers.
std::vector<std::byte> File(const std::vector<int64_t>& sizes) {
  PackedHeader header{.design_fingerprint = 11, .model_fingerprint = 22, .segments = {}};
  for (size_t i = 0; i < sizes.size(); ++i) {
    header.segments.push_back({"HBM", static_cast<int>(i), sizes[i]});
  }
  std::vector<std::byte> file = WritePackedHeader(header);
  std::vector<uint64_t> sums;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const std::vector<std::byte> segment(static_cast<size_t>(sizes[i]), std::byte(i + 1));
    for (size_t at = 0; at < segment.size(); at += kPackedChunk) {
      sums.push_back(PackedChecksum(std::span(segment).subspan(at, std::min(kPackedChunk, segment.size() - at))));
    }
    file.insert(file.end(), segment.begin(), segment.end());
  }
  sums.push_back(PackedChecksum(std::as_bytes(std::span(sums))));
  const auto tail = std::as_bytes(std::span(sums));
  file.insert(file.end(), tail.begin(), tail.end());
  return file;
}

Status Check(std::span<const std::byte> bytes) {
  ThreadPool pool(2);
  ASSIGN_OR_RETURN(const PackedFile file, PackedFile::Parse(bytes, "x.packed"));
  return file.VerifyChecksums(&pool);
}

// The header's checksum after a change to its fields.
void Seal(std::vector<std::byte>* file) {
  const uint64_t sum = PackedChecksum(std::span(*file).first(kPackedPage - 8));
  std::memcpy(file->data() + kPackedPage - 8, &sum, sizeof sum);
}

TEST(PackedFile, ReadsWhatWasWritten) {
  const std::vector<std::byte> bytes = File({4096, 3 << 20, 8192});
  EXPECT_TRUE(Check(bytes).ok()) << Check(bytes).message();
  const auto file = PackedFile::Parse(bytes, "x.packed");
  EXPECT_EQ(file->header().design_fingerprint, 11U);
  EXPECT_EQ(file->header().model_fingerprint, 22U);
  ASSERT_EQ(file->header().segments.size(), 3U);
  EXPECT_EQ(file->Segment(1).size(), size_t{3} << 20);
  EXPECT_EQ(file->Segment(2).front(), std::byte{3});
  EXPECT_TRUE(Check(File({})).ok());
}

TEST(PackedFile, NoFlippedBitAnywhereIsAccepted) {
  std::vector<std::byte> bytes = File({4096, 8192});
  for (size_t at = 0; at < bytes.size(); ++at) {
    bytes[at] ^= std::byte{0x04};
    EXPECT_FALSE(Check(bytes).ok()) << at;
    bytes[at] ^= std::byte{0x04};
  }
}

TEST(PackedFile, NoCutIsAccepted) {
  const std::vector<std::byte> bytes = File({4096});
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(Check(std::span(bytes).first(size)).ok()) << size;
  }
}

TEST(PackedFile, SaysWhereItIsBroken) {
  std::vector<std::byte> bytes = File({4096, 3 << 20});
  bytes[4096 + 4096 + (5 << 19)] ^= std::byte{1};
  EXPECT_NE(Check(bytes).message().find("HBM[1], bytes 2097152 to 3145728"), std::string::npos)
      << Check(bytes).message();
}

TEST(PackedFile, HeadersThatLie) {
  const auto refused = [](size_t at, uint64_t value, const char* message) {
    std::vector<std::byte> bytes = File({4096, 8192});
    std::memcpy(bytes.data() + at, &value, sizeof value);
    Seal(&bytes);
    const Status status = Check(bytes);
    EXPECT_NE(status.message().find(message), std::string::npos) << status.message();
  };
  refused(0, 0, "not a packed model");
  refused(8, 2 | uint64_t{2} << 32, "version 2");
  refused(8, 1 | uint64_t{65} << 32, "65 segments");
  refused(8, 1 | uint64_t{3} << 32, "names a memory");
  refused(32, 1, "its header says");
  refused(40, 0, "names a memory");
  refused(48, 5000, "bank 5000");
  refused(56, 8192, "at 8192, expected whole pages at 4096");
  refused(64, 4095, "4095 bytes");
  refused(64, ~uint64_t{4095}, "expected whole pages");
  refused(64, 1 << 20, "at 8192, expected");
}

}  // namespace
}  // namespace phidias::fpga
