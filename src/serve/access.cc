#include "serve/access.h"

#include <algorithm>
#include <cctype>

namespace phidias::serve {
namespace {

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

bool EqualInConstantTime(std::string_view given, std::string_view key) {
  size_t difference = given.size() ^ key.size();
  for (size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<size_t>(static_cast<uint8_t>(given[i]) ^ static_cast<uint8_t>(key[i % key.size()]));
  }
  return difference == 0;
}

// Headers that a page may send. OpenAI's JavaScript client adds x-stainless-*.
bool MayBeSent(const std::string& name) {
  static constexpr std::string_view kKnown[] = {"authorization", "content-type",        "accept",
                                                "x-request-id",  "openai-organization", "openai-project"};
  return name.starts_with("x-stainless-") || std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown);
}

}  // namespace

bool IsAuthorised(const AccessRules& rules, const HttpRequest& request) {
  if (rules.api_keys.empty()) {
    return true;
  }
  std::string_view given = Trim(request.Header("authorization"));
  constexpr std::string_view kScheme = "bearer ";
  if (Lower(given.substr(0, kScheme.size())) != kScheme) {
    return false;
  }
  given = Trim(given.substr(kScheme.size()));
  bool known = false;
  for (const std::string& key : rules.api_keys) {
    known |= EqualInConstantTime(given, key);  // no early end
  }
  return known;
}

OriginKind OriginOf(const AccessRules& rules, const HttpRequest& request) {
  const std::string_view origin = request.Header("origin");
  if (origin.empty()) {
    return OriginKind::kNone;
  }
  for (const std::string& allowed : rules.cors_origins) {
    if (allowed == "*" || allowed == origin) {
      return OriginKind::kAllowed;
    }
  }
  const size_t scheme = origin.find("://");
  const bool own =
      scheme != std::string_view::npos && Lower(origin.substr(scheme + 3)) == Lower(request.Header("host"));
  return own ? OriginKind::kOwn : OriginKind::kForeign;
}

HttpHeaders CorsHeaders(const AccessRules& rules, const HttpRequest& request) {
  if (OriginOf(rules, request) != OriginKind::kAllowed) {
    return rules.cors_origins.empty() ? HttpHeaders() : HttpHeaders{{"Vary", "Origin"}};
  }
  return {{"Access-Control-Allow-Origin", std::string(request.Header("origin"))},
          {"Access-Control-Expose-Headers", "x-request-id, retry-after"},
          {"Vary", "Origin"}};
}

HttpHeaders PreflightHeaders(const HttpRequest& request) {
  std::string names;
  const std::string asked = Lower(request.Header("access-control-request-headers"));
  for (size_t begin = 0; begin < asked.size();) {
    const size_t end = std::min(asked.find(',', begin), asked.size());
    const std::string name(Trim(std::string_view(asked).substr(begin, end - begin)));
    if (MayBeSent(name)) {
      names += (names.empty() ? "" : ", ") + name;
    }
    begin = end + 1;
  }
  HttpHeaders headers = {{"Access-Control-Allow-Methods", "GET, POST, OPTIONS"}, {"Access-Control-Max-Age", "600"}};
  if (!names.empty()) {
    headers.emplace_back("Access-Control-Allow-Headers", names);
  }
  return headers;
}

}  // namespace phidias::serve
