#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/cpu/attention.h"
#include "backend/cpu/integer_kernels.h"
#include "common/dtype.h"

namespace phidias::cpu {

// y[m, n_begin..n_end) = x[m, k] * weight[n, k]^T + bias. Rows of x are k floats apart, rows of y `y_stride`.
struct LinearArgs {
  const float* x = nullptr;
  int64_t m = 0;
  int64_t k = 0;
  DType weight_dtype = DType::kF32;
  const std::byte* weight = nullptr;  // any address
  int64_t weight_row_bytes = 0;
  const float* weight_scale = nullptr;         // [N] of a kI8 weight
  const int32_t* weight_zero_point = nullptr;  // [N] of a kI8 weight, or null: 0
  const float* bias = nullptr;                 // or null
  float* y = nullptr;
  int64_t y_stride = 0;
};

// One row of an integer-only linear layer: y[n] from the raw sums of products (numerics::FoldZeroPoints,
// DequantizeAcc).
struct DequantizeArgs {
  const int32_t* acc = nullptr;  // [n] sum_k q_x q_w
  int64_t n = 0;
  int32_t k = 0;
  float x_scale = 1.0F;
  int32_t x_zero_point = 0;
  int32_t x_sum = 0;                           // sum_k q_x; only used with weight_zero_point
  const float* weight_scale = nullptr;         // [n]
  const int32_t* weight_zero_point = nullptr;  // [n] or null
  const int32_t* weight_sum = nullptr;         // [n] sum_k q_w
  const float* bias = nullptr;                 // [n] or null
  float* y = nullptr;
};

// The operators for one instruction set. All sets give the bits of ref/.
struct Kernels {
  const char* isa;
  bool (*supported)();
  // Output columns that one call handles best together; a thread's share is a multiple of it.
  int64_t linear_block;
  // `scratch` has at least linear_block * (k + 16) floats.
  void (*linear)(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y);
  void (*gelu)(const float* x, int64_t n, float* y);
  void (*add_residual)(const float* att, const float* mlp, int64_t n, float* x);
  void (*rotary)(const float* cos_row, const float* sin_row, int64_t rotary_dim, float* head);
  // n floats as a row of a KV cache: kF32, or kF16 rounded half to even.
  void (*store_row)(DType kv_dtype, const float* x, int64_t n, std::byte* out);
  void (*attention)(const AttentionArgs& args);
  // q = round(x * inv_scale + zero_point), clamped to int8.
  void (*quantize_row)(const float* x, int64_t n, float inv_scale, float zero_point, int8_t* q);
  void (*min_max)(const float* x, int64_t n, float* min, float* max);
  void (*dequantize_acc)(const DequantizeArgs& args);
  IntegerKernels integer;
};

// Every implementation that this build has, fastest first, the scalar reference last.
std::span<const Kernels* const> AllKernels();

// The fastest that this processor runs.
const Kernels& BestKernels();

extern const Kernels kReferenceKernels;
extern const Kernels kPortableKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace phidias::cpu
