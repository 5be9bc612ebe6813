#include "backend/cpu/gemm_i4.h"

#include <algorithm>
#include <array>

namespace phidias::cpu {
namespace {

// fn(chunk, its packed weights, its group's multipliers) over a block.
template <class Fn>
void ForChunks(const ShapeI4& shape, const uint8_t* block, Fn fn) {
  int64_t chunk = 0;
  MultiplierLine line;
  for (int64_t group = 0; group < shape.groups(); ++group) {
    const uint8_t* multipliers = line.Enter(group, block);
    const int64_t end = std::min((group + 1) * shape.group / kI4Chunk, shape.chunks());
    for (; chunk < end; ++chunk, block += kI4ChunkBytes) {
      fn(chunk, block, multipliers);
    }
  }
}

// The stored weight, 7 - q, of a row of a chunk that meets x[at] (InputsI4's order).
int32_t StoredWeight(const uint8_t* chunk, int64_t row, int64_t at) {
  const uint8_t byte = chunk[at / kI4Step * kI4StepBytes + row * 4 + at % 4];
  return at % kI4Step < 4 ? byte & 15 : byte >> 4;
}

// As the layout's definition has it.
void ReferenceGemm(const PackedGemmI4Args& args) {
  for (int64_t n = 0; n < args.blocks * kPackRows; ++n) {
    const int64_t row = n % kPackRows;
    const uint8_t* block = args.packed + n / kPackRows * args.shape.block_bytes();
    for (int64_t m = 0; m < args.m; ++m) {
      const int8_t* x = args.x + InputAt(args.shape, m);
      int32_t sum = 0;
      ForChunks(args.shape, block, [&](int64_t chunk, const uint8_t* weights, const uint8_t* multipliers) {
        for (int64_t i = 0; i < kI4Chunk; ++i) {
          sum += multipliers[row] * (kI4StoredOffset - StoredWeight(weights, row, i)) * x[chunk * kI4InputBytes + i];
        }
      });
      args.acc[m * args.acc_stride + n] = sum;
    }
  }
}

// One chunk as 16-bit weights [kI4Chunk][kPackRows], which any compiler's vectors multiply: 16 products of (7 - q) x
// fit 16 bits.
void UnpackChunk(const uint8_t* chunk, int16_t* weights) {
  for (int64_t i = 0; i < kI4Chunk; ++i) {
    for (int64_t row = 0; row < kPackRows; ++row) {
      weights[i * kPackRows + row] = static_cast<int16_t>(StoredWeight(chunk, row, i));
    }
  }
}

void AddChunk(const int16_t* weights, const int8_t* x, int32_t offset, const uint8_t* multipliers, int32_t* acc) {
  int32_t sums[kPackRows];
  std::fill_n(sums, kPackRows, offset);
  for (int64_t half = 0; half < kI4Chunk; half += 16) {
    int16_t part[kPackRows] = {};
    for (int64_t i = half; i < half + 16; ++i) {
      for (int64_t row = 0; row < kPackRows; ++row) {
        part[row] = static_cast<int16_t>(part[row] + weights[i * kPackRows + row] * x[i]);
      }
    }
    for (int64_t row = 0; row < kPackRows; ++row) {
      sums[row] += part[row];
    }
  }
  for (int64_t row = 0; row < kPackRows; ++row) {
    acc[row] -= sums[row] * multipliers[row];
  }
}

void PortableGemm(const PackedGemmI4Args& args) {
  const ShapeI4& shape = args.shape;
  for (int64_t block = 0; block < args.blocks; ++block) {
    int32_t* acc = args.acc + block * kPackRows;
    for (int64_t m = 0; m < args.m; ++m) {
      std::fill_n(acc + m * args.acc_stride, kPackRows, 0);
    }
    ForChunks(shape, args.packed + block * shape.block_bytes(),
              [&](int64_t chunk, const uint8_t* packed, const uint8_t* multipliers) {
                int16_t weights[kI4Chunk * kPackRows];
                UnpackChunk(packed, weights);
                for (int64_t m = 0; m < args.m; ++m) {
                  AddChunk(weights, args.x + InputAt(shape, m) + chunk * kI4InputBytes,
                           args.offset[OffsetAt(shape, m) + chunk * kI4InputRows], multipliers,
                           acc + m * args.acc_stride);
                }
              });
  }
}

constexpr std::array kAll = {
#if defined(__x86_64__)
    &kAvx512VnniGemmI4, &kAvxVnniGemmI4,   &kAvx2GemmI4,
#endif
    &kPortableGemmI4,   &kReferenceGemmI4,
};

}  // namespace

const GemmI4 kReferenceGemmI4 = {.isa = "reference", .supported = [] { return true; }, .packed = ReferenceGemm};
const GemmI4 kPortableGemmI4 = {.isa = "portable", .supported = [] { return true; }, .packed = PortableGemm};

std::span<const GemmI4* const> AllGemmI4() {
  return kAll;
}

}  // namespace phidias::cpu
