#pragma once

#include <cstdint>
#include <span>

namespace phidias::cpu {

// acc[m, n - n_begin] = sum_k x[m, k] * w[n, k] over int8, exact in int32. Integer sums have no order, so every variant
// gives the same numbers whatever its width.
struct GemmS8Args {
  const int8_t* x = nullptr;  // rows k bytes apart
  int64_t m = 0;
  int64_t k = 0;
  const int8_t* weight = nullptr;    // rows k bytes apart, any address
  const int32_t* row_sum = nullptr;  // [N] sum_k w[n, k]
  int32_t* acc = nullptr;
  int64_t acc_stride = 0;
};

struct GemmS8 {
  const char* isa;
  bool (*supported)();
  void (*run)(const GemmS8Args& args, int64_t n_begin, int64_t n_end);
};

// Every implementation that this build has, fastest first, the scalar reference last.
std::span<const GemmS8* const> AllGemmS8();

extern const GemmS8 kReferenceGemmS8;
extern const GemmS8 kPortableGemmS8;
#if defined(__x86_64__)
extern const GemmS8 kAvx2GemmS8;
extern const GemmS8 kAvx512VnniGemmS8;
#endif

}  // namespace phidias::cpu
