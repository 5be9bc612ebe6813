#include "cli/prompt.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/flags.h"
#include "cli/model_option.h"
#include "common/file.h"

namespace phidias::cli {
namespace {

// A path rather than a text: no blank, and a '/' or the end of a checkpoint file's name.
bool LooksLikePath(std::string_view text) {
  if (text.find_first_of(" \t\n") != std::string_view::npos) {
    return false;
  }
  return text.find('/') != std::string_view::npos || text.ends_with(".gguf") || text.ends_with(".safetensors") ||
         text.ends_with(".bin");
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The byte that a one-letter escape stands for, or -1.
int SimpleEscape(char letter) {
  switch (letter) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case '\\':
    case '\'':
    case '"': return letter;
    default: return -1;
  }
}

}  // namespace

void AddPromptOption(CLI::App& app, PromptOption* option) {
  AddModelFlag(app, &option->model);
  AddText(app, "MODEL", &option->first, "the same as -m MODEL")->type_name("");
  AddText(app, "TEXT", &option->second, "the same as -p TEXT; alone it may stand without MODEL")->type_name("");
  AddText(app, "-p,--prompt", &option->text, "the text");
  AddText(app, "-f,--file", &option->file,
          "read the text from FILE (- is stdin); stdin is read too\nwhen no text is given and it is no terminal")
      ->type_name("FILE");
  app.add_flag("-e,--escape", option->escapes, "replace \\n \\r \\t \\\\ \\' \\\" \\xNN in the text (not in files)");
}

Result<PromptSource> SplitArguments(const PromptOption& option) {
  PromptSource source{.model = option.model, .text = option.text, .file = option.file};
  if (source.text.has_value() && source.file.has_value()) {
    return InvalidArgument("the text is given twice: with -p and with -f");
  }
  const bool has_text = source.text.has_value() || source.file.has_value();
  std::optional<std::string> text = option.second;
  if (option.second.has_value()) {
    if (option.model.has_value()) {
      return InvalidArgument("the model is given twice: -m ", Quoted(*option.model), " and ", Quoted(*option.first));
    }
    source.model = option.first;
  } else if (option.first.has_value()) {
    const std::string& argument = *option.first;
    if (option.model.has_value()) {
      text = argument;
    } else if (has_text || IsDirectory(argument) || FileExists(argument)) {
      source.model = argument;
    } else if (LooksLikePath(argument)) {
      return NotFound(Quoted(argument), ": no such file or directory (if it is the text, give it with -p)");
    } else {
      text = argument;
    }
  }
  if (text.has_value() && has_text) {
    return InvalidArgument("the text is given twice: ", Quoted(*text, 40), " and with ", source.text ? "-p" : "-f");
  }
  if (text.has_value()) {
    source.text = text;
  }
  return source;
}

Result<std::optional<std::string>> ReadPrompt(const PromptSource& source, bool escapes, size_t max_bytes) {
  if (source.text.has_value()) {
    if (!escapes) {
      return source.text;
    }
    ASSIGN_OR_RETURN(std::string text, ProcessEscapes(*source.text));
    return std::optional(std::move(text));
  }
  if (source.file.has_value() && *source.file != "-") {
    ASSIGN_OR_RETURN(std::string text, ReadFile(*source.file, max_bytes));
    return std::optional(std::move(text));
  }
  if (source.file.has_value() || isatty(STDIN_FILENO) == 0) {
    ASSIGN_OR_RETURN(std::string text, ReadStdin(max_bytes));
    return std::optional(std::move(text));
  }
  return std::optional<std::string>();
}

Result<std::string> ReadStdin(size_t max_bytes) {
  std::string text;
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return IoError("cannot read stdin: ", std::strerror(errno));
    }
    if (got == 0) {
      return text;
    }
    text.append(buffer, static_cast<size_t>(got));
    if (text.size() > max_bytes) {
      return ResourceExhausted("stdin: more than ", HumanBytes(max_bytes), " of text");
    }
  }
}

Result<std::string> ProcessEscapes(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    const std::string_view rest = text.substr(i + 1);
    if (rest.size() >= 3 && rest[0] == 'x' && HexDigit(rest[1]) >= 0 && HexDigit(rest[2]) >= 0) {
      out += static_cast<char>(HexDigit(rest[1]) * 16 + HexDigit(rest[2]));
      i += 3;
    } else if (const int byte = rest.empty() ? -1 : SimpleEscape(rest[0]); byte >= 0) {
      out += static_cast<char>(byte);
      i += 1;
    } else {
      return InvalidArgument("-e: ", Quoted(text.substr(i, 4)), " at byte ", i,
                             " is no escape: \\n \\r \\t \\\\ \\' \\\" and \\xNN are");
    }
  }
  return out;
}

}  // namespace phidias::cli
