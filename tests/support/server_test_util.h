#pragma once

// A server with a small random model, for tests over loopback sockets.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/generate.h"
#include "serve/server.h"
#include "tests/support/http_client.h"
#include "tests/support/random_model.h"

namespace phidias::serve {

using nlohmann::json;
using testing_support::HttpAnswer;
using testing_support::HttpClient;
using testing_support::RandomModel;
using testing_support::SmallConfig;

inline constexpr int64_t kContext = 512;

inline LoadedModel TestModel() {
  PhiConfig config = SmallConfig();
  config.max_position_embeddings = kContext;
  return RandomModel(config);
}

inline const LoadedModel& SharedModel() {
  static const LoadedModel model = TestModel();
  return model;
}

inline ModelOptions MakeModelOptions(const SchedulerOptions& scheduler) {
  ModelOptions options;
  options.names = {"tiny", "org/other"};
  options.scheduler = scheduler;
  return options;
}

// A server with a model, and how to ask it.
class ServerTest : public ::testing::Test {
 protected:
  void Start(ServerOptions options = {}, const SchedulerOptions& scheduler = {.parallel = 4, .context = kContext}) {
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
  Status SetModel(const SchedulerOptions& scheduler) {
    return server_->SetModel(&SharedModel(), MakeModelOptions(scheduler));
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
inline GenerateResult Expected(const std::string& prompt, int64_t tokens, SamplingParams sampling = {},
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

inline json Greedy(const std::string& prompt, int64_t tokens) {
  return {{"prompt", prompt}, {"max_tokens", tokens}, {"temperature", 0}};
}

}  // namespace phidias::serve
