// The GGUF reader: goldens by the ecosystem's own writer, compared byte for byte with the safetensors of the same
// weights; every metadata type; each way in which a file can lie, with the message that it gets.

#include "model/files/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <span>

#include "model/files/safetensors.h"
#include "numerics/half.h"
#include "tests/support/gguf_builder.h"

namespace phidias {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using B = GgufBuilder;

std::string Golden(const std::string& name) {
  return std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/" + name;
}

Result<GgufFile> ParseText(const std::string& file) {
  return ParseGguf(std::as_bytes(std::span(file.data(), file.size())), "x.gguf");
}

void ExpectError(const std::string& file, const std::string& message, StatusCode code = StatusCode::kDataError) {
  const Result<GgufFile> parsed = ParseText(file);
  ASSERT_FALSE(parsed.ok()) << "expected: " << message;
  EXPECT_EQ(parsed.status().code(), code);
  EXPECT_THAT(parsed.status().message(), StartsWith("x.gguf: "));
  EXPECT_THAT(parsed.status().message(), HasSubstr(message));
}

std::string_view BytesOf(const StoredTensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.data), tensor.bytes};
}

TEST(GgufTest, GoldenHoldsTheTensorsOfTheSafetensors) {
  const auto gguf = ReadGguf(Golden("tiny-phi2-fused.gguf"));
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  const auto reference = ReadSafetensorsIndex(Golden("tiny-phi2/model.safetensors.index.json"));
  ASSERT_TRUE(reference.ok()) << reference.status().message();
  const auto compare = [&](const std::string& name, const std::vector<std::string>& parts) {
    const StoredTensor& tensor = gguf->store.tensors.at(name);
    EXPECT_EQ(tensor.dtype, DType::kF32);
    std::string expected;
    std::vector<int64_t> shape;
    for (const std::string& part : parts) {
      const StoredTensor& other = reference->tensors.at(part);
      expected += BytesOf(other);
      const int64_t rows = shape.empty() ? 0 : shape[0];
      shape = other.shape;
      shape[0] += rows;
    }
    EXPECT_EQ(tensor.shape, shape) << name;
    EXPECT_TRUE(BytesOf(tensor) == expected) << name;
  };
  compare("token_embd.weight", {"model.embed_tokens.weight"});
  for (const std::string kind : {".weight", ".bias"}) {
    compare("output" + kind, {"lm_head" + kind});
    compare("output_norm" + kind, {"model.final_layernorm" + kind});
    for (int layer = 0; layer < 3; ++layer) {
      const std::string a = StrCat("blk.", layer, ".");
      const std::string b = StrCat("model.layers.", layer, ".");
      compare(a + "attn_norm" + kind, {b + "input_layernorm" + kind});
      compare(a + "attn_qkv" + kind,
              {b + "self_attn.q_proj" + kind, b + "self_attn.k_proj" + kind, b + "self_attn.v_proj" + kind});
      compare(a + "attn_output" + kind, {b + "self_attn.dense" + kind});
      compare(a + "ffn_up" + kind, {b + "mlp.fc1" + kind});
      compare(a + "ffn_down" + kind, {b + "mlp.fc2" + kind});
    }
  }
  EXPECT_EQ(gguf->store.tensors.size(), 35U);
  EXPECT_EQ(std::get<std::vector<std::string>>(gguf->metadata.at("tokenizer.ggml.tokens")).size(), 512U);
  EXPECT_EQ(std::get<std::string>(gguf->metadata.at("tokenizer.ggml.pre")), "phi-2");
  EXPECT_EQ(std::get<bool>(gguf->metadata.at("tokenizer.ggml.add_bos_token")), false);
  EXPECT_TRUE(gguf->store.CheckFiles().ok());
}

TEST(GgufTest, ReadsEveryMetadataType) {
  B gguf;
  gguf.AddRaw("u8", B::kU8, B::Bytes(uint8_t{200}))
      .AddRaw("i8", B::kI8, B::Bytes(int8_t{-3}))
      .AddRaw("u16", B::kU16, B::Bytes(uint16_t{60000}))
      .AddRaw("i16", B::kI16, B::Bytes(int16_t{-300}))
      .AddU32("u32", 4000000000U)
      .AddRaw("i32", B::kI32, B::Bytes(int32_t{-70000}))
      .AddFloat("f32", 0.5F)
      .AddBool("bool", true)
      .AddString("string", std::string("a\0\xff", 3))
      .AddRaw("u64", B::kU64, B::Bytes(uint64_t{9223372036854775807U}))
      .AddRaw("i64", B::kI64, B::Bytes(int64_t{-1}))
      .AddRaw("f64", B::kFloat64, B::Bytes(0.1))
      .AddI32s("i32s", {1, -2})
      .AddArray("bools", B::kBool, 2, std::string("\1\0", 2))
      .AddFloats("f32s", {0.25F, -1.0F})
      .AddArray("f64s", B::kFloat64, 1, B::Bytes(0.1))
      .AddStrings("strings", {"x", "", "yz"})
      .AddStrings("none", {});
  for (const uint32_t version : {2U, 3U}) {
    gguf.version = version;
    const auto file = ParseText(gguf.Build());
    ASSERT_TRUE(file.ok()) << file.status().message();
    const std::map<std::string, GgufValue> expected = {
        {"u8", int64_t{200}},
        {"i8", int64_t{-3}},
        {"u16", int64_t{60000}},
        {"i16", int64_t{-300}},
        {"u32", int64_t{4000000000}},
        {"i32", int64_t{-70000}},
        {"f32", 0.5},
        {"bool", true},
        {"string", std::string("a\0\xff", 3)},
        {"u64", std::numeric_limits<int64_t>::max()},
        {"i64", int64_t{-1}},
        {"f64", 0.1},
        {"i32s", std::vector<int64_t>{1, -2}},
        {"bools", std::vector<int64_t>{1, 0}},
        {"f32s", std::vector<double>{0.25, -1.0}},
        {"f64s", std::vector<double>{0.1}},
        {"strings", std::vector<std::string>{"x", "", "yz"}},
        {"none", std::vector<std::string>{}},
    };
    EXPECT_EQ(file->metadata, expected);
  }
}

TEST(GgufTest, ReadsTensorsOfEveryType) {
  B gguf;
  gguf.alignment = 64;
  gguf.AddU32("general.alignment", 64);
  std::vector<float> values(64);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i) - 32;
  }
  gguf.AddF32("f32", {3}, {1, 2, 3}).AddF16("f16", {1, 3}, {1, 2, 3}).AddQ8_0("q8", {2, 32}, values);
  gguf.AddTensor("bf16", B::kBF16, {2, 1, 3, 1}, "abcdefghijkl").AddTensor("scalar", B::kF32, {}, "wxyz");
  gguf.AddTensor("empty", B::kF32, {0, 4}, "");
  const std::string text = gguf.Build();
  const auto file = ParseText(text);
  ASSERT_TRUE(file.ok()) << file.status().message();
  const auto& tensors = file->store.tensors;
  ASSERT_EQ(tensors.size(), 6U);
  EXPECT_EQ(tensors.at("f16").dtype, DType::kF16);
  EXPECT_EQ(tensors.at("f16").shape, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(tensors.at("q8").dtype, DType::kQ8_0);
  EXPECT_EQ(tensors.at("q8").shape, (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(tensors.at("q8").bytes, 68U);
  EXPECT_EQ(static_cast<signed char>(BytesOf(tensors.at("q8"))[2]), -127);
  EXPECT_EQ(tensors.at("bf16").shape, (std::vector<int64_t>{2, 1, 3, 1}));
  EXPECT_EQ(BytesOf(tensors.at("bf16")), "abcdefghijkl");
  EXPECT_EQ(BytesOf(tensors.at("scalar")), "wxyz");
  EXPECT_EQ(tensors.at("empty").bytes, 0U);
  EXPECT_EQ(tensors.at("f32").file, "x.gguf");
}

TEST(GgufTest, NamesForeignFilesAndVersions) {
  ExpectError("", "isn't GGUF");
  ExpectError("GGU", "isn't GGUF");
  ExpectError("GGUF", "the file ends too early: 4 bytes wanted at byte 4, 0 are left");
  ExpectError("version https://git-lfs.github.com/spec/v1\n", "git lfs pull");
  ExpectError("<!DOCTYPE html>", "HTML page");
  B gguf;
  gguf.magic = "GGML";
  ExpectError(gguf.Build(), "doesn't begin with \"GGUF\"");
  gguf.magic = "GGUF";
  gguf.version = 1;
  ExpectError(gguf.Build(), "GGUF version 1 isn't supported", StatusCode::kUnsupported);
  gguf.version = 0x03000000;
  ExpectError(gguf.Build(), "big-endian", StatusCode::kUnsupported);
  gguf.version = 4;
  ExpectError(gguf.Build(), "unknown GGUF version 4", StatusCode::kUnsupported);
  gguf.version = 0;
  ExpectError(gguf.Build(), "unknown GGUF version 0", StatusCode::kUnsupported);
}

TEST(GgufTest, RefusesLyingCounts) {
  B gguf;
  gguf.metadata_count = 65537;
  ExpectError(gguf.Build(), "announces 65537 metadata keys, at most 65536");
  gguf.metadata_count = 3;
  ExpectError(gguf.Build(), "the file ends too early");
  gguf.metadata_count = {};
  gguf.tensor_count = ~uint64_t{0};
  ExpectError(gguf.Build(), "announces 18446744073709551615 tensors, at most 65536");
  gguf.tensor_count = 1;
  ExpectError(gguf.Build(), "the file ends too early");
}

TEST(GgufTest, RefusesBrokenMetadata) {
  const auto one = [](uint32_t type, const std::string& bytes) { return B().AddRaw("k", type, bytes).Build(); };
  ExpectError(one(13, "abcd"), R"(metadata key "k": unknown value type 13)");
  ExpectError(one(B::kU64, B::Bytes(~uint64_t{0})), "integer 18446744073709551615 is larger than 2^63 - 1");
  ExpectError(one(B::kBool, "\2"), "boolean with the value 2");
  ExpectError(one(B::kString, B::Bytes(~uint64_t{0})), R"(metadata key "k": the file ends too early)");
  ExpectError(one(B::kArray, B::Bytes(uint32_t{99}) + B::Bytes(uint64_t{0})), "array of unknown value type 99");
  ExpectError(one(B::kArray, B::Bytes(uint32_t{B::kArray}) + B::Bytes(uint64_t{0})), "an array of arrays",
              StatusCode::kUnsupported);
  for (const uint32_t type : {B::kU8, B::kI64, B::kString, B::kFloat32}) {
    ExpectError(one(B::kArray, B::Bytes(type) + B::Bytes(~uint64_t{0})), "array of 18446744073709551615 values");
    ExpectError(one(B::kArray, B::Bytes(type) + B::Bytes(uint64_t{1} << 61)), "array of 2305843009213693952 values");
  }
  ExpectError(B().AddU32("k", 1).AddU32("k", 1).Build(), R"(metadata key "k" is there twice)");
  ExpectError(B().AddU32(std::string(65536, 'k'), 1).Build(), "string of 65536 bytes at byte 32, at most 65535");
}

TEST(GgufTest, RefusesBadAlignment) {
  for (const uint32_t bad : {0U, 1U, 4U, 33U, 1U << 21, 1U << 31}) {
    ExpectError(B().AddU32("general.alignment", bad).Build(), StrCat("general.alignment is ", bad));
  }
  ExpectError(B().AddString("general.alignment", "32").Build(), R"("general.alignment" must be an integer)");
}

TEST(GgufTest, NamesSplitFiles) {
  ExpectError(B().AddRaw("split.count", B::kU16, B::Bytes(uint16_t{3})).Build(), "one of 3 parts of a split GGUF",
              StatusCode::kUnsupported);
  ExpectError(B().AddU32("split.count", 2).AddTensor("t", B::kQ4_K, {256}, "").Build(), "llama-gguf-split --merge",
              StatusCode::kUnsupported);
  EXPECT_TRUE(ParseText(B().AddU32("split.count", 1).Build()).ok());
}

TEST(GgufTest, NamesTensorTypesThatDoNotRun) {
  const std::pair<uint32_t, const char*> types[] = {
      {6, "Q5_0"},    {7, "Q5_1"}, {9, "Q8_1"}, {10, "Q2_K"},  {12, "Q4_K"},  {15, "Q8_K"}, {16, "IQ2_XXS"},
      {20, "IQ4_NL"}, {24, "I8"},  {28, "F64"}, {29, "IQ1_M"}, {34, "TQ1_0"}, {39, "MXFP4"}};
  for (const auto& [type, name] : types) {
    const std::string file = B().AddTensor("blk.0.ffn_up.weight", type, {256}, std::string(2048, 'x')).Build();
    ExpectError(file, StrCat("tensor \"blk.0.ffn_up.weight\": type ", name, " doesn't run here"),
                StatusCode::kUnsupported);
    ExpectError(file, "use the F16, F32, Q8_0 or Q4_0 file of this model", StatusCode::kUnsupported);
  }
  ExpectError(B().AddTensor("t", 1000, {256}, "x").Build(), "unknown type 1000", StatusCode::kUnsupported);
}

// Bytes that are no pattern, with f16 numbers of ordinary size at the given places.
std::string Block(size_t bytes, const std::vector<size_t>& halves) {
  std::string block(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) {
    block[i] = static_cast<char>((i * 151 + 43 + i * i * 7) % 256);
  }
  for (const size_t at : halves) {
    const std::string half = B::Bytes(numerics::FloatToHalf(0.01F * static_cast<float>(at % 7 + 1)));
    block.replace(at, 2, half);
  }
  return block;
}

float HalfAt(std::string_view bytes, size_t at) {
  uint16_t half = 0;
  std::memcpy(&half, bytes.data() + at, sizeof half);
  return numerics::HalfToFloat(half);
}

int32_t ByteAt(std::string_view bytes, size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

TEST(GgufTest, Q40BecomesTheSameQ80) {
  const std::string block = Block(18, {0});
  const std::string file = B().AddTensor("t", 2, {2, 32}, block + Block(18, {0})).Build();
  const auto parsed = ParseText(file);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  const StoredTensor& tensor = parsed->store.tensors.at("t");
  EXPECT_EQ(tensor.dtype, DType::kQ8_0);
  ASSERT_EQ(tensor.bytes, 68U);
  EXPECT_EQ(BytesOf(tensor).substr(0, 2), block.substr(0, 2));
  for (size_t i = 0; i < 16; ++i) {  // ggml's dequantize_row_q4_0
    EXPECT_EQ(static_cast<signed char>(BytesOf(tensor)[2 + i]), (ByteAt(block, 2 + i) & 15) - 8);
    EXPECT_EQ(static_cast<signed char>(BytesOf(tensor)[2 + 16 + i]), (ByteAt(block, 2 + i) >> 4) - 8);
  }
  EXPECT_TRUE(parsed->warnings.empty());
}

TEST(GgufTest, Q41AndQ6KBecomeF16AndSayWhatThatCosts) {
  const std::string q41 = Block(20, {0, 2});
  const std::string q6k = Block(210, {208});
  const std::string file = B().AddTensor("a", 3, {1, 32}, q41).AddTensor("b", 14, {1, 256}, q6k).Build();
  const auto parsed = ParseText(file);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  const StoredTensor& a = parsed->store.tensors.at("a");
  EXPECT_EQ(a.dtype, DType::kF16);
  const auto near = [](float got, float want) { EXPECT_NEAR(got, want, 0.0005F * std::fabs(want)); };
  for (size_t i = 0; i < 16; ++i) {  // ggml's dequantize_row_q4_1
    const auto value = [&](int32_t q) { return HalfAt(q41, 0) * static_cast<float>(q) + HalfAt(q41, 2); };
    near(HalfAt(BytesOf(a), 2 * i), value(ByteAt(q41, 4 + i) & 15));
    near(HalfAt(BytesOf(a), 2 * (i + 16)), value(ByteAt(q41, 4 + i) >> 4));
  }
  const StoredTensor& b = parsed->store.tensors.at("b");
  EXPECT_EQ(b.dtype, DType::kF16);
  for (size_t n = 0; n < 2; ++n) {  // ggml's dequantize_row_q6_K
    const size_t ql = 64 * n;
    const size_t qh = 128 + 32 * n;
    for (size_t l = 0; l < 32; ++l) {
      const int32_t high = ByteAt(q6k, qh + l);
      const int32_t q[4] = {((ByteAt(q6k, ql + l) & 15) | (high >> 0 & 3) << 4) - 32,
                            ((ByteAt(q6k, ql + l + 32) & 15) | (high >> 2 & 3) << 4) - 32,
                            ((ByteAt(q6k, ql + l) >> 4) | (high >> 4 & 3) << 4) - 32,
                            ((ByteAt(q6k, ql + l + 32) >> 4) | (high >> 6 & 3) << 4) - 32};
      for (size_t run = 0; run < 4; ++run) {
        const auto step = static_cast<signed char>(q6k[192 + 8 * n + l / 16 + 2 * run]);
        const float want = HalfAt(q6k, 208) * static_cast<float>(step) * static_cast<float>(q[run]);
        near(HalfAt(BytesOf(b), 2 * (128 * n + 32 * run + l)), want);
      }
    }
  }
  ASSERT_EQ(parsed->warnings.size(), 1U);
  EXPECT_THAT(parsed->warnings[0], StartsWith("x.gguf: its Q4_1 and Q6_K weights were decoded to F16, which moved them "
                                              "by 0.0"));
}

TEST(GgufTest, BlocksMustFillRowsAndTheFile) {
  ExpectError(B().AddTensor("t", 2, {2, 40}, std::string(2048, 'x')).Build(),
              "has type Q4_0 and shape [2, 40], but Q4_0 needs rows of a multiple of 32 elements");
  ExpectError(B().AddTensor("t", 14, {128}, std::string(2048, 'x')).Build(), "Q6_K needs rows of a multiple of 256");
  ExpectError(B().AddTensor("t", 3, {64, 32}, std::string(20, 'x')).Build(), "its 1280 bytes at offset 0");
}

TEST(GgufTest, RefusesLyingTensors) {
  const auto f32 = [](std::vector<uint64_t> shape, uint64_t offset, size_t bytes) {
    B gguf;
    gguf.AddTensor("t", B::kF32, std::move(shape), std::string(bytes, 'x'));
    gguf.tensors[0].offset = offset;
    return gguf.Build();
  };
  EXPECT_TRUE(ParseText(f32({4}, 0, 16)).ok());
  EXPECT_TRUE(ParseText(f32({4}, 32, 48)).ok());
  ExpectError(f32({4}, 0, 15), "its 16 bytes at offset 0 of the data leave the file, which has 15 bytes of data");
  ExpectError(f32({4}, 8, 32), "its offset 8 isn't a multiple of the alignment 32");
  ExpectError(f32({4}, ~uint64_t{31}, 16), "leave the file");
  ExpectError(f32({1, 1, 1, 1, 1}, 0, 4), R"(tensor "t": has 5 dimensions, at most 4)");
  ExpectError(f32({uint64_t{1} << 32, uint64_t{1} << 32}, 0, 4), "more than 2^50 elements");
  ExpectError(f32({~uint64_t{0}}, 0, 4), "integer 18446744073709551615 is larger than 2^63 - 1");
  ExpectError(B().AddTensor("t", B::kQ8_0, {32, 31}, std::string(2000, 'x')).Build(),
              "has type Q8_0 and shape [32, 31], but Q8_0 needs rows of a multiple of 32 elements");
  ExpectError(B().AddTensor("t", B::kQ8_0, {}, std::string(34, 'x')).Build(), "Q8_0 needs rows");
  ExpectError(B().AddF32("t", {1}, {1}).AddF32("t", {1}, {2}).Build(), R"(tensor "t" is there twice)");
  ExpectError(B().AddF32(std::string(513, 't'), {1}, {1}).Build(), "string of 513 bytes");
  B overlapping;
  overlapping.AddF32("a", {16}, std::vector<float>(16)).AddF32("b", {1}, {1});
  overlapping.tensors[1].offset = 32;
  ExpectError(overlapping.Build(),
              R"(tensors "a" and "b" overlap: the second begins at offset 32 of the data, the first ends at 64)");
}

TEST(GgufTest, EveryTruncationOfAGoldenIsRefused) {
  std::ifstream in(Golden("tiny-phi2-fused.gguf"), std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  ASSERT_TRUE(ParseText(whole).ok());
  for (size_t size = 0; size < 16384; ++size) {
    ASSERT_FALSE(ParseText(whole.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(ParseText(whole.substr(0, whole.size() - 32)).ok());
}

TEST(GgufTest, BoundsTheHeader) {
  // 2^23 empty strings take 64 MiB in the file: more than a header may have.
  const uint64_t count = (uint64_t{1} << 23) + 1;
  B gguf;
  gguf.AddArray("k", B::kString, count, std::string(count * 8, '\0'));
  ExpectError(gguf.Build(), "metadata and tensor list would have more than the 67.11 MB that are possible");
}

TEST(GgufTest, NamesMissingFile) {
  const auto file = ReadGguf("/nonexistent/x.gguf");
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace phidias
