#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "common/status.h"

namespace phidias::cli {

// What the command line of `run` and `tokenize` says about model and text: VERB [MODEL] [TEXT], -m, -p, -f, -e.
struct PromptOption {
  std::optional<std::string> model;
  std::optional<std::string> first;  // positional arguments
  std::optional<std::string> second;
  std::optional<std::string> text;  // -p
  std::optional<std::string> file;  // -f
  bool escapes = false;
};

void AddPromptOption(CLI::App& app, PromptOption* option);

// Model and text told apart.
struct PromptSource {
  std::optional<std::string> model;
  std::optional<std::string> text;
  std::optional<std::string> file;  // "-": stdin
};

// Two positional arguments are model and text. One is the text where -m gives the model; else the model if -p or -f
// gives the text or if there is such a file or directory; else the text.
// Errors: model or text given twice; a lone argument that looks like a path and isn't there.
Result<PromptSource> SplitArguments(const PromptOption& option);

// The text of `source`, escapes processed (not in files). Without any, stdin is read unless it is a terminal.
// nullopt: none was given.
Result<std::optional<std::string>> ReadPrompt(const PromptSource& source, bool escapes, size_t max_bytes);

// The whole of stdin.
Result<std::string> ReadStdin(size_t max_bytes);

// \n \r \t \\ \' \" and \xNN replaced by their bytes; any other escape is an error.
Result<std::string> ProcessEscapes(std::string_view text);

}  // namespace phidias::cli
