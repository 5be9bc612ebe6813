// Matrix products of the `float` arithmetic over Lanes, compiled once per instruction set by the kernels_ISA.cc files.
// A register tile holds PHIDIAS_TILE_M x PHIDIAS_TILE_N outputs.
#pragma once

#include "backend/cpu/kernels.h"
#include "backend/cpu/lanes.h"

namespace phidias::cpu::PHIDIAS_ISA {
namespace {

constexpr int kTileM = PHIDIAS_TILE_M;
constexpr int kTileN = PHIDIAS_TILE_N;
// One row of x: so many weight rows at once, each a stream of its own through memory, fetched so far ahead.
constexpr int kStreams = PHIDIAS_STREAMS;
constexpr int64_t kAheadBytes = PHIDIAS_AHEAD_BYTES;
// Rows of x that are taken through all of a thread's weights at a time: they should stay in the L2 cache.
constexpr int64_t kBlockM = 64;

// --- weights as float lanes ---

template <DType kType>
struct WeightLoader {
  static constexpr int64_t kPrefetchBytes = kType == DType::kF32 ? 4 : (kType == DType::kQ8_0 ? 1 : 2);  // an element

  // Lanes k..k+15 of a stored row; k is a multiple of 16 and k + 16 <= row length.
  static PHIDIAS_INLINE Lanes Full(const std::byte* row, int64_t k) {
    if constexpr (kType == DType::kF16) {
      return LoadF16(row + 2 * k);
    } else if constexpr (kType == DType::kBF16) {
      return LoadBf16(row + 2 * k);
    } else if constexpr (kType == DType::kQ8_0) {
      const std::byte* block = row + k / kQ8BlockElements * kQ8BlockBytes;
      uint16_t scale = 0;
      __builtin_memcpy(&scale, block, sizeof scale);
      return LoadQ8(block + 2 + k % kQ8BlockElements, numerics::HalfToFloat(scale));
    } else {
      return Load(row + 4 * k);
    }
  }

  // The last count (1..15) elements, zeros after them. A Q8_0 row has none: its length is a multiple of 32.
  static PHIDIAS_INLINE Lanes Partial(const std::byte* row, int64_t k, int64_t count) {
    constexpr int64_t kBytes = kType == DType::kF32 ? 4 : 2;
    std::byte buffer[kLanes * kBytes] = {};
    __builtin_memcpy(buffer, row + kBytes * k, static_cast<size_t>(count * kBytes));
    return WeightLoader < kType == DType::kQ8_0 ? DType::kF16 : kType > ::Full(buffer, 0);
  }
};

// --- matrix product ---

// acc[m][n] += the lanes of x_m . w_n over whole groups, k_begin..k_end. Each output has its own lanes over k, as the
// contract demands, so nothing is broadcast: kM loads of x and kN of the weight feed kM * kN multiplications and
// additions. (Unrolled early, or GCC keeps the sums in memory.)
template <DType kType, int kM, int kN, int64_t kAhead = 0>
PHIDIAS_INLINE void AddDots(const float* x, int64_t x_stride, const std::byte* weight, int64_t row_bytes,
                            int64_t k_begin, int64_t k_end, Lanes (&acc)[kM][kN]) {
  for (int64_t i = k_begin; i < k_end; i += kLanes) {
    Lanes rows[kM];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      rows[m] = Load(x + m * x_stride + i);
    }
#pragma GCC unroll 8
    for (int n = 0; n < kN; ++n) {
      const Lanes w = WeightLoader<kType>::Full(weight + n * row_bytes, i);
      if constexpr (kAhead != 0) {
        __builtin_prefetch(weight + n * row_bytes + i * WeightLoader<kType>::kPrefetchBytes + kAhead);
      }
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        acc[m][n] = acc[m][n] + rows[m] * w;
      }
    }
  }
}

// Calls sink(m, n, lanes of x_m . w_n) for a tile of kM rows of x and kN of the weight.
template <DType kType, int kM, int kN, int64_t kAhead = 0, class Sink>
PHIDIAS_INLINE void Dots(const float* x, int64_t x_stride, const std::byte* weight, int64_t row_bytes, int64_t k,
                         Sink sink) {
  Lanes acc[kM][kN];
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kN; ++n) {
      acc[m][n] = Splat(0.0F);
    }
  }
  const int64_t full = k / kLanes * kLanes;
  AddDots<kType, kM, kN, kAhead>(x, x_stride, weight, row_bytes, 0, full, acc);
  const int64_t left = k - full;
  if (left != 0) {
#pragma GCC unroll 8
    for (int n = 0; n < kN; ++n) {
      const Lanes w = WeightLoader<kType>::Partial(weight + n * row_bytes, full, left);
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        acc[m][n] = acc[m][n] + LoadPartial(x + m * x_stride + full, left) * w;
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kN; ++n) {
      sink(m, n, acc[m][n]);
    }
  }
}

// A kM x kN tile of y.
template <DType kType, int kM, int kN>
PHIDIAS_INLINE void Tile(const float* x, int64_t x_stride, const std::byte* weight, int64_t row_bytes, int64_t k,
                         const float* bias, float* y, int64_t y_stride) {
  Dots<kType, kM, kN>(x, x_stride, weight, row_bytes, k, [&](int m, int n, const Lanes& lanes) {
    const float sum = TreeSum(lanes);
    y[m * y_stride + n] = bias != nullptr ? sum + bias[n] : sum;
  });
}

// All rows of a block of x against kN weight rows.
template <DType kType, int kN>
void Columns(const LinearArgs& args, const std::byte* weight, int64_t row_bytes, int64_t m_begin, int64_t m_end,
             int64_t n) {
  const float* bias = args.bias != nullptr ? args.bias + n : nullptr;
  int64_t m = m_begin;
  const auto at = [&](int64_t row) { return args.x + row * args.k; };
  const auto to = [&](int64_t row) { return args.y + row * args.y_stride + n; };
  for (; m + kTileM <= m_end; m += kTileM) {
    Tile<kType, kTileM, kN>(at(m), args.k, weight, row_bytes, args.k, bias, to(m), args.y_stride);
  }
  for (; m < m_end; ++m) {
    Tile<kType, 1, kN>(at(m), args.k, weight, row_bytes, args.k, bias, to(m), args.y_stride);
  }
}

template <DType kType>
void DecodeRow(const std::byte* row, int64_t k, float* out) {
  const int64_t full = k / kLanes * kLanes;
  for (int64_t i = 0; i < full; i += kLanes) {
    Store(WeightLoader<kType>::Full(row, i), out + i);
  }
  if (full != k) {
    StorePartial(WeightLoader<kType>::Partial(row, full, k - full), out + full, k - full);
  }
}

// int8 weights with a float input: scale * (q - zero_point) row by row, then as float32.
template <int kN>
void DequantizedRows(const LinearArgs& args, int64_t n, int64_t m_begin, int64_t m_end, float* scratch) {
  for (int i = 0; i < kN; ++i) {
    const auto* row = reinterpret_cast<const int8_t*>(args.weight + (n + i) * args.weight_row_bytes);
    const int32_t zero = args.weight_zero_point != nullptr ? args.weight_zero_point[n + i] : 0;
    const float scale = args.weight_scale[n + i];
    for (int64_t k = 0; k < args.k; ++k) {
      scratch[i * args.k + k] = static_cast<float>(row[k] - zero) * scale;
    }
  }
  Columns<DType::kF32, kN>(args, reinterpret_cast<const std::byte*>(scratch), args.k * 4, m_begin, m_end, n);
}

// kN weight rows against a block: straight from the file for a row or two of x (each weight is then used once or
// twice), through a decoded copy for more.
template <DType kType, int kN>
void WeightRows(const LinearArgs& args, int64_t n, int64_t m_begin, int64_t m_end, float* scratch) {
  if constexpr (kType == DType::kI8) {
    DequantizedRows<kN>(args, n, m_begin, m_end, scratch);
  } else {
    const std::byte* weight = args.weight + n * args.weight_row_bytes;
    if (kType == DType::kF32 || m_end - m_begin <= 2) {
      Columns<kType, kN>(args, weight, args.weight_row_bytes, m_begin, m_end, n);
      return;
    }
    for (int i = 0; i < kN; ++i) {
      DecodeRow<kType>(weight + i * args.weight_row_bytes, args.k, scratch + i * args.k);
    }
    Columns<DType::kF32, kN>(args, reinterpret_cast<const std::byte*>(scratch), args.k * 4, m_begin, m_end, n);
  }
}

// One row of x: bound by memory. The weight rows are read as kStreams long streams rather than in blocks of kStreams
// neighbours: a stream that breaks off after one row is too short for the processor's prefetchers.
template <DType kType>
void OneRow(const LinearArgs& args, int64_t n_begin, int64_t n_end) {
  const auto finish = [&](int64_t n, const Lanes& lanes) {
    const float sum = TreeSum(lanes);
    args.y[n] = args.bias != nullptr ? sum + args.bias[n] : sum;
  };
  const int64_t row_bytes = args.weight_row_bytes;
  const int64_t each = (n_end - n_begin) / kStreams;
  for (int64_t i = 0; i < each; ++i) {
    Dots<kType, 1, kStreams, kAheadBytes>(
        args.x, 0, args.weight + (n_begin + i) * row_bytes, each * row_bytes, args.k,
        [&](int /*m*/, int s, const Lanes& lanes) { finish(n_begin + s * each + i, lanes); });
  }
  for (int64_t n = n_begin + each * kStreams; n < n_end; ++n) {
    Dots<kType, 1, 1>(args.x, 0, args.weight + n * row_bytes, row_bytes, args.k,
                      [&](int /*m*/, int /*n*/, const Lanes& lanes) { finish(n, lanes); });
  }
}

template <DType kType>
void LinearOfType(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
  if constexpr (kType != DType::kI8) {
    if (args.m == 1) {
      OneRow<kType>(args, n_begin, n_end);
      return;
    }
  }
  for (int64_t m = 0; m < args.m; m += kBlockM) {
    const int64_t m_end = m + kBlockM < args.m ? m + kBlockM : args.m;
    int64_t n = n_begin;
    for (; n + kTileN <= n_end; n += kTileN) {
      WeightRows<kType, kTileN>(args, n, m, m_end, scratch);
    }
    for (; n < n_end; ++n) {
      WeightRows<kType, 1>(args, n, m, m_end, scratch);
    }
  }
}

void Linear(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
  switch (args.weight_dtype) {
    case DType::kF16: return LinearOfType<DType::kF16>(args, n_begin, n_end, scratch);
    case DType::kBF16: return LinearOfType<DType::kBF16>(args, n_begin, n_end, scratch);
    case DType::kI8: return LinearOfType<DType::kI8>(args, n_begin, n_end, scratch);
    case DType::kQ8_0: return LinearOfType<DType::kQ8_0>(args, n_begin, n_end, scratch);
    default: return LinearOfType<DType::kF32>(args, n_begin, n_end, scratch);
  }
}

}  // namespace
}  // namespace phidias::cpu::PHIDIAS_ISA
