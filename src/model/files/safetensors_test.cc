// The safetensors reader: the goldens (written by the reference implementation), and each way in which a file can lie,
// with the message that it gets.

#include "model/files/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace phidias {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Golden(const std::string& name) {
  return std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/" + name;
}

// A file: header length, header, data.
std::string FileOf(const std::string& header, const std::string& data = "", std::optional<uint64_t> length = {}) {
  const uint64_t value = length.value_or(header.size());
  std::string file(8, '\0');
  std::memcpy(file.data(), &value, 8);
  return file + header + data;
}

Result<TensorStore> ParseText(const std::string& file, std::map<std::string, std::string>* metadata = nullptr) {
  return ParseSafetensors(std::as_bytes(std::span(file.data(), file.size())), "x.safetensors", metadata);
}

void ExpectError(const std::string& file, const std::string& message, StatusCode code = StatusCode::kDataError) {
  const Result<TensorStore> store = ParseText(file);
  ASSERT_FALSE(store.ok()) << "expected: " << message;
  EXPECT_EQ(store.status().code(), code);
  EXPECT_THAT(store.status().message(), StartsWith("x.safetensors: "));
  EXPECT_THAT(store.status().message(), HasSubstr(message));
}

// A header with one tensor.
std::string OneTensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

TEST(SafetensorsTest, ReadsGoldenShard) {
  std::map<std::string, std::string> metadata;
  const auto store = ReadSafetensors(Golden("tiny-phi2/model-00001-of-00006.safetensors"), &metadata);
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(metadata.at("format"), "pt");
  const StoredTensor& embedding = store->tensors.at("model.embed_tokens.weight");
  EXPECT_EQ(embedding.shape, (std::vector<int64_t>{512, 160}));
  EXPECT_EQ(embedding.dtype, DType::kF32);
  EXPECT_EQ(embedding.bytes, 327680U);
  EXPECT_EQ(embedding.file, Golden("tiny-phi2/model-00001-of-00006.safetensors"));
  float first = 0;
  std::memcpy(&first, embedding.data, sizeof first);
  EXPECT_NE(first, 0.0F);
  EXPECT_TRUE(store->CheckFiles().ok());
}

TEST(SafetensorsTest, ReadsGoldenActivationsAndDemoModel) {
  const auto golden = ReadSafetensors(Golden("tiny-phi2/golden.safetensors"));
  ASSERT_TRUE(golden.ok()) << golden.status().message();
  EXPECT_TRUE(golden->tensors.contains("logits"));
  EXPECT_EQ(golden->tensors.at("input_ids").dtype, DType::kI32);
  for (const char* shard : {"1", "2", "3"}) {
    const auto store =
        ReadSafetensors(std::string(PHIDIAS_SOURCE_DIR) + "/models/demo/model-0000" + shard + "-of-00003.safetensors");
    EXPECT_TRUE(store.ok()) << store.status().message();
  }
}

TEST(SafetensorsTest, ReadsIndexWithItsShards) {
  const auto store = ReadSafetensorsIndex(Golden("tiny-phi2/model.safetensors.index.json"));
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(store->tensors.size(), 47U);  // 3 layers x 14, embedding, final norm's 2, lm_head's 2
  EXPECT_EQ(store->files.size(), 6U);
}

TEST(SafetensorsTest, AcceptsWhatTheFormatAllows) {
  // Empty file, trailing spaces, null metadata, scalars, empty tensors, any order, unaligned data.
  EXPECT_TRUE(ParseText(FileOf("{}")).ok());
  EXPECT_TRUE(ParseText(FileOf("{}      ")).ok());
  EXPECT_TRUE(ParseText(FileOf(R"({"__metadata__":null})")).ok());
  const std::string header = R"({"z":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
                             R"("empty":{"data_offsets":[1,1],"shape":[0,7],"dtype":"F64"},)"
                             R"("__metadata__":{"k":"v","a\u0001":""},)"
                             R"("a":{"dtype":"F32","shape":[],"data_offsets":[1,5]}})";
  const std::string file = FileOf(header, std::string("\x7f\0\0\x80\x3f", 5));
  std::map<std::string, std::string> metadata;
  const auto store = ParseText(file, &metadata);
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(metadata, (std::map<std::string, std::string>{{"k", "v"}, {"a\x01", ""}}));
  float value = 0;
  std::memcpy(&value, store->tensors.at("a").data, 4);
  EXPECT_EQ(value, 1.0F);
  EXPECT_TRUE(store->tensors.at("a").shape.empty());
  EXPECT_EQ(store->tensors.at("z").bytes, 1U);
  EXPECT_EQ(store->tensors.at("empty").bytes, 0U);
}

TEST(SafetensorsTest, ReadsEveryDtype) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8, DType::kU8, DType::kI16,
                            DType::kI32, DType::kI64, DType::kBool}) {
    const int64_t bytes = DTypeBytes(dtype, 3);
    const std::string name = '"' + std::string(DTypeName(dtype)) + '"';
    const std::string file = FileOf(OneTensor(name, "[3]", "[0," + std::to_string(bytes) + "]"),
                                    std::string(static_cast<size_t>(bytes), '\x01'));
    const auto store = ParseText(file);
    ASSERT_TRUE(store.ok()) << store.status().message();
    EXPECT_EQ(store->tensors.at("a").dtype, dtype);
  }
}

TEST(SafetensorsTest, RefusesBrokenFrame) {
  ExpectError("", "the file has 0 bytes, too few");
  ExpectError("abc", "the file has 3 bytes, too few");
  ExpectError(FileOf("{}", "", 100'000'001), "header would have 100000001 bytes, at most 100000000");
  ExpectError(FileOf("{}", "", ~uint64_t{0}), "header would have 18446744073709551615 bytes");
  ExpectError(FileOf("{}", "", 3), "ends inside its header: the header has 3 bytes, the file 10");
  ExpectError(FileOf(""), "doesn't begin with '{'");
  ExpectError(FileOf("[]"), "doesn't begin with '{'");
  ExpectError(FileOf(" {}"), "doesn't begin with '{'");
}

TEST(SafetensorsTest, NamesForeignFiles) {
  ExpectError("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull");
  ExpectError("<!DOCTYPE html><html></html>", "HTML page");
  ExpectError("GGUF" + std::string("\3\0\0\0", 4) + std::string(16, '\0'), "is GGUF, not safetensors");
  ExpectError("PK\3\4" + std::string(60, '\0'), "zip archive");
  ExpectError("PAR1" + std::string(60, '\1'), "Parquet");
  ExpectError("\x1f\x8b\x08\x08" + std::string(60, '\1'), "gunzip");
}

TEST(SafetensorsTest, RefusesBrokenJson) {
  ExpectError(FileOf("{"), "isn't valid JSON");
  ExpectError(FileOf("{}x"), "isn't valid JSON (at byte 3");
  ExpectError(FileOf("{\"a\xff\":1}"), "isn't valid JSON");
  ExpectError(FileOf(std::string("{}\0garbage", 10)), "zero byte at byte 2");
  ExpectError(FileOf(R"({"a":1e999})"), "isn't valid JSON");
}

TEST(SafetensorsTest, RefusesWrongStructure) {
  ExpectError(FileOf(R"({"a":1})"), R"(header entry "a" must be an object, found a number)");
  ExpectError(FileOf(R"({"a":null})"), R"(header entry "a" must be an object, found null)");
  ExpectError(FileOf(R"({"a":[]})"), R"(header entry "a" must be an object, found a list)");
  ExpectError(FileOf(R"({"a":{}})"), R"(tensor "a" has no field "dtype")");
  ExpectError(FileOf(R"({"a":{"dtype":"I8","shape":[0]}})"), R"(tensor "a" has no field "data_offsets")");
  ExpectError(FileOf(R"({"a":{"dtype":"I8","data_offsets":[0,0]}})"), R"(tensor "a" has no field "shape")");
  ExpectError(FileOf(R"({"a":{"colour":"red"}})"), R"(tensor "a" has an unknown field "colour")");
  ExpectError(FileOf(OneTensor("3", "[1]", "[0,1]")), R"("dtype" must be a string, found a number)");
  ExpectError(FileOf(OneTensor("[]", "[1]", "[0,1]")), R"("dtype" must be a string, found a list)");
  ExpectError(FileOf(OneTensor(R"("I8")", "1", "[0,1]")), R"("shape" must be a list of non-negative integers)");
  ExpectError(FileOf(OneTensor(R"("I8")", "{}", "[0,1]")), "found an object");
  ExpectError(FileOf(OneTensor(R"("I8")", "[true]", "[0,1]")), "found a boolean");
  ExpectError(FileOf(R"({"":{}})"), "has 0 bytes; 1 to 512 are possible");
  ExpectError(FileOf("{\"" + std::string(513, 'n') + "\":{}}"), "has 513 bytes; 1 to 512 are possible");
  ExpectError(FileOf(R"({"__metadata__":{"a":1}})"), R"(__metadata__ entry "a" must be a string, found a number)");
  ExpectError(FileOf(R"({"__metadata__":"a"})"), "must be an object, found a string");
}

TEST(SafetensorsTest, RefusesDuplicates) {
  const std::string tensor = R"("a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]})";
  ExpectError(FileOf("{" + tensor + "," + tensor + "}", "x"), R"(lists tensor "a" twice)");
  ExpectError(FileOf(R"({"a":{"dtype":"I8","dtype":"I8"}})"), R"(tensor "a" has the field "dtype" twice)");
  ExpectError(FileOf(R"({"a":{"shape":[1],"shape":[1]}})"), R"(has the field "shape" twice)");
  ExpectError(FileOf(R"({"__metadata__":{},"__metadata__":{}})"), "has the key __metadata__ twice");
  ExpectError(FileOf(R"({"__metadata__":{"k":"1","k":"2"}})"), R"(__metadata__ has the key "k" twice)");
}

TEST(SafetensorsTest, RefusesBadNumbers) {
  const std::string i8 = R"("I8")";
  ExpectError(FileOf(OneTensor(i8, "[-1]", "[0,1]")), "found a negative number");
  ExpectError(FileOf(OneTensor(i8, "[1.0]", "[0,1]")), "fractional or too large");
  ExpectError(FileOf(OneTensor(i8, "[1]", "[0,1e3]")), "fractional or too large");
  ExpectError(FileOf(OneTensor(i8, "[9223372036854775808]", "[0,1]")), "fractional or too large");
  ExpectError(FileOf(OneTensor(i8, "[99999999999999999999999]", "[0,1]")), "fractional or too large");
  ExpectError(FileOf(OneTensor(i8, "[1,1,1,1,1,1,1,1,1]", "[0,1]")), "has more than 8 values");
  ExpectError(FileOf(OneTensor(i8, "[1]", "[0]")), R"("data_offsets" must hold 2 numbers, found 1)");
  ExpectError(FileOf(OneTensor(i8, "[1]", "[0,1,2]")), R"("data_offsets" must hold 2 numbers, found 3)");
  ExpectError(FileOf(OneTensor(i8, "[4294967296,4294967296]", "[0,0]")), "more than 2^50 elements");
}

TEST(SafetensorsTest, RefusesLyingOffsets) {
  const std::string f32 = R"("F32")";
  ExpectError(FileOf(OneTensor(f32, "[2]", "[8,0]"), std::string(8, 'x')), "[8, 0] end before they begin");
  ExpectError(FileOf(OneTensor(f32, "[2]", "[0,4]"), std::string(4, 'x')),
              R"(tensor "a": data_offsets [0, 4] span 4 bytes, but dtype F32 and shape [2] need 8)");
  ExpectError(FileOf(OneTensor(f32, "[2]", "[0,8]"), std::string(7, 'x')),
              "ends at byte 8 of the data, but the file has only 7 bytes of data; the download may be incomplete");
  ExpectError(FileOf(OneTensor(f32, "[0]", "[9223372036854775807,9223372036854775807]")),
              "ends at byte 9223372036854775807 of the data");
}

TEST(SafetensorsTest, RefusesOverlapsHolesAndRests) {
  const auto two = [](const std::string& a, const std::string& b, size_t bytes) {
    return FileOf(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":)" + a +
                      R"(},"b":{"dtype":"I8","shape":[4],"data_offsets":)" + b + "}}",
                  std::string(bytes, 'x'));
  };
  EXPECT_TRUE(ParseText(two("[4,8]", "[0,4]", 8)).ok());
  ExpectError(two("[0,4]", "[3,7]", 7),
              R"(tensors "a" and "b" overlap: the second begins at byte 3 of the data, the first ends at byte 4)");
  ExpectError(two("[0,4]", "[0,4]", 4), R"(tensors "a" and "b" overlap)");
  ExpectError(two("[0,4]", "[6,10]", 10), R"(bytes 4 to 6 of the data belong to no tensor (before "b"))");
  ExpectError(two("[0,4]", "[4,8]", 11), "cover 8 bytes of data, but the file has 11: 3 bytes at its end");
  ExpectError(FileOf("{}", "x"), "cover 0 bytes of data, but the file has 1");
}

TEST(SafetensorsTest, NamesUnknownDtypes) {
  ExpectError(FileOf(OneTensor(R"("F8_E4M3")", "[1]", "[0,1]"), "x"),
              R"(tensor "a": dtype "F8_E4M3" isn't supported; F32, F16, BF16)", StatusCode::kUnsupported);
  ExpectError(FileOf(OneTensor(R"("Q8_0")", "[32]", "[0,34]"), std::string(34, 'x')), R"(dtype "Q8_0" isn't supported)",
              StatusCode::kUnsupported);
}

TEST(SafetensorsTest, SurvivesDeepNesting) {
  const std::string deep(1'000'000, '[');
  ExpectError(FileOf(R"({"a":)" + deep), "must be an object, found a list");
  ExpectError(FileOf(R"({"a":{"shape":)" + deep), "found a list");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) {
    objects += R"({"a":)";
  }
  ExpectError(FileOf(objects), "unknown field");
}

TEST(SafetensorsTest, LimitsTheNumberOfTensors) {
  std::string header = "{";
  for (int i = 0; i <= kMaxTensors; ++i) {
    header += StrCat(i == 0 ? "" : ",", "\"", i, R"(":{"dtype":"I8","shape":[0],"data_offsets":[0,0]})");
  }
  ExpectError(FileOf(header + "}"), "more than 65536 tensors");
  std::string metadata = R"({"__metadata__":{)";
  for (int i = 0; i <= 65536; ++i) {
    metadata += StrCat(i == 0 ? "" : ",", "\"", i, R"(":"")");
  }
  ExpectError(FileOf(metadata + "}}"), "more than 65536 entries");
}

TEST(SafetensorsTest, NamesMissingFile) {
  const auto store = ReadSafetensors("/nonexistent/x.safetensors");
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(store.status().message(), HasSubstr("/nonexistent/x.safetensors"));
}

TEST(SafetensorsTest, EveryTruncationOfAGoldenIsRefused) {
  std::ifstream in(Golden("tiny-phi2/model-00001-of-00006.safetensors"), std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  ASSERT_TRUE(ParseText(whole).ok());
  for (size_t size = 0; size < 4096; ++size) {
    ASSERT_FALSE(ParseText(whole.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(ParseText(whole.substr(0, whole.size() - 1)).ok());
  EXPECT_FALSE(ParseText(whole + "x").ok());
}

}  // namespace
}  // namespace phidias
