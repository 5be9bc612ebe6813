#include "backend/integer_model.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "backend/int4_weights.h"
#include "numerics/integer_setup.h"
#include "ref/decode_row.h"
#include "ref/linear_i4.h"
#include "ref/linear_s8.h"

namespace phidias {
namespace {

using numerics::FixedFactor;
using numerics::MakeFixedFactor;
using numerics::RoundDouble;

constexpr int64_t kMaxChannels = 8192;
constexpr double kBiasLimit = 1 << 30;
constexpr int64_t kRowsPerShare = 64;  // of a thread, when a weight is read

// Output grid of a norm: int8 with a zero point, or int16 around 0.
struct NormGrid {
  double scale = 1;
  int32_t zero_point = 0;
};

IntegerNorm BuildNorm(const ModelShape& shape, const LayerNormWeights& norm, const NormGrid& grid,
                      int32_t residual_shift) {
  const auto n = static_cast<double>(shape.hidden_size);
  const double root_n = std::sqrt(n);
  double largest = 0;
  for (const float gamma : norm.weight) {
    largest = std::max(largest, std::abs(static_cast<double>(gamma)) * root_n / grid.scale);
  }
  // As many fraction bits as keep the largest gain below 2^30.
  int32_t fraction_bits = 30;
  while (fraction_bits > -12 && largest * std::ldexp(1.0, fraction_bits) >= 1073741824.0) {
    --fraction_bits;
  }
  IntegerNorm out;
  out.gain_shift = numerics::kNormBits + fraction_bits;
  for (size_t i = 0; i < norm.weight.size(); ++i) {
    const double gain = static_cast<double>(norm.weight[i]) * root_n / grid.scale;
    const double offset = static_cast<double>(norm.bias[i]) / grid.scale + grid.zero_point;
    out.gain.push_back(static_cast<int32_t>(RoundDouble(std::ldexp(gain, fraction_bits), 2147483647.0)));
    out.offset.push_back(
        static_cast<int32_t>(RoundDouble(std::ldexp(offset, numerics::kNormOffsetBits), 2147483647.0)));
  }
  const double eps = n * static_cast<double>(shape.layer_norm_eps) * std::ldexp(1.0, 2 * residual_shift);
  out.eps_term = static_cast<uint64_t>(std::max<int64_t>(1, RoundDouble(eps, 1e15)));
  return out;
}

Status CheckLinear(const LinearWeights& linear) {
  const DType dtype = linear.weight.dtype;
  if (dtype == DType::kI4) {
    RETURN_IF_ERROR(CheckInt4(linear));
  } else if (dtype != DType::kI8 || !linear.quant.zero_point.empty()) {
    return Unsupported(linear.name,
                       ": the integer arithmetic needs int8 weights without zero points, or 4-bit ones; "
                       "this one is ",
                       dtype != DType::kI8 ? DTypeName(dtype) : "asymmetric",
                       " (quantise with --recipe best --arith integer, or run with --arith float)");
  }
  if (linear.input.kind != InputQuant::Kind::kStatic) {
    return Unsupported(linear.name, ": the integer arithmetic needs a static input scale; this one's input is ",
                       linear.input.kind == InputQuant::Kind::kDynamic ? "quantised per token" : "float",
                       " (quantise with --recipe best --arith integer, or run with --arith float)");
  }
  return {};
}

// Output grid of a linear layer: its step, the same for all rows or one per head of `head_dim` rows.
struct LinearGrid {
  std::vector<double> step;
  int64_t rows_per_step = 0;
  int32_t zero_point = 0;
  int32_t low = 0;
  int32_t high = 0;
};

int32_t RowSum(const LinearWeights& linear, int64_t n) {
  const int64_t k = linear.weight.cols;
  return linear.weight.dtype == DType::kI4 ? ref::SumI4(RowOfInt4(linear, n), k)
                                           : ref::SumS8(reinterpret_cast<const int8_t*>(linear.weight.Row(n)), k);
}

IntegerLinear BuildLinear(const LinearWeights& linear, const LinearGrid& grid, ThreadPool& pool) {
  IntegerLinear out;
  out.source = &linear;
  out.n = linear.weight.rows;
  out.k = linear.weight.cols;
  out.zero_point = grid.zero_point;
  out.low = grid.low;
  out.high = grid.high;
  for (std::vector<int32_t>* per_row : {&out.bias, &out.multiplier, &out.shift}) {
    per_row->resize(static_cast<size_t>(out.n));
  }
  pool.ParallelFor(out.n, kRowsPerShare, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t n = begin; n < end; ++n) {
      const int32_t sum = RowSum(linear, n);
      const double acc_step = static_cast<double>(linear.input.scale) * static_cast<double>(linear.quant.scale[n]);
      const double bias = linear.bias.empty() ? 0.0 : static_cast<double>(linear.bias[n]);
      const int64_t units =
          RoundDouble(bias / acc_step, kBiasLimit) - static_cast<int64_t>(linear.input.zero_point) * sum;
      const FixedFactor factor = MakeFixedFactor(acc_step / grid.step[n / grid.rows_per_step]);
      out.bias[n] = numerics::Clamp(units, -(1 << 30), 1 << 30);
      out.multiplier[n] = factor.multiplier;
      out.shift[n] = factor.shift;
    }
  });
  return out;
}

std::vector<double> HeadSteps(const std::vector<float>& scales, int32_t guard_bits) {
  std::vector<double> out;
  out.reserve(scales.size());
  for (const float scale : scales) {
    out.push_back(std::ldexp(static_cast<double>(scale), -guard_bits));
  }
  return out;
}

IntegerAttention BuildAttention(const ModelShape& shape, const IntegerLayerConstants& constants,
                                const InputQuant& dense_input) {
  constexpr double kLog2E = 1.4426950408889634;
  IntegerAttention out;
  out.zero_point = dense_input.zero_point;
  const int64_t group = shape.n_heads / shape.n_kv_heads;
  for (int64_t h = 0; h < shape.n_heads; ++h) {
    const double score = static_cast<double>(constants.q_scale[h]) * static_cast<double>(constants.k_scale[h / group]) /
                         std::sqrt(static_cast<double>(shape.head_dim));
    out.to_steps.push_back(MakeFixedFactor(score * kLog2E * numerics::kExpTableSize));
  }
  for (const float scale : constants.v_scale) {
    out.ratio.push_back(MakeFixedFactor(static_cast<double>(scale) / static_cast<double>(dense_input.scale)));
  }
  return out;
}

Status CheckLayer(const ModelShape& shape, const IntegerSources::Layer& layer, const IntegerLayerConstants& constants) {
  for (const LinearWeights* linear : {layer.q_proj, layer.k_proj, layer.v_proj, layer.dense, layer.fc1, layer.fc2}) {
    RETURN_IF_ERROR(CheckLinear(*linear));
  }
  for (const LinearWeights* linear : {layer.k_proj, layer.v_proj, layer.fc1}) {
    if (!(linear->input == layer.q_proj->input)) {
      return DataError(linear->name, ": input_scale and input_zero_point differ from ", layer.q_proj->name,
                       "'s; the integer arithmetic quantises their common input once");
    }
  }
  if (constants.q_scale.size() != static_cast<size_t>(shape.n_heads) ||
      constants.k_scale.size() != static_cast<size_t>(shape.n_kv_heads) ||
      constants.v_scale.size() != static_cast<size_t>(shape.n_kv_heads)) {
    return DataError(layer.q_proj->name, ": the integer constants have ", constants.q_scale.size(), " q, ",
                     constants.k_scale.size(), " k and ", constants.v_scale.size(), " v scales, the model ",
                     shape.n_heads, " heads and ", shape.n_kv_heads, " KV heads");
  }
  return {};
}

void BuildLayer(const ModelShape& shape, const IntegerSources::Layer& layer, const IntegerLayerConstants& constants,
                int32_t residual_shift, ThreadPool& pool, IntegerLayer* out) {
  const InputQuant& input = layer.q_proj->input;
  out->input_layernorm =
      BuildNorm(shape, *layer.input_layernorm, {static_cast<double>(input.scale), input.zero_point}, residual_shift);
  const int32_t guard = numerics::kRotaryGuardBits;
  const auto heads = [&](const std::vector<float>& scales, int32_t bits, int32_t limit) {
    return LinearGrid{HeadSteps(scales, bits), shape.head_dim, 0, -limit, limit};
  };
  out->q_proj = BuildLinear(*layer.q_proj, heads(constants.q_scale, guard, 32767), pool);
  out->k_proj = BuildLinear(*layer.k_proj, heads(constants.k_scale, guard, 32767), pool);
  out->v_proj = BuildLinear(*layer.v_proj, heads(constants.v_scale, 0, 127), pool);
  const int32_t limit = 1 << 30;
  const LinearGrid residual = {{std::ldexp(1.0, -residual_shift)}, int64_t{1} << 40, 0, -limit, limit};
  out->dense = BuildLinear(*layer.dense, residual, pool);
  out->fc2 = BuildLinear(*layer.fc2, residual, pool);
  out->fc1 = BuildLinear(*layer.fc1,
                         {{static_cast<double>(constants.fc1_scale)},
                          int64_t{1} << 40,
                          constants.fc1_zero_point,
                          numerics::kS8Min,
                          numerics::kS8Max},
                         pool);
  out->attention = BuildAttention(shape, constants, layer.dense->input);
  numerics::MakeGeluTable(constants.fc1_scale, constants.fc1_zero_point, layer.fc2->input.scale,
                          layer.fc2->input.zero_point, out->gelu_table);
}

// A row of lm_head as float32, whatever the checkpoint has.
void DecodeHeadRow(const LinearWeights& lm_head, int64_t n, float* row) {
  const WeightMatrix& weight = lm_head.weight;
  if (weight.dtype == DType::kI8) {
    const int32_t zero = lm_head.quant.zero_point.empty() ? 0 : lm_head.quant.zero_point[n];
    ref::DequantizeRow(reinterpret_cast<const int8_t*>(weight.Row(n)), weight.cols, lm_head.quant.scale[n], zero, row);
  } else if (weight.dtype == DType::kI4) {
    ref::DequantizeRowI4(RowOfInt4(lm_head, n), lm_head.quant.scale[n], weight.cols, row);
  } else {
    ref::DecodeRow(weight.dtype, weight.Row(n), weight.cols, row);
  }
}

// q = value / step rounded half away from zero, clamped to [-limit - 1, limit]: numerics::RoundDouble in a form that
// compilers turn into vectors (which it can't be with an int64). NaN becomes the limit.
void QuantizeHeadRow(const float* row, int64_t k, double step, int32_t limit, int32_t* q) {
  const double high = limit;
  const double low = -high - 1;
  for (int64_t i = 0; i < k; ++i) {
    const double exact = static_cast<double>(row[i]) / step;
    double rounded = exact + (exact < 0 ? -0.5 : 0.5);
    rounded = rounded < high ? rounded : high;
    rounded = rounded > low ? rounded : low;
    q[i] = static_cast<int32_t>(rounded);
  }
}

// Row n to `bits` per weight with a scale of its own (absmax / 127.5, or / 32767). row and q: [k] working space.
void BuildHeadRow(const LinearWeights& lm_head, double input_scale, int32_t bits, int64_t n, float* row, int32_t* q,
                  IntegerHead* out) {
  const int64_t k = out->k;
  DecodeHeadRow(lm_head, n, row);
  float absmax = 0;
  for (int64_t i = 0; i < k; ++i) {
    const float magnitude = std::abs(row[i]);
    absmax = magnitude > absmax ? magnitude : absmax;
  }
  const double step = std::max(static_cast<double>(absmax) / (bits == 8 ? 127.5 : 32767.0), 1e-12);
  QuantizeHeadRow(row, k, step, bits == 8 ? 127 : 32767, q);
  int32_t high_sum = 0;
  int32_t low_sum = 0;
  int8_t* high = out->high.data() + n * k;
  for (int64_t i = 0; i < k; ++i) {
    high[i] = static_cast<int8_t>(bits == 8 ? q[i] : numerics::HighPlane(q[i]));
    high_sum += high[i];
  }
  if (bits == 16) {
    int8_t* low = out->low.data() + n * k;
    for (int64_t i = 0; i < k; ++i) {
      low[i] = static_cast<int8_t>(numerics::LowPlane(q[i]));
      low_sum += low[i];
    }
  }
  out->high_sum[n] = high_sum;
  out->low_sum[n] = low_sum;
  const double unit = input_scale * step;
  const double bias = lm_head.bias.empty() ? 0.0 : static_cast<double>(lm_head.bias[n]);
  out->bias[n] = RoundDouble(bias / unit, 4e15);
  out->scale[n] = static_cast<float>(unit);
}

void BuildHead(const LinearWeights& lm_head, double input_scale, int32_t bits, ThreadPool& pool, IntegerHead* out) {
  out->n = lm_head.weight.rows;
  out->k = lm_head.weight.cols;
  const auto rows = static_cast<size_t>(out->n);
  const auto elements = static_cast<size_t>(out->n * out->k);
  out->high.resize(elements);
  out->low.resize(bits == 16 ? elements : 0);
  out->high_sum.resize(rows);
  out->low_sum.resize(rows);
  out->bias.resize(rows);
  out->scale.resize(rows);
  const auto width = static_cast<size_t>(out->k);
  std::vector<float> row_space(width * static_cast<size_t>(pool.size()));
  std::vector<int32_t> q_space(row_space.size());
  pool.ParallelFor(out->n, kRowsPerShare, [&](int64_t begin, int64_t end, int thread) {
    const size_t at = width * static_cast<size_t>(thread);
    for (int64_t n = begin; n < end; ++n) {
      BuildHeadRow(lm_head, input_scale, bits, n, row_space.data() + at, q_space.data() + at, out);
    }
  });
}

void BuildRotary(const ModelShape& shape, IntegerModel* model) {
  const int64_t half = shape.rotary_dim / 2;
  model->cos.resize(static_cast<size_t>(shape.max_positions * half));
  model->sin.resize(model->cos.size());
  for (int64_t i = 0; i < half; ++i) {
    const float inv_freq = numerics::RotaryInverseFrequency(static_cast<int32_t>(i),
                                                            static_cast<int32_t>(shape.rotary_dim), shape.rope_theta);
    for (int64_t pos = 0; pos < shape.max_positions; ++pos) {
      const auto at = static_cast<size_t>(pos * half + i);
      numerics::RotaryEntryQ14(static_cast<int32_t>(pos), inv_freq, &model->cos[at], &model->sin[at]);
    }
  }
}

}  // namespace

Result<std::unique_ptr<IntegerModel>> BuildIntegerModel(const ModelShape& shape, const IntegerSources& sources,
                                                        const IntegerConstants& constants, ThreadPool& pool) {
  if (shape.max_positions > numerics::kMaxIntegerContext || shape.hidden_size > kMaxChannels) {
    return Unsupported("the integer arithmetic takes contexts up to ", numerics::kMaxIntegerContext, " and up to ",
                       kMaxChannels, " channels; this model has ", shape.max_positions, " and ", shape.hidden_size,
                       " (run it with --arith float)");
  }
  if (constants.layers.size() != sources.layers.size()) {
    return DataError("the integer constants are for ", constants.layers.size(), " layers, the model has ",
                     sources.layers.size());
  }
  auto model = std::make_unique<IntegerModel>();
  model->shape = shape;
  model->residual_shift = constants.residual_shift;
  model->final_norm_scale = constants.final_norm_scale;
  model->embed_tokens = sources.embed_tokens;
  model->layers.resize(sources.layers.size());
  for (size_t i = 0; i < sources.layers.size(); ++i) {
    RETURN_IF_ERROR(CheckLayer(shape, sources.layers[i], constants.layers[i]));
    BuildLayer(shape, sources.layers[i], constants.layers[i], constants.residual_shift, pool, &model->layers[i]);
  }
  const auto final_scale = static_cast<double>(constants.final_norm_scale);
  model->final_layernorm = BuildNorm(shape, *sources.final_layernorm, {final_scale, 0}, constants.residual_shift);
  BuildHead(*sources.lm_head, final_scale, constants.lm_head_bits, pool, &model->lm_head);
  numerics::MakeExpTable(model->exp_table);
  BuildRotary(shape, model.get());
  return model;
}

}  // namespace phidias
