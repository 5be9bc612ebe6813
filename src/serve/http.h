#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace phidias::serve {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // of the target, without its query
  HttpHeaders headers;
  std::string body;
  std::string peer;  // address of the other end

  // The first header of this name, whatever the case of its letters; "" if there is none.
  std::string_view Header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers = {};  // besides Content-Type and those of the connection
  std::string body = {};
};

// Where the answer to one request goes. Every function may be called from any thread; what is said to a client that has
// gone away is dropped. A reply that is let go of before it is complete cuts the connection.
class HttpReply {
 public:
  virtual ~HttpReply() = default;

  // The whole answer at once,
  virtual void Send(HttpResponse response) = 0;
  // or its head (`body` is not looked at), pieces as they come, and the end.
  virtual void BeginStream(HttpResponse head) = 0;
  virtual void Write(std::string bytes) = 0;
  virtual void End() = 0;

  // Called at most once, in the connection's turn, if the client goes away before the answer is complete.
  virtual void OnGone(std::function<void()> callback) = 0;
  // Runs `work` in the connection's turn: on a thread of the server, never two at a time.
  virtual void Run(std::function<void()> work) = 0;
  // The same, `delay` later.
  virtual void RunAfter(std::chrono::steady_clock::duration delay, std::function<void()> work) = 0;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // On a thread of the server, which must not be kept waiting.
  virtual void Handle(HttpRequest request, std::shared_ptr<HttpReply> reply) = 0;
  // The answer to what isn't a request that Handle could see: malformed, too large, too slow.
  virtual HttpResponse Refusal(int status, std::string_view message) = 0;
};

struct HttpLimits {
  int64_t connections = 4096;
  int64_t header_bytes = 16 << 10;
  int64_t body_bytes = 4 << 20;
  double header_seconds = 10;  // from the first byte of a request to the end of its headers
  double body_seconds = 60;    // and from there to the end of its body
  double idle_seconds = 60;    // between requests on one connection
  double write_seconds = 30;   // without the client taking a byte
};

// The reason phrase of a status: "Not Found".
std::string_view ReasonOf(int status);

// The head of a response, up to and with the empty line. `framing`: the header that says where the body ends, or "".
std::string FormatHead(const HttpResponse& response, std::string_view framing, bool keep_alive);

}  // namespace phidias::serve
