#pragma once

#include <string>
#include <string_view>

#include "common/status.h"

namespace phidias {

// The text of one line of JSON lines: "messages" rendered turn by turn (RenderTurn in dataset.h), or "text". Reads the
// line as a stream of tokens, so that memory is a small multiple of the line whatever it holds. Errors say what is
// wrong with the row; the caller names file and line.
Result<std::string> ParseDataRow(std::string_view line);

}  // namespace phidias
