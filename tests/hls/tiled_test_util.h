#pragma once

#include <functional>
#include <vector>

#include "hls/csim/system.h"
#include "hls/tiled_header.h"
#include "numerics/random.h"

// What the tests of the design `tiled`'s stages share.
namespace phidias::hls::tiled {

inline constexpr uint32_t kPlenty = 1U << 20;

// Streams with room for a whole test, filled before and read after the stage that runs alone.
class Streams {
 public:
  Streams() : system_("stage") {}
  Stream<Word>& Words(const char* name) { return system_.AddStream<Word>(name, kPlenty); }
  Stream<int32_t>& Ints(const char* name) { return system_.AddStream<int32_t>(name, kPlenty); }
  Stream<Part>& Parts(const char* name) { return system_.AddStream<Part>(name, kPlenty); }
  Stream<Beat>& Beats(const char* name) { return system_.AddStream<Beat>(name, kPlenty); }
  void Run(const std::function<void()>& stage) {
    system_.AddUnit("stage()", stage);
    system_.Run();
  }

 private:
  csim::System system_;
};

// A word that left in parts.
inline Word ReadParts(Stream<Part>& in) {
  Word word = 0;
  for (int p = 0; p < kParts; ++p) {
    MoveInPart(in.read(), &word);
  }
  return word;
}

inline int32_t RandomInt(uint64_t seed, uint64_t i, int32_t limit) {
  return static_cast<int32_t>(numerics::RandomBits(seed, 2, i) % (2 * static_cast<uint64_t>(limit) + 1)) - limit;
}

inline std::vector<int32_t> RandomInts(int64_t n, uint64_t seed, int32_t limit) {
  std::vector<int32_t> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    values[static_cast<size_t>(i)] = RandomInt(seed, static_cast<uint64_t>(i), limit);
  }
  return values;
}

struct AttentionCase {
  int32_t heads, head_dim, rotary_dim, position, tokens;
};

inline Pass PassOfCase(const AttentionCase& c) {
  int32_t fields[kHeaderFields] = {};
  fields[kOpcode] = kPass;
  fields[kTiles] = 1;
  fields[kTokens] = c.tokens;
  fields[kPosition] = c.position;
  fields[kLayers] = 1;
  fields[kHidden] = c.heads * c.head_dim;
  fields[kIntermediate] = 16;
  fields[kHeads] = c.heads;
  fields[kHeadDim] = c.head_dim;
  fields[kRotaryDim] = c.rotary_dim;
  fields[kVocab] = VocabField(64, false, 1);
  return PassOf(fields);
}

}  // namespace phidias::hls::tiled
