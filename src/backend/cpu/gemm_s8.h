#pragma once

#include <cstdint>
#include <span>

namespace phidias::cpu {

// Products of int8 matrices, exact in int32: acc[m, n - n_begin] = sum_k x[m, k] * w[n, k]. Integer sums have no order,
// so every variant gives the same numbers whatever its width.

// Weights row by row, as a checkpoint has them.
struct GemmS8Args {
  const int8_t* x = nullptr;  // rows k bytes apart
  int64_t m = 0;
  int64_t k = 0;
  const int8_t* weight = nullptr;    // rows k bytes apart, any address
  const int32_t* row_sum = nullptr;  // [N] sum_k w[n, k]
  int32_t* acc = nullptr;
  int64_t acc_stride = 0;
};

// Packed weights (packed_s8.h).
struct PackedGemmS8Args {
  const int8_t* x = nullptr;       // rows k bytes apart
  const int32_t* x_sum = nullptr;  // [m] sum_k x[m, k]
  int64_t m = 0;
  int64_t k = 0;
  const uint8_t* packed = nullptr;  // `blocks` blocks of kPackRows columns
  int64_t blocks = 0;
  int32_t* acc = nullptr;  // [m, blocks * kPackRows], written whole
  int64_t acc_stride = 0;
};

struct GemmS8 {
  const char* isa;
  bool (*supported)();
  void (*run)(const GemmS8Args& args, int64_t n_begin, int64_t n_end);
  void (*packed)(const PackedGemmS8Args& args);  // null: this variant takes weights row by row only
};

// Every implementation that this build has, fastest first, the scalar reference last.
std::span<const GemmS8* const> AllGemmS8();

extern const GemmS8 kReferenceGemmS8;
extern const GemmS8 kPortableGemmS8;
#if defined(__x86_64__)
extern const GemmS8 kAvx2GemmS8;
extern const GemmS8 kAvxVnniGemmS8;
extern const GemmS8 kAvx512VnniGemmS8;
// The code of kAvxVnniGemmS8 in AVX-512's encoding: how a machine without AVX-VNNI tests it. Not in the list.
extern const GemmS8 kAvx512Vnni256GemmS8;
#endif

}  // namespace phidias::cpu
