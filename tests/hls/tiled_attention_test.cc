// The attention stages of the design `tiled` against ref/, bit by bit: odd sizes, extremes, random inputs, all lanes.

#include "hls/tiled_attention_stages.h"

#include <gtest/gtest.h>

#include "numerics/integer_setup.h"
#include "ref/integer_ops.h"
#include "tests/hls/tiled_test_util.h"
#include "tests/support/kernel_buffers.h"

namespace phidias::hls::tiled {
namespace {

using test::RandomBytes;

// One head's rows of the cache, [positions, head_dim], as groups.
void FeedGroups(const std::vector<int8_t>& rows, const Pass& pass, Stream<Word>& out) {
  for (int32_t g = 0; g < StoredGroups(pass); ++g) {
    for (int32_t w = 0; w < KvGroupWords(pass.head_dim); ++w) {
      Word word = 0;
      for (int i = 0; i < kWordBytes; ++i) {
        const int32_t position = g * kKvGroup + i / kAttendBytes;
        const int32_t d = w * kAttendBytes + i % kAttendBytes;
        const bool there = position < pass.position && d < pass.head_dim;
        SetByte(&word, i, there ? rows[static_cast<size_t>(position * pass.head_dim + d)] : static_cast<int8_t>(-99));
      }
      out.write(word);
    }
  }
}

void FeedInts(const std::vector<std::vector<int32_t>>& lanes, const Pass& pass, Stream<int32_t>& out) {
  for (int32_t g = 0; g < RowGroups(pass.rows); ++g) {
    for (const std::vector<int32_t>& lane : lanes) {
      for (int i = 0; i < kTileRows; ++i) {
        const int32_t at = g * kTileRows + i;
        out.write(at < pass.rows ? lane[static_cast<size_t>(at)] : 0x7fffffff);
      }
    }
  }
}

// One layer of attention: every head of every lane against ref::AttentionHeadS8, and the groups that leave.
void CheckAttention(const AttentionCase& c, int32_t limit, uint64_t seed) {
  const Pass pass = PassOfCase(c);
  const auto head_dim = static_cast<size_t>(c.head_dim);
  const auto half = static_cast<size_t>(c.rotary_dim / 2);
  const auto positions = static_cast<size_t>(c.position + c.tokens);
  int32_t exp_table[numerics::kExpTableSize];
  numerics::MakeExpTable(exp_table);
  const numerics::FixedFactor to_steps = numerics::MakeFixedFactor(0.02);
  const numerics::FixedFactor ratio = numerics::MakeFixedFactor(0.7);

  Streams streams;
  Stream<int32_t>& qkv = streams.Ints("qkv");
  Stream<Word>& cache = streams.Words("cache");
  Stream<Part>& kept = streams.Parts("kept");
  Stream<Word>& attended = streams.Words("attended");
  std::vector<std::vector<int32_t>> raw[3];
  for (int part = 0; part < 3; ++part) {
    for (int32_t l = 0; l < c.tokens; ++l) {
      raw[part].push_back(RandomInts(pass.rows, seed + static_cast<uint64_t>(10 * part + l), part == 2 ? 127 : limit));
    }
    FeedInts(raw[part], pass, qkv);
  }
  // Keys and values of all positions: those of the cache, then the pass's own.
  std::vector<std::vector<int8_t>> keys;
  std::vector<std::vector<int8_t>> values;
  for (int32_t h = 0; h < c.heads; ++h) {
    keys.push_back(RandomBytes(static_cast<int64_t>(positions * head_dim), seed + 40 + static_cast<uint64_t>(h)));
    values.push_back(RandomBytes(static_cast<int64_t>(positions * head_dim), seed + 60 + static_cast<uint64_t>(h)));
    Word word = 0;
    SetInt(&word, 0, to_steps.multiplier);
    SetInt(&word, 1, to_steps.shift);
    SetInt(&word, 2, ratio.multiplier);
    SetInt(&word, 3, ratio.shift);
    SetInt(&word, 4, -3);
    cache.write(word);
  }
  for (const auto* part : {&keys, &values}) {
    for (const std::vector<int8_t>& rows : *part) {
      FeedGroups(rows, pass, cache);
    }
  }
  RotaryRows rotary{};
  std::vector<std::vector<int8_t>> q(static_cast<size_t>(c.tokens));
  for (size_t l = 0; l < q.size(); ++l) {
    std::vector<int16_t> cos_row(half);
    std::vector<int16_t> sin_row(half);
    for (size_t i = 0; i < half; ++i) {
      numerics::RotaryEntryQ14(c.position + static_cast<int32_t>(l), 1.0F / static_cast<float>(i + 1), &cos_row[i],
                               &sin_row[i]);
      rotary[l][i] = cos_row[i];
      rotary[l][half + i] = sin_row[i];
    }
    q[l].resize(static_cast<size_t>(pass.rows));
    for (int32_t h = 0; h < c.heads; ++h) {
      const size_t at = static_cast<size_t>(h) * head_dim;
      const size_t row = (static_cast<size_t>(c.position) + l) * head_dim;
      ref::RotaryS16(cos_row.data(), sin_row.data(), c.rotary_dim, c.head_dim, raw[0][l].data() + at, q[l].data() + at);
      ref::RotaryS16(cos_row.data(), sin_row.data(), c.rotary_dim, c.head_dim, raw[1][l].data() + at,
                     keys[static_cast<size_t>(h)].data() + row);
      for (size_t d = 0; d < head_dim; ++d) {
        values[static_cast<size_t>(h)][row + d] = static_cast<int8_t>(raw[2][l][at + d]);
      }
    }
  }
  streams.Run([&] {
    AttendLayer(qkv, cache, pass, rotary, exp_table, kept, attended);
    std::vector<std::vector<int8_t>> got(q.size());
    for (int32_t w = 0; w < pass.slice_words; ++w) {
      for (std::vector<int8_t>& lane : got) {
        const Word word = attended.read();
        for (int i = 0; i < kWordBytes; ++i) {
          lane.push_back(ByteAt(word, i));
        }
      }
    }
    for (size_t l = 0; l < q.size(); ++l) {
      const int64_t count = c.position + static_cast<int64_t>(l) + 1;
      std::vector<int32_t> scores(static_cast<size_t>(count));
      std::vector<int32_t> probabilities(static_cast<size_t>(count));
      for (size_t h = 0; h < static_cast<size_t>(c.heads); ++h) {
        std::vector<int8_t> want(head_dim);
        ref::AttentionHeadS8(q[l].data() + h * head_dim, keys[h].data(), values[h].data(), c.head_dim, count,
                             c.head_dim, {to_steps, ratio, -3, exp_table}, scores.data(), probabilities.data(),
                             want.data());
        const std::vector<int8_t> mine(got[l].begin() + static_cast<int64_t>(h * head_dim),
                                       got[l].begin() + static_cast<int64_t>((h + 1) * head_dim));
        EXPECT_EQ(mine, want) << "head " << h << " lane " << l << " position " << c.position;
      }
    }
    // The open group: positions up to the last lane's.
    for (const auto* part : {&keys, &values}) {
      for (const std::vector<int8_t>& rows : *part) {
        for (int32_t w = 0; w < KvGroupWords(c.head_dim); ++w) {
          const Word word = ReadParts(kept);
          for (int i = 0; i < kWordBytes; ++i) {
            const int32_t position = OpenGroup(pass) * kKvGroup + i / kAttendBytes;
            const int32_t d = w * kAttendBytes + i % kAttendBytes;
            if (position < c.position + c.tokens && d < c.head_dim) {
              ASSERT_EQ(ByteAt(word, i), rows[static_cast<size_t>(position) * head_dim + static_cast<size_t>(d)])
                  << "position " << position << " element " << d;
            }
          }
        }
      }
    }
  });
}

TEST(TiledAttention, HeadsOfAllLanesAreTheReferences) {
  const AttentionCase cases[] = {{1, 80, 32, 0, 1},   {1, 80, 32, 0, 4},  {1, 80, 32, 3, 1},   {2, 80, 32, 4, 3},
                                 {3, 32, 12, 5, 2},   {1, 2, 2, 9, 2},    {2, 24, 0, 16, 4},   {1, 128, 128, 63, 1},
                                 {1, 80, 32, 200, 4}, {4, 50, 20, 33, 3}, {1, 80, 32, 2044, 4}};
  uint64_t seed = 1000;
  for (const AttentionCase& c : cases) {
    CheckAttention(c, 1 << 13, seed += 100);
    CheckAttention(c, 32767, seed += 100);
  }
}

}  // namespace
}  // namespace phidias::hls::tiled
