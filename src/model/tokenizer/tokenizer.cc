#include "model/tokenizer/tokenizer.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "common/utf8.h"
#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/byte_letters.h"
#include "model/tokenizer/pretokenizer.h"

namespace phidias {
namespace {

constexpr size_t kMaxTextBytes = size_t{256} << 20;  // a word of n bytes needs about 30 n bytes of working memory
constexpr size_t kMaxCachedWordBytes = 48;
constexpr size_t kMaxCachedWords = size_t{1} << 16;

Status CheckAddedToken(const AddedToken& token, const TokenizerParts& parts) {
  if (token.id < 0 || token.id >= kMaxTokenIds) {
    return DataError(parts.source, ": the added token ", Quoted(token.content), " has the id ", token.id,
                     "; ids go from 0 to ", kMaxTokenIds - 1);
  }
  if (FindInvalidUtf8(token.content) != std::string_view::npos) {
    return DataError(parts.source, ": the added token with id ", token.id, ", ", Quoted(token.content),
                     ", isn't valid UTF-8");
  }
  const auto id = static_cast<size_t>(token.id);
  if (id < parts.vocab.size() && !parts.vocab[id].empty() && parts.vocab[id] != token.content) {
    return DataError(parts.source, ": id ", token.id, " is the added token ", Quoted(token.content),
                     " but the vocabulary has ", Quoted(parts.vocab[id]), " there");
  }
  return {};
}

// Drops empty contents and exact repetitions, as the reference does; refuses what contradicts itself.
Status CheckAddedTokens(TokenizerParts& parts) {
  std::unordered_map<std::string_view, int32_t> vocab_ids;
  for (size_t id = 0; id < parts.vocab.size(); ++id) {
    vocab_ids.emplace(parts.vocab[id], static_cast<int32_t>(id));
  }
  std::unordered_map<std::string, int32_t> by_content;
  std::unordered_map<int32_t, std::string> by_id;
  std::vector<AddedToken> kept;
  for (AddedToken& token : parts.added) {
    if (token.content.empty()) {
      continue;
    }
    RETURN_IF_ERROR(CheckAddedToken(token, parts));
    if (const auto at = vocab_ids.find(token.content); at != vocab_ids.end() && at->second != token.id) {
      return DataError(parts.source, ": the added token ", Quoted(token.content), " has the id ", token.id,
                       " but the vocabulary has it as ", at->second);
    }
    const auto [content_at, fresh_content] = by_content.emplace(token.content, token.id);
    const auto [id_at, fresh_id] = by_id.emplace(token.id, token.content);
    if (content_at->second != token.id || id_at->second != token.content) {
      return DataError(parts.source, ": the added token ", Quoted(token.content), " with id ", token.id,
                       " contradicts ", Quoted(content_at->second != token.id ? token.content : id_at->second),
                       " with id ", content_at->second != token.id ? content_at->second : token.id);
    }
    if (fresh_content && fresh_id) {
      kept.push_back(std::move(token));
    }
  }
  parts.added = std::move(kept);
  return {};
}

}  // namespace

struct Tokenizer::Impl {
  Impl(Bpe words, Pretokenizer splitter, AddedTokens added_tokens)
      : bpe(std::move(words)), pretokenizer(std::move(splitter)), added(std::move(added_tokens)) {}

  Bpe bpe;
  Pretokenizer pretokenizer;
  AddedTokens added;
  std::vector<std::string> bytes;                     // by id; "" where there is no text
  std::vector<bool> special;                          // by id
  std::unordered_map<std::string_view, int32_t> ids;  // bytes -> id, pointing into `bytes`

  void IndexTexts(const TokenizerParts& parts);
};

void Tokenizer::Impl::IndexTexts(const TokenizerParts& parts) {
  size_t count = parts.vocab.size();
  for (const AddedToken& token : parts.added) {
    count = std::max(count, static_cast<size_t>(token.id) + 1);
  }
  bytes.resize(count);
  special.resize(count);
  for (size_t id = 0; id < parts.vocab.size(); ++id) {
    // A token with a character that isn't a byte-level letter can't come out of a merge; it stands for itself.
    std::optional<std::string> plain = LettersToBytes(parts.vocab[id]);
    bytes[id] = plain ? *std::move(plain) : parts.vocab[id];
  }
  for (const AddedToken& token : parts.added) {
    bytes[static_cast<size_t>(token.id)] = token.content;
    special[static_cast<size_t>(token.id)] = token.special;
  }
  while (!bytes.empty() && bytes.back().empty()) {
    bytes.pop_back();
  }
  for (const AddedToken& token : parts.added) {
    ids.emplace(bytes[static_cast<size_t>(token.id)], token.id);
  }
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (!bytes[id].empty()) {
      ids.emplace(bytes[id], static_cast<int32_t>(id));
    }
  }
}

namespace {

// One call of Encode: words that come again are copied from where their ids lie in the output.
class WordEncoder {
 public:
  WordEncoder(const Bpe& bpe, const Pretokenizer& pretokenizer, std::vector<int32_t>& ids)
      : bpe_(bpe), walker_(pretokenizer), ids_(ids) {}

  Status EncodePiece(std::string_view piece) {
    for (size_t at = 0; at < piece.size();) {
      const size_t end = walker_.WordEnd(piece, at);
      if (end <= at) {
        return Status(StatusCode::kInternal, "the regular-expression engine failed while splitting text into words");
      }
      EncodeWord(piece.substr(at, end - at));
      at = end;
    }
    return {};
  }

 private:
  struct Range {
    size_t begin;
    size_t count;
  };

  void EncodeWord(std::string_view word) {
    if (word.size() > kMaxCachedWordBytes) {
      bpe_.Encode(word, scratch_, ids_);
      return;
    }
    const auto known = cache_.find(word);
    if (known != cache_.end()) {
      for (size_t i = 0; i < known->second.count; ++i) {
        ids_.push_back(ids_[known->second.begin + i]);
      }
      return;
    }
    const size_t begin = ids_.size();
    bpe_.Encode(word, scratch_, ids_);
    if (cache_.size() < kMaxCachedWords) {
      cache_.emplace(word, Range{begin, ids_.size() - begin});
    }
  }

  const Bpe& bpe_;
  Pretokenizer::Walker walker_;
  Bpe::Scratch scratch_;
  std::unordered_map<std::string_view, Range> cache_;
  std::vector<int32_t>& ids_;
};

}  // namespace

Result<Tokenizer> Tokenizer::FromParts(TokenizerParts parts) {
  if (parts.vocab.size() > static_cast<size_t>(kMaxTokenIds)) {
    return ResourceExhausted(parts.source, ": the vocabulary has ", parts.vocab.size(), " ids; at most ", kMaxTokenIds,
                             " are accepted");
  }
  RETURN_IF_ERROR(CheckAddedTokens(parts));
  ASSIGN_OR_RETURN(Bpe bpe, Bpe::Create(parts.vocab, parts.merges, parts.ignore_merges, parts.source));
  ASSIGN_OR_RETURN(Pretokenizer pretokenizer, Pretokenizer::Create());
  ASSIGN_OR_RETURN(AddedTokens added, AddedTokens::Create(parts.added, parts.source));
  auto impl = std::make_unique<Impl>(std::move(bpe), std::move(pretokenizer), std::move(added));
  impl->IndexTexts(parts);
  return Tokenizer(std::move(impl));
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, bool parse_special) const {
  if (text.size() > kMaxTextBytes) {
    return ResourceExhausted("the text has ", HumanBytes(text.size()), "; at most ", HumanBytes(kMaxTextBytes),
                             " are encoded at once");
  }
  if (const size_t at = FindInvalidUtf8(text); at != std::string_view::npos) {
    return InvalidArgument("the text isn't valid UTF-8: byte ", at, " (counted from 0) is ",
                           Quoted(text.substr(at, 1)));
  }
  std::vector<int32_t> ids;
  WordEncoder encoder(impl_->bpe, impl_->pretokenizer, ids);
  for (const AddedTokens::Piece& piece : impl_->added.Cut(text, parse_special)) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
    } else {
      if (const size_t at = impl_->bpe.FindUnknownByte(piece.text); at != std::string_view::npos) {
        return InvalidArgument("this tokenizer's vocabulary has no token for ", Quoted(piece.text.substr(at, 1)),
                               ", byte ", piece.text.data() - text.data() + static_cast<int64_t>(at),
                               " of the text (counted from 0)");
      }
      RETURN_IF_ERROR(encoder.EncodePiece(piece.text));
    }
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!skip_special || !IsSpecial(id)) {
      bytes += TokenBytes(id);
    }
  }
  return ReplaceInvalidUtf8(bytes);
}

std::string_view Tokenizer::TokenBytes(int32_t id) const {
  return id >= 0 && id < size() ? std::string_view(impl_->bytes[static_cast<size_t>(id)]) : std::string_view();
}

bool Tokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < size() && impl_->special[static_cast<size_t>(id)];
}

bool Tokenizer::HasText(int32_t id) const {
  return !TokenBytes(id).empty();
}

int32_t Tokenizer::size() const {
  return static_cast<int32_t>(impl_->bytes.size());
}

int32_t Tokenizer::IdOf(std::string_view content) const {
  const auto at = impl_->ids.find(content);
  return at == impl_->ids.end() ? -1 : at->second;
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::string StreamDecoder::Push(int32_t id) {
  if (skip_special_ && tokenizer_.IsSpecial(id)) {
    return "";
  }
  pending_ += tokenizer_.TokenBytes(id);
  const size_t complete = CompleteUtf8Prefix(pending_);
  std::string text = ReplaceInvalidUtf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return text;
}

std::string StreamDecoder::Finish() {
  std::string text = ReplaceInvalidUtf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace phidias
