#pragma once

#include <ap_int.h>

#include <cstdint>

// The kernels' tops. Vitis compiles each as a kernel of its own; the C simulation exports them from
// libphidias_kernels.so. A host names arguments by these parameters' names; bundles and directions stand in
// hls/design.h (kKernels), the layout of every buffer in hls/layout.h. One pointer per bundle; every pointer is aligned
// to 64 bytes, and every vector of floats occupies whole 64-byte beats (VectorBytes), of which a kernel reads and
// writes all: elements past the end are ignored on reading and unspecified after writing.
//
// In the C simulation a top runs its dataflow stages side by side and throws std::runtime_error (naming kernel, stage
// and stream) when they stall for good or leave something in a stream. Arithmetic runs in numerics::ScopedFlushToZero.

extern "C" {

// y[n] = scale * s_w[n] * (sum_k q_w[n, k] q_x[k] - zero_point * sum_k q_w[n, k]) + bias[n], with
// q_x = QuantizeS8(x, inv_scale, zero_point), inv_scale = 1.0f / scale.
//   w0..w3     int8 weights, symmetric, split along K (LinearSlice...); the 8-bit variants read the same bytes
//   constants  per group of 16 rows three beats: weight scales (float), biases (float), row sums (int32)
//   x          [k] float, y [n] float; k <= kMaxInputs
// Variants are the report's table 6: b = banks, w = bits of a weight port.
void linear_s8_b1w8(const int8_t* w0, const ap_uint<512>* constants, const ap_uint<512>* x, ap_uint<512>* y, int32_t n,
                    int32_t k, float inv_scale, float scale, int32_t zero_point);
void linear_s8_b4w8(const int8_t* w0, const int8_t* w1, const int8_t* w2, const int8_t* w3,
                    const ap_uint<512>* constants, const ap_uint<512>* x, ap_uint<512>* y, int32_t n, int32_t k,
                    float inv_scale, float scale, int32_t zero_point);
void linear_s8_b1w512(const ap_uint<512>* w0, const ap_uint<512>* constants, const ap_uint<512>* x, ap_uint<512>* y,
                      int32_t n, int32_t k, float inv_scale, float scale, int32_t zero_point);
void linear_s8_b4w512(const ap_uint<512>* w0, const ap_uint<512>* w1, const ap_uint<512>* w2, const ap_uint<512>* w3,
                      const ap_uint<512>* constants, const ap_uint<512>* x, ap_uint<512>* y, int32_t n, int32_t k,
                      float inv_scale, float scale, int32_t zero_point);

// logits[n] = sum_k x[k] w[n, k] + bias[n] in the contract's 16 partial sums (numerics/reduce.h).
//   w0..w3  groups of 16 rows in turn to the four banks, rows interleaved (LmHead...); w1..w3 may be one beat of
//           anything where n has fewer groups
//   bias    [n] float, padded to whole beats; a checkpoint without biases packs -0.0f, which changes no sum
//   x       [k] float, k <= kMaxHidden; logits [n] float
void lm_head_f16(const ap_uint<512>* w0, const ap_uint<512>* w1, const ap_uint<512>* w2, const ap_uint<512>* w3,
                 const ap_uint<512>* bias, const ap_uint<512>* x, ap_uint<512>* logits, int32_t n, int32_t k);
void lm_head_bf16(const ap_uint<512>* w0, const ap_uint<512>* w1, const ap_uint<512>* w2, const ap_uint<512>* w3,
                  const ap_uint<512>* bias, const ap_uint<512>* x, ap_uint<512>* logits, int32_t n, int32_t k);
void lm_head_f32(const ap_uint<512>* w0, const ap_uint<512>* w1, const ap_uint<512>* w2, const ap_uint<512>* w3,
                 const ap_uint<512>* bias, const ap_uint<512>* x, ap_uint<512>* logits, int32_t n, int32_t k);

// One token of one layer: rotates q and k, appends k and v to the caches at `pos`, attends to positions 0..pos, one
// head after the other.
//   q [n_heads * head_dim], k and v [n_kv_heads * head_dim], out [n_heads * head_dim]: float
//   rotary   the table's base, one row a position (RotaryRow...)
//   k_cache, v_cache  [n_kv_heads][capacity][head_dim] float, keys rotated; positions 0..pos-1 are read, pos is written
//   0 <= pos < capacity, pos < kMaxPositions; head_dim a multiple of 16 from kMinHeadDim to kMaxHeadDim; rotary_dim
//   even, at most head_dim; n_heads a multiple of n_kv_heads; n_kv_heads * head_dim <= kMaxKvElements; scale = 1 /
//   sqrt(head_dim)
// `attention` reads V row by row, `attention_by_column` column by column (the report's table 7); the bits are the same.
void attention(const ap_uint<512>* q, const ap_uint<512>* k, const ap_uint<512>* v, const ap_uint<512>* rotary,
               ap_uint<512>* k_cache, ap_uint<512>* v_cache, ap_uint<512>* out, int32_t pos, int32_t capacity,
               int32_t n_heads, int32_t n_kv_heads, int32_t head_dim, int32_t rotary_dim, float scale);
void attention_by_column(const ap_uint<512>* q, const ap_uint<512>* k, const ap_uint<512>* v,
                         const ap_uint<512>* rotary, ap_uint<512>* k_cache, ap_uint<512>* v_cache, ap_uint<512>* out,
                         int32_t pos, int32_t capacity, int32_t n_heads, int32_t n_kv_heads, int32_t head_dim,
                         int32_t rotary_dim, float scale);

// y = (x - mean) / sqrt(var + eps) * gamma + beta. constants: per 16 elements a beat of gamma and a beat of beta.
// n <= kMaxHidden.
void layernorm(const ap_uint<512>* x, const ap_uint<512>* constants, ap_uint<512>* y, int32_t n, float eps);

// y = gelu_new(x).
void gelu(const ap_uint<512>* x, ap_uint<512>* y, int32_t n);

// y = (att + mlp) + x. y may be x.
void residual(const ap_uint<512>* att, const ap_uint<512>* mlp, const ap_uint<512>* x, ap_uint<512>* y, int32_t n);

}  // extern "C"
