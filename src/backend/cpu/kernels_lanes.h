// The row operators of the `float` arithmetic over Lanes, written once and compiled once per instruction set by the
// kernels_ISA.cc files, which define PHIDIAS_ISA, PHIDIAS_PART_BYTES and the tiles of linear_lanes.h and
// attention_lanes.h.
#pragma once

#include "backend/cpu/kernels.h"
#include "backend/cpu/lanes.h"
#include "numerics/elementary.h"

namespace phidias::cpu::PHIDIAS_ISA {
namespace {

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
