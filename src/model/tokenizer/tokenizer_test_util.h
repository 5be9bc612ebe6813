#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/tokenizer/byte_letters.h"
#include "model/tokenizer/tokenizer.h"

namespace phidias {

// A small byte-level tokenizer for tests: ids 0..255 are the bytes, then what each merge makes. Merges are written in
// byte-level letters.
inline TokenizerParts SmallParts(const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  TokenizerParts parts;
  parts.source = "small";
  for (unsigned byte = 0; byte < 256; ++byte) {
    parts.vocab.emplace_back(ByteLetter(static_cast<uint8_t>(byte)));
  }
  for (const auto& merge : merges) {
    parts.vocab.push_back(merge.first + merge.second);
  }
  parts.merges = merges;
  return parts;
}

inline AddedToken MakeAdded(int32_t id, std::string content, bool special = false, bool normalized = false) {
  AddedToken token;
  token.id = id;
  token.content = std::move(content);
  token.special = special;
  token.normalized = normalized;
  return token;
}

}  // namespace phidias
