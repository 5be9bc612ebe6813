#include "common/file.h"
#include "model/tokenizer/tokenizer_fields.h"
#include "model/tokenizer/tokenizer_files.h"

namespace phidias {
namespace {

using namespace tokenizer_fields;  // NOLINT: this file is one of the readers it was made for

// GPT-2's expression as it is written in tokenizer.json files, and the shorter way of writing the same.
constexpr const char* kGpt2Patterns[] = {
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
};

Status Refuse(const std::string& source, const std::string& field, const Json& found, const char* supported) {
  return Unsupported(source, ": ", field, " is ", Describe(found), ", which this program doesn't run; ", supported);
}

// The members of a "Sequence", or the one component itself.
std::vector<const Json*> Components(const Json& component, const char* list) {
  if (component.is_null()) {
    return {};
  }
  const Json& members = Get(component, list);
  if (Get(component, "type") != "Sequence" || !members.is_array()) {
    return {&component};
  }
  std::vector<const Json*> components;
  for (const Json& member : members) {
    components.push_back(&member);
  }
  return components;
}

// Normalizer, post-processor and decoder: none, or ByteLevel where that changes no ids and no bytes.
Status CheckOnlyByteLevel(const Json& root, const char* field, const char* list, bool byte_level,
                          const std::string& source) {
  for (const Json* component : Components(Get(root, field), list)) {
    const Json& type = Get(*component, "type");
    if (!byte_level || type != "ByteLevel") {
      return Refuse(source, StrCat(field, ".type"), type,
                    byte_level ? "null or ByteLevel is expected" : "null is expected");
    }
  }
  return {};
}

Status CheckByteLevel(const Json& component, bool use_regex, const std::string& source) {
  if (Get(component, "type") != "ByteLevel") {
    return Refuse(source, "pre_tokenizer.type", Get(component, "type"), "ByteLevel is expected");
  }
  if (Get(component, "add_prefix_space") != false) {
    return Refuse(source, "pre_tokenizer.add_prefix_space", Get(component, "add_prefix_space"), "false is expected");
  }
  ASSIGN_OR_RETURN(const bool found, OptionalBool(component, "use_regex", true, "pre_tokenizer", source));
  if (found != use_regex) {
    return Refuse(source, "pre_tokenizer.use_regex", found,
                  use_regex ? "true is expected" : "false is expected after a Split");
  }
  return {};
}

Status CheckGpt2Split(const Json& split, const std::string& source) {
  const Json& pattern = Get(Get(split, "pattern"), "Regex");
  if (pattern != kGpt2Patterns[0] && pattern != kGpt2Patterns[1]) {
    return Refuse(source, "pre_tokenizer.pattern", pattern, "only GPT-2's regular expression is built in");
  }
  if (Get(split, "behavior") != "Isolated") {
    return Refuse(source, "pre_tokenizer.behavior", Get(split, "behavior"), "Isolated is expected");
  }
  ASSIGN_OR_RETURN(const bool invert, OptionalBool(split, "invert", false, "pre_tokenizer", source));
  return invert ? Refuse(source, "pre_tokenizer.invert", invert, "false is expected") : Status();
}

Status CheckPreTokenizer(const Json& root, const std::string& source) {
  const std::vector<const Json*> components = Components(Get(root, "pre_tokenizer"), "pretokenizers");
  if (components.size() == 2 && Get(*components[0], "type") == "Split") {
    RETURN_IF_ERROR(CheckGpt2Split(*components[0], source));
    return CheckByteLevel(*components[1], false, source);
  }
  if (components.size() != 1) {
    return Unsupported(source, ": pre_tokenizer has ", components.size(),
                       " parts; ByteLevel alone, or Split with GPT-2's pattern and then ByteLevel, is expected");
  }
  return CheckByteLevel(*components[0], true, source);
}

Status CheckModel(const Json& model, const std::string& source) {
  if (!model.is_object()) {
    return DataError(source, ": model is ", Describe(model),
                     "; an object with vocab and merges is expected (is this a tokenizer.json?)");
  }
  if (const Json& type = Get(model, "type"); !type.is_null() && type != "BPE") {
    return Refuse(source, "model.type", type, "BPE is expected");
  }
  if (const Json& dropout = Get(model, "dropout"); !dropout.is_null() && dropout != 0) {
    return Refuse(source, "model.dropout", dropout, "null is expected");
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const Json& value = Get(model, affix);
        !value.is_null() && !(value.is_string() && value.get_ref<const std::string&>().empty())) {
      return Refuse(source, StrCat("model.", affix), value, "null is expected");
    }
  }
  // unk_token and fuse_unk change nothing: every byte has a token of its own (Bpe::Create sees to that).
  ASSIGN_OR_RETURN(const bool byte_fallback, OptionalBool(model, "byte_fallback", false, "model", source));
  return byte_fallback ? Refuse(source, "model.byte_fallback", byte_fallback, "false is expected") : Status();
}

// Pairs in files of today, "a b" in older ones.
Status ReadMerges(const Json& merges, const std::string& source, TokenizerParts& parts) {
  if (!merges.is_array()) {
    return DataError(source, ": model.merges is ", Describe(merges), "; a list is expected");
  }
  for (size_t i = 0; i < merges.size(); ++i) {
    const Json& merge = merges[i];
    if (merge.is_string()) {
      if (merge.get_ref<const std::string&>().starts_with("#version")) {
        continue;
      }
      if (auto pair = SplitMerge(merge.get_ref<const std::string&>())) {
        parts.merges.push_back(*std::move(pair));
        continue;
      }
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      parts.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    return DataError(source, ": model.merges[", i, "] is ", Describe(merge),
                     "; a pair of strings, or one string of two parts with a space between them, is expected");
  }
  return {};
}

Status ReadAddedTokens(const Json& added, const std::string& source, TokenizerParts& parts) {
  if (added.is_null()) {
    return {};
  }
  if (!added.is_array()) {
    return DataError(source, ": added_tokens is ", Describe(added), "; a list is expected");
  }
  for (size_t i = 0; i < added.size(); ++i) {
    const std::string field = StrCat("added_tokens[", i, "]");
    ASSIGN_OR_RETURN(const int32_t id, TokenId(Get(added[i], "id"), field + ".id", source));
    ASSIGN_OR_RETURN(AddedToken token, AddedTokenFrom(added[i], id, field, source));
    parts.added.push_back(std::move(token));
  }
  return {};
}

}  // namespace

// `truncation` and `padding` are not looked at: they are about batches for training, and the reference's callers
// override them. `post_processor` ByteLevel only trims offsets.
Result<TokenizerParts> ParseTokenizerJson(std::string_view text, const std::string& source) {
  ASSIGN_OR_RETURN(const Json root, ParseObject(text, source));
  const Json& model = Get(root, "model");
  RETURN_IF_ERROR(CheckModel(model, source));
  RETURN_IF_ERROR(CheckOnlyByteLevel(root, "normalizer", "normalizers", false, source));
  RETURN_IF_ERROR(CheckPreTokenizer(root, source));
  RETURN_IF_ERROR(CheckOnlyByteLevel(root, "post_processor", "processors", true, source));
  RETURN_IF_ERROR(CheckOnlyByteLevel(root, "decoder", "decoders", true, source));

  TokenizerParts parts;
  parts.source = source;
  ASSIGN_OR_RETURN(parts.ignore_merges, OptionalBool(model, "ignore_merges", false, "model", source));
  ASSIGN_OR_RETURN(parts.vocab, VocabById(Get(model, "vocab"), "model.vocab", source));
  RETURN_IF_ERROR(ReadMerges(Get(model, "merges"), source, parts));
  RETURN_IF_ERROR(ReadAddedTokens(Get(root, "added_tokens"), source, parts));
  return parts;
}

Result<TokenizerParts> ReadTokenizerJson(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  return ParseTokenizerJson(text, path);
}

}  // namespace phidias
