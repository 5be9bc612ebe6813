#pragma once

#include <cstdint>
#include <span>

#include "backend/cpu/packed_i4.h"

namespace phidias::cpu {

// Products of int8 rows with packed 4-bit weights (packed_i4.h), exact in int32: acc[m, n] = sum_g multiplier[n, g] *
// sum_{k in g} x[m, k] * q[n, k]. Integer sums have no order, so every variant gives the same numbers.
struct PackedGemmI4Args {
  const int8_t* x = nullptr;        // InputsI4::q, from a multiple of kI4InputRows rows on
  const int32_t* offset = nullptr;  // InputsI4::offset, likewise
  int64_t m = 0;
  ShapeI4 shape;
  const uint8_t* packed = nullptr;  // `blocks` blocks of kPackRows columns
  int64_t blocks = 0;
  int32_t* acc = nullptr;  // [m, blocks * kPackRows], written whole
  int64_t acc_stride = 0;
};

struct GemmI4 {
  const char* isa;
  bool (*supported)();
  void (*packed)(const PackedGemmI4Args& args);
};

// Every implementation that this build has, fastest first, the scalar reference last.
std::span<const GemmI4* const> AllGemmI4();

extern const GemmI4 kReferenceGemmI4;
extern const GemmI4 kPortableGemmI4;
#if defined(__x86_64__)
extern const GemmI4 kAvx2GemmI4;
extern const GemmI4 kAvxVnniGemmI4;
extern const GemmI4 kAvx512VnniGemmI4;
// The code of kAvxVnniGemmI4 in AVX-512's encoding: how a machine without AVX-VNNI tests it. Not in the list.
extern const GemmI4 kAvx512Vnni256GemmI4;
#endif

}  // namespace phidias::cpu
