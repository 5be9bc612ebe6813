#pragma once

#include <string>

#include "cli/chat_session.h"
#include "common/status.h"

namespace phidias::cli {

// A conversation as JSON: {"messages": [{"role": "user", "content": "..."}, ...]}, as OpenAI's API takes it; the system
// prompt is the first message, with the role "system".
Status WriteConversation(const std::string& path, const Conversation& conversation);

// Errors name the file and the place in it.
Result<Conversation> ReadConversation(const std::string& path);

}  // namespace phidias::cli
