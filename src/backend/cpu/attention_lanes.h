// The `float` attention over Lanes, compiled once per instruction set by the kernels_ISA.cc files.
#pragma once

#include "backend/cpu/attention.h"
#include "backend/cpu/kernels_lanes.h"
#include "backend/cpu/linear_lanes.h"

namespace phidias::cpu::PHIDIAS_ISA {
namespace {

// Query rows that share each load of a value, and the groups of 16 elements of the head that are summed together: for
// several rows as registers allow; for one row as many as keep the additions busy, so that memory is read in order.
constexpr int kValueRows = PHIDIAS_VALUE_ROWS;
constexpr int kValueGroups = PHIDIAS_VALUE_GROUPS;
constexpr int kOneRowGroups = PHIDIAS_ONE_ROW_GROUPS;
// Keys that share each load of a query; kTileM queries share each load of a key.
constexpr int kScoreKeys = PHIDIAS_SCORE_KEYS;
constexpr int kOneRowKeys = 4;

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
  const auto keep = [&](int m, int n, const Lanes& acc) { sums[m][j + n] = acc; };
  constexpr int kKeys = kM == 1 ? kOneRowKeys : kScoreKeys;
  for (; j + kKeys <= count; j += kKeys) {
    Dots<kType, kM, kKeys>(q, q_stride, keys + j * row_bytes, row_bytes, head_dim, keep);
  }
  for (; j < count; ++j) {
    Dots<kType, kM, 1>(q, q_stride, keys + j * row_bytes, row_bytes, head_dim, keep);
  }
  for (; j < kLanes; ++j) {
    for (int m = 0; m < kM; ++m) {
      sums[m][j] = Splat(0.0F);
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

// What the second half of attention works on: kM rows with their weights (after exp).
struct WeightedRows {
  const AttentionRow* rows = nullptr;
  const float* const* p = nullptr;
  const float* inv_sum = nullptr;
  int64_t common = 0;  // positions that all of the rows attend to
};

// acc[m] += sum_j p_mj v_j in order of j over [begin, end), for kM rows and kG groups of elements. v(j, g) gives
// group g of position j's value.
template <int kM, int kG, class Value>
PHIDIAS_INLINE void AddValues(const float* const* p, int64_t begin, int64_t end, Value value, Lanes (&acc)[kM][kG]) {
  for (int64_t j = begin; j < end; ++j) {
    Lanes v[kG];
#pragma GCC unroll 8
    for (int g = 0; g < kG; ++g) {
      v[g] = value(j, g);
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      const Lanes weight = Splat(p[m][j]);
#pragma GCC unroll 8
      for (int g = 0; g < kG; ++g) {
        acc[m][g] = acc[m][g] + weight * v[g];
      }
    }
  }
}

// The sums of kG groups for kM rows: positions that all attend to, then each row's own. store(m, g, lanes).
template <int kM, int kG, class Value, class Sink>
PHIDIAS_INLINE void ValueGroups(const WeightedRows& x, Value value, Sink store) {
  Lanes acc[kM][kG];
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
    for (int g = 0; g < kG; ++g) {
      acc[m][g] = Splat(0.0F);
    }
  }
  AddValues<kM, kG>(x.p, 0, x.common, value, acc);
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
    Lanes rest[1][kG];
#pragma GCC unroll 8
    for (int g = 0; g < kG; ++g) {
      rest[0][g] = acc[m][g];
    }
    AddValues<1, kG>(x.p + m, x.common, x.rows[m].count, value, rest);
#pragma GCC unroll 8
    for (int g = 0; g < kG; ++g) {
      store(m, g, rest[0][g] * Splat(x.inv_sum[m]));
    }
  }
}

// Elements d.. of the head, whole groups.
template <DType kType, int kM, int kG>
PHIDIAS_INLINE void WholeGroups(const AttentionArgs& args, const WeightedRows& x, int64_t d) {
  constexpr int64_t kBytes = kType == DType::kF32 ? 4 : 2;
  const std::byte* values = args.values + kBytes * d;
  const int64_t row_bytes = kBytes * args.head_dim;
  ValueGroups<kM, kG>(
      x, [=](int64_t j, int g) { return WeightLoader<kType>::Full(values + j * row_bytes, g * kLanes); },
      [&](int m, int g, const Lanes& out) { Store(out, x.rows[m].out + d + g * kLanes); });
}

template <DType kType, int kM>
PHIDIAS_INLINE void WeightedValues(const AttentionArgs& args, const WeightedRows& x) {
  constexpr int kGroups = kM == 1 ? kOneRowGroups : kValueGroups;
  constexpr int64_t kWide = kGroups * kLanes;
  int64_t d = 0;
  for (; d + kWide <= args.head_dim; d += kWide) {
    WholeGroups<kType, kM, kGroups>(args, x, d);
  }
  for (; d + kLanes <= args.head_dim; d += kLanes) {
    WholeGroups<kType, kM, 1>(args, x, d);
  }
  if (d < args.head_dim) {
    constexpr int64_t kBytes = kType == DType::kF32 ? 4 : 2;
    const int64_t left = args.head_dim - d;
    ValueGroups<kM, 1>(
        x,
        [&](int64_t j, int /*g*/) {
          return WeightLoader<kType>::Partial(args.values + j * kBytes * args.head_dim, d, left);
        },
        [&](int m, int /*g*/, const Lanes& out) { StorePartial(out, x.rows[m].out + d, left); });
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
