#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/status.h"

namespace phidias {

// What a file that an interrupted run leaves holds, and how messages speak of it.
struct StateKind {
  std::string_view magic;    // the file's first line, with its newline
  std::string_view name;     // "a GPTQ state"
  std::string_view instead;  // what the user can name where a file of something else is in the way: "another file"
  std::string_view again;    // what deleting it brings: "to start again"
};

// The magic, `bytes` and a checksum, whole or not at all.
Status WriteStateFile(const std::string& path, const StateKind& kind, std::string_view bytes);

// The bytes; nothing where there is no such file. Data errors name the file: of another kind, damaged.
Result<std::optional<std::string>> ReadStateFile(const std::string& path, const StateKind& kind);

// The error for bytes that aren't what the checksum promised.
Status DamagedState(const std::string& path, const StateKind& kind);

}  // namespace phidias
