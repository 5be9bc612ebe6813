#pragma once

#include <string>
#include <string_view>

#include "cli/chat_session.h"
#include "common/status.h"

namespace phidias::cli {

// What `/set NAME VALUE` changes in the middle of a chat. Errors name what is there, or the range; nothing has then
// changed.
Status ChangeSetting(std::string_view name, std::string_view value, ChatOptions* options, std::string* system);

// All of them with their values, a line each.
std::string DescribeSettings(const ChatOptions& options, const std::string& system);

}  // namespace phidias::cli
