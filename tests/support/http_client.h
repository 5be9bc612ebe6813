#pragma once

// A plain HTTP client on a socket, for tests of the server: it says exactly the bytes it is told to.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace phidias::testing_support {

struct HttpAnswer {
  int status = 0;                              // 0: none came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // without chunks
  bool complete = false;                       // the body came to its end
  nlohmann::json Json() const {
    nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << body;
    return json;
  }
  // The data of a stream's events.
  std::vector<std::string> Events() const {
    std::vector<std::string> events;
    for (size_t begin = 0; begin < body.size();) {
      const size_t end = body.find("\n\n", begin);
      EXPECT_NE(end, std::string::npos) << "the stream ends within an event";
      EXPECT_EQ(body.compare(begin, 6, "data: "), 0) << body.substr(begin, 40);
      if (end == std::string::npos) {
        break;
      }
      events.push_back(body.substr(begin + 6, end - begin - 6));
      begin = end + 2;
    }
    return events;
  }
};

class HttpClient {
 public:
  explicit HttpClient(int port, int receive_buffer = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient() { Close(); }

  bool connected() const { return connected_; }
  void Close() {
    if (fd_ >= 0) {
      close(fd_);
      fd_ = -1;
    }
  }
  // We send no more, but still listen.
  void CloseSending() { shutdown(fd_, SHUT_WR); }

  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        return false;
      }
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  static std::string Format(const std::string& method, const std::string& path, const std::string& body,
                            const std::string& headers = "") {
    std::string text = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
    if (!body.empty() || method == "POST") {
      text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    }
    return text + "\r\n" + body;
  }

  // Waits until what has come holds `text`.
  bool WaitFor(const std::string& text) {
    while (data_.find(text) == std::string::npos) {
      if (!Receive()) {
        return false;
      }
    }
    return true;
  }

  // The next answer; 100 Continue is passed over and counted.
  HttpAnswer Read(bool no_body = false) {
    HttpAnswer answer;
    do {
      answer = HttpAnswer();
      if (!WaitFor("\r\n\r\n")) {
        return answer;
      }
      ParseHead(&answer);
      continues_ += answer.status == 100 ? 1 : 0;
    } while (answer.status == 100);
    if (no_body || answer.status == 204) {
      answer.complete = true;
    } else if (answer.headers["transfer-encoding"] == "chunked") {
      ReadChunks(&answer);
    } else if (answer.headers.contains("content-length")) {
      const size_t size = std::stoul(answer.headers["content-length"]);
      while (data_.size() < size && Receive()) {
      }
      answer.complete = data_.size() >= size;
      answer.body = data_.substr(0, size);
      data_.erase(0, size);
    } else {
      while (Receive()) {
      }
      answer.complete = true;
      answer.body = std::exchange(data_, {});
    }
    return answer;
  }

  HttpAnswer Ask(const std::string& method, const std::string& path, const std::string& body = "",
                 const std::string& headers = "") {
    Send(Format(method, path, body, headers));
    return Read(method == "HEAD");
  }

  // Whether the other end closes within the time.
  bool ClosedWithin(int milliseconds) {
    timeout_ = milliseconds;
    while (Receive()) {
    }
    return closed_;
  }
  const std::string& data() const { return data_; }
  int continues() const { return continues_; }

 private:
  bool Receive() {
    pollfd wait = {fd_, POLLIN, 0};
    if (fd_ < 0 || poll(&wait, 1, timeout_) <= 0) {
      return false;
    }
    char buffer[1 << 14];
    const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
    if (got <= 0) {
      closed_ = true;
      return false;
    }
    data_.append(buffer, static_cast<size_t>(got));
    return true;
  }

  void ParseHead(HttpAnswer* answer) {
    const size_t end = data_.find("\r\n\r\n");
    std::string head = data_.substr(0, end + 2);
    data_.erase(0, end + 4);
    answer->status = std::stoi(head.substr(9, 3));
    for (size_t begin = head.find("\r\n") + 2; begin < head.size();) {
      const size_t line_end = head.find("\r\n", begin);
      const size_t colon = head.find(": ", begin);
      std::string name = head.substr(begin, colon - begin);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      answer->headers[name] = head.substr(colon + 2, line_end - colon - 2);
      begin = line_end + 2;
    }
  }

  void ReadChunks(HttpAnswer* answer) {
    while (WaitFor("\r\n")) {
      const size_t line = data_.find("\r\n");
      const size_t size = std::stoul(data_.substr(0, line), nullptr, 16);
      while (data_.size() < line + 2 + size + 2) {
        if (!Receive()) {
          return;
        }
      }
      answer->body += data_.substr(line + 2, size);
      data_.erase(0, line + 2 + size + 2);
      if (size == 0) {
        answer->complete = true;
        return;
      }
    }
  }

  int fd_ = -1;
  int timeout_ = 60000;
  bool connected_ = false;
  bool closed_ = false;
  int continues_ = 0;
  std::string data_;
};

}  // namespace phidias::testing_support
