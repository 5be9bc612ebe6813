// The `float` attention over Lanes, compiled once per instruction set by the kernels_ISA.cc files.
#pragma once

#include "backend/cpu/attention.h"
#include "backend/cpu/kernels_lanes.h"

namespace phidias::cpu::PHIDIAS_ISA {
namespace {

// Rows that share each load of a value, and the groups of 16 elements of the head that they keep in registers.
constexpr int kValueRows = PHIDIAS_VALUE_ROWS;
constexpr int kValueGroups = PHIDIAS_VALUE_GROUPS;
// Keys that share each load of a query; kTileM queries share each load of a key.
constexpr int kScoreKeys = PHIDIAS_SCORE_KEYS;

void Rotary(const float* cos_row, const float* sin_row, int64_t rotary_dim, float* head) {
  const int64_t half = rotary_dim / 2;
  ForGroups(half, [&](int64_t i, int64_t count) {
    const Lanes c = LoadGroup(cos_row + i, count);
    const Lanes s = LoadGroup(sin_row + i, count);
    const Lanes a = LoadGroup(head + i, count);
    const Lanes b = LoadGroup(head + half + i, count);
    StoreGroup(a * c - b * s, head + i, count);
    StoreGroup(b * c + a * s, head + half + i, count);
  });
}

void StoreRow(DType kv_dtype, const float* x, int64_t n, std::byte* out) {
  if (kv_dtype == DType::kF32) {
    __builtin_memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  ForGroups(n, [&](int64_t i, int64_t count) {
    std::byte halves[kLanes * 2];
    StoreF16(LoadGroup(x + i, count), halves);
    __builtin_memcpy(out + 2 * i, halves, static_cast<size_t>(2 * count));
  });
}

// scores[m][0..15] = q_m . key_j for kM query rows and `count` (1..16) keys; the lanes of absent keys are 0.
template <DType kType, int kM>
PHIDIAS_INLINE void Scores(const float* q, int64_t q_stride, const std::byte* keys, int64_t count, int64_t head_dim,
                           float* scores, int64_t scores_stride) {
  constexpr int64_t kBytes = kType == DType::kF32 ? 4 : 2;
  const int64_t row_bytes = kBytes * head_dim;
  Lanes sums[kM][kLanes];
  int64_t j = 0;
  for (; j + kScoreKeys <= count; j += kScoreKeys) {
    Lanes acc[kM][kScoreKeys];
    Dots<kType, kM, kScoreKeys>(q, q_stride, keys + j * row_bytes, row_bytes, head_dim, acc);
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kScoreKeys; ++n) {
        sums[m][j + n] = acc[m][n];
      }
    }
  }
  for (; j < kLanes; ++j) {
    Lanes acc[kM][1];
    for (int m = 0; m < kM; ++m) {
      acc[m][0] = Splat(0.0F);
    }
    if (j < count) {
      Dots<kType, kM, 1>(q, q_stride, keys + j * row_bytes, row_bytes, head_dim, acc);
    }
    for (int m = 0; m < kM; ++m) {
      sums[m][j] = acc[m][0];
    }
  }
  for (int m = 0; m < kM; ++m) {
    Store(TreeSums(sums[m]), scores + m * scores_stride);
  }
}

// scores[0..count) become exp(score - maximum); returns 1 / their sum.
PHIDIAS_INLINE float Softmax(float* scores, int64_t count) {
  Lanes max_lanes = Splat(scores[0]);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    max_lanes = Max(Load(scores + i), max_lanes);
  }
  float lanes[kLanes];
  Store(max_lanes, lanes);
  float max = lanes[0];
  for (int j = 1; j < kLanes; ++j) {
    max = lanes[j] > max ? lanes[j] : max;
  }
  for (; i < count; ++i) {
    max = scores[i] > max ? scores[i] : max;
  }
  Lanes sum = Splat(0.0F);
  ForGroups(count, [&](int64_t j, int64_t n) {
    StoreGroup(Exp(LoadGroup(scores + j, n) - Splat(max)), scores + j, n);
    sum = sum + LoadGroup(scores + j, n);
  });
  return 1.0F / TreeSum(sum);
}

template <DType kType>
PHIDIAS_INLINE Lanes LoadValue(const std::byte* row, int64_t d, int64_t count) {
  return count == kLanes ? WeightLoader<kType>::Full(row, d) : WeightLoader<kType>::Partial(row, d, count);
}

// Elements d.. of the head, kG groups of them (the last of `last` elements), for kM rows: acc[m] = sum_j p_mj v_j in
// order of j over [begin, end).
template <DType kType, int kM, int kG>
PHIDIAS_INLINE void AddValues(const float* const* p, const std::byte* values, int64_t row_bytes, int64_t d,
                              int64_t last, int64_t begin, int64_t end, Lanes (&acc)[kM][kG]) {
  for (int64_t j = begin; j < end; ++j) {
    const std::byte* row = values + j * row_bytes;
    Lanes v[kG];
    for (int g = 0; g < kG; ++g) {
      v[g] = LoadValue<kType>(row, d + g * kLanes, g + 1 == kG ? last : kLanes);
    }
    for (int m = 0; m < kM; ++m) {
      const Lanes weight = Splat(p[m][j]);
      for (int g = 0; g < kG; ++g) {
        acc[m][g] = acc[m][g] + weight * v[g];
      }
    }
  }
}

// What the second half of attention works on: kM rows with their weights (after exp).
struct WeightedRows {
  const AttentionRow* rows = nullptr;
  const float* const* p = nullptr;
  const float* inv_sum = nullptr;
  int64_t common = 0;  // positions that all of the rows attend to
};

template <DType kType, int kM, int kG>
PHIDIAS_INLINE void ValueGroups(const AttentionArgs& args, const WeightedRows& x, int64_t d) {
  const int64_t row_bytes = (kType == DType::kF32 ? 4 : 2) * args.head_dim;
  const int64_t left = args.head_dim - d - (kG - 1) * kLanes;
  const int64_t last = left < kLanes ? left : kLanes;
  Lanes acc[kM][kG];
  for (int m = 0; m < kM; ++m) {
    for (int g = 0; g < kG; ++g) {
      acc[m][g] = Splat(0.0F);
    }
  }
  AddValues<kType, kM, kG>(x.p, args.values, row_bytes, d, last, 0, x.common, acc);
  for (int m = 0; m < kM; ++m) {
    Lanes rest[1][kG];
    for (int g = 0; g < kG; ++g) {
      rest[0][g] = acc[m][g];
    }
    AddValues<kType, 1, kG>(x.p + m, args.values, row_bytes, d, last, x.common, x.rows[m].count, rest);
    for (int g = 0; g < kG; ++g) {
      StoreGroup(rest[0][g] * Splat(x.inv_sum[m]), x.rows[m].out + d + g * kLanes, g + 1 == kG ? last : kLanes);
    }
  }
}

template <DType kType, int kM>
void WeightedValues(const AttentionArgs& args, const WeightedRows& x) {
  constexpr int64_t kWide = kValueGroups * kLanes;
  int64_t d = 0;
  for (; d + kWide <= args.head_dim; d += kWide) {
    ValueGroups<kType, kM, kValueGroups>(args, x, d);
  }
  for (; d < args.head_dim; d += kLanes) {
    ValueGroups<kType, kM, 1>(args, x, d);
  }
}

template <DType kType, int kM>
void AttendRows(const AttentionArgs& args, const AttentionRow* rows) {
  int64_t longest = rows[0].count;
  int64_t common = rows[0].count;
  for (int m = 1; m < kM; ++m) {
    longest = rows[m].count > longest ? rows[m].count : longest;
    common = rows[m].count < common ? rows[m].count : common;
  }
  constexpr int kScoreRows = kM < kTileM ? kM : kTileM;
  const int64_t q_stride = PaddedLanes(args.head_dim);
  const int64_t scores_stride = PaddedLanes(longest);
  float* q = args.scratch;
  float* scores = q + kM * q_stride;
  for (int m = 0; m < kM; ++m) {
    ForGroups(args.head_dim, [&](int64_t i, int64_t count) {
      StoreGroup(LoadGroup(rows[m].q + i, count) * Splat(args.scale), q + m * q_stride + i, count);
    });
  }
  const int64_t key_bytes = (kType == DType::kF32 ? 4 : 2) * args.head_dim;
  for (int64_t j = 0; j < longest; j += kLanes) {
    const int64_t count = longest - j < kLanes ? longest - j : kLanes;
    for (int m = 0; m < kM; m += kScoreRows) {
      Scores<kType, kScoreRows>(q + m * q_stride, q_stride, args.keys + j * key_bytes, count, args.head_dim,
                                scores + m * scores_stride + j, scores_stride);
    }
  }
  const float* p[kM];
  float inv_sum[kM];
  for (int m = 0; m < kM; ++m) {
    p[m] = scores + m * scores_stride;
    inv_sum[m] = Softmax(scores + m * scores_stride, rows[m].count);
  }
  WeightedValues<kType, kM>(args, {.rows = rows, .p = p, .inv_sum = inv_sum, .common = common});
}

template <DType kType>
void AttentionOfType(const AttentionArgs& args) {
  int64_t r = 0;
  for (; r + kValueRows <= args.row_count; r += kValueRows) {
    AttendRows<kType, kValueRows>(args, args.rows + r);
  }
  for (; r < args.row_count; ++r) {
    AttendRows<kType, 1>(args, args.rows + r);
  }
}

void Attention(const AttentionArgs& args) {
  if (args.kv_dtype == DType::kF16) {
    AttentionOfType<DType::kF16>(args);
  } else {
    AttentionOfType<DType::kF32>(args);
  }
}

}  // namespace
}  // namespace phidias::cpu::PHIDIAS_ISA
