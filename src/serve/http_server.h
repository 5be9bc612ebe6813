#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/status.h"
#include "serve/http.h"

namespace phidias::serve {

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8080;  // 0: any free one
  int threads = 2;
  HttpLimits limits;
};

// HTTP/1.1 over TCP: reads requests, hands them to a handler, writes what it replies. Knows nothing of what they mean.
class HttpServer {
 public:
  // Listens, and serves from now on. `handler` outlives the server.
  // Errors: a host that isn't known, an address in use or not allowed.
  static Result<std::unique_ptr<HttpServer>> Start(const HttpOptions& options, HttpHandler* handler);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  virtual ~HttpServer() = default;

  virtual int port() const = 0;
  virtual int64_t connections() const = 0;  // open now
  // No new connections; idle ones are closed, the others after the answer they wait for.
  virtual void StopAccepting() = 0;
  // Closes everything and waits for the threads. Handlers are not called after it.
  virtual void Stop() = 0;

 protected:
  HttpServer() = default;
};

}  // namespace phidias::serve
