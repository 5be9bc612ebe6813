#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/cpu_options.h"
#include "backend/rotary_table.h"
#include "common/thread_pool.h"

namespace phidias::fpga {

// The operators for one token on the host: what --host-ops leaves to it. The same bits as the kernels' and as the CPU
// back end's.
class HostOperators {
 public:
  HostOperators(const ModelShape& shape, const CpuSetup& setup);

  void Embed(const WeightMatrix& weight, int32_t token, float* y);
  void LayerNorm(const LayerNormWeights& norm, const float* x, float* y);
  void Linear(const LinearWeights& linear, const float* x, float* y);
  void Gelu(const float* x, int64_t n, float* y);
  void AddResidual(const float* attention, const float* mlp, const float* x, int64_t n, float* y);
  // keys and values: [positions, n_kv_heads * head_dim]; row `pos` is written, 0..pos are attended to.
  void Attention(const float* q, const float* k, const float* v, int64_t pos, float* keys, float* values, float* out);

  ThreadPool* pool() { return &pool_; }

 private:
  void LinearFloat(const LinearWeights& linear, const float* x, float* y);
  void LinearS8(const LinearWeights& linear, const int8_t* q, float scale, int32_t zero_point, float* y);

  ModelShape shape_;
  const cpu::Kernels& kernels_;
  ThreadPool pool_;
  RotaryTable rotary_;
  std::vector<std::vector<float>> scratch_;  // per thread
};

}  // namespace phidias::fpga
