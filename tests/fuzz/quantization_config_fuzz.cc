// Any JSON as the quantization_config of a small model whose tensors fit the format's usual block: an answer or an
// error, and what is bound holds what LinearWeights promises. Where the block has 4-bit weights, the tensors are packed
// ones, of another program or with our own constants beside them. Bytes after a NUL byte change the tensors: pairs of
// (tensor, change) drop one, give it another type, another shape or other bytes.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "model/checkpoint.h"
#include "model/int4_binding.h"
#include "model/int4_constants_file.h"
#include "numerics/int4.h"
#include "numerics/quantize.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/int4_tensors.h"

namespace {

using phidias::DType;
using phidias::InputQuant;
using phidias::LinearWeights;
namespace support = phidias::testing_support;

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

phidias::PhiConfig OneLayer() {
  phidias::PhiConfig config = support::SmallConfig();
  config.vocab_size = 4;
  config.hidden_size = 4;
  config.intermediate_size = 6;
  config.n_layers = 1;
  config.n_heads = config.n_kv_heads = 2;
  config.head_dim = config.rotary_dim = 2;
  return config;
}

const support::BuiltTensors& GoodTensors() {
  static const support::BuiltTensors kTensors = [] {
    support::BuiltTensors tensors = support::BuildTensors(OneLayer());
    for (const std::string& name : support::LayerLinearNames(1)) {
      support::QuantizeLinear(name, {phidias::WeightScheme(), InputQuant::Kind::kStatic, false}, {}, &tensors);
    }
    return tensors;
  }();
  return kTensors;
}

const support::BuiltTensors& PackedTensors() {
  static const support::BuiltTensors kTensors = [] {
    support::BuiltTensors tensors = GoodTensors();
    const support::BuiltTensors floats = support::BuildTensors(OneLayer());
    for (const std::string& name : support::LayerLinearNames(1)) {
      tensors[name + ".weight"] = floats.at(name + ".weight");
      support::PackLinear(name, 32, DType::kF32, &tensors);
    }
    return tensors;
  }();
  return kTensors;
}

// Rows of one group, whose steps become row scales.
support::BuiltTensors ConstantsOf(const support::BuiltTensors& packed) {
  support::BuiltTensors constants;
  for (const std::string& name : support::LayerLinearNames(1)) {
    const support::BuiltTensor& scale = packed.at(name + ".weight_scale");
    const int64_t rows = scale.shape[0];
    constants[name + phidias::kRowScaleSuffix] = {DType::kF32, {rows}, scale.bytes};
    constants[name + phidias::kMultiplierSuffix] = {
        DType::kU8, {rows, 1}, std::vector<std::byte>(static_cast<size_t>(rows), std::byte{1})};
  }
  return constants;
}

bool FourBits(const phidias::PhiConfig& config) {
  for (const phidias::QuantizationGroup& group : config.quantization->groups) {
    if (group.scheme.weights && group.scheme.weights->bits == 4) {
      return true;
    }
  }
  return false;
}

void Change(const std::string& changes, support::BuiltTensors* tensors) {
  for (size_t i = 0; i + 1 < changes.size() && !tensors->empty(); i += 2) {
    const auto which = static_cast<unsigned char>(changes[i]) % tensors->size();
    const auto found = std::next(tensors->begin(), static_cast<std::ptrdiff_t>(which));
    const auto how = static_cast<unsigned char>(changes[i + 1]);
    support::BuiltTensor& tensor = found->second;
    switch (how % 4) {
      case 0: tensors->erase(found); break;
      case 1: tensor.dtype = static_cast<DType>(how / 4 % 12); break;
      case 2: tensor.shape.assign(how / 4 % 3, how / 16); break;
      default: std::fill(tensor.bytes.begin(), tensor.bytes.end(), static_cast<std::byte>(how)); break;
    }
  }
}

void CheckPromises(const LinearWeights& linear) {
  if (linear.weight.dtype == DType::kI4) {
    Require(linear.quant.scale.size() == static_cast<size_t>(linear.weight.rows) && linear.quant.zero_point.empty());
    Require(linear.quant.multiplier.size() ==
            static_cast<size_t>(linear.weight.rows * linear.quant.Groups(linear.weight.cols)));
    for (const uint8_t multiplier : linear.quant.multiplier) {
      Require(multiplier >= 1 && multiplier <= phidias::numerics::kI4MultiplierMax);
    }
  } else if (linear.weight.dtype != DType::kI8) {
    Require(linear.quant.scale.empty() && linear.quant.zero_point.empty());
  } else {
    Require(linear.quant.scale.size() == static_cast<size_t>(linear.weight.rows));
    Require(linear.quant.zero_point.empty() || linear.quant.zero_point.size() == linear.quant.scale.size());
  }
  for (const float scale : linear.quant.scale) {
    Require(std::isfinite(scale) && scale >= phidias::numerics::kMinScale);
  }
  for (const int32_t zero_point : linear.quant.zero_point) {
    Require(zero_point >= -128 && zero_point <= 127);
  }
  Require(std::isfinite(linear.input.scale) && linear.input.scale >= phidias::numerics::kMinScale);
  Require(linear.input.zero_point >= -128 && linear.input.zero_point <= 127);
  volatile std::byte last = *(linear.weight.Row(linear.weight.rows) - 1);  // all of it can be read
  (void)last;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t border = input.find('\0');
  phidias::PhiConfig config = OneLayer();
  nlohmann::json json = support::ConfigJson(config, phidias::TensorNaming::kPhi);
  json["quantization_config"] = "BLOCK";
  std::string text = json.dump();
  text.replace(text.find("\"BLOCK\""), 7, input.substr(0, border));
  phidias::Result<phidias::PhiConfig> parsed = phidias::ParsePhiConfig(text, "config.json", "", "");
  if (!parsed.ok()) {
    Require(!parsed.status().message().empty() && parsed.status().message().size() < 1000);
    return 0;
  }
  const bool packed = parsed->quantization && FourBits(*parsed);
  support::BuiltTensors tensors = packed ? PackedTensors() : GoodTensors();
  support::BuiltTensors constants = packed ? ConstantsOf(tensors) : support::BuiltTensors();
  const std::string changes = border == std::string::npos ? "" : input.substr(border + 1);
  Change(changes, changes.size() % 4 == 1 ? &constants : &tensors);
  phidias::TensorStore store = support::MakeStore(tensors);
  const phidias::TensorStore constants_store = support::MakeStore(constants);
  phidias::Int4Binder int4(changes.size() % 2 == 1 ? &constants_store : nullptr, &store);
  std::vector<std::string> warnings;
  const phidias::Result<phidias::PhiWeights> weights =
      phidias::BindPhiWeights(parsed.value(), store, "dir", &warnings, &int4);
  for (const std::string& warning : warnings) {
    Require(!warning.empty() && warning.size() < 1000);
  }
  if (!weights.ok()) {
    Require(!weights.status().message().empty() && weights.status().message().size() < 2000);
    return 0;
  }
  const phidias::PhiLayerWeights& layer = weights.value().layers[0];
  for (const LinearWeights* linear :
       {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2, &weights.value().lm_head}) {
    CheckPromises(*linear);
  }
  return 0;
}
