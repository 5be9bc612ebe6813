#pragma once

#include "common/status.h"
#include "model/files/gguf.h"
#include "model/tokenizer/tokenizer.h"

namespace phidias {

// The tokenizer in a GGUF file's metadata (`tokenizer.ggml.*`): GPT-2's kind only. Ids that the writer filled up with
// "[PAD50295]" and the like have no text.
Result<TokenizerParts> GgufTokenizerParts(const GgufFile& file);

}  // namespace phidias
