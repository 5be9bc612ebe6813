// The quantised checkpoint on disk: what is written loads back as the model that was planned, bit for bit, from every
// kind of source, whole or in shards; and the directory appears whole or not at all.
#include "quant/checkpoint_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "common/file.h"
#include "model/phi.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_files.h"
#include "quant/calibration.h"
#include "quant/model_files.h"
#include "quant/quantizer.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/outliers.h"
#include "tests/support/quant_test_util.h"

namespace phidias {
namespace {

namespace fs = std::filesystem;
using testing_support::GroupedConfig;
using testing_support::SmallConfig;
using testing_support::TempDir;
using testing_support::WriteCheckpoint;
using testing_support::WriteText;

std::unique_ptr<Phi> MakePhi(const Checkpoint& checkpoint) {
  return PhiOf(std::make_shared<const Checkpoint>(checkpoint), 2);
}

std::vector<std::vector<int32_t>> Rows() {
  std::vector<std::vector<int32_t>> rows(4);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < 30; ++j) {
      rows[i].push_back(static_cast<int32_t>((i * 31 + j * j * 5 + j) % 96));
    }
  }
  return rows;
}

void ExpectStored(const Checkpoint& checkpoint, const std::string& name, DType dtype,
                  const std::vector<int64_t>& shape) {
  const StoredTensor& tensor = checkpoint.store.tensors.at(name);
  EXPECT_EQ(tensor.dtype, dtype) << name;
  EXPECT_EQ(tensor.shape, shape) << name;
}

std::vector<float> Logits(const Checkpoint& checkpoint) {
  const auto phi = MakePhi(checkpoint);
  const KvCache cache = *phi->NewKvCache(64);
  std::vector<StepRow> step;
  for (int32_t pos = 0; pos < 30; ++pos) {
    step.push_back({(pos * pos * 7 + 3) % 96, pos, cache.store(), true});
  }
  const auto logits = phi->Step(step);
  EXPECT_TRUE(logits.ok()) << logits.status().message();
  return {logits->begin(), logits->end()};
}

class CheckpointWriter : public testing::Test {
 protected:
  Checkpoint Source(const PhiConfig& config, const testing_support::CheckpointOptions& options = {}) {
    const std::string dir = dir_ / "source";
    fs::create_directories(dir);
    WriteCheckpoint(dir, config, options);
    Result<Checkpoint> source = OpenCheckpoint(dir);
    EXPECT_TRUE(source.ok()) << source.status().message();
    stats_ = *Calibrate(*MakePhi(*source), Rows(), {.sample_tokens = 32});
    return std::move(*source);
  }

  QuantPlan Plan(const Checkpoint& source, const QuantScheme& scheme) {
    Result<QuantPlan> plan = MakeQuantPlan(source, &stats_, scheme, &pool_);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    return std::move(*plan);
  }

  Result<WrittenCheckpoint> Write(const Checkpoint& source, const QuantPlan& plan, const WriteOptions& options = {}) {
    return WriteQuantizedCheckpoint(source, plan, out(), options, &pool_);
  }
  std::string out() const { return dir_ / "out"; }
  // Names in the directory that the output lies in: nothing temporary may stay.
  std::vector<std::string> Around() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // Written and read back, the model is the planned one to the bit.
  void ExpectRoundTrip(const Checkpoint& source, const QuantScheme& scheme, const WriteOptions& options = {}) {
    const QuantPlan plan = Plan(source, scheme);
    const auto written = Write(source, plan, options);
    ASSERT_TRUE(written.ok()) << written.status().message();
    const auto read = OpenCheckpoint(out());
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(read->warnings, std::vector<std::string>()) << DescribeScheme(scheme);
    const Checkpoint planned = ApplyQuantPlan(source, plan, &pool_);
    EXPECT_EQ(Logits(*read), Logits(planned)) << DescribeScheme(scheme);
    const PhiLayerWeights& got = read->weights.layers[1];
    const PhiLayerWeights& want = planned.weights.layers[1];
    EXPECT_EQ(got.fc2.input.kind, want.fc2.input.kind);
    EXPECT_EQ(got.fc2.weight.dtype, want.fc2.weight.dtype);
    EXPECT_EQ(read->integer.has_value(), scheme.integer);
    int64_t bytes = 0;
    for (const auto& [name, tensor] : read->store.tensors) {
      bytes += static_cast<int64_t>(tensor.bytes);
    }
    EXPECT_EQ(std::accumulate(written->bytes.begin(), written->bytes.end(), int64_t{0}), bytes);
    fs::remove_all(out());
  }

  TempDir dir_;
  ThreadPool pool_{2};
  CalibrationStats stats_;
};

TEST_F(CheckpointWriter, EverySchemeReadsBackToTheBit) {
  const Checkpoint source = Source(GroupedConfig(), {.dtype = DType::kBF16, .vector_dtype = DType::kBF16});
  for (const RangeKind weights :
       {RangeKind::kSymmetric, RangeKind::kAsymmetric, RangeKind::kPercentile, RangeKind::kMse}) {
    for (const Granularity granularity : {Granularity::kTensor, Granularity::kChannel}) {
      for (const RangeKind activations : {RangeKind::kNone, RangeKind::kSymmetric, RangeKind::kAsymmetric,
                                          RangeKind::kPercentile, RangeKind::kMse, RangeKind::kDynamic}) {
        QuantScheme scheme;
        scheme.weights = weights;
        scheme.granularity = granularity;
        scheme.activations = activations;
        ExpectRoundTrip(source, scheme);
      }
    }
  }
}

TEST_F(CheckpointWriter, SmoothedSkippedAndWithLmHeadReadsBackToo) {
  const Checkpoint source = Source(GroupedConfig(), {.dtype = DType::kF16, .vector_dtype = DType::kF16});
  QuantScheme scheme;
  scheme.smoothing = Smoothing::kAuto;
  scheme.lm_head = LmHead::kInt8;
  ExpectRoundTrip(source, scheme);
  ExpectRoundTrip(source, scheme, {.shards = {.shard_bytes = 5000}});
  scheme.integer = true;
  ExpectRoundTrip(source, scheme);
  scheme.integer = false;
  scheme.smoothing = Smoothing::kFixed;
  scheme.skip = {"model.layers.0.self_attn.*", "fc2"};
  ExpectRoundTrip(source, scheme);
  scheme.skip = {"lm_head"};
  ExpectRoundTrip(source, scheme);
}

TEST_F(CheckpointWriter, OtherNamingsBecomePhi) {
  for (const TensorNaming naming : {TensorNaming::kPhiMsft, TensorNaming::kMixformerSequential}) {
    const Checkpoint source = Source(SmallConfig(), {.naming = naming, .dtype = DType::kF16});
    ExpectRoundTrip(source, {});
    fs::remove_all(dir_ / "source");
  }
}

TEST_F(CheckpointWriter, TiedEmbeddings) {
  PhiConfig config = SmallConfig();
  config.tie_word_embeddings = true;
  const Checkpoint source = Source(config, {.dtype = DType::kF16});
  ExpectRoundTrip(source, {});
  QuantScheme scheme;
  scheme.lm_head = LmHead::kInt8;
  ExpectRoundTrip(source, scheme);
}

// 4-bit rows, steps and inputs as planned.
void ExpectSameInt4(const Checkpoint& read, const Checkpoint& planned) {
  for (size_t i = 0; i < planned.weights.layers.size(); ++i) {
    const PhiLayerWeights& got = read.weights.layers[i];
    const PhiLayerWeights& want = planned.weights.layers[i];
    for (const auto part :
         {&PhiLayerWeights::q_proj, &PhiLayerWeights::dense, &PhiLayerWeights::fc1, &PhiLayerWeights::fc2}) {
      const LinearWeights& a = got.*part;
      const LinearWeights& b = want.*part;
      ASSERT_EQ(a.weight.dtype, b.weight.dtype) << a.name;
      const auto bytes = static_cast<size_t>(a.weight.rows * a.weight.RowBytes());
      EXPECT_EQ(std::memcmp(a.weight.data, b.weight.data, bytes), 0) << a.name;
      EXPECT_EQ(a.quant.scale, b.quant.scale) << a.name;
      EXPECT_EQ(a.quant.multiplier, b.quant.multiplier) << a.name;
      EXPECT_EQ(a.quant.group, b.quant.group) << a.name;
      EXPECT_EQ(a.input, b.input) << a.name;
      EXPECT_EQ(a.bias, b.bias) << a.name;
    }
  }
}

TEST_F(CheckpointWriter, FourBitsReadBackToTheBit) {
  const Checkpoint source = Source(GroupedConfig(), {.dtype = DType::kF16, .vector_dtype = DType::kF16});
  QuantScheme scheme;
  scheme.weight_bits = 4;
  for (const RangeKind kind : {RangeKind::kSymmetric, RangeKind::kMse}) {
    for (const int64_t group : {32, 64, 128}) {
      for (const RangeKind inputs : {RangeKind::kNone, RangeKind::kMse, RangeKind::kDynamic}) {
        scheme.weights = kind;
        scheme.group = group;
        scheme.activations = inputs;
        scheme.eight_bits = group == 64 ? std::vector<std::string>{"fc2", "model.layers.0.self_attn.dense"}
                                        : std::vector<std::string>{};
        scheme.lm_head = group == 32 ? LmHead::kInt8 : LmHead::kFloat;
        const QuantPlan plan = Plan(source, scheme);
        const auto written = Write(source, plan);
        ASSERT_TRUE(written.ok()) << written.status().message();
        const auto read = OpenCheckpoint(out());
        ASSERT_TRUE(read.ok()) << read.status().message();
        EXPECT_EQ(read->warnings, std::vector<std::string>()) << DescribeScheme(scheme);
        ExpectSameInt4(*read, ApplyQuantPlan(source, plan, &pool_));
        EXPECT_EQ(read->weights.lm_head.weight.dtype, group == 32 ? DType::kI8 : DType::kF16);
        EXPECT_NE(CheckNotQuantized(*read).message().find("is quantised already"), std::string::npos);
        fs::remove_all(out());
      }
    }
  }
}

TEST_F(CheckpointWriter, FourBitsAreWrittenAsCompressedTensorsHasThem) {
  const Checkpoint source = Source(GroupedConfig(), {.dtype = DType::kF16, .vector_dtype = DType::kF16});
  QuantScheme scheme;
  scheme.weight_bits = 4;
  scheme.weights = RangeKind::kMse;
  scheme.group = 32;
  ASSERT_TRUE(Write(source, Plan(source, scheme)).ok());
  auto read = OpenCheckpoint(out());
  ASSERT_TRUE(read.ok()) << read.status().message();
  const std::string k = "model.layers.1.self_attn.k_proj";
  ExpectStored(*read, k + ".weight_packed", DType::kI32, {14, 6});  // 42 columns
  ExpectStored(*read, k + ".weight_scale", DType::kF32, {14, 2});
  ExpectStored(*read, k + ".weight_shape", DType::kI64, {2});
  ExpectStored(*read, k + ".input_scale", DType::kF32, {1});
  EXPECT_FALSE(read->store.tensors.contains(k + ".weight"));
  const auto config = [&] { return nlohmann::json::parse(*ReadFile(out() + "/config.json", 1 << 20)); };
  EXPECT_EQ(config()["quantization_config"]["format"], "pack-quantized");
  EXPECT_EQ(config()["quantization_config"]["config_groups"]["group_0"]["weights"],
            nlohmann::json::parse(R"({"num_bits":4,"type":"int","symmetric":true,"strategy":"group","group_size":32,
                                      "dynamic":false,"observer":"minmax"})"));
  // Another program's reading of it is ours: without the constants nothing is lost but digits of the steps.
  const WeightQuant ours = read->weights.layers[1].k_proj.quant;
  fs::remove(out() + "/phidias_int4.safetensors");
  read = OpenCheckpoint(out());
  ASSERT_TRUE(read.ok()) << read.status().message();
  const WeightQuant fitted = read->weights.layers[1].k_proj.quant;
  EXPECT_EQ(fitted.multiplier, ours.multiplier);
  for (size_t n = 0; n < ours.scale.size(); ++n) {
    EXPECT_FLOAT_EQ(fitted.scale[n], ours.scale[n]);
  }

  fs::remove_all(out());
  scheme.eight_bits = {"fc2"};
  ASSERT_TRUE(Write(source, Plan(source, scheme)).ok());
  const nlohmann::json mixed = config()["quantization_config"];
  EXPECT_EQ(mixed["format"], "mixed-precision");
  EXPECT_EQ(mixed["config_groups"]["group_0"]["format"], "pack-quantized");
  EXPECT_EQ(mixed["config_groups"]["group_1"]["format"], "int-quantized");
  EXPECT_EQ(mixed["config_groups"]["group_1"]["targets"],
            (std::vector<std::string>{"model.layers.0.mlp.fc2", "model.layers.1.mlp.fc2"}));
}

TEST_F(CheckpointWriter, WritesTensorsAndConfigurationAsCompressedTensorsHasThem) {
  const Checkpoint source = Source(GroupedConfig(), {.dtype = DType::kF16, .vector_dtype = DType::kF16});
  WriteText(dir_ / "source/tokenizer.json", "{\"kept\": \"as it is\"}");
  WriteText(dir_ / "source/generation_config.json", "{}");
  QuantScheme scheme;
  scheme.weights = RangeKind::kAsymmetric;
  scheme.smoothing = Smoothing::kFixed;
  WriteOptions options;
  options.calibration = {"data.jsonl", "abc", 4, 120};
  ASSERT_TRUE(Write(source, Plan(source, scheme), options).ok());
  const auto read = OpenCheckpoint(out());
  ASSERT_TRUE(read.ok()) << read.status().message();
  const std::string k = "model.layers.1.self_attn.k_proj";
  ExpectStored(*read, k + ".weight", DType::kI8, {14, 42});
  ExpectStored(*read, k + ".weight_scale", DType::kF32, {14, 1});
  ExpectStored(*read, k + ".weight_zero_point", DType::kI8, {14, 1});
  ExpectStored(*read, k + ".input_scale", DType::kF32, {1});
  ExpectStored(*read, k + ".input_zero_point", DType::kI8, {1});
  ExpectStored(*read, k + ".bias", DType::kF16, {14});
  ExpectStored(*read, "model.layers.1.self_attn.v_proj.bias", DType::kF32, {14});  // smoothing changed it
  ExpectStored(*read, "model.layers.0.input_layernorm.weight", DType::kF32, {42});
  ExpectStored(*read, "model.final_layernorm.weight", DType::kF16, {42});
  ExpectStored(*read, "lm_head.weight", DType::kF16, {96, 42});
  ExpectStored(*read, "model.embed_tokens.weight", DType::kF16, {96, 42});
  EXPECT_EQ(*ReadFile(out() + "/tokenizer.json", 100), "{\"kept\": \"as it is\"}");
  EXPECT_TRUE(FileExists(out() + "/generation_config.json"));
  const auto config = nlohmann::json::parse(*ReadFile(out() + "/config.json", 1 << 20));
  EXPECT_EQ(config["quantization_config"]["ignore"], nlohmann::json({"lm_head"}));
  EXPECT_EQ(config["num_key_value_heads"], 2);
  const auto report = nlohmann::json::parse(*ReadFile(out() + "/quantization_report.json", 1 << 20));
  EXPECT_EQ(report["scheme"]["weights"], "asymmetric");
  EXPECT_EQ(report["calibration"]["rows"], 4);
  EXPECT_EQ(report["smoothing_alpha_per_layer"][1]["layer_norm"], 0.5);
  EXPECT_EQ(report["linear_layers"].size(), 13U);
  EXPECT_EQ(report["linear_layers"][0]["name"], "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(report["bytes"]["lm_head"]["source"], 96 * 42 * 2 + 96 * 2);
}

TEST_F(CheckpointWriter, AGgufTokenizerBecomesTokenizerJson) {
  const std::string demo = std::string(PHIDIAS_SOURCE_DIR) + "/models/demo";
  const auto parts = ReadTokenizerJson(demo + "/tokenizer.json");
  ASSERT_TRUE(parts.ok()) << parts.status().message();
  WriteText(dir_ / "tokenizer.json", TokenizerJsonText(*parts));
  const auto want = Tokenizer::Load(demo);
  const auto read = Tokenizer::Load(dir_.path());
  ASSERT_TRUE(want.ok() && read.ok()) << read.status().message();
  for (const char* text : {"Instruct: Tell  me a story\n\t\tc", "na\xC3\xAFve <|endoftext|> \xF0\x9F\x98\x80", ""}) {
    EXPECT_EQ(*read->Encode(text), *want->Encode(text)) << text;
    EXPECT_EQ(*read->Encode(text, false), *want->Encode(text, false)) << text;
  }
}

TEST_F(CheckpointWriter, AGgufSourceWithABrokenTokenizerIsNamed) {
  const std::string path = std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/tiny-phi2-fused.gguf";
  const auto source = OpenCheckpoint(path);
  ASSERT_TRUE(source.ok()) << source.status().message();
  QuantScheme scheme;
  scheme.activations = RangeKind::kDynamic;
  const auto written = Write(*source, Plan(*source, scheme));
  EXPECT_NE(written.status().message().find("tiny-phi2-fused.gguf: merge 0"), std::string::npos)
      << written.status().message();
  EXPECT_EQ(Around(), std::vector<std::string>());
}

TEST_F(CheckpointWriter, RefusesAnExistingOutput) {
  const Checkpoint source = Source(SmallConfig());
  const QuantPlan plan = Plan(source, {});
  const auto message = [&](bool force) { return Write(source, plan, {.force = force}).status().message(); };
  WriteText(out(), "a file");
  EXPECT_EQ(message(false), out() + ": exists already; use --force to replace it, or name another output");
  EXPECT_EQ(message(true), out() + ": is there and isn't a directory; name another output");
  fs::remove(out());
  fs::create_directories(out() + "/sub");
  EXPECT_NE(message(true).find("would delete \"sub\""), std::string::npos) << message(true);
  fs::remove(out() + "/sub");
  WriteText(out() + "/diary.txt", "dear diary");
  EXPECT_NE(message(true).find("no config.json"), std::string::npos) << message(true);
  EXPECT_TRUE(FileExists(out() + "/diary.txt"));
  WriteText(out() + "/config.json", "{}");
  EXPECT_EQ(message(true), "");
  EXPECT_FALSE(FileExists(out() + "/diary.txt"));
  EXPECT_TRUE(OpenCheckpoint(out()).ok());
  EXPECT_EQ(message(true), "");
  EXPECT_EQ(Around(), (std::vector<std::string>{"out", "source"}));
}

TEST_F(CheckpointWriter, NeverReplacesItsOwnSource) {
  const Checkpoint source = Source(SmallConfig());
  const QuantPlan plan = Plan(source, {});
  for (const std::string& path : {dir_ / "source", dir_ / "source/", dir_.path(), dir_ / "source/../source"}) {
    const auto written = WriteQuantizedCheckpoint(source, plan, path, {.force = true}, &pool_);
    EXPECT_NE(written.status().message().find("is or holds the model that is being read"), std::string::npos)
        << path << ": " << written.status().message();
  }
  EXPECT_TRUE(OpenCheckpoint(dir_ / "source").ok());
}

TEST_F(CheckpointWriter, FloatWeightsHaveNoFormToBeWrittenIn) {
  const Checkpoint source = Source(SmallConfig());
  QuantScheme scheme;
  scheme.weights = RangeKind::kNone;
  EXPECT_NE(Write(source, Plan(source, scheme)).status().message().find("--weights none"), std::string::npos);
}

TEST_F(CheckpointWriter, CancelledLeavesNothing) {
  const Checkpoint source = Source(SmallConfig());
  std::atomic<bool> cancel{false};
  WriteOptions options;
  options.shards.cancel = &cancel;
  options.shards.progress = [&](int64_t done, int64_t total) { cancel = done > total / 2; };
  const auto written = Write(source, Plan(source, {}), options);
  EXPECT_EQ(written.status().code(), StatusCode::kCancelled);
  EXPECT_EQ(Around(), (std::vector<std::string>{"source"}));
}

TEST_F(CheckpointWriter, AFullDiskLeavesNothingAndKeepsTheOldModel) {
  const Checkpoint source = Source(SmallConfig());
  const QuantPlan plan = Plan(source, {});
  ASSERT_TRUE(Write(source, plan).ok());
  const std::vector<float> before = Logits(*OpenCheckpoint(out()));
  // The limit on a file's size stands for the full disk: write() fails half-way.
  struct rlimit old = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {60000, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto written = Write(source, plan, {.force = true});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_FALSE(written.ok());
  EXPECT_NE(written.status().message().find("cannot write: File too large"), std::string::npos)
      << written.status().message();
  EXPECT_EQ(Around(), (std::vector<std::string>{"out", "source"}));
  EXPECT_EQ(Logits(*OpenCheckpoint(out())), before);
}

}  // namespace
}  // namespace phidias
