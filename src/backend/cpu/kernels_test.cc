// Conformance: every kernel set that this processor runs gives the bits of ref/ over odd sizes, every weight type,
// unaligned weights, extremes and random values. One list of cases for all sets.
#include "backend/cpu/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "common/str.h"
#include "numerics/bits.h"
#include "numerics/fp_mode.h"
#include "numerics/half.h"
#include "numerics/random.h"
#include "ref/decode_row.h"
#include "ref/ops.h"

namespace phidias::cpu {
namespace {

// A float from a counter: mostly ordinary, some huge, tiny, subnormal or zero.
float TestValue(uint64_t stream, uint64_t position, bool extremes) {
  const uint64_t bits = numerics::RandomBits(7, stream, position);
  const float unit = static_cast<float>(static_cast<int64_t>(bits & 0xffffff) - 0x800000) / 8388608.0F;
  if (!extremes || (bits >> 32) % 8 != 0) {
    return unit;
  }
  constexpr float kExtremes[] = {0.0F, -0.0F, 1e30F, -1e30F, 1e-30F, -1e-38F, 1e-44F, 65504.0F};
  return kExtremes[(bits >> 40) % 8];
}

std::vector<float> Values(uint64_t stream, int64_t count, bool extremes = false) {
  std::vector<float> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = TestValue(stream, i, extremes);
  }
  return out;
}

void ExpectSameBits(const std::vector<float>& got, const std::vector<float>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(want[i])) {
      ASSERT_TRUE(std::isnan(got[i])) << what << " at " << i;
    } else {
      ASSERT_EQ(numerics::BitsOf(got[i]), numerics::BitsOf(want[i]))
          << what << " at " << i << ": " << got[i] << " instead of " << want[i];
    }
  }
}

// Random stored weights; one byte in front puts every element at an odd address.
std::vector<std::byte> StoredWeights(DType dtype, int64_t rows, int64_t cols, bool extremes) {
  const int64_t bytes = DTypeBytes(dtype, cols) * rows;
  std::vector<std::byte> out(static_cast<size_t>(bytes) + 1);
  std::byte* at = out.data() + 1;
  if (dtype == DType::kQ8_0) {
    for (int64_t i = 0; i < bytes; ++i) {
      at[i] = static_cast<std::byte>(numerics::RandomBits(8, 1, static_cast<uint64_t>(i)));
    }
    for (int64_t block = 0; block < bytes; block += kQ8BlockBytes) {
      const uint16_t scale = numerics::FloatToHalf(0.01F + 1e-5F * static_cast<float>(block));
      std::memcpy(at + block, &scale, sizeof scale);
    }
    return out;
  }
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float value = TestValue(9, static_cast<uint64_t>(i), extremes);
    if (dtype == DType::kF32) {
      std::memcpy(at + 4 * i, &value, 4);
    } else {
      const uint16_t half = dtype == DType::kF16 ? numerics::FloatToHalf(value) : numerics::FloatToBfloat16(value);
      std::memcpy(at + 2 * i, &half, 2);
    }
  }
  return out;
}

class KernelsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  void SetUp() override {
    if (!GetParam()->supported()) {
      GTEST_SKIP() << GetParam()->isa << " is not supported by this processor";
    }
  }
  const Kernels& kernels() const { return *GetParam(); }

 private:
  numerics::ScopedFlushToZero mode_;
};

struct LinearCase {
  int64_t m, n, k;
};

void CheckLinear(const Kernels& kernels, DType dtype, const LinearCase& shape, bool extremes, bool with_bias) {
  const std::vector<float> x = Values(1, shape.m * shape.k, extremes);
  const std::vector<float> bias = Values(2, shape.n);
  const std::vector<std::byte> weight = StoredWeights(dtype, shape.n, shape.k, extremes);
  const int64_t stride = shape.n + 3;
  std::vector<float> got(static_cast<size_t>(shape.m * stride), -77.0F);
  std::vector<float> want = got;
  std::vector<float> scratch(static_cast<size_t>(kernels.linear_block * (shape.k + 16)));
  LinearArgs args = {.x = x.data(),
                     .m = shape.m,
                     .k = shape.k,
                     .weight_dtype = dtype,
                     .weight = weight.data() + 1,
                     .weight_row_bytes = DTypeBytes(dtype, shape.k),
                     .bias = with_bias ? bias.data() : nullptr,
                     .y = got.data(),
                     .y_stride = stride};
  // Two shares, as two threads would have them.
  const int64_t middle = shape.n / 2;
  kernels.linear(args, 0, middle, scratch.data());
  kernels.linear(args, middle, shape.n, scratch.data());
  args.y = want.data();
  kReferenceKernels.linear(args, 0, shape.n, scratch.data());
  ExpectSameBits(got, want, StrCat(kernels.isa, " ", DTypeName(dtype), " m=", shape.m, " n=", shape.n, " k=", shape.k));
}

TEST_P(KernelsTest, LinearOverOddShapes) {
  const LinearCase cases[] = {{1, 1, 1},    {1, 7, 15},   {2, 13, 16}, {3, 12, 17},  {4, 6, 31},
                              {5, 19, 33},  {7, 8, 80},   {9, 5, 95},  {1, 40, 160}, {64, 11, 48},
                              {65, 14, 50}, {130, 3, 20}, {1, 9, 640}, {6, 25, 257}};
  for (const LinearCase& shape : cases) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      CheckLinear(kernels(), dtype, shape, false, true);
      CheckLinear(kernels(), dtype, shape, true, shape.n % 2 == 0);
    }
  }
}

TEST_P(KernelsTest, LinearOverQ8Blocks) {
  for (const LinearCase& shape : {LinearCase{1, 7, 32}, {2, 6, 64}, {3, 13, 96}, {70, 9, 160}}) {
    CheckLinear(kernels(), DType::kQ8_0, shape, false, true);
  }
}

TEST_P(KernelsTest, LayerNorm) {
  for (const int64_t n : {1, 2, 15, 16, 17, 80, 160, 333, 2560}) {
    for (const bool extremes : {false, true}) {
      const std::vector<float> x = Values(3, n, extremes);
      const std::vector<float> weight = Values(4, n);
      const std::vector<float> bias = Values(5, n);
      std::vector<float> got(x.size());
      std::vector<float> want(x.size());
      kernels().layer_norm(x.data(), weight.data(), bias.data(), 1e-5F, n, got.data());
      ref::LayerNorm(x.data(), weight.data(), bias.data(), 1e-5F, n, want.data());
      ExpectSameBits(got, want, StrCat(kernels().isa, " layer_norm n=", n));
    }
  }
}

TEST_P(KernelsTest, GeluOverTheWholeRange) {
  std::vector<float> x;
  for (uint32_t high = 0; high < 0x10000u; high += 7) {  // every sign and exponent, infinities and NaNs too
    x.push_back(numerics::FloatOf((high << 16) | (high * 40503u & 0xffffu)));
  }
  std::vector<float> got(x.size());
  std::vector<float> want(x.size());
  kernels().gelu(x.data(), static_cast<int64_t>(x.size()), got.data());
  ref::Gelu(x.data(), static_cast<int64_t>(x.size()), want.data());
  ExpectSameBits(got, want, StrCat(kernels().isa, " gelu"));
}

TEST_P(KernelsTest, AddResidual) {
  for (const int64_t n : {1, 16, 31, 320}) {
    const std::vector<float> att = Values(10, n, true);
    const std::vector<float> mlp = Values(11, n, true);
    std::vector<float> got = Values(12, n, true);
    std::vector<float> want = got;
    kernels().add_residual(att.data(), mlp.data(), n, got.data());
    ref::AddResidual(att.data(), mlp.data(), n, want.data());
    ExpectSameBits(got, want, StrCat(kernels().isa, " residual n=", n));
  }
}

// Rows of one KV head with counts that grow by `step`, as a prompt's (1) or the heads of one row (0) have them.
void CheckAttention(const Kernels& kernels, DType kv_dtype, int64_t head_dim, int64_t row_count, int64_t first_count,
                    int64_t step, bool extremes) {
  const int64_t positions = first_count + (row_count - 1) * step;
  const std::vector<float> q = Values(13, row_count * head_dim);
  const std::vector<std::byte> keys = StoredWeights(kv_dtype, positions, head_dim, extremes);
  const std::vector<std::byte> values = StoredWeights(kv_dtype, positions, head_dim, extremes);
  std::vector<float> got(q.size(), -77.0F);
  std::vector<float> want = got;
  const auto run = [&](const Kernels& with, std::vector<float>* out) {
    std::vector<AttentionRow> rows;
    for (int64_t r = 0; r < row_count; ++r) {
      rows.push_back({q.data() + r * head_dim, first_count + r * step, out->data() + r * head_dim});
    }
    std::vector<float> scratch(static_cast<size_t>(AttentionScratch(row_count, positions, head_dim)));
    with.attention({.rows = rows.data(),
                    .row_count = row_count,
                    .kv_dtype = kv_dtype,
                    .keys = keys.data() + 1,
                    .values = values.data() + 1,
                    .head_dim = head_dim,
                    .scale = 0.11180339887F,
                    .scratch = scratch.data()});
  };
  run(kernels, &got);
  run(kReferenceKernels, &want);
  ExpectSameBits(got, want,
                 StrCat(kernels.isa, " attention ", DTypeName(kv_dtype), " head_dim=", head_dim, " rows=", row_count,
                        " count=", first_count, " step=", step));
}

TEST_P(KernelsTest, Attention) {
  for (const DType kv_dtype : {DType::kF32, DType::kF16}) {
    for (const int64_t head_dim : {4, 16, 20, 64, 80, 96, 256, 272}) {
      for (const int64_t count : {1, 2, 15, 16, 17, 100}) {
        for (const bool extremes : {false, true}) {
          CheckAttention(kernels(), kv_dtype, head_dim, 1, count, 0, extremes);
          CheckAttention(kernels(), kv_dtype, head_dim, 5, count, 1, extremes);
        }
      }
    }
    for (const int64_t rows : {2, 3, 4, 7, 8, 9, 17}) {
      CheckAttention(kernels(), kv_dtype, 80, rows, 1, 1, false);
      CheckAttention(kernels(), kv_dtype, 80, rows, 33, 0, false);
      CheckAttention(kernels(), kv_dtype, 24, rows, 40, 11, true);
    }
  }
}

TEST_P(KernelsTest, Rotary) {
  for (const int64_t rotary_dim : {2, 8, 30, 32, 34, 80}) {
    const std::vector<float> cos_row = Values(20, rotary_dim / 2);
    const std::vector<float> sin_row = Values(21, rotary_dim / 2);
    std::vector<float> got = Values(22, 96, true);
    std::vector<float> want = got;
    kernels().rotary(cos_row.data(), sin_row.data(), rotary_dim, got.data());
    ref::Rotary(cos_row.data(), sin_row.data(), rotary_dim, want.data());
    ExpectSameBits(got, want, StrCat(kernels().isa, " rotary ", rotary_dim));
  }
}

// Every half from around its rounding borders, and all sorts of floats.
TEST_P(KernelsTest, RowsOfAnF16CacheAreRoundedHalfToEven) {
  std::vector<float> x;
  for (uint32_t half = 0; half < 0x10000u; half += 5) {
    const uint32_t bits = numerics::BitsOf(numerics::HalfToFloat(static_cast<uint16_t>(half)));
    for (const uint32_t offset : {0u, 0xfffu, 0x1000u, 0x1001u}) {
      x.push_back(numerics::FloatOf(bits + offset));
    }
  }
  for (uint32_t high = 0; high < 0x10000u; high += 7) {
    x.push_back(numerics::FloatOf((high << 16) | (high * 40503u & 0xffffu)));
  }
  const auto n = static_cast<int64_t>(x.size());
  std::vector<std::byte> got(x.size() * 2);
  std::vector<std::byte> want(got.size());
  kernels().store_row(DType::kF16, x.data(), n, got.data());
  kReferenceKernels.store_row(DType::kF16, x.data(), n, want.data());
  ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size()), 0) << kernels().isa;
  std::vector<float> copy(x.size());
  kernels().store_row(DType::kF32, x.data(), n, reinterpret_cast<std::byte*>(copy.data()));
  ASSERT_EQ(std::memcmp(copy.data(), x.data(), x.size() * sizeof(float)), 0);
}

// Every half, through a product with 1: infinities, NaNs and subnormals too.
TEST_P(KernelsTest, EveryHalfIsDecodedExactly) {
  std::vector<uint16_t> halves(0x10000);
  for (size_t i = 0; i < halves.size(); ++i) {
    halves[i] = static_cast<uint16_t>(i);
  }
  const std::vector<float> one = {1.0F};
  std::vector<float> got(halves.size());
  std::vector<float> want(halves.size());
  std::vector<float> scratch(static_cast<size_t>(kernels().linear_block * 32));
  LinearArgs args = {.x = one.data(),
                     .m = 1,
                     .k = 1,
                     .weight_dtype = DType::kF16,
                     .weight = reinterpret_cast<const std::byte*>(halves.data()),
                     .weight_row_bytes = 2,
                     .y = got.data(),
                     .y_stride = 0x10000};
  kernels().linear(args, 0, 0x10000, scratch.data());
  args.y = want.data();
  kReferenceKernels.linear(args, 0, 0x10000, scratch.data());
  ExpectSameBits(got, want, StrCat(kernels().isa, " halves"));
}

TEST_P(KernelsTest, QuantizeRowAndMinMax) {
  for (const int64_t n : {1, 15, 16, 17, 64, 333}) {
    std::vector<float> x = Values(16, n, true);
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = i % 3 == 0 ? 0.25F * static_cast<float>(static_cast<int64_t>(i) - n / 2) : x[i];  // many exact ties
    }
    std::vector<int8_t> got(x.size());
    std::vector<int8_t> want(x.size());
    for (const auto& [inv_scale, zero_point] :
         {std::pair{2.0F, 0.0F}, {10.0F, -37.0F}, {1e-3F, 127.0F}, {8.0F, -128.0F}}) {
      kernels().quantize_row(x.data(), n, inv_scale, zero_point, got.data());
      kReferenceKernels.quantize_row(x.data(), n, inv_scale, zero_point, want.data());
      ASSERT_EQ(got, want) << kernels().isa << " n=" << n;
    }
    float low = 0;
    float high = 0;
    kernels().min_max(x.data(), n, &low, &high);
    EXPECT_EQ(low, *std::min_element(x.begin(), x.end()));
    EXPECT_EQ(high, *std::max_element(x.begin(), x.end()));
  }
}

TEST_P(KernelsTest, DequantizeAcc) {
  for (const int64_t n : {1, 7, 16, 33, 100}) {
    std::vector<int32_t> acc(static_cast<size_t>(n));
    std::vector<int32_t> sums(acc.size());
    std::vector<int32_t> zeros(acc.size());
    for (size_t i = 0; i < acc.size(); ++i) {
      acc[i] = static_cast<int32_t>(numerics::RandomBits(3, 1, i)) / 8;
      sums[i] = static_cast<int32_t>(numerics::RandomBits(3, 2, i)) / 2048;
      zeros[i] = static_cast<int8_t>(numerics::RandomBits(3, 3, i));
    }
    const std::vector<float> scale = Values(17, n);
    const std::vector<float> bias = Values(18, n);
    for (const bool asymmetric : {false, true}) {
      std::vector<float> got(acc.size());
      std::vector<float> want(acc.size());
      DequantizeArgs args = {.acc = acc.data(),
                             .n = n,
                             .k = 2560,
                             .x_scale = 0.037F,
                             .x_zero_point = -90,
                             .x_sum = 12345,
                             .weight_scale = scale.data(),
                             .weight_zero_point = asymmetric ? zeros.data() : nullptr,
                             .weight_sum = sums.data(),
                             .bias = asymmetric ? bias.data() : nullptr,
                             .y = got.data()};
      kernels().dequantize_acc(args);
      args.y = want.data();
      kReferenceKernels.dequantize_acc(args);
      ExpectSameBits(got, want, StrCat(kernels().isa, " dequantize n=", n));
    }
  }
}

TEST_P(KernelsTest, LinearOverInt8WeightsWithFloatInput) {
  for (const LinearCase& shape : {LinearCase{1, 7, 33}, {3, 13, 80}, {70, 9, 161}}) {
    const std::vector<float> x = Values(1, shape.m * shape.k);
    const std::vector<float> scale = Values(2, shape.n);
    std::vector<int32_t> zeros(static_cast<size_t>(shape.n), -17);
    std::vector<std::byte> weight(static_cast<size_t>(shape.n * shape.k) + 1);
    for (size_t i = 0; i < weight.size(); ++i) {
      weight[i] = static_cast<std::byte>(numerics::RandomBits(4, 1, i));
    }
    std::vector<float> got(static_cast<size_t>(shape.m * shape.n));
    std::vector<float> want(got.size());
    std::vector<float> scratch(static_cast<size_t>(kernels().linear_block * (shape.k + 16)));
    LinearArgs args = {.x = x.data(),
                       .m = shape.m,
                       .k = shape.k,
                       .weight_dtype = DType::kI8,
                       .weight = weight.data() + 1,
                       .weight_row_bytes = shape.k,
                       .weight_scale = scale.data(),
                       .weight_zero_point = zeros.data(),
                       .y = got.data(),
                       .y_stride = shape.n};
    kernels().linear(args, 0, shape.n, scratch.data());
    args.y = want.data();
    kReferenceKernels.linear(args, 0, shape.n, scratch.data());
    ExpectSameBits(got, want, StrCat(kernels().isa, " weight-only k=", shape.k));
  }
}

INSTANTIATE_TEST_SUITE_P(AllIsas, KernelsTest, testing::ValuesIn(AllKernels().begin(), AllKernels().end()),
                         [](const auto& test) { return std::string(test.param->isa); });

}  // namespace
}  // namespace phidias::cpu
