#include "serve/chat_messages.h"

#include <string>

namespace phidias::serve {
namespace {

constexpr size_t kMaxMessages = 4096;

// The text of one part: {"type": "text", "text": "..."}.
std::string PartText(const RequestJson& part, const std::string& name, Fields* fields) {
  if (!part.is_object()) {
    fields->Wrong(name, std::string("must be an object, it is ") + KindOf(part));
    return {};
  }
  Fields inner(part, name + ".");
  std::string type;
  std::string text;
  inner.Text("type", &type);
  if (inner.ok() && type != "text") {
    inner.Wrong("type", "is " + Quoted(type) + ": only parts of type \"text\" are supported here");
  }
  inner.Text("text", &text);
  if (inner.ok() && inner.Find("text") == nullptr) {
    inner.Wrong("text", "is missing");
  }
  if (!inner.ok()) {
    fields->Wrong(*inner.error());
  }
  return text;
}

std::string ContentText(const RequestJson& message, const std::string& name, Fields* fields) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    fields->Wrong(name, "is missing");
    return {};
  }
  if (content->is_string()) {
    return content->get<std::string>();
  }
  if (!content->is_array()) {
    fields->Wrong(name, std::string("must be a string or a list of parts, it is ") + KindOf(*content));
    return {};
  }
  std::string text;
  for (size_t i = 0; i < content->size() && fields->ok(); ++i) {
    text += PartText((*content)[i], name + "[" + std::to_string(i) + "]", fields);
  }
  return text;
}

ChatMessage OneMessage(const RequestJson& message, const std::string& name, Fields* fields) {
  if (!message.is_object()) {
    fields->Wrong(name, std::string("must be an object, it is ") + KindOf(message));
    return {};
  }
  Fields inner(message, name + ".");
  std::string role;
  inner.Text("role", &role);
  if (inner.ok() && role != "system" && role != "developer" && role != "user" && role != "assistant") {
    inner.Wrong("role", inner.Find("role") == nullptr
                            ? "is missing"
                            : "is " + Quoted(role) + ": must be system, developer, user or assistant");
  }
  for (const char* unsupported : {"tool_calls", "function_call", "audio"}) {
    const RequestJson* const value = inner.Find(unsupported);
    if (value != nullptr && !value->empty()) {
      inner.Wrong(unsupported, "is not supported here");
    }
  }
  if (!inner.ok()) {
    fields->Wrong(*inner.error());
    return {};
  }
  const ChatRole kind = role == "user"        ? ChatRole::kUser
                        : role == "assistant" ? ChatRole::kAssistant
                                              : ChatRole::kSystem;
  return {.role = kind, .text = ContentText(message, name + ".content", fields)};
}

}  // namespace

std::vector<ChatMessage> ReadMessages(Fields* fields) {
  std::vector<ChatMessage> messages;
  const RequestJson* const list = fields->Find("messages");
  if (list == nullptr || !list->is_array() || list->empty()) {
    fields->Wrong("messages", list == nullptr ? std::string("is missing")
                                              : std::string("must be a list of messages, it is ") +
                                                    (list->is_array() ? "an empty one" : KindOf(*list)));
    return messages;
  }
  if (list->size() > kMaxMessages) {
    fields->Wrong("messages", "has more than " + std::to_string(kMaxMessages) + " messages");
    return messages;
  }
  for (size_t i = 0; i < list->size() && fields->ok(); ++i) {
    messages.push_back(OneMessage((*list)[i], "messages[" + std::to_string(i) + "]", fields));
  }
  return messages;
}

}  // namespace phidias::serve
