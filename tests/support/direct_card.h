#pragma once

#include <ap_int.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "backend/fpga/card_device.h"
#include "backend/fpga/placement.h"
#include "hls/kernels.h"

// A card without XRT: buffers in the host's memory, kernels called where they are started. For tests of what stands
// above CardDevice; knows wiring, capacity and faults, but neither time nor missing syncs.
namespace phidias::fpga {

class DirectCard final : public CardDevice {
 public:
  struct Faults {
    std::string hang_unit = {};   // its runs never end
    std::string error_unit = {};  // its runs fail
    int64_t after = 0;            // from this start of that unit on
    std::string full_bank = {};   // no buffer can be had there
  };

  DirectCard(LinkFile link, Faults faults) : link_(std::move(link)), faults_(std::move(faults)) {}

  std::string Describe() const override { return "direct card"; }

  Result<BufferId> Allocate(std::string_view bank, int64_t bytes, std::string_view what, bool card_only) override {
    RETURN_IF_ERROR(Take(bank, bytes, what));
    auto* const memory = static_cast<std::byte*>(std::aligned_alloc(4096, RoundUp(bytes)));
    std::memset(memory, 0xa5, RoundUp(bytes));
    return Add({.bank = std::string(bank), .bytes = bytes, .memory = memory, .owned = true, .card_only = card_only});
  }
  Result<BufferId> Wrap(std::string_view bank, std::span<const std::byte> memory, std::string_view what) override {
    RETURN_IF_ERROR(Take(bank, std::ssize(memory), what));
    return Add(
        {.bank = std::string(bank), .bytes = std::ssize(memory), .memory = const_cast<std::byte*>(memory.data())});
  }
  Result<BufferId> Part(BufferId whole, int64_t offset, int64_t bytes) override {
    const Buffer& parent = buffers_.at(whole);
    if (offset < 0 || offset % 4096 != 0 || offset + bytes > parent.bytes) {
      return Status(StatusCode::kInternal, "a part outside its buffer");
    }
    return Add({.bank = parent.bank, .bytes = bytes, .memory = parent.memory + offset, .part = true});
  }
  void Free(BufferId id) override {
    const auto found = buffers_.find(id);
    const Buffer& buffer = found->second;
    if (!buffer.part) {
      used_[buffer.bank] -= static_cast<int64_t>(RoundUp(buffer.bytes));
    }
    if (buffer.owned) {
      std::free(buffer.memory);
    }
    buffers_.erase(found);
  }
  std::span<std::byte> Host(BufferId id) override {
    const Buffer& buffer = buffers_.at(id);
    return {buffer.memory, static_cast<size_t>(buffer.bytes)};
  }
  Status ToCard(BufferId /*id*/) override { return {}; }
  Status FromCard(BufferId /*id*/) override { return {}; }

  Result<RunId> NewRun(std::string_view unit, std::string_view what) override {
    runs_.push_back({.unit = std::string(unit), .what = std::string(what), .arguments = {}});
    return RunId{static_cast<int32_t>(runs_.size() - 1)};
  }
  Status SetArgument(RunId run, std::string_view argument, BufferId buffer) override {
    const std::string& unit = RunOf(run).unit;
    const BankRange* const banks = PortBanks(link_, unit, argument);
    const std::string bank = buffers_.at(buffer).bank;
    for (int i = banks == nullptr ? 1 : banks->first; i <= (banks == nullptr ? 0 : banks->last); ++i) {
      if (BankTag(banks->memory, i) == bank) {
        RunOf(run).arguments[std::string(argument)] = buffers_.at(buffer).memory;
        return {};
      }
    }
    return Status(StatusCode::kInternal, StrCat(unit, ".", argument, " is not wired to ", bank));
  }
  Status SetArgument(RunId run, std::string_view argument, int32_t value) override {
    RunOf(run).arguments[std::string(argument)] = value;
    return {};
  }
  Status SetArgument(RunId run, std::string_view argument, float value) override {
    RunOf(run).arguments[std::string(argument)] = value;
    return {};
  }
  Status Start(RunId id) override {
    Run& run = RunOf(id);
    const int64_t start = starts_[run.unit]++;
    if (run.unit == faults_.hang_unit && start >= faults_.after) {
      hanging_.insert(run.what);
      return {};
    }
    if (run.unit == faults_.error_unit && start >= faults_.after) {
      failed_ = run.what;
      return {};
    }
    Call(run);
    ended_.push_back(id);
    return {};
  }
  Result<RunId> WaitAny(std::chrono::milliseconds timeout) override {
    if (!failed_.empty()) {
      return IoError(failed_, ": the run failed (error)");
    }
    if (ended_.empty()) {
      std::this_thread::sleep_for(timeout);
      return Status(StatusCode::kCancelled, "");
    }
    const RunId id = ended_.front();
    ended_.pop_front();
    return id;
  }
  std::string RunningText() const override {
    std::string text;
    for (const std::string& what : hanging_) {
      text += (text.empty() ? "" : ", ") + what;
    }
    return text;
  }
  void Abandon() override {}

  int64_t live_buffers() const { return std::ssize(buffers_); }

 private:
  struct Buffer {
    std::string bank = {};
    int64_t bytes = 0;
    std::byte* memory = nullptr;
    bool owned = false;
    bool part = false;
    bool card_only = false;
  };
  struct Run {
    std::string unit = {};
    std::string what = {};
    std::map<std::string, std::variant<std::byte*, int32_t, float>> arguments = {};

    ap_uint<512>* P(const char* name) const {
      return reinterpret_cast<ap_uint<512>*>(std::get<std::byte*>(arguments.at(name)));
    }
    int32_t I(const char* name) const { return std::get<int32_t>(arguments.at(name)); }
    float F(const char* name) const { return std::get<float>(arguments.at(name)); }
  };

  static size_t RoundUp(int64_t bytes) { return (static_cast<size_t>(bytes) + 4095) / 4096 * 4096; }
  Run& RunOf(RunId id) { return runs_[static_cast<size_t>(id)]; }

  Status Take(std::string_view bank, int64_t bytes, std::string_view what) {
    const std::string memory(bank.substr(0, bank.find('[')));
    int64_t& used = used_[std::string(bank)];
    const auto capacity = static_cast<int64_t>(FindMemory(*FindCard(link_.platform), memory)->bank_bytes);
    if (bank == faults_.full_bank || used + static_cast<int64_t>(RoundUp(bytes)) > capacity) {
      return ResourceExhausted(bank, ": no room for ", what, ", ", bytes, " bytes");
    }
    used += static_cast<int64_t>(RoundUp(bytes));
    return {};
  }
  BufferId Add(Buffer buffer) {
    const BufferId id{next_++};
    buffers_.emplace(id, std::move(buffer));
    return id;
  }

  void Call(const Run& r) {
    if (r.unit == "attention") {
      attention(r.P("q"), r.P("k"), r.P("v"), r.P("rotary"), r.P("k_cache"), r.P("v_cache"), r.P("out"), r.I("pos"),
                r.I("capacity"), r.I("n_heads"), r.I("n_kv_heads"), r.I("head_dim"), r.I("rotary_dim"), r.F("scale"));
    } else if (r.unit == "layernorm") {
      layernorm(r.P("x"), r.P("constants"), r.P("y"), r.I("n"), r.F("eps"));
    } else if (r.unit == "gelu") {
      gelu(r.P("x"), r.P("y"), r.I("n"));
    } else if (r.unit == "residual") {
      residual(r.P("att"), r.P("mlp"), r.P("x"), r.P("y"), r.I("n"));
    } else if (r.unit == "lm_head") {
      const auto top = LmHeadTop();
      top(r.P("w0"), r.P("w1"), r.P("w2"), r.P("w3"), r.P("bias"), r.P("x"), r.P("logits"), r.I("n"), r.I("k"));
    } else {
      linear_s8_b4w512(r.P("w0"), r.P("w1"), r.P("w2"), r.P("w3"), r.P("constants"), r.P("x"), r.P("y"), r.I("n"),
                       r.I("k"), r.F("inv_scale"), r.F("scale"), r.I("zero_point"));
    }
  }
  decltype(&lm_head_f16) LmHeadTop() const {
    for (const LinkUnit& unit : link_.units) {
      if (unit.unit == "lm_head" && unit.kernel != "lm_head_f16") {
        return unit.kernel == "lm_head_bf16" ? lm_head_bf16 : lm_head_f32;
      }
    }
    return lm_head_f16;
  }

  LinkFile link_;
  Faults faults_;
  int32_t next_ = 0;
  std::map<BufferId, Buffer> buffers_;
  std::map<std::string, int64_t> used_;  // bytes, by bank
  std::vector<Run> runs_;
  std::map<std::string, int64_t> starts_;
  std::deque<RunId> ended_;
  std::set<std::string> hanging_;
  std::string failed_;
};

}  // namespace phidias::fpga
