#include "serve/web_page.h"

namespace phidias::serve {

std::string_view WebPage() {
  return "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Phidias</title>"
         "<p>Phidias serves OpenAI's API here: <code>POST /v1/chat/completions</code>.</p></html>\n";
}

}  // namespace phidias::serve
