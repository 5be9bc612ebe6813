#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/status.h"

namespace phidias {

struct AddedToken {
  int32_t id = 0;
  std::string content;       // plain UTF-8, not in byte-level letters
  bool special = false;      // skipped when decoding for people; only parsed from text when asked for
  bool normalized = false;   // matched after all the others, in what they left
  bool lstrip = false;       // swallows the white space before it
  bool rstrip = false;       // swallows the white space after it
  bool single_word = false;  // only where no letter, digit or mark touches it
};

// What a byte-level BPE tokenizer is made of, whichever file it came from.
struct TokenizerParts {
  std::string source;                                       // path, for messages
  std::vector<std::string> vocab;                           // by id, in byte-level letters; "" where an id has no text
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::vector<AddedToken> added;
  bool ignore_merges = false;  // a word that is a token is that token, whatever the merges make of it
};

// More ids than any model has, few enough that a file of a few bytes can't ask for gigabytes.
inline constexpr int32_t kMaxTokenIds = 1 << 20;

// GPT-2's byte-level BPE as Phi uses it (docs/formats.md). Immutable after construction and safe to share between
// threads.
class Tokenizer {
 public:
  // A directory with tokenizer.json, or with vocab.json + merges.txt (+ added_tokens.json); or the path of a
  // tokenizer.json; or a GGUF file. Errors name file and field, and say which features of tokenizer.json don't run
  // here.
  static Result<Tokenizer> Load(const std::string& path);
  static Result<Tokenizer> FromParts(TokenizerParts parts);

  // Text to ids. Added tokens are cut out first, leftmost-longest; special ones only if `parse_special`, otherwise
  // their letters are ordinary text. Invalid UTF-8 is refused with its byte position.
  Result<std::vector<int32_t>> Encode(std::string_view text, bool parse_special = true) const;

  // Ids to text. Bytes that don't form UTF-8 become U+FFFD, as the reference does. Ids without text give nothing.
  std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const;

  // The bytes that one id stands for (not necessarily whole UTF-8); empty for ids without text and ids out of range.
  std::string_view TokenBytes(int32_t id) const;
  bool IsSpecial(int32_t id) const;
  // False for ids that have a row in the embedding but no text; those must never be sampled.
  bool HasText(int32_t id) const;
  // One past the largest id that has text.
  int32_t size() const;
  // The id whose text is exactly `content` (added tokens first), or -1.
  int32_t IdOf(std::string_view content) const;

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Turns ids that arrive one by one into text, holding back the bytes of an incomplete UTF-8 character.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // The text that `id` completes; "" while a character is incomplete.
  std::string Push(int32_t id);
  // What is left at the end, incomplete bytes as U+FFFD.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace phidias
