// Sequences that share steps say what each says alone. The oracle is a loop of this file: one token at a time, one
// sequence, no guesses. Models and prompts are random; sequences join, leave and are cut short at random.
#include "engine/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "tests/support/random_model.h"

namespace phidias {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using testing_support::GroupedConfig;
using testing_support::kRandomModelEos;
using testing_support::kRandomModelVocab;
using testing_support::RandomModel;
using testing_support::Recording;
using testing_support::SmallConfig;
using Ids = std::vector<int32_t>;

constexpr int64_t kContext = 64;

struct Request {
  Ids prompt;
  SequenceOptions options;
};

struct Said {
  Ids ids;
  std::string text;
  FinishReason reason = FinishReason::kNone;
  bool operator==(const Said&) const = default;
};

void PrintTo(const Said& said, std::ostream* out) {
  *out << ::testing::PrintToString(said.ids) << " " << static_cast<int>(said.reason) << " "
       << ::testing::PrintToString(said.text);
}

Ids BannedIds(const SequenceOptions& options) {
  Ids banned;
  for (int32_t id = kRandomModelEos + 1; id < kRandomModelVocab; ++id) {
    banned.push_back(id);
  }
  if (options.ignore_eos) {
    banned.push_back(kRandomModelEos);
  }
  return banned;
}

// One token at a time.
Said Alone(const LoadedModel& model, const Request& request) {
  const SequenceOptions& o = request.options;
  const KvCache cache = *model.phi->NewKvCache(kContext);
  Sampler sampler(o.sampling, BannedIds(o));
  StreamDecoder decoder(*model.tokenizer);
  StopMatcher stops(o.stop);
  Ids tokens = request.prompt;
  Said said;
  for (size_t pos = 0; said.reason == FinishReason::kNone; ++pos) {
    const bool last = pos + 1 == tokens.size();
    const StepRow row = {tokens[pos], static_cast<int32_t>(pos), cache.store(), last};
    const auto logits = model.phi->Step({&row, 1});
    EXPECT_TRUE(logits.ok()) << logits.status().message();
    if (!last) {
      continue;
    }
    const auto id = sampler.Sample(*logits, tokens, static_cast<int64_t>(tokens.size()));
    EXPECT_TRUE(id.ok()) << id.status().message();
    tokens.push_back(*id);
    said.ids.push_back(*id);
    if (*id == kRandomModelEos) {
      said.reason = FinishReason::kEos;
      break;
    }
    said.text += stops.Push(decoder.Push(*id));
    if (stops.stopped()) {
      said.reason = FinishReason::kStopString;
      return said;
    }
    if (static_cast<int64_t>(said.ids.size()) == o.max_new_tokens) {
      said.reason = FinishReason::kMaxTokens;
    } else if (static_cast<int64_t>(tokens.size()) > kContext) {
      said.reason = FinishReason::kContextFull;
    }
  }
  said.text += stops.Push(decoder.Finish());
  said.text += stops.Finish();
  return said;
}

Sequence NewSequence(const LoadedModel& model, const Request& request) {
  SequenceOptions options = request.options;
  options.eos_token_ids = {kRandomModelEos};
  auto sequence = Sequence::Create(*model.tokenizer, kRandomModelVocab, *model.phi->NewKvCache(kContext),
                                   request.prompt, std::move(options));
  EXPECT_TRUE(sequence.ok()) << sequence.status().message();
  return *std::move(sequence);
}

Batch NewBatch(const LoadedModel& model, const BatchOptions& options) {
  auto batch = Batch::Create(model.phi.get(), options);
  EXPECT_TRUE(batch.ok()) << batch.status().message();
  return *std::move(batch);
}

class Dice {
 public:
  explicit Dice(uint32_t seed) : random_(seed) {}
  int64_t Below(int64_t bound) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(bound)); }
  int64_t Between(int64_t low, int64_t high) { return low + Below(high - low + 1); }
  bool OneIn(int64_t n) { return Below(n) == 0; }

 private:
  std::mt19937 random_;
};

// Prompts repeat themselves more or less, so that guesses are right sometimes.
Request RandomRequest(Dice* dice) {
  Request request;
  const int64_t size = dice->OneIn(3) ? dice->Between(1, 3) : dice->Between(4, 50);
  const int64_t letters = dice->OneIn(2) ? dice->Between(1, 4) : 256;
  for (int64_t i = 0; i < size; ++i) {
    request.prompt.push_back(static_cast<int32_t>(dice->Below(letters)));
  }
  SequenceOptions& o = request.options;
  o.max_new_tokens = dice->OneIn(3) ? -1 : dice->Between(1, 40);
  o.ignore_eos = dice->OneIn(2);
  o.lookup = dice->OneIn(3) ? 0 : dice->Between(1, 20);
  if (dice->OneIn(2)) {
    o.sampling.temperature = dice->OneIn(2) ? 0.3F : 1.0F;
    o.sampling.top_k = dice->OneIn(2) ? 3 : 40;
    o.sampling.seed = static_cast<uint64_t>(dice->Below(1000));
  }
  if (dice->OneIn(3)) {
    o.sampling.repeat_penalty = 1.3F;
    o.sampling.frequency_penalty = 0.2F;
    o.sampling.presence_penalty = 0.1F;
    o.sampling.repeat_last_n = static_cast<int32_t>(dice->Between(-1, 20));
  }
  if (dice->OneIn(3)) {
    o.stop.push_back(std::string(1, static_cast<char>('a' + dice->Below(26))));
  }
  return request;
}

LoadedModel SomeModel(Dice* dice, Recording* recording) {
  PhiConfig config = dice->OneIn(2) ? SmallConfig() : GroupedConfig();
  config.n_layers = dice->Between(1, 3);
  return RandomModel(config, {.seed = static_cast<uint64_t>(dice->Below(1 << 20)),
                              .cpu = {.threads = static_cast<int>(dice->Between(1, 3)), .isa = {}},
                              .recording = recording});
}

// Steps a batch of requests that join at random; checks each against what it says alone.
class RandomCompany {
 public:
  RandomCompany(uint32_t seed, int64_t count) : dice_(seed), model_(SomeModel(&dice_, &recording_)) {
    for (int64_t i = 0; i < count; ++i) {
      requests_.push_back(RandomRequest(&dice_));
      alone_.push_back(Alone(model_, requests_.back()));
    }
    recording_.on_linear = [this](LinearPlace) { MaybeCancel(); };
  }

  void Run() {
    const BatchOptions options = {.max_rows = dice_.OneIn(4) ? dice_.Between(1, 4) : dice_.Between(5, 200),
                                  .prompt_rows_beside = dice_.Between(1, 40)};
    SCOPED_TRACE(StrCat(options.max_rows, " rows, ", options.prompt_rows_beside, " of prompts beside others"));
    Batch batch = NewBatch(model_, options);
    size_t joined = 0;
    for (int64_t i = 0; joined < requests_.size() || batch.size() > 0; ++i) {
      ASSERT_LT(i, 20000) << "no end";
      while (joined < requests_.size() && (batch.size() == 0 || dice_.OneIn(3))) {
        EXPECT_EQ(batch.Add(NewSequence(model_, requests_[joined])), static_cast<int64_t>(joined));
        texts_[static_cast<int64_t>(joined++)] = "";
      }
      if (dice_.OneIn(60)) {
        CutShort(&batch);
      }
      StepOnce(&batch);
    }
    EXPECT_TRUE(texts_.empty());
  }

  int64_t accepted() const { return accepted_; }
  int64_t rejected() const { return rejected_; }
  int64_t cancelled_steps() const { return cancelled_steps_; }

 private:
  void MaybeCancel() {
    if (dice_.OneIn(300)) {
      cancel_ = true;
    }
  }

  void StepOnce(Batch* batch) {
    std::map<int64_t, size_t> before;
    for (const auto& [id, text] : texts_) {
      before[id] = batch->Find(id)->tokens().size();
    }
    auto events = batch->Step(&cancel_);
    cancel_ = false;
    if (!events.ok()) {
      EXPECT_EQ(events.status().code(), StatusCode::kCancelled) << events.status().message();
      ++cancelled_steps_;
      for (const auto& [id, size] : before) {
        EXPECT_EQ(batch->Find(id)->tokens().size(), size);
      }
      return;
    }
    for (const BatchEvent& event : *events) {
      EXPECT_TRUE(event.status.ok()) << event.status.message();
      texts_.at(event.id) += event.text;
      EXPECT_GT(batch->Find(event.id)->tokens().size(), before.at(event.id));
      if (event.finished) {
        Compare(event.id, batch->Remove(event.id));
      }
    }
  }

  void Compare(int64_t id, std::unique_ptr<Sequence> sequence) {
    ASSERT_NE(sequence, nullptr);
    const auto ids = sequence->generated();
    const Said said = {{ids.begin(), ids.end()}, texts_.at(id), sequence->finish_reason()};
    EXPECT_EQ(said, alone_[static_cast<size_t>(id)]) << "request " << id;
    accepted_ += sequence->lookup().accepted();
    rejected_ += sequence->lookup().drafted() - sequence->lookup().accepted();
    texts_.erase(id);
  }

  // Somebody goes away in the middle: what was said until then is the beginning of the whole.
  void CutShort(Batch* batch) {
    if (texts_.empty()) {
      return;
    }
    const int64_t id = std::next(texts_.begin(), dice_.Below(static_cast<int64_t>(texts_.size())))->first;
    const std::unique_ptr<Sequence> sequence = batch->Remove(id);
    EXPECT_EQ(batch->Find(id), nullptr);
    EXPECT_EQ(batch->Remove(id), nullptr);
    const auto ids = sequence->generated();
    const Ids& whole = alone_[static_cast<size_t>(id)].ids;
    ASSERT_LE(ids.size(), whole.size());
    EXPECT_TRUE(std::equal(ids.begin(), ids.end(), whole.begin()));
    texts_.erase(id);
  }

  Dice dice_;
  Recording recording_;
  LoadedModel model_;
  std::vector<Request> requests_;
  std::vector<Said> alone_;
  std::map<int64_t, std::string> texts_;  // of the sequences in the batch
  std::atomic<bool> cancel_{false};
  int64_t accepted_ = 0;
  int64_t rejected_ = 0;
  int64_t cancelled_steps_ = 0;
};

TEST(BatchProperty, InAnyCompanyEachSaysWhatItSaysAlone) {
  int64_t accepted = 0;
  int64_t rejected = 0;
  int64_t cancelled_steps = 0;
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(StrCat("seed ", seed));
    RandomCompany company(seed, 12);
    company.Run();
    accepted += company.accepted();
    rejected += company.rejected();
    cancelled_steps += company.cancelled_steps();
  }
  // The property would hold for a batch that never guesses; this one did, rightly and wrongly.
  EXPECT_GT(accepted, 100);
  EXPECT_GT(rejected, 100);
  EXPECT_GT(cancelled_steps, 5);
}

Request Greedy(Ids prompt, int64_t max_new_tokens = -1) {
  Request request{.prompt = std::move(prompt), .options = {}};
  request.options.max_new_tokens = max_new_tokens;
  request.options.ignore_eos = true;
  return request;
}

// Rows of each sequence in the last step, by the order in which `caches` names them.
std::vector<int64_t> RowsOf(const Recording& recording, const std::vector<const KvStore*>& stores) {
  std::vector<int64_t> counts(stores.size());
  for (const StepRow& row : recording.steps.back().rows) {
    const auto it = std::find(stores.begin(), stores.end(), row.kv);
    if (it != stores.end()) {
      ++counts[static_cast<size_t>(it - stores.begin())];
    }
  }
  return counts;
}

class BatchTest : public ::testing::Test {
 protected:
  int64_t Join(Batch* batch, const Request& request) {
    const int64_t id = batch->Add(NewSequence(model_, request));
    stores_.push_back(batch->Find(id)->cache().store());
    return id;
  }
  // Ids of the sequences that got a token.
  std::vector<int64_t> Step(Batch* batch) {
    const auto events = batch->Step();
    EXPECT_TRUE(events.ok()) << events.status().message();
    std::vector<int64_t> ids;
    for (const BatchEvent& event : *events) {
      ids.push_back(event.id);
    }
    return ids;
  }
  std::vector<int64_t> Rows() const { return RowsOf(recording_, stores_); }

  Recording recording_;
  LoadedModel model_ = RandomModel(SmallConfig(), {.recording = &recording_});
  std::vector<const KvStore*> stores_;
};

TEST_F(BatchTest, PromptsAreReadInChunksAndOnlyTheirLastTokenHasLogits) {
  Batch batch = NewBatch(model_, {.max_rows = 16});
  Join(&batch, Greedy(Ids(50, 'a'), 3));
  while (!batch.Find(0)->finished()) {
    Step(&batch);
  }
  std::vector<std::pair<int64_t, int64_t>> computed;
  for (const auto& step : recording_.steps) {
    computed.emplace_back(step.q_rows, step.lm_head_rows);
  }
  EXPECT_THAT(computed, ::testing::ElementsAre(std::pair(16, 0), std::pair(16, 0), std::pair(16, 0), std::pair(2, 1),
                                               std::pair(1, 1), std::pair(1, 1)));
}

TEST_F(BatchTest, OnlyGuessesHaveLogitsBesideThem) {
  Batch batch = NewBatch(model_, {.max_rows = 100});
  Request request = Greedy(Ids(30, 'a'), 20);
  request.options.lookup = 8;
  Join(&batch, request);
  Step(&batch);
  EXPECT_EQ(recording_.steps.back().q_rows, 32);
  EXPECT_EQ(recording_.steps.back().lm_head_rows, 3);
}

TEST_F(BatchTest, ALongPromptDoesntHoldUpARunningText) {
  Batch batch = NewBatch(model_, {.max_rows = 100, .prompt_rows_beside = 8});
  Join(&batch, Greedy({'a'}));
  Step(&batch);
  Join(&batch, Greedy(Ids(60, 'b')));
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(Step(&batch), std::vector<int64_t>{0});
    EXPECT_EQ(Rows(), (std::vector<int64_t>{1, 8}));
  }
  EXPECT_EQ(Step(&batch), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(Rows(), (std::vector<int64_t>{1, 4}));
}

TEST_F(BatchTest, ALongPromptDoesntHoldUpAShortOne) {
  Batch batch = NewBatch(model_, {.max_rows = 20});
  Join(&batch, Greedy(Ids(60, 'b')));
  Join(&batch, Greedy(Ids(7, 'c')));
  EXPECT_EQ(Step(&batch), std::vector<int64_t>{1});
  EXPECT_EQ(Rows(), (std::vector<int64_t>{13, 7})) << "what the short one doesn't need is the long one's";
}

TEST_F(BatchTest, MoreSequencesThanRowsTakeTurns) {
  Batch batch = NewBatch(model_, {.max_rows = 2});
  for (int32_t i = 0; i < 5; ++i) {
    Join(&batch, Greedy({'a' + i}));
  }
  for (int round = 0; round < 10; ++round) {
    for (int step = 0; step < 5; ++step) {  // 10 rows: two for each
      EXPECT_EQ(Step(&batch).size(), 2U);
    }
    for (int64_t id = 0; id < 5; ++id) {
      EXPECT_EQ(batch.Find(id)->generated().size(), static_cast<size_t>(2 * round + 2)) << id;
    }
  }
}

TEST_F(BatchTest, NobodyStarvesWhereOthersComeAndGo) {
  Batch batch = NewBatch(model_, {.max_rows = 1});
  Join(&batch, Greedy({'a'}));
  for (int i = 0; i < 6; ++i) {
    Join(&batch, Greedy({'b'}));
  }
  for (int64_t step = 0; step < 60; ++step) {
    Step(&batch);
    batch.Remove(step + 1);
    Join(&batch, Greedy({'c'}));
  }
  EXPECT_GE(batch.Find(0)->generated().size(), 7U) << "eight at a time";
}

TEST_F(BatchTest, GuessesTakeOnlyRowsThatNobodyNeeds) {
  Batch batch = NewBatch(model_, {.max_rows = 12});
  for (int i = 0; i < 3; ++i) {
    Request request = Greedy(Ids(4, 'a'));
    request.options.lookup = 16;
    Join(&batch, request);
  }
  Step(&batch);
  EXPECT_EQ(Rows(), (std::vector<int64_t>{4, 4, 4}));
  for (int i = 0; i < 12; ++i) {
    Step(&batch);
    EXPECT_LE(recording_.steps.back().rows.size(), 12U);
    EXPECT_THAT(Rows(), Each(::testing::Ge(1)));
  }
}

TEST_F(BatchTest, NothingToDoIsNoStep) {
  Batch batch = NewBatch(model_, {});
  EXPECT_TRUE(Step(&batch).empty());
  Join(&batch, Greedy({'a'}, 1));
  EXPECT_EQ(Step(&batch).size(), 1U);
  EXPECT_TRUE(Step(&batch).empty()) << "finished, not removed yet";
  EXPECT_EQ(batch.steps(), 1);
  EXPECT_EQ(recording_.steps.size(), 1U);
}

TEST_F(BatchTest, OptionsBelowOneAreRefused) {
  EXPECT_THAT(Batch::Create(model_.phi.get(), {.max_rows = 0}).status().message(), HasSubstr("batch of 0"));
  EXPECT_THAT(Batch::Create(model_.phi.get(), {.prompt_rows_beside = -3}).status().message(), HasSubstr("-3"));
}

// Logits of a text with the token 7 in it are NaN.
TEST(BatchFailure, OneBrokenSequenceLeavesTheOthersGoing) {
  const LoadedModel model = RandomModel(
      SmallConfig(), {.edit = [](testing_support::BuiltTensors* tensors) {
        testing_support::BuiltTensor& embedding = tensors->at("model.embed_tokens.weight");
        const size_t row_bytes = static_cast<size_t>(embedding.shape[1]) * sizeof(float);
        std::fill_n(embedding.bytes.begin() + static_cast<int64_t>(7 * row_bytes), row_bytes, std::byte{0xff});
      }});
  const Request good = Greedy({'a', 'b'}, 10);
  const Said want = Alone(model, good);
  Batch batch = NewBatch(model, {});
  const int64_t broken = batch.Add(NewSequence(model, Greedy({'a', 7}, 10)));
  const int64_t fine = batch.Add(NewSequence(model, good));
  const auto events = batch.Step();
  ASSERT_TRUE(events.ok());
  ASSERT_EQ(events->size(), 2U);
  EXPECT_EQ((*events)[0].id, broken);
  EXPECT_TRUE((*events)[0].finished);
  EXPECT_THAT((*events)[0].status.message(), HasSubstr("not all finite"));
  while (!batch.Find(fine)->finished()) {
    const auto more = batch.Step();
    ASSERT_TRUE(more.ok());
    ASSERT_EQ(more->size(), 1U) << "the broken one gets no more rows";
  }
  EXPECT_THAT(batch.Find(fine)->generated(), ::testing::ElementsAreArray(want.ids));
}

// How a server uses a batch: one thread steps, others hand in requests, wait for their ends, and go away early.
class BatchServer {
 public:
  explicit BatchServer(const LoadedModel& model)
      : model_(model), batch_(NewBatch(model, {.max_rows = 24})), worker_([this] { Work(); }) {}
  ~BatchServer() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    worker_.join();
  }

  // Waits for the end, or for `enough` tokens and then cancels.
  Ids Run(const Request& request, size_t enough) {
    Client client{.request = &request, .enough = enough};
    std::unique_lock lock(mutex_);
    queue_.push_back(&client);
    changed_.notify_all();
    changed_.wait(lock, [&] { return client.done; });
    return client.ids;
  }

 private:
  struct Client {
    const Request* request = nullptr;
    size_t enough = 0;
    Ids ids = {};
    bool done = false;
  };

  void Work() {
    std::map<int64_t, Client*> clients;
    while (true) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return closing_ || !queue_.empty() || !clients.empty(); });
        if (closing_ && clients.empty() && queue_.empty()) {
          return;
        }
        for (; !queue_.empty(); queue_.pop_front()) {
          clients[batch_.Add(NewSequence(model_, *queue_.front()->request))] = queue_.front();
        }
      }
      const auto events = batch_.Step();
      ASSERT_TRUE(events.ok());
      for (const BatchEvent& event : *events) {
        Client* client = clients.at(event.id);
        if (event.finished || batch_.Find(event.id)->generated().size() >= client->enough) {
          const std::unique_ptr<Sequence> sequence = batch_.Remove(event.id);
          clients.erase(event.id);
          const std::lock_guard lock(mutex_);
          client->ids.assign(sequence->generated().begin(), sequence->generated().end());
          client->done = true;
          changed_.notify_all();
        }
      }
    }
  }

  const LoadedModel& model_;
  Batch batch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Client*> queue_;
  bool closing_ = false;
  std::thread worker_;
};

TEST(BatchThreads, ManyClientsOneStepper) {
  const LoadedModel model = RandomModel(SmallConfig());
  std::vector<Request> requests;
  std::vector<Said> alone;
  Dice dice(5);
  for (int i = 0; i < 12; ++i) {
    requests.push_back(RandomRequest(&dice));
    alone.push_back(Alone(model, requests.back()));
  }
  BatchServer server(model);
  std::vector<std::thread> clients;
  for (size_t first = 0; first < 4; ++first) {
    clients.emplace_back([&, first] {
      for (size_t i = first; i < requests.size(); i += 4) {
        const size_t enough = i % 3 == 0 ? 5 : 1000;
        const Ids ids = server.Run(requests[i], enough);
        const Ids& whole = alone[i].ids;
        EXPECT_LE(ids.size(), whole.size());
        EXPECT_GE(ids.size(), std::min(enough, whole.size()));
        EXPECT_TRUE(std::equal(ids.begin(), ids.end(), whole.begin()));
      }
    });
  }
  for (std::thread& client : clients) {
    client.join();
  }
}

}  // namespace
}  // namespace phidias
