#include "model/tokenizer/gguf_tokenizer.h"

#include <array>

#include "model/tokenizer/tokenizer_fields.h"

namespace phidias {
namespace {

// GGUF's token types, as far as a byte-level vocabulary has them.
enum TokenType : int64_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

const GgufValue* Find(const GgufFile& file, const char* key) {
  const auto at = file.metadata.find(key);
  return at == file.metadata.end() ? nullptr : &at->second;
}

// The value of type T; nullptr if the key is missing. An empty list may have any element type.
template <class T>
Result<const T*> Typed(const GgufFile& file, const char* key, const char* expected) {
  const GgufValue* value = Find(file, key);
  if (value == nullptr) {
    return nullptr;
  }
  const T* typed = std::get_if<T>(value);
  if (typed == nullptr) {
    return DataError(file.path, ": the metadata key ", key, " isn't ", expected);
  }
  return typed;
}

template <class T>
Result<const T*> Required(const GgufFile& file, const char* key, const char* expected) {
  ASSIGN_OR_RETURN(const T* value, Typed<T>(file, key, expected));
  if (value == nullptr) {
    return DataError(file.path, ": the metadata key ", key, " (", expected,
                     ") is missing; the file has no complete tokenizer");
  }
  return value;
}

Status CheckKind(const GgufFile& file) {
  ASSIGN_OR_RETURN(const std::string* model, Required<std::string>(file, "tokenizer.ggml.model", "a string"));
  if (*model != "gpt2") {
    return Unsupported(file.path, ": tokenizer.ggml.model is ", Quoted(*model),
                       ", which this program doesn't run; \"gpt2\" is expected");
  }
  ASSIGN_OR_RETURN(const std::string* pre, Typed<std::string>(file, "tokenizer.ggml.pre", "a string"));
  if (pre != nullptr && *pre != "phi-2" && *pre != "gpt-2" && *pre != "gpt2") {
    return Unsupported(file.path, ": tokenizer.ggml.pre is ", Quoted(*pre),
                       ", which this program doesn't run; \"phi-2\", \"gpt-2\" or no such key is expected");
  }
  return {};
}

// Converters before 2024 gave filled-up ids the type "user-defined".
bool IsPadding(const std::string& token, size_t id) {
  return token == StrCat("[PAD", id, "]");
}

Status AddToken(const GgufFile& file, const std::string& token, size_t id, int64_t type, TokenizerParts& parts) {
  if (type == kUnused || (token.starts_with("[PAD") && IsPadding(token, id))) {
    return {};
  }
  if (type == kNormal) {
    parts.vocab[id] = token;
    return {};
  }
  if (type == kControl || type == kUserDefined) {
    AddedToken added;
    added.id = static_cast<int32_t>(id);
    added.content = token;
    added.special = type == kControl;
    added.normalized = type == kUserDefined;
    parts.added.push_back(std::move(added));
    return {};
  }
  return Unsupported(file.path, ": tokenizer.ggml.token_type[", id, "] (", Quoted(token), ") is ", type,
                     "; 1 (normal), 3 (control), 4 (user-defined) or 5 (unused) is expected in a \"gpt2\" vocabulary");
}

Status ReadTokens(const GgufFile& file, TokenizerParts& parts) {
  using Strings = std::vector<std::string>;
  using Integers = std::vector<int64_t>;
  ASSIGN_OR_RETURN(const Strings* tokens, Required<Strings>(file, "tokenizer.ggml.tokens", "a list of strings"));
  ASSIGN_OR_RETURN(const Integers* types, Typed<Integers>(file, "tokenizer.ggml.token_type", "a list of integers"));
  if (types != nullptr && types->size() != tokens->size()) {
    return DataError(file.path, ": tokenizer.ggml.token_type has ", types->size(), " entries, tokenizer.ggml.tokens ",
                     tokens->size());
  }
  if (tokens->size() > static_cast<size_t>(kMaxTokenIds)) {
    return ResourceExhausted(file.path, ": tokenizer.ggml.tokens has ", tokens->size(), " entries; at most ",
                             kMaxTokenIds, " are accepted");
  }
  parts.vocab.resize(tokens->size());
  for (size_t id = 0; id < tokens->size(); ++id) {
    const std::string& token = (*tokens)[id];
    const int64_t untold = token == "<|endoftext|>" ? kControl : kNormal;
    RETURN_IF_ERROR(AddToken(file, token, id, types != nullptr ? (*types)[id] : untold, parts));
  }
  return {};
}

Status ReadMerges(const GgufFile& file, TokenizerParts& parts) {
  using Strings = std::vector<std::string>;
  ASSIGN_OR_RETURN(const Strings* merges, Required<Strings>(file, "tokenizer.ggml.merges", "a list of strings"));
  for (size_t i = 0; i < merges->size(); ++i) {
    auto merge = tokenizer_fields::SplitMerge((*merges)[i]);
    if (!merge) {
      return DataError(file.path, ": tokenizer.ggml.merges[", i, "] is ", Quoted((*merges)[i]),
                       "; a merge is two tokens with one space between them");
    }
    parts.merges.push_back(*std::move(merge));
  }
  return {};
}

}  // namespace

Result<TokenizerParts> GgufTokenizerParts(const GgufFile& file) {
  TokenizerParts parts;
  parts.source = file.path;
  RETURN_IF_ERROR(CheckKind(file));
  RETURN_IF_ERROR(ReadTokens(file, parts));
  RETURN_IF_ERROR(ReadMerges(file, parts));
  return parts;
}

}  // namespace phidias
