// attention, with V by row and by column (the report's table 7), against ref::Rotary and ref::AttentionHead over
// growing caches, bit by bit: Phi-2's shape at its last position, other heads and groups, special numbers; and what it
// leaves in the caches.

#include <gtest/gtest.h>

#include <limits>

#include "hls/kernels.h"
#include "numerics/elementary.h"
#include "numerics/fp_mode.h"
#include "ref/ops.h"
#include "tests/support/kernel_buffers.h"

namespace phidias::hls::test {
namespace {

struct Shape {
  int64_t n_heads = 4;
  int64_t n_kv_heads = 4;
  int64_t head_dim = 80;
  int64_t rotary_dim = 32;
  int64_t capacity = 40;

  int64_t q_size() const { return n_heads * head_dim; }
  int64_t kv_size() const { return n_kv_heads * head_dim; }
};

// Angles' cosines and sines need not be such for a test of bits.
struct RotaryRows {
  std::vector<float> cosines;
  std::vector<float> sines;
};

RotaryRows RotaryAt(const Shape& shape, int64_t pos) {
  return {RandomFloats(shape.rotary_dim / 2, static_cast<uint64_t>(2 * pos + 90)),
          RandomFloats(shape.rotary_dim / 2, static_cast<uint64_t>(2 * pos + 91))};
}

// The card's memory around the kernel, and the same computed by ref/ (caches as rows [pos][n_kv_heads * head_dim]).
class AttentionRun {
 public:
  explicit AttentionRun(const Shape& shape)
      : shape_(shape),
        scale_(1.0F / numerics::Sqrt(static_cast<float>(shape.head_dim))),
        rotary_(shape.capacity * RotaryRowBytes(shape.rotary_dim)),
        k_cache_(KvCacheBytes(shape.n_kv_heads, shape.head_dim, shape.capacity)),
        v_cache_(KvCacheBytes(shape.n_kv_heads, shape.head_dim, shape.capacity)),
        keys_(static_cast<size_t>(shape.capacity * shape.kv_size())),
        values_(keys_.size()) {
    for (int64_t pos = 0; pos < shape.capacity; ++pos) {
      const RotaryRows rows = RotaryAt(shape, pos);
      PackRotaryRow(rows.cosines.data(), rows.sines.data(), shape.rotary_dim,
                    rotary_.As<float>() + pos * RotaryRowBytes(shape.rotary_dim) / 4);
    }
  }

  // Fills positions 0..count-1 of both caches with numbers, without running anything.
  void Prefill(int64_t count) {
    const std::vector<float> numbers = RandomFloats(2 * count * shape_.kv_size(), 77, 2.0F);
    for (int64_t i = 0; i < count * shape_.kv_size(); ++i) {
      const size_t row_major = static_cast<size_t>(i);
      keys_[row_major] = numbers[2 * row_major];
      values_[row_major] = numbers[2 * row_major + 1];
      k_cache_.As<float>()[CacheIndex(i)] = keys_[row_major];
      v_cache_.As<float>()[CacheIndex(i)] = values_[row_major];
    }
  }

  std::vector<float> Kernel(decltype(attention)* top, int64_t pos, const std::vector<float>& q,
                            const std::vector<float>& k, const std::vector<float>& v) {
    DeviceBuffer q_in(q);
    DeviceBuffer k_in(k);
    DeviceBuffer v_in(v);
    DeviceBuffer out(VectorBytes(shape_.q_size()));
    top(q_in.words(), k_in.words(), v_in.words(), rotary_.words(), k_cache_.words(), v_cache_.words(), out.words(),
        static_cast<int32_t>(pos), static_cast<int32_t>(shape_.capacity), static_cast<int32_t>(shape_.n_heads),
        static_cast<int32_t>(shape_.n_kv_heads), static_cast<int32_t>(shape_.head_dim),
        static_cast<int32_t>(shape_.rotary_dim), scale_);
    return out.Floats(shape_.q_size());
  }

  std::vector<float> Reference(int64_t pos, std::vector<float> q, std::vector<float> k, const std::vector<float>& v) {
    const numerics::ScopedFlushToZero mode;
    const RotaryRows rows = RotaryAt(shape_, pos);
    for (int64_t h = 0; h < shape_.n_heads; ++h) {
      ref::Rotary(rows.cosines.data(), rows.sines.data(), shape_.rotary_dim, q.data() + h * shape_.head_dim);
    }
    for (int64_t h = 0; h < shape_.n_kv_heads; ++h) {
      ref::Rotary(rows.cosines.data(), rows.sines.data(), shape_.rotary_dim, k.data() + h * shape_.head_dim);
    }
    std::copy(k.begin(), k.end(), keys_.begin() + pos * shape_.kv_size());
    std::copy(v.begin(), v.end(), values_.begin() + pos * shape_.kv_size());
    std::vector<float> scores(static_cast<size_t>(pos + 1));
    std::vector<float> out(q.size());
    for (int64_t h = 0; h < shape_.n_heads; ++h) {
      const int64_t offset = h / (shape_.n_heads / shape_.n_kv_heads) * shape_.head_dim;
      ref::AttentionHead(q.data() + h * shape_.head_dim, keys_.data() + offset, values_.data() + offset,
                         shape_.kv_size(), pos + 1, shape_.head_dim, scale_, scores.data(),
                         out.data() + h * shape_.head_dim);
    }
    return out;
  }

  // The first `count` positions of a cache as rows.
  std::vector<float> CachedRows(bool keys, int64_t count) {
    const auto* cache = (keys ? k_cache_ : v_cache_).As<float>();
    std::vector<float> rows(static_cast<size_t>(count * shape_.kv_size()));
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i] = cache[CacheIndex(static_cast<int64_t>(i))];
    }
    return rows;
  }
  std::vector<float> ReferenceRows(bool keys, int64_t count) const {
    const std::vector<float>& rows = keys ? keys_ : values_;
    return {rows.begin(), rows.begin() + count * shape_.kv_size()};
  }

 private:
  // Where element i of the row-major [pos][n_kv_heads * head_dim] lies in [n_kv_heads][capacity][head_dim].
  int64_t CacheIndex(int64_t i) const {
    const int64_t pos = i / shape_.kv_size();
    const int64_t head = i % shape_.kv_size() / shape_.head_dim;
    return (head * shape_.capacity + pos) * shape_.head_dim + i % shape_.head_dim;
  }

  Shape shape_;
  float scale_;
  DeviceBuffer rotary_;
  DeviceBuffer k_cache_;
  DeviceBuffer v_cache_;
  std::vector<float> keys_;
  std::vector<float> values_;
};

void ExpectEqualSteps(const Shape& shape, int64_t steps) {
  for (const bool by_column : {false, true}) {
    AttentionRun run(shape);
    for (int64_t pos = 0; pos < steps; ++pos) {
      const auto seed = static_cast<uint64_t>(10 * pos);
      const std::vector<float> q = RandomFloats(shape.q_size(), seed, 3.0F);
      const std::vector<float> k = RandomFloats(shape.kv_size(), seed + 1, 3.0F);
      const std::vector<float> v = RandomFloats(shape.kv_size(), seed + 2, 3.0F);
      const std::vector<float> y = run.Kernel(by_column ? attention_by_column : attention, pos, q, k, v);
      ASSERT_EQ(Bits(y), Bits(run.Reference(pos, q, k, v))) << "position " << pos << (by_column ? ", by column" : "");
    }
    EXPECT_EQ(Bits(run.CachedRows(true, steps)), Bits(run.ReferenceRows(true, steps)));
    EXPECT_EQ(Bits(run.CachedRows(false, steps)), Bits(run.ReferenceRows(false, steps)));
  }
}

TEST(AttentionKernel, FirstPositions) {
  ExpectEqualSteps({}, 20);
}

TEST(AttentionKernel, OtherHeads) {
  ExpectEqualSteps({.n_heads = 3, .n_kv_heads = 3, .head_dim = 32, .rotary_dim = 32, .capacity = 7}, 7);
  ExpectEqualSteps({.n_heads = 2, .n_kv_heads = 2, .head_dim = 64, .rotary_dim = 10, .capacity = 5}, 5);
  ExpectEqualSteps({.n_heads = 1, .n_kv_heads = 1, .head_dim = 128, .rotary_dim = 128, .capacity = 4}, 4);
  ExpectEqualSteps({.n_heads = 1, .n_kv_heads = 1, .head_dim = 48, .rotary_dim = 0, .capacity = 3}, 3);
}

TEST(AttentionKernel, SeveralQueryHeadsPerKey) {
  ExpectEqualSteps({.n_heads = 6, .n_kv_heads = 2, .head_dim = 48, .rotary_dim = 24, .capacity = 9}, 9);
}

TEST(AttentionKernel, Phi2AtTheLastPosition) {
  const Shape shape{.n_heads = 32, .n_kv_heads = 32, .head_dim = 80, .rotary_dim = 32, .capacity = kMaxPositions};
  const int64_t pos = kMaxPositions - 1;
  AttentionRun run(shape);
  run.Prefill(pos);
  const std::vector<float> q = RandomFloats(shape.q_size(), 1, 3.0F);
  const std::vector<float> k = RandomFloats(shape.kv_size(), 2, 3.0F);
  const std::vector<float> v = RandomFloats(shape.kv_size(), 3, 3.0F);
  EXPECT_EQ(Bits(run.Kernel(attention, pos, q, k, v)), Bits(run.Reference(pos, q, k, v)));
}

TEST(AttentionKernel, NumbersThatAreNotOrdinary) {
  for (const float special : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30F,
                              std::numeric_limits<float>::denorm_min(), -0.0F}) {
    const Shape shape;
    AttentionRun run(shape);
    for (int64_t pos = 0; pos < 4; ++pos) {
      std::vector<float> q = RandomFloats(shape.q_size(), 31);
      std::vector<float> k = RandomFloats(shape.kv_size(), 32 + static_cast<uint64_t>(pos));
      std::vector<float> v = RandomFloats(shape.kv_size(), 42 + static_cast<uint64_t>(pos));
      if (pos == 2) {
        q[5] = k[40] = v[160] = special;
      }
      const std::vector<float> y = run.Kernel(attention, pos, q, k, v);
      EXPECT_EQ(Bits(y), Bits(run.Reference(pos, q, k, v))) << special << " position " << pos;
    }
  }
}

}  // namespace
}  // namespace phidias::hls::test
