#include "quant/synthetic.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "backend/int4_rows.h"
#include "common/file.h"
#include "model/int4_constants_file.h"
#include "model/integer_constants_file.h"
#include "model/quantization_config.h"
#include "model/tokenizer/tokenizer.h"
#include "numerics/half.h"
#include "numerics/quantize.h"
#include "quant/integer_scales.h"
#include "quant/model_files.h"
#include "quant/output_dir.h"
#include "quant/random_weights.h"
#include "quant/synthetic_int4.h"

namespace phidias {
namespace {

using Sink = OutputTensor::Sink;

constexpr int64_t kBlockElements = int64_t{4} << 20;
constexpr float kWeightDeviation = 0.02F;
constexpr float kNormDeviation = 0.05F;  // of LayerNorms' weights, around 1
constexpr float kInt8Top = 4.0F;         // deviations that an int8 weight's absmax stands for
constexpr float kActivationTop = 5.5F;   // deviations that the largest activation of a run takes
constexpr float kGeluLow = -0.17F;       // gelu's minimum is -0.16997

// The quantiles in the types that weights have. 16-bit draws index them.
struct Tables {
  std::vector<float> normal = NormalQuantiles();
  std::vector<uint16_t> half;  // deviation kWeightDeviation
  std::vector<int8_t> int8;    // absmax / 127.5 as the scale, absmax = kInt8Top deviations
  std::vector<uint8_t> int4 = RandomInt4Bytes();

  Tables() {
    for (const float z : normal) {
      half.push_back(numerics::FloatToHalf(kWeightDeviation * z));
      int8.push_back(static_cast<int8_t>(numerics::QuantizeS8(z, 127.5F / kInt8Top, 0.0F)));
    }
  }
};

// Deviations of the activations that normal weights lead to, and from them what calibration would have found.
struct Ranges {
  explicit Ranges(const PhiConfig& config) {
    const float linear = kWeightDeviation * std::sqrt(static_cast<float>(config.hidden_size));
    // gelu of a normal distribution has at most half its square.
    const float mlp =
        kWeightDeviation * std::sqrt(static_cast<float>(config.intermediate_size)) * linear * std::sqrt(0.5F);
    const float attention = linear * linear;
    const float layer = std::sqrt(mlp * mlp + attention * attention);
    norm = kActivationTop;
    hidden = kActivationTop * linear;
    residual = kActivationTop * (kWeightDeviation + layer * std::sqrt(static_cast<float>(config.n_layers)));
  }

  float norm;      // |x| of a LayerNorm's output
  float hidden;    // of q, k, v and fc1's output; attention's is an average of v's
  float residual;  // of the residual stream
};

IntegerConstants MakeIntegerConstants(const PhiConfig& config) {
  const Ranges ranges(config);
  // Rotation turns two dimensions into one another: at most sqrt(2) of the larger.
  const float rotated = HeadScale(ranges.hidden * std::sqrt(2.0F));
  const numerics::ScaleZero fc1 = numerics::AsymmetricScale(-ranges.hidden, ranges.hidden);
  IntegerLayerConstants layer;
  layer.q_scale.assign(static_cast<size_t>(config.n_heads), rotated);
  layer.k_scale.assign(static_cast<size_t>(config.n_kv_heads), rotated);
  layer.v_scale.assign(static_cast<size_t>(config.n_kv_heads), HeadScale(ranges.hidden));
  layer.fc1_scale = fc1.scale;
  layer.fc1_zero_point = fc1.zero_point;
  IntegerConstants out;
  out.residual_shift = ResidualShift(ranges.residual);
  out.final_norm_scale = FinalNormScale(ranges.norm);
  out.layers.assign(static_cast<size_t>(config.n_layers), layer);
  return out;
}

class TensorList {
 public:
  TensorList(const PhiConfig& config, const SyntheticOptions& options, ThreadPool* pool)
      : config_(config), options_(options), pool_(pool) {}

  std::vector<OutputTensor> Make();
  const std::map<std::string, WeightQuant>& int4_layers() const { return int4_layers_; }  // by name, after Make

 private:
  void Add(const std::string& name, DType dtype, std::vector<int64_t> shape, OutputPart part,
           std::function<Status(const Sink&)> write) {
    out_.push_back({{name, dtype, std::move(shape)}, part, std::move(write)});
  }
  // Each tensor has a stream of its own, the same for both types.
  RandomStream NextStream() { return {options_.seed, stream_++}; }
  template <class T>
  void AddRandomMatrix(const std::string& name, DType dtype, int64_t rows, int64_t cols, OutputPart part,
                       const std::vector<T>& table);
  void AddRandomVector(const std::string& name, int64_t size, float mean, float deviation, OutputPart part);
  void AddNorm(const std::string& name);
  void AddInt8Scales(const std::string& name, int64_t rows, OutputPart part);
  void AddInt4(const std::string& name, int64_t rows, int64_t cols, OutputPart part);
  void AddInput(const std::string& name, numerics::ScaleZero input, OutputPart part);
  void AddLinear(const std::string& name, int64_t rows, int64_t cols, numerics::ScaleZero input, OutputPart part);
  void AddLayer(int64_t index);

  const PhiConfig& config_;
  const SyntheticOptions& options_;
  ThreadPool* pool_;
  std::shared_ptr<const Tables> tables_ = std::make_shared<Tables>();
  uint64_t stream_ = 0;
  std::vector<OutputTensor> out_;
  std::map<std::string, WeightQuant> int4_layers_;
};

template <class T>
void TensorList::AddRandomMatrix(const std::string& name, DType dtype, int64_t rows, int64_t cols, OutputPart part,
                                 const std::vector<T>& table) {
  // `tables` keeps `table` alive.
  const auto write = [random = NextStream(), count = rows * cols, tables = tables_, &table,
                      pool = pool_](const Sink& sink) -> Status {
    std::vector<T> block;
    for (int64_t begin = 0; begin < count; begin += kBlockElements) {
      block.resize(static_cast<size_t>(std::min(kBlockElements, count - begin)));
      FillFromTable(random, begin, table.data(), std::span(block), pool);
      RETURN_IF_ERROR(sink(std::as_bytes(std::span(block))));
    }
    return {};
  };
  Add(name, dtype, {rows, cols}, part, write);
}

void TensorList::AddRandomVector(const std::string& name, int64_t size, float mean, float deviation, OutputPart part) {
  const auto write = [=, random = NextStream(), tables = tables_](const Sink& sink) -> Status {
    std::vector<float> normal(static_cast<size_t>(size));
    FillFromTable(random, 0, tables->normal.data(), std::span(normal));
    std::vector<uint16_t> half(normal.size());
    std::transform(normal.begin(), normal.end(), half.begin(),
                   [&](float z) { return numerics::FloatToHalf(mean + deviation * z); });
    return sink(std::as_bytes(std::span(half)));
  };
  Add(name, DType::kF16, {size}, part, write);
}

void TensorList::AddNorm(const std::string& name) {
  AddRandomVector(name + ".weight", config_.hidden_size, 1.0F, kNormDeviation, OutputPart::kNorms);
  AddRandomVector(name + ".bias", config_.hidden_size, 0.0F, kWeightDeviation, OutputPart::kNorms);
}

void TensorList::AddInt8Scales(const std::string& name, int64_t rows, OutputPart part) {
  const auto write = [rows, random = NextStream(), tables = tables_](const Sink& sink) -> Status {
    std::vector<float> scales(static_cast<size_t>(rows));
    FillFromTable(random, 0, tables->normal.data(), std::span(scales));
    for (float& scale : scales) {
      scale = kWeightDeviation * kInt8Top / 127.5F * (1.0F + 0.1F * scale);
    }
    return sink(std::as_bytes(std::span(scales)));
  };
  Add(name + ".weight_scale", DType::kF32, {rows, 1}, part, write);
}

// Whole words of random bytes: what a row's last word holds beyond `cols` is random too, and nobody reads it.
void TensorList::AddInt4(const std::string& name, int64_t rows, int64_t cols, OutputPart part) {
  const int64_t words = DTypeBytes(DType::kI4, cols) / 4;
  AddRandomMatrix(name + ".weight_packed", DType::kI32, rows, 4 * words, part, tables_->int4);
  out_.back().entry.shape = {rows, words};
  const WeightQuant& quant = int4_layers_[name] =
      RandomInt4Quant(NextStream(), rows, cols, options_.group, kWeightDeviation);
  const int64_t groups = quant.Groups(cols);
  Add(name + ".weight_scale", DType::kF32, {rows, groups}, part,
      [steps = Int4Steps(quant, groups)](const Sink& sink) { return sink(std::as_bytes(std::span(steps))); });
  Add(name + ".weight_shape", DType::kI64, {2}, part,
      [shape = std::array{rows, cols}](const Sink& sink) { return sink(std::as_bytes(std::span(shape))); });
}

void TensorList::AddInput(const std::string& name, numerics::ScaleZero input, OutputPart part) {
  Add(name + ".input_scale", DType::kF32, {1}, part,
      [scale = input.scale](const Sink& sink) { return sink(std::as_bytes(std::span(&scale, 1))); });
  Add(name + ".input_zero_point", DType::kI8, {1}, part,
      [zero = static_cast<int8_t>(input.zero_point)](const Sink& sink) {
        return sink(std::as_bytes(std::span(&zero, 1)));
      });
}

void TensorList::AddLinear(const std::string& name, int64_t rows, int64_t cols, numerics::ScaleZero input,
                           OutputPart part) {
  if (options_.type == SyntheticType::kInt8) {
    AddRandomMatrix(name + ".weight", DType::kI8, rows, cols, part, tables_->int8);
    AddInt8Scales(name, rows, part);
    AddInput(name, input, part);
  } else if (options_.type == SyntheticType::kInt4) {
    AddInt4(name, rows, cols, part);
    AddInput(name, input, part);
  } else {
    AddRandomMatrix(name + ".weight", DType::kF16, rows, cols, part, tables_->half);
    ++stream_;  // that of the scales
  }
  AddRandomVector(name + ".bias", rows, 0.0F, kWeightDeviation, part);
}

void TensorList::AddLayer(int64_t index) {
  const Ranges ranges(config_);
  const numerics::ScaleZero norm = numerics::AsymmetricScale(-ranges.norm, ranges.norm);
  const numerics::ScaleZero values = numerics::AsymmetricScale(-ranges.hidden, ranges.hidden);
  const numerics::ScaleZero gelu = numerics::AsymmetricScale(kGeluLow, ranges.hidden);
  const std::string layer = StrCat("model.layers.", index);
  const int64_t hidden = config_.hidden_size;
  AddNorm(layer + ".input_layernorm");
  AddLinear(layer + ".self_attn.q_proj", hidden, hidden, norm, OutputPart::kAttention);
  AddLinear(layer + ".self_attn.k_proj", config_.kv_size(), hidden, norm, OutputPart::kAttention);
  AddLinear(layer + ".self_attn.v_proj", config_.kv_size(), hidden, norm, OutputPart::kAttention);
  AddLinear(layer + ".self_attn.dense", hidden, hidden, values, OutputPart::kAttention);
  AddLinear(layer + ".mlp.fc1", config_.intermediate_size, hidden, norm, OutputPart::kMlp);
  AddLinear(layer + ".mlp.fc2", hidden, config_.intermediate_size, gelu, OutputPart::kMlp);
}

std::vector<OutputTensor> TensorList::Make() {
  const int64_t rows = config_.vocab_size;
  AddRandomMatrix("model.embed_tokens.weight", DType::kF16, rows, config_.hidden_size, OutputPart::kEmbedding,
                  tables_->half);
  for (int64_t i = 0; i < config_.n_layers; ++i) {
    AddLayer(i);
  }
  AddNorm("model.final_layernorm");
  if (!config_.tie_word_embeddings) {
    AddRandomMatrix("lm_head.weight", DType::kF16, rows, config_.hidden_size, OutputPart::kLmHead, tables_->half);
  }
  AddRandomVector("lm_head.bias", rows, 0.0F, kWeightDeviation, OutputPart::kLmHead);
  return std::move(out_);
}

std::string ConfigText(const PhiConfig& config, const SyntheticOptions& options) {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(NewConfigJson(config, DType::kF16).dump());
  if (options.type != SyntheticType::kF16) {
    const bool int4 = options.type == SyntheticType::kInt4;
    const QuantizationScheme scheme = {.weights = WeightScheme{.bits = int4 ? 4 : 8, .group = int4 ? options.group : 0},
                                       .input = InputQuant::Kind::kStatic,
                                       .input_symmetric = false};
    json["quantization_config"] = QuantizationConfigJson(scheme, {"lm_head"});
  }
  return json.dump(2) + "\n";
}

Status CheckTokenizer(const PhiConfig& config, const std::string& directory) {
  if (directory.empty()) {
    return {};
  }
  ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Load(directory));
  if (tokenizer.size() > config.vocab_size) {
    return InvalidArgument(directory, ": this tokenizer has ids up to ", tokenizer.size() - 1, ", the shape only ",
                           config.vocab_size, " rows (vocab_size); name another tokenizer");
  }
  return {};
}

Status CheckRoom(const std::string& directory, int64_t bytes) {
  struct statvfs info = {};
  if (statvfs(directory.c_str(), &info) != 0) {
    return {};  // then the writing itself tells
  }
  const double room = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  if (room < static_cast<double>(bytes)) {
    return ResourceExhausted(directory, ": the checkpoint takes ", HumanBytes(static_cast<uint64_t>(bytes)), ", only ",
                             HumanBytes(static_cast<uint64_t>(room)), " are free on this file system");
  }
  return {};
}

int64_t ParametersOf(const OutputTensor& tensor) {
  const std::string& name = tensor.entry.name;
  if (name.ends_with("_scale") || name.ends_with("_point") || name.ends_with("_shape")) {
    return 0;
  }
  return name.ends_with("_packed") ? 2 * tensor.bytes() : tensor.bytes() / DTypeBytes(tensor.entry.dtype, 1);
}

PhiConfig Preset(int64_t hidden, int64_t layers, int64_t rotary) {
  PhiConfig config;
  config.vocab_size = 51200;
  config.hidden_size = hidden;
  config.intermediate_size = 4 * hidden;
  config.n_layers = layers;
  config.n_heads = 32;
  config.n_kv_heads = 32;
  config.head_dim = hidden / 32;
  config.rotary_dim = rotary;
  config.max_position_embeddings = 2048;
  config.bos_token_id = 50256;
  config.eos_token_ids = {50256};
  return config;
}

}  // namespace

Result<PhiConfig> PresetShape(std::string_view name) {
  if (name == "phi-2") {
    return Preset(2560, 32, 32);
  }
  if (name == "phi-1.5" || name == "phi-1") {
    return Preset(2048, 24, 32);
  }
  return NotFound(Quoted(name), " is no shape that is known by name: phi-2, phi-1.5 and phi-1 are");
}

Result<WrittenSynthetic> WriteSynthetic(const PhiConfig& config, const std::string& path,
                                        const SyntheticOptions& options, ThreadPool* pool) {
  RETURN_IF_ERROR(CheckTokenizer(config, options.tokenizer));
  TensorList list(config, options, pool);
  const std::vector<OutputTensor> tensors = list.Make();
  WrittenSynthetic written;
  for (const OutputTensor& tensor : tensors) {
    written.bytes += tensor.bytes();
    written.parameters += ParametersOf(tensor);
  }
  ASSIGN_OR_RETURN(OutputDir dir, OutputDir::Create(path, options.force, options.tokenizer));
  RETURN_IF_ERROR(CheckRoom(dir.temporary(), written.bytes));
  RETURN_IF_ERROR(WriteFile(dir.File("config.json"), ConfigText(config, options)));
  if (!options.tokenizer.empty()) {
    RETURN_IF_ERROR(CopyTokenizerFiles(options.tokenizer, dir.temporary()));
  }
  if (options.type == SyntheticType::kInt4) {
    std::vector<Int4Constants> layers;
    for (const auto& [name, quant] : list.int4_layers()) {
      layers.push_back({name, &quant});
    }
    RETURN_IF_ERROR(WriteInt4Constants(dir.File(kInt4ConstantsFile), layers));
  }
  if (options.type != SyntheticType::kF16) {
    RETURN_IF_ERROR(WriteIntegerConstants(dir.File(kIntegerConstantsFile), MakeIntegerConstants(config)));
  }
  ASSIGN_OR_RETURN(written.files, WriteShards(dir, tensors, options.shards));
  RETURN_IF_ERROR(dir.Commit());
  return written;
}

}  // namespace phidias
