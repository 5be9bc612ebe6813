// The whole model against Hugging Face's PhiForCausalLM (float32, eager attention): every named activation of
// tiny-phi2, in every container and naming; logits and greedy text of the demo model; the int8 models against the same
// W8A8 arithmetic in PyTorch; and that batch size, thread count and instruction set change no bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "backend/cpu/kernels.h"
#include "engine/generate.h"
#include "engine/loaded_model.h"
#include "model/files/safetensors.h"
#include "numerics/bits.h"
#include "numerics/quantize.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/goldens.h"

namespace phidias {
namespace {

struct Matrix {
  int64_t cols = 0;
  std::vector<float> values;
};
using Trace = std::map<std::string, Matrix>;

LoadedModel Load(const std::string& path, const CpuOptions& cpu = {}, bool need_tokenizer = false,
                 WeightLoad load = WeightLoad::kMmap) {
  Result<LoadedModel> model = LoadModel({.path = path, .cpu = cpu, .need_tokenizer = need_tokenizer, .load = load});
  EXPECT_TRUE(model.ok()) << model.status().message();
  return std::move(*model);
}

// Runs `ids` in steps of `batch` rows, all wanting logits, and collects what the trace shows.
Trace RunTrace(Phi& phi, const std::vector<int32_t>& ids, int64_t batch) {
  Trace trace;
  Result<KvCache> cache = phi.NewKvCache(static_cast<int64_t>(ids.size()));
  EXPECT_TRUE(cache.ok());
  const auto sink = [&](const std::string& name, int64_t cols, std::span<const float> values) {
    Matrix& matrix = trace[name];
    matrix.cols = cols;
    matrix.values.insert(matrix.values.end(), values.begin(), values.end());
  };
  for (int64_t begin = 0; begin < static_cast<int64_t>(ids.size()); begin += batch) {
    std::vector<StepRow> rows;
    for (int64_t pos = begin; pos < std::min<int64_t>(begin + batch, static_cast<int64_t>(ids.size())); ++pos) {
      rows.push_back({.token = ids[static_cast<size_t>(pos)],
                      .pos = static_cast<int32_t>(pos),
                      .kv = cache->store(),
                      .wants_logits = true});
    }
    const auto logits = phi.Step(rows, {.trace = sink});
    EXPECT_TRUE(logits.ok()) << logits.status().message();
  }
  return trace;
}

// ||got - want|| / ||want|| in the Frobenius norm.
double RelativeError(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(difference / norm);
}

// A sum of K rounded products has a relative error of about sqrt(K) * 2^-24 in norm (random roundings), on our side and
// on the reference's; a layer chains six such sums (norm, q k v, scores, PV and dense; fc1, fc2 beside them), and
// errors of layers add up.
double Tolerance(int64_t layers_before, int64_t largest_k) {
  constexpr double kSumsPerLayer = 6;
  return 2 * kSumsPerLayer * static_cast<double>(layers_before + 1) * std::sqrt(static_cast<double>(largest_k)) *
         std::ldexp(1.0, -24);
}

int64_t LayersBefore(const std::string& name, int64_t n_layers) {
  if (name.starts_with("layers.")) {
    return std::stoll(name.substr(7));
  }
  return name.starts_with("embed") ? 0 : n_layers;
}

void ExpectGolden(const Trace& trace, const TensorStore& golden, const PhiConfig& config) {
  for (const auto& [name, tensor] : golden.tensors) {
    if (name == "input_ids") {
      continue;
    }
    const auto found = trace.find(name);
    ASSERT_NE(found, trace.end()) << "no activation " << name;
    ASSERT_EQ(found->second.cols, tensor.shape.back()) << name;
    const double error = RelativeError(found->second.values, Values<float>(golden, name));
    EXPECT_LT(error, Tolerance(LayersBefore(name, config.n_layers), config.intermediate_size)) << name;
  }
  EXPECT_EQ(trace.size() + 1, golden.tensors.size());
}

class TinyPhi2 : public testing::TestWithParam<const char*> {};

TEST_P(TinyPhi2, EveryActivationIsTheGoldenOne) {
  const LoadedModel model = Load(kGolden + GetParam());
  const Result<TensorStore> golden = ReadSafetensors(kGolden + "tiny-phi2/golden.safetensors");
  ASSERT_TRUE(golden.ok());
  ExpectGolden(RunTrace(*model.phi, Values<int32_t>(*golden, "input_ids"), 1000), *golden, model.phi->config());
}

TEST_P(TinyPhi2, EveryContainerGivesTheSameBits) {
  const Result<TensorStore> golden = ReadSafetensors(kGolden + "tiny-phi2/golden.safetensors");
  ASSERT_TRUE(golden.ok());
  const std::vector<int32_t> ids = Values<int32_t>(*golden, "input_ids");
  const Trace want = RunTrace(*Load(kGolden + "tiny-phi2").phi, ids, 1000);
  const Trace got = RunTrace(*Load(kGolden + GetParam()).phi, ids, 1000);
  EXPECT_EQ(got.at("logits").values, want.at("logits").values);
}

INSTANTIATE_TEST_SUITE_P(Containers, TinyPhi2,
                         testing::Values("tiny-phi2", "tiny-phi2-bin", "tiny-phi2-msft", "tiny-phi2-fused.gguf"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

// int8. PyTorch divides by the input's scale where we multiply by its reciprocal, and its float operators round
// otherwise, so an input can be quantised to the neighbouring step here and there. Integer sums are exact and the rest
// of a linear layer is the same three roundings: a row whose input was quantised alike has equal bits at the output.

struct StepCount {
  int64_t differ = 0;
  int64_t all = 0;
};

// x / scale + zero_point, rounded and clamped: as PyTorch has it.
int32_t QuantizeByDivision(float x, const InputQuant& how) {
  const float t = x / how.scale + static_cast<float>(how.zero_point);
  return numerics::RoundHalfEven(std::clamp(t, -128.0F, 127.0F));
}

// Compares a layer's output in every row whose input is quantised to the golden's steps; counts the other steps.
void ExpectSameRows(const LinearWeights& linear, const Matrix& in, const Matrix& out, const TensorStore& golden,
                    const std::string& in_name, const std::string& out_name, StepCount* steps) {
  const std::vector<float> golden_in = Values<float>(golden, in_name);
  const std::vector<float> golden_out = Values<float>(golden, out_name);
  ASSERT_EQ(in.values.size(), golden_in.size());
  ASSERT_EQ(out.values.size(), golden_out.size());
  const size_t cols = static_cast<size_t>(in.cols);
  const size_t out_cols = static_cast<size_t>(out.cols);
  for (size_t row = 0; row < in.values.size() / cols; ++row) {
    int64_t differ = 0;
    for (size_t i = row * cols; i < (row + 1) * cols; ++i) {
      const int32_t ours =
          numerics::QuantizeS8(in.values[i], 1.0F / linear.input.scale, static_cast<float>(linear.input.zero_point));
      differ += ours != QuantizeByDivision(golden_in[i], linear.input) ? 1 : 0;
    }
    steps->differ += differ;
    steps->all += in.cols;
    for (size_t i = row * out_cols; differ == 0 && i < (row + 1) * out_cols; ++i) {
      ASSERT_EQ(numerics::BitsOf(out.values[i]), numerics::BitsOf(golden_out[i])) << out_name << " at " << i;
    }
  }
}

TEST(TinyPhi2Int8, EveryActivationIsTheGoldenOne) {
  const LoadedModel model = Load(kGolden + "tiny-phi2-int8");
  EXPECT_TRUE(model.checkpoint->warnings.empty());
  const Result<TensorStore> golden = ReadSafetensors(kGolden + "tiny-phi2-int8/golden.safetensors");
  ASSERT_TRUE(golden.ok());
  const Trace trace = RunTrace(*model.phi, Values<int32_t>(*golden, "input_ids"), 1000);
  StepCount steps;
  const auto expect_rows = [&](const LinearWeights& linear, const std::string& in) {
    const std::string out = linear.name.substr(std::strlen("model.")) + ".out";
    ExpectSameRows(linear, trace.at(in), trace.at(out), *golden, in, out, &steps);
  };
  for (size_t i = 0; i < model.checkpoint->weights.layers.size(); ++i) {
    const PhiLayerWeights& layer = model.checkpoint->weights.layers[i];
    const std::string prefix = StrCat("layers.", i, ".");
    for (const LinearWeights* linear : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.fc1}) {
      expect_rows(*linear, prefix + "input_layernorm.out");
    }
    expect_rows(layer.dense, prefix + "self_attn.dense.in");
    expect_rows(layer.fc2, prefix + "mlp.fc2.in");
  }
  ASSERT_GT(steps.all, 0);
  EXPECT_LT(static_cast<double>(steps.differ), 1e-3 * static_cast<double>(steps.all));
  // Hardly any step differs, so what is left are the roundings of the float operators: their bound.
  ExpectGolden(trace, *golden, model.phi->config());
}

void ExpectSameTrace(const Trace& got, const Trace& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, matrix] : want) {
    const std::vector<float>& values = got.at(name).values;
    ASSERT_EQ(values.size(), matrix.values.size()) << what << " " << name;
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(numerics::BitsOf(values[i]), numerics::BitsOf(matrix.values[i])) << what << " " << name << " at " << i;
    }
  }
}

class SameBits : public testing::TestWithParam<const char*> {};

TEST_P(SameBits, ForEveryBatchSizeThreadCountInstructionSetAndPlaceOfTheWeights) {
  const std::string path = kGolden + GetParam();
  const Result<TensorStore> golden = ReadSafetensors(kGolden + "tiny-phi2/golden.safetensors");
  ASSERT_TRUE(golden.ok());
  const std::vector<int32_t> ids = Values<int32_t>(*golden, "input_ids");
  const Trace want = RunTrace(*Load(path, {.threads = 1, .isa = "reference"}).phi, ids, 1000);
  for (const cpu::Kernels* kernels : cpu::AllKernels()) {
    if (!kernels->supported()) {
      continue;
    }
    for (const int threads : {1, 2, 3}) {
      for (const WeightLoad load : {WeightLoad::kMmap, WeightLoad::kCopy}) {
        const LoadedModel model = Load(path, {.threads = threads, .isa = kernels->isa}, false, load);
        for (const int64_t batch : {1, 5, 1000}) {
          ExpectSameTrace(
              RunTrace(*model.phi, ids, batch), want,
              StrCat(kernels->isa, load == WeightLoad::kCopy ? " copied, " : ", ", threads, " threads, batch ", batch));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SameBits, testing::Values("tiny-phi2", "tiny-phi2-int8"),
                         [](const auto& test) { return std::string(test.index == 0 ? "Float" : "Int8"); });

TEST(SharedStep, SequencesGetTheBitsThatTheyGetAlone) {
  const LoadedModel model = Load(kDemo);
  const std::vector<std::vector<int32_t>> texts = {{5, 6, 7, 8, 9}, {100, 200, 300}, {4000, 1, 2, 3, 4, 5, 6}};
  std::vector<std::vector<float>> alone;
  for (const auto& ids : texts) {
    alone.push_back(RunTrace(*model.phi, ids, 1000).at("logits").values);
  }
  std::vector<KvCache> caches;
  std::vector<StepRow> rows;
  for (size_t t = 0; t < texts.size(); ++t) {
    caches.push_back(*model.phi->NewKvCache(16));
  }
  for (size_t t = 0; t < texts.size(); ++t) {
    for (size_t pos = 0; pos < texts[t].size(); ++pos) {
      rows.push_back({texts[t][pos], static_cast<int32_t>(pos), caches[t].store(), true});
    }
  }
  const auto logits = model.phi->Step(rows);
  ASSERT_TRUE(logits.ok());
  size_t at = 0;
  for (const auto& want : alone) {
    ASSERT_EQ(std::memcmp(logits->data() + at, want.data(), want.size() * sizeof(float)), 0);
    at += want.size();
  }
}

nlohmann::json DemoGolden() {
  return nlohmann::json::parse(std::ifstream(kGolden + "demo-golden.json"));
}

TEST(DemoModel, LogitsOfThePromptsAreTheGoldenOnes) {
  const LoadedModel model = Load(kDemo);
  const Result<TensorStore> golden = ReadSafetensors(kGolden + "demo-logits.safetensors");
  ASSERT_TRUE(golden.ok());
  const auto prompts = DemoGolden()["prompts"];
  ASSERT_EQ(prompts.size(), 6U);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto ids = prompts[i]["prompt_ids"].get<std::vector<int32_t>>();
    const Trace trace = RunTrace(*model.phi, ids, 1000);
    const double error =
        RelativeError(trace.at("logits").values, Values<float>(*golden, "logits." + std::to_string(i)));
    EXPECT_LT(error, Tolerance(8, 1280)) << i;
  }
}

// The rule of demo-int8-logits: symmetric int8 weights per channel, absmax / 127.5; static asymmetric inputs from the
// golden's ranges; lm_head float.
void WriteInt8Demo(const std::string& dir) {
  const Result<Checkpoint> demo = OpenCheckpoint(kDemo);
  ASSERT_TRUE(demo.ok()) << demo.status().message();
  testing_support::BuiltTensors tensors;
  for (const auto& [name, tensor] : demo->store.tensors) {
    tensors[name] = {tensor.dtype, tensor.shape, {tensor.data, tensor.data + tensor.bytes}};
  }
  const nlohmann::json ranges = DemoGolden()["activation_ranges"];
  const QuantizationScheme scheme = {
      .weights = WeightScheme(), .input = InputQuant::Kind::kStatic, .input_symmetric = false};
  for (const std::string& name : testing_support::LayerLinearNames(demo->config.n_layers)) {
    const auto range = ranges.at(name).get<std::vector<float>>();
    testing_support::QuantizeLinear(name, scheme, {range[0], range[1]}, &tensors);
  }
  testing_support::WriteSafetensorsFile(dir + "/model.safetensors", tensors);
  nlohmann::json config = nlohmann::json::parse(std::ifstream(kDemo + "/config.json"));
  config["quantization_config"] = QuantizationConfigJson(scheme, {"lm_head"});
  testing_support::WriteText(dir + "/config.json", config.dump());
}

// One step of one input that differs is passed on: it moves the activations after it by a fraction of a step, which
// carries more inputs over a border, in its own and, through attention, in all later rows of the prompt. Those then
// have roundings of their own: they are off the golden by no more than two independent quantisations are, sqrt(2) times
// what quantising changes at all (int8 golden against float golden). All rows before, and all prompts without such a
// step, agree as the float model's do. A million inputs are quantised here; one in one prompt differs.
TEST(DemoModel, Int8LogitsOfThePromptsAreTheGoldenOnes) {
  const testing_support::TempDir dir;
  WriteInt8Demo(dir.path());
  const LoadedModel model = Load(dir.path());
  const Result<TensorStore> golden = ReadSafetensors(kGolden + "demo-int8-logits.safetensors");
  const Result<TensorStore> golden_float = ReadSafetensors(kGolden + "demo-logits.safetensors");
  ASSERT_TRUE(golden.ok() && golden_float.ok());
  const auto prompts = DemoGolden()["prompts"];
  const auto vocab_size = static_cast<size_t>(model.phi->config().vocab_size);
  int prompts_with_other_steps = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto ids = prompts[i]["prompt_ids"].get<std::vector<int32_t>>();
    const std::vector<float> logits = RunTrace(*model.phi, ids, 1000).at("logits").values;
    const std::vector<float> want = Values<float>(*golden, "logits." + std::to_string(i));
    const std::vector<float> want_float = Values<float>(*golden_float, "logits." + std::to_string(i));
    ASSERT_EQ(logits.size(), ids.size() * vocab_size);
    ASSERT_EQ(want.size(), logits.size());
    bool other_steps = false;
    for (size_t row = 0; row < ids.size(); ++row) {
      const auto row_of = [&](const std::vector<float>& values) {
        const auto begin = values.begin() + static_cast<int64_t>(row * vocab_size);
        return std::vector<float>(begin, begin + static_cast<int64_t>(vocab_size));
      };
      const double error = RelativeError(row_of(logits), row_of(want));
      other_steps = other_steps || error >= Tolerance(8, 1280);
      if (other_steps) {
        EXPECT_LT(error, std::sqrt(2.0) * RelativeError(row_of(want_float), row_of(want))) << i << ", row " << row;
      }
    }
    prompts_with_other_steps += other_steps ? 1 : 0;
  }
  EXPECT_LE(prompts_with_other_steps, 1);
}

TEST(DemoModel, GreedyTextIsTheGoldenOne) {
  const LoadedModel model = Load(kDemo, {}, true);
  const nlohmann::json golden = DemoGolden();
  for (const auto& prompt : golden["prompts"]) {
    const auto ids = model.tokenizer->Encode(prompt["prompt"].get<std::string>());
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(*ids, prompt["prompt_ids"].get<std::vector<int32_t>>());
    GenerateOptions options;
    options.sequence.max_new_tokens = 64;
    std::string streamed;
    const auto result = Generate(model, *ids, options, [&](std::string_view text) { streamed += text; });
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result->ids, prompt["greedy_ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(result->text, prompt["greedy_text"].get<std::string>());
    EXPECT_EQ(streamed, result->text);
  }
}

}  // namespace
}  // namespace phidias
