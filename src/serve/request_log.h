#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace phidias::serve {

// What the log says about one request.
struct RequestRecord {
  std::string id;
  std::string peer;
  std::string method;
  std::string path;
  int status = 0;
  double seconds = 0;
  double first_token_seconds = 0;  // 0: none came
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  std::string finish;  // of the first choice
  std::string error;
  std::string prompt;  // only if the log is to have it
};

// Called from several threads, one call at a time for each connection.
using LogSink = std::function<void(const RequestRecord& record)>;

// One line, newline included. Whatever a client put into its request can't break it.
std::string LogText(const RequestRecord& record);
std::string LogJson(const RequestRecord& record);

}  // namespace phidias::serve
