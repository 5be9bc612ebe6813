#include "backend/fpga/schedule.h"

#include <algorithm>

#include "common/str.h"

namespace phidias::fpga {
namespace {

void AddOnce(int32_t node, std::vector<int32_t>* list) {
  if (node >= 0 && std::find(list->begin(), list->end(), node) == list->end()) {
    list->push_back(node);
  }
}

}  // namespace

std::string NodeText(const ScheduleNode& node) {
  if (node.op == CardOp::kLmHead) {
    return "lm_head";
  }
  return StrCat(CardOpName(node.op), node.layer == kFinalNorm ? ", final" : StrCat(", layer ", node.layer));
}

void Schedule::Add(ScheduleNode node) {
  const auto index = static_cast<int32_t>(nodes_.size());
  const auto uses = [this](int32_t activation) -> Uses& {
    uses_.resize(std::max(uses_.size(), static_cast<size_t>(activation) + 1));
    return uses_[static_cast<size_t>(activation)];
  };
  if (order_ == ScheduleOrder::kSequential) {
    AddOnce(index - 1, &node.after);
  } else {
    for (const int32_t activation : node.reads) {
      if (activation != kNoActivation) {
        AddOnce(uses(activation).writer, &node.after);
      }
    }
    AddOnce(uses(node.writes).writer, &node.after);
    for (const int32_t reader : uses(node.writes).readers) {
      AddOnce(reader, &node.after);
    }
  }
  for (const int32_t activation : node.reads) {
    if (activation != kNoActivation) {
      AddOnce(index, &uses(activation).readers);
    }
  }
  uses(node.writes) = {index, {}};
  std::sort(node.after.begin(), node.after.end());
  nodes_.push_back(std::move(node));
}

ScheduleRun::ScheduleRun(const Schedule& schedule, bool logits)
    : schedule_(schedule),
      waiting_for_(schedule.nodes().size()),
      successors_(schedule.nodes().size()),
      left_(static_cast<int64_t>(schedule.nodes().size())) {
  const std::vector<ScheduleNode>& nodes = schedule.nodes();
  for (size_t i = 0; i < nodes.size(); ++i) {
    waiting_for_[i] = static_cast<int32_t>(nodes[i].after.size());
    for (const int32_t before : nodes[i].after) {
      successors_[static_cast<size_t>(before)].push_back(static_cast<int32_t>(i));
    }
    if (nodes[i].after.empty()) {
      ready_.push_back(static_cast<int32_t>(i));
    }
  }
  if (logits) {
    return;
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].logit_rows) {
      std::erase(ready_, static_cast<int32_t>(i));
      waiting_for_[i] = -1;
      Finish(static_cast<int32_t>(i));
    }
  }
}

int32_t ScheduleRun::Next() {
  if (ready_.empty()) {
    return -1;
  }
  const auto on_card = [this](int32_t node) { return schedule_.nodes()[static_cast<size_t>(node)].on_card(); };
  auto chosen = std::find_if(ready_.begin(), ready_.end(), on_card);
  chosen = chosen == ready_.end() ? ready_.begin() : chosen;
  const int32_t node = *chosen;
  ready_.erase(chosen);
  return node;
}

void ScheduleRun::Finish(int32_t node) {
  --left_;
  for (const int32_t next : successors_[static_cast<size_t>(node)]) {
    if (waiting_for_[static_cast<size_t>(next)] > 0 && --waiting_for_[static_cast<size_t>(next)] == 0) {
      ready_.push_back(next);
    }
  }
}

}  // namespace phidias::fpga
