#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"
#include "model/tokenizer/tokenizer.h"

namespace phidias {

// What a data file is. kAuto: JSON lines if the first character is '{', else plain text.
enum class DataFormat { kAuto, kJsonLines, kText };

// A row's text may have this much, and so may a whole plain text (memory is a few times that while it is encoded).
inline constexpr size_t kMaxRowBytes = size_t{64} << 20;
inline constexpr size_t kMaxTextBytes = size_t{256} << 20;
// Tokens of all rows together: 1 GB.
inline constexpr int64_t kMaxDatasetTokens = int64_t{1} << 28;

struct DatasetOptions {
  int64_t samples = 0;       // rows wanted; 0: all
  int64_t max_tokens = 512;  // rows are cut to this
  int64_t min_tokens = 2;    // shorter rows are left out: one token alone predicts nothing
  // Chooses the rows at random from the whole file; without it the first ones are taken. Which rows are chosen depends
  // on the seed and on the rows' positions in the file alone.
  std::optional<uint64_t> seed = {};
  DataFormat format = DataFormat::kAuto;
};

// Rows of token ids, in the file's order.
struct Dataset {
  std::string path;
  DataFormat format = DataFormat::kJsonLines;  // what it was
  std::vector<std::vector<int32_t>> rows;
  int64_t tokens = 0;      // of all rows
  int64_t rows_read = 0;   // rows of the file that were looked at (without a seed: up to the last that was needed)
  int64_t rows_short = 0;  // left out: fewer than min_tokens
  int64_t rows_cut = 0;    // cut to max_tokens
};

// JSON lines: each line an object with "messages" (a list of {"role", "content"}, as ultrachat_200k has them; rendered
// by RenderTurn) or "text"; other fields are ignored, and so are blank lines. Plain text: one stream of tokens, cut
// into rows of max_tokens. Special tokens in the text are parsed, as Hugging Face's tokenizers do.
// Errors name the file and the line: not UTF-8, not JSON, other keys, a row or text above the limits; Parquet and
// compressed files are recognised and the message says how to convert them; also no row that is long enough.
Result<Dataset> LoadDataset(const Tokenizer& tokenizer, const std::string& path, const DatasetOptions& options);

// The whole file as one stream of tokens: a plain text as it is, the texts of JSON lines (at most `samples` of them; 0:
// all) joined by blank lines ("\n\n"), as Hugging Face's account of perplexity does it.
Result<std::vector<int32_t>> LoadStream(const Tokenizer& tokenizer, const std::string& path, int64_t samples,
                                        DataFormat format = DataFormat::kAuto);

// "Instruct: ...\n" for the roles user and system (Phi-2 knows no system prompt: its text is an instruction),
// "Output: ...\n" for assistant, nothing for others.
std::optional<std::string> RenderTurn(const std::string& role, const std::string& content);

// A short name of the rows' content, for resuming: equal rows have equal ones.
std::string DatasetFingerprint(const Dataset& dataset);

}  // namespace phidias
