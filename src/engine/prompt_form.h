#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace phidias {

// The forms of a prompt that Phi-2 was trained on; it ships no chat template.
enum class PromptFormat : uint8_t {
  kRaw,   // the text as it is
  kQa,    // "Instruct: {prompt}\nOutput:"
  kChat,  // "Alice: {prompt}\nBob:"
};

// "raw", "qa" or "chat".
std::optional<PromptFormat> PromptFormatOf(std::string_view name);

struct PromptForm {
  std::string text;
  bool parse_special = true;      // false: text from a user of a chat is text, whatever it spells
  std::vector<std::string> stop;  // what begins somebody else's turn
};

PromptForm FormatPrompt(PromptFormat format, std::string_view prompt);

enum class ChatRole : uint8_t { kSystem, kUser, kAssistant };
struct ChatMessage {
  ChatRole role = ChatRole::kUser;
  std::string text;
};

// A conversation, ready for the model to say what comes next: a new answer, or the rest of the last message if that is
// the assistant's. What the model said, put in again, gives the same text, so that its KV cache stays good.
// kRaw: the messages' texts one after the other.
PromptForm FormatConversation(PromptFormat format, std::span<const ChatMessage> messages);

// The answer as a person expects it: these forms make the model begin with a space, which is then not part of it.
// Removes it from the first piece of text.
std::string_view StripAnswer(PromptFormat format, std::string_view beginning);

}  // namespace phidias
