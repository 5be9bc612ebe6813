#include "serve/request_log.h"

#include <cmath>
#include <cstdio>
#include <ctime>

#include "common/str.h"
#include "serve/json.h"

namespace phidias::serve {
namespace {

std::string Now() {
  std::timespec now = {};
  std::timespec_get(&now, TIME_UTC);
  std::tm utc = {};
  gmtime_r(&now.tv_sec, &utc);
  char text[80];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  const int more = std::snprintf(text + size, sizeof text - size, ".%03ldZ", now.tv_nsec / 1000000);
  return {text, size + static_cast<size_t>(more)};
}

double Milliseconds(double seconds) {
  return std::round(seconds * 1e6) / 1e3;
}

}  // namespace

std::string LogText(const RequestRecord& r) {
  std::string line = StrCat(Now(), " ", r.peer, " ", Quoted(r.method + " " + r.path), " ", r.status, " ",
                            Milliseconds(r.seconds), " ms");
  if (r.prompt_tokens > 0) {
    line += StrCat(", ", r.prompt_tokens, " prompt tokens (", r.cached_tokens, " cached), ", r.generated_tokens,
                   " generated");
  }
  if (r.first_token_seconds > 0) {
    line += StrCat(", first after ", Milliseconds(r.first_token_seconds), " ms");
  }
  if (!r.finish.empty()) {
    line += ", " + r.finish;
  }
  line += ", id " + r.id;
  if (!r.error.empty()) {
    line += ", error " + Quoted(r.error, 300);
  }
  if (!r.prompt.empty()) {
    line += ", prompt " + Quoted(r.prompt, size_t{1} << 16);
  }
  return line + "\n";
}

std::string LogJson(const RequestRecord& r) {
  Json json = {{"time", Now()},
               {"id", r.id},
               {"peer", r.peer},
               {"method", r.method},
               {"path", r.path},
               {"status", r.status},
               {"ms", Milliseconds(r.seconds)}};
  if (r.prompt_tokens > 0) {
    json["prompt_tokens"] = r.prompt_tokens;
    json["cached_tokens"] = r.cached_tokens;
    json["generated_tokens"] = r.generated_tokens;
  }
  if (r.first_token_seconds > 0) {
    json["first_token_ms"] = Milliseconds(r.first_token_seconds);
  }
  for (const auto& [name, text] : {std::pair{"finish", &r.finish}, {"error", &r.error}, {"prompt", &r.prompt}}) {
    if (!text->empty()) {
      json[name] = *text;
    }
  }
  return Dump(json) + "\n";
}

}  // namespace phidias::serve
