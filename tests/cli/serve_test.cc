// `phidias serve` as a process: the demo model's texts are those of `phidias run`, signals end it well, flags that
// can't be right are told. What the server does with requests is tested in src/serve.

#include "tests/cli/cli_test_util.h"
#include "tests/support/http_client.h"
#include "tests/support/server_process.h"

namespace phidias::testing {
namespace {

using nlohmann::json;
using testing_support::HttpAnswer;
using testing_support::HttpClient;
using testing_support::ServerProcess;

std::vector<std::string> Serve(std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {PHIDIAS_PROGRAM, "serve", Demo(), "--port", "0", "--parallel", "2"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(ServerProgram, SaysWhatRunSays) {
  ServerProcess server(Serve());
  const int port = server.Port();
  ASSERT_GT(port, 0) << server.err();
  ASSERT_TRUE(server.WaitFor("ready: demo"));
  HttpClient client(port);
  const std::string prompt = "Once upon a time, there was a";
  const auto text = [&](const json& request) {
    return client.Ask("POST", "/v1/completions", request.dump()).Json()["choices"][0]["text"].get<std::string>();
  };
  EXPECT_EQ(text({{"prompt", prompt}, {"max_tokens", 40}, {"temperature", 0}}), Output({"run", "-n", "40", prompt}));
  EXPECT_EQ(text({{"prompt", prompt}, {"max_tokens", 40}, {"seed", 7}}),
            Output({"run", "-n", "40", "--seed", "7", prompt}))
      << "the same defaults, too";
  EXPECT_EQ(text({{"prompt", prompt}, {"max_tokens", 40}, {"seed", 7}, {"temperature", 1.2}, {"top_k", 10}}),
            Output({"run", "-n", "40", "--seed", "7", "--temp", "1.2", "--top-k", "10", prompt}));
  server.Signal(SIGTERM);
  ASSERT_TRUE(server.WaitFor("shutting down"));
  EXPECT_EQ(server.Wait(), 0);
  EXPECT_NE(server.err().find("\"POST /v1/completions\" 200"), std::string::npos) << server.err();
  EXPECT_EQ(server.err().find(prompt), std::string::npos) << "no prompts in the log";
}

TEST(ServerProgram, TermLetsAStreamFinish) {
  ServerProcess server(Serve({"--log-format", "json"}));
  const int port = server.Port();
  ASSERT_TRUE(server.WaitFor("ready"));
  HttpClient client(port);
  client.Send(HttpClient::Format("POST", "/v1/completions",
                                 R"({"prompt":"Once","max_tokens":300,"ignore_eos":true,"stream":true})"));
  ASSERT_TRUE(client.WaitFor("data: "));
  server.Signal(SIGTERM);
  const HttpAnswer answer = client.Read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.body.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(server.Wait(), 0);
}

TEST(ServerProgram, FlagsThatCantBeRight) {
  ExpectFailure({"serve", Demo(), "--port", "70000"}, 2, "--port");
  ExpectFailure({"serve", Demo(), "--port", "0", "-q", "-c", "100000"}, 2, "max_position_embeddings");
  ExpectFailure({"serve", Demo(), "--cors-origins", "chat.example"}, 2, "is no origin");
  ExpectFailure({"serve", Demo(), "--host", "no.such.host.invalid"}, 2, "no such address");
  ExpectFailure({"serve", "/no/such/model"}, 3, "no such file");
  ExpectFailure({"serve", Demo(), "--api-key-file", "/no/such/file"}, 3, "/no/such/file");
}

}  // namespace
}  // namespace phidias::testing
