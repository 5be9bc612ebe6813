#pragma once

#include <string>

#include "backend/integer_constants.h"
#include "common/status.h"
#include "model/config.h"

namespace phidias {

// The file beside a checkpoint that holds the constants of the `integer` arithmetic (docs/formats.md).
inline constexpr const char* kIntegerConstantsFile = "phidias_integer.json";

// Reads the file's text for a model of this configuration: one entry per layer, one scale per head, scales that are
// normal float32 numbers, nothing missing and nothing unknown. Errors name `path`, the field, what was found and what
// was expected.
Result<IntegerConstants> ParseIntegerConstants(const std::string& json_text, const std::string& path,
                                               const PhiConfig& config);
Result<IntegerConstants> ReadIntegerConstants(const std::string& path, const PhiConfig& config);

// The text of the file, one line per layer. Each scale is the shortest decimal that reads back as the same float32.
std::string IntegerConstantsText(const IntegerConstants& constants);
Status WriteIntegerConstants(const std::string& path, const IntegerConstants& constants);

}  // namespace phidias
