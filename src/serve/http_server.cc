#include "serve/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <thread>
#include <vector>

#include "common/str.h"
#include "serve/http_session.h"

namespace phidias::serve {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = boost::system::error_code;

// So many connections over the limit are told that they are; more are just closed.
constexpr int64_t kMaxRefused = 256;

class AsioHttpServer final : public HttpServer {
 public:
  AsioHttpServer(const HttpOptions& options, HttpHandler* handler)
      : options_(options), acceptor_(asio::make_strand(io_)), retry_(acceptor_.get_executor()) {
    hub_.handler = handler;
    hub_.limits = options.limits;
  }
  AsioHttpServer(const AsioHttpServer&) = delete;
  AsioHttpServer& operator=(const AsioHttpServer&) = delete;
  ~AsioHttpServer() override { Stop(); }

  Status Listen() {
    Error error;
    tcp::resolver resolver(io_);
    const auto found =
        resolver.resolve(options_.host, std::to_string(options_.port), tcp::resolver::flags::passive, error);
    if (error || found.empty()) {
      return InvalidArgument("host ", Quoted(options_.host), ": no such address (", error.message(), ")");
    }
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) {
      acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    }
    if (!error) {
      acceptor_.bind(endpoint, error);
    }
    if (!error) {
      acceptor_.listen(asio::socket_base::max_listen_connections, error);
    }
    if (error) {
      return IoError("cannot listen on ", options_.host, " port ", options_.port, ": ", error.message());
    }
    port_ = acceptor_.local_endpoint(error).port();
    return {};
  }

  void Serve() {
    asio::post(acceptor_.get_executor(), [this] { Accept(); });
    for (int i = 0; i < options_.threads; ++i) {
      threads_.emplace_back([this] { io_.run(); });
    }
  }

  int port() const override { return port_; }
  int64_t connections() const override { return hub_.count.load(); }

  void StopAccepting() override {
    hub_.draining = true;
    asio::post(acceptor_.get_executor(), [this] { CloseAcceptor(); });
    ForEachSession([](HttpSession& session) { session.CloseIfIdle(); });
  }

  void Stop() override {
    if (threads_.empty()) {
      return;
    }
    StopAccepting();
    ForEachSession([](HttpSession& session) { session.CloseNow(); });
    work_.reset();  // the threads end when the last connection is closed
    for (std::thread& thread : threads_) {
      thread.join();
    }
    threads_.clear();
  }

 private:
  template <class Action>
  void ForEachSession(Action action) {
    std::vector<std::shared_ptr<HttpSession>> sessions;
    {
      const std::lock_guard lock(hub_.mutex);
      for (const auto& [raw, weak] : hub_.sessions) {
        if (std::shared_ptr<HttpSession> session = weak.lock()) {
          sessions.push_back(std::move(session));
        }
      }
    }
    for (const auto& session : sessions) {
      action(*session);
    }
  }

  void CloseAcceptor() {
    Error ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  }

  void Accept() {
    acceptor_.async_accept(asio::make_strand(io_), [this](const Error& error, tcp::socket socket) {
      if (!acceptor_.is_open()) {
        return;
      }
      if (error) {  // out of file descriptors, mostly: a pause, so that it isn't tried all the time
        retry_.expires_after(std::chrono::milliseconds(50));
        retry_.async_wait([this](const Error& cancelled) {
          if (!cancelled && acceptor_.is_open()) {
            Accept();
          }
        });
        return;
      }
      Admit(std::move(socket));
      Accept();
    });
  }

  void Admit(tcp::socket socket) {
    const int64_t others = hub_.count.load();
    if (others >= hub_.limits.connections + kMaxRefused) {
      return;
    }
    const auto session = std::make_shared<HttpSession>(std::move(socket), &hub_);
    if (others >= hub_.limits.connections) {
      session->Refuse(503, "too many connections");
    } else {
      session->Start();
    }
  }

  HttpOptions options_;
  SessionHub hub_;  // outlives io_, whose handlers hold sessions
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  int port_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpOptions& options, HttpHandler* handler) {
  auto server = std::make_unique<AsioHttpServer>(options, handler);
  RETURN_IF_ERROR(server->Listen());
  server->Serve();
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace phidias::serve
