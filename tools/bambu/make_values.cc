// Writes what tools/bambu_check.sh feeds to the stages and expects from them, by ref/, as C arrays of 32-bit words:
// stdout becomes values.h. Sizes fill neither words nor groups.

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "hls/layout.h"
#include "hls/tiled_layout.h"
#include "numerics/bits.h"
#include "numerics/fp_mode.h"
#include "numerics/integer_setup.h"
#include "numerics/random.h"
#include "ref/integer_ops.h"
#include "ref/linear_i4.h"
#include "ref/linear_s8.h"
#include "ref/ops.h"

namespace {

using phidias::hls::CeilDiv;
using phidias::numerics::BitsOf;

constexpr int64_t kRows = 18;
constexpr int64_t kInputs = 100;
constexpr int64_t kElements = 41;
constexpr int64_t kPositions = 37;
constexpr float kScale = 0.02F;
constexpr int32_t kZeroPoint = -7;
constexpr float kEps = 1e-5F;

// 32-bit words, filled up with zeros to whole words of 512 bits.
void Print(const char* name, std::vector<uint32_t> words) {
  words.resize(static_cast<size_t>(CeilDiv(static_cast<int64_t>(words.size()), 16) * 16));
  std::printf("static const uint32_t %s[%zu] = {", name, words.size());
  for (size_t i = 0; i < words.size(); ++i) {
    std::printf("%s0x%08" PRIx32 "u,", i % 8 == 0 ? "\n    " : " ", words[i]);
  }
  std::printf("\n};\n");
}

std::vector<uint32_t> Words(const std::vector<float>& values) {
  std::vector<uint32_t> words;
  words.reserve(values.size());
  for (const float value : values) {
    words.push_back(BitsOf(value));
  }
  return words;
}

// Bytes in beats of 64: each of `rows` rows is filled up with zeros to a whole beat.
std::vector<uint32_t> Beats(const std::vector<int8_t>& bytes, int64_t rows) {
  const int64_t k = static_cast<int64_t>(bytes.size()) / rows;
  const int64_t slice = phidias::hls::LinearSliceBytes(k, 1);
  std::vector<uint32_t> words(static_cast<size_t>(rows * slice / 4));
  std::vector<int8_t> padded(static_cast<size_t>(slice));
  for (int64_t row = 0; row < rows; ++row) {
    phidias::hls::PackLinearSlice(bytes.data() + row * k, k, 1, 0, padded.data());
    std::memcpy(words.data() + row * slice / 4, padded.data(), padded.size());
  }
  return words;
}

std::vector<float> Floats(int64_t n, uint64_t seed, float limit) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) {
    const auto draw = static_cast<int32_t>(phidias::numerics::RandomBits(seed, 0, static_cast<uint64_t>(i)) >> 40);
    values.push_back(static_cast<float>(draw - (1 << 23)) / static_cast<float>(1 << 23) * limit);
  }
  return values;
}

void Linear() {
  std::vector<int8_t> weight;
  for (int64_t i = 0; i < kRows * kInputs; ++i) {
    weight.push_back(static_cast<int8_t>(phidias::numerics::RandomBits(1, 1, static_cast<uint64_t>(i))));
  }
  std::fill_n(weight.begin(), kInputs, int8_t{-128});  // the first row: the largest magnitude
  const std::vector<float> scale = Floats(kRows, 2, 0.01F);
  const std::vector<float> bias = Floats(kRows, 3, 1.0F);
  const std::vector<float> x = Floats(kInputs, 4, 4.0F);
  std::vector<int8_t> q(kInputs);
  phidias::ref::QuantizeRow(x.data(), kInputs, kScale, kZeroPoint, q.data());
  std::vector<uint32_t> sums;
  std::vector<int32_t> row_sums;
  for (int64_t row = 0; row < kRows; ++row) {
    sums.push_back(static_cast<uint32_t>(phidias::ref::DotS8(q.data(), weight.data() + row * kInputs, kInputs)));
    row_sums.push_back(phidias::ref::SumS8(weight.data() + row * kInputs, kInputs));
  }
  std::vector<uint32_t> constants(static_cast<size_t>(phidias::hls::LinearConstantsBytes(kRows) / 4));
  phidias::hls::PackLinearConstants(scale.data(), bias.data(), row_sums.data(), kRows, constants.data());
  std::vector<float> y(kRows);
  phidias::ref::LinearS8(q.data(), kScale, kZeroPoint, weight.data(), scale.data(), nullptr, bias.data(), kRows,
                         kInputs, y.data());
  Print("kX", Words(x));
  Print("kQuantized", Beats(q, 1));
  Print("kWeights", Beats(weight, kRows));
  Print("kSums", sums);
  Print("kConstants", constants);
  Print("kOutputs", Words(y));
}

void Elementwise() {
  const std::vector<float> x = Floats(kElements, 5, 8.0F);
  const std::vector<float> gamma = Floats(kElements, 6, 1.0F);
  const std::vector<float> beta = Floats(kElements, 7, 1.0F);
  std::vector<float> y(kElements);
  phidias::ref::Gelu(x.data(), kElements, y.data());
  Print("kGeluInputs", Words(x));
  Print("kGeluOutputs", Words(y));
  phidias::ref::LayerNorm(x.data(), gamma.data(), beta.data(), kEps, kElements, y.data());
  std::vector<float> constants(static_cast<size_t>(phidias::hls::NormConstantsBytes(kElements) / 4));
  phidias::hls::PackNormConstants(gamma.data(), beta.data(), kElements, constants.data());
  Print("kNormConstants", Words(constants));
  Print("kNormOutputs", Words(y));
}

// ref/ has a softmax inside of attention only: keys that are the scores and values that are the unit matrix show it.
void Softmax() {
  const std::vector<float> scores = Floats(kPositions, 8, 6.0F);
  std::vector<float> keys(kPositions * kPositions, 0.0F);
  std::vector<float> values(kPositions * kPositions, 0.0F);
  for (int64_t j = 0; j < kPositions; ++j) {
    keys[static_cast<size_t>(j * kPositions)] = scores[static_cast<size_t>(j)];
    values[static_cast<size_t>(j * kPositions + j)] = 1.0F;
  }
  std::vector<float> q(kPositions, 0.0F);
  q[0] = 1.0F;
  std::vector<float> working(kPositions);
  std::vector<float> out(kPositions);
  phidias::ref::AttentionHead(q.data(), keys.data(), values.data(), kPositions, kPositions, kPositions, 1.0F,
                              working.data(), out.data());
  Print("kScores", Words(scores));
  Print("kProbabilities", Words(out));
}

// The inputs of Tile() against 4-bit rows, the first of which has the largest sums, in a group of 32.
void TileI4(const std::vector<int8_t>& x0, const std::vector<int8_t>& x1) {
  using namespace phidias::hls::tiled;  // NOLINT(google-build-using-namespace): the design's constants
  constexpr int32_t kGroup = 32;
  constexpr int64_t kRowBytes = (kInputs + 1) / 2;
  constexpr int64_t kGroups = (kInputs + kGroup - 1) / kGroup;
  const Columns columns = {1, static_cast<int32_t>(kInputs), static_cast<int32_t>(kInputs)};
  std::vector<uint8_t> packed;
  std::vector<uint8_t> multipliers;
  for (int64_t i = 0; i < kRows * kRowBytes; ++i) {
    const uint64_t bits = phidias::numerics::RandomBits(9, 4, static_cast<uint64_t>(i));
    packed.push_back(i < kRowBytes ? uint8_t{0} : static_cast<uint8_t>(bits));
  }
  for (int64_t i = 0; i < kRows * kGroups; ++i) {
    const uint64_t bits = phidias::numerics::RandomBits(9, 5, static_cast<uint64_t>(i));
    multipliers.push_back(static_cast<uint8_t>(i < kGroups ? 63 : 1 + bits % 63));
  }
  const I4Rows matrix = {packed.data(), kRowBytes, multipliers.data(), kGroups, kGroup};
  const auto rows = static_cast<int32_t>(kRows);
  const int32_t words = WeightWords(columns.words(), true);
  std::vector<uint32_t> weights(static_cast<size_t>(RowGroups(rows) * words * 16));
  std::vector<uint32_t> sums;
  for (int32_t g = 0; g < RowGroups(rows); ++g) {
    int64_t of_group[kTileRows];
    for (int r = 0; r < kTileRows; ++r) {
      of_group[r] = g * kTileRows + r < rows ? g * kTileRows + r : -1;
    }
    PackI4RowGroup(matrix, of_group, columns, reinterpret_cast<uint8_t*>(weights.data() + g * words * 16));
    for (const std::vector<int8_t>* x : {&x0, &x1}) {
      for (const int64_t row : of_group) {
        const phidias::ref::RowI4 of_row = {reinterpret_cast<const std::byte*>(packed.data()) + row * kRowBytes,
                                            multipliers.data() + row * kGroups, kGroup};
        sums.push_back(row < 0 ? 0U : static_cast<uint32_t>(phidias::ref::DotI4(x->data(), of_row, kInputs)));
      }
    }
  }
  Print("kTileI4Weights", weights);
  Print("kTileI4Sums", sums);
}

// Two groups of rows of the design `tiled`, the second not full, and two lanes of inputs.
void Tile() {
  using namespace phidias::hls::tiled;  // NOLINT(google-build-using-namespace): the design's constants
  constexpr int32_t kLanesUsed = 2;
  const Columns columns = {1, static_cast<int32_t>(kInputs), static_cast<int32_t>(kInputs)};
  const auto byte = [](uint64_t stream, int64_t i) {
    return static_cast<int8_t>(phidias::numerics::RandomBits(9, stream, static_cast<uint64_t>(i)));
  };
  std::vector<int8_t> weight;
  std::vector<int32_t> bias;
  std::vector<int32_t> multiplier;
  std::vector<int32_t> shift;
  for (int64_t i = 0; i < kRows * kInputs; ++i) {
    weight.push_back(i < kInputs ? static_cast<int8_t>(-128) : byte(1, i));
  }
  for (int64_t row = 0; row < kRows; ++row) {
    const auto factor = phidias::numerics::MakeFixedFactor(0.01 / static_cast<double>(row + 1));
    bias.push_back(byte(2, row) * 1000);
    multiplier.push_back(factor.multiplier);
    shift.push_back(factor.shift);
  }
  const auto rows = static_cast<int32_t>(kRows);
  std::vector<int32_t> image(static_cast<size_t>(LinearWords(rows, columns.words(), false)) * 16);
  PackTileLinear({weight.data(), nullptr, bias.data(), multiplier.data(), shift.data(), 3, -127, 127, 0, rows, rows},
                 columns, image.data());
  std::vector<uint32_t> factors(image.begin(), image.begin() + 16);
  std::vector<uint32_t> weights;
  const int32_t group_words = kFactorWords + columns.words() * kBeatsPerWord;
  for (int32_t g = 0; g < RowGroups(rows); ++g) {
    const auto begin = image.begin() + 16 + g * group_words * 16;
    factors.insert(factors.end(), begin, begin + kFactorWords * 16);
    weights.insert(weights.end(), begin + kFactorWords * 16, begin + group_words * 16);
  }
  std::vector<uint32_t> inputs(static_cast<size_t>(columns.words() * kLanesUsed * 16));
  std::vector<uint32_t> sums(static_cast<size_t>(RowGroups(rows) * kLanesUsed * 16));
  std::vector<uint32_t> outputs(sums.size(), static_cast<uint32_t>(3));  // rows past the end: the zero point
  std::vector<int8_t> lanes[kLanesUsed];
  for (int32_t lane = 0; lane < kLanesUsed; ++lane) {
    std::vector<int8_t>& x = lanes[lane];
    x.resize(static_cast<size_t>(columns.words() * 64));
    for (int64_t i = 0; i < kInputs; ++i) {
      x[static_cast<size_t>(i)] = lane == 0 ? static_cast<int8_t>(-128) : byte(3, i);
    }
    for (int32_t w = 0; w < columns.words(); ++w) {
      std::memcpy(inputs.data() + (w * kLanesUsed + lane) * 16, x.data() + w * 64, 64);
    }
    for (int32_t row = 0; row < rows; ++row) {
      const size_t at = static_cast<size_t>((row / 16 * kLanesUsed + lane) * 16 + row % 16);
      const int32_t sum = phidias::ref::DotS8(x.data(), weight.data() + row * kInputs, kInputs);
      int32_t y = 0;
      phidias::ref::RequantizeRow(&sum, 1, {&bias[row], &multiplier[row], &shift[row], 3, -127, 127}, &y);
      sums[at] = static_cast<uint32_t>(sum);
      outputs[at] = static_cast<uint32_t>(y);
    }
  }
  std::printf("enum { kTileGroups = %d, kTileWords = %d };\n", RowGroups(rows), columns.words());
  Print("kTileInputs", inputs);
  Print("kTileWeights", weights);
  Print("kTileFactors", factors);
  Print("kTileSums", sums);
  Print("kTileOutputs", outputs);
  TileI4(lanes[0], lanes[1]);
}

}  // namespace

int main() {
  const phidias::numerics::ScopedFlushToZero mode;
  std::printf("// By tools/bambu/make_values.cc.\n#pragma once\n#include <stdint.h>\n");
  std::printf("enum { kRows = %d, kInputs = %d, kElements = %d, kPositions = %d, kZeroPoint = %d };\n",
              static_cast<int>(kRows), static_cast<int>(kInputs), static_cast<int>(kElements),
              static_cast<int>(kPositions), kZeroPoint);
  std::printf("static const float kScale = %.9ef;\nstatic const float kInvScale = %.9ef;\n",
              static_cast<double>(kScale), static_cast<double>(1.0F / kScale));
  std::printf("static const float kEps = %.9ef;\n", static_cast<double>(kEps));
  Linear();
  Elementwise();
  Softmax();
  Tile();
}
