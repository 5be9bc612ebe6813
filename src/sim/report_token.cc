#include "sim/report_token.h"

#include <algorithm>
#include <array>
#include <queue>

#include "sim/closed_form.h"
#include "sim/report_kernels.h"

namespace phidias::sim {
namespace {

struct NodeEnd {
  int32_t node = -1;
  Time time = 0;
};

}  // namespace

// What runs kernels: by events, or by times that are known beforehand.
class ReportSimulator::Card {
 public:
  virtual ~Card() = default;
  virtual Status Start(int32_t node, const fpga::ScheduleNode& what, Time at) = 0;
  virtual Result<NodeEnd> NextEnd() = 0;
};

class ReportSimulator::EventCard final : public Card {
 public:
  EventCard(ReportSimulator* simulator, int64_t position)
      : simulator_(*simulator),
        position_(position),
        memories_(simulator->parameters_, kChannels),
        engine_(&memories_) {}

  Status Start(int32_t node, const fpga::ScheduleNode& what, Time at) override {
    ASSIGN_OR_RETURN(std::shared_ptr<const RegionSpec> region, simulator_.RegionOf(what, position_));
    const int number = engine_.Start(region, at);
    started_.resize(static_cast<size_t>(number) + 1);
    started_.back() = {node, std::string(fpga::CardOpName(what.op)), std::move(region)};
    return {};
  }

  Result<NodeEnd> NextEnd() override {
    ASSIGN_OR_RETURN(const Engine::End end, engine_.RunUntilEnd());
    const Started& started = started_[static_cast<size_t>(end.region)];
    const std::vector<StageCounts>& counts = engine_.stages(end.region);
    for (size_t i = 0; i < counts.size(); ++i) {
      StageTiming& stage = stages_[{started.op, i}];
      stage.kernel = started.op;
      stage.stage = started.region->stages[i].name;
      stage.busy += ToSeconds(counts[i].busy);
      stage.waits_for_input += ToSeconds(counts[i].waits_for_input);
      stage.waits_for_output += ToSeconds(counts[i].waits_for_output);
      stage.waits_for_memory += ToSeconds(counts[i].waits_for_memory);
      stage.worst_stream = counts[i].worst_stream;
    }
    return NodeEnd{started.node, end.time};
  }

  void Report(double seconds, TokenTiming* timing) const {
    timing->events = engine_.events();
    for (const auto& [key, stage] : stages_) {
      timing->stages.push_back(stage);
    }
    for (size_t i = 0; i < memories_.hbm().size(); ++i) {
      const BankCounts& counts = memories_.hbm()[i].counts();
      const int64_t bytes = counts.read_bytes + counts.written_bytes;
      timing->hbm_bytes += bytes;
      timing->banks.push_back({StrCat("HBM[", i, "]"), bytes, ToSeconds(counts.transferring) / seconds,
                               ToSeconds(counts.refreshing), ToSeconds(counts.activating), ToSeconds(counts.turning)});
    }
  }

 private:
  static constexpr int kChannels = 32;
  struct Started {
    int32_t node = -1;
    std::string op;
    std::shared_ptr<const RegionSpec> region;
  };

  ReportSimulator& simulator_;
  int64_t position_;
  Memories memories_;
  Engine engine_;
  std::vector<Started> started_;  // by the engine's number
  std::map<std::pair<std::string, size_t>, StageTiming> stages_;
};

class ReportSimulator::ClosedFormCard final : public Card {
 public:
  ClosedFormCard(ReportSimulator* simulator, int64_t position) : simulator_(*simulator), position_(position) {}

  Status Start(int32_t node, const fpga::ScheduleNode& what, Time at) override {
    ASSIGN_OR_RETURN(const double seconds, simulator_.ClosedForm(what, position_));
    ends_.push({at + FromNs(seconds * 1e9), node});
    return {};
  }
  Result<NodeEnd> NextEnd() override {
    if (ends_.empty()) {
      return InvalidArgument("nothing runs");
    }
    const auto [time, node] = ends_.top();
    ends_.pop();
    return NodeEnd{node, time};
  }

 private:
  using Item = std::pair<Time, int32_t>;
  ReportSimulator& simulator_;
  int64_t position_;
  std::priority_queue<Item, std::vector<Item>, std::greater<>> ends_;
};

// A token in the making.
struct ReportSimulator::Walk {
  TokenOptions options;
  Card* card = nullptr;
  fpga::ScheduleRun run;
  Time host = 0;  // what the host's thread has come to
  Time host_work = 0;
  std::vector<Time> begin;  // by node
  std::vector<Time> end;
  std::vector<bool> on_card;  // by activation
  std::vector<bool> on_host;
  int in_flight = 0;
};

Result<ReportSimulator> ReportSimulator::Create(const fpga::TokenSchedule& token, const fpga::HbmPlacement& placement,
                                                const Parameters& parameters) {
  ReportSimulator simulator(token, placement, parameters);
  const fpga::BankRange* const keys = fpga::PortBanks(placement.link, "attention", "k_cache");
  const fpga::BankRange* const values = fpga::PortBanks(placement.link, "attention", "v_cache");
  if (keys == nullptr || values == nullptr) {
    return InvalidArgument("design ", placement.design->name, ": attention has no caches");
  }
  const int banks = std::min(keys->last - keys->first, values->last - values->first) + 1;
  const std::vector<int64_t> free(static_cast<size_t>(banks), placement.design->hbm_bank_bytes);
  ASSIGN_OR_RETURN(const std::vector<int> bank_of,
                   fpga::PlaceKvLayers(placement.shape, *keys, free, placement.positions));
  for (const int bank : bank_of) {
    simulator.kv_bank_.push_back(bank - keys->first);
  }
  return simulator;
}

ReportSimulator::RegionKey ReportSimulator::KeyOf(const fpga::ScheduleNode& node, int64_t position) const {
  const bool attention = node.op == fpga::CardOp::kAttention;
  return {static_cast<int>(node.op), std::string(node.unit), attention ? position : 0,
          attention ? kv_bank_[static_cast<size_t>(node.layer)] : 0};
}

Result<std::shared_ptr<const RegionSpec>> ReportSimulator::RegionOf(const fpga::ScheduleNode& node, int64_t position) {
  const RegionKey key = KeyOf(node, position);
  if (const auto found = regions_.find(key); found != regions_.end()) {
    return found->second;
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const RegionSpec> region,
                   RegionOfNode(node, placement_, position, std::get<3>(key), parameters_));
  regions_.emplace(key, region);
  return region;
}

Result<double> ReportSimulator::ClosedForm(const fpga::ScheduleNode& node, int64_t position) {
  if (node.op == fpga::CardOp::kAttention && attention_cycles_ > 0) {
    return attention_cycles_ * static_cast<double>((position + 1) * placement_.shape.n_heads) /
           (placement_.design->kernel_mhz * 1e6);
  }
  const RegionKey key = KeyOf(node, position);
  if (const auto found = closed_forms_.find(key); found != closed_forms_.end()) {
    return found->second;
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const RegionSpec> region, RegionOf(node, position));
  const double seconds = ClosedFormSeconds(*region, parameters_);
  closed_forms_.emplace(key, seconds);
  return seconds;
}

int64_t ReportSimulator::ProductsOf(const fpga::ScheduleNode& node, int64_t position) const {
  const auto cols = [this](int32_t activation) { return token_.cols[static_cast<size_t>(activation)]; };
  switch (node.op) {
    case fpga::CardOp::kLayerNorm:
    case fpga::CardOp::kGelu:
    case fpga::CardOp::kResidual: return 0;
    case fpga::CardOp::kAttention: return 2 * (position + 1) * cols(node.writes);
    default: return cols(node.reads[0]) * cols(node.writes);
  }
}

// An operator that is left to the host: what it reads of weights or caches, at the host's memory bandwidth.
double ReportSimulator::HostSeconds(const fpga::ScheduleNode& node, int64_t position) const {
  const int64_t element = node.op == fpga::CardOp::kLmHead      ? fpga::LmHeadElementBytes(placement_.lm_head)
                          : node.op == fpga::CardOp::kAttention ? 4
                                                                : 1;
  const int64_t vector = 4 * token_.cols[static_cast<size_t>(node.writes)];
  return static_cast<double>(element * ProductsOf(node, position) + vector) / (parameters_.host_memory_gbs * 1e9);
}

double ReportSimulator::TransferSeconds(int32_t activation) const {
  const auto bytes = static_cast<double>(4 * token_.cols[static_cast<size_t>(activation)]);
  return parameters_.pcie_latency_us * 1e-6 + bytes / (parameters_.pcie_gbs * 1e9);
}

// As TokenRunner: inputs that the host has made go to the card first; a start occupies the host for what it takes to
// queue one.
Status ReportSimulator::StartNode(int32_t index, Walk* walk) {
  const fpga::ScheduleNode& node = token_.schedule.nodes()[static_cast<size_t>(index)];
  const auto work = [walk](double seconds) {
    walk->host += FromNs(seconds * 1e9);
    walk->host_work += FromNs(seconds * 1e9);
  };
  for (const int32_t activation : node.reads) {
    if (activation == fpga::kNoActivation) {
      continue;
    }
    std::vector<bool>& there = node.on_card() ? walk->on_card : walk->on_host;
    if (!there[static_cast<size_t>(activation)]) {
      work(TransferSeconds(activation));
      there[static_cast<size_t>(activation)] = true;
    }
  }
  walk->on_card[static_cast<size_t>(node.writes)] = node.on_card();
  walk->on_host[static_cast<size_t>(node.writes)] = !node.on_card();
  if (!node.on_card()) {
    walk->begin[static_cast<size_t>(index)] = walk->host;
    work(HostSeconds(node, walk->options.position));
    walk->end[static_cast<size_t>(index)] = walk->host;
    walk->run.Finish(index);
    return {};
  }
  walk->host += FromUs(parameters_.start_queued_us);
  walk->begin[static_cast<size_t>(index)] = walk->host;
  ++walk->in_flight;
  return walk->card->Start(index, node, walk->host);
}

Status ReportSimulator::Execute(Walk* walk) {
  const bool one_by_one = token_.schedule.order() == fpga::ScheduleOrder::kSequential;
  // From a kernel's end until the host knows of it: what a dependent start takes beyond a queued one.
  const Time notice = FromUs(std::max(0.0, parameters_.start_dependent_us - parameters_.start_queued_us));
  while (!walk->run.done()) {
    const int32_t index = one_by_one && walk->in_flight > 0 ? -1 : walk->run.Next();
    if (index >= 0) {
      RETURN_IF_ERROR(StartNode(index, walk));
      continue;
    }
    ASSIGN_OR_RETURN(const NodeEnd ended, walk->card->NextEnd());
    walk->end[static_cast<size_t>(ended.node)] = ended.time;
    walk->host = std::max(walk->host, ended.time + notice);
    --walk->in_flight;
    walk->run.Finish(ended.node);
  }
  return {};
}

TokenTiming ReportSimulator::Summarise(const Walk& walk) const {
  TokenTiming timing;
  timing.seconds = ToSeconds(walk.host);
  timing.host = ToSeconds(walk.host_work);
  const std::vector<fpga::ScheduleNode>& nodes = token_.schedule.nodes();
  std::array<KernelTiming, fpga::kCardOps> by_op;
  std::vector<std::pair<Time, Time>> runs;
  std::map<int64_t, std::pair<Time, Time>> layers;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (walk.end[i] == 0) {
      continue;  // not wanted: no logits
    }
    KernelTiming& kernel = by_op[static_cast<size_t>(nodes[i].op)];
    kernel.kernel = fpga::CardOpName(nodes[i].op);
    ++kernel.runs;
    kernel.seconds += ToSeconds(walk.end[i] - walk.begin[i]);
    timing.products += ProductsOf(nodes[i], walk.options.position);
    if (nodes[i].layer == placement_.shape.n_layers / 2 && nodes[i].on_card()) {
      timing.runs.push_back(
          {std::string(nodes[i].unit), fpga::NodeText(nodes[i]), ToSeconds(walk.begin[i]), ToSeconds(walk.end[i])});
    }
    if (nodes[i].on_card()) {
      runs.emplace_back(walk.begin[i], walk.end[i]);
    }
    if (nodes[i].layer != kFinalNorm && nodes[i].op != fpga::CardOp::kLmHead) {
      const auto [found, fresh] = layers.try_emplace(nodes[i].layer, walk.begin[i], walk.end[i]);
      found->second = {std::min(found->second.first, walk.begin[i]), std::max(found->second.second, walk.end[i])};
    }
  }
  std::sort(runs.begin(), runs.end());
  Time covered = 0;
  for (const auto& [begin, end] : runs) {
    timing.kernels += ToSeconds(std::max<Time>(0, end - std::max(begin, covered)));
    covered = std::max(covered, end);
  }
  timing.starts = std::max(0.0, timing.seconds - timing.host - timing.kernels);
  for (const auto& [layer, span] : layers) {
    timing.layer += ToSeconds(span.second - span.first) / static_cast<double>(layers.size());
  }
  for (KernelTiming& kernel : by_op) {
    if (kernel.runs > 0) {
      timing.by_kernel.push_back(std::move(kernel));
    }
  }
  return timing;
}

Result<TokenTiming> ReportSimulator::Run(const TokenOptions& options) {
  EventCard events(this, options.position);
  ClosedFormCard closed(this, options.position);
  Walk walk{options, nullptr, fpga::ScheduleRun(token_.schedule, options.logits), 0, 0, {}, {}, {}, {}, 0};
  walk.card = &closed;
  if (options.events) {
    walk.card = &events;
  }
  walk.begin.assign(token_.schedule.nodes().size(), 0);
  walk.end.assign(token_.schedule.nodes().size(), 0);
  walk.on_card.assign(token_.cols.size(), false);
  walk.on_host.assign(token_.cols.size(), false);
  walk.on_host[static_cast<size_t>(token_.embedded)] = true;
  walk.host = FromUs(parameters_.host_token_us);
  walk.host_work = walk.host;
  RETURN_IF_ERROR(Execute(&walk));
  for (size_t i = 0; i < token_.cols.size(); ++i) {
    const bool is_logits = static_cast<int32_t>(i) == token_.schedule.nodes().back().writes;
    if (walk.on_card[i] && !walk.on_host[i] && (options.prompt || is_logits)) {
      const Time transfer = FromNs(TransferSeconds(static_cast<int32_t>(i)) * 1e9);
      walk.host += transfer;
      walk.host_work += transfer;
    }
  }
  TokenTiming timing = Summarise(walk);
  if (options.events) {
    events.Report(timing.seconds, &timing);
  } else {
    timing.hbm_bytes = placement_.weight_bytes();
    timing.hbm_bytes += 2 * (options.position + 1) * placement_.shape.n_kv_heads * placement_.shape.head_dim * 4 *
                        placement_.shape.n_layers;
  }
  return timing;
}

Result<double> MeanTokenSeconds(ReportSimulator* simulator, int64_t first, int64_t last) {
  constexpr int64_t kSamples = 8;
  double sum = 0;
  for (int64_t i = 0; i < kSamples; ++i) {
    // Middles of equal parts: exact for a line.
    const int64_t position = first + (2 * i + 1) * (last - first) / (2 * kSamples);
    ASSIGN_OR_RETURN(const TokenTiming timing, simulator->Run({.position = position, .events = false}));
    sum += timing.seconds;
  }
  return sum / kSamples;
}

}  // namespace phidias::sim
