// Any bytes as text, and as token ids, for a small tokenizer: Encode refuses exactly what isn't UTF-8, Decode undoes
// it, and streaming equals decoding at once.

#include <cstdlib>
#include <cstring>

#include "common/utf8.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_test_util.h"

namespace {

void Check(bool condition) {
  if (!condition) {
    std::abort();
  }
}

phidias::Tokenizer MakeTokenizer() {
  phidias::TokenizerParts parts = phidias::SmallParts({{"t", "h"},
                                                       {"th", "e"},
                                                       {"\u0120", "a"},
                                                       {"a", "a"},
                                                       {"aa", "aa"},
                                                       {"e", "th"},
                                                       {"\u00e2", "\u0122"},
                                                       {"\u010a", "\u010a"}});
  parts.added.push_back(phidias::MakeAdded(300, "<|endoftext|>", true));
  for (int32_t length = 2; length <= 9; ++length) {
    const auto count = static_cast<size_t>(length);
    parts.added.push_back(phidias::MakeAdded(300 + length, std::string(count, ' '), false, true));
    parts.added.push_back(phidias::MakeAdded(320 + length, std::string(count, '\t'), false, true));
  }
  auto tokenizer = phidias::Tokenizer::FromParts(std::move(parts));
  Check(tokenizer.ok());
  return *std::move(tokenizer);
}

void CheckStream(const phidias::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (const bool skip_special : {true, false}) {
    phidias::StreamDecoder stream(tokenizer, skip_special);
    std::string text;
    for (const int32_t id : ids) {
      text += stream.Push(id);
    }
    text += stream.Finish();
    Check(text == tokenizer.Decode(ids, skip_special));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const phidias::Tokenizer tokenizer = MakeTokenizer();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool parse_special : {true, false}) {
    const auto ids = tokenizer.Encode(text, parse_special);
    Check(ids.ok() == (phidias::FindInvalidUtf8(text) == std::string_view::npos));
    if (ids.ok()) {
      Check(tokenizer.Decode(*ids, false) == text);
    }
  }
  std::vector<int32_t> ids(size / 2);
  for (size_t i = 0; i < ids.size(); ++i) {
    int16_t id = 0;
    std::memcpy(&id, data + 2 * i, 2);
    ids[i] = id % 512;
  }
  CheckStream(tokenizer, ids);
  return 0;
}
