#include "serve/http_session.h"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <charconv>
#include <chrono>

namespace phidias::serve {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr const char* kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr double kClosingSeconds = 2;  // for the peer to see the answer before the connection is cut
constexpr size_t kMaxUnsent =
    size_t{16} << 20;  // of a stream: more than that isn't kept for a client that doesn't read

// The reply that a handler holds.
class SessionReply final : public HttpReply {
 public:
  SessionReply(std::shared_ptr<HttpSession> session, int64_t serial) : session_(std::move(session)), serial_(serial) {}
  SessionReply(const SessionReply&) = delete;
  SessionReply& operator=(const SessionReply&) = delete;
  ~SessionReply() override {
    InTurn([session = session_, serial = serial_] { session->Abandon(serial); });
  }

  void Send(HttpResponse response) override {
    InTurn([session = session_, serial = serial_, response = std::move(response)] { session->Send(serial, response); });
  }
  void BeginStream(HttpResponse head) override {
    InTurn([session = session_, serial = serial_, head = std::move(head)] { session->BeginStream(serial, head); });
  }
  void Write(std::string bytes) override {
    InTurn([session = session_, serial = serial_, bytes = std::move(bytes)] { session->Write(serial, bytes); });
  }
  void End() override {
    InTurn([session = session_, serial = serial_] { session->End(serial); });
  }
  void OnGone(std::function<void()> callback) override {
    InTurn([session = session_, serial = serial_, callback = std::move(callback)]() mutable {
      session->SetOnGone(serial, std::move(callback));
    });
  }
  void Run(std::function<void()> work) override { asio::post(session_->executor(), std::move(work)); }
  void RunAfter(std::chrono::steady_clock::duration delay, std::function<void()> work) override {
    const auto timer = std::make_shared<asio::steady_timer>(session_->executor(), delay);
    timer->async_wait([timer, work = std::move(work)](const boost::system::error_code&) { work(); });
  }

 private:
  template <class Work>
  void InTurn(Work work) {
    asio::dispatch(session_->executor(), std::move(work));
  }

  std::shared_ptr<HttpSession> session_;
  int64_t serial_;
};

}  // namespace

HttpSession::HttpSession(Socket socket, SessionHub* hub)
    : socket_(std::move(socket)), hub_(hub), timer_(socket_.get_executor()) {
  ++hub_->count;
}

HttpSession::~HttpSession() {
  const std::lock_guard lock(hub_->mutex);
  hub_->sessions.erase(this);
  --hub_->count;
}

void HttpSession::Register() {
  const std::lock_guard lock(hub_->mutex);
  hub_->sessions.emplace(this, weak_from_this());
}

void HttpSession::Start() {
  Register();
  asio::dispatch(executor(), [self = shared_from_this()] {
    Error error;
    self->socket_.non_blocking(true, error);
    self->socket_.set_option(asio::ip::tcp::no_delay(true), error);
    const auto remote = self->socket_.remote_endpoint(error);
    self->peer_ = error ? "" : remote.address().to_string();
    if (self->hub_->draining) {  // since before Register: nobody else would close it
      return self->Close();
    }
    self->SetDeadline(self->hub_->limits.header_seconds);
    self->WaitReadable();
  });
}

void HttpSession::Refuse(int status, const char* message) {
  Register();
  asio::dispatch(executor(), [self = shared_from_this(), status, message] { self->Reject(status, message); });
}

void HttpSession::CloseIfIdle() {
  asio::post(executor(), [self = shared_from_this()] {
    if (self->state_ == State::kIdle) {
      self->Close();
    }
  });
}

void HttpSession::CloseNow() {
  asio::post(executor(), [self = shared_from_this()] { self->PeerIsGone(); });
}

void HttpSession::SetDeadline(double seconds) {
  const int64_t number = ++deadline_;
  timer_.expires_after(std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6)));
  timer_.async_wait([self = shared_from_this(), number](const Error& error) {
    if (!error && number == self->deadline_) {
      self->OnDeadline();
    }
  });
}

void HttpSession::ClearDeadline() {
  ++deadline_;
  timer_.cancel();
}

void HttpSession::OnDeadline() {
  switch (state_) {
    case State::kHead:
    case State::kBody: {
      Error ignored;
      socket_.cancel(ignored);
      Reject(408, state_ == State::kHead ? "the request's headers didn't come in time"
                                         : "the request's body didn't come in time");
      break;
    }
    case State::kBusy: PeerIsGone(); break;  // it takes nothing of what is written
    case State::kIdle:
    case State::kClosing: Close(); break;
    case State::kClosed: break;
  }
}

void HttpSession::WaitReadable() {
  waiting_ = true;
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](const Error& error) {
    self->waiting_ = false;
    if (error == asio::error::operation_aborted) {
      return;
    }
    self->OnReadable();
  });
}

void HttpSession::OnReadable() {
  if (state_ == State::kIdle) {
    ReadHead();
  } else if (state_ == State::kBusy) {
    WatchPeer();
  }
}

void HttpSession::WatchPeer() {
  char byte = 0;
  Error error;
  const size_t got = socket_.receive(asio::buffer(&byte, 1), Socket::message_peek, error);
  if (error == asio::error::would_block || error == asio::error::try_again) {
    WaitReadable();
  } else if (error == asio::error::eof) {
    OnPeerFinished();
  } else if (error) {
    PeerIsGone();
  } else {
    more_to_read_ = got > 0;  // of the next request; until that is read, nobody sees the peer go
  }
}

void HttpSession::OnPeerFinished() {
  half_closed_ = true;
  if (head_sent_ || !http11_) {
    return;  // the next write will tell
  }
  socket_.async_wait(Socket::wait_error, [self = shared_from_this(), serial = serial_](const Error& error) {
    if (error != asio::error::operation_aborted && self->state_ == State::kBusy && self->serial_ == serial) {
      self->PeerIsGone();
    }
  });
  Enqueue(kContinue);
}

void HttpSession::ReadHead() {
  state_ = State::kHead;
  more_to_read_ = false;
  SetDeadline(hub_->limits.header_seconds);
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(hub_->limits.header_bytes));
  parser_->body_limit(static_cast<uint64_t>(hub_->limits.body_bytes));
  http::async_read_header(socket_, buffer_, *parser_,
                          [self = shared_from_this()](const Error& error, size_t) { self->OnHead(error); });
}

void HttpSession::OnHead(const Error& error) {
  if (state_ != State::kHead) {
    return;  // too late
  }
  if (error) {
    return OnBody(error);
  }
  const std::string_view expect = parser_->get()[http::field::expect];
  if (!expect.empty() && !boost::beast::iequals(expect, "100-continue")) {
    return Reject(417, "the header Expect may only be 100-continue");
  }
  if (parser_->is_done()) {
    return Dispatch();
  }
  ReadBody();
  if (!expect.empty()) {
    Enqueue(kContinue);
  }
}

void HttpSession::ReadBody() {
  state_ = State::kBody;
  SetDeadline(hub_->limits.body_seconds);
  http::async_read(socket_, buffer_, *parser_,
                   [self = shared_from_this()](const Error& error, size_t) { self->OnBody(error); });
}

// The end of reading: with a whole request, or with what kept it from becoming one.
void HttpSession::OnBody(const Error& error) {
  if (state_ != State::kHead && state_ != State::kBody) {
    return;  // too late
  }
  if (!error) {
    return Dispatch();
  }
  if (error == http::error::header_limit) {
    return Reject(431, "the request's headers are too large");
  }
  if (error == http::error::body_limit) {
    return Reject(413, "the request's body is larger than the " + std::to_string(hub_->limits.body_bytes) +
                           " bytes that are allowed here");
  }
  const bool malformed = error.category() == make_error_code(http::error::bad_method).category() &&
                         error != http::error::end_of_stream && error != http::error::partial_message;
  if (malformed) {
    return Reject(400, "not a well-formed HTTP request: " + error.message());
  }
  Close();
}

HttpRequest HttpSession::TakeRequest() {
  auto message = parser_->release();
  HttpRequest request;
  request.method = message.method_string();
  const std::string_view target = message.target();
  request.path = target.substr(0, target.find('?'));
  for (const auto& field : message.base()) {
    request.headers.emplace_back(field.name_string(), field.value());
  }
  request.body = std::move(message.body());
  request.peer = peer_;
  keep_alive_ = message.keep_alive();
  http11_ = message.version() == 11;
  head_only_ = message.method() == http::verb::head;
  parser_.reset();
  return request;
}

void HttpSession::Dispatch() {
  ClearDeadline();
  state_ = State::kBusy;
  ++serial_;
  head_sent_ = false;
  complete_ = false;
  HttpRequest request = TakeRequest();
  more_to_read_ = buffer_.size() > 0;
  if (buffer_.size() == 0) {
    buffer_ = {};  // a body's memory isn't kept while the connection is idle
    WaitReadable();
  }
  hub_->handler->Handle(std::move(request), std::make_shared<SessionReply>(shared_from_this(), serial_));
}

void HttpSession::Reject(int status, std::string_view message) {
  ClearDeadline();
  state_ = State::kBusy;
  ++serial_;
  head_sent_ = false;
  complete_ = false;
  keep_alive_ = false;
  head_only_ = false;
  Send(serial_, hub_->handler->Refusal(status, message));
}

void HttpSession::Send(int64_t serial, const HttpResponse& response) {
  if (!IsOpen(serial) || head_sent_) {
    return;
  }
  keep_alive_ = keep_alive_ && !half_closed_ && !hub_->draining;
  const bool has_length = response.status != 204;
  const std::string length = "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  head_sent_ = true;
  complete_ = true;
  std::string bytes = FormatHead(response, has_length ? length : "", keep_alive_);
  if (!head_only_) {
    bytes += response.body;
  }
  Enqueue(bytes);
}

void HttpSession::BeginStream(int64_t serial, const HttpResponse& head) {
  if (!IsOpen(serial) || head_sent_) {
    return;
  }
  keep_alive_ = keep_alive_ && http11_ && !half_closed_ && !hub_->draining;
  head_sent_ = true;
  Enqueue(FormatHead(head, http11_ ? "Transfer-Encoding: chunked\r\n" : "", keep_alive_));
}

void HttpSession::Write(int64_t serial, std::string_view bytes) {
  if (!IsOpen(serial) || !head_sent_ || bytes.empty()) {
    return;
  }
  if (out_.size() > kMaxUnsent) {
    return PeerIsGone();
  }
  if (!http11_) {
    return Enqueue(bytes);
  }
  char size[16];
  const auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
  std::string chunk(size, end);
  Enqueue(chunk.append("\r\n").append(bytes).append("\r\n"));
}

void HttpSession::End(int64_t serial) {
  if (!IsOpen(serial) || !head_sent_) {
    return;
  }
  complete_ = true;
  Enqueue(http11_ ? "0\r\n\r\n" : "");
}

void HttpSession::Abandon(int64_t serial) {
  if (IsOpen(serial)) {
    on_gone_ = nullptr;
    Close();
  }
}

void HttpSession::SetOnGone(int64_t serial, std::function<void()> callback) {
  if (IsOpen(serial)) {
    on_gone_ = std::move(callback);
  } else if (state_ == State::kClosed) {
    callback();
  }
}

// Pieces that come while another is being written go out together.
void HttpSession::Enqueue(std::string_view bytes) {
  out_ += bytes;
  if (!is_writing_) {
    WriteMore();
  }
}

void HttpSession::WriteMore() {
  if (state_ == State::kClosed || state_ == State::kClosing) {
    return;
  }
  if (out_.empty()) {
    if (complete_) {
      FinishAnswer();
    }
    return;
  }
  writing_.clear();
  writing_.swap(out_);
  written_ = 0;
  WriteSome();
}

// Piece by piece, because the deadline is for the client to take anything at all: a long answer over a slow line is
// fine.
void HttpSession::WriteSome() {
  is_writing_ = true;
  if (state_ == State::kBusy) {
    SetDeadline(hub_->limits.write_seconds);
  }
  socket_.async_write_some(
      asio::buffer(writing_) + written_,
      [self = shared_from_this()](const Error& error, size_t bytes) { self->OnWritten(error, bytes); });
}

void HttpSession::OnWritten(const Error& error, size_t bytes) {
  is_writing_ = false;
  if (error) {
    return PeerIsGone();
  }
  written_ += bytes;
  if (written_ < writing_.size() && state_ != State::kClosed) {
    return WriteSome();
  }
  if (state_ == State::kBusy) {
    ClearDeadline();
  }
  WriteMore();
}

void HttpSession::FinishAnswer() {
  on_gone_ = nullptr;
  writing_ = {};
  out_ = {};
  if (!keep_alive_ || half_closed_ || hub_->draining) {
    return CloseGently();
  }
  complete_ = false;
  state_ = State::kIdle;
  if (more_to_read_) {
    return ReadHead();
  }
  SetDeadline(hub_->limits.idle_seconds);
  if (!waiting_) {
    WaitReadable();
  }
}

// A socket that is closed with bytes unread resets the connection, and the peer may then lose the answer. So what still
// comes is read for a moment.
void HttpSession::CloseGently() {
  state_ = State::kClosing;
  Error ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  SetDeadline(kClosingSeconds);
  scratch_.resize(size_t{1} << 14);
  Discard();
}

void HttpSession::Discard() {
  socket_.async_read_some(asio::buffer(scratch_), [self = shared_from_this()](const Error& error, size_t) {
    if (self->state_ != State::kClosing) {
      return;
    }
    if (error) {
      self->Close();
    } else {
      self->Discard();
    }
  });
}

void HttpSession::PeerIsGone() {
  const std::function<void()> callback = std::exchange(on_gone_, nullptr);
  const bool told = callback && !complete_;
  Close();
  if (told) {
    callback();
  }
}

void HttpSession::Close() {
  if (state_ == State::kClosed) {
    return;
  }
  state_ = State::kClosed;
  on_gone_ = nullptr;
  ClearDeadline();
  Error ignored;
  socket_.close(ignored);
  buffer_ = {};
}

}  // namespace phidias::serve
