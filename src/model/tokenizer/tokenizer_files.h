#pragma once

#include <string>
#include <string_view>

#include "common/status.h"
#include "model/tokenizer/tokenizer.h"

namespace phidias {

// The parts of a tokenizer from the text of a tokenizer.json. `source` is for messages.
Result<TokenizerParts> ParseTokenizerJson(std::string_view text, const std::string& source);

Result<TokenizerParts> ReadTokenizerJson(const std::string& path);

// From a directory with vocab.json and merges.txt. Added tokens come from added_tokens.json and from what
// tokenizer_config.json and special_tokens_map.json, where they exist, say about them.
Result<TokenizerParts> ReadVocabAndMerges(const std::string& directory);

// Refuses a tokenizer_config.json (if the directory has one) that asks for what doesn't run here.
Status CheckTokenizerConfig(const std::string& directory);

}  // namespace phidias
