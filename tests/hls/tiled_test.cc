// The stages of the design `tiled` against ref/, bit by bit: odd sizes, extremes, random inputs, all lanes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "common/str.h"
#include "hls/csim/system.h"
#include "hls/tiled_core_stages.h"
#include "hls/tiled_kernels.h"
#include "hls/tiled_layout.h"
#include "hls/tiled_linear_stages.h"
#include "hls/tiled_tile_stages.h"
#include "numerics/integer_setup.h"
#include "numerics/random.h"
#include "ref/integer_ops.h"
#include "ref/linear_i4.h"
#include "ref/linear_s8.h"
#include "tests/hls/tiled_test_util.h"
#include "tests/support/kernel_buffers.h"

namespace phidias::hls::tiled {
namespace {

using test::Bits;
using test::RandomBytes;
using ::testing::HasSubstr;

// Lanes' rows of bytes as the ring carries them: word 0 of each lane, word 1 of each lane, ...
void FeedLanes(const std::vector<std::vector<int8_t>>& lanes, const Columns& columns, Stream<Part>& out) {
  for (int32_t w = 0; w < columns.words(); ++w) {
    for (const std::vector<int8_t>& lane : lanes) {
      Word word = 0;
      for (int i = 0; i < kWordBytes; ++i) {
        const int32_t column = columns.At(w * kWordBytes + i);
        SetByte(&word, i, column < 0 ? static_cast<int8_t>(77) : lane[static_cast<size_t>(column)]);
      }
      for (int i = 0; i < kParts; ++i) {
        out.write(PartOf(word, i));
      }
    }
  }
}

struct Linear {
  std::vector<int8_t> weight;
  std::vector<int32_t> bias;
  std::vector<int32_t> multiplier;
  std::vector<int32_t> shift;
  OutputGrid grid;
};

Linear RandomLinear(int32_t n, int32_t k, uint64_t seed, const OutputGrid& grid) {
  Linear linear = {RandomBytes(int64_t{n} * k, seed), RandomInts(n, seed + 1, 1 << 20), {}, {}, grid};
  for (int32_t i = 0; i < n; ++i) {
    const double factor =
        std::ldexp(1.0 + RandomInt(seed + 2, static_cast<uint64_t>(i), 1000) / 2048.0, -8 - static_cast<int>(i % 9));
    const numerics::FixedFactor fixed = numerics::MakeFixedFactor(factor);
    linear.multiplier.push_back(fixed.multiplier);
    linear.shift.push_back(fixed.shift);
  }
  return linear;
}

std::vector<int32_t> Expected(const Linear& linear, const std::vector<int8_t>& x) {
  const auto n = static_cast<int64_t>(linear.bias.size());
  const auto k = static_cast<int64_t>(x.size());
  std::vector<int32_t> acc;
  for (int64_t i = 0; i < n; ++i) {
    acc.push_back(ref::DotS8(linear.weight.data() + i * k, x.data(), k));
  }
  std::vector<int32_t> y(acc.size());
  ref::RequantizeRow(acc.data(), n,
                     {linear.bias.data(), linear.multiplier.data(), linear.shift.data(), linear.grid.zero_point,
                      linear.grid.low, linear.grid.high},
                     y.data());
  return y;
}

// The packed image of a tile's rows, apart: its factors and its weights.
void FeedLinear(const Linear& linear, const Columns& columns, int32_t first_row, int32_t rows, Stream<Word>& factors,
                Stream<Word>& weights, const I4Rows* int4 = nullptr) {
  const bool is_int4 = int4 != nullptr;
  std::vector<int32_t> image(static_cast<size_t>(LinearWords(rows, columns.words(), is_int4)) * kWordFloats);
  const auto n = static_cast<int32_t>(linear.bias.size());
  int32_t* const end =
      PackTileLinear({linear.weight.data(), int4, linear.bias.data(), linear.multiplier.data(), linear.shift.data(),
                      linear.grid.zero_point, linear.grid.low, linear.grid.high, first_row, rows, n},
                     columns, image.data());
  ASSERT_EQ(end, image.data() + image.size());
  const int32_t group = GroupWords(columns.words(), is_int4);
  for (size_t w = 0; w * kWordFloats < image.size(); ++w) {
    Word word = 0;
    for (int i = 0; i < kWordFloats; ++i) {
      SetInt(&word, i, image[w * kWordFloats + static_cast<size_t>(i)]);
    }
    const bool factor = w == 0 || (static_cast<int32_t>(w) - 1) % group < kFactorWords;
    (factor ? factors : weights).write(word);
  }
}

TEST(TiledMultiply, PairsOfLanesShareAMultiplierExactly) {
  const int8_t edges[] = {-128, -127, -1, 0, 1, 127};
  for (const int8_t w : edges) {
    for (const int8_t a : edges) {
      for (const int8_t b : edges) {
        const auto four = [](int8_t value) { return 0x01010101U * static_cast<uint8_t>(value); };
        int32_t low = 5;
        int32_t high = -7;
        DotPair(four(w), four(a), four(b), &low, &high);
        EXPECT_EQ(low, 5 + 4 * w * a);
        EXPECT_EQ(high, -7 + 4 * w * b);
      }
    }
  }
}

TEST(TiledMultiply, BytesOfFourBits) {
  const uint32_t weights = 0x8F7F1098U;  // the first input in the lowest bits
  EXPECT_EQ(BytesOfI4(weights, 0), 0x0100F9F8U);
  EXPECT_EQ(BytesOfI4(weights, 1), 0xF8FF07FFU);
}

// 4-bit rows: all group sizes, ragged last groups, blocks that end early, both ways that lanes share a beat; the first
// row has the largest sums that there are.
TEST(TiledMultiply, FourBitSumsAreTheReferences) {
  const struct {
    int32_t shares, share, k, n, first, rows, group;
  } cases[] = {{1, 1, 1, 1, 0, 1, 32},         {1, 63, 63, 17, 0, 17, 32},   {1, 64, 64, 16, 0, 16, 64},
               {4, 80, 320, 80, 20, 20, 32},   {4, 80, 320, 33, 0, 33, 128}, {2, 640, 1280, 33, 0, 33, 64},
               {1, 333, 333, 40, 32, 16, 128}, {3, 48, 130, 50, 34, 17, 64}, {1, 4095, 4095, 16, 0, 16, 32},
               {32, 512, 16384, 3, 0, 3, 128}};
  uint64_t seed = 900;
  for (const auto& c : cases) {
    for (int32_t lanes = 1; lanes <= kLanes; ++lanes) {
      SCOPED_TRACE(StrCat("k ", c.k, ", group ", c.group, ", lanes ", lanes));
      const Columns columns = {c.shares, c.share, c.k};
      ASSERT_TRUE(UnitsFit(columns));
      const int64_t row_bytes = (c.k + 1) / 2;
      const int64_t groups = (c.k + c.group - 1) / c.group;
      std::vector<int8_t> packed = RandomBytes(c.n * row_bytes, seed += 9);
      std::vector<uint8_t> multipliers;
      for (int64_t i = 0; i < c.n * groups; ++i) {
        multipliers.push_back(
            static_cast<uint8_t>(i < groups ? 63 : 1 + RandomInt(seed, static_cast<uint64_t>(i), 31) + 31));
      }
      std::fill_n(packed.begin(), row_bytes, static_cast<int8_t>(0));  // all -8
      const I4Rows int4 = {reinterpret_cast<const uint8_t*>(packed.data()), row_bytes, multipliers.data(), groups,
                           c.group};
      std::vector<std::vector<int8_t>> x;
      for (int32_t l = 0; l < lanes; ++l) {
        x.push_back(l == 0 ? std::vector<int8_t>(static_cast<size_t>(c.k), -128)
                           : RandomBytes(c.k, seed + 100 + static_cast<uint64_t>(l)));
      }
      Linear linear = RandomLinear(c.n, 1, seed, {3, -32767, 32767});
      linear.weight.clear();
      Streams streams;
      Stream<Part>& inputs = streams.Parts("inputs");
      Stream<Word>& weights = streams.Words("weights");
      Stream<Word>& factors = streams.Words("factors");
      Stream<Word>& sums = streams.Words("sums");
      FeedLanes(x, columns, inputs);
      FeedLinear(linear, columns, c.first, c.rows, factors, weights, &int4);
      std::vector<Word> got;
      size_t next = 0;
      streams.Run([&] {
        std::vector<Inputs> words(1);
        LoadInputs(inputs, columns.words(), lanes, words[0]);
        MultiplyLinear(words[0], weights, RowGroups(c.rows), columns.words(), lanes, true, sums);
        for (int32_t w = 0; w < 1 + RowGroups(c.rows) * kFactorWords; ++w) {
          factors.read();
        }
        for (int32_t w = 0; w < RowGroups(c.rows) * lanes; ++w) {
          got.push_back(sums.read());
        }
      });
      for (int32_t row = 0; row < RowGroups(c.rows) * kTileRows; row += kTileRows) {
        for (int32_t l = 0; l < lanes; ++l) {
          const Word word = got[next++];
          for (int32_t r = 0; r < kTileRows; ++r) {
            const int64_t n = c.first + row + r;
            const bool there = row + r < c.rows && n < c.n;
            const ref::RowI4 want = {reinterpret_cast<const std::byte*>(packed.data()) + n * row_bytes,
                                     multipliers.data() + n * groups, c.group};
            EXPECT_EQ(IntAt(word, r), there ? ref::DotI4(x[static_cast<size_t>(l)].data(), want, c.k) : 0)
                << "row " << n;
          }
        }
      }
    }
  }
}

TEST(TiledMultiply, RequantisedRowsAreTheReferences) {
  const struct {
    int32_t shares, share, k, n, first, rows;
  } cases[] = {{1, 1, 1, 1, 0, 1},       {1, 63, 63, 17, 0, 17},    {1, 64, 64, 16, 0, 16},    {4, 80, 320, 80, 20, 20},
               {3, 43, 128, 50, 34, 17}, {2, 640, 1280, 33, 0, 33}, {1, 320, 320, 40, 32, 16}, {5, 70, 333, 7, 0, 7}};
  uint64_t seed = 1;
  for (const auto& c : cases) {
    for (int32_t lanes = 1; lanes <= kLanes; ++lanes) {
      const Columns columns = {c.shares, c.share, c.k};
      const Linear linear = RandomLinear(c.n, c.k, seed += 7, {3, -32767, 32767});
      std::vector<std::vector<int8_t>> x;
      for (int32_t l = 0; l < lanes; ++l) {
        x.push_back(RandomBytes(c.k, seed + 100 + static_cast<uint64_t>(l)));
      }
      Streams streams;
      Stream<Part>& inputs = streams.Parts("inputs");
      Stream<Word>& weights = streams.Words("weights");
      Stream<Word>& factors = streams.Words("factors");
      Stream<Word>& sums = streams.Words("sums");
      Stream<Part>& out = streams.Parts("out");
      Stream<int32_t>& none = streams.Ints("none");
      FeedLanes(x, columns, inputs);
      FeedLinear(linear, columns, c.first, c.rows, factors, weights);
      std::vector<std::vector<int32_t>> got(x.size());
      streams.Run([&] {
        const auto words = std::make_unique<Inputs[]>(1);
        LoadInputs(inputs, columns.words(), lanes, words[0]);
        MultiplyLinear(words[0], weights, RowGroups(c.rows), columns.words(), lanes, false, sums);
        RequantizeLinear(sums, factors, RowGroups(c.rows), lanes, kRowsToRing, none, out);
        for (int32_t g = 0; g < RowGroups(c.rows); ++g) {
          for (std::vector<int32_t>& lane : got) {
            const Word word = ReadParts(out);
            for (int i = 0; i < kTileRows; ++i) {
              lane.push_back(IntAt(word, i));
            }
          }
        }
      });
      for (size_t l = 0; l < x.size(); ++l) {
        const std::vector<int32_t> want = Expected(linear, x[l]);
        for (int32_t i = 0; i < c.rows; ++i) {
          const int32_t row = c.first + i;
          const int32_t expected = row < c.n ? want[static_cast<size_t>(row)] : 3;
          ASSERT_EQ(got[l][static_cast<size_t>(i)], expected) << "k " << c.k << " lane " << l << " row " << row;
        }
      }
    }
  }
}

TEST(TiledMultiply, LargestSums) {
  const Columns columns = {1, kMaxTileInputs, kMaxTileInputs};
  Linear linear = RandomLinear(2, kMaxTileInputs, 3, {0, -(1 << 30), 1 << 30});
  std::fill(linear.weight.begin(), linear.weight.end(), static_cast<int8_t>(-128));
  const std::vector<std::vector<int8_t>> x(kLanes, std::vector<int8_t>(kMaxTileInputs, -128));
  Streams streams;
  Stream<Part>& inputs = streams.Parts("inputs");
  Stream<Word>& weights = streams.Words("weights");
  Stream<Word>& factors = streams.Words("factors");
  Stream<Word>& sums = streams.Words("sums");
  FeedLanes(x, columns, inputs);
  FeedLinear(linear, columns, 0, 2, factors, weights);
  streams.Run([&] {
    const auto words = std::make_unique<Inputs[]>(1);
    LoadInputs(inputs, columns.words(), kLanes, words[0]);
    MultiplyLinear(words[0], weights, 1, columns.words(), kLanes, false, sums);
    for (int32_t l = 0; l < kLanes; ++l) {
      const Word word = sums.read();
      EXPECT_EQ(IntAt(word, 0), 128 * 128 * kMaxTileInputs);
      EXPECT_EQ(IntAt(word, 1), 128 * 128 * kMaxTileInputs);
      EXPECT_EQ(IntAt(word, 2), 0);
    }
    while (!factors.empty()) {
      factors.read();
    }
  });
}

TEST(TiledGelu, TableAfterRequantising) {
  for (const int32_t n : {1, 16, 63, 64, 65, 320}) {
    const Columns columns = {1, 96, 96};
    const Linear linear = RandomLinear(n, 96, 11, {-5, -128, 127});
    const std::vector<std::vector<int8_t>> x = {RandomBytes(96, 12), RandomBytes(96, 13), RandomBytes(96, 14)};
    int8_t table[256];
    numerics::MakeGeluTable(0.05F, -5, 0.03F, 9, table);
    Streams streams;
    Stream<Part>& inputs = streams.Parts("inputs");
    Stream<Word>& weights = streams.Words("weights");
    Stream<Word>& factors = streams.Words("factors");
    Stream<Word>& sums = streams.Words("sums");
    Stream<Part>& out = streams.Parts("out");
    Stream<int32_t>& none = streams.Ints("none");
    FeedLanes(x, columns, inputs);
    for (int w = 0; w < kGeluTableWords; ++w) {
      Word word = 0;
      for (int i = 0; i < kWordBytes; ++i) {
        SetByte(&word, i, table[w * kWordBytes + i]);
      }
      factors.write(word);
    }
    FeedLinear(linear, columns, 0, n, factors, weights);
    std::vector<std::vector<int8_t>> got(x.size());
    streams.Run([&] {
      const auto words = std::make_unique<Inputs[]>(1);
      LoadInputs(inputs, columns.words(), 3, words[0]);
      MultiplyLinear(words[0], weights, RowGroups(n), columns.words(), 3, false, sums);
      RequantizeLinear(sums, factors, RowGroups(n), 3, kRowsThroughGelu, none, out);
      for (int32_t w = 0; w < ByteWords(n); ++w) {
        for (std::vector<int8_t>& lane : got) {
          const Word word = ReadParts(out);
          for (int i = 0; i < kWordBytes; ++i) {
            lane.push_back(ByteAt(word, i));
          }
        }
      }
    });
    for (size_t l = 0; l < x.size(); ++l) {
      const std::vector<int32_t> want = Expected(linear, x[l]);
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_EQ(got[l][i], table[want[i] + 128]) << n << " lane " << l << " row " << i;
      }
    }
  }
}

// --- LayerNorm ---

struct Norm {
  std::vector<int32_t> gain;
  std::vector<int32_t> offset;
  int32_t gain_shift = 50;
  uint64_t eps_term = 1;
};

template <bool kWide>
std::vector<std::vector<int32_t>> RunNorm(const std::vector<std::vector<int32_t>>& rows, const Norm& norm) {
  const auto n = static_cast<int32_t>(rows[0].size());
  const auto count = static_cast<int32_t>(rows.size());
  Streams streams;
  Stream<Beat>& constants = streams.Beats("constants");
  Stream<Beat>& out = streams.Beats("out");
  Word head = 0;
  SetInt(&head, 0, norm.gain_shift);
  SetInt(&head, 1, static_cast<int32_t>(norm.eps_term));
  SetInt(&head, 2, static_cast<int32_t>(norm.eps_term >> 32));
  constants.write(BeatOf(head));
  for (int32_t w = 0; w < IntWords(n); ++w) {
    for (const std::vector<int32_t>* values : {&norm.gain, &norm.offset}) {
      Word word = 0;
      for (int i = 0; i < kWordFloats; ++i) {
        const int32_t at = w * kWordFloats + i;
        SetInt(&word, i, at < n ? (*values)[static_cast<size_t>(at)] : 0x5a5a5a5a);
      }
      constants.write(BeatOf(word));
    }
  }
  std::vector<std::vector<int32_t>> got(rows.size());
  streams.Run([&] {
    const auto x = std::make_unique<Residual[]>(1);
    int32_t lanes[kLanes] = {3, 1, 0, 2};
    int64_t sums[kLanes];
    for (size_t l = 0; l < rows.size(); ++l) {
      std::copy(rows[l].begin(), rows[l].end(), x[0][lanes[l]]);
    }
    Normalize<kWide>(x[0], lanes, count, n, constants, out, sums);
    for (int32_t w = 0; w < ByteWords(n); ++w) {
      for (std::vector<int32_t>& lane : got) {
        const Word high = out.read().data;
        const Word low = kWide ? out.read().data : high;
        for (int i = 0; i < kWordBytes && w * kWordBytes + i < n; ++i) {
          lane.push_back(kWide ? 256 * ByteAt(high, i) + ByteAt(low, i) + 128 : ByteAt(high, i));
        }
      }
    }
    for (size_t l = 0; l < rows.size(); ++l) {
      EXPECT_EQ(sums[l], std::accumulate(got[l].begin(), got[l].end(), int64_t{0}));
    }
  });
  return got;
}

TEST(TiledLayerNorm, SizesAndExtremesAreTheReferences) {
  for (const int32_t n : {1, 15, 16, 63, 65, 160, 320, 2560, kMaxHidden}) {
    Norm norm = {RandomInts(n, 20, 1 << 29), RandomInts(n, 21, 1 << 18), 46, 1U << 20};
    std::vector<std::vector<int32_t>> rows = {RandomInts(n, 22, 1 << 20), RandomInts(n, 23, numerics::kResidualMax),
                                              std::vector<int32_t>(static_cast<size_t>(n), numerics::kResidualMax),
                                              RandomInts(n, 24, 3)};
    rows[2][0] = -numerics::kResidualMax;
    const auto narrow = RunNorm<false>(rows, norm);
    const auto wide = RunNorm<true>(rows, norm);
    for (size_t l = 0; l < rows.size(); ++l) {
      std::vector<int32_t> want(rows[l].size());
      ref::NormConstants constants = {norm.gain.data(), norm.offset.data(), norm.gain_shift, norm.eps_term, -128, 127};
      ref::LayerNormS32(rows[l].data(), n, constants, want.data());
      EXPECT_EQ(narrow[l], want) << n << " lane " << l;
      constants.low = -32767;
      constants.high = 32767;
      ref::LayerNormS32(rows[l].data(), n, constants, want.data());
      EXPECT_EQ(wide[l], want) << n << " lane " << l;
    }
  }
}

// --- lm_head ---

TEST(TiledHead, LogitsOfPlanesAreExact) {
  const int32_t n = 40;
  const int32_t k = 100;
  for (const int32_t planes : {1, 2}) {
    for (int32_t rows = 1; rows <= kHeadRows; ++rows) {
      const std::vector<int32_t> w = RandomInts(n * k, 31, planes == 2 ? 32767 : 127);
      std::vector<std::vector<int32_t>> x;
      for (int32_t r = 0; r < rows; ++r) {
        x.push_back(RandomInts(k, 32 + static_cast<uint64_t>(r), 32767));
      }
      Streams streams;
      Stream<Word>& sums = streams.Words("sums");
      Stream<Word>& factors = streams.Words("factors");
      Stream<Part>& out = streams.Parts("out");
      Part input_sums = 0;
      for (int32_t r = 0; r < rows; ++r) {
        const auto offset =
            128 * std::accumulate(x[static_cast<size_t>(r)].begin(), x[static_cast<size_t>(r)].end(), int64_t{0});
        SetField<32>(&input_sums, 2 * r, static_cast<uint32_t>(offset));
        SetField<32>(&input_sums, 2 * r + 1, static_cast<uint32_t>(offset >> 32));
      }
      const auto plane_of = [&](int32_t value, int32_t plane) {
        return planes == 1 ? value : (plane == 0 ? numerics::HighPlane(value) : numerics::LowPlane(value));
      };
      for (int32_t g = 0; g < RowGroups(n); ++g) {
        Word bias[2] = {0, 0};
        Word scales = 0;
        for (int32_t i = 0; i < kTileRows && g * kTileRows + i < n; ++i) {
          int64_t sum[2] = {};
          for (int32_t j = 0; j < k; ++j) {
            sum[0] += plane_of(w[static_cast<size_t>((g * kTileRows + i) * k + j)], 0);
            sum[1] += plane_of(w[static_cast<size_t>((g * kTileRows + i) * k + j)], 1);
          }
          const int64_t total = 1000 * i + (planes == 1 ? 128 * sum[0] : 256 * 128 * sum[0] + 128 * sum[1]);
          SetInt(&bias[i / 8], 2 * (i % 8), static_cast<int32_t>(total));
          SetInt(&bias[i / 8], 2 * (i % 8) + 1, static_cast<int32_t>(total >> 32));
          SetFloat(&scales, i, 0.001F);
        }
        factors.write(bias[0]);
        factors.write(bias[1]);
        factors.write(scales);
        for (int32_t plane = 0; plane < planes; ++plane) {
          for (const std::vector<int32_t>& row : x) {
            for (const bool high : {true, false}) {
              Word word = 0;
              for (int32_t i = 0; i < kTileRows && g * kTileRows + i < n; ++i) {
                int32_t sum = 0;
                for (int32_t j = 0; j < k; ++j) {
                  const int32_t value = row[static_cast<size_t>(j)];
                  sum += (high ? numerics::HighPlane(value) : numerics::LowPlane(value)) *
                         plane_of(w[static_cast<size_t>((g * kTileRows + i) * k + j)], plane);
                }
                SetInt(&word, i, sum);
              }
              sums.write(word);
            }
          }
        }
      }
      streams.Run([&] {
        RequantizeHead(sums, factors, RowGroups(n), rows, planes, input_sums, out);
        for (int32_t g = 0; g < RowGroups(n); ++g) {
          for (const std::vector<int32_t>& row : x) {
            const Word word = ReadParts(out);
            for (int32_t i = 0; i < kTileRows && g * kTileRows + i < n; ++i) {
              int64_t exact = 0;
              for (int32_t j = 0; j < k; ++j) {
                exact += int64_t{row[static_cast<size_t>(j)]} * w[static_cast<size_t>((g * kTileRows + i) * k + j)];
              }
              EXPECT_EQ(FloatAt(word, i), numerics::Logit(exact, 1000 * i, 0.001F)) << planes << " planes";
            }
          }
        }
      });
    }
  }
}

// Two units, one of them with stages of its own: a stall names streams between units and within one.
TEST(TiledStreams, AStreamThatIsTooShallowIsNamedWithItsUnit) {
  const auto run = [](uint32_t depth) -> std::string {
    csim::System system("ring_of_two");
    Stream<Beat>& out = system.AddStream<Beat>("core.ring_out", depth);
    Stream<Beat>& back = system.AddStream<Beat>("tile_0.ring_out", depth);
    const AttentionCase c = {1, 64, 0, 0, 1};
    const Pass pass = PassOfCase(c);
    // A core that collects nothing before it has sent two messages, of 4 and 12 words.
    system.AddUnit("core", [&] {
      for (int w = 0; w < 16; ++w) {
        out.write(BeatOf(Word(static_cast<uint64_t>(w))));
      }
      for (int w = 0; w < 4; ++w) {
        back.read();
      }
    });
    system.AddUnit("tile_0", [&] {
      csim::NameKernel("tiled_tile");
      csim::Region region;
      hls::Stream<Part, 4> inputs("inputs");
      const auto ring = [&] {
        ReceiveParts(out, pass, 4, 1, inputs, back);
        ReceiveParts(out, pass, 12, 1, inputs, back);
      };
      const auto product = [&] {
        for (int w = 0; w < 4; ++w) {
          inputs.read();
          back.write(BeatOf(Word(0)));
        }
        for (int w = 0; w < 12; ++w) {
          inputs.read();
        }
      };
      region.AddStage("Ring(out)", ring);
      region.AddStage("Product(inputs)", product);
      region.Run();
    });
    try {
      system.Run();
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "no fault";
  };
  EXPECT_EQ(run(4), "no fault");
  const std::string fault = run(2);
  EXPECT_THAT(fault,
              HasSubstr("ring_of_two: the dataflow stages stall: core writes full stream \"core.ring_out\" of 2"));
  EXPECT_THAT(fault, HasSubstr("tile_0.Ring writes full stream \"inputs\" of 4 elements"));
  EXPECT_THAT(fault, HasSubstr("tile_0.Product writes full stream \"tile_0.ring_out\" of 2 elements"));
}

}  // namespace
}  // namespace phidias::hls::tiled
