// Any JSON as the quantization_config of a small model whose tensors fit the format's usual block: an answer or an
// error, and what is bound holds what LinearWeights promises. Bytes after a NUL byte change the tensors: pairs of
// (tensor, change) drop one, give it another type, another shape or other bytes.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "model/checkpoint.h"
#include "numerics/quantize.h"
#include "tests/support/checkpoint_builder.h"

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

void Change(const std::string& changes, support::BuiltTensors* tensors) {
  for (size_t i = 0; i + 1 < changes.size() && !tensors->empty(); i += 2) {
    const auto which = static_cast<unsigned char>(changes[i]) % tensors->size();
    const auto found = std::next(tensors->begin(), static_cast<std::ptrdiff_t>(which));
    const auto how = static_cast<unsigned char>(changes[i + 1]);
    support::BuiltTensor& tensor = found->second;
    switch (how % 4) {
      case 0: tensors->erase(found); break;
      case 1: tensor.dtype = static_cast<DType>(how / 4 % 11); break;
      case 2: tensor.shape.assign(how / 4 % 3, how / 16); break;
      default: std::fill(tensor.bytes.begin(), tensor.bytes.end(), static_cast<std::byte>(how)); break;
    }
  }
}

void CheckPromises(const LinearWeights& linear) {
  if (linear.weight.dtype != DType::kI8) {
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
  support::BuiltTensors tensors = GoodTensors();
  Change(border == std::string::npos ? "" : input.substr(border + 1), &tensors);
  const phidias::TensorStore store = support::MakeStore(tensors);
  std::vector<std::string> warnings;
  const phidias::Result<phidias::PhiWeights> weights = phidias::BindPhiWeights(parsed.value(), store, "dir", &warnings);
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
