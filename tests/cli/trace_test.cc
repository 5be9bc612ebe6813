// `phidias trace` against the activations of Hugging Face's model (tests/golden/tiny-phi2/golden.safetensors): the same
// names and shapes, values within a coarse bound (the tight one is tests/golden_model_test.cc's), and the same bytes
// however the tokens are put into steps.

#include <sys/stat.h>

#include <cmath>
#include <cstring>

#include "model/files/safetensors.h"
#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

std::string GoldenPath() {
  return Tiny() + "/golden.safetensors";
}

TensorStore Read(const std::string& path) {
  auto store = ReadSafetensors(path);
  EXPECT_TRUE(store.ok()) << store.status().message();
  return store.ok() ? *std::move(store) : TensorStore();
}

template <class T>
std::vector<T> Values(const StoredTensor& tensor) {
  std::vector<T> values(tensor.bytes / sizeof(T));
  std::memcpy(values.data(), tensor.data, values.size() * sizeof(T));
  return values;
}

std::string GoldenIds() {
  const TensorStore golden = Read(GoldenPath());
  return nlohmann::json(Values<int32_t>(golden.tensors.at("input_ids"))).dump();
}

TEST(Trace, HasTheReferencesNamesShapesAndValues) {
  const ScratchDirectory scratch;
  EXPECT_EQ(Output({"trace", Tiny(), "--ids", GoldenIds(), "-o", scratch.File("trace.safetensors")}), "");
  const TensorStore trace = Read(scratch.File("trace.safetensors"));
  const TensorStore golden = Read(GoldenPath());
  ASSERT_EQ(trace.tensors.size(), golden.tensors.size());
  for (const auto& [name, expected] : golden.tensors) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(trace.tensors.contains(name));
    const StoredTensor& got = trace.tensors.at(name);
    EXPECT_EQ(DTypeName(got.dtype), DTypeName(expected.dtype));
    ASSERT_EQ(got.shape, expected.shape);
    if (expected.dtype == DType::kI32) {
      EXPECT_EQ(Values<int32_t>(got), Values<int32_t>(expected));
      continue;
    }
    const auto a = Values<float>(got);
    const auto b = Values<float>(expected);
    float largest = 0;
    float difference = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      largest = std::max(largest, std::abs(b[i]));
      difference = std::max(difference, std::abs(a[i] - b[i]));
    }
    EXPECT_LE(difference, 1e-4F * largest);
  }
}

TEST(Trace, TheSameBytesHoweverItIsComputed) {
  const ScratchDirectory scratch;
  const std::string ids = GoldenIds();
  Output({"trace", Tiny(), "--ids", ids, "-o", scratch.File("a")});
  Output({"trace", Tiny(), "--ids", ids, "--one-at-a-time", "-o", scratch.File("b")});
  Output({"trace", Tiny(), "--ids", ids, "--isa", "portable", "-t", "1", "-o", scratch.File("c")});
  const std::string bytes = ReadText(scratch.File("a"));
  EXPECT_TRUE(bytes == ReadText(scratch.File("b")));
  EXPECT_TRUE(bytes == ReadText(scratch.File("c")));
}

TEST(Trace, TextWhereThereIsATokenizer) {
  const ScratchDirectory scratch;
  Output({"trace", "--text", "Once upon", "-o", scratch.File("trace")});
  const TensorStore trace = Read(scratch.File("trace"));
  EXPECT_EQ(nlohmann::json(Values<int32_t>(trace.tensors.at("input_ids"))), JsonOutput({"tokenize", "Once upon"}));
  ExpectFailure({"trace", Tiny(), "--text", "x", "-o", scratch.File("no")}, 3, "tokenizer");
}

TEST(Trace, ReplacesAnOldFileAndLeavesNoOther) {
  const ScratchDirectory scratch;
  WriteText(scratch.File("trace"), "old");
  Output({"trace", Tiny(), "--ids", "1,2", "-o", scratch.File("trace")});
  EXPECT_EQ(Read(scratch.File("trace")).tensors.at("logits").shape, (std::vector<int64_t>{2, 512}));
  ProcessOptions list;
  list.arguments = {"/bin/ls", "-A", scratch.path()};
  EXPECT_EQ(Process::Run(list).out, "trace\n");
}

TEST(Trace, RefusesBadIds) {
  const ScratchDirectory scratch;
  const auto refused = [&scratch](const std::string& ids, int code, const std::string& message) {
    ExpectFailure({"trace", Tiny(), "--ids", ids, "-o", scratch.File("trace")}, code, message);
    struct stat info = {};
    EXPECT_NE(stat(scratch.File("trace").c_str(), &info), 0) << "nothing may be written";
  };
  refused("", 2, "the list of ids is empty");
  refused("1,b", 2, "item 2 of the ids: \"b\"");
  refused("1,2,512", 2, "item 3 of the ids: 512 is outside the model's vocabulary of 512");
  std::string many = "0";
  for (int i = 0; i < 128; ++i) {
    many += ",0";
  }
  refused(many, 4, "129 tokens: this model's context has 128");
}

TEST(Trace, RefusesAnOutputThatCantBeWritten) {
  const ScratchDirectory scratch;
  ExpectFailure({"trace", Tiny(), "--ids", "1"}, 2, "give -o FILE");
  ExpectFailure({"trace", Tiny(), "--ids", "1", "-o", ""}, 1, "is not the name of a file");
  ExpectFailure({"trace", Tiny(), "--ids", "1", "-o", scratch.path()}, 1, "is not the name of a file");
  ExpectFailure({"trace", Tiny(), "--ids", "1", "-o", scratch.File("no/such/file")}, 1, "there is no directory");
  if (geteuid() != 0) {
    chmod(scratch.path().c_str(), 0555);
    ExpectFailure({"trace", Tiny(), "--ids", "1", "-o", scratch.File("x")}, 1, "can't be written to");
    chmod(scratch.path().c_str(), 0755);
  }
}

TEST(Trace, RefusesNothingToTraceAndTooMuch) {
  const ScratchDirectory scratch;
  ExpectFailure({"trace", Tiny(), "-o", scratch.File("x")}, 2, "give --ids or --text");
  ExpectFailure({"trace", Tiny(), "--ids", "1", "--text", "a", "-o", scratch.File("x")}, 2, "--text");
}

}  // namespace
}  // namespace phidias::testing
