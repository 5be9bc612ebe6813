// What clients of OpenAI's API get, over loopback sockets. The texts' oracle is Generate(), which `phidias run` calls.
#include <chrono>
#include <set>

#include "common/utf8.h"
#include "tests/support/server_test_util.h"

namespace phidias::serve {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

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

// A tiny model's tokens come every few microseconds.
TEST_F(ServerTest, FastTokensShareAPiece) {
  Start();
  json request = Greedy("Once upon", 100);
  request["stream"] = true;
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<std::string> events = Complete(request).Events();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::string text;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    text += json::parse(events[i])["choices"][0]["text"];
  }
  EXPECT_EQ(text, Expected("Once upon", 100).text);
  EXPECT_LE(static_cast<double>(events.size() - 1), 2 + seconds * 50) << "the first, the last, and 50 a second";
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

TEST_F(ServerTest, MalformedRequestsAreTold) {
  Start();
  const auto error = [&](const std::string& path, const std::string& body) {
    const HttpAnswer answer = Ask("POST", path, body);
    EXPECT_EQ(answer.status, 400) << body;
    const json body_json = answer.Json();
    EXPECT_EQ(body_json["error"]["type"], "invalid_request_error");
    return body_json["error"]["param"].is_null() ? body_json["error"]["message"] : body_json["error"]["param"];
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
  EXPECT_EQ(models["data"][1]["id"], "org/other");
  EXPECT_EQ(Ask("GET", "/v1/models/org/other").Json()["id"], "org/other");
  EXPECT_EQ(Ask("GET", "/v1/models/org%2Fother").Json()["id"], "org/other") << "as clients write it";
  EXPECT_EQ(Ask("GET", "/v1/models/%ff%2").status, 404);
  EXPECT_EQ(Ask("GET", "/v1/models/gpt-4").status, 404);
  const HttpAnswer answer = Complete({{"prompt", "a"}, {"model", "gpt-4"}});
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.Json()["error"]["code"], "model_not_found");
  EXPECT_EQ(Ask("GET", "/nothing").status, 404);
  const HttpAnswer method = Ask("GET", "/v1/completions");
  EXPECT_EQ(method.status, 405);
  EXPECT_THAT(method.headers.at("allow"), HasSubstr("POST"));
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
  EXPECT_TRUE(WaitForMetric("phidias_sequences", 0));
  EXPECT_EQ(Metric("phidias_kv_positions_used"), 0);
  EXPECT_EQ(Metric("phidias_kv_positions_held"), 14) << "10 of the prompt, and all generated tokens but the last";
  EXPECT_EQ(Metric("phidias_parallel"), 4);
}

}  // namespace
}  // namespace phidias::serve
