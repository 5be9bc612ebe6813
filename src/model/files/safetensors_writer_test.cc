// The safetensors writer: what it writes is read back by the reader, byte for byte as the format says; what it can't
// write is refused; a file that isn't finished is never seen.

#include "model/files/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/file.h"
#include "model/files/safetensors.h"

namespace phidias {
namespace {

using ::testing::HasSubstr;

class SafetensorsWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(::testing::TempDir()) /
                 ("writer-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path() const { return (directory_ / "out.safetensors").string(); }
  bool DirectoryIsEmpty() const { return std::filesystem::is_empty(directory_); }

  void ExpectCreateError(const std::vector<SafetensorsEntry>& entries, const std::string& message,
                         const std::map<std::string, std::string>& metadata = {}) {
    const auto writer = SafetensorsWriter::Create(path(), entries, metadata);
    ASSERT_FALSE(writer.ok()) << "expected: " << message;
    EXPECT_EQ(writer.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(writer.status().message(), HasSubstr(message));
    EXPECT_THAT(writer.status().message(), HasSubstr(path()));
    EXPECT_TRUE(DirectoryIsEmpty());
  }

  std::filesystem::path directory_;
};

std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST_F(SafetensorsWriterTest, WritesTheFormatExactly) {
  auto writer = SafetensorsWriter::Create(path(), {{"w", DType::kF16, {1, 2}}, {"b", DType::kI8, {3}}},
                                          {{"format", "pt"}, {"quote\"", "\xc3\xa9\n"}});
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  EXPECT_EQ(writer->data_bytes(), 7U);
  ASSERT_TRUE(writer->Append(AsBytes("abcdefg")).ok());
  ASSERT_TRUE(writer->Finish().ok());
  const std::string json =
      "{\"__metadata__\":{\"format\":\"pt\",\"quote\\\"\":\"\xc3\xa9\\n\"},"
      "\"w\":{\"dtype\":\"F16\",\"shape\":[1,2],\"data_offsets\":[0,4]},"
      "\"b\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[4,7]}}";
  const auto file = ReadFile(path(), 1000);
  ASSERT_TRUE(file.ok());
  const auto header_bytes = static_cast<size_t>(static_cast<unsigned char>((*file)[0]));
  EXPECT_EQ(header_bytes % 8, 0U);
  EXPECT_LT(header_bytes - json.size(), 8U);
  EXPECT_EQ(file->substr(1, 7), std::string(7, '\0'));
  EXPECT_EQ(file->substr(8), json + std::string(header_bytes - json.size(), ' ') + "abcdefg");
}

TEST_F(SafetensorsWriterTest, RoundTripsInPieces) {
  std::vector<SafetensorsEntry> entries = {{"zero_point", DType::kI8, {1}}, {"weight", DType::kI8, {4, 5}},
                                           {"scale", DType::kF32, {}},      {"none", DType::kF32, {0, 3}},
                                           {"ids", DType::kI64, {2}},       {"half", DType::kBF16, {3}}};
  SortForAlignment(&entries);
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : entries) {
    names.push_back(entry.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"ids", "scale", "none", "half", "zero_point", "weight"}));

  auto writer = SafetensorsWriter::Create(path(), entries, {{"k", "v"}});
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  std::string data;
  for (size_t i = 0; i < writer->data_bytes(); ++i) {
    data += static_cast<char>(i);
  }
  for (size_t i = 0; i < data.size(); i += 7) {  // pieces that cross tensors
    ASSERT_TRUE(writer->Append(AsBytes(data.substr(i, 7))).ok());
  }
  ASSERT_TRUE(writer->Finish().ok());

  std::map<std::string, std::string> metadata;
  const auto store = ReadSafetensors(path(), &metadata);
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(metadata, (std::map<std::string, std::string>{{"k", "v"}}));
  ASSERT_EQ(store->tensors.size(), entries.size());
  size_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    const StoredTensor& tensor = store->tensors.at(entry.name);
    EXPECT_EQ(tensor.dtype, entry.dtype);
    EXPECT_EQ(tensor.shape, entry.shape);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data) % static_cast<uintptr_t>(DTypeBytes(entry.dtype, 1)), 0U);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(tensor.data), tensor.bytes), data.substr(offset, tensor.bytes));
    offset += tensor.bytes;
  }
  EXPECT_EQ(offset, data.size());
}

TEST_F(SafetensorsWriterTest, WritesNoTensors) {
  auto writer = SafetensorsWriter::Create(path(), {});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->Finish().ok());
  const auto store = ReadSafetensors(path());
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_TRUE(store->tensors.empty());
}

TEST_F(SafetensorsWriterTest, RefusesWhatItCannotWrite) {
  const auto f32 = DType::kF32;
  ExpectCreateError({{"", f32, {1}}}, "not a possible tensor name");
  ExpectCreateError({{"__metadata__", f32, {1}}}, "not a possible tensor name");
  ExpectCreateError({{std::string(513, 'x'), f32, {1}}}, "not a possible tensor name");
  ExpectCreateError({{"a\xff", f32, {1}}}, "isn't UTF-8 (byte 1)");
  ExpectCreateError({}, "isn't UTF-8", {{"k", "\xff"}});
  ExpectCreateError({}, "isn't UTF-8", {{"\xff", "v"}});
  ExpectCreateError({{"a", f32, {1}}, {"a", f32, {1}}}, "tensor \"a\": appears twice");
  ExpectCreateError({{"a", DType::kQ8_0, {32}}}, "safetensors has no dtype Q8_0");
  ExpectCreateError({{"a", DType::kI8, {3}}, {"b", f32, {1}}},
                    "tensor \"b\": its data would begin at byte 3, unaligned");
  std::vector<SafetensorsEntry> huge;
  for (int i = 0; i < 300; ++i) {
    huge.push_back({std::to_string(i), DType::kF64, {int64_t{1} << 50}});
  }
  ExpectCreateError(huge, "more than a file can hold");
  const auto negative = SafetensorsWriter::Create(path(), {{"a", f32, {-1}}});
  ASSERT_FALSE(negative.ok());
  EXPECT_THAT(negative.status().message(), HasSubstr("negative dimension"));
  const auto nowhere = SafetensorsWriter::Create("/nonexistent/out.safetensors", {});
  ASSERT_FALSE(nowhere.ok());
  EXPECT_THAT(nowhere.status().message(), HasSubstr("/nonexistent/out.safetensors"));
}

TEST_F(SafetensorsWriterTest, AnUnfinishedFileLeavesNothing) {
  {
    auto writer = SafetensorsWriter::Create(path(), {{"a", DType::kI8, {4}}});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->Append(AsBytes("abc")).ok());
    const Status early = writer->Finish();
    EXPECT_THAT(early.message(), HasSubstr("only 3 of the 4 bytes"));
    const Status late = writer->Append(AsBytes("de"));
    EXPECT_THAT(late.message(), HasSubstr("more data than the 4 bytes"));
    EXPECT_FALSE(FileExists(path()));
  }
  EXPECT_TRUE(DirectoryIsEmpty());
}

}  // namespace
}  // namespace phidias
