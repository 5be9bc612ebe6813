#include "sim/tiled_resources.h"

#include <algorithm>
#include <cmath>

#include "hls/tiled_plan.h"

namespace phidias::sim {
namespace {

namespace tiled = hls::tiled;

constexpr int kWord = hls::kWordBits;
constexpr double kFfOfLut = 1.2;     // pipeline registers behind logic
constexpr double kStreamLogic = 20;  // a stream's counters
constexpr double kLoopLogic = 60;    // a loop's counter, bounds and state
constexpr int kAddressBits = 16;     // of what a pass's plan multiplies
constexpr double kDividerLut = 240;  // a bit a cycle
constexpr double kFloatLogic = 600;  // int64 to float, and a float product beside its DSP
constexpr int kFloatDsp = 3;

double CeilDiv(double a, double b) {
  return std::ceil(a / b);
}

// Of one kernel: entries with the names of hls/tiled_*.h.
class Uses {
 public:
  explicit Uses(std::vector<StageUse>* all) : all_(*all) {}

  void Stage(const char* name) { stage_ = name; }
  void Add(std::string what, const Resources& uses) { all_.push_back({stage_, std::move(what), uses}); }
  void Stream(const char* name, Storage storage, int bits, int64_t depth) {
    Resources uses = MemoryResources(storage, bits, depth);
    uses.lut += kStreamLogic;
    uses.ff += bits;  // the word that is offered
    Add(name, uses);
  }
  void Array(const char* name, Storage storage, int bits, int64_t depth, double count = 1) {
    Add(name, MemoryResources(storage, bits, depth) * count);
  }
  void Registers(const char* name, double bits) { Add(name, {0, bits, 0, 0, 0}); }
  void Products(const char* name, int bits, int other_bits, double count, bool in_logic = false) {
    Add(name, ProductResources(bits, other_bits, in_logic) * count);
  }
  void Adders(const char* name, double bits) { Add(name, AdderResources(bits)); }
  void Mux(const char* name, double bits, int inputs) { Add(name, MuxResources(bits, inputs)); }
  void Loops(double count) { Add("loops", {kLoopLogic * count, kLoopLogic * count, 0, 0, 0}); }
  // Rounding half to even after a shift by any distance, and clamping.
  void Rounding(const char* name, int bits) {
    Resources uses = ShifterResources(bits);
    uses += AdderResources(2 * bits);
    Add(name, uses);
  }
  void Divider(const char* name) { Add(name, {kDividerLut, 2 * kDividerLut, 0, 0, 0}); }

 private:
  std::vector<StageUse>& all_;
  std::string stage_;
};

int Pairs(const TiledDesign& design) {
  return std::max(1, design.token_lanes / 2);
}
// Halves of the array: a beat of 4-bit weights meets a pair of lanes in two.
int Halves(const TiledDesign& design) {
  return std::max(Pairs(design), design.int4 ? 2 : 1);
}

// What 4-bit weights add to the array.
void ScalerUses(const TiledDesign& design, Uses* of) {
  constexpr double kSumBits = 18;
  const double sums = static_cast<double>(design.token_lanes) * tiled::kTileRows;
  of->Mux("weights of 4 bits or 8", 8.0 * design.lanes * Halves(design), 2);
  of->Mux("which four, and which inputs", (4.0 * design.lanes + 2 * 32) * Halves(design), 2);
  of->Registers("unit's sums", kSumBits * sums);
  const int parts = tiled::kTileRows / tiled::kScaleRows;
  of->Mux("rows that are scaled", (kSumBits + 6.0) * tiled::kScaleRows, parts * design.token_lanes);
  of->Mux("unit's multipliers", 6.0 * tiled::kTileRows, tiled::kBlockUnits);
  of->Registers("multipliers", kWord + 6.0 * tiled::kTileRows);
  of->Products("scaling", static_cast<int>(kSumBits), 7, tiled::kScaleRows);
  of->Adders("scaled sums", 32.0 * tiled::kScaleRows);
  of->Array("scaled sums", Storage::kLutram, 32, int64_t{parts} * design.token_lanes, tiled::kScaleRows);
  of->Mux("which sums leave", kWord, 2);
  of->Mux("pair's sums", 18.0 * tiled::kTileRows * 2, 2);
}

void MultiplyUses(const TiledDesign& design, Uses* of) {
  of->Stage("Multiply");
  const int pairs = Pairs(design);
  const int halves = Halves(design);
  const double sums = static_cast<double>(design.token_lanes) * tiled::kTileRows;
  of->Stream("weights", Storage::kUram, kWord, design.weight_fifo);
  of->Stream("inputs", Storage::kUram, tiled::kPartBits,
             int64_t{design.token_lanes} * tiled::kMaxTileInputs / tiled::kPartBytes);
  of->Array("x, a pair of lanes", Storage::kUram, tiled::kPartBits, 2 * tiled::kMaxTileInputs / tiled::kPartBytes,
            pairs);
  of->Products("products, each of a pair of lanes", 27, 8, static_cast<double>(design.lanes) * halves);
  of->Adders("pairs of inputs", 27.0 * tiled::kTileInputs * halves);
  of->Adders("fields of a sum apart", 18.0 * tiled::kTileRows * halves);
  if (design.int4) {
    ScalerUses(design, of);
  }
  of->Adders("sums", 32 * sums);
  of->Mux("inputs' field", 32.0 * design.token_lanes, tiled::kPartBytes / tiled::kTileInputs);
  of->Mux("lane that leaves", kWord, design.token_lanes);
  of->Registers("beat", 2 * kWord);
  of->Products("plan", kAddressBits, kAddressBits, 1);
  of->Loops(6);
  of->Stream("sums", Storage::kShift, kWord, tiled::kTileFifoDepth);
}

void RequantizeUses(const TiledDesign& design, Uses* of) {
  of->Stage("Requantize");
  of->Stream("factors", Storage::kLutram, kWord, tiled::kConstantsDepth);
  of->Mux("row", 4 * 32, tiled::kTileRows);
  of->Products("row", 33, 32, 1);
  of->Rounding("row", 64);
  of->Array("GELU table", Storage::kLutram, 8, 256);
  of->Mux("bytes or integer", 32, 2);  // and each part moves on by one of them
  of->Registers("words", 4 * kWord + tiled::kPartBits + 32);
  of->Array("lanes' parts", Storage::kLutram, tiled::kPartBits, int64_t{design.token_lanes} * tiled::kParts);
  of->Mux("part or zeros", tiled::kPartBits, 2);
  of->Mux("lm_head", 4 * 32, tiled::kTileRows);
  of->Mux("lm_head, high or low", 64, 2);
  of->Adders("lm_head", 3 * 64);
  of->Array("lm_head's sums", Storage::kLutram, 64, tiled::kHeadRows * tiled::kTileRows);
  of->Add("logit", {kFloatLogic, kFloatLogic, 0, 0, kFloatDsp});
  of->Mux("whose part leaves", tiled::kPartBits, 3);
  of->Registers("lm_head's words", 4 * kWord + tiled::kPartBits);
  of->Loops(14);
  of->Stream("qkv", Storage::kShift, 32, tiled::kTileFifoDepth);
  of->Stream("scored", Storage::kShift, tiled::kPartBits, tiled::kTileFifoDepth);
  of->Stream("input_sums", Storage::kShift, tiled::kPartBits, tiled::kTileFifoDepth);
}

void KeepResultsUses(Uses* of) {
  of->Stage("KeepResults");
  of->Array("lists", Storage::kLutram, 64, tiled::kCandidates, tiled::kHeadRows);
  of->Mux("logit", 32, tiled::kPartFields);
  of->Adders("comparisons", 2 * 3 * 32);
  of->Mux("pairs or parts", kWord, 2);
  of->Registers("words of pairs and of parts", 2 * kWord);
  of->Products("plan", kAddressBits, kAddressBits, 1);
  of->Loops(9);
  of->Stream("results", Storage::kBram, kWord, tiled::kResultsDepth);
}

// What Score and Weigh share in kind: each has one of its own.
void WalkUses(const TiledDesign& design, const char* walk, Uses* of) {
  const int bytes = design.attention_lanes;
  of->Mux(walk, kWord, 2);                      // the pass's own rows in the open group
  of->Mux(walk, 8.0 * bytes, tiled::kKvGroup);  // a position of the word
  of->Registers(walk, 2 * kWord);
  of->Products(walk, kAddressBits, kAddressBits, 1);
  of->Loops(4);
}

void AttendUses(const TiledDesign& design, Uses* of) {
  of->Stage("Attend");
  const int lanes = design.token_lanes;
  const int bytes = design.attention_lanes;
  const int64_t chunks = tiled::kMaxTileBytes / tiled::kAttendBytes;
  of->Stream("attention", Storage::kBram, kWord, design.kv_fifo);
  of->Array("rows", Storage::kBram, 16, int64_t{lanes} * tiled::kMaxTileElements);
  of->Array("q", Storage::kLutram, 8, lanes * chunks, bytes);
  of->Array("k and v, every lane apart", Storage::kLutram, 8, chunks, 2.0 * lanes * tiled::kAttendBytes);
  of->Array("rotary", Storage::kLutram, 16, int64_t{lanes} * hls::kMaxHeadDim, 2);
  of->Array("exponents", Storage::kBram, 32, tiled::kExpTableWords * hls::kWordFloats);
  of->Array("scores", Storage::kUram, 32, tiled::kMaxTileScores * lanes / tiled::kLanes);
  of->Array("weighted sums", Storage::kLutram, 32, int64_t{lanes} * hls::kMaxHeadDim / tiled::kAttendBytes, bytes);
  of->Array("out", Storage::kBram, 8, int64_t{lanes} * tiled::kMaxTileElements);
}

void AttendLogicUses(const TiledDesign& design, Uses* of) {
  of->Stage("Attend");
  const int bytes = design.attention_lanes;
  of->Products("rotation, every other cycle", 16, 16, 2);
  of->Adders("rotation", 2 * 33 + 4 * 16);
  WalkUses(design, "scores", of);
  of->Products("scores", 8, 8, bytes, true);
  of->Adders("scores", 17.0 * bytes + 32.0);
  WalkUses(design, "weighing", of);
  of->Products("weighing, with their sums", 13, 8, bytes);
  of->Products("softmax", 27, 32, 1);
  of->Rounding("softmax", 64);
  of->Rounding("softmax", 32);
  of->Divider("inverse of the sum");
  of->Products("output", 32, 32, 1);
  of->Rounding("output", 64);
  of->Rounding("output", 64);
  of->Registers("output's word", kWord + 32);
  of->Products("plan", kAddressBits, kAddressBits, 1);
  of->Loops(20);
  of->Stream("rotary's stream", Storage::kShift, tiled::kPartBits, tiled::kTileFifoDepth);
  of->Stream("attended", Storage::kShift, kWord, tiled::kTileFifoDepth);
  of->Stream("kept's stream", Storage::kShift, tiled::kPartBits, tiled::kTileFifoDepth);
}

void MoveUses(Uses* of) {
  of->Stage("Route, Ring, KeepGroups");
  of->Stream("words_in", Storage::kShift, kWord, tiled::kUnitFifoDepth);
  of->Stream("ring_in", Storage::kShift, kWord, tiled::kUnitFifoDepth);
  of->Stream("groups_out", Storage::kShift, tiled::kNarrowBits, tiled::kUnitFifoDepth);
  for (int stage = 0; stage < 6; ++stage) {
    of->Stream("headers", Storage::kShift, 32, tiled::kHeaderDepth);
    of->Registers("pass", 32.0 * 12);  // what a stage uses of it
  }
  of->Products("plan", kAddressBits, kAddressBits, 3);
  of->Mux("ring_out", kWord, 3);
  of->Mux("a part of a word", tiled::kPartBits, hls::kWordBits / tiled::kPartBits);
  of->Mux("half of a part", tiled::kNarrowBits, tiled::kPartBits / tiled::kNarrowBits);
  of->Registers("words under way", 4 * kWord);
  of->Array("kept", Storage::kUram, tiled::kNarrowBits,
            int64_t{tiled::kMaxTileKvWords} * hls::kWordBits / tiled::kNarrowBits);
  of->Loops(24);
}

}  // namespace

Resources MemoryResources(Storage storage, int bits, int64_t depth) {
  const auto of = static_cast<double>(depth);
  switch (storage) {
    case Storage::kShift: return {depth <= 16 ? bits / 2.0 : bits * CeilDiv(of, 32), 0, 0, 0, 0};
    case Storage::kLutram: {
      const double lut = depth <= 32 ? bits / 2.0 : bits * CeilDiv(of, 64) * 8 / 7;
      return {lut + (depth > 64 ? bits * CeilDiv(of, 256) : 0), static_cast<double>(bits), 0, 0, 0};
    }
    case Storage::kBram: {
      double least = CeilDiv(bits, 72) * CeilDiv(of, 512);
      for (int width = 36, words = 512; width >= 9; width /= 2, words *= 2) {
        least = std::min(least, CeilDiv(bits, width) * CeilDiv(of, words) / 2);  // halves of a BRAM36
      }
      return {0, 0, least, 0, 0};
    }
    case Storage::kUram: return {0, 0, 0, CeilDiv(bits, 72) * CeilDiv(of, 4096), 0};
  }
  return {};
}

Resources ProductResources(int bits, int other_bits, bool in_logic) {
  if (in_logic) {
    const double lut = bits * other_bits * 0.65;  // two rows of partial products to a carry chain
    return {lut, kFfOfLut * lut, 0, 0, 0};
  }
  const auto dsp = [](int wide, int narrow) {
    return CeilDiv(std::max(1, wide - 1), 26) * CeilDiv(std::max(1, narrow - 1), 17);
  };
  return {0, 0, 0, 0, std::min(dsp(bits, other_bits), dsp(other_bits, bits))};
}

Resources AdderResources(double bits) {
  return {bits, kFfOfLut * bits, 0, 0, 0};
}

Resources MuxResources(double bits, int inputs) {
  const double lut = inputs <= 1 ? 0 : inputs == 2 ? bits / 2 : bits * CeilDiv(inputs, 4);
  return {lut, 0.5 * lut, 0, 0, 0};
}

Resources ShifterResources(int bits) {
  return AdderResources(bits * CeilDiv(std::log2(bits), 2));
}

std::vector<StageUse> TileUses(const TiledDesign& design) {
  std::vector<StageUse> all;
  Uses uses(&all);
  MultiplyUses(design, &uses);
  RequantizeUses(design, &uses);
  KeepResultsUses(&uses);
  AttendUses(design, &uses);
  AttendLogicUses(design, &uses);
  MoveUses(&uses);
  return all;
}

std::vector<StageUse> CoreUses(const TiledDesign& design) {
  std::vector<StageUse> all;
  Uses of(&all);
  of.Stage("core");
  const int lanes = design.token_lanes;
  constexpr int kFloats = hls::kWordFloats;
  for (const char* name : {"x", "mlp", "attention"}) {
    of.Array(name, Storage::kBram, 32, int64_t{lanes} * hls::kMaxHidden / kFloats, kFloats);
  }
  of.Array("message", Storage::kBram, kWord, int64_t{lanes} * tiled::kMaxTileInputs / hls::kWordBytes);
  for (const char* norm : {"layers' norm", "final norm"}) {
    of.Products(norm, 33, 33, kFloats);        // squares
    of.Products(norm, 33, 32, kFloats / 2.0);  // every other cycle: half of each
    of.Products(norm, 32, 32, kFloats / 2.0);
    of.Adders(norm, 64.0 * kFloats * 3);
    for (int i = 0; i < kFloats / 2; ++i) {
      of.Rounding(norm, 64);  // by the row's shift, and by the layer's
      of.Rounding(norm, 64);
      of.Adders(norm, 2 * 64);  // by a constant, and clamped
    }
    of.Mux(norm, 4 * kWord, 2);
    of.Divider(norm);
  }
  of.Adders("residual", 34.0 * kFloats * 2);
  of.Mux("message's parts", 4 * kWord, 4);
  of.Mux("ring_out", kWord, 4);
  // MergeCandidates: one comparison, of the first left of a tile's list and the first left of what is kept.
  of.Adders("comparison", 3 * 32.0);
  of.Mux("which of both", 2 * 64, 2);  // or none
  of.Mux("pair of a word", 64, tiled::kCandidatesPerWord);
  of.Array("lists", Storage::kLutram, 64, int64_t{2} * tiled::kHeadRows * tiled::kCandidates);
  of.Registers("words of a list", 2 * kWord);
  of.Products("plan", kAddressBits, kAddressBits, 4);
  of.Loops(40);
  for (const char* name : {"tables_in", "ring_in", "results_out"}) {
    of.Stream(name, Storage::kShift, kWord, tiled::kUnitFifoDepth);
  }
  return all;
}

std::vector<StageUse> MemoryUnitUses(const TiledDesign& design) {
  std::vector<StageUse> all;
  Uses of(&all);
  of.Stage("memory unit");
  const int bits = design.port_bits;
  of.Array("reads under way", Storage::kBram, bits, tiled::kReadBursts * 64);
  of.Array("writes under way", Storage::kLutram, bits, 32);
  of.Adders("AXI", 64 * 6 + bits / 2.0);
  of.Registers("AXI", 4.0 * bits);
  of.Stream("headers_in", Storage::kShift, tiled::kHeaderBits, tiled::kUnitFifoDepth);
  of.Registers("pass", 32.0 * 20);  // what it uses of it
  of.Stream("groups_in", Storage::kShift, tiled::kNarrowBits, tiled::kUnitFifoDepth);
  of.Registers("groups to words", kWord);  // each part moves on by one place
  of.Mux("header or word", tiled::kHeaderBits, 2);
  of.Products("plan", kAddressBits, kAddressBits, 2);
  of.Loops(12);
  return all;
}

std::vector<StageUse> SequencerUses() {
  std::vector<StageUse> all;
  Uses of(&all);
  of.Stage("sequencer");
  for (const char* port : {"tables", "logits"}) {
    of.Array(port, Storage::kBram, kWord, 512);
    of.Adders(port, 64 * 6 + kWord / 2.0);
    of.Registers(port, 4 * kWord);
  }
  of.Array("ring", Storage::kBram, 32, 512, 2);
  of.Array("banned", Storage::kLutram, 32, tiled::kMaxBanned);
  of.Adders("ids and addresses", 32 * 40);
  of.Mux("words", 4 * kWord, 4);
  of.Products("plan", 32, 32, 4);
  of.Divider("plan");  // for everybody: a pass's other units get what follows from it
  of.Mux("header", tiled::kHeaderBits, tiled::kPassFields);
  of.Registers("header", double{tiled::kHeaderBits} * tiled::kPassFields);
  of.Loops(31);
  of.Stream("headers_in", Storage::kShift, tiled::kHeaderBits, tiled::kUnitFifoDepth);
  of.Stream("results_in", Storage::kShift, kWord, tiled::kUnitFifoDepth);
  return all;
}

Resources SumOf(const std::vector<StageUse>& uses) {
  Resources sum;
  for (const StageUse& use : uses) {
    sum += use.uses;
  }
  return sum;
}

}  // namespace phidias::sim
