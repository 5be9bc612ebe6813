#pragma once

#include <vector>

#include "engine/prompt_form.h"
#include "serve/fields.h"

namespace phidias::serve {

// The field "messages" of a chat: roles system, developer (the same), user and assistant; content as a string or as a
// list of parts of text. Whatever else stands there is an error that names the place.
std::vector<ChatMessage> ReadMessages(Fields* fields);

}  // namespace phidias::serve
