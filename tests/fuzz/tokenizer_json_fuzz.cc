// Any bytes as tokenizer.json, or as one member of an otherwise good one (the first byte says which): refused with a
// message, or a tokenizer whose Encode and Decode hold together.

#include <algorithm>
#include <cstdlib>

#include "common/utf8.h"
#include "model/tokenizer/byte_letters.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_files.h"

namespace {

void Check(bool condition) {
  if (!condition) {
    std::abort();
  }
}

std::string MakeJson(std::string_view input) {
  if (input.empty()) {
    return "";
  }
  const std::string rest(input.substr(1));
  const auto around = [&](const std::string& vocab, const std::string& merges, const std::string& added) {
    return R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"added_tokens":)" + added +
           R"(,"model":{"vocab":)" + vocab + R"(,"merges":)" + merges + "}}";
  };
  const std::string vocab = R"({"a":0,"b":1,"ab":2,"aa":3,"aab":4,"aaaa":5})";
  const std::string merges = R"(["a b",["a","a"],["a","ab"],"aa aa"])";
  switch (input[0] & 3) {
    case 0: return rest;
    case 1: return around(rest, "[]", "[]");
    case 2: return around(vocab, rest, "[]");
    default: return around(vocab, merges, rest);
  }
}

// Hardly any input has tokens for all 256 bytes, and without them a tokenizer is refused: put them in.
void AddByteTokens(phidias::TokenizerParts& parts) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string letter(phidias::ByteLetter(static_cast<uint8_t>(byte)));
    if (std::find(parts.vocab.begin(), parts.vocab.end(), letter) == parts.vocab.end()) {
      parts.vocab.push_back(letter);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text = MakeJson({reinterpret_cast<const char*>(data), size});
  auto parts = phidias::ParseTokenizerJson(text, "fuzz");
  if (!parts.ok()) {
    Check(!parts.status().message().empty());
    return 0;
  }
  if (parts->vocab.size() < 10000) {
    AddByteTokens(*parts);
  }
  const auto tokenizer = phidias::Tokenizer::FromParts(*std::move(parts));
  if (!tokenizer.ok()) {
    Check(!tokenizer.status().message().empty());
    return 0;
  }
  for (const bool parse_special : {true, false}) {
    const auto ids = tokenizer->Encode(text, parse_special);
    Check(ids.ok());
    for (const int32_t id : *ids) {
      Check(tokenizer->HasText(id));
    }
    Check(phidias::FindInvalidUtf8(tokenizer->Decode(*ids)) == std::string_view::npos);
  }
  return 0;
}
