#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "serve/http.h"

namespace phidias::serve {

// Who may use the server, and from which web pages.
struct AccessRules {
  std::vector<std::string> api_keys;      // none: everybody may
  std::vector<std::string> cors_origins;  // "https://chat.example", or "*"
};

// Whether the request carries one of the keys ("Authorization: Bearer KEY"). The time that takes depends on the lengths
// of the keys alone.
bool IsAuthorised(const AccessRules& rules, const HttpRequest& request);

// What a browser says about the page that a request comes from.
enum class OriginKind {
  kNone,     // no page, or no browser
  kOwn,      // a page of this server
  kAllowed,  // one of cors_origins
  kForeign,  // any other
};
OriginKind OriginOf(const AccessRules& rules, const HttpRequest& request);

// The headers that let a page of an allowed origin see an answer, and those that answer the question that a browser
// asks before (OPTIONS). Empty for other kinds.
HttpHeaders CorsHeaders(const AccessRules& rules, const HttpRequest& request);
HttpHeaders PreflightHeaders(const HttpRequest& request);

}  // namespace phidias::serve
