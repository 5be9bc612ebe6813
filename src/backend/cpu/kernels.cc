#include "backend/cpu/kernels.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "numerics/half.h"
#include "numerics/quantize.h"
#include "ref/decode_row.h"
#include "ref/integer_ops.h"
#include "ref/linear_s8.h"
#include "ref/ops.h"

namespace phidias::cpu {
namespace {

void ReferenceLinear(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
  for (int64_t n = n_begin; n < n_end; ++n) {
    const std::byte* row = args.weight + n * args.weight_row_bytes;
    if (args.weight_dtype == DType::kI8) {
      const int32_t zero = args.weight_zero_point != nullptr ? args.weight_zero_point[n] : 0;
      ref::DequantizeRow(reinterpret_cast<const int8_t*>(row), args.k, args.weight_scale[n], zero, scratch);
    } else {
      ref::DecodeRow(args.weight_dtype, row, args.k, scratch);
    }
    for (int64_t m = 0; m < args.m; ++m) {
      const float* bias = args.bias != nullptr ? args.bias + n : nullptr;
      ref::Linear(args.x + m * args.k, scratch, bias, 1, args.k, args.y + m * args.y_stride + n);
    }
  }
}

void ReferenceStoreRow(DType kv_dtype, const float* x, int64_t n, std::byte* out) {
  if (kv_dtype == DType::kF32) {
    std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t half = numerics::FloatToHalf(x[i]);
    std::memcpy(out + 2 * i, &half, sizeof half);
  }
}

void ReferenceAttention(const AttentionArgs& args) {
  for (int64_t r = 0; r < args.row_count; ++r) {
    const AttentionRow& row = args.rows[r];
    const int64_t elements = row.count * args.head_dim;
    std::vector<float> keys(static_cast<size_t>(elements));
    std::vector<float> values(keys.size());
    ref::DecodeRow(args.kv_dtype, args.keys, elements, keys.data());
    ref::DecodeRow(args.kv_dtype, args.values, elements, values.data());
    ref::AttentionHead(row.q, keys.data(), values.data(), args.head_dim, row.count, args.head_dim, args.scale,
                       args.scratch, row.out);
  }
}

void ReferenceQuantizeRow(const float* x, int64_t n, float inv_scale, float zero_point, int8_t* q) {
  for (int64_t i = 0; i < n; ++i) {
    q[i] = static_cast<int8_t>(numerics::QuantizeS8(x[i], inv_scale, zero_point));
  }
}

void ReferenceMinMax(const float* x, int64_t n, float* min, float* max) {
  *min = x[0];
  *max = x[0];
  for (int64_t i = 1; i < n; ++i) {
    *min = x[i] < *min ? x[i] : *min;
    *max = x[i] > *max ? x[i] : *max;
  }
}

void ReferenceDequantize(const DequantizeArgs& args) {
  for (int64_t n = 0; n < args.n; ++n) {
    const int32_t z_w = args.weight_zero_point != nullptr ? args.weight_zero_point[n] : 0;
    const int32_t acc =
        numerics::FoldZeroPoints(args.acc[n], args.x_zero_point, args.weight_sum[n], z_w, args.x_sum, args.k);
    args.y[n] =
        numerics::DequantizeAcc(acc, args.x_scale, args.weight_scale[n], args.bias != nullptr ? args.bias[n] : 0.0F);
  }
}

// Keys and values put back into rows, then the plain operator.
void ReferenceAttentionS8(const AttentionS8Args& args) {
  const int64_t dim = args.head_dim;
  for (int64_t r = 0; r < args.row_count; ++r) {
    const AttentionRowS8& row = args.rows[r];
    std::vector<int8_t> keys(static_cast<size_t>(row.count * dim));
    std::vector<int8_t> values(keys.size());
    for (int64_t j = 0; j < row.count; ++j) {
      for (int64_t d = 0; d < dim; ++d) {
        keys[j * dim + d] = args.keys[KeyIndex(j, d, dim)];
        values[j * dim + d] = args.values[ValueIndex(j, d, dim)];
      }
    }
    ref::AttentionHeadS8(row.q, keys.data(), values.data(), dim, row.count, dim, *row.constants, args.scratch,
                         args.scratch + row.count, row.out);
  }
}

void ReferenceGeluS8(const int8_t* table, const int32_t* x, int64_t n, int8_t* y) {
  std::transform(x, x + n, y, [table](int32_t value) { return table[value + 128]; });
}

int64_t ReferenceAddResidual(const int32_t* attention, const int32_t* mlp, int64_t n, int32_t* x) {
  int64_t saturated = 0;
  for (int64_t i = 0; i < n; ++i) {
    x[i] = numerics::AddResidual(x[i], attention[i], mlp[i], &saturated);
  }
  return saturated;
}

constexpr std::array kAll = {
#if defined(__x86_64__)
    &kAvx512Kernels,
    &kAvx2Kernels,
#endif
    &kPortableKernels,
    &kReferenceKernels,
};

}  // namespace

const Kernels kReferenceKernels = {
    .isa = "reference",
    .supported = [] { return true; },
    .linear_block = 1,
    .linear = ReferenceLinear,
    .layer_norm = ref::LayerNorm,
    .gelu = ref::Gelu,
    .add_residual = ref::AddResidual,
    .rotary = ref::Rotary,
    .store_row = ReferenceStoreRow,
    .attention = ReferenceAttention,
    .quantize_row = ReferenceQuantizeRow,
    .min_max = ReferenceMinMax,
    .dequantize_acc = ReferenceDequantize,
    .integer = {.layer_norm = ref::LayerNormS32,
                .requantize_row = ref::RequantizeRow,
                .rotary = ref::RotaryS16,
                .attention = ReferenceAttentionS8,
                .gelu = ReferenceGeluS8,
                .add_residual = ReferenceAddResidual},
};

std::span<const Kernels* const> AllKernels() {
  return kAll;
}

const Kernels& BestKernels() {
  return **std::find_if(kAll.begin(), kAll.end(), [](const Kernels* kernels) { return kernels->supported(); });
}

}  // namespace phidias::cpu
