// The `float` operators over Lanes, written once and compiled once per instruction set by the kernels_ISA.cc files,
// which define PHIDIAS_ISA, PHIDIAS_PART_BYTES and the register tile PHIDIAS_TILE_M x PHIDIAS_TILE_N.
#pragma once

#include "backend/cpu/kernels.h"
#include "backend/cpu/lanes.h"
#include "numerics/elementary.h"

namespace phidias::cpu::PHIDIAS_ISA {
namespace {

constexpr int kTileM = PHIDIAS_TILE_M;
constexpr int kTileN = PHIDIAS_TILE_N;
// Rows of x that are taken through all of a thread's weights at a time: they should stay in the L2 cache.
constexpr int64_t kBlockM = 64;

// --- weights as float lanes ---

template <DType kType>
struct WeightLoader {
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
template <DType kType, int kM, int kN>
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
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        acc[m][n] = acc[m][n] + rows[m] * w;
      }
    }
  }
}

// Calls sink(m, n, lanes of x_m . w_n) for a tile of kM rows of x and kN of the weight.
template <DType kType, int kM, int kN, class Sink>
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
  AddDots<kType, kM, kN>(x, x_stride, weight, row_bytes, 0, full, acc);
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

template <DType kType>
void LinearOfType(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
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

// --- element by element ---

// Calls fn(lanes offset, count) for groups of 16; count < 16 only in the last.
template <class Fn>
PHIDIAS_INLINE void ForGroups(int64_t n, Fn fn) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    fn(i, kLanes);
  }
  if (i < n) {
    fn(i, n - i);
  }
}

PHIDIAS_INLINE Lanes LoadGroup(const float* at, int64_t count) {
  return count == kLanes ? Load(at) : LoadPartial(at, count);
}

PHIDIAS_INLINE void StoreGroup(const Lanes& lanes, float* at, int64_t count) {
  if (count == kLanes) {
    Store(lanes, at);
  } else {
    StorePartial(lanes, at, count);
  }
}

// numerics::Exp, lane by lane.
PHIDIAS_INLINE Lanes Exp(const Lanes& x) {
  using C = numerics::ExpConstants;
  const Lanes t = Max(Min(x, Splat(C::kHigh)), Splat(C::kLow));
  const Lanes shifted = t * Splat(C::kLog2E) + Splat(C::kMagic);
  const Lanes n = shifted - Splat(C::kMagic);
  const Lanes r = (t - n * Splat(C::kLn2High)) - n * Splat(C::kLn2Low);
  Lanes p = Splat(C::kC4);
  p = p * r + Splat(C::kC3);
  p = p * r + Splat(C::kC2);
  p = p * r + Splat(C::kC1);
  p = p * r + Splat(C::kC0);
  p = p * (r * r) + r;
  p = p + Splat(1.0F);
  const Lanes result = p * PowerOfTwo(shifted);
  return KeepNan(x, SelectLess(x, Splat(C::kLow), Splat(0.0F), result));
}

void Gelu(const float* x, int64_t n, float* y) {
  using C = numerics::GeluConstants;
  ForGroups(n, [&](int64_t i, int64_t count) {
    const Lanes v = LoadGroup(x + i, count);
    const Lanes cube = (v * v) * v;
    const Lanes inner = v + Splat(C::kCubic) * cube;
    const Lanes result = v / (Splat(1.0F) + Exp(Splat(C::kMinusTwoRootTwoOverPi) * inner));
    StoreGroup(result, y + i, count);
  });
}

void AddResidual(const float* att, const float* mlp, int64_t n, float* x) {
  ForGroups(n, [&](int64_t i, int64_t count) {
    const Lanes sum = (LoadGroup(att + i, count) + LoadGroup(mlp + i, count)) + LoadGroup(x + i, count);
    StoreGroup(sum, x + i, count);
  });
}

void LayerNorm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y) {
  const auto size = static_cast<float>(n);
  Lanes sum = Splat(0.0F);
  ForGroups(n, [&](int64_t i, int64_t count) { sum = sum + LoadGroup(x + i, count); });
  const float mean = TreeSum(sum) / size;
  Lanes squares = Splat(0.0F);
  ForGroups(n, [&](int64_t i, int64_t count) {
    if (count == kLanes) {
      const Lanes d = Load(x + i) - Splat(mean);
      squares = squares + d * d;
      return;
    }
    float d[kLanes] = {};  // absent terms are +0, not the square of -mean
    for (int64_t j = 0; j < count; ++j) {
      d[j] = x[i + j] - mean;
    }
    squares = squares + Load(d) * Load(d);
  });
  const float inv_std = 1.0F / numerics::Sqrt(TreeSum(squares) / size + eps);
  ForGroups(n, [&](int64_t i, int64_t count) {
    const Lanes normalised = (LoadGroup(x + i, count) - Splat(mean)) * Splat(inv_std);
    StoreGroup(normalised * LoadGroup(weight + i, count) + LoadGroup(bias + i, count), y + i, count);
  });
}

// --- int8 ---

void QuantizeRow(const float* x, int64_t n, float inv_scale, float zero_point, int8_t* q) {
  ForGroups(n, [&](int64_t i, int64_t count) {
    const Lanes t = LoadGroup(x + i, count) * Splat(inv_scale) + Splat(zero_point);
    const IntLanes rounded = RoundHalfEven(Min(Max(t, Splat(-128.0F)), Splat(127.0F)));
    int32_t values[kLanes];
    __builtin_memcpy(values, &rounded, sizeof values);
    for (int64_t j = 0; j < count; ++j) {
      q[i + j] = static_cast<int8_t>(values[j]);
    }
  });
}

void MinMax(const float* x, int64_t n, float* min, float* max) {
  float low[kLanes];
  float high[kLanes];
  Lanes low_lanes = Splat(x[0]);
  Lanes high_lanes = low_lanes;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Lanes v = Load(x + i);
    low_lanes = Min(v, low_lanes);
    high_lanes = Max(v, high_lanes);
  }
  Store(low_lanes, low);
  Store(high_lanes, high);
  for (int j = 1; j < kLanes; ++j) {
    low[0] = low[j] < low[0] ? low[j] : low[0];
    high[0] = high[j] > high[0] ? high[j] : high[0];
  }
  for (; i < n; ++i) {
    low[0] = x[i] < low[0] ? x[i] : low[0];
    high[0] = x[i] > high[0] ? x[i] : high[0];
  }
  *min = low[0];
  *max = high[0];
}

void DequantizeAcc(const DequantizeArgs& args) {
  constexpr int64_t kChunk = kLanes;
  for (int64_t n = 0; n < args.n; n += kChunk) {
    const int64_t count = n + kChunk <= args.n ? kChunk : args.n - n;
    int32_t folded[kChunk] = {};
    for (int64_t i = 0; i < count; ++i) {
      folded[i] = args.acc[n + i] - args.x_zero_point * args.weight_sum[n + i];
    }
    if (args.weight_zero_point != nullptr) {
      for (int64_t i = 0; i < count; ++i) {
        folded[i] += args.weight_zero_point[n + i] * (args.k * args.x_zero_point - args.x_sum);
      }
    }
    const Lanes scale = Splat(args.x_scale) * LoadGroup(args.weight_scale + n, count);
    const Lanes bias = args.bias != nullptr ? LoadGroup(args.bias + n, count) : Splat(0.0F);
    StoreGroup(ToFloat(LoadInts(folded)) * scale + bias, args.y + n, count);
  }
}

}  // namespace
}  // namespace phidias::cpu::PHIDIAS_ISA
