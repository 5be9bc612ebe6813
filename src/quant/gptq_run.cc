#include "quant/gptq_run.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "numerics/quantize.h"
#include "quant/fingerprint.h"
#include "quant/gptq.h"
#include "quant/gptq_state.h"
#include "quant/hessian.h"
#include "quant/layer_stream.h"
#include "quant/quantizer.h"

namespace phidias {
namespace {

// An input and the 4-bit linear layers that read it.
struct SharedInput {
  const char* name;   // for messages
  const char* trace;  // as LayerStream names it
  std::vector<LinearPlan*> readers;
};

std::vector<SharedInput> InputsOf(LayerPlan* layer) {
  std::vector<SharedInput> all = {{"input_layernorm's output",
                                   "layers.0.input_layernorm.out",
                                   {&layer->q_proj, &layer->k_proj, &layer->v_proj, &layer->fc1}},
                                  {"self_attn.dense's input", "layers.0.self_attn.dense.in", {&layer->dense}},
                                  {"mlp.fc2's input", "layers.0.mlp.fc2.in", {&layer->fc2}}};
  std::vector<SharedInput> used;
  for (SharedInput& input : all) {
    std::erase_if(input.readers, [](const LinearPlan* linear) { return !linear->FourBits(); });
    if (!input.readers.empty()) {
      used.push_back(std::move(input));
    }
  }
  return used;
}

class GptqRun {
 public:
  GptqRun(const Checkpoint& source, std::span<const std::vector<int32_t>> rows, const GptqOptions& options,
          ThreadPool* pool, QuantPlan* plan)
      : source_(source), rows_(rows), options_(options), pool_(pool), plan_(*plan), stream_(source, rows, options.cpu) {
    if (!options.state_path.empty()) {
      model_fingerprint_ = CheckpointFingerprint(source);
    }
  }

  Status Go() {
    if (stream_.tokens() == 0) {
      return InvalidArgument("--weights gptq: the calibration data holds no tokens");
    }
    for (size_t i = 0; i < plan_.layers.size(); ++i) {
      LayerPlan& layer = plan_.layers[i];
      const std::string fingerprint = FingerprintOf(layer);
      const std::string file =
          options_.state_path.empty() ? "" : GptqStateFile(options_.state_path, static_cast<int64_t>(i));
      bool done = false;
      if (!file.empty()) {
        ASSIGN_OR_RETURN(done, ReadGptqState(file, fingerprint, &layer));
      }
      if (!done) {
        RETURN_IF_ERROR(QuantizeLayer(i).WithContext(StrCat(source_.path, ": layer ", i)));
        RETURN_IF_ERROR(file.empty() ? Status() : WriteGptqState(file, fingerprint, layer));
      }
      if (i + 1 < plan_.layers.size()) {
        RETURN_IF_ERROR(Move(i));
      }
      if (options_.progress) {
        options_.progress(static_cast<int64_t>(i) + 1, static_cast<int64_t>(plan_.layers.size()));
      }
    }
    return {};
  }

 private:
  // Everything that the layer's result depends on, beside the layers before it, whose states have theirs.
  std::string FingerprintOf(const LayerPlan& layer) const {
    Fingerprint all;
    all.Add(model_fingerprint_);
    all.Add(std::string(options_.cpu.fast_float ? "fast" : "exact"));
    for (const std::vector<int32_t>& row : rows_) {
      all.Add(std::as_bytes(std::span(row)));
    }
    for (const LinearPlan* linear : layer.Linears()) {
      all.Add(linear->quant.group);
      all.Add(std::as_bytes(std::span(linear->quant.scale)));
      all.Add(std::as_bytes(std::span(linear->source.column_factor)));
      all.Add(std::as_bytes(std::span(&linear->input.scale, 1)));
      all.Add(int64_t{linear->input.zero_point});
    }
    return all.Hex();
  }

  Status QuantizeLayer(size_t index) {
    std::vector<SharedInput> inputs = InputsOf(&plan_.layers[index]);
    ASSIGN_OR_RETURN(std::vector<Hessian> hessians, HessiansOf(index, inputs));
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Result<HessianFactor> factor = FactorHessian(std::move(hessians[i]), pool_);
      if (!factor.ok()) {
        return factor.status().WithContext(inputs[i].name);
      }
      for (LinearPlan* linear : inputs[i].readers) {
        linear->packed = std::make_shared<const std::vector<std::byte>>(
            QuantizeGptq(linear->source, *factor, &linear->quant, pool_));
      }
    }
    return {};
  }

  // With the layer's own weights in float: its inputs are what the quantised layers before it make.
  Result<std::vector<Hessian>> HessiansOf(size_t index, const std::vector<SharedInput>& inputs) {
    LayerPlan plain = plan_.layers[index];
    for (LinearPlan* linear : plain.Linears()) {
      linear->quantize = false;
    }
    TensorStore store;
    const PhiLayerWeights weights = ApplyLayerPlan(source_.weights.layers[index], plain, pool_, &store);
    std::vector<Hessian> hessians;
    for (const SharedInput& input : inputs) {
      hessians.emplace_back(input.readers.front()->source.matrix.cols);
    }
    std::vector<float> x;
    const auto see = [&](const std::string& name, int64_t cols, std::span<const float> values) {
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (name == inputs[i].trace) {
          x.assign(values.begin(), values.end());
          AsQuantized(inputs[i].readers.front()->input, &x);
          hessians[i].Add(static_cast<int64_t>(x.size()) / cols, x.data(), pool_);
        }
      }
    };
    RETURN_IF_ERROR(stream_.Run(weights, false, see, options_.cancel));
    return hessians;
  }

  // The values that products see.
  static void AsQuantized(const InputQuant& how, std::vector<float>* x) {
    if (how.kind != InputQuant::Kind::kStatic) {
      return;
    }
    const float inverse = 1.0F / how.scale;
    for (float& value : *x) {
      const int32_t q = numerics::QuantizeS8(value, inverse, static_cast<float>(how.zero_point));
      value = numerics::DequantizeS8(q, how.zero_point, how.scale);
    }
  }

  Status Move(size_t index) {
    TensorStore store;
    const PhiLayerWeights weights = ApplyLayerPlan(source_.weights.layers[index], plan_.layers[index], pool_, &store);
    return stream_.Run(weights, true, {}, options_.cancel);
  }

  const Checkpoint& source_;
  std::span<const std::vector<int32_t>> rows_;
  const GptqOptions& options_;
  ThreadPool* pool_;
  QuantPlan& plan_;
  LayerStream stream_;
  std::string model_fingerprint_;
};

}  // namespace

Status RunGptq(const Checkpoint& source, std::span<const std::vector<int32_t>> rows, const GptqOptions& options,
               ThreadPool* pool, QuantPlan* plan) {
  if (!plan->FourBits()) {
    return {};
  }
  return GptqRun(source, rows, options, pool, plan).Go();
}

void RemoveGptqState(const std::string& state_path, int64_t n_layers) {
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    std::remove(GptqStateFile(state_path, layer).c_str());
  }
}

}  // namespace phidias
