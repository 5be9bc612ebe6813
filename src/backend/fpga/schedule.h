#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/fpga/host_ops.h"

namespace phidias::fpga {

// In which order the runs of one token may go. Parallel: each as soon as what it needs is there (Q beside K beside V,
// attention beside the MLP). Sequential: one after the other, as the model names them.
enum class ScheduleOrder : uint8_t { kParallel, kSequential };

inline constexpr int32_t kNoActivation = -1;

// One run of a compute unit, or one operator of the host. Activations are numbers of the back end's.
struct ScheduleNode {
  CardOp op = CardOp::kLayerNorm;
  int64_t layer = 0;                                                             // kFinalNorm: final_layernorm
  std::string_view unit;                                                         // "" on the host
  std::array<int32_t, 3> reads = {kNoActivation, kNoActivation, kNoActivation};  // in the operator's order
  int32_t writes = kNoActivation;
  bool logit_rows = false;          // only for tokens whose logits are wanted
  std::vector<int32_t> after = {};  // nodes that must have ended

  bool on_card() const { return !unit.empty(); }
};

// "fc1, layer 3".
std::string NodeText(const ScheduleNode& node);

// The work of one token: a graph whose edges follow from what the nodes read and write, in the order in which they were
// added. The card runtime executes it; a simulator can lay out its times.
class Schedule {
 public:
  explicit Schedule(ScheduleOrder order) : order_(order) {}

  // Fills in `after`.
  void Add(ScheduleNode node);

  const std::vector<ScheduleNode>& nodes() const { return nodes_; }
  ScheduleOrder order() const { return order_; }

 private:
  struct Uses {
    int32_t writer = -1;           // the last
    std::vector<int32_t> readers;  // since then
  };

  ScheduleOrder order_;
  std::vector<ScheduleNode> nodes_;
  std::vector<Uses> uses_;  // by activation
};

// Hands out the nodes of a schedule for one token. Nodes with `logit_rows` count as done where `logits` is false.
class ScheduleRun {
 public:
  ScheduleRun(const Schedule& schedule, bool logits);

  bool done() const { return left_ == 0; }
  // A node that may start now and wasn't handed out, card's before host's; -1: none.
  int32_t Next();
  void Finish(int32_t node);

 private:
  const Schedule& schedule_;
  std::vector<int32_t> waiting_for_;              // per node: how many
  std::vector<std::vector<int32_t>> successors_;  // per node
  std::vector<int32_t> ready_;
  int64_t left_ = 0;
};

}  // namespace phidias::fpga
