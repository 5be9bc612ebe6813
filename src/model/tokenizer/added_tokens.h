#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "model/tokenizer/flat_map.h"
#include "model/tokenizer/tokenizer.h"

namespace phidias {

// Finds added tokens in text: at each place the longest, from left to right, in time linear in the text whatever the
// tokens are.
//
// It is an Aho-Corasick automaton over the reversed tokens, run over the text from its end: after a byte, the longest
// token that the automaton has seen is the longest one that begins there. (Forwards, the automaton knows where tokens
// end, and leftmost-longest then has to read text again after each match, which is quadratic for hostile tokens.)
class TokenMatcher {
 public:
  struct Hit {
    size_t begin;
    size_t end;
    uint32_t token;  // position in the list given to the constructor
  };

  // Distinct, not empty.
  explicit TokenMatcher(const std::vector<std::string_view>& tokens = {});

  // Matches in ascending order, none overlapping.
  std::vector<Hit> Find(std::string_view text) const;

 private:
  static constexpr uint32_t kNone = 0xffffffff;
  struct Node {
    uint32_t parent;
    uint32_t depth;
    uint32_t fail;     // node of the longest proper suffix that the trie has
    uint32_t longest;  // the longest token that ends here, or kNone
    uint8_t byte;
  };
  uint32_t Child(uint32_t node, uint8_t byte) const;
  uint32_t Step(uint32_t node, uint8_t byte) const;
  void LinkNodes();

  std::vector<size_t> lengths_;
  std::vector<Node> nodes_;  // [0] is the root
  std::array<uint32_t, 256> root_children_{};
  FlatMap children_;  // node << 8 | byte -> node
};

// Cuts added tokens out of text as the reference does: first those that aren't `normalized`, then, in what is left, the
// others.
class AddedTokens {
 public:
  struct Piece {
    std::string_view text;
    int32_t id;  // of the added token, or -1: text still to be encoded (never empty)
  };

  // `tokens` have distinct contents, in valid UTF-8.
  static Result<AddedTokens> Create(std::vector<AddedToken> tokens, const std::string& source);

  // Without `parse_special`, special tokens are found like all others but left as text.
  std::vector<Piece> Cut(std::string_view text, bool parse_special) const;

 private:
  struct Group {
    std::vector<AddedToken> tokens;
    TokenMatcher matcher;
  };
  static void CutGroup(const Group& group, std::string_view text, bool parse_special, std::vector<Piece>& pieces);

  Group verbatim_;
  Group normalized_;
};

}  // namespace phidias
