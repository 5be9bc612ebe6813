#include "backend/cpu/kernels.h"

#include <algorithm>
#include <array>

#include "ref/decode_row.h"
#include "ref/ops.h"

namespace phidias::cpu {
namespace {

void ReferenceLinear(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
  for (int64_t n = n_begin; n < n_end; ++n) {
    ref::DecodeRow(args.weight_dtype, args.weight + n * args.weight_row_bytes, args.k, scratch);
    for (int64_t m = 0; m < args.m; ++m) {
      const float* bias = args.bias != nullptr ? args.bias + n : nullptr;
      ref::Linear(args.x + m * args.k, scratch, bias, 1, args.k, args.y + m * args.y_stride + n);
    }
  }
}

void ReferenceAttention(const AttentionArgs& args) {
  ref::AttentionHead(args.q, args.keys, args.values, args.stride, args.count, args.head_dim, args.scale, args.scores,
                     args.out);
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
    .attention_head = ReferenceAttention,
};

std::span<const Kernels* const> AllKernels() {
  return kAll;
}

const Kernels& BestKernels() {
  return **std::find_if(kAll.begin(), kAll.end(), [](const Kernels* kernels) { return kernels->supported(); });
}

}  // namespace phidias::cpu
