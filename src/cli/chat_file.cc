#include "cli/chat_file.h"

#include <utility>

#include "cli/json.h"
#include "common/file.h"

namespace phidias::cli {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;

Json MessageJson(const char* role, const std::string& text) {
  return {{"role", role}, {"content", text}};
}

const std::string* TextField(const Json& object, const char* name) {
  const auto it = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && it != object.end() ? it->get_ptr<const std::string*>() : nullptr;
}

Status AddMessage(const Json& json, const std::string& where, Conversation* conversation) {
  const std::string* const role = TextField(json, "role");
  const std::string* const content = TextField(json, "content");
  if (role == nullptr || content == nullptr) {
    return DataError(where, ": must be an object with the texts \"role\" and \"content\"");
  }
  if (*role == "system" && conversation->messages.empty() && conversation->system.empty()) {
    conversation->system = *content;
  } else if (*role == "user" || *role == "assistant") {
    conversation->messages.push_back({*role == "user" ? ChatRole::kUser : ChatRole::kAssistant, *content});
  } else {
    return DataError(where, ".role is ", Quoted(*role),
                     ": must be user or assistant (or system, in the first message alone)");
  }
  return {};
}

}  // namespace

Status WriteConversation(const std::string& path, const Conversation& conversation) {
  Json messages = Json::array();
  if (!conversation.system.empty()) {
    messages.push_back(MessageJson("system", conversation.system));
  }
  for (const ChatMessage& message : conversation.messages) {
    messages.push_back(MessageJson(message.role == ChatRole::kUser ? "user" : "assistant", message.text));
  }
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(JsonLine(Json{{"messages", std::move(messages)}}, 1)));
  return file.Commit();
}

Result<Conversation> ReadConversation(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) {
    return DataError(path, ": is no JSON");
  }
  const auto messages = json.is_object() ? json.find("messages") : json.end();
  if (!json.is_object() || messages == json.end() || !messages->is_array()) {
    return DataError(path, ": must be an object with the list \"messages\", as /save writes it");
  }
  Conversation conversation;
  for (size_t i = 0; i < messages->size(); ++i) {
    RETURN_IF_ERROR(AddMessage((*messages)[i], StrCat(path, ": messages[", i, "]"), &conversation));
  }
  return conversation;
}

}  // namespace phidias::cli
