#include "sim/tiled_design.h"

#include <algorithm>
#include <memory>

#include "common/str.h"
#include "sim/closed_form.h"

namespace phidias::sim {
namespace {

constexpr int64_t kBeat = 64;
constexpr int64_t kPage = 4096;
constexpr int64_t kGroupRows = 16;    // rows whose sums are made together
constexpr int kHopCycles = 2;         // of the ring, from tile to tile
constexpr int64_t kMaxKvChunks = 20;  // pieces of keys, read between pieces of fc1's weights; of values, fc2's
constexpr int64_t kKvChunkBeats = 64;
constexpr int kWarmPasses = 1;

int64_t CeilDiv(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t Pages(int64_t bytes) {
  return CeilDiv(bytes, kPage) * kPage;
}

}  // namespace

TiledBytes BytesOfTile(const TiledDesign& design, const ModelShape& shape) {
  const int64_t heads = shape.n_heads * shape.head_dim;
  const int64_t kv = shape.n_kv_heads * shape.head_dim;
  const int64_t tiles = design.tiles;
  TiledBytes bytes;
  bytes.qkv = (heads + 2 * kv) * shape.hidden_size / tiles;
  bytes.fc1 = shape.intermediate_size * shape.hidden_size / tiles;
  bytes.fc2 = shape.hidden_size * shape.intermediate_size / tiles;
  bytes.dense = shape.hidden_size * heads / tiles;
  // A multiplier, a shift and a bias of each output (8 bytes), gamma and beta of the layernorm (4 bytes).
  bytes.constants =
      CeilDiv((8 * (heads + 2 * kv + shape.intermediate_size + 2 * shape.hidden_size) + 4 * shape.hidden_size) / tiles,
              kBeat) *
      kBeat;
  bytes.lm_head =
      CeilDiv(shape.vocab_size, tiles * kGroupRows) * kGroupRows * shape.hidden_size * design.lm_head_bits / 8;
  bytes.keys_per_position = kv * design.kv_bits / 8 / tiles;
  return bytes;
}

Status CheckTiledDesign(const TiledDesign& design, const ModelShape& shape, int64_t positions, const fpga::Card& card) {
  const auto divides = [&design](const char* what, int64_t value, int64_t unit) -> Status {
    if (value % (design.tiles * unit) != 0) {
      return InvalidArgument(what, " is ", value, ": it doesn't divide into ", design.tiles, " tiles",
                             unit > 1 ? StrCat(" of whole groups of ", unit, " rows") : "");
    }
    return {};
  };
  if (design.tiles < 1 || design.tiles > card.max_hbm_masters) {
    return ResourceExhausted(design.tiles, " tiles: each needs a port of its own, and ", card.name, " has ",
                             card.max_hbm_masters, " HBM masters");
  }
  if (design.lanes != kBeat) {
    return Unsupported(design.lanes, " lanes: a tile takes a beat of ", kBeat, " weights a cycle");
  }
  if (design.mhz < 50 || design.mhz > 450) {
    return InvalidArgument("a clock of ", design.mhz, " MHz: the HBM's ports take 50 to 450");
  }
  if (design.token_lanes != 1 && design.token_lanes != 2 && design.token_lanes != 4) {
    return InvalidArgument(design.token_lanes, " token lanes: 1, 2 or 4");
  }
  if ((design.kv_bits != 8 && design.kv_bits != 16) || (design.lm_head_bits != 8 && design.lm_head_bits != 16)) {
    return InvalidArgument("keys and values of ", design.kv_bits, " bits, lm_head of ", design.lm_head_bits,
                           ": 8 or 16 each");
  }
  if (design.attention_lanes < 1 || kBeat % design.attention_lanes != 0) {
    return InvalidArgument(design.attention_lanes, " lanes of attention: a divisor of ", kBeat);
  }
  if (design.weight_fifo < 2 * kBeat || design.kv_fifo < kKvChunkBeats) {
    return InvalidArgument("streams of ", design.weight_fifo, " and ", design.kv_fifo, " beats: at least ", 2 * kBeat,
                           " and ", kKvChunkBeats);
  }
  if (design.slr_tiles[0] + design.slr_tiles[1] + design.slr_tiles[2] != design.tiles) {
    return InvalidArgument("regions with ", design.slr_tiles[0], ", ", design.slr_tiles[1], " and ",
                           design.slr_tiles[2], " tiles: ", design.tiles, " in all are right");
  }
  RETURN_IF_ERROR(divides("n_heads", shape.n_heads, 1));
  RETURN_IF_ERROR(divides("n_kv_heads", shape.n_kv_heads, 1));
  RETURN_IF_ERROR(divides("n_heads * head_dim", shape.n_heads * shape.head_dim, kGroupRows));
  RETURN_IF_ERROR(divides("intermediate_size", shape.intermediate_size, kGroupRows));
  RETURN_IF_ERROR(divides("hidden_size", shape.hidden_size, kGroupRows));
  const TiledBytes bytes = BytesOfTile(design, shape);
  const int64_t used = shape.n_layers * (bytes.layer() + 2 * positions * bytes.keys_per_position) + bytes.lm_head;
  const auto bank = static_cast<int64_t>(fpga::FindMemory(card, "HBM")->bank_bytes);
  if (used > bank) {
    return ResourceExhausted("a tile's channel would hold ", used, " bytes, of ", bank, ": ", used - bank,
                             " too many at ", positions, " positions");
  }
  return {};
}

namespace {

// Stages and streams of all tiles.
class TiledBuilder {
 public:
  TiledBuilder(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass, int passes,
               const Parameters& parameters)
      : design_(design),
        shape_(shape),
        pass_(pass),
        passes_(passes),
        parameters_(parameters),
        bytes_(BytesOfTile(design, shape)),
        chain_(std::llround(parameters.chain_depth_cycles)) {
    region_.name = "tiled";
    region_.mhz = design.mhz;
  }

  RegionSpec Build() {
    region_.stages.resize(4);  // sequencer, residual and layernorm, gather of fc1, gather of attention
    for (int tile = 0; tile < design_.tiles; ++tile) {
      Tile(tile);
    }
    Sequencer();
    LayerNorm();
    Gather("RingFc1", 2, fc1_parts_, fc1_all_, Fc1Groups(), kGroupRows);
    Gather("RingAttention", 3, attention_parts_, attention_all_, 1, shape_.n_heads * shape_.head_dim / design_.tiles);
    return std::move(region_);
  }

 private:
  int Stream(const char* name, int tile, int64_t depth) {
    region_.streams.push_back({StrCat(name, tile), depth});
    return static_cast<int>(region_.streams.size()) - 1;
  }
  int64_t RowsOfTile(int64_t rows) const { return rows / design_.tiles; }
  int64_t Fc1Groups() const { return RowsOfTile(shape_.intermediate_size) / kGroupRows; }
  int64_t Tokens() const { return pass_.tokens; }
  // Beats of keys (as many of values) that one pass reads in a layer, cut into pieces.
  int64_t KvBeats() const { return CeilDiv((pass_.position + 1) * bytes_.keys_per_position, kBeat); }
  std::vector<int64_t> KvChunks() const {
    const int64_t count = std::clamp<int64_t>(CeilDiv(KvBeats(), kKvChunkBeats), 1, kMaxKvChunks);
    std::vector<int64_t> chunks;
    for (int64_t i = 0; i < count; ++i) {
      chunks.push_back(KvBeats() * (i + 1) / count - KvBeats() * i / count);
    }
    return chunks;
  }

  // The tile's part of a matrix, `bytes` of it, to the weights' stream.
  void ReadWeights(int port, int64_t bytes, int64_t stream, std::vector<LoopSpec>* loops) {
    AddBursts(region_, port, address_, bytes, false, static_cast<int>(stream), loops);
    address_ += bytes;
  }
  // Weights in as many pieces as there are pieces of keys (values), these between them.
  void ReadInterleaved(int port, int64_t bytes, int weights, int kv, std::vector<LoopSpec>* loops) {
    const std::vector<int64_t> chunks = KvChunks();
    const auto count = static_cast<int64_t>(chunks.size());
    // The last tenth of the weights comes after the last piece, so that attention ends under it.
    const int64_t before = bytes * 9 / 10 / kPage * kPage;
    int64_t done = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t until = before * (i + 1) / count / kBeat * kBeat;
      ReadWeights(port, until - done, weights, loops);
      done = until;
      AddBursts(region_, port, Pages(address_) + shape_.n_layers * Pages(bytes_.layer()),
                chunks[static_cast<size_t>(i)] * kBeat, false, kv, loops);
    }
    ReadWeights(port, bytes - done, weights, loops);
  }

  StageSpec Reader(int tile, int port, int weights, int kv) {
    StageSpec stage{StrCat("Reader", tile), {}};
    for (int pass = 0; pass < passes_; ++pass) {
      BlockSpec layer{{}, shape_.n_layers};
      address_ = 0;
      ReadWeights(port, bytes_.qkv + bytes_.constants, weights, &layer.loops);
      ReadInterleaved(port, bytes_.fc1, weights, kv, &layer.loops);
      ReadInterleaved(port, bytes_.fc2, weights, kv, &layer.loops);
      ReadWeights(port, bytes_.dense, weights, &layer.loops);
      for (LoopSpec& loop : layer.loops) {
        loop.address_per_repeat = Pages(bytes_.layer());
      }
      stage.blocks.push_back(std::move(layer));
      if (pass_.lm_head) {
        BlockSpec head;
        address_ = Pages(shape_.n_layers * Pages(bytes_.layer()));
        ReadWeights(port, bytes_.lm_head, weights, &head.loops);
        stage.blocks.push_back(std::move(head));
      }
    }
    return stage;
  }

  // `bytes` of weights through the array, a beat a cycle, in `groups` equal parts with something put after each.
  void Multiply(int64_t bytes, int weights, int64_t groups, const std::vector<Transfer>& puts,
                std::vector<LoopSpec>* loops) const {
    const int64_t beats = bytes / kBeat;
    const int64_t grain = std::min<int64_t>(kBeat, design_.weight_fifo / 2);
    const LoopSpec beat{.cycles = 1, .takes = {{weights, 1}}};
    int64_t done = 0;
    for (int64_t i = 0; i < groups; ++i) {
      const int64_t until = beats * (i + 1) / groups;
      AddLoop(beat, until - done, grain, loops);
      if (!puts.empty()) {
        loops->push_back({.puts = puts});
      }
      done = until;
    }
  }
  static LoopSpec Wait(int stream) { return {.takes = {{stream, 1}}}; }

  void Tile(int tile) {
    region_.ports.push_back({StrCat("HBM[", tile, "]"), {MemoryKind::kHbm, tile, tile}, kBeat, 16, true});
    const int port = static_cast<int>(region_.ports.size()) - 1;
    const int weights = Stream("weights", tile, design_.weight_fifo);
    const int kv = Stream("kv", tile, design_.kv_fifo);
    const int h = Stream("h", tile, 2);
    const int qkv = Stream("qkv", tile, 2);
    const int parts = Stream("ff", tile, Fc1Groups() + 1);
    const int all = Stream("ff_all", tile, 2);
    const int att_part = Stream("att", tile, 2);
    const int att_all = Stream("att_all", tile, 2);
    const int out = Stream("out", tile, 2);
    const int fresh = Stream("kv_new", tile, 2);
    h_.push_back(h);
    fc1_parts_.push_back(parts);
    fc1_all_.push_back(all);
    attention_parts_.push_back(att_part);
    attention_all_.push_back(att_all);
    out_.push_back(out);
    region_.stages.push_back(Reader(tile, port, weights, kv));

    StageSpec mac{StrCat("Mac", tile), {}};
    for (int pass = 0; pass < passes_; ++pass) {
      BlockSpec layer{{}, shape_.n_layers};
      layer.loops.push_back(Wait(h));
      Multiply(bytes_.qkv + bytes_.constants, weights, 1, {{qkv, 1}}, &layer.loops);
      Multiply(bytes_.fc1, weights, Fc1Groups(), {{parts, 1}}, &layer.loops);
      layer.loops.push_back(Wait(all));
      Multiply(bytes_.fc2, weights, 1, {}, &layer.loops);
      layer.loops.push_back(Wait(att_all));
      Multiply(bytes_.dense, weights, 1, {{out, 1}}, &layer.loops);
      mac.blocks.push_back(std::move(layer));
      BlockSpec head;
      head.loops.push_back(Wait(h));
      Multiply(pass_.lm_head ? bytes_.lm_head : 0, weights, 1, {{out, 1}}, &head.loops);
      mac.blocks.push_back(std::move(head));
    }
    region_.stages.push_back(std::move(mac));
    region_.stages.push_back(Attention(tile, kv, qkv, att_part, fresh));
    region_.stages.push_back(KvWriter(tile, port, fresh));
  }

  StageSpec Attention(int tile, int kv, int qkv, int part, int fresh) const {
    StageSpec stage{StrCat("Attention", tile), {}};
    BlockSpec layer{{}, shape_.n_layers * passes_};
    LoopSpec begin = Wait(qkv);
    begin.drain = 2 * chain_;  // requantise and rotate
    begin.puts = {{fresh, 1}};
    layer.loops.push_back(begin);
    const int64_t cycles = kBeat / design_.attention_lanes * Tokens();
    for (const bool values : {false, true}) {
      for (const int64_t beats : KvChunks()) {
        layer.loops.push_back({.cycles = beats * cycles, .takes = {{kv, beats}}});
      }
      if (!values) {
        // Exponentials by table, four scores a cycle.
        layer.loops.push_back({.cycles = CeilDiv(pass_.position + 1, 4) * HeadsOfTile() * Tokens(), .drain = chain_});
      }
    }
    layer.loops.push_back({.cycles = 1, .drain = 0, .puts = {{part, 1}}});
    layer.loops.back().cycles = chain_;
    stage.blocks.push_back(std::move(layer));
    return stage;
  }
  int64_t HeadsOfTile() const { return shape_.n_heads / design_.tiles; }

  // New keys and values, in whole groups of positions on average.
  StageSpec KvWriter(int tile, int reader_port, int fresh) {
    PortSpec port = region_.ports[static_cast<size_t>(reader_port)];
    port.name += " (write)";
    port.runs_ahead = false;
    port.outstanding = 4;
    region_.ports.push_back(port);
    StageSpec stage{StrCat("KvWriter", tile), {}};
    const int64_t bytes = CeilDiv(2 * bytes_.keys_per_position * Tokens(), kBeat) * kBeat;
    LoopSpec write{.cycles = bytes / kBeat, .takes = {{fresh, 1}}};
    write.port = static_cast<int>(region_.ports.size()) - 1;
    write.bytes = std::min(bytes, kPage);
    write.write = true;
    write.address_per_repeat = kPage * HbmChannel::kBanks;
    stage.blocks.push_back({{write}, shape_.n_layers * passes_});
    return stage;
  }

  int64_t RingCycles() const { return int64_t{kHopCycles} * (design_.tiles - 1); }

  // Gathers each tile's `rows` bytes a token, `times` times a layer; the tiles go on when the last has gone round.
  void Gather(const char* name, size_t at, const std::vector<int>& parts, const std::vector<int>& all, int64_t times,
              int64_t rows) {
    StageSpec stage{name, {{{}, shape_.n_layers * passes_}}};
    std::vector<LoopSpec>& loops = stage.blocks[0].loops;
    LoopSpec gather{.steps = times, .cycles = CeilDiv(rows * Tokens() * design_.tiles, kBeat)};
    for (const int part : parts) {
      gather.takes.push_back({part, 1});
    }
    loops.push_back(gather);
    LoopSpec release{.cycles = chain_ + RingCycles()};
    for (const int stream : all) {
      release.puts.push_back({stream, 1});
    }
    loops.push_back(release);
    region_.stages[at] = std::move(stage);
  }

  // The residual stream's sums go round, each tile normalises its part, and the parts go round. The last layernorm of a
  // pass is the final one; then the tiles' best logits go to the sequencer.
  void LayerNorm() {
    StageSpec stage{"LayerNorm", {}};
    LoopSpec take{.cycles = 2 * (chain_ + RingCycles()) +
                            CeilDiv(RowsOfTile(shape_.hidden_size), kGroupRows) * Tokens() +
                            CeilDiv(shape_.hidden_size * Tokens(), kBeat)};
    LoopSpec give;
    for (size_t i = 0; i < h_.size(); ++i) {
      take.takes.push_back({out_[i], 1});
      give.puts.push_back({h_[i], 1});
    }
    LoopSpec first = take;
    first.takes = {{next_, 1}};
    LoopSpec logits = take;
    logits.cycles = chain_ + RingCycles();
    logits.puts = {{best_, 1}};
    for (int pass = 0; pass < passes_; ++pass) {
      stage.blocks.push_back({{first, give}, 1});
      stage.blocks.push_back({{take, give}, shape_.n_layers});
      stage.blocks.push_back({{logits}, 1});
    }
    region_.stages[1] = std::move(stage);
  }

  // Chooses the token, fetches its embedding, and sends it on.
  void Sequencer() {
    next_ = Stream("next", 0, 2);
    best_ = Stream("best", 0, 2);
    StageSpec stage{"Sequencer", {}};
    const auto outside = std::llround(parameters_.outside_us * design_.mhz);
    for (int pass = 0; pass < passes_; ++pass) {
      stage.blocks.push_back(
          {{{.puts = {{next_, 1}}}, {.cycles = pass_.lm_head ? outside : 0, .takes = {{best_, 1}}}}, 1});
    }
    region_.stages[0] = std::move(stage);
  }

  const TiledDesign& design_;
  const ModelShape& shape_;
  const TiledPass& pass_;
  int passes_;
  const Parameters& parameters_;
  TiledBytes bytes_;
  int64_t chain_;
  int64_t address_ = 0;
  RegionSpec region_;
  std::vector<int> h_, fc1_parts_, fc1_all_, attention_parts_, attention_all_, out_;
  int next_ = 0;
  int best_ = 0;
};

int64_t ProductsOfPass(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass) {
  const TiledBytes bytes = BytesOfTile(design, shape);
  const int64_t layer = bytes.qkv + bytes.fc1 + bytes.fc2 + bytes.dense +
                        2 * (pass.position + 1) * shape.n_heads * shape.head_dim / design.tiles;
  return design.tiles * (pass.tokens * shape.n_layers * layer + (pass.lm_head ? bytes.lm_head : 0));
}

// The slower of memory and arithmetic, with the bubbles between layers that neither hides.
double ClosedFormPass(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass,
                      const Parameters& parameters) {
  const TiledBytes bytes = BytesOfTile(design, shape);
  const auto beats = [](int64_t of) { return static_cast<double>(of) / kBeat; };
  const int64_t kv = 2 * CeilDiv((pass.position + 1) * bytes.keys_per_position, kBeat) * kBeat;
  const int64_t head = pass.lm_head ? bytes.lm_head : 0;
  const auto layers = static_cast<double>(shape.n_layers);
  const double cycle = 1e-6 / design.mhz;
  // A port moves a beat a cycle, the channel what refresh leaves of its peak.
  const double gbs = std::min(StreamingGbs(parameters) * 1e9, kBeat / cycle);
  const double ring = kHopCycles * (design.tiles - 1);
  const double chain = parameters.chain_depth_cycles;
  const auto tokens = static_cast<double>(pass.tokens);
  const double norm = 2 * (chain + ring) + (static_cast<double>(shape.hidden_size) / design.tiles / kGroupRows +
                                            static_cast<double>(shape.hidden_size) / kBeat) *
                                               tokens;
  const double gather = chain + ring + tokens * kGroupRows * design.tiles / kBeat;
  const double outside = pass.lm_head ? parameters.outside_us * 1e-6 + (norm + chain + ring) * cycle : norm * cycle;
  const double memory = (layers * static_cast<double>(bytes.layer() + kv) + static_cast<double>(head)) / gbs +
                        layers * 2 * parameters.hbm_turnaround_ns * 1e-9;
  // Attention goes on under fc1 (keys) and fc2 (values), whose weights come interleaved with them; dense waits for
  // both.
  const double one_side = beats(kv) / 2 * kBeat / design.attention_lanes * tokens;
  const int64_t groups = (pass.position + 4) / 4;
  const double softmax = static_cast<double>(groups) * tokens + chain;
  const double attention = 2 * chain + 2 * one_side + softmax + 2 * chain + ring;
  const double mlp = std::max(beats(bytes.fc1), one_side) + gather + std::max(beats(bytes.fc2), one_side);
  const double layer = beats(bytes.qkv + bytes.constants) + std::max(mlp, attention) + beats(bytes.dense) + norm;
  const double arithmetic = (layers * layer + beats(head)) * cycle + outside;
  // While the tiles wait, readers fill their streams.
  const double covered = static_cast<double>(design.weight_fifo * kBeat) / gbs;
  return std::max(memory + std::max(0.0, outside - covered) + layers * std::max(0.0, norm * cycle - covered),
                  arithmetic);
}

}  // namespace

RegionSpec TiledRegion(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass, int passes,
                       const Parameters& parameters) {
  return TiledBuilder(design, shape, pass, passes, parameters).Build();
}

namespace {

void ReportStages(const RegionSpec& region, const std::vector<StageCounts>& counts, TokenTiming* timing) {
  // One of each kind stands for all: the tiles are alike.
  for (size_t i = 0; i < counts.size(); ++i) {
    const std::string& name = region.stages[i].name;
    const bool of_tile = name.find_first_of("0123456789") != std::string::npos && !name.starts_with("Ring");
    if (of_tile && !name.ends_with("r0") && name != "Mac0" && name != "Attention0") {
      continue;
    }
    timing->stages.push_back({"tiled", name, ToSeconds(counts[i].busy), ToSeconds(counts[i].waits_for_input),
                              ToSeconds(counts[i].waits_for_output), ToSeconds(counts[i].waits_for_memory),
                              counts[i].worst_stream});
  }
}

}  // namespace

Result<TokenTiming> TimeTiledPass(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass,
                                  bool events, const Parameters& parameters) {
  if (pass.tokens < 1 || pass.tokens > design.token_lanes) {
    return InvalidArgument(pass.tokens, " tokens in a pass: the design has ", design.token_lanes, " token lanes");
  }
  TokenTiming timing;
  timing.products = ProductsOfPass(design, shape, pass);
  if (!events) {
    const TiledBytes bytes = BytesOfTile(design, shape);
    timing.seconds = ClosedFormPass(design, shape, pass, parameters);
    timing.hbm_bytes =
        design.tiles * (shape.n_layers * (bytes.layer() + 2 * (pass.position + 1) * bytes.keys_per_position) +
                        (pass.lm_head ? bytes.lm_head : 0));
  } else {
    const int passes = kWarmPasses + 1;
    const auto region = std::make_shared<const RegionSpec>(TiledRegion(design, shape, pass, passes, parameters));
    RETURN_IF_ERROR(CheckRegion(*region));
    Memories memories(parameters, 32);
    Engine engine(&memories);
    engine.WatchStage(0);
    engine.Start(region, 0);
    ASSIGN_OR_RETURN(const Engine::End end, engine.RunUntilEnd());
    const std::vector<Time>& ends = engine.block_ends();
    timing.seconds = ToSeconds(ends[kWarmPasses] - ends[kWarmPasses - 1]);
    timing.events = engine.events();
    ReportStages(*region, engine.stages(end.region), &timing);
    for (size_t i = 0; i < memories.hbm().size(); ++i) {
      const BankCounts& counts = memories.hbm()[i].counts();
      const int64_t bytes = (counts.read_bytes + counts.written_bytes) / passes;
      timing.hbm_bytes += bytes;
      timing.banks.push_back({StrCat("HBM[", i, "]"), bytes, ToSeconds(counts.transferring) / ToSeconds(end.time),
                              ToSeconds(counts.refreshing) / passes, ToSeconds(counts.activating) / passes,
                              ToSeconds(counts.turning) / passes});
    }
  }
  timing.kernels = timing.seconds - (pass.lm_head ? parameters.outside_us * 1e-6 : 0);
  timing.host = timing.seconds - timing.kernels;
  timing.layer = timing.kernels / static_cast<double>(shape.n_layers);
  timing.by_kernel.push_back({"tiled", 1, timing.kernels});
  return timing;
}

}  // namespace phidias::sim
