// The server over loopback sockets: what clients of OpenAI's API get, and what the network can do to it. The texts'
// oracle is Generate(), which `phidias run` calls.
#include "serve/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "engine/generate.h"
#include "tests/support/http_client.h"
#include "tests/support/random_model.h"

namespace phidias::serve {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using testing_support::HttpAnswer;
using testing_support::HttpClient;
using testing_support::RandomModel;
using testing_support::SmallConfig;

constexpr int64_t kContext = 512;

LoadedModel TestModel() {
  PhiConfig config = SmallConfig();
  config.max_position_embeddings = kContext;
  return RandomModel(config);
}

const LoadedModel& SharedModel() {
  static const LoadedModel model = TestModel();
  return model;
}

// A server with a model, and how to ask it.
class ServerTest : public ::testing::Test {
 protected:
  void Start(ServerOptions options = {}, SchedulerOptions scheduler = {.parallel = 4, .context = kContext}) {
    StartWithoutModel(std::move(options));
    ASSERT_EQ(SetModel(scheduler).message(), "");
  }
  void StartWithoutModel(ServerOptions options = {}) {
    options.http.port = 0;
    if (!options.log) {
      options.log = [this](const RequestRecord& record) {
        const std::lock_guard lock(mutex_);
        records_.push_back(record);
      };
    }
    auto server = Server::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = *std::move(server);
  }
  Status SetModel(SchedulerOptions scheduler) {
    return server_->SetModel(&SharedModel(), {.names = {"tiny", "other"}, .scheduler = scheduler});
  }

  int port() const { return server_->port(); }
  HttpAnswer Ask(const std::string& method, const std::string& path, const std::string& body = "",
                 const std::string& headers = "") {
    HttpClient client(port());
    return client.Ask(method, path, body, headers);
  }
  HttpAnswer Post(const std::string& path, const json& body) { return Ask("POST", path, body.dump()); }
  HttpAnswer Complete(const json& body) { return Post("/v1/completions", body); }
  HttpAnswer Chat(const json& body) { return Post("/v1/chat/completions", body); }

  // The value of a metric without labels.
  double Metric(const std::string& name) {
    const std::string text = Ask("GET", "/metrics").body;
    const size_t at = text.find("\n" + name + " ");
    EXPECT_NE(at, std::string::npos) << name;
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }
  bool WaitForMetric(const std::string& name, double value) {
    for (int i = 0; i < 2000; ++i) {
      if (Metric(name) == value) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  std::vector<RequestRecord> Records() {
    const std::lock_guard lock(mutex_);
    return records_;
  }
  // The record of the first answer with this status, which the log may get a moment after the client.
  RequestRecord WaitForRecord(int status) {
    for (int i = 0; i < 2000; ++i) {
      for (const RequestRecord& record : Records()) {
        if (record.status == status) {
          return record;
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ADD_FAILURE() << "no record with status " << status;
    return {};
  }

  std::mutex mutex_;
  std::vector<RequestRecord> records_;
  std::unique_ptr<Server> server_;
};

// What `phidias run` says: the same call.
GenerateResult Expected(const std::string& prompt, int64_t tokens, SamplingParams sampling = {},
                        std::vector<std::string> stop = {}) {
  static const LoadedModel model = TestModel();  // the server steps the other one
  GenerateOptions options;
  options.sequence.sampling = sampling;
  options.sequence.max_new_tokens = tokens;
  options.sequence.stop = std::move(stop);
  auto ids = model.tokenizer->Encode(prompt, false);
  EXPECT_TRUE(ids.ok());
  auto result = Generate(model, *ids, options, [](std::string_view) {});
  EXPECT_TRUE(result.ok()) << result.status().message();
  return *std::move(result);
}

json Greedy(const std::string& prompt, int64_t tokens) {
  return {{"prompt", prompt}, {"max_tokens", tokens}, {"temperature", 0}};
}

TEST_F(ServerTest, CompletionIsWhatRunSays) {
  Start();
  const HttpAnswer answer = Complete(Greedy("Once upon", 20));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json body = answer.Json();
  const GenerateResult expected = Expected("Once upon", 20);
  EXPECT_EQ(body["choices"][0]["text"], expected.text);
  EXPECT_EQ(body["choices"][0]["finish_reason"], expected.finish_reason == FinishReason::kEos ? "stop" : "length");
  EXPECT_EQ(body["choices"][0]["logprobs"], nullptr);
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_EQ(body["usage"]["prompt_tokens"], 9);
  EXPECT_EQ(body["usage"]["completion_tokens"], expected.ids.size());
  EXPECT_EQ(body["usage"]["total_tokens"], 9 + expected.ids.size());
  EXPECT_EQ(answer.headers.at("content-type"), "application/json");
  EXPECT_THAT(answer.headers.at("x-request-id"), HasSubstr("req-"));
}

TEST_F(ServerTest, SamplingWithASeedIsWhatRunSays) {
  Start();
  for (const uint64_t seed : {1U, 2U}) {
    const SamplingParams sampling = {.temperature = 1.5F,
                                     .top_k = 50,
                                     .top_p = 0.9F,
                                     .min_p = 0.01F,
                                     .repeat_penalty = 1.1F,
                                     .repeat_last_n = 64,
                                     .presence_penalty = 0.5F,
                                     .frequency_penalty = 0.25F,
                                     .seed = seed};
    const json body = Complete({{"prompt", "abc"},
                                {"max_tokens", 30},
                                {"seed", seed},
                                {"temperature", 1.5},
                                {"top_k", 50},
                                {"top_p", 0.9},
                                {"min_p", 0.01},
                                {"repeat_penalty", 1.1},
                                {"presence_penalty", 0.5},
                                {"frequency_penalty", 0.25}})
                          .Json();
    EXPECT_EQ(body["choices"][0]["text"], Expected("abc", 30, sampling).text);
  }
}

TEST_F(ServerTest, ManyPromptsAndManyAnswersInOneRequest) {
  Start();
  const json body = Complete({{"prompt", {"ab", "xyz"}},
                              {"n", 3},
                              {"max_tokens", 12},
                              {"seed", 5},
                              {"temperature", 1},
                              {"top_p", 1},
                              {"min_p", 0},
                              {"top_k", 0}})
                        .Json();
  ASSERT_THAT(body["choices"], SizeIs(6));
  std::set<std::string> texts;
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    texts.insert(body["choices"][i]["text"]);
  }
  EXPECT_EQ(texts.size(), 6U) << "answers to one prompt differ";
  const SamplingParams sampling = {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 5};
  EXPECT_EQ(body["choices"][0]["text"], Expected("ab", 12, sampling).text);
  EXPECT_EQ(body["choices"][3]["text"], Expected("xyz", 12, sampling).text);
  EXPECT_EQ(body["usage"]["prompt_tokens"], 5);
}

TEST_F(ServerTest, PromptsAsTokens) {
  Start();
  json request = Greedy("ab", 8);
  const std::string text = Complete(request).Json()["choices"][0]["text"];
  request["prompt"] = {97, 98};
  EXPECT_EQ(Complete(request).Json()["choices"][0]["text"], text);
  request["prompt"] = {{97, 98}, {97, 98}};
  EXPECT_EQ(Complete(request).Json()["choices"][1]["text"], text);
}

TEST_F(ServerTest, StreamSaysTheSameInPieces) {
  Start();
  json request = Greedy("Once upon", 40);
  request["stream"] = true;
  request["stream_options"] = {{"include_usage", true}};
  const HttpAnswer answer = Complete(request);
  ASSERT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.complete);
  EXPECT_THAT(answer.headers.at("content-type"), HasSubstr("text/event-stream"));
  EXPECT_EQ(answer.headers.at("x-accel-buffering"), "no");
  const std::vector<std::string> events = answer.Events();
  ASSERT_GE(events.size(), 3U);
  EXPECT_EQ(events.back(), "[DONE]");
  std::string text;
  for (size_t i = 0; i + 2 < events.size(); ++i) {
    const json event = json::parse(events[i]);
    EXPECT_EQ(event["usage"], nullptr);
    text += event["choices"][0]["text"];
    EXPECT_EQ(event["choices"][0]["finish_reason"], i + 3 == events.size() ? json("length") : json());
  }
  EXPECT_EQ(text, Expected("Once upon", 40).text);
  const json usage = json::parse(events[events.size() - 2]);
  EXPECT_THAT(usage["choices"], SizeIs(0));
  EXPECT_EQ(usage["usage"]["completion_tokens"], 40);
}

TEST_F(ServerTest, ChatInOneAnswerAndAsAStream) {
  Start();
  json request = {
      {"messages",
       {{{"role", "developer"}, {"content", "Be brief."}},
        {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "Hi "}}, {{"type", "text"}, {"text", "you"}}}}}}},
      {"temperature", 0},
      {"max_completion_tokens", 25}};
  const HttpAnswer answer = Chat(request);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json body = answer.Json();
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["choices"][0]["message"]["role"], "assistant");
  const std::string prompt = "Be brief.\nInstruct: Hi you\nOutput:";
  const GenerateResult expected = Expected(prompt, 25, {}, {"\nInstruct:"});
  EXPECT_EQ(body["choices"][0]["message"]["content"], StripAnswer(PromptFormat::kQa, expected.text));
  EXPECT_EQ(body["usage"]["prompt_tokens"], prompt.size());
  request["stream"] = true;
  const std::vector<std::string> events = Chat(request).Events();
  const json first = json::parse(events[0]);
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["delta"], (json{{"role", "assistant"}, {"content", ""}}));
  EXPECT_FALSE(first.contains("usage"));
  std::string text;
  for (size_t i = 1; i + 1 < events.size(); ++i) {
    text += json::parse(events[i])["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, body["choices"][0]["message"]["content"]);
  const json last = json::parse(events[events.size() - 2]);
  EXPECT_EQ(last["choices"][0]["delta"], json::object());
  EXPECT_EQ(last["choices"][0]["finish_reason"], "length");
}

TEST_F(ServerTest, StopStringsEndTheTextBeforeThem) {
  Start();
  const std::string text = Expected("stop here", 40).text;
  // A piece of the text that is valid UTF-8 and has not come before.
  size_t at = text.size();
  for (size_t i = 5; i + 3 < text.size() && at == text.size(); ++i) {
    const std::string piece = text.substr(i, 3);
    if (FindInvalidUtf8(piece) == std::string::npos && text.find(piece) == i) {
      at = i;
    }
  }
  ASSERT_LT(at, text.size());
  json request = Greedy("stop here", 40);
  request["stop"] = {"never in there", text.substr(at, 3)};
  const json body = Complete(request).Json();
  EXPECT_EQ(body["choices"][0]["text"], text.substr(0, at));
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
}

TEST_F(ServerTest, MaxTokensBeyondTheContextAreCut) {
  Start();
  json request = Greedy("abcd", 100000);
  request["ignore_eos"] = true;
  const json body = Complete(request).Json();
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["completion_tokens"], kContext - 4 + 1);
  const json too_long = Complete(Greedy(std::string(kContext + 1, 'a'), 1)).Json();
  EXPECT_EQ(too_long["error"]["code"], "context_length_exceeded");
  EXPECT_EQ(too_long["error"]["param"], "prompt");
}

TEST_F(ServerTest, PromptScoring) {
  Start();
  json request = {{"prompt", "abcdef"}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 2}};
  const HttpAnswer answer = Complete(request);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json choice = answer.Json()["choices"][0];
  EXPECT_EQ(choice["text"], "abcdef");
  const json logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], (json{"a", "b", "c", "d", "e", "f"}));
  EXPECT_EQ(logprobs["text_offset"], (json{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(logprobs["token_logprobs"][0], nullptr);
  EXPECT_EQ(logprobs["top_logprobs"][0], nullptr);
  // The oracle: logits of a step of its own, scored in double.
  const LoadedModel model = TestModel();
  const KvCache cache = *model.phi->NewKvCache(16);
  for (int32_t pos = 0; pos < 5; ++pos) {
    const StepRow row = {'a' + pos, pos, cache.store(), true};
    const auto logits = model.phi->Step({&row, 1});
    ASSERT_TRUE(logits.ok());
    double sum = 0;
    for (const float logit : *logits) {
      sum += std::exp(static_cast<double>(logit));
    }
    const double expected = static_cast<double>((*logits)[static_cast<size_t>('b' + pos)]) - std::log(sum);
    EXPECT_NEAR(logprobs["token_logprobs"][pos + 1].get<double>(), expected, 1e-5);
    EXPECT_GE(logprobs["top_logprobs"][pos + 1].size(), 2U);
  }
  request["max_tokens"] = 3;
  request["temperature"] = 0;
  const json more = Complete(request).Json()["choices"][0];
  EXPECT_EQ(more["text"], "abcdef" + Expected("abcdef", 3).text);
  EXPECT_THAT(more["logprobs"]["tokens"], SizeIs(9));
  EXPECT_EQ(more["logprobs"]["token_logprobs"][5], logprobs["token_logprobs"][5]);
}

TEST_F(ServerTest, ChatLogprobs) {
  Start();
  const json body = Chat({{"messages", {{{"role", "user"}, {"content", "x"}}}},
                          {"temperature", 0},
                          {"max_tokens", 4},
                          {"logprobs", true},
                          {"top_logprobs", 3}})
                        .Json();
  const json content = body["choices"][0]["logprobs"]["content"];
  ASSERT_THAT(content, SizeIs(4));
  for (const json& token : content) {
    ASSERT_THAT(token["top_logprobs"], SizeIs(3));
    EXPECT_EQ(token["top_logprobs"][0]["bytes"], token["bytes"]) << "greedy takes the best";
    EXPECT_LE(token["logprob"].get<double>(), 0);
    EXPECT_GE(token["top_logprobs"][0]["logprob"].get<double>(), token["top_logprobs"][1]["logprob"].get<double>());
  }
}

TEST_F(ServerTest, LogitBiasForcesAndForbids) {
  Start();
  json request = Greedy("abc", 5);
  request["logit_bias"] = {{"122", 100}};
  EXPECT_EQ(Complete(request).Json()["choices"][0]["text"], "zzzzz");
  const int32_t first = Expected("abc", 1).ids[0];
  request["logit_bias"] = {{std::to_string(first), -100}};
  request["logprobs"] = 0;
  const json logprobs = Complete(request).Json()["choices"][0]["logprobs"];
  EXPECT_NE(logprobs["tokens"][0], std::string(1, static_cast<char>(first)));
}

TEST_F(ServerTest, NextTurnOfAChatFindsItsCache) {
  Start({}, {.parallel = 2, .context = kContext});
  json messages = {{{"role", "user"}, {"content", "Tell me something long enough to be worth it."}}};
  json request = {{"messages", messages},
                  {"temperature", 0},
                  {"max_tokens", 30},
                  {"ignore_eos", true},
                  {"logit_bias", {{"97", 100}}}};  // answers in letters, which come back as the same tokens
  const json first = Chat(request).Json();
  EXPECT_EQ(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  request["messages"].push_back(first["choices"][0]["message"]);
  request["messages"][1].erase("refusal");
  request["messages"].push_back({{"role", "user"}, {"content", "More."}});
  const json second = Chat(request).Json();
  const int64_t cached = second["usage"]["prompt_tokens_details"]["cached_tokens"];
  EXPECT_GE(cached, first["usage"]["prompt_tokens"].get<int64_t>());
  // The same request to a server that has seen nothing.
  Start({}, {.parallel = 2, .context = kContext});
  const json fresh = Chat(request).Json();
  EXPECT_EQ(fresh["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(fresh["choices"][0]["message"], second["choices"][0]["message"]);
}

TEST_F(ServerTest, ManyClientsAtOnceGetTheirOwnTexts) {
  Start({}, {.parallel = 3, .context = kContext, .batch = 16});
  std::vector<std::thread> threads;
  std::vector<std::string> texts(12);
  for (size_t i = 0; i < texts.size(); ++i) {
    threads.emplace_back([&, i] {
      HttpClient client(port());
      for (int round = 0; round < 2; ++round) {
        const json request = Greedy("client number " + std::to_string(i), 20);
        texts[i] = client.Ask("POST", "/v1/completions", request.dump()).Json()["choices"][0]["text"];
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(texts[i], Expected("client number " + std::to_string(i), 20).text);
  }
}

TEST_F(ServerTest, AClientThatLeavesStopsItsGeneration) {
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

TEST_F(ServerTest, AHalfClosedClientStillGetsItsAnswer) {
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

TEST_F(ServerTest, AFullQueueRefusesAndSaysWhenToComeBack) {
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

TEST_F(ServerTest, AShortRequestDoesntWaitForAllOfALargeOne) {
  Start({}, {.parallel = 1, .context = kContext});
  json large = Greedy("abc", 100);
  large["ignore_eos"] = true;
  large["n"] = 20;
  HttpClient first(port());
  first.Send(HttpClient::Format("POST", "/v1/completions", large.dump()));
  ASSERT_TRUE(WaitForMetric("phidias_requests_processing", 1));
  EXPECT_EQ(Complete(Greedy("xyz", 1)).status, 200);
  EXPECT_EQ(Metric("phidias_requests_processing"), 1) << "the large one goes on";
  first.Close();
}

TEST_F(ServerTest, MalformedRequestsAreTold) {
  Start();
  const auto error = [&](const std::string& path, const std::string& body) {
    const HttpAnswer answer = Ask("POST", path, body);
    EXPECT_EQ(answer.status, 400) << body;
    const json json = answer.Json();
    EXPECT_EQ(json["error"]["type"], "invalid_request_error");
    return json["error"]["param"].is_null() ? json["error"]["message"] : json["error"]["param"];
  };
  EXPECT_THAT(error("/v1/completions", "{\"prompt\": "), HasSubstr("parse error"));
  EXPECT_THAT(error("/v1/completions", "[1]"), HasSubstr("a list"));
  EXPECT_THAT(error("/v1/completions", ""), HasSubstr("no body"));
  EXPECT_THAT(error("/v1/completions", std::string(100000, '[')), HasSubstr("nested"));
  EXPECT_THAT(error("/v1/completions", "{\"prompt\": \"\xff\"}"), HasSubstr("UTF-8"));
  EXPECT_EQ(error("/v1/completions", R"({})"), "prompt");
  EXPECT_EQ(error("/v1/completions", R"({"prompt": 5})"), "prompt");
  EXPECT_EQ(error("/v1/completions", R"({"prompt": ["a", 5]})"), "prompt[1]");
  EXPECT_EQ(error("/v1/completions", R"({"prompt": [1, 99999]})"), "prompt");
  EXPECT_EQ(error("/v1/completions", R"({"prompt": "a", "max_tokens": "x"})"), "max_tokens");
  EXPECT_EQ(error("/v1/completions", R"({"prompt": "a", "temperature": -1})"), "temperature");
  EXPECT_EQ(error("/v1/completions", R"({"prompt": "a", "stream": 1})"), "stream");
  EXPECT_EQ(error("/v1/completions", R"({"prompt": "a", "suffix": "b"})"), "suffix");
  EXPECT_EQ(error("/v1/completions", R"({"prompt": "a", "stop": ["a", 1]})"), "stop");
  EXPECT_EQ(error("/v1/completions", R"({"prompt": "a", "logit_bias": {"x": 1}})"), "logit_bias");
  EXPECT_EQ(error("/v1/chat/completions", R"({"messages": []})"), "messages");
  EXPECT_EQ(error("/v1/chat/completions", R"({"messages": [{"role": "tool", "content": "x"}]})"), "messages[0].role");
  EXPECT_EQ(error("/v1/chat/completions",
                  R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]})"),
            "messages[0].content[0].type");
  EXPECT_EQ(error("/v1/chat/completions",
                  R"({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]})"),
            "tools");
  EXPECT_EQ(error("/v1/chat/completions",
                  R"({"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}})"),
            "response_format");
}

TEST_F(ServerTest, NullCountsAsAbsent) {
  Start();
  const HttpAnswer answer = Complete({{"prompt", "abc"},
                                      {"max_tokens", nullptr},
                                      {"stop", nullptr},
                                      {"n", nullptr},
                                      {"tools", nullptr},
                                      {"logprobs", nullptr},
                                      {"stream_options", nullptr},
                                      {"temperature", 0},
                                      {"ignore_eos", true}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.Json()["usage"]["completion_tokens"], 16) << "OpenAI's default";
}

TEST_F(ServerTest, SpecialTokensInTextAreText) {
  Start();
  EXPECT_EQ(Post("/tokenize", {{"content", "<|endoftext|>"}}).Json()["count"], 13);
  const json special = Post("/tokenize", {{"prompt", "<|endoftext|>"}, {"parse_special", true}}).Json();
  EXPECT_EQ(special["tokens"], (json{testing_support::kRandomModelEos}));
  EXPECT_EQ(Post("/detokenize", {{"tokens", {104, 105}}}).Json()["content"], "hi");
  EXPECT_EQ(Complete(Greedy("<|endoftext|>", 1)).Json()["usage"]["prompt_tokens"], 13);
}

TEST_F(ServerTest, ModelsAndUnknownOnes) {
  Start();
  const json models = Ask("GET", "/v1/models").Json();
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  EXPECT_EQ(models["data"][1]["id"], "other");
  EXPECT_EQ(Ask("GET", "/v1/models/other").Json()["id"], "other");
  EXPECT_EQ(Ask("GET", "/v1/models/gpt-4").status, 404);
  const HttpAnswer answer = Complete({{"prompt", "a"}, {"model", "gpt-4"}});
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.Json()["error"]["code"], "model_not_found");
  EXPECT_EQ(Ask("GET", "/nothing").status, 404);
  const HttpAnswer method = Ask("GET", "/v1/completions");
  EXPECT_EQ(method.status, 405);
  EXPECT_THAT(method.headers.at("allow"), HasSubstr("POST"));
}

TEST_F(ServerTest, WhileTheModelLoads) {
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

TEST_F(ServerTest, KeysAreNeededWhereTheyAreSet) {
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

TEST_F(ServerTest, OnlyListedOriginsMayUseIt) {
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

TEST_F(ServerTest, RequestIdsGoThroughUnlessTheyAreDangerous) {
  Start();
  EXPECT_EQ(Ask("GET", "/health", "", "X-Request-Id: mine-1\r\n").headers.at("x-request-id"), "mine-1");
  EXPECT_THAT(Ask("GET", "/health", "", "X-Request-Id: a b\r\n").headers.at("x-request-id"), HasSubstr("req-"));
}

TEST_F(ServerTest, LimitsOfHeadersBodiesAndTime) {
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

TEST_F(ServerTest, ChunkedBodiesExpectationsAndPipelines) {
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

TEST_F(ServerTest, ManyConnectionsAndTooMany) {
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

TEST_F(ServerTest, AClientThatDoesntReadIsCutOff) {
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

TEST_F(ServerTest, ShutdownFinishesWhatIsUnderWay) {
  Start({}, {.parallel = 1, .context = kContext});
  json request = Greedy("abc", 300);
  request["ignore_eos"] = true;
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
  EXPECT_EQ(answer.Json()["usage"]["completion_tokens"], 300);
  EXPECT_TRUE(idle.ClosedWithin(1000));
  EXPECT_FALSE(HttpClient(closed_port).connected());
}

TEST_F(ServerTest, ShutdownCutsWhatTakesTooLong) {
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

TEST_F(ServerTest, MetricsAndLogsTellWhatHappened) {
  Start();
  Complete(Greedy("abcdefghij", 5));
  Complete({{"prompt", 5}});
  const RequestRecord good = WaitForRecord(200);
  EXPECT_EQ(good.prompt_tokens, 10);
  EXPECT_EQ(good.generated_tokens, 5);
  EXPECT_EQ(good.method, "POST");
  EXPECT_EQ(good.finish, "length");
  EXPECT_GT(good.first_token_seconds, 0);
  EXPECT_EQ(good.prompt, "") << "no text of prompts unless asked for";
  EXPECT_THAT(WaitForRecord(400).error, HasSubstr("prompt"));
  const std::string metrics = Ask("GET", "/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("\nphidias_generated_tokens_total 5"));
  EXPECT_THAT(metrics, HasSubstr("\nphidias_prompt_tokens_total 10"));
  EXPECT_THAT(metrics, HasSubstr("phidias_requests_total{endpoint=\"/completions\",status=\"200\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("phidias_time_to_first_token_seconds_count 1"));
  EXPECT_THAT(metrics, HasSubstr("phidias_inter_token_seconds_count 4"));
}

TEST_F(ServerTest, HostsAndPortsThatCantBe) {
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
