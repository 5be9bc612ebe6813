#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/status.h"
#include "model/tokenizer/flat_map.h"

namespace phidias {

// Byte-pair encoding of single words. Of all neighbours that have a merge, the one of lowest rank (leftmost among
// equals) is replaced by what the merge makes, until none is left. Immutable; shared between threads.
class Bpe {
 public:
  // `vocab` by id in byte-level letters, "" for ids without text; `merges` by rank. Every merge's parts and result must
  // be in the vocabulary. A vocabulary may lack letters of bytes (one trained on little text does): words with such
  // bytes can't be encoded, see FindUnknownByte. `source` is for messages.
  static Result<Bpe> Create(const std::vector<std::string>& vocab,
                            const std::vector<std::pair<std::string, std::string>>& merges, bool ignore_merges,
                            const std::string& source);

  // Working memory, reused from word to word; one per thread.
  class Scratch {
    friend class Bpe;
    struct Symbol {
      int32_t id;    // -1 once it has become part of its left neighbour
      int32_t prev;  // position of the living neighbour, -1 at the ends
      int32_t next;
    };
    struct Candidate {
      uint32_t rank;
      int32_t position;  // of the left part
      int32_t result;
      bool operator<(const Candidate& other) const {  // a heap's top is its largest: lowest rank, then leftmost
        return rank != other.rank ? rank > other.rank : position > other.position;
      }
    };
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
  };

  // Position of the first byte of `text` that the vocabulary has no letter for, or npos.
  size_t FindUnknownByte(std::string_view text) const;

  // Appends the ids of `word` (plain bytes, fewer than 2^31, all of them known). O(n log n) in its length.
  void Encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  static uint64_t Key(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
  }
  void PushCandidate(int32_t position, Scratch& scratch) const;
  void MergeAll(Scratch& scratch) const;

  std::array<int32_t, 256> byte_ids_{};  // -1: no letter
  bool knows_all_bytes_ = true;
  FlatMap merges_;                                  // Key(left, right) -> rank << 32 | result
  std::unordered_map<std::string, int32_t> words_;  // plain bytes -> id; only for `ignore_merges`
};

}  // namespace phidias
