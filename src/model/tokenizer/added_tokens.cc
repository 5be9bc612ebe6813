#include "model/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "model/tokenizer/unicode_class.h"

namespace phidias {
namespace {

constexpr size_t kMaxContentBytes = size_t{4} << 20;  // of all added tokens together; Phi-2's have 600

}  // namespace

TokenMatcher::TokenMatcher(const std::vector<std::string_view>& tokens) {
  size_t bytes = 0;
  for (const std::string_view token : tokens) {
    bytes += token.size();
    lengths_.push_back(token.size());
  }
  children_ = FlatMap(bytes);
  root_children_.fill(kNone);
  nodes_.push_back({0, 0, 0, kNone, 0});
  for (uint32_t i = 0; i < tokens.size(); ++i) {
    uint32_t node = 0;
    for (size_t at = tokens[i].size(); at-- > 0;) {
      const auto byte = static_cast<uint8_t>(tokens[i][at]);
      uint32_t child = Child(node, byte);
      if (child == kNone) {
        child = static_cast<uint32_t>(nodes_.size());
        nodes_.push_back({node, nodes_[node].depth + 1, 0, kNone, byte});
        if (node == 0) {
          root_children_[byte] = child;
        } else {
          children_.Set((uint64_t{node} << 8) | byte, child);
        }
      }
      node = child;
    }
    nodes_[node].longest = i;
  }
  LinkNodes();
}

void TokenMatcher::LinkNodes() {
  // A node's suffixes are shallower than itself, so nodes are linked by depth.
  std::vector<uint32_t> order(nodes_.size());
  for (uint32_t node = 0; node < order.size(); ++node) {
    order[node] = node;
  }
  std::stable_sort(order.begin(), order.end(),
                   [this](uint32_t a, uint32_t b) { return nodes_[a].depth < nodes_[b].depth; });
  for (const uint32_t at : order) {
    Node& node = nodes_[at];
    if (node.depth > 1) {
      node.fail = Step(nodes_[node.parent].fail, node.byte);
    }
    if (node.longest == kNone) {
      node.longest = nodes_[node.fail].longest;
    }
  }
}

uint32_t TokenMatcher::Child(uint32_t node, uint8_t byte) const {
  if (node == 0) {
    return root_children_[byte];
  }
  const uint64_t* child = children_.Find((uint64_t{node} << 8) | byte);
  return child == nullptr ? kNone : static_cast<uint32_t>(*child);
}

uint32_t TokenMatcher::Step(uint32_t node, uint8_t byte) const {
  uint32_t child = Child(node, byte);
  while (child == kNone && node != 0) {
    node = nodes_[node].fail;
    child = Child(node, byte);
  }
  return child == kNone ? 0 : child;
}

std::vector<TokenMatcher::Hit> TokenMatcher::Find(std::string_view text) const {
  std::vector<Hit> found;
  if (lengths_.empty()) {
    return found;
  }
  uint32_t node = 0;
  for (size_t at = text.size(); at-- > 0;) {
    node = Step(node, static_cast<uint8_t>(text[at]));
    if (const uint32_t token = nodes_[node].longest; token != kNone) {
      found.push_back({at, at + lengths_[token], token});
    }
  }
  std::reverse(found.begin(), found.end());
  // Of the longest token at each place, keep those that begin where the one before has ended.
  size_t end = 0;
  std::erase_if(found, [&end](const Hit& hit) {
    if (hit.begin < end) {
      return true;
    }
    end = hit.end;
    return false;
  });
  return found;
}

Result<AddedTokens> AddedTokens::Create(std::vector<AddedToken> tokens, const std::string& source) {
  AddedTokens added;
  size_t bytes = 0;
  for (AddedToken& token : tokens) {
    bytes += token.content.size();
    (token.normalized ? added.normalized_ : added.verbatim_).tokens.push_back(std::move(token));
  }
  if (bytes > kMaxContentBytes) {
    return ResourceExhausted(source, ": the added tokens' contents have ", bytes, " bytes together; at most ",
                             kMaxContentBytes, " are accepted");
  }
  for (Group* group : {&added.verbatim_, &added.normalized_}) {
    std::vector<std::string_view> contents;
    for (const AddedToken& token : group->tokens) {
      contents.push_back(token.content);
    }
    group->matcher = TokenMatcher(contents);
  }
  return added;
}

std::vector<AddedTokens::Piece> AddedTokens::Cut(std::string_view text, bool parse_special) const {
  std::vector<Piece> first;
  CutGroup(verbatim_, text, parse_special, first);
  std::vector<Piece> pieces;
  for (const Piece& piece : first) {
    if (piece.id >= 0) {
      pieces.push_back(piece);
    } else {
      CutGroup(normalized_, piece.text, parse_special, pieces);
    }
  }
  return pieces;
}

// What the flags mean, and what happens where they contradict each other, is the reference's: a token that was found
// but isn't taken still hides what it overlaps; white space that `rstrip` has swallowed can be found again as a token.
void AddedTokens::CutGroup(const Group& group, std::string_view text, bool parse_special, std::vector<Piece>& pieces) {
  size_t done = 0;
  size_t space_end = 0;  // where the run of white space ends that was measured last
  for (const TokenMatcher::Hit& hit : group.matcher.Find(text)) {
    const AddedToken& token = group.tokens[hit.token];
    if (token.special && !parse_special) {
      continue;
    }
    if (token.single_word &&
        (EndsWithWordCharacter(text.substr(0, hit.begin)) || StartsWithWordCharacter(text.substr(hit.end)))) {
      continue;
    }
    size_t begin = hit.begin;
    size_t end = hit.end;
    if (token.lstrip) {
      begin = begin <= done ? done : begin - TrailingWhiteSpace(text.substr(done, begin - done));
    }
    if (token.rstrip) {
      if (end >= space_end) {
        space_end = end + LeadingWhiteSpace(text.substr(end));
      }
      end = space_end;
    }
    if (done < begin) {
      pieces.push_back({text.substr(done, begin - done), -1});
    }
    pieces.push_back({text.substr(hit.begin, hit.end - hit.begin), token.id});
    done = end;
  }
  if (done < text.size()) {
    pieces.push_back({text.substr(done), -1});
  }
}

}  // namespace phidias
