#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "serve/http.h"

namespace phidias::serve {

class HttpSession;

// What the connections of one server share.
struct SessionHub {
  HttpHandler* handler = nullptr;
  HttpLimits limits;
  std::atomic<bool> draining{false};
  std::atomic<int64_t> count{0};
  std::mutex mutex;
  std::unordered_map<HttpSession*, std::weak_ptr<HttpSession>> sessions;  // open ones
};

// One connection: a request, its answer, the next request. Everything happens on the socket's strand.
//
// While an answer is being made, the socket is watched. A peer that has closed its sending half may still want the
// answer (`nc -N`, shutdown(SHUT_WR)) or may be gone for good, and the two look alike until something is sent. So if
// nothing of the answer has been sent yet, "100 Continue" is, which every client of HTTP/1.1 has to skip: a peer that
// is gone answers with a reset.
class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  HttpSession(Socket socket, SessionHub* hub);
  ~HttpSession();
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  // To be called once, before anything else.
  void Start();
  // Instead of Start(): answers with an error before reading anything.
  void Refuse(int status, const char* message);

  // From any thread.
  void CloseIfIdle();
  void CloseNow();

  // For the reply to request number `serial`: what comes for another one is dropped.
  void Send(int64_t serial, const HttpResponse& response);
  void BeginStream(int64_t serial, const HttpResponse& head);
  void Write(int64_t serial, std::string_view bytes);
  void End(int64_t serial);
  void Abandon(int64_t serial);
  void SetOnGone(int64_t serial, std::function<void()> callback);
  boost::asio::any_io_executor executor() { return socket_.get_executor(); }

 private:
  enum class State : uint8_t { kIdle, kHead, kBody, kBusy, kClosing, kClosed };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using Error = boost::system::error_code;

  void Register();
  void SetDeadline(double seconds);
  void ClearDeadline();
  void OnDeadline();
  void WaitReadable();
  void OnReadable();
  void WatchPeer();
  void OnPeerFinished();
  void ReadHead();
  void OnHead(const Error& error);
  void ReadBody();
  void OnBody(const Error& error);
  void Dispatch();
  HttpRequest TakeRequest();
  void Reject(int status, std::string_view message);
  bool IsOpen(int64_t serial) const { return state_ == State::kBusy && serial == serial_ && !complete_; }
  void Enqueue(std::string_view bytes);
  void WriteMore();
  void WriteSome();
  void OnWritten(const Error& error, size_t bytes);
  void FinishAnswer();
  void CloseGently();
  void Discard();
  void PeerIsGone();
  void Close();

  Socket socket_;
  SessionHub* hub_;
  boost::asio::steady_timer timer_;
  int64_t deadline_ = 0;  // number of the deadline that counts
  std::string peer_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::string scratch_;  // Discard reads into it

  State state_ = State::kIdle;
  int64_t serial_ = 0;         // of the request being answered
  bool waiting_ = false;       // OnReadable is to come
  bool more_to_read_ = false;  // bytes of the next request have come
  bool half_closed_ = false;   // the peer sends no more
  bool keep_alive_ = false;
  bool http11_ = true;
  bool head_only_ = false;
  bool head_sent_ = false;
  bool complete_ = false;  // the answer, though perhaps not yet written
  std::function<void()> on_gone_;
  std::string out_;      // to write
  std::string writing_;  // being written
  size_t written_ = 0;   // bytes of it
  bool is_writing_ = false;
};

}  // namespace phidias::serve
