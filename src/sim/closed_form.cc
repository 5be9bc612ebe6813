#include "sim/closed_form.h"

#include <algorithm>
#include <vector>

namespace phidias::sim {
namespace {

constexpr int kSweeps = 6;  // chains of bounded streams that pass a rate on are shorter

// One loop of a stage, over one repeat of its block.
struct Loop {
  const LoopSpec* spec = nullptr;
  int64_t repeats = 1;
  int stage = 0;
  int block = 0;
  double cycles = 0;  // of one repeat, by itself or as its streams allow
};

class Estimate {
 public:
  Estimate(const RegionSpec& region, const Parameters& parameters) : region_(region), parameters_(parameters) {
    producers_.resize(region.streams.size());
    consumers_.resize(region.streams.size());
    for (const StageSpec& stage : region.stages) {
      for (const BlockSpec& block : stage.blocks) {
        for (const LoopSpec& loop : block.loops) {
          AddLoop(loop, block.repeats, static_cast<int>(&stage - region.stages.data()),
                  static_cast<int>(&block - stage.blocks.data()));
        }
      }
    }
  }

  double Seconds() {
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      for (Loop& loop : loops_) {
        Sweep(&loop);
      }
    }
    std::vector<double> begin(region_.stages.size());
    std::vector<double> total(region_.stages.size());
    for (const Loop& loop : loops_) {
      total[static_cast<size_t>(loop.stage)] +=
          static_cast<double>(loop.repeats) * (loop.cycles + static_cast<double>(loop.spec->drain));
    }
    // A stage begins when the first loop that reads a stream finds something there, and ends after what feeds it.
    std::vector<double> end(region_.stages.size());
    for (size_t sweep = 0; sweep < region_.stages.size(); ++sweep) {
      bool changed = false;
      for (size_t i = 0; i < region_.stages.size(); ++i) {
        const auto [new_begin, least_end] = AfterProducers(static_cast<int>(i), begin, end);
        const double new_end = std::max(new_begin + total[i], least_end);
        changed |= new_begin > begin[i] || new_end > end[i];
        begin[i] = std::max(begin[i], new_begin);
        end[i] = std::max(end[i], new_end);
      }
      if (!changed) {
        break;
      }
    }
    const double cycles = *std::max_element(end.begin(), end.end()) + WriteLatencyCycles();
    return cycles * 1e-6 / region_.mhz;
  }

 private:
  double LatencyCycles(const PortSpec& port) const {
    const double ns = port.target.kind == MemoryKind::kPlram ? parameters_.plram_latency_ns
                      : port.target.kind == MemoryKind::kDdr
                          ? parameters_.ddr_latency_ns
                          : parameters_.hbm_path_ns + parameters_.hbm_rcd_ns + parameters_.hbm_cl_ns;
    return ns * region_.mhz * 1e-3;
  }

  // What a loop takes by itself: its steps, or the bytes that the memory and the bursts under way let through.
  double OwnCycles(const LoopSpec& loop) const {
    const auto steps = static_cast<double>(loop.steps);
    double cycles = steps * static_cast<double>(loop.cycles);
    if (loop.port < 0) {
      return cycles;
    }
    const PortSpec& port = region_.ports[static_cast<size_t>(loop.port)];
    const auto bytes = static_cast<double>(loop.bytes);
    if (port.target.kind != MemoryKind::kPlram) {
      const double gbs = port.target.kind == MemoryKind::kHbm ? StreamingGbs(parameters_) : parameters_.ddr_gbs;
      cycles = std::max(cycles, steps * bytes / gbs * region_.mhz * 1e-3);
      const double round_trip = LatencyCycles(port) + bytes / gbs * region_.mhz * 1e-3;
      cycles = std::max(cycles, steps * round_trip / port.outstanding);
    }
    return cycles + (loop.write || port.runs_ahead ? 0 : LatencyCycles(port));
  }

  void AddLoop(const LoopSpec& spec, int64_t repeats, int stage, int block) {
    const auto number = static_cast<int>(loops_.size());
    loops_.push_back({&spec, repeats, stage, block, OwnCycles(spec)});
    for (const Transfer& t : spec.puts) {
      producers_[static_cast<size_t>(t.stream)].push_back(number);
    }
    for (const Transfer& t : spec.takes) {
      consumers_[static_cast<size_t>(t.stream)].push_back(number);
    }
  }

  // Cycles for each element at one end of a stream, over all its loops there.
  double CyclesPerElement(int stream, const std::vector<int>& at) const {
    double cycles = 0;
    double elements = 0;
    for (const int number : at) {
      const Loop& loop = loops_[static_cast<size_t>(number)];
      for (const std::vector<Transfer>* list : {&loop.spec->puts, &loop.spec->takes}) {
        for (const Transfer& t : *list) {
          if (t.stream == stream) {
            cycles += static_cast<double>(loop.repeats) * loop.cycles;
            elements += static_cast<double>(loop.repeats * loop.spec->steps * t.elements);
          }
        }
      }
    }
    return elements > 0 ? cycles / elements : 0;
  }

  void Sweep(Loop* loop) {
    const auto limit = [this, loop](const std::vector<Transfer>& transfers,
                                    const std::vector<std::vector<int>>& other) {
      for (const Transfer& t : transfers) {
        const auto stream = static_cast<size_t>(t.stream);
        const auto elements = static_cast<double>(loop->spec->steps * t.elements);
        const auto depth = static_cast<double>(region_.streams[stream].depth);
        // What the stream holds between one repeat and the next need not be waited for.
        const double waits = std::max(0.0, elements - depth);
        loop->cycles = std::max(loop->cycles, waits * CyclesPerElement(t.stream, other[stream]));
      }
    };
    limit(loop->spec->takes, producers_);
    limit(loop->spec->puts, consumers_);
  }

  struct Bounds {
    double begin = 0;
    double least_end = 0;
  };
  Bounds AfterProducers(int stage, const std::vector<double>& begin, const std::vector<double>& end) const {
    Bounds bounds;
    double before = 0;  // of the stage's own loops, until the one looked at
    for (const Loop& loop : loops_) {
      if (loop.stage != stage) {
        continue;
      }
      for (const Transfer& t : loop.spec->takes) {
        const Loop& producer = loops_[static_cast<size_t>(producers_[static_cast<size_t>(t.stream)].front())];
        const auto from = static_cast<size_t>(producer.stage);
        const double first = begin[from] + BeforeLoop(producer) + FirstPut(producer);
        bounds.begin = std::max(bounds.begin, first - before);
        const Loop& last = loops_[static_cast<size_t>(consumers_[static_cast<size_t>(t.stream)].back())];
        const Loop& fed = loops_[static_cast<size_t>(producers_[static_cast<size_t>(t.stream)].back())];
        bounds.least_end =
            std::max(bounds.least_end, end[from] - AfterLoop(fed) + static_cast<double>(last.spec->cycles) +
                                           static_cast<double>(last.spec->drain) + AfterLoop(last));
      }
      before += static_cast<double>(loop.repeats) * (loop.cycles + static_cast<double>(loop.spec->drain));
    }
    return bounds;
  }
  double FirstPut(const Loop& loop) const {
    const double step = static_cast<double>(loop.spec->cycles);
    const bool reads = loop.spec->port >= 0 && !loop.spec->write;
    return reads ? step + LatencyCycles(region_.ports[static_cast<size_t>(loop.spec->port)]) : step;
  }
  // The time of the loops of its stage before it, in their first repeats, and after it, in their last.
  double BeforeLoop(const Loop& target) const {
    double cycles = 0;
    for (const Loop& loop : loops_) {
      if (&loop == &target) {
        break;
      }
      if (loop.stage == target.stage) {
        const bool same_block = loop.block == target.block;
        cycles += (same_block ? 1.0 : static_cast<double>(loop.repeats)) *
                  (loop.cycles + static_cast<double>(loop.spec->drain));
      }
    }
    return cycles;
  }
  double AfterLoop(const Loop& target) const {
    double cycles = 0;
    bool after = false;
    for (const Loop& loop : loops_) {
      if (after && loop.stage == target.stage) {
        const bool same_block = loop.block == target.block;
        cycles += (same_block ? 1.0 : static_cast<double>(loop.repeats)) *
                  (loop.cycles + static_cast<double>(loop.spec->drain));
      }
      after |= &loop == &target;
    }
    return cycles;
  }

  double WriteLatencyCycles() const {
    double latency = 0;
    for (const Loop& loop : loops_) {
      if (loop.spec->port >= 0 && loop.spec->write) {
        latency = std::max(latency, LatencyCycles(region_.ports[static_cast<size_t>(loop.spec->port)]));
      }
    }
    return latency;
  }

  const RegionSpec& region_;
  const Parameters& parameters_;
  std::vector<Loop> loops_;
  std::vector<std::vector<int>> producers_;  // loops, by stream
  std::vector<std::vector<int>> consumers_;
};

}  // namespace

double ClosedFormSeconds(const RegionSpec& region, const Parameters& parameters) {
  return Estimate(region, parameters).Seconds();
}

}  // namespace phidias::sim
