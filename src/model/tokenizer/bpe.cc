#include "model/tokenizer/bpe.h"

#include <algorithm>

#include "model/tokenizer/byte_letters.h"

namespace phidias {
namespace {

using Ids = std::unordered_map<std::string_view, int32_t>;

Result<Ids> IndexVocab(const std::vector<std::string>& vocab, const std::string& source) {
  Ids ids;
  ids.reserve(vocab.size());
  for (size_t id = 0; id < vocab.size(); ++id) {
    if (vocab[id].empty()) {
      continue;
    }
    const auto [at, fresh] = ids.emplace(vocab[id], static_cast<int32_t>(id));
    if (!fresh) {
      return DataError(source, ": the vocabulary has the token ", Quoted(vocab[id]), " twice, as id ", at->second,
                       " and as id ", id);
    }
  }
  return ids;
}

Result<int32_t> FindMergeToken(const Ids& ids, std::string_view token, size_t rank,
                               const std::pair<std::string, std::string>& merge, const std::string& source) {
  const auto at = ids.find(token);
  if (at == ids.end()) {
    return DataError(source, ": merge ", rank, " (", Quoted(merge.first), " + ", Quoted(merge.second),
                     ") needs the token ", Quoted(token), ", which the vocabulary doesn't have");
  }
  return at->second;
}

}  // namespace

Result<Bpe> Bpe::Create(const std::vector<std::string>& vocab,
                        const std::vector<std::pair<std::string, std::string>>& merges, bool ignore_merges,
                        const std::string& source) {
  ASSIGN_OR_RETURN(const Ids ids, IndexVocab(vocab, source));
  Bpe bpe;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto at = ids.find(ByteLetter(static_cast<uint8_t>(byte)));
    bpe.byte_ids_[byte] = at != ids.end() ? at->second : -1;
    bpe.knows_all_bytes_ = bpe.knows_all_bytes_ && at != ids.end();
  }
  bpe.merges_ = FlatMap(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& merge = merges[rank];
    ASSIGN_OR_RETURN(const int32_t left, FindMergeToken(ids, merge.first, rank, merge, source));
    ASSIGN_OR_RETURN(const int32_t right, FindMergeToken(ids, merge.second, rank, merge, source));
    ASSIGN_OR_RETURN(const int32_t both, FindMergeToken(ids, merge.first + merge.second, rank, merge, source));
    // A pair that is listed twice has its later rank, as in the reference.
    bpe.merges_.Set(Key(left, right), Key(static_cast<int32_t>(rank), both));
  }
  if (ignore_merges) {
    for (const auto& [letters, id] : ids) {
      if (auto bytes = LettersToBytes(letters)) {
        bpe.words_.emplace(*std::move(bytes), id);
      }
    }
  }
  return bpe;
}

size_t Bpe::FindUnknownByte(std::string_view text) const {
  if (knows_all_bytes_) {
    return std::string_view::npos;
  }
  const auto at =
      std::find_if(text.begin(), text.end(), [&](char c) { return byte_ids_[static_cast<uint8_t>(c)] < 0; });
  return at == text.end() ? std::string_view::npos : static_cast<size_t>(at - text.begin());
}

void Bpe::Encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (!words_.empty()) {
    if (const auto at = words_.find(std::string(word)); at != words_.end()) {
      ids.push_back(at->second);
      return;
    }
  }
  const auto length = static_cast<int32_t>(word.size());
  scratch.symbols_.clear();
  for (int32_t i = 0; i < length; ++i) {
    const auto byte = static_cast<uint8_t>(word[static_cast<size_t>(i)]);
    scratch.symbols_.push_back({byte_ids_[byte], i - 1, i + 1 < length ? i + 1 : -1});
  }
  MergeAll(scratch);
  for (const Scratch::Symbol& symbol : scratch.symbols_) {
    if (symbol.id >= 0) {
      ids.push_back(symbol.id);
    }
  }
}

// The merge of the symbol at `position` with its right neighbour, if there is one. Heap order is the caller's affair.
void Bpe::PushCandidate(int32_t position, Scratch& scratch) const {
  const Scratch::Symbol& left = scratch.symbols_[static_cast<size_t>(position)];
  if (left.next < 0) {
    return;
  }
  const uint64_t* merge = merges_.Find(Key(left.id, scratch.symbols_[static_cast<size_t>(left.next)].id));
  if (merge != nullptr) {
    scratch.heap_.push_back({static_cast<uint32_t>(*merge >> 32), position, static_cast<int32_t>(*merge & 0xffffffff)});
  }
}

void Bpe::MergeAll(Scratch& scratch) const {
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    PushCandidate(static_cast<int32_t>(i), scratch);
  }
  std::make_heap(heap.begin(), heap.end());
  const auto push = [&](int32_t position) {
    const size_t before = heap.size();
    PushCandidate(position, scratch);
    if (heap.size() > before) {
      std::push_heap(heap.begin(), heap.end());
    }
  };
  while (!heap.empty()) {
    const Scratch::Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    Scratch::Symbol& left = symbols[static_cast<size_t>(top.position)];
    if (left.id < 0 || left.next < 0) {
      continue;
    }
    Scratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
    // The symbols may have changed since the candidate was pushed. It stands if they still make the same token: the
    // reference asks no more than that, so a candidate may act for a pair that came later and has another rank.
    const uint64_t* merge = merges_.Find(Key(left.id, right.id));
    if (merge == nullptr || static_cast<int32_t>(*merge & 0xffffffff) != top.result) {
      continue;
    }
    left.id = top.result;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) {
      symbols[static_cast<size_t>(left.next)].prev = top.position;
    }
    if (left.prev >= 0) {
      push(left.prev);
    }
    push(top.position);
  }
}

}  // namespace phidias
