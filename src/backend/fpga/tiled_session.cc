#include "backend/fpga/tiled_session.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

#include "backend/fpga/card.h"
#include "backend/fpga/tiled_link.h"
#include "hls/tiled_design.h"

namespace phidias::fpga {
namespace {

using hls::kWordBytes;
using hls::kWordFloats;
namespace tiled = hls::tiled;

constexpr auto kPollPause = std::chrono::microseconds(20);
constexpr int kPollsPerLook = 100;  // at the result, before the runs' state is looked at
constexpr auto kStopTime = std::chrono::seconds(10);

std::span<int32_t> Ints(CardDevice& card, BufferId buffer) {
  const std::span<std::byte> bytes = card.Host(buffer);
  return {reinterpret_cast<int32_t*>(bytes.data()), bytes.size() / sizeof(int32_t)};
}

uint32_t Load(const uint32_t* place) {
  return __atomic_load_n(place, __ATOMIC_ACQUIRE);
}
void Store(uint32_t* place, int32_t value) {
  __atomic_store_n(place, static_cast<uint32_t>(value), __ATOMIC_RELEASE);
}

// Whole pages, as XRT's buffers are.
constexpr int64_t Pages(int64_t bytes) {
  return (bytes + 4095) / 4096 * 4096;
}

}  // namespace

Result<std::unique_ptr<TiledSession>> TiledSession::Start(std::shared_ptr<CardDevice> card, const Images& images,
                                                          ThreadPool& pool, const TiledSessionOptions& options) {
  std::unique_ptr<TiledSession> session(new TiledSession(std::move(card), images.sizes, options));
  RETURN_IF_ERROR(session->Upload(images, pool));
  RETURN_IF_ERROR(session->StartUnits());
  session->failure_ = session->CheckLayout();
  RETURN_IF_ERROR(session->failure_);
  return session;
}

Status TiledSession::Upload(const Images& images, ThreadPool& pool) {
  const auto allocate = [&](const std::string& bank, int64_t bytes, const std::string& what) -> Result<BufferId> {
    ASSIGN_OR_RETURN(const BufferId buffer, card_->Allocate(bank, Pages(bytes), what, /*card_only=*/false));
    buffers_.push_back(buffer);
    const std::span<std::byte> host = card_->Host(buffer);
    std::fill(host.begin(), host.end(), std::byte{0});
    return buffer;
  };
  for (int32_t tile = 0; tile < sizes_.tiles; ++tile) {
    ASSIGN_OR_RETURN(const BufferId channel, allocate(BankTag("HBM", tile), images.channel_words * kWordBytes,
                                                      StrCat("the channel of tile ", tile)));
    channels_.push_back(channel);
  }
  pool.ParallelFor(sizes_.tiles, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t tile = begin; tile < end; ++tile) {
      images.pack_channel(static_cast<int32_t>(tile), Ints(*card_, channels_[static_cast<size_t>(tile)]));
    }
  });
  ASSIGN_OR_RETURN(tables_,
                   allocate(images.table_bank, images.table_words * kWordBytes, "embedding, rotary and norm tables"));
  images.pack_tables(Ints(*card_, tables_));
  ASSIGN_OR_RETURN(ring_, allocate("HOST[0]", int64_t{tiled::kRingFields} * 4, "the command ring"));
  const int64_t row_words =
      std::max<int64_t>(tiled::kCandidateWords, int64_t{sizes_.tiles} * tiled::RowGroups(sizes_.head_rows));
  ASSIGN_OR_RETURN(logits_, allocate("HOST[0]", tiled::kLanes * row_words * kWordBytes, "logits"));
  for (const BufferId channel : channels_) {
    RETURN_IF_ERROR(card_->ToCard(channel));
  }
  return card_->ToCard(tables_);
}

Status TiledSession::StartUnits() {
  const auto start = [&](RunId run) {
    RETURN_IF_ERROR(card_->Start(run));
    ++running_;
    return Status();
  };
  for (int32_t tile = 0; tile < sizes_.tiles; ++tile) {
    ASSIGN_OR_RETURN(const RunId run, card_->NewRun(TiledMemoryUnit(tile), "the session"));
    RETURN_IF_ERROR(card_->SetArgument(run, "channel", channels_[static_cast<size_t>(tile)]));
    RETURN_IF_ERROR(start(run));
  }
  ASSIGN_OR_RETURN(const RunId run, card_->NewRun(kSequencerUnit, "the session"));
  RETURN_IF_ERROR(card_->SetArgument(run, "tables", tables_));
  RETURN_IF_ERROR(card_->SetArgument(run, "ring", ring_));
  RETURN_IF_ERROR(card_->SetArgument(run, "logits", logits_));
  return start(run);
}

// Before the first command: kernels of another layout would read it, and the weights, wrongly.
Status TiledSession::CheckLayout() const {
  const uint32_t* const place = Ring() + tiled::kLayoutAt;
  RETURN_IF_ERROR(Await([place] { return Load(place) != 0; }, {})
                      .WithContext("the sequencer didn't say which layout it has (a card that was built before there "
                                   "was this check never does; build it again)"));
  const auto layout = static_cast<int32_t>(Load(place));
  if (layout != tiled::kLayoutVersion) {
    return Unsupported("design tiled: the card's kernels have layout ", layout, ", this program has layout ",
                       tiled::kLayoutVersion, ": build kernels and program from the same sources");
  }
  return {};
}

TiledSession::~TiledSession() {
  if (running_ > 0 && failure_.ok()) {
    Submit({.opcode = tiled::kStop, .tokens = {}});
    failure_ = AwaitEnd();
  }
  if (!failure_.ok()) {
    card_->Abandon();
  }
  for (const BufferId buffer : buffers_) {
    card_->Free(buffer);
  }
}

uint32_t* TiledSession::Ring() const {
  return reinterpret_cast<uint32_t*>(card_->Host(ring_).data());
}

void TiledSession::Submit(const TiledCommand& command) {
  uint32_t* const slot = Ring() + tiled::kCommandsAt + sequence_ % tiled::kSlots * tiled::kSlotFields;
  ++sequence_;
  Store(slot + tiled::kCommandOpcode, command.opcode);
  Store(slot + tiled::kCommandTokens, static_cast<int32_t>(command.tokens.size()));
  Store(slot + tiled::kCommandPosition, command.position);
  Store(slot + tiled::kCommandKvBase, command.kv_base);
  Store(slot + tiled::kCommandKvGroups, command.kv_groups);
  Store(slot + tiled::kCommandLogitMask, command.logit_mask);
  Store(slot + tiled::kCommandLogitKind, command.logit_kind);
  for (size_t i = 0; i < command.tokens.size(); ++i) {
    Store(slot + tiled::kCommandToken0 + i, command.tokens[i]);
  }
  Store(slot + tiled::kCommandCount, command.count);
  Store(slot + tiled::kCommandEnd, command.end);
  Store(slot + tiled::kCommandSequence, sequence_);
}

Status TiledSession::CheckReady() const {
  RETURN_IF_ERROR(failure_);
  const bool stop = options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed);
  return stop ? Status(StatusCode::kCancelled, "stopped on request") : Status();
}

TiledResult TiledSession::ResultOf(int32_t sequence) const {
  const uint32_t* const result = Ring() + tiled::kResultsAt + (sequence - 1) % tiled::kSlots * tiled::kSlotFields;
  return {.saturated = static_cast<int64_t>(Load(result + tiled::kResultSaturated)),
          .generated = static_cast<int32_t>(Load(result + tiled::kResultGenerated))};
}

Result<TiledResult> TiledSession::Run(const TiledCommand& command) {
  RETURN_IF_ERROR(CheckReady());
  Submit(command);
  failure_ = AwaitResult({});
  RETURN_IF_ERROR(failure_);
  return ResultOf(sequence_);
}

Result<TiledResult> TiledSession::Generate(const TiledCommand& command, const TiledChoice& choice,
                                           const std::function<bool(int32_t)>& take) {
  RETURN_IF_ERROR(CheckReady());
  const uint32_t* const ids = Ring() + tiled::kGeneratedAt;
  std::fill_n(Ring() + tiled::kGeneratedAt, tiled::kMaxGenerated, 0U);
  SetChoice(choice);
  Submit(command);
  int32_t taken = 0;
  bool wanted = true;
  const auto take_new = [&] {
    const int32_t before = taken;
    for (uint32_t id = 0; taken < command.count && (id = Load(ids + taken)) != 0; ++taken) {
      if (wanted && !take(static_cast<int32_t>(id - 1))) {
        wanted = false;
        Store(Ring() + tiled::kHaltAt, sequence_);
      }
    }
    return taken > before;
  };
  failure_ = AwaitResult(take_new);
  RETURN_IF_ERROR(failure_);
  take_new();  // what came between the last look and the result
  return ResultOf(sequence_);
}

void TiledSession::SetChoice(const TiledChoice& choice) {
  uint32_t* const banned = Ring() + tiled::kBannedAt;
  for (size_t i = 0; i < choice.banned.size(); ++i) {
    Store(banned + 1 + i, choice.banned[i]);
  }
  Store(banned, static_cast<int32_t>(choice.banned.size()));
  uint32_t* const sampling = Ring() + tiled::kSamplingAt;
  const auto store64 = [sampling](int field, uint64_t value) {
    Store(sampling + field, static_cast<int32_t>(value));
    Store(sampling + field + 1, static_cast<int32_t>(value >> 32));
  };
  const auto store_float = [sampling](int field, float value) {
    Store(sampling + field, static_cast<int32_t>(numerics::BitsOf(value)));
  };
  store_float(tiled::kSamplingTemperature, choice.rule.temperature);
  Store(sampling + tiled::kSamplingTopK, choice.rule.top_k);
  store_float(tiled::kSamplingTopP, choice.rule.top_p);
  store_float(tiled::kSamplingMinP, choice.rule.min_p);
  store64(tiled::kSamplingSeed, choice.key.seed);
  store64(tiled::kSamplingStream, choice.key.stream);
}

Status TiledSession::AwaitResult(const std::function<bool()>& look) const {
  const int32_t sequence = sequence_;
  const uint32_t* const place =
      Ring() + tiled::kResultsAt + (sequence - 1) % tiled::kSlots * tiled::kSlotFields + tiled::kResultSequence;
  return Await([place, sequence] { return static_cast<int32_t>(Load(place)) == sequence; }, look);
}

// Nothing but a failure ends a run before the stop command.
Status TiledSession::Await(const std::function<bool()>& done, const std::function<bool()>& look) const {
  auto begin = std::chrono::steady_clock::now();
  for (int polls = 1; !done(); ++polls) {
    if (look && look()) {
      begin = std::chrono::steady_clock::now();
    }
    if (polls % kPollsPerLook != 0) {
      std::this_thread::sleep_for(kPollPause);
      continue;
    }
    const Result<RunId> ended = card_->WaitAny(std::chrono::milliseconds(0));
    if (ended.ok()) {
      return IoError("design tiled: a unit ended in the middle of a command; running: ", card_->RunningText());
    }
    if (ended.status().code() != StatusCode::kCancelled) {
      return ended.status();
    }
    if (std::chrono::steady_clock::now() - begin > options_.timeout) {
      return IoError("design tiled: no result within ",
                     std::chrono::duration_cast<std::chrono::seconds>(options_.timeout).count(),
                     " s; running: ", card_->RunningText());
    }
  }
  return {};
}

Status TiledSession::AwaitEnd() {
  while (running_ > 0) {
    const Result<RunId> ended = card_->WaitAny(kStopTime);
    RETURN_IF_ERROR(ended.status());
    --running_;
  }
  return {};
}

void TiledSession::Logits(int32_t row, std::span<float> out) const {
  const auto groups = static_cast<size_t>(tiled::RowGroups(sizes_.head_rows));
  const auto per_tile = static_cast<size_t>(sizes_.head_rows);
  const auto tile_floats = groups * kWordFloats;
  const auto* const floats = reinterpret_cast<const float*>(card_->Host(logits_).data()) +
                             static_cast<size_t>(row) * static_cast<size_t>(sizes_.tiles) * tile_floats;
  for (size_t tile = 0; tile * per_tile < out.size(); ++tile) {
    const size_t count = std::min(per_tile, out.size() - tile * per_tile);
    std::copy_n(floats + tile * tile_floats, count, out.data() + tile * per_tile);
  }
}

}  // namespace phidias::fpga
