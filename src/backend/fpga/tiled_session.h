#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/fpga/card_device.h"
#include "common/status.h"
#include "common/thread_pool.h"
#include "hls/tiled_plan.h"
#include "numerics/sampling.h"

namespace phidias::fpga {

// What the sequencer is to do: hls/tiled_design.h, CommandField.
struct TiledCommand {
  int32_t opcode = hls::tiled::kPass;
  std::vector<int32_t> tokens;  // 1..kLanes; one for kGenerate
  int32_t position = 0;
  int32_t kv_base = 0;
  int32_t kv_groups = 0;
  int32_t logit_mask = 0;
  int32_t logit_kind = hls::tiled::kAllLogits;
  int32_t count = 0;  // kGenerate
  int32_t end = -1;   // kGenerate
};
// How kGenerate chooses: hls/tiled_design.h, SamplingField.
struct TiledChoice {
  std::vector<int32_t> banned;  // at most kMaxBanned
  numerics::SampleRule rule = {};
  numerics::DrawKey key = {};
};
struct TiledResult {
  int64_t saturated = 0;
  int32_t generated = 0;
};

struct TiledSessionOptions {
  std::chrono::milliseconds timeout{60000};
  const std::atomic<bool>* cancel = nullptr;
};

// The design `tiled` at work on a card: all units started once, commands by way of the ring in the host's memory. A
// token starts no kernel.
class TiledSession {
 public:
  // What is to lie on the card: an image per channel, each with room for KV caches behind the weights, and the tables.
  struct Images {
    hls::tiled::Pass sizes;
    int64_t channel_words = 0;  // with the KV caches' room
    int64_t table_words = 0;
    std::string table_bank;  // TiledTableBank
    // Fill an image, whose words are zero: tile's channel, the tables.
    std::function<void(int32_t tile, std::span<int32_t> out)> pack_channel;
    std::function<void(std::span<int32_t> out)> pack_tables;
  };
  static Result<std::unique_ptr<TiledSession>> Start(std::shared_ptr<CardDevice> card, const Images& images,
                                                     ThreadPool& pool, const TiledSessionOptions& options);
  // Stops the units; gives the card up if they don't end.
  ~TiledSession();
  TiledSession(const TiledSession&) = delete;
  TiledSession& operator=(const TiledSession&) = delete;

  CardDevice& card() const { return *card_; }
  // Waits for the command's end. kCancelled leaves the session as it was before.
  Result<TiledResult> Run(const TiledCommand& command);
  // Of the last command: `vocab` logits of its row `row` of those that were asked for.
  void Logits(int32_t row, std::span<float> out) const;
  // Runs kGenerate. Every id goes to `take` as it is chosen, hls::tiled::kNoCandidate where all candidates are banned;
  // once `take` says false, the card ends after the token that it is at.
  Result<TiledResult> Generate(const TiledCommand& command, const TiledChoice& choice,
                               const std::function<bool(int32_t)>& take);

 private:
  TiledSession(std::shared_ptr<CardDevice> card, const hls::tiled::Pass& sizes, const TiledSessionOptions& options)
      : card_(std::move(card)), sizes_(sizes), options_(options) {}

  Status Upload(const Images& images, ThreadPool& pool);
  Status StartUnits();
  uint32_t* Ring() const;
  void Submit(const TiledCommand& command);
  Status CheckReady() const;
  void SetChoice(const TiledChoice& choice);
  Status CheckLayout() const;
  // The last command's result. Calls `look` (may be null) between looks at it; each time that says true, the time-out
  // begins anew.
  Status AwaitResult(const std::function<bool()>& look) const;
  Status Await(const std::function<bool()>& done, const std::function<bool()>& look) const;
  TiledResult ResultOf(int32_t sequence) const;
  Status AwaitEnd();

  std::shared_ptr<CardDevice> card_;
  hls::tiled::Pass sizes_;
  TiledSessionOptions options_;
  std::vector<BufferId> channels_;
  std::vector<BufferId> buffers_;  // all, for freeing
  BufferId tables_{};
  BufferId ring_{};
  BufferId logits_{};
  int32_t sequence_ = 0;  // of the last command
  int running_ = 0;       // runs started that haven't ended
  Status failure_;        // what ended the session before its time
};

}  // namespace phidias::fpga
