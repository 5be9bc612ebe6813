#include "model/tokenizer/tokenizer_files.h"

#include <charconv>
#include <set>
#include <unordered_map>

#include "common/file.h"
#include "model/tokenizer/tokenizer_fields.h"

namespace phidias {
namespace {

using namespace tokenizer_fields;  // NOLINT: this file is one of the readers it was made for

constexpr const char* kEndOfText = "<|endoftext|>";
constexpr const char* kSpecialRoles[] = {"bos_token", "eos_token", "unk_token",  "sep_token",
                                         "pad_token", "cls_token", "mask_token", "additional_special_tokens"};

// An empty object if there is no such file.
Result<Json> ReadOptionalObject(const std::string& path) {
  if (!FileExists(path)) {
    return Json::object();
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  return ParseObject(text, path);
}

Status RefusePrefixSpace(const Json& config, const std::string& path) {
  const Json& value = Get(config, "add_prefix_space");
  if (value.is_null() || value == false) {
    return {};
  }
  return Unsupported(path, ": add_prefix_space is ", Describe(value),
                     ", which this program doesn't run; false or null is expected");
}

// "content", {"content": ...}, or a list of those.
void CollectContents(const Json& value, std::set<std::string>& contents) {
  if (value.is_array()) {
    for (const Json& one : value) {
      if (!one.is_array()) {
        CollectContents(one, contents);
      }
    }
    return;
  }
  const Json& content = value.is_object() ? Get(value, "content") : value;
  if (content.is_string()) {
    contents.insert(content.get<std::string>());
  }
}

Status ReadMergesText(const std::string& path, TokenizerParts& parts) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  size_t line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.empty() || line.starts_with("#version")) {
      continue;
    }
    auto merge = SplitMerge(line);
    if (!merge) {
      return DataError(path, ": line ", line_number, " is ", Quoted(line),
                       "; a merge is two tokens with one space between them");
    }
    parts.merges.push_back(*std::move(merge));
  }
  return {};
}

// tokenizer_config.json's {"50256": {"content": ..., "special": ...}, ...}.
Status ReadAddedTokensDecoder(const Json& config, const std::string& path, TokenizerParts& parts) {
  const Json& decoder = Get(config, "added_tokens_decoder");
  if (decoder.is_null()) {
    return {};
  }
  if (!decoder.is_object()) {
    return DataError(path, ": added_tokens_decoder is ", Describe(decoder), "; an object is expected");
  }
  for (const auto& [key, object] : decoder.items()) {
    const std::string field = StrCat("added_tokens_decoder[", Quoted(key), "]");
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= kMaxTokenIds) {
      return DataError(path, ": ", field, ": the key should be an id from 0 to ", kMaxTokenIds - 1);
    }
    ASSIGN_OR_RETURN(AddedToken token, AddedTokenFrom(object, id, field, path));
    parts.added.push_back(std::move(token));
  }
  return {};
}

// added_tokens.json's {"content": id, ...}, which has no flags: special is what a special role names.
Status ReadAddedTokensJson(const std::string& path, const std::set<std::string>& special, TokenizerParts& parts) {
  ASSIGN_OR_RETURN(const Json object, ReadOptionalObject(path));
  std::unordered_map<std::string, int32_t> known;
  for (const AddedToken& token : parts.added) {
    known.emplace(token.content, token.id);
  }
  for (const auto& [content, value] : object.items()) {
    ASSIGN_OR_RETURN(const int32_t id, TokenId(value, StrCat("the id of ", Quoted(content)), path));
    const auto at = known.find(content);
    if (at == known.end()) {
      AddedToken token;
      token.id = id;
      token.content = content;
      token.normalized = !special.contains(content);
      parts.added.push_back(std::move(token));
    } else if (at->second != id) {
      return DataError(path, ": ", Quoted(content), " has the id ", id, " but tokenizer_config.json says ", at->second);
    }
  }
  return {};
}

// Special tokens may stand in the vocabulary alone. One that has no id anywhere isn't a token.
void MarkSpecial(const std::set<std::string>& special, TokenizerParts& parts) {
  std::set<std::string> missing = special;
  for (AddedToken& token : parts.added) {
    token.special = token.special || special.contains(token.content);
    missing.erase(token.content);
  }
  for (size_t id = 0; id < parts.vocab.size() && !missing.empty(); ++id) {
    if (missing.erase(parts.vocab[id]) != 0) {
      AddedToken token;
      token.id = static_cast<int32_t>(id);
      token.content = parts.vocab[id];
      token.special = true;
      parts.added.push_back(std::move(token));
    }
  }
}

}  // namespace

Result<TokenizerParts> ReadVocabAndMerges(const std::string& directory) {
  const std::string vocab_path = directory + "/vocab.json";
  const std::string config_path = directory + "/tokenizer_config.json";
  TokenizerParts parts;
  parts.source = vocab_path;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(vocab_path, kMaxFileBytes));
  ASSIGN_OR_RETURN(const Json vocab, ParseObject(text, vocab_path));
  ASSIGN_OR_RETURN(parts.vocab, VocabById(vocab, "the vocabulary", vocab_path));
  RETURN_IF_ERROR(ReadMergesText(directory + "/merges.txt", parts));

  ASSIGN_OR_RETURN(const Json config, ReadOptionalObject(config_path));
  ASSIGN_OR_RETURN(const Json roles, ReadOptionalObject(directory + "/special_tokens_map.json"));
  RETURN_IF_ERROR(RefusePrefixSpace(config, config_path));
  std::set<std::string> special = {kEndOfText};
  for (const char* role : kSpecialRoles) {
    CollectContents(Get(config, role), special);
    CollectContents(Get(roles, role), special);
  }
  RETURN_IF_ERROR(ReadAddedTokensDecoder(config, config_path, parts));
  RETURN_IF_ERROR(ReadAddedTokensJson(directory + "/added_tokens.json", special, parts));
  MarkSpecial(special, parts);
  return parts;
}

Status CheckTokenizerConfig(const std::string& directory) {
  const std::string path = directory + "/tokenizer_config.json";
  ASSIGN_OR_RETURN(const Json config, ReadOptionalObject(path));
  return RefusePrefixSpace(config, path);
}

}  // namespace phidias
