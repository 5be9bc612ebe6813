#include "sim/report_kernels.h"

#include <algorithm>
#include <string>

#include "hls/layout.h"

namespace phidias::sim {
namespace {

using hls::CeilDiv;
using hls::kGroupRows;
using hls::kMemoryFifoDepth;
using hls::kOutstandingReads;
using hls::kStageFifoDepth;
using hls::kWordBytes;
using hls::kWordFloats;

constexpr int kSmallOutstanding = 4;   // of ports for vectors and constants, by the kernels' pragmas
constexpr int64_t kPositionGrain = 8;  // pairs of positions, or sixteen positions, that attention's stages take at once

// Puts a region together.
class Builder {
 public:
  Builder(std::string name, double mhz, const Parameters& parameters)
      : int_depth_(std::llround(parameters.loop_depth_cycles)),
        float_depth_(std::llround(parameters.float_depth_cycles)) {
    region_.name = std::move(name);
    region_.mhz = mhz;
  }

  int Stream(std::string name, int64_t depth) {
    region_.streams.push_back({std::move(name), depth});
    return static_cast<int>(region_.streams.size()) - 1;
  }
  int Port(std::string name, const MemoryTarget& target, int64_t width_bytes, int outstanding) {
    region_.ports.push_back({std::move(name), target, width_bytes, outstanding});
    return static_cast<int>(region_.ports.size()) - 1;
  }
  void Stage(StageSpec stage) { region_.stages.push_back(std::move(stage)); }
  // A stage that reads, or writes, `bytes` in order.
  void Mover(std::string name, int port, int64_t bytes, bool write, int stream) {
    StageSpec stage{std::move(name), {{}}};
    AddBursts(region_, port, 0, bytes, write, stream, &stage.blocks[0].loops);
    Stage(std::move(stage));
  }
  // A stage of one loop.
  void Loop(std::string name, const LoopSpec& loop, int64_t iterations, int64_t grain = 1) {
    StageSpec stage{std::move(name), {{}}};
    AddLoop(loop, iterations, grain, &stage.blocks[0].loops);
    Stage(std::move(stage));
  }

  const RegionSpec& region() const { return region_; }
  int64_t int_depth() const { return int_depth_; }
  int64_t float_depth() const { return float_depth_; }
  RegionSpec Take() { return std::move(region_); }

 private:
  RegionSpec region_;
  int64_t int_depth_;
  int64_t float_depth_;
};

// Multiply of one bank: its slice of x into the chip, then the rows, a word of sums for each group of 16.
StageSpec MultiplyStage(const Builder& builder, const hls::LinearDesign& design, int bank, int64_t n, int64_t k, int x,
                        int weights, int sums) {
  const int64_t slice = hls::LinearSliceBytes(k, design.banks);
  const int64_t beats = slice / (design.port_bits / 8);
  StageSpec stage{StrCat("Multiply", bank), {{}}};
  AddLoop({.cycles = kWordBytes, .drain = builder.int_depth(), .takes = {{x, 1}}}, slice / kWordBytes, 1,
          &stage.blocks[0].loops);
  // A row is its slice in steps of units_per_bank products, and the pipeline runs empty before the fold. As many rows
  // to a step as the stream can hold, of those that divide a group.
  const LoopSpec row{.cycles = slice / design.units_per_bank * design.interval + builder.int_depth(),
                     .takes = {{weights, beats}}};
  int64_t grain = kGroupRows;
  while (grain > 1 && grain * beats > builder.region().streams[static_cast<size_t>(weights)].depth) {
    grain /= 2;
  }
  const auto add_groups = [&](int64_t rows, int64_t groups) {
    BlockSpec block{{}, groups};
    AddLoop(row, rows - std::min(grain, rows), grain, &block.loops);
    AddLoop(row, std::min(grain, rows), grain, &block.loops);
    block.loops.back().puts = {{sums, 1}};
    stage.blocks.push_back(std::move(block));
  };
  if (n >= kGroupRows) {
    add_groups(kGroupRows, n / kGroupRows);
  }
  if (n % kGroupRows != 0) {
    add_groups(n % kGroupRows, 1);
  }
  return stage;
}

}  // namespace

RegionSpec LinearRegion(const hls::LinearDesign& design, int64_t n, int64_t k, const KernelPlace& place,
                        const Parameters& parameters) {
  Builder b(StrCat("linear_s8_b", design.banks, "w", design.port_bits), place.mhz, parameters);
  const int64_t beat = design.port_bits / 8;
  const int64_t slice_words = hls::LinearSliceBytes(k, design.banks) / kWordBytes;
  const int64_t groups = CeilDiv(n, kGroupRows);
  const int floats = b.Stream("floats", kStageFifoDepth);
  const int quantized = b.Stream("quantized", kStageFifoDepth);
  const int constants = b.Stream("row_constants", kStageFifoDepth);
  const int outputs = b.Stream("outputs", kStageFifoDepth);
  const int sums = b.Stream("sums", kStageFifoDepth);
  b.Mover("ReadVector", b.Port("x", place.vectors, kWordBytes, kSmallOutstanding), hls::VectorBytes(k), false, floats);
  b.Mover("ReadConstants", b.Port("constants", place.constants, kWordBytes, kSmallOutstanding),
          hls::LinearConstantsBytes(n), false, constants);
  // 64 elements a word; four words of floats (fewer at the end, where the last word is filled up with zeros).
  StageSpec quantize{"Quantize", {{}}};
  const int64_t float_words = CeilDiv(k, kWordFloats);
  const int64_t whole = float_words / 4;
  AddLoop({.cycles = kWordBytes, .takes = {{floats, 4}}, .puts = {{quantized, 1}}}, whole, 1,
          &quantize.blocks[0].loops);
  if (float_words % 4 != 0) {
    AddLoop({.cycles = kWordBytes, .takes = {{floats, float_words % 4}}, .puts = {{quantized, 1}}}, 1, 1,
            &quantize.blocks[0].loops);
  }
  const int64_t rest = slice_words * design.banks - CeilDiv(float_words, 4);
  if (rest > 0) {
    AddLoop({.cycles = kWordBytes, .puts = {{quantized, 1}}}, rest, 1, &quantize.blocks[0].loops);
  }
  quantize.blocks[0].loops.back().drain = b.float_depth();
  b.Stage(std::move(quantize));

  StageSpec deal{"Deal", {{}}};
  LoopSpec add{.cycles = 1};
  for (int bank = 0; bank < design.banks; ++bank) {
    const bool one = design.banks == 1;
    const int x = one ? quantized : b.Stream(StrCat("x", bank), kStageFifoDepth);
    const int bank_sums = one ? sums : b.Stream(StrCat("sums", bank), kStageFifoDepth);
    const int weights = b.Stream(StrCat("weights", bank), kMemoryFifoDepth * hls::kWordBits / design.port_bits);
    b.Mover(StrCat("ReadWeights", bank), b.Port(StrCat("w", bank), place.weights[bank], beat, kOutstandingReads),
            hls::LinearBankBytes(n, k, design.banks), false, weights);
    AddLoop({.cycles = 1, .takes = {{quantized, 1}}, .puts = {{x, 1}}}, slice_words, 1, &deal.blocks[0].loops);
    add.takes.push_back({bank_sums, 1});
    b.Stage(MultiplyStage(b, design, bank, n, k, x, weights, bank_sums));
  }
  if (design.banks > 1) {
    add.puts = {{sums, 1}};
    b.Stage(std::move(deal));
    b.Loop("AddBanks", add, groups);
  }
  b.Loop(
      "Dequantize",
      {.cycles = kWordFloats, .drain = b.float_depth(), .takes = {{sums, 1}, {constants, 3}}, .puts = {{outputs, 1}}},
      groups);
  b.Mover("WriteVector", b.Port("y", place.output, kWordBytes, kSmallOutstanding), hls::VectorBytes(n), true, outputs);
  return b.Take();
}

RegionSpec LmHeadRegion(int64_t n, int64_t k, int element_bytes, const KernelPlace& place,
                        const Parameters& parameters) {
  Builder b("lm_head", place.mhz, parameters);
  const int64_t words = CeilDiv(k, kWordFloats);
  const int64_t group_beats = hls::LmHeadGroupBytes(k, element_bytes) / kWordBytes;
  const int64_t groups = CeilDiv(n, kGroupRows);
  const int inputs = b.Stream("inputs", kStageFifoDepth);
  const int biases = b.Stream("biases", kStageFifoDepth);
  const int outputs = b.Stream("outputs", kStageFifoDepth);
  b.Mover("ReadVector", b.Port("x", place.vectors, kWordBytes, kSmallOutstanding), hls::VectorBytes(k), false, inputs);
  b.Mover("ReadBias", b.Port("bias", place.constants, kWordBytes, kSmallOutstanding), hls::VectorBytes(n), false,
          biases);
  LoopSpec copy{.cycles = 1, .takes = {{inputs, 1}}};
  StageSpec bias{"AddBias", {{}}};
  for (int bank = 0; bank < hls::kLmHeadBanks; ++bank) {
    const int64_t of_bank = hls::LmHeadGroups(n, hls::kLmHeadBanks, bank);
    const int x = b.Stream(StrCat("x", bank), kStageFifoDepth);
    copy.puts.push_back({x, 1});
    StageSpec multiply{StrCat("Multiply", bank), {{}}};
    AddLoop({.cycles = 1, .drain = b.float_depth(), .takes = {{x, 1}}}, words, 1, &multiply.blocks[0].loops);
    if (of_bank > 0) {
      const int sums = b.Stream(StrCat("sums", bank), kStageFifoDepth);
      const int weights = b.Stream(StrCat("weights", bank), kMemoryFifoDepth);
      b.Mover(StrCat("ReadGroups", bank), b.Port(StrCat("w", bank), place.weights[bank], kWordBytes, kOutstandingReads),
              hls::LmHeadBankBytes(n, k, element_bytes, hls::kLmHeadBanks, bank), false, weights);
      // 16 turns of a word of x for the 16 rows, then the fold of each row: 16 x 4 cycles.
      BlockSpec group{{}, of_bank};
      AddLoop({.cycles = kGroupRows * words / group_beats, .drain = b.float_depth(), .takes = {{weights, 1}}},
              group_beats, 64, &group.loops);
      AddLoop({.cycles = 4 * kGroupRows, .puts = {{sums, 1}}}, 1, 1, &group.loops);
      multiply.blocks.push_back(std::move(group));
      BlockSpec& add = bias.blocks[0];
      add.loops.push_back({.cycles = kWordFloats, .takes = {{sums, 1}, {biases, 1}}, .puts = {{outputs, 1}}});
    }
    b.Stage(std::move(multiply));
  }
  b.Loop("CopyToFour", copy, words);
  // The banks in turn; what is left of a last round goes into a block of its own.
  bias.blocks[0].repeats = groups / hls::kLmHeadBanks;
  BlockSpec last;
  for (int64_t i = 0; i < groups % hls::kLmHeadBanks; ++i) {
    last.loops.push_back(bias.blocks[0].loops[static_cast<size_t>(i)]);
  }
  bias.blocks.push_back(std::move(last));
  b.Stage(std::move(bias));
  b.Mover("WriteVector", b.Port("logits", place.output, kWordBytes, kSmallOutstanding), hls::VectorBytes(n), true,
          outputs);
  return b.Take();
}

namespace {

// Rotation of n heads: in, pairs, out, an element a cycle (a pair every second).
void AddRotation(const Builder& b, int in, int out, int64_t heads, const AttentionShape& shape, StageSpec* stage) {
  const int64_t words = shape.head_dim / kWordFloats;
  BlockSpec block{{}, heads};
  AddLoop({.cycles = kWordFloats, .drain = 4, .takes = {{in, 1}}}, words, 1, &block.loops);
  AddLoop({.cycles = shape.rotary_dim / 2 * 2, .drain = b.float_depth()}, 1, 1, &block.loops);
  AddLoop({.cycles = kWordFloats, .drain = 4, .puts = {{out, 1}}}, words, 1, &block.loops);
  stage->blocks.push_back(std::move(block));
}

// The owner of a cache: appends the token's row, then streams each head's positions; a group of query heads reads the
// same ones.
StageSpec CacheStage(const Builder& b, std::string name, int port, int row, int out, const AttentionShape& shape,
                     int64_t pos, bool by_column) {
  const int64_t words = shape.head_dim / kWordFloats;
  const int64_t head_bytes = words * kWordBytes;
  StageSpec stage{std::move(name), {{}, {}}};
  const int64_t stride = (pos + 1) * head_bytes;
  const int64_t aligned = CeilDiv(stride, 4096) * 4096;
  // One short burst a head; where it would cross 4 KiB, the model lets it begin at the border.
  stage.blocks[0].repeats = shape.n_kv_heads;
  LoopSpec append{.cycles = words, .drain = 4, .takes = {{row, words}}};
  append.port = port;
  append.bytes = head_bytes;
  append.write = true;
  append.address_per_repeat = aligned;
  stage.blocks[0].loops.push_back(append);
  BlockSpec& heads = stage.blocks[1];
  heads.repeats = shape.n_heads;
  if (by_column) {
    // No burst: a word at a time, of which the port has as many under way as it can.
    LoopSpec word{.steps = pos * words, .cycles = 1, .puts = {{out, 1}}};
    word.port = port;
    word.bytes = kWordBytes;
    if (word.steps > 0) {
      heads.loops.push_back(word);
    }
  } else {
    AddBursts(b.region(), port, 0, pos * head_bytes, false, out, &heads.loops);
  }
  for (LoopSpec& loop : heads.loops) {
    loop.address_per_repeat = aligned;
  }
  AddLoop({.cycles = words, .drain = 4, .puts = {{out, words}}}, 1, 1, &heads.loops);
  return stage;
}

void AddScoreStages(Builder* b, const AttentionShape& shape, int64_t pos, int q, int keys, int weights, int inverse) {
  const int64_t words = shape.head_dim / kWordFloats;
  const int64_t count = pos + 1;
  const int64_t pairs = CeilDiv(count, int64_t{hls::kScorePositions});
  const int paired = b->Stream("paired", kStageFifoDepth);
  const int partial = b->Stream("partial_sums", kStageFifoDepth);
  const int scores = b->Stream("scores", kStageFifoDepth);
  const int64_t pair_words = hls::kScorePositions * words;

  // Two loops a pair: its words in, and out in turns. A last odd position is paired with zeros.
  StageSpec pair{"PairKeys", {{{}, shape.n_heads}}};
  std::vector<LoopSpec>& pair_loops = pair.blocks[0].loops;
  const LoopSpec one_pair{.cycles = 2 * pair_words + 8, .takes = {{keys, pair_words}}, .puts = {{paired, pair_words}}};
  AddLoop(one_pair, count / hls::kScorePositions, 1, &pair_loops);
  if (count % hls::kScorePositions != 0) {
    LoopSpec half = one_pair;
    half.takes = {{keys, words}};
    pair_loops.push_back(half);
  }
  b->Stage(std::move(pair));

  StageSpec score{"Score", {{{}, shape.n_heads}}};
  std::vector<LoopSpec>& score_loops = score.blocks[0].loops;
  AddLoop({.cycles = words, .takes = {{q, words}}}, 1, 1, &score_loops);
  const LoopSpec of_pair{.cycles = pair_words * kWordFloats / hls::kAttentionUnits,
                         .takes = {{paired, pair_words}},
                         .puts = {{partial, hls::kScorePositions}}};
  AddLoop(of_pair, pairs - 1, 1, &score_loops);
  LoopSpec last = of_pair;
  last.puts = {{partial, count - (pairs - 1) * hls::kScorePositions}};
  last.drain = b->float_depth();
  score_loops.push_back(last);
  b->Stage(std::move(score));

  // One loop over all heads in the source; per head here, so that no step spans two.
  StageSpec fold{"Fold", {{{}, shape.n_heads}}};
  AddLoop({.cycles = 4, .takes = {{partial, 1}}, .puts = {{scores, 1}}}, count, kPositionGrain, &fold.blocks[0].loops);
  b->Stage(std::move(fold));
  StageSpec softmax{"Softmax", {{{}, shape.n_heads}}};
  AddLoop({.cycles = 2, .drain = 4, .takes = {{scores, 1}}}, count, kPositionGrain, &softmax.blocks[0].loops);
  AddLoop({.cycles = 1, .drain = 2 * b->float_depth(), .puts = {{weights, 1}}}, count, kPositionGrain,
          &softmax.blocks[0].loops);
  AddLoop({.cycles = b->float_depth(), .puts = {{inverse, 1}}}, 1, 1, &softmax.blocks[0].loops);
  b->Stage(std::move(softmax));
}

StageSpec WeighStage(const Builder& b, const AttentionShape& shape, int64_t count, bool by_column, int values,
                     int weights, int inverse, int outputs) {
  const int64_t words = shape.head_dim / kWordFloats;
  const int64_t row_cycles = shape.head_dim / hls::kAttentionUnits;
  StageSpec stage{"Weigh", {{{}, shape.n_heads}}};
  std::vector<LoopSpec>& loops = stage.blocks[0].loops;
  if (by_column) {
    AddLoop({.cycles = 1, .drain = 4, .takes = {{weights, 1}}}, count, kPositionGrain, &loops);
    AddLoop({.cycles = kWordFloats / hls::kAttentionUnits * hls::kColumnInterval,
             .drain = b.float_depth(),
             .takes = {{values, 1}}},
            count * words, kPositionGrain, &loops);
  } else {
    AddLoop({.cycles = row_cycles, .drain = b.float_depth(), .takes = {{values, words}, {weights, 1}}}, count,
            std::max<int64_t>(1, kPositionGrain / 2), &loops);
  }
  AddLoop({.cycles = kWordFloats, .takes = {{inverse, 1}}, .puts = {{outputs, 1}}}, 1, 1, &loops);
  if (words > 1) {
    AddLoop({.cycles = kWordFloats, .drain = b.float_depth(), .puts = {{outputs, 1}}}, words - 1, 1, &loops);
  }
  return stage;
}

}  // namespace

RegionSpec AttentionRegion(const AttentionShape& shape, int64_t pos, bool by_column, const KernelPlace& place,
                           const Parameters& parameters) {
  Builder b(by_column ? "attention_by_column" : "attention", place.mhz, parameters);
  const int q_plain = b.Stream("q_plain", kStageFifoDepth);
  const int k_plain = b.Stream("k_plain", kStageFifoDepth);
  const int v_row = b.Stream("v_row", kStageFifoDepth);
  const int angles = b.Stream("angles", kStageFifoDepth);
  const int q_rotated = b.Stream("q_rotated", kStageFifoDepth);
  const int k_row = b.Stream("k_row", kStageFifoDepth);
  const int keys = b.Stream("keys", kMemoryFifoDepth);
  const int values = b.Stream("values", kMemoryFifoDepth);
  const int weights = b.Stream("weights", kStageFifoDepth);
  const int inverse = b.Stream("inverse_sums", kStageFifoDepth);
  const int outputs = b.Stream("outputs", kStageFifoDepth);
  const int64_t q_bytes = hls::VectorBytes(shape.n_heads * shape.head_dim);
  const int64_t kv_bytes = hls::VectorBytes(shape.n_kv_heads * shape.head_dim);
  const int64_t angle_bytes = hls::RotaryRowBytes(shape.rotary_dim);
  b.Mover("ReadQ", b.Port("q", place.vectors, kWordBytes, kSmallOutstanding), q_bytes, false, q_plain);
  b.Mover("ReadK", b.Port("k", place.vectors, kWordBytes, kSmallOutstanding), kv_bytes, false, k_plain);
  b.Mover("ReadV", b.Port("v", place.vectors, kWordBytes, kSmallOutstanding), kv_bytes, false, v_row);
  b.Mover("ReadRotary", b.Port("rotary", place.constants, kWordBytes, kSmallOutstanding), angle_bytes, false, angles);
  StageSpec rotate{"Rotate", {{}}};
  AddLoop({.cycles = kWordFloats, .drain = 4, .takes = {{angles, 1}}}, angle_bytes / kWordBytes, 1,
          &rotate.blocks[0].loops);
  AddRotation(b, k_plain, k_row, shape.n_kv_heads, shape, &rotate);
  AddRotation(b, q_plain, q_rotated, shape.n_heads, shape, &rotate);
  b.Stage(std::move(rotate));
  const int k_cache = b.Port("k_cache", place.keys, kWordBytes, kOutstandingReads);
  const int v_cache = b.Port("v_cache", place.values, kWordBytes, kOutstandingReads);
  b.Stage(CacheStage(b, "CacheKeys", k_cache, k_row, keys, shape, pos, false));
  b.Stage(CacheStage(b, "CacheValues", v_cache, v_row, values, shape, pos, by_column));
  AddScoreStages(&b, shape, pos, q_rotated, keys, weights, inverse);
  b.Stage(WeighStage(b, shape, pos + 1, by_column, values, weights, inverse, outputs));
  b.Mover("WriteHeads", b.Port("out", place.output, kWordBytes, kSmallOutstanding), q_bytes, true, outputs);
  return b.Take();
}

RegionSpec LayerNormRegion(int64_t n, const KernelPlace& place, const Parameters& parameters) {
  Builder b("layernorm", place.mhz, parameters);
  const int64_t words = CeilDiv(n, kWordFloats);
  const int inputs = b.Stream("inputs", kStageFifoDepth);
  const int constants = b.Stream("weights", kStageFifoDepth);
  const int outputs = b.Stream("outputs", kStageFifoDepth);
  b.Mover("ReadVector", b.Port("x", place.vectors, kWordBytes, kSmallOutstanding), hls::VectorBytes(n), false, inputs);
  b.Mover("ReadConstants", b.Port("constants", place.constants, kWordBytes, kSmallOutstanding),
          hls::NormConstantsBytes(n), false, constants);
  StageSpec normalize{"Normalize", {{}}};
  std::vector<LoopSpec>& loops = normalize.blocks[0].loops;
  AddLoop({.cycles = kWordFloats, .drain = 4, .takes = {{inputs, 1}}}, words, 1, &loops);
  AddLoop({.cycles = kWordFloats, .drain = 3 * b.float_depth()}, words, words, &loops);  // mean
  AddLoop({.cycles = kWordFloats, .drain = 4 * b.float_depth()}, words, words, &loops);  // variance, root, division
  AddLoop({.cycles = kWordFloats, .drain = b.float_depth(), .takes = {{constants, 2}}, .puts = {{outputs, 1}}}, words,
          1, &loops);
  b.Stage(std::move(normalize));
  b.Mover("WriteVector", b.Port("y", place.output, kWordBytes, kSmallOutstanding), hls::VectorBytes(n), true, outputs);
  return b.Take();
}

RegionSpec GeluRegion(int64_t n, const KernelPlace& place, const Parameters& parameters) {
  Builder b("gelu", place.mhz, parameters);
  const int inputs = b.Stream("inputs", kStageFifoDepth);
  const int outputs = b.Stream("outputs", kStageFifoDepth);
  b.Mover("ReadVector", b.Port("x", place.vectors, kWordBytes, kSmallOutstanding), hls::VectorBytes(n), false, inputs);
  b.Loop("Activate",
         {.cycles = kWordFloats / hls::kGeluUnits,
          .drain = 4 * b.float_depth(),
          .takes = {{inputs, 1}},
          .puts = {{outputs, 1}}},
         CeilDiv(n, kWordFloats));
  b.Mover("WriteVector", b.Port("y", place.output, kWordBytes, kSmallOutstanding), hls::VectorBytes(n), true, outputs);
  return b.Take();
}

RegionSpec ResidualRegion(int64_t n, const KernelPlace& place, const Parameters& parameters) {
  Builder b("residual", place.mhz, parameters);
  const int outputs = b.Stream("outputs", kStageFifoDepth);
  LoopSpec add{.cycles = kWordFloats, .drain = b.float_depth(), .puts = {{outputs, 1}}};
  for (const char* name : {"att", "mlp", "x"}) {
    const int stream = b.Stream(StrCat(name, "s"), kStageFifoDepth);
    b.Mover(StrCat("Read ", name), b.Port(name, place.vectors, kWordBytes, kSmallOutstanding), hls::VectorBytes(n),
            false, stream);
    add.takes.push_back({stream, 1});
  }
  b.Loop("Add", add, CeilDiv(n, kWordFloats));
  b.Mover("WriteVector", b.Port("y", place.output, kWordBytes, kSmallOutstanding), hls::VectorBytes(n), true, outputs);
  return b.Take();
}

namespace {

MemoryTarget TargetOf(const fpga::LinkFile& link, std::string_view unit, std::string_view argument, int within) {
  const fpga::BankRange& banks = *fpga::PortBanks(link, unit, argument);
  MemoryTarget target;
  target.kind = banks.memory == "HBM"   ? MemoryKind::kHbm
                : banks.memory == "DDR" ? MemoryKind::kDdr
                                        : MemoryKind::kPlram;
  target.bank = banks.first + within;
  target.master = banks.first;  // v++ attaches a port where its first bank is
  return target;
}

KernelPlace PlaceOf(const fpga::HbmPlacement& placement, std::string_view unit, int kv_bank) {
  const fpga::LinkFile& link = placement.link;
  KernelPlace place;
  place.mhz = placement.design->kernel_mhz;
  const auto target = [&](const char* argument, int within, MemoryTarget* out) {
    if (fpga::PortBanks(link, unit, argument) != nullptr) {
      *out = TargetOf(link, unit, argument, within);
    }
  };
  for (int i = 0; i < 4; ++i) {
    target(StrCat("w", i).c_str(), 0, &place.weights[i]);
  }
  for (const char* argument : {"constants", "bias", "rotary"}) {
    target(argument, 0, &place.constants);
  }
  for (const char* argument : {"x", "q"}) {
    target(argument, 0, &place.vectors);
  }
  for (const char* argument : {"y", "logits", "out"}) {
    target(argument, 0, &place.output);
  }
  target("k_cache", kv_bank, &place.keys);
  target("v_cache", kv_bank, &place.values);
  return place;
}

RegionSpec MakeRegion(const fpga::ScheduleNode& node, const fpga::HbmPlacement& placement, int64_t pos, int kv_bank,
                      const Parameters& parameters) {
  const ModelShape& shape = placement.shape;
  const KernelPlace place = PlaceOf(placement, node.unit, kv_bank);
  const int64_t heads = shape.n_heads * shape.head_dim;
  const int64_t kv = shape.n_kv_heads * shape.head_dim;
  const auto linear = [&](int64_t n, int64_t k) {
    return LinearRegion(placement.design->linear, n, k, place, parameters);
  };
  switch (node.op) {
    case fpga::CardOp::kQ: return linear(heads, shape.hidden_size);
    case fpga::CardOp::kK:
    case fpga::CardOp::kV: return linear(kv, shape.hidden_size);
    case fpga::CardOp::kDense: return linear(shape.hidden_size, heads);
    case fpga::CardOp::kFc1: return linear(shape.intermediate_size, shape.hidden_size);
    case fpga::CardOp::kFc2: return linear(shape.hidden_size, shape.intermediate_size);
    case fpga::CardOp::kLmHead:
      return LmHeadRegion(shape.vocab_size, shape.hidden_size, fpga::LmHeadElementBytes(placement.lm_head), place,
                          parameters);
    case fpga::CardOp::kLayerNorm: return LayerNormRegion(shape.hidden_size, place, parameters);
    case fpga::CardOp::kGelu: return GeluRegion(shape.intermediate_size, place, parameters);
    case fpga::CardOp::kResidual: return ResidualRegion(shape.hidden_size, place, parameters);
    case fpga::CardOp::kAttention: break;
  }
  return AttentionRegion({shape.n_heads, shape.n_kv_heads, shape.head_dim, shape.rotary_dim}, pos, false, place,
                         parameters);
}

}  // namespace

Result<std::shared_ptr<const RegionSpec>> RegionOfNode(const fpga::ScheduleNode& node,
                                                       const fpga::HbmPlacement& placement, int64_t pos, int kv_bank,
                                                       const Parameters& parameters) {
  if (!node.on_card()) {
    return InvalidArgument(fpga::NodeText(node), " runs on the host");
  }
  auto region = std::make_shared<RegionSpec>(MakeRegion(node, placement, pos, kv_bank, parameters));
  RETURN_IF_ERROR(CheckRegion(*region));
  return std::shared_ptr<const RegionSpec>(std::move(region));
}

}  // namespace phidias::sim
