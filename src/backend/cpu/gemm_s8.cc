#include "backend/cpu/gemm_s8.h"

#include <array>

#include "ref/linear_s8.h"

namespace phidias::cpu {
namespace {

void ReferenceGemm(const GemmS8Args& args, int64_t n_begin, int64_t n_end) {
  for (int64_t m = 0; m < args.m; ++m) {
    for (int64_t n = n_begin; n < n_end; ++n) {
      args.acc[m * args.acc_stride + n - n_begin] = ref::DotS8(args.x + m * args.k, args.weight + n * args.k, args.k);
    }
  }
}

// Plain loops that any compiler turns into the baseline's vectors: int8 products fit int16, pairs of them int32.
void PortableGemm(const GemmS8Args& args, int64_t n_begin, int64_t n_end) {
  for (int64_t n = n_begin; n < n_end; ++n) {
    const int8_t* w = args.weight + n * args.k;
    for (int64_t m = 0; m < args.m; ++m) {
      const int8_t* x = args.x + m * args.k;
      int32_t sum = 0;
      for (int64_t k = 0; k < args.k; ++k) {
        sum += static_cast<int32_t>(static_cast<int16_t>(x[k]) * static_cast<int16_t>(w[k]));
      }
      args.acc[m * args.acc_stride + n - n_begin] = sum;
    }
  }
}

constexpr std::array kAll = {
#if defined(__x86_64__)
    &kAvx512VnniGemmS8, &kAvxVnniGemmS8,   &kAvx2GemmS8,
#endif
    &kPortableGemmS8,   &kReferenceGemmS8,
};

}  // namespace

const GemmS8 kReferenceGemmS8 = {
    .isa = "reference", .supported = [] { return true; }, .run = ReferenceGemm, .packed = nullptr};
const GemmS8 kPortableGemmS8 = {
    .isa = "portable", .supported = [] { return true; }, .run = PortableGemm, .packed = nullptr};

std::span<const GemmS8* const> AllGemmS8() {
  return kAll;
}

}  // namespace phidias::cpu
