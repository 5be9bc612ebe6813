#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace phidias::serve {

// What /metrics shows, in Prometheus's text format. Every function may be called from any thread.
class ServeMetrics {
 public:
  ServeMetrics();
  ~ServeMetrics();
  ServeMetrics(const ServeMetrics&) = delete;
  ServeMetrics& operator=(const ServeMetrics&) = delete;

  // An answer was given (or its client left: status 499).
  void OnRequest(std::string_view endpoint, int status, double seconds);
  // Requests that run and that wait.
  void OnQueue(int64_t running, int64_t waiting);
  // A choice was begun, after `waited` seconds; `cached` of its prompt's tokens were in a KV cache.
  void OnBegun(double waited, int64_t prompt_tokens, int64_t cached);
  // A choice got tokens, `seconds` after its request came (`first`) or after the last ones.
  void OnTokens(int64_t tokens, bool first, double seconds);
  // A step of the engine is done.
  void OnStep();
  // Choices that run, positions that their KV caches hold, positions kept in caches that nobody uses, bytes of all.
  void OnKv(int64_t sequences, int64_t used, int64_t held, int64_t bytes);
  // What is known once the model is loaded.
  void OnModel(int64_t parallel, int64_t context);

  std::string Text(int64_t connections);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace phidias::serve
