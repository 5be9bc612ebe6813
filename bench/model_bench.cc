// Whole models of random weights, made in memory: int8 against 4 bits in one process, generation and prompts, in both
// arithmetics. --shape=NAME: phi-2 (default), phi-1.5, phi-1. For pairs under the same conditions:
//   model_bench --benchmark_repetitions=5 --benchmark_enable_random_interleaving=true
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/loaded_model.h"
#include "numerics/random.h"
#include "perf/step_run.h"
#include "quant/synthetic.h"

namespace phidias {
namespace {

// What the linear layers of a model are: 8 bits, or 4 with groups.
struct WeightKind {
  const char* name;
  int64_t group;  // 0: int8
};
constexpr WeightKind kKinds[] = {{"I8", 0}, {"I4g32", 32}, {"I4g128", 128}};

constexpr float kDeviation = 0.02F;  // of the weights

class ModelMaker {
 public:
  ModelMaker(const PhiConfig& config, int64_t group) : group_(group) {
    model_->config = config;
    static const auto kBytes =
        RandomBytes(std::max(config.vocab_size, config.intermediate_size) * config.hidden_size * 2);
    model_->store.owned.push_back(kBytes);
  }

  std::shared_ptr<const Checkpoint> Make();

 private:
  // Also finite as float16: the top bit of the exponent stays 0.
  static std::shared_ptr<std::vector<std::byte>> RandomBytes(int64_t count) {
    auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(count));
    for (size_t i = 0; i + 8 <= bytes->size(); i += 8) {
      const uint64_t bits = numerics::RandomBits(1, 1, i / 8) & 0xbfffbfffbfffbfffU;
      std::memcpy(bytes->data() + i, &bits, sizeof bits);
    }
    return bytes;
  }
  // All matrices of all models are the same bytes: the back end copies them.
  WeightMatrix Matrix(DType dtype, int64_t rows, int64_t cols) const {
    return {dtype, model_->store.owned.back()->data(), rows, cols};
  }
  LayerNormWeights Norm(std::string name) const {
    const auto size = static_cast<size_t>(model_->config.hidden_size);
    return {std::move(name), std::vector<float>(size, 1.0F), std::vector<float>(size)};
  }
  LinearWeights Linear(std::string name, int64_t rows, int64_t cols) const;

  int64_t group_;
  std::shared_ptr<Checkpoint> model_ = std::make_shared<Checkpoint>();
};

LinearWeights ModelMaker::Linear(std::string name, int64_t rows, int64_t cols) const {
  LinearWeights linear;
  linear.name = std::move(name);
  linear.weight = Matrix(group_ > 0 ? DType::kI4 : DType::kI8, rows, cols);
  linear.bias.assign(static_cast<size_t>(rows), 0.0F);
  // Uniform bytes have a deviation of 74, uniform half bytes one of 4.6, and the multipliers are 40.
  const float units = group_ > 0 ? 4.6F * 40 : 74.0F;
  linear.quant.scale.assign(static_cast<size_t>(rows), kDeviation / units);
  if (group_ > 0) {
    linear.quant.group = group_;
    linear.quant.multiplier.assign(static_cast<size_t>(rows * linear.quant.Groups(cols)), uint8_t{40});
  }
  linear.input = {.kind = InputQuant::Kind::kStatic, .symmetric = false, .scale = 0.04F, .zero_point = -3};
  return linear;
}

std::shared_ptr<const Checkpoint> ModelMaker::Make() {
  const PhiConfig& config = model_->config;
  const int64_t hidden = config.hidden_size;
  IntegerConstants integer;
  integer.final_norm_scale = 5.0F / 32767.0F;
  for (int64_t i = 0; i < config.n_layers; ++i) {
    const std::string stem = StrCat("model.layers.", i);
    model_->weights.layers.push_back({.input_layernorm = Norm(stem + ".input_layernorm"),
                                      .q_proj = Linear(stem + ".self_attn.q_proj", hidden, hidden),
                                      .k_proj = Linear(stem + ".self_attn.k_proj", config.kv_size(), hidden),
                                      .v_proj = Linear(stem + ".self_attn.v_proj", config.kv_size(), hidden),
                                      .dense = Linear(stem + ".self_attn.dense", hidden, hidden),
                                      .fc1 = Linear(stem + ".mlp.fc1", config.intermediate_size, hidden),
                                      .fc2 = Linear(stem + ".mlp.fc2", hidden, config.intermediate_size)});
    integer.layers.push_back({.q_scale = std::vector<float>(static_cast<size_t>(config.n_heads), 0.05F),
                              .k_scale = std::vector<float>(static_cast<size_t>(config.n_kv_heads), 0.05F),
                              .v_scale = std::vector<float>(static_cast<size_t>(config.n_kv_heads), 0.05F),
                              .fc1_scale = 0.04F,
                              .fc1_zero_point = 0});
  }
  model_->integer = integer;
  model_->weights.final_layernorm = Norm("model.final_layernorm");
  model_->weights.embed_tokens = Matrix(DType::kF16, config.vocab_size, hidden);
  model_->weights.lm_head.name = "lm_head";
  model_->weights.lm_head.weight = Matrix(DType::kF16, config.vocab_size, hidden);
  return model_;
}

// Models stay loaded, one for each kind and arithmetic, so that repetitions can take turns.
Phi& LoadedPhi(const PhiConfig& config, const WeightKind& kind, Arithmetic arithmetic) {
  static std::map<std::pair<std::string_view, Arithmetic>, std::unique_ptr<Phi>> loaded;
  std::unique_ptr<Phi>& phi = loaded[{kind.name, arithmetic}];
  if (phi == nullptr) {
    const auto checkpoint = ModelMaker(config, kind.group).Make();
    phi =
        *Phi::Create(checkpoint, *CreateBackend(*checkpoint, {.isa = "", .weights = WeightPlace::kCopied}, arithmetic));
  }
  return *phi;
}

void Measure(benchmark::State& state, Phi& phi, Arithmetic arithmetic, const RunShape& shape) {
  auto run = StepRun::Create(phi, shape, nullptr);
  if (!run.ok()) {
    state.SkipWithError(run.status().message().c_str());
    return;
  }
  for (auto _ : state) {
    if (const Status status = run->Run(nullptr); !status.ok()) {
      state.SkipWithError(status.message().c_str());
      return;
    }
  }
  const StepCost cost = run->Cost(ModelCost(phi.checkpoint(), arithmetic, run->kv_bytes_per_position()));
  const auto rate = [](double each) { return benchmark::Counter(each, benchmark::Counter::kIsIterationInvariantRate); };
  state.counters["tokens/s"] = rate(static_cast<double>(shape.tokens()));
  state.counters["GB/s"] = rate(static_cast<double>(cost.bytes) * 1e-9);
  state.counters["GMAC/s"] = rate(static_cast<double>(cost.products) * 1e-9);
}

void RegisterAll(const PhiConfig& config) {
  constexpr int64_t kPrompt = 512;
  constexpr int64_t kGenerate = 16;
  for (const Arithmetic arithmetic : {Arithmetic::kFloat, Arithmetic::kInteger}) {
    for (const bool prompt : {false, true}) {
      for (const WeightKind& kind : kKinds) {
        const std::string name = StrCat(arithmetic == Arithmetic::kFloat ? "float/" : "integer/",
                                        prompt ? "prompt/" : "generate/", kind.name);
        const RunShape shape = {.prompt = prompt ? kPrompt : 0, .generate = prompt ? 0 : kGenerate};
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=, &config](benchmark::State& state) {
                                       Measure(state, LoadedPhi(config, kind, arithmetic), arithmetic, shape);
                                     })
            ->UseRealTime()
            ->Iterations(1)
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
}

}  // namespace
}  // namespace phidias

int main(int argc, char** argv) {
  constexpr std::string_view kFlag = "--shape=";
  std::string shape = "phi-2";
  char** const end = std::remove_if(argv, argv + argc, [&](std::string_view argument) {
    const bool ours = argument.starts_with(kFlag);
    shape = ours ? std::string(argument.substr(kFlag.size())) : shape;
    return ours;
  });
  argc = static_cast<int>(end - argv);
  const auto config = phidias::PresetShape(shape);
  if (!config.ok()) {
    std::fprintf(stderr, "model_bench: --shape: %s\n", config.status().message().c_str());
    return 2;
  }
  phidias::RegisterAll(*config);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
