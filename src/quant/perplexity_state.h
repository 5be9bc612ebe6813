#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "quant/perplexity.h"

namespace phidias {

// The rows' scores as far as they are known, by row.
using KnownScores = std::vector<std::optional<RowScore>>;

// The state file's content, JSON: {"format": "phidias-perplexity-state-1", "fingerprint", "rows": [[row, nll,
// tokens]]}.
std::string PerplexityStateText(const std::string& fingerprint, const KnownScores& scores);

// Fills `scores` (one entry per row of the run) from such a text. Errors name `path`: another fingerprint, a broken
// file.
Status ParsePerplexityState(const std::string& text, const std::string& path, const std::string& fingerprint,
                            KnownScores* scores);

// Writes a whole file, or nothing at all.
Status WriteWholeFile(const std::string& path, std::string_view text);

}  // namespace phidias
