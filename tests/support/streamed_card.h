#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend/fpga/card_device.h"
#include "backend/fpga/link_file.h"
#include "hls/csim/system.h"
#include "hls/tiled_kernels.h"

// A card without XRT for the design `tiled`: buffers in the host's memory, units wired to each other as the link file
// says, all of them in one thread beside the host's. For tests of what stands above CardDevice.
namespace phidias::fpga {

class StreamedCard final : public CardDevice {
 public:
  // Fails from when *fails is set (if given). With `layout` its sequencer is one of that layout, which does no more
  // than to say so; of layout -1, one that says nothing.
  explicit StreamedCard(LinkFile link, const std::atomic<bool>* fails = nullptr, int32_t layout = 0)
      : link_(std::move(link)), fails_(fails), layout_(layout) {}
  ~StreamedCard() override {
    if (thread_.joinable()) {
      thread_.join();
    }
    for (const Buffer& buffer : buffers_) {
      std::free(buffer.memory);
    }
  }
  StreamedCard(const StreamedCard&) = delete;
  StreamedCard& operator=(const StreamedCard&) = delete;

  std::string Describe() const override { return "streamed card"; }

  Result<BufferId> Allocate(std::string_view bank, int64_t bytes, std::string_view /*what*/,
                            bool /*card_only*/) override {
    auto* const memory =
        static_cast<std::byte*>(std::aligned_alloc(4096, static_cast<size_t>(bytes + 4095) / 4096 * 4096));
    std::memset(memory, 0xa5, static_cast<size_t>(bytes));
    buffers_.push_back({std::string(bank), bytes, memory});
    return BufferId{static_cast<int32_t>(buffers_.size() - 1)};
  }
  Result<BufferId> Wrap(std::string_view /*bank*/, std::span<const std::byte> /*memory*/,
                        std::string_view /*what*/) override {
    return Status(StatusCode::kInternal, "not of this card");
  }
  Result<BufferId> Part(BufferId /*whole*/, int64_t /*offset*/, int64_t /*bytes*/) override {
    return Status(StatusCode::kInternal, "not of this card");
  }
  void Free(BufferId /*buffer*/) override {}  // with the card: its thread may still run
  std::span<std::byte> Host(BufferId id) override {
    const Buffer& buffer = buffers_[static_cast<size_t>(id)];
    return {buffer.memory, static_cast<size_t>(buffer.bytes)};
  }
  Status ToCard(BufferId /*buffer*/) override { return {}; }
  Status FromCard(BufferId /*buffer*/) override { return {}; }

  Result<RunId> NewRun(std::string_view unit, std::string_view /*what*/) override {
    runs_.push_back({std::string(unit), {}});
    return RunId{static_cast<int32_t>(runs_.size() - 1)};
  }
  Status SetArgument(RunId run, std::string_view argument, BufferId id) override {
    Run& to = runs_[static_cast<size_t>(run)];
    const Buffer& buffer = buffers_[static_cast<size_t>(id)];
    for (const LinkPort& port : link_.ports) {
      if (port.unit == to.unit && port.argument == argument && ToString(port.banks) == buffer.bank) {
        to.arguments[std::string(argument)] = buffer.memory;
        return {};
      }
    }
    return Status(StatusCode::kInternal, StrCat(to.unit, ".", argument, " is not wired to ", buffer.bank));
  }
  Status SetArgument(RunId /*run*/, std::string_view /*argument*/, int32_t /*value*/) override { return {}; }
  Status SetArgument(RunId /*run*/, std::string_view /*argument*/, float /*value*/) override { return {}; }
  // The system runs once the last unit with memory has been started.
  Status Start(RunId run) override {
    memory_units_[runs_[static_cast<size_t>(run)].unit] = run;
    if (memory_units_.size() == MemoryUnits()) {
      thread_ = std::thread([this] { RunSystem(); });
    }
    return {};
  }
  Result<RunId> WaitAny(std::chrono::milliseconds timeout) override {
    if (fails_ != nullptr && fails_->load()) {
      return IoError("the card is gone");
    }
    std::unique_lock<std::mutex> lock(mutex_);
    if (!changed_.wait_for(lock, timeout, [this] { return ended_; })) {
      return Status(StatusCode::kCancelled, "");
    }
    if (!fault_.empty()) {
      return IoError(fault_);
    }
    if (reported_ == runs_.size()) {
      return Status(StatusCode::kCancelled, "");
    }
    return RunId{static_cast<int32_t>(reported_++)};
  }
  std::string RunningText() const override { return "the system"; }
  void Abandon() override { __atomic_store_n(&abandoned_, true, __ATOMIC_RELEASE); }

 private:
  struct Buffer {
    std::string bank;
    int64_t bytes = 0;
    std::byte* memory = nullptr;
  };
  struct Run {
    std::string unit;
    std::map<std::string, std::byte*> arguments;
  };
  using Wide = ::hls::stream<TiledBeat>;
  using Narrow = ::hls::stream<TiledNarrowBeat>;
  using Headers = ::hls::stream<TiledHeaderBeat>;
  struct Links {
    std::map<std::string, Wide*> wide;
    std::map<std::string, Narrow*> narrow;
    std::map<std::string, Headers*> headers;
  };

  size_t MemoryUnits() const {
    std::map<std::string, int> units;
    for (const LinkPort& port : link_.ports) {
      ++units[port.unit];
    }
    return units.size();
  }

  ap_uint<512>* Memory(const std::string& unit, const char* argument) {
    return reinterpret_cast<ap_uint<512>*>(runs_[static_cast<size_t>(memory_units_.at(unit))].arguments.at(argument));
  }

  void AddStreams(hls::csim::System* system, Links* links) {
    for (const LinkStream& stream : link_.streams) {
      const std::string from = stream.from_unit + "." + stream.from_port;
      const std::string to = stream.to_unit + "." + stream.to_port;
      const auto depth = static_cast<uint32_t>(stream.depth);
      if (stream.from_port == "groups_out") {
        links->narrow[from] = links->narrow[to] = &system->AddStream<TiledNarrowBeat>(from, depth);
      } else if (stream.from_port == "headers_out") {
        links->headers[from] = links->headers[to] = &system->AddStream<TiledHeaderBeat>(from, depth);
      } else {
        links->wide[from] = links->wide[to] = &system->AddStream<TiledBeat>(from, depth);
      }
    }
  }

  static void OtherSequencer(uint32_t* ring, int32_t layout) {
    if (layout > 0) {
      __atomic_store_n(ring + hls::tiled::kLayoutAt, static_cast<uint32_t>(layout), __ATOMIC_RELEASE);
    }
    for (;;) {
      hls::csim::YieldToOthers();  // throws when the card is given up
    }
  }

  void RunSystem() {
    std::string fault;
    try {
      hls::csim::System system("tiled");
      Links links;
      AddStreams(&system, &links);
      for (const LinkUnit& unit : link_.units) {
        const std::string& u = unit.unit;
        const auto port = [&links, &u](const char* name) -> Wide& { return *links.wide.at(u + "." + name); };
        const auto header_port = [&links, &u](const char* name) -> Headers& {
          return *links.headers.at(u + "." + name);
        };
        if (unit.kernel == "tiled_sequencer") {
          auto* const ring = reinterpret_cast<uint32_t*>(Memory(u, "ring"));
          if (layout_ != 0) {
            system.AddUnit(u, [ring, layout = layout_] { OtherSequencer(ring, layout); });
            continue;
          }
          system.AddUnit(u,
                         [=, this, &headers_out = header_port("headers_out"), &headers_in = header_port("headers_in"),
                          &tables_out = port("tables_out"), &results_in = port("results_in")] {
                           tiled_sequencer(Memory(u, "tables"), ring, Memory(u, "logits"), headers_out, headers_in,
                                           tables_out, results_in);
                         });
        } else if (unit.kernel == "tiled_core") {
          system.AddUnit(u, [&tables = port("tables_in"), &ring_in = port("ring_in"), &ring_out = port("ring_out"),
                             &results = port("results_out")] { tiled_core(tables, ring_in, ring_out, results); });
        } else if (unit.kernel == "tiled_memory") {
          system.AddUnit(u, [channel = Memory(u, "channel"), &headers_in = header_port("headers_in"),
                             &headers_out = header_port("headers_out"), &words = port("words_out"),
                             &groups = *links.narrow.at(u + ".groups_in")] {
            tiled_memory(channel, headers_in, headers_out, words, groups);
          });
        } else {
          system.AddUnit(
              u, [&words = port("words_in"), &groups = *links.narrow.at(u + ".groups_out"), &ring_in = port("ring_in"),
                  &ring_out = port("ring_out")] { tiled_tile(words, groups, ring_in, ring_out); });
        }
      }
      system.Run(&abandoned_);
    } catch (const std::exception& error) {
      fault = error.what();
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    fault_ = fault;
    ended_ = true;
    changed_.notify_all();
  }

  LinkFile link_;
  const std::atomic<bool>* fails_;
  int32_t layout_;
  bool abandoned_ = false;  // read and written atomically
  std::vector<Buffer> buffers_;
  std::vector<Run> runs_;
  std::map<std::string, RunId> memory_units_;  // started ones
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::string fault_;
  size_t reported_ = 0;
};

}  // namespace phidias::fpga
