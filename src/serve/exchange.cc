#include "serve/exchange.h"

#include <utility>

namespace phidias::serve {
namespace {

constexpr int kClientLeft = 499;  // nginx's number for it; only in log and metrics

}  // namespace

Exchange::Exchange(std::shared_ptr<HttpReply> reply, HttpHeaders headers, RequestRecord record,
                   std::string_view endpoint, ServeMetrics* metrics, const LogSink* log)
    : reply_(std::move(reply)),
      headers_(std::move(headers)),
      record_(std::move(record)),
      endpoint_(endpoint),
      metrics_(metrics),
      log_(log) {}

double Exchange::SecondsSinceBegin() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

void Exchange::Answer(HttpResponse response) {
  if (over_) {
    return;
  }
  response.headers.insert(response.headers.end(), headers_.begin(), headers_.end());
  const int status = response.status;
  reply_->Send(std::move(response));
  Over(status);
}

void Exchange::Fail(const ApiError& error) {
  record_.error = error.message;
  if (!streaming_) {
    return Answer(ErrorResponse(error));
  }
  Write("data: " + ErrorBody(error) + "\n\n");
  reply_->End();
  Over(error.status);
}

void Exchange::BeginStream() {
  HttpResponse head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers = headers_;
  head.headers.emplace_back("Cache-Control", "no-store");
  head.headers.emplace_back("X-Accel-Buffering", "no");
  reply_->BeginStream(std::move(head));
  streaming_ = true;
}

void Exchange::EndStream() {
  reply_->End();
  Over(200);
}

void Exchange::Gone() {
  Over(kClientLeft);
}

void Exchange::Over(int status) {
  if (over_) {
    return;
  }
  over_ = true;
  record_.status = status;
  record_.seconds = SecondsSinceBegin();
  metrics_->OnRequest(endpoint_, status, record_.seconds);
  if (*log_) {
    (*log_)(record_);
  }
}

}  // namespace phidias::serve
