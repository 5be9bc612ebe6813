#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backend/fpga/card_kv.h"
#include "backend/fpga/card_model.h"
#include "backend/fpga/card_weights.h"
#include "backend/fpga/host_operators.h"
#include "backend/fpga/schedule.h"

namespace phidias::fpga {

struct RunnerOptions {
  std::chrono::milliseconds timeout{60000};   // without any run ending
  const std::atomic<bool>* cancel = nullptr;  // looked at while a token is computed
};

// Executes schedules, one token at a time, on the card and where asked for on the host, and moves activations between
// the two when one needs what the other has written.
class TokenRunner {
 public:
  TokenRunner(CardModel* model, const CardWeights* weights, HostOperators* host, const RunnerOptions& options)
      : model_(*model), weights_(*weights), host_(*host), options_(options) {}
  ~TokenRunner();
  TokenRunner(const TokenRunner&) = delete;
  TokenRunner& operator=(const TokenRunner&) = delete;

  int32_t AddActivation(std::string_view name, int64_t cols);
  // A new step: nothing holds a value. `rows` of each activation, `logit_rows` of those with `gathered`.
  void BeginStep(int64_t rows, int64_t logit_rows);
  // The activation belongs to the tokens whose logits are wanted.
  void SetGathered(int32_t activation) { activations_[static_cast<size_t>(activation)].gathered = true; }

  // A row's host side, to write a value that the host made.
  float* WriteRow(int32_t activation, int64_t row);
  // Runs one token: row `row` of the step, row `logit_row` (-1: none) of those that want logits.
  // Errors: kCancelled; whatever the card says, and then every later call fails likewise.
  Status Run(const Schedule& schedule, const StepRow& token, int64_t row, int64_t logit_row);
  // Brings the last token's values that only the card has to the host.
  Status Fetch();
  Status Fetch(int32_t activation);
  // [rows, cols], as fetched.
  std::span<const float> Values(int32_t activation) const;
  int64_t rows_of(int32_t activation) const;

  // How often each unit was started.
  const std::map<std::string, int64_t>& runs() const { return run_counts_; }

 private:
  struct Value {
    std::string name;
    int64_t cols = 0;
    bool gathered = false;
    std::vector<float> host;  // [rows, cols]
    bool has_buffer = false;
    BufferId buffer{};
    std::string bank;
    // Where the current token's row is valid.
    bool on_host = false;
    bool on_card = false;
  };
  struct BoundRun {
    RunId id{};
    uint64_t kv = 0;  // the serial of the store whose buffers are set
  };
  using RunKey = std::tuple<CardOp, int64_t, std::array<int32_t, 3>, int32_t>;

  Value& ValueOf(int32_t activation) { return activations_[static_cast<size_t>(activation)]; }
  float* HostRow(int32_t activation);
  Status Buffer(int32_t activation, const ScheduleNode& node, const char* argument, BufferId* buffer);
  Status BindActivation(RunId run, const ScheduleNode& node, const char* argument, int32_t activation);
  Status Bind(const ScheduleNode& node, RunId run);
  Status BindLinear(const ScheduleNode& node, RunId run);
  Status BindLmHead(const ScheduleNode& node, RunId run);
  Status BindAttention(const ScheduleNode& node, RunId run);
  Result<BoundRun*> RunOf(const ScheduleNode& node);
  Status SetToken(const ScheduleNode& node, BoundRun* run);

  Status PutOnCard(int32_t activation);
  Status PutOnHost(int32_t activation);
  Status StartNode(int32_t index, const ScheduleNode& node);
  Status RunOnHost(const ScheduleNode& node);
  Status Wait(ScheduleRun* progress);
  Status Execute(const Schedule& schedule);
  Status Drain();
  Status TimeOut();

  CardModel& model_;
  const CardWeights& weights_;
  HostOperators& host_;
  RunnerOptions options_;
  std::vector<Value> activations_;
  std::map<RunKey, BoundRun> run_of_;
  std::map<std::string, int64_t> run_counts_;
  Status broken_;  // what the card did wrong

  int64_t rows_ = 0;
  int64_t logit_rows_ = 0;
  // The token in the making.
  const StepRow* token_ = nullptr;
  int64_t row_ = 0;
  int64_t logit_row_ = -1;
  std::map<RunId, int32_t> in_flight_;  // node
};

}  // namespace phidias::fpga
