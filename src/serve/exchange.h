#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "serve/api_error.h"
#include "serve/http.h"
#include "serve/metrics.h"
#include "serve/request_log.h"

namespace phidias::serve {

// One request and its answer: puts on every answer what all of them carry, and tells log and metrics when it is over.
// To be used in the connection's turn alone.
class Exchange {
 public:
  // `headers`: for every answer. `endpoint`: its name in the metrics.
  Exchange(std::shared_ptr<HttpReply> reply, HttpHeaders headers, RequestRecord record, std::string_view endpoint,
           ServeMetrics* metrics, const LogSink* log);

  void Answer(HttpResponse response);
  void Fail(const ApiError& error);

  // An answer in pieces of text/event-stream.
  void BeginStream();
  bool streaming() const { return streaming_; }
  void Write(std::string bytes) { reply_->Write(std::move(bytes)); }
  void EndStream();

  // The client left before the end.
  void Gone();
  bool over() const { return over_; }

  HttpReply& reply() { return *reply_; }
  RequestRecord& record() { return record_; }
  double SecondsSinceBegin() const;

 private:
  void Over(int status);

  std::shared_ptr<HttpReply> reply_;
  HttpHeaders headers_;
  RequestRecord record_;
  std::string endpoint_;
  ServeMetrics* metrics_;
  const LogSink* log_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  bool streaming_ = false;
  bool over_ = false;
};

}  // namespace phidias::serve
