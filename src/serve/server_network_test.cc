// What the network and its clients can do to the server: those that leave, don't read, come in numbers, send what isn't
// HTTP, or may not; and how the server begins and ends.
#include "tests/support/server_test_util.h"

namespace phidias::serve {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ServerNetworkTest : public ServerTest {};

TEST_F(ServerNetworkTest, AClientThatLeavesStopsItsGeneration) {
  Start();
  for (const bool stream : {true, false}) {
    json request = Greedy("abc", 400);
    request["n"] = 16;  // more than can finish in the meantime
    request["ignore_eos"] = true;
    request["stream"] = stream;
    {
      HttpClient client(port());
      client.Send(HttpClient::Format("POST", "/v1/completions", request.dump()));
      ASSERT_TRUE(WaitForMetric("phidias_requests_processing", 1));
    }
    ASSERT_TRUE(WaitForMetric("phidias_requests_processing", 0));
    EXPECT_EQ(WaitForRecord(499).path, "/v1/completions");
    const std::lock_guard lock(mutex_);
    records_.clear();
  }
  EXPECT_LT(Metric("phidias_generated_tokens_total"), 2 * 16 * 400);
  EXPECT_EQ(Complete(Greedy("Once upon", 20)).Json()["choices"][0]["text"], Expected("Once upon", 20).text);
}

TEST_F(ServerNetworkTest, AHalfClosedClientStillGetsItsAnswer) {
  Start();
  for (const bool stream : {true, false}) {
    json request = Greedy("abc", 200);
    request["stream"] = stream;
    HttpClient client(port());
    client.Send(HttpClient::Format("POST", "/v1/completions", request.dump()));
    client.CloseSending();
    const HttpAnswer answer = client.Read();
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.complete);
    EXPECT_TRUE(client.ClosedWithin(10000));
  }
}

TEST_F(ServerNetworkTest, AFullQueueRefusesAndSaysWhenToComeBack) {
  Start({}, {.parallel = 1, .context = kContext, .queue = 1});
  json request = Greedy("abc", 500);
  request["ignore_eos"] = true;
  request["n"] = 4;
  HttpClient running(port());
  running.Send(HttpClient::Format("POST", "/v1/completions", request.dump()));
  ASSERT_TRUE(WaitForMetric("phidias_requests_processing", 1));
  HttpClient waiting(port());
  waiting.Send(HttpClient::Format("POST", "/v1/completions", request.dump()));
  ASSERT_TRUE(WaitForMetric("phidias_requests_waiting", 1));
  const HttpAnswer refused = Complete(Greedy("abc", 1));
  EXPECT_EQ(refused.status, 429);
  EXPECT_GE(std::stoi(refused.headers.at("retry-after")), 1);
  EXPECT_EQ(refused.Json()["error"]["type"], "rate_limit_error");
  running.Close();
  EXPECT_EQ(waiting.Read().status, 200);
}

TEST_F(ServerNetworkTest, AShortRequestDoesntWaitForAllOfALargeOne) {
  Start({}, {.parallel = 1, .context = kContext});
  json large = Greedy("abc", 100);
  large["ignore_eos"] = true;
  large["n"] = 20;
  HttpClient first(port());
  first.Send(HttpClient::Format("POST", "/v1/completions", large.dump()));
  ASSERT_TRUE(WaitForMetric("phidias_requests_processing", 1));
  EXPECT_EQ(Complete(Greedy("xyz", 1)).status, 200);
  EXPECT_TRUE(WaitForMetric("phidias_requests_processing", 1)) << "the large one goes on";
  first.Close();
}

TEST_F(ServerNetworkTest, WhileTheModelLoads) {
  StartWithoutModel();
  const HttpAnswer health = Ask("GET", "/health");
  EXPECT_EQ(health.status, 503);
  EXPECT_TRUE(health.headers.contains("retry-after"));
  EXPECT_EQ(Complete(Greedy("a", 1)).status, 503);
  EXPECT_EQ(Ask("GET", "/v1/models").status, 503);
  EXPECT_EQ(Ask("GET", "/").status, 200);
  ASSERT_TRUE(SetModel({.parallel = 1, .context = 64}).ok());
  EXPECT_EQ(Ask("GET", "/health").body, R"({"status":"ok"})");
}

TEST_F(ServerNetworkTest, KeysAreNeededWhereTheyAreSet) {
  ServerOptions options;
  options.access.api_keys = {"secret-one", "secret-two"};
  Start(std::move(options));
  const auto status = [&](const std::string& header) { return Ask("GET", "/v1/models", "", header).status; };
  EXPECT_EQ(status(""), 401);
  EXPECT_EQ(status("Authorization: Bearer secret-two\r\n"), 200);
  EXPECT_EQ(status("authorization: bearer secret-one\r\n"), 200);
  EXPECT_EQ(status("Authorization: Bearer secret\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer secret-onesecret-one\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer \r\n"), 401);
  EXPECT_EQ(status("Authorization: Basic secret-one\r\n"), 401);
  EXPECT_EQ(Ask("GET", "/health").status, 200);
  EXPECT_EQ(Ask("GET", "/metrics").status, 401);
  EXPECT_EQ(Complete(Greedy("a", 1)).Json()["error"]["code"], "invalid_api_key");
}

TEST_F(ServerNetworkTest, OnlyListedOriginsMayUseIt) {
  ServerOptions options;
  options.access.cors_origins = {"https://chat.example"};
  options.access.api_keys = {"k"};
  Start(std::move(options));
  const std::string listed = "Origin: https://chat.example\r\n";
  const HttpAnswer preflight =
      Ask("OPTIONS", "/v1/chat/completions", "",
          listed +
              "Access-Control-Request-Method: POST\r\n"
              "Access-Control-Request-Headers: authorization,content-type,x-stainless-os,x-evil\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.headers.at("access-control-allow-origin"), "https://chat.example");
  EXPECT_EQ(preflight.headers.at("access-control-allow-headers"), "authorization, content-type, x-stainless-os");
  const HttpAnswer unauthorised = Ask("POST", "/v1/completions", "{}", listed);
  EXPECT_EQ(unauthorised.status, 401);
  EXPECT_EQ(unauthorised.headers.at("access-control-allow-origin"), "https://chat.example") << "errors are to be seen";
  const HttpAnswer foreign = Ask("POST", "/v1/completions", "{}", "Origin: https://evil.example\r\n");
  EXPECT_EQ(foreign.status, 403);
  EXPECT_FALSE(foreign.headers.contains("access-control-allow-origin"));
  EXPECT_EQ(Ask("POST", "/v1/completions", "{}", "Origin: http://localhost\r\n").status, 401) << "its own page";
}

TEST_F(ServerNetworkTest, RequestIdsGoThroughUnlessTheyAreDangerous) {
  Start();
  EXPECT_EQ(Ask("GET", "/health", "", "X-Request-Id: mine-1\r\n").headers.at("x-request-id"), "mine-1");
  EXPECT_THAT(Ask("GET", "/health", "", "X-Request-Id: a b\r\n").headers.at("x-request-id"), HasSubstr("req-"));
}

TEST_F(ServerNetworkTest, LimitsOfHeadersBodiesAndTime) {
  ServerOptions options;
  options.http.limits.body_bytes = 1000;
  options.http.limits.header_bytes = 2000;
  options.http.limits.header_seconds = 0.3;
  options.http.limits.body_seconds = 0.3;
  options.http.limits.idle_seconds = 0.3;
  Start(std::move(options));
  EXPECT_EQ(Ask("POST", "/v1/completions", std::string(1001, 'x')).status, 413);
  EXPECT_EQ(Ask("GET", "/health", "", "X-Long: " + std::string(3000, 'x') + "\r\n").status, 431);
  HttpClient garbage(port());
  garbage.Send("\x16\x03\x01 hello\r\n\r\n");
  EXPECT_EQ(garbage.Read().status, 400);
  HttpClient slow_head(port());
  slow_head.Send("GET /health HTTP/1.1\r\nHo");
  HttpClient slow_body(port());
  slow_body.Send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
  HttpClient silent(port());
  HttpClient idle(port());
  EXPECT_EQ(idle.Ask("GET", "/health").status, 200);
  EXPECT_EQ(slow_head.Read().status, 408);
  EXPECT_EQ(slow_body.Read().status, 408);
  EXPECT_TRUE(silent.ClosedWithin(5000));
  EXPECT_EQ(silent.data(), "");
  EXPECT_TRUE(idle.ClosedWithin(5000));
  EXPECT_EQ(Ask("GET", "/health").status, 200);
}

TEST_F(ServerNetworkTest, ChunkedBodiesExpectationsAndPipelines) {
  Start();
  HttpClient client(port());
  const std::string body = Greedy("abc", 3).dump();
  char size[16];
  std::snprintf(size, sizeof size, "%zx", body.size());
  client.Send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(size) +
              "\r\n" + body + "\r\n0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
  client.Send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n");
  ASSERT_TRUE(client.WaitFor("100 Continue"));
  client.Send(body);
  EXPECT_EQ(client.Read().status, 200);
  client.Send(HttpClient::Format("POST", "/v1/completions", body) + HttpClient::Format("GET", "/health", "") +
              HttpClient::Format("HEAD", "/health", "") + HttpClient::Format("GET", "/v1/models", ""));
  EXPECT_EQ(client.Read().Json()["object"], "text_completion");
  EXPECT_EQ(client.Read().body, R"({"status":"ok"})");
  EXPECT_EQ(client.Read(true).headers.at("content-length"), "15");
  EXPECT_EQ(client.Read().Json()["object"], "list");
  client.Send("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.Read().headers.at("connection"), "close");
  EXPECT_TRUE(client.ClosedWithin(5000));
}

TEST_F(ServerNetworkTest, ManyConnectionsAndTooMany) {
  ServerOptions options;
  options.http.limits.connections = 300;
  Start(std::move(options));
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < 300; ++i) {
    clients.push_back(std::make_unique<HttpClient>(port()));
    ASSERT_TRUE(clients.back()->connected());
  }
  EXPECT_EQ(clients[0]->Ask("GET", "/health").status, 200);
  EXPECT_EQ(clients[299]->Ask("GET", "/health").status, 200);
  const HttpAnswer refused = HttpClient(port()).Read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("too many connections"));
  clients.clear();
  for (int i = 0; i < 1000 && Ask("GET", "/health").status != 200; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(Ask("GET", "/health").status, 200);
}

TEST_F(ServerNetworkTest, AClientThatDoesntReadIsCutOff) {
  ServerOptions options;
  options.http.limits.write_seconds = 0.3;
  Start(std::move(options), {.parallel = 4, .context = kContext});
  HttpClient client(port(), 4096);
  json request = Greedy("abc", 500);
  request["ignore_eos"] = true;
  request["stream"] = true;
  request["n"] = 128;
  request["logprobs"] = 20;
  client.Send(HttpClient::Format("POST", "/v1/completions", request.dump()));
  EXPECT_EQ(WaitForRecord(499).status, 499);
  EXPECT_TRUE(WaitForMetric("phidias_requests_processing", 0));
}

TEST_F(ServerNetworkTest, ShutdownFinishesWhatIsUnderWay) {
  Start({}, {.parallel = 1, .context = kContext});
  json request = Greedy("abc", 300);
  request["ignore_eos"] = true;
  request["n"] = 16;  // enough that it is still under way at the shutdown
  HttpClient client(port());
  client.Send(HttpClient::Format("POST", "/v1/completions", request.dump()));
  HttpClient idle(port());
  EXPECT_EQ(idle.Ask("GET", "/health").status, 200);
  ASSERT_TRUE(WaitForMetric("phidias_requests_processing", 1));
  const int closed_port = port();
  server_->Shutdown(30);
  const HttpAnswer answer = client.Read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_EQ(answer.Json()["usage"]["completion_tokens"], 16 * 300);
  EXPECT_TRUE(idle.ClosedWithin(1000));
  EXPECT_FALSE(HttpClient(closed_port).connected());
}

TEST_F(ServerNetworkTest, ShutdownCutsWhatTakesTooLong) {
  Start({}, {.parallel = 1, .context = kContext});
  json request = Greedy("abc", 500);
  request["ignore_eos"] = true;
  request["n"] = 128;
  HttpClient whole(port());
  whole.Send(HttpClient::Format("POST", "/v1/completions", request.dump()));
  ASSERT_TRUE(WaitForMetric("phidias_requests_processing", 1));
  request["stream"] = true;
  HttpClient stream(port());
  stream.Send(HttpClient::Format("POST", "/v1/completions", request.dump()));
  ASSERT_TRUE(stream.WaitFor("data: "));
  HttpClient waiting(port());
  server_->Shutdown(0);
  EXPECT_EQ(whole.Read().status, 503);
  const HttpAnswer cut = stream.Read();
  EXPECT_EQ(cut.status, 200);
  EXPECT_THAT(cut.body, HasSubstr("\"error\""));
  EXPECT_THAT(cut.body, Not(HasSubstr("[DONE]")));
}

TEST_F(ServerNetworkTest, HostsAndPortsThatCantBe) {
  Start();
  ServerOptions taken;
  taken.http.port = port();
  const auto again = Server::Start(std::move(taken));
  ASSERT_FALSE(again.ok());
  EXPECT_THAT(again.status().message(), HasSubstr("cannot listen"));
  ServerOptions unknown;
  unknown.http.host = "no.such.host.invalid";
  EXPECT_EQ(Server::Start(std::move(unknown)).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace phidias::serve
