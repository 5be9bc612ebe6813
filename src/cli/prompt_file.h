#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"

namespace phidias::cli {

// One prompt of a file of prompts.
struct PromptRow {
  int64_t line = 0;  // of the file, from 1
  std::string prompt = {};
  nlohmann::ordered_json id = {};  // a string or a number; null: none
  std::optional<int64_t> max_tokens = {};
  std::optional<uint64_t> seed = {};
};

// Reads a file with one prompt a line ("-": stdin). JSON lines if its first character is '{': each an object with
// "prompt", and perhaps "id" (given back with the result), "max_tokens" and "seed"; other keys are ignored. Anything
// else is plain text: the line is the prompt. Blank lines are skipped. Errors name file and line: not one object, no
// prompt or an empty one, a field of another type or out of range, more than `max_bytes` of text in all; also a file
// without any prompt.
Result<std::vector<PromptRow>> ReadPromptFile(const std::string& path, size_t max_bytes);

}  // namespace phidias::cli
