#include "engine/prompt_form.h"

namespace phidias {
namespace {

// The marks of one format: what stands before a turn of the user and of the model.
struct Marks {
  const char* user;
  const char* assistant;
};
constexpr Marks kQaMarks = {"Instruct:", "Output:"};
constexpr Marks kChatMarks = {"Alice:", "Bob:"};

std::vector<std::string> StopStrings(PromptFormat format) {
  switch (format) {
    case PromptFormat::kRaw: break;
    case PromptFormat::kQa: return {"\nInstruct:"};
    case PromptFormat::kChat: return {"\nAlice:", "\nBob:"};
  }
  return {};
}

}  // namespace

std::optional<PromptFormat> PromptFormatOf(std::string_view name) {
  if (name == "raw") {
    return PromptFormat::kRaw;
  }
  if (name == "qa") {
    return PromptFormat::kQa;
  }
  return name == "chat" ? std::optional(PromptFormat::kChat) : std::nullopt;
}

PromptForm FormatPrompt(PromptFormat format, std::string_view prompt) {
  if (format == PromptFormat::kRaw) {
    return {std::string(prompt), true, {}};
  }
  const ChatMessage message = {.role = ChatRole::kUser, .text = std::string(prompt)};
  return FormatConversation(format, {&message, 1});
}

PromptForm FormatConversation(PromptFormat format, std::span<const ChatMessage> messages) {
  PromptForm form = {"", false, StopStrings(format)};
  const Marks& marks = format == PromptFormat::kQa ? kQaMarks : kChatMarks;
  for (const ChatMessage& message : messages) {
    const bool last = &message == &messages.back();
    if (format == PromptFormat::kRaw) {
      form.text += message.text;
      continue;
    }
    if (message.role != ChatRole::kSystem) {
      form.text += message.role == ChatRole::kUser ? marks.user : marks.assistant;
      form.text += ' ';
    }
    form.text += message.text;
    if (!last || message.role != ChatRole::kAssistant) {
      form.text += '\n';
    }
  }
  if (format != PromptFormat::kRaw && (messages.empty() || messages.back().role != ChatRole::kAssistant)) {
    form.text += marks.assistant;
  }
  return form;
}

std::string_view StripAnswer(PromptFormat format, std::string_view beginning) {
  return format != PromptFormat::kRaw && beginning.starts_with(' ') ? beginning.substr(1) : beginning;
}

}  // namespace phidias
