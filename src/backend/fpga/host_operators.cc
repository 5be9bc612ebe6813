#include "backend/fpga/host_operators.h"

#include <algorithm>

#include "numerics/elementary.h"
#include "numerics/fp_mode.h"
#include "numerics/quantize.h"
#include "ref/decode_row.h"
#include "ref/linear_s8.h"
#include "ref/ops.h"

namespace phidias::fpga {

HostOperators::HostOperators(const ModelShape& shape, const CpuSetup& setup)
    : shape_(shape),
      kernels_(*setup.kernels),
      pool_(setup.threads, [] { static thread_local numerics::ScopedFlushToZero mode; }),
      rotary_(shape.max_positions, shape.rotary_dim, shape.rope_theta),
      scratch_(static_cast<size_t>(setup.threads)) {}

void HostOperators::Embed(const WeightMatrix& weight, int32_t token, float* y) {
  const numerics::ScopedFlushToZero mode;
  ref::DecodeRow(weight.dtype, weight.Row(token), weight.cols, y);
}

void HostOperators::LayerNorm(const LayerNormWeights& norm, const float* x, float* y) {
  const numerics::ScopedFlushToZero mode;
  kernels_.layer_norm(x, norm.weight.data(), norm.bias.data(), shape_.layer_norm_eps,
                      static_cast<int64_t>(norm.weight.size()), y);
}

void HostOperators::Linear(const LinearWeights& linear, const float* x, float* y) {
  const numerics::ScopedFlushToZero mode;
  const int64_t k = linear.weight.cols;
  const InputQuant& how = linear.input;
  if (how.kind == InputQuant::Kind::kNone) {
    LinearFloat(linear, x, y);
    return;
  }
  numerics::ScaleZero scale_zero = {how.scale, how.zero_point};
  if (how.kind == InputQuant::Kind::kDynamic) {
    float min = 0;
    float max = 0;
    kernels_.min_max(x, k, &min, &max);
    scale_zero = how.symmetric ? numerics::SymmetricScale(std::max(-min, max)) : numerics::AsymmetricScale(min, max);
  }
  std::vector<int8_t> q(static_cast<size_t>(k));
  ref::QuantizeRow(x, k, scale_zero.scale, scale_zero.zero_point, q.data());
  if (linear.weight.dtype == DType::kI8) {
    LinearS8(linear, q.data(), scale_zero.scale, scale_zero.zero_point, y);
    return;
  }
  std::vector<float> rounded(static_cast<size_t>(k));
  ref::DequantizeRow(q.data(), k, scale_zero.scale, scale_zero.zero_point, rounded.data());
  LinearFloat(linear, rounded.data(), y);
}

void HostOperators::LinearFloat(const LinearWeights& linear, const float* x, float* y) {
  const WeightQuant& quant = linear.quant;
  const int64_t n = linear.weight.rows;
  const int64_t k = linear.weight.cols;
  const cpu::LinearArgs args = {.x = x,
                                .m = 1,
                                .k = k,
                                .weight_dtype = linear.weight.dtype,
                                .weight = linear.weight.data,
                                .weight_row_bytes = linear.weight.RowBytes(),
                                .weight_scale = quant.scale.empty() ? nullptr : quant.scale.data(),
                                .weight_zero_point = quant.zero_point.empty() ? nullptr : quant.zero_point.data(),
                                .bias = linear.bias.empty() ? nullptr : linear.bias.data(),
                                .y = y,
                                .y_stride = n};
  for (std::vector<float>& scratch : scratch_) {
    scratch.resize(std::max(scratch.size(), static_cast<size_t>(kernels_.linear_block * (k + 16))));
  }
  const int64_t shares = int64_t{4} * pool_.size() * kernels_.linear_block;
  const int64_t grain = std::max<int64_t>(1, (n + shares - 1) / shares) * kernels_.linear_block;
  pool_.ParallelFor(n, grain, [&](int64_t begin, int64_t end, int thread) {
    kernels_.linear(args, begin, end, scratch_[static_cast<size_t>(thread)].data());
  });
}

void HostOperators::LinearS8(const LinearWeights& linear, const int8_t* q, float scale, int32_t zero_point, float* y) {
  const WeightQuant& quant = linear.quant;
  const int64_t n = linear.weight.rows;
  const int64_t shares = int64_t{4} * pool_.size();
  pool_.ParallelFor(n, (n + shares - 1) / shares, [&](int64_t begin, int64_t end, int /*thread*/) {
    ref::LinearS8(q, scale, zero_point, reinterpret_cast<const int8_t*>(linear.weight.Row(begin)),
                  quant.scale.data() + begin, quant.zero_point.empty() ? nullptr : quant.zero_point.data() + begin,
                  linear.bias.empty() ? nullptr : linear.bias.data() + begin, end - begin, linear.weight.cols,
                  y + begin);
  });
}

void HostOperators::Gelu(const float* x, int64_t n, float* y) {
  const numerics::ScopedFlushToZero mode;
  kernels_.gelu(x, n, y);
}

void HostOperators::AddResidual(const float* attention, const float* mlp, const float* x, int64_t n, float* y) {
  const numerics::ScopedFlushToZero mode;
  if (y != x) {
    std::copy_n(x, n, y);
  }
  kernels_.add_residual(attention, mlp, n, y);
}

void HostOperators::Attention(const float* q, const float* k, const float* v, int64_t pos, float* keys, float* values,
                              float* out) {
  const numerics::ScopedFlushToZero mode;
  const int64_t head_dim = shape_.head_dim;
  const int64_t stride = shape_.n_kv_heads * head_dim;
  std::vector<float> rotated(q, q + shape_.n_heads * head_dim);
  for (int64_t head = 0; head < shape_.n_heads; ++head) {
    ref::Rotary(rotary_.Cos(pos), rotary_.Sin(pos), shape_.rotary_dim, rotated.data() + head * head_dim);
  }
  std::copy_n(k, stride, keys + pos * stride);
  std::copy_n(v, stride, values + pos * stride);
  for (int64_t head = 0; head < shape_.n_kv_heads; ++head) {
    ref::Rotary(rotary_.Cos(pos), rotary_.Sin(pos), shape_.rotary_dim, keys + pos * stride + head * head_dim);
  }
  const int64_t group = shape_.n_heads / shape_.n_kv_heads;
  const float scale = 1.0F / numerics::Sqrt(static_cast<float>(head_dim));
  for (std::vector<float>& scratch : scratch_) {
    scratch.resize(std::max(scratch.size(), static_cast<size_t>(pos + 1)));
  }
  pool_.ParallelFor(shape_.n_heads, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t head = begin; head < end; ++head) {
      const int64_t offset = head / group * head_dim;
      ref::AttentionHead(rotated.data() + head * head_dim, keys + offset, values + offset, stride, pos + 1, head_dim,
                         scale, scratch_[static_cast<size_t>(thread)].data(), out + head * head_dim);
    }
  });
}

}  // namespace phidias::fpga
