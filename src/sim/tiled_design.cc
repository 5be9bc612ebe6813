#include "sim/tiled_design.h"

#include <algorithm>
#include <memory>

#include "backend/fpga/tiled_packer.h"
#include "common/str.h"
#include "hls/tiled_cycles.h"
#include "sim/closed_form.h"

namespace phidias::sim {
namespace {

constexpr int64_t kBeat = hls::kWordBytes;
constexpr int64_t kPage = 4096;
constexpr int64_t kGroupRows = hls::tiled::kTileRows;
constexpr int kHopCycles = 2;  // of the ring, from tile to tile
constexpr int kWarmPasses = 1;

int64_t CeilDiv(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t Pages(int64_t bytes) {
  return CeilDiv(bytes, kPage) * kPage;
}

}  // namespace

hls::tiled::Pass PlanOf(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass) {
  int32_t fields[hls::tiled::kHeaderFields] = {};
  fields[hls::tiled::kOpcode] = hls::tiled::kPass;
  fields[hls::tiled::kTiles] = design.tiles;
  fields[hls::tiled::kTokens] = pass.tokens;
  fields[hls::tiled::kPosition] = static_cast<int32_t>(pass.position);
  fields[hls::tiled::kLogitMask] = pass.lm_head ? 1 : 0;
  fields[hls::tiled::kLogitKind] = hls::tiled::kBestLogits;
  fields[hls::tiled::kLayers] = static_cast<int32_t>(shape.n_layers);
  fields[hls::tiled::kHidden] = static_cast<int32_t>(shape.hidden_size);
  fields[hls::tiled::kIntermediate] = static_cast<int32_t>(shape.intermediate_size);
  fields[hls::tiled::kHeads] = static_cast<int32_t>(shape.n_heads / design.tiles);
  fields[hls::tiled::kHeadDim] = static_cast<int32_t>(shape.head_dim);
  fields[hls::tiled::kRotaryDim] = static_cast<int32_t>(shape.rotary_dim);
  fields[hls::tiled::kVocab] =
      hls::tiled::VocabField(shape.vocab_size, design.weight_bits == 4, design.lm_head_bits / 8);
  return hls::tiled::PassOf(fields);
}

TiledBytes BytesOfTile(const TiledDesign& design, const ModelShape& shape) {
  const hls::tiled::Pass plan = PlanOf(design, shape, {});
  TiledBytes bytes;
  bytes.qkv = QkvWords(plan) * kBeat;
  bytes.fc1 = Fc1Words(plan) * kBeat;
  bytes.fc2 = Fc2Words(plan) * kBeat;
  bytes.dense = DenseWords(plan) * kBeat;
  bytes.lm_head = HeadWords(plan) * kBeat;
  bytes.keys_per_position =
      plan.heads * hls::tiled::KvGroupWords(plan.head_dim) * kBeat / hls::tiled::kKvGroup * design.kv_bits / 8;
  return bytes;
}

void SpreadTiles(TiledDesign* design) {
  for (int& tiles : design->slr_tiles) {
    tiles = 0;
  }
  for (int tile = 0; tile < design->tiles; ++tile) {
    ++design->slr_tiles[hls::tiled::TileRegion(tile, design->tiles)];
  }
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
  if (design.port_bits != 256 && design.port_bits != hls::kWordBits) {
    return InvalidArgument("ports of ", design.port_bits, " bits: 256 or ", int{hls::kWordBits});
  }
  if (design.mhz < 50 || design.mhz > 450) {
    return InvalidArgument("a clock of ", design.mhz, " MHz: the HBM's ports take 50 to 450");
  }
  if (design.token_lanes != 1 && design.token_lanes != 2 && design.token_lanes != 4) {
    return InvalidArgument(design.token_lanes, " token lanes: 1, 2 or 4");
  }
  if (design.weight_bits != 4 && design.weight_bits != 8) {
    return InvalidArgument("weights of ", design.weight_bits, " bits: 4 or 8");
  }
  if (design.weight_bits == 4 && !design.int4) {
    return InvalidArgument("weights of 4 bits: the array of this design multiplies int8 alone (int4=1)");
  }
  if ((design.kv_bits != 8 && design.kv_bits != 16) || (design.lm_head_bits != 8 && design.lm_head_bits != 16)) {
    return InvalidArgument("keys and values of ", design.kv_bits, " bits, lm_head of ", design.lm_head_bits,
                           ": 8 or 16 each");
  }
  if (design.attention_lanes < 1 || kBeat % design.attention_lanes != 0) {
    return InvalidArgument(design.attention_lanes, " lanes of attention: a divisor of ", kBeat);
  }
  if (design.weight_fifo < 2 * kBeat || design.kv_fifo < kBeat) {
    return InvalidArgument("streams of ", design.weight_fifo, " and ", design.kv_fifo, " beats: at least ", 2 * kBeat,
                           " and ", kBeat);
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
  return fpga::CheckTiledShape(shape, design.tiles,
                               design.weight_bits == 4);  // the kernels' buffers, which resources count as they are
}

namespace {

// Cycles of one pass's stages: the kernels' loops, and what fills a pipeline (chain_depth_cycles).
struct Cycles {
  Cycles(const TiledDesign& design, const hls::tiled::Pass& plan, const Parameters& parameters)
      : chain(std::llround(parameters.chain_depth_cycles)), ring(int64_t{kHopCycles} * (design.tiles - 1)) {
    normalize = NormalizeCycles(plan, plan.tokens) + 3 * chain + ring;
    load = ResidualCycles(plan) + normalize;
    dense_to_norm = CollectRowsCycles(plan) + ring + ResidualCycles(plan) + chain + normalize;
    collect_mlp = CollectCycles(plan, plan.mlp_slice_words) + ring;
    send_mlp = InputCycles(plan, plan.mlp_words) + chain + ring;
    collect_attention = CollectCycles(plan, plan.slice_words) + ring;
    send_attention = InputCycles(plan, plan.slices_words) + chain + ring;
    load_attention = InputCycles(plan, plan.slices_words);
    merge = MergeCycles(plan, 1) + chain + ring;
    prepare = PrepareCycles(plan) + 3 * chain;
    of_word = CeilDiv(WordCycles(plan) * hls::tiled::kAttendBytes, design.attention_lanes);
    own_words = (AttendedWords(plan) - CacheWords(plan)) * of_word;
    soften = SoftenCycles(plan) + chain;
    attended = AttendedCycles(plan) + 2 * chain;
  }
  int64_t chain;
  int64_t ring;
  int64_t normalize, load, dense_to_norm, collect_mlp, send_mlp, collect_attention, send_attention,
      merge;                                              // the core's
  int64_t load_attention;                                 // the array's: dense's inputs wait while fc2 computes
  int64_t prepare, of_word, own_words, soften, attended;  // the attention's
};

// What the array's cycles of a linear layer have beyond a word each.
struct ArrayWork {
  int64_t twice = 0;  // beats that take two
  int64_t drain = 0;
  int64_t cycles() const { return twice + drain; }
};

struct LayerWork {
  explicit LayerWork(const hls::tiled::Pass& plan) {
    const auto of = [&plan](int32_t rows, int32_t input_words, int64_t linears) {
      return ArrayWork{linears * SecondCycles(plan, rows, input_words), linears * DrainCycles(plan, rows)};
    };
    qkv = of(plan.rows, plan.hidden_words, 3);
    fc1 = of(plan.mlp_rows, plan.hidden_words, 1);
    fc2 = of(plan.rows, plan.mlp_words, 1);
    dense = of(plan.rows, plan.slices_words, 1);
  }
  ArrayWork qkv, fc1, fc2, dense;
};

// Between a pass's last logit and the next one's first word: the choice, and where the next embedding lies.
double OutsideUs(const TiledDesign& design, const ModelShape& shape, const Parameters& parameters) {
  const double row = 4e-3 * static_cast<double>(shape.hidden_size) / parameters.pcie_gbs;
  return parameters.outside_us + (design.host_tables ? parameters.host_read_us + row : 0);
}

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
        plan_(PlanOf(design, shape, pass)),
        cycles_(design, plan_, parameters) {
    region_.name = "tiled";
    region_.mhz = design.mhz;
  }

  RegionSpec Build() {
    region_.stages.resize(2);  // sequencer, core
    for (int tile = 0; tile < design_.tiles; ++tile) {
      Tile(tile);
    }
    Sequencer();
    Core();
    return std::move(region_);
  }

 private:
  int Stream(const char* name, int tile, int64_t depth) {
    region_.streams.push_back({StrCat(name, tile), depth});
    return static_cast<int>(region_.streams.size()) - 1;
  }
  int64_t BeatsOfWord() const { return hls::kWordBits / design_.port_bits; }  // of the port
  int32_t Fc1Groups() const { return hls::tiled::RowGroups(plan_.mlp_rows); }
  int32_t Fc2Groups() const { return hls::tiled::RowGroups(plan_.rows); }
  // Words of the cache before row group `group` of fc1 (keys) or fc2 (values).
  int64_t CachePart(int32_t group, bool values) const {
    const int32_t step = values ? plan_.value_step : plan_.key_step;
    const int32_t left = std::max(0, CacheWords(plan_) - group * step);
    return int64_t{hls::tiled::CachePart(left, step)} * design_.kv_bits / 8;
  }

  // The tile's part of a matrix, `bytes` of it, to the weights' stream.
  void ReadWeights(int port, int64_t bytes, int64_t stream, std::vector<LoopSpec>* loops) {
    AddBursts(region_, port, address_, bytes, false, static_cast<int>(stream), loops);
    address_ += bytes;
  }
  // The groups of fc1 (fc2) with the keys (values) between them, as hls/tiled_memory.cc reads them.
  void ReadWithCache(int port, int64_t bytes, int32_t groups, bool values, int weights, int kv,
                     std::vector<LoopSpec>* loops) {
    int64_t done = 0;
    for (int32_t group = 0; group < groups; ++group) {
      AddBursts(region_, port, Pages(address_) + shape_.n_layers * Pages(bytes_.layer()),
                CachePart(group, values) * kBeat, false, kv, loops);
      const int64_t until = bytes / kBeat * (group + 1) / groups * kBeat;
      ReadWeights(port, until - done, weights, loops);
      done = until;
    }
  }

  StageSpec Reader(int tile, int port, int weights, int kv, int all_read, int written) {
    StageSpec stage{StrCat("Reader", tile), {}};
    for (int pass = 0; pass < passes_; ++pass) {
      BlockSpec layer{{}, shape_.n_layers};
      address_ = 0;
      ReadWeights(port, bytes_.qkv, weights, &layer.loops);
      ReadWithCache(port, bytes_.fc1, Fc1Groups(), false, weights, kv, &layer.loops);
      ReadWithCache(port, bytes_.fc2, Fc2Groups(), true, weights, kv, &layer.loops);
      ReadWeights(port, bytes_.dense, weights, &layer.loops);
      for (LoopSpec& loop : layer.loops) {
        loop.address_per_repeat = Pages(bytes_.layer());
      }
      stage.blocks.push_back(std::move(layer));
      BlockSpec end;
      if (pass_.lm_head) {
        address_ = Pages(shape_.n_layers * Pages(bytes_.layer()));
        ReadWeights(port, bytes_.lm_head, weights, &end.loops);
      }
      end.loops.push_back({.puts = {{all_read, 1}}});
      end.loops.push_back(Wait(written));
      stage.blocks.push_back(std::move(end));
    }
    return stage;
  }

  // `bytes` of weights through the array, a beat a cycle, `work.twice` of them for two, with something put at the end.
  void Multiply(const char* what, int64_t bytes, const ArrayWork& work, int weights, const std::vector<Transfer>& puts,
                std::vector<LoopSpec>* loops) const {
    const int64_t grain = std::min<int64_t>(kBeat, design_.weight_fifo / 2);
    const auto beats = [&](int64_t count, int64_t cycles) {
      AddLoop({.cycles = cycles, .takes = {{weights, BeatsOfWord()}}, .what = what}, count, grain, loops);
    };
    beats(bytes / kBeat - work.twice, 1);
    if (work.twice > 0) {
      beats(work.twice, 2);
    }
    if (work.drain > 0) {
      loops->push_back({.cycles = work.drain});
    }
    if (!puts.empty()) {
      loops->push_back({.puts = puts});
    }
  }
  static LoopSpec Wait(int stream) { return {.takes = {{stream, 1}}}; }

  void Tile(int tile) {
    region_.ports.push_back({StrCat("HBM[", tile, "]"),
                             {MemoryKind::kHbm, tile, tile},
                             design_.port_bits / 8,
                             hls::tiled::kReadBursts,
                             true});
    const int port = static_cast<int>(region_.ports.size()) - 1;
    const int weights = Stream("weights", tile, design_.weight_fifo * BeatsOfWord());
    const int kv = CacheWords(plan_) > 0 ? Stream("kv", tile, design_.kv_fifo * BeatsOfWord()) : -1;  // position 0
    const int h = Stream("h", tile, 2);
    const int qkv = Stream("qkv", tile, 2);
    const int mlp = Stream("mlp", tile, 2);
    const int mlp_all = Stream("mlp_all", tile, 2);
    const int attention = Stream("att", tile, 2);
    const int attention_all = Stream("att_all", tile, 2);
    const int out = Stream("out", tile, 2);
    const int all_read = Stream("all_read", tile, 2);
    const int written = Stream("written", tile, 2);
    h_.push_back(h);
    mlp_.push_back(mlp);
    mlp_all_.push_back(mlp_all);
    attention_.push_back(attention);
    attention_all_.push_back(attention_all);
    out_.push_back(out);
    region_.stages.push_back(Reader(tile, port, weights, kv, all_read, written));

    const LayerWork work(plan_);
    StageSpec mac{StrCat("Mac", tile), {}};
    for (int pass = 0; pass < passes_; ++pass) {
      BlockSpec layer{{}, shape_.n_layers};
      layer.loops.push_back(Wait(h));
      Multiply("q, k, v", bytes_.qkv, work.qkv, weights, {{qkv, 1}}, &layer.loops);
      Multiply("fc1", bytes_.fc1, work.fc1, weights, {{mlp, 1}}, &layer.loops);
      layer.loops.push_back(Wait(mlp_all));
      Multiply("fc2", bytes_.fc2, work.fc2, weights, {}, &layer.loops);
      layer.loops.push_back(Wait(attention_all));
      layer.loops.back().cycles = cycles_.load_attention;
      Multiply("dense", bytes_.dense, work.dense, weights, {{out, 1}}, &layer.loops);
      mac.blocks.push_back(std::move(layer));
      BlockSpec head;
      head.loops.push_back(Wait(h));
      Multiply("lm_head", pass_.lm_head ? bytes_.lm_head : 0, {}, weights, {{out, 1}}, &head.loops);
      mac.blocks.push_back(std::move(head));
    }
    region_.stages.push_back(std::move(mac));
    region_.stages.push_back(Attention(tile, kv, qkv, attention));
    region_.stages.push_back(KvWriter(tile, port, all_read, written));
  }

  StageSpec Attention(int tile, int kv, int qkv, int done) const {
    StageSpec stage{StrCat("Attention", tile), {}};
    BlockSpec layer{{}, shape_.n_layers * passes_};
    LoopSpec begin = Wait(qkv);
    begin.cycles = cycles_.prepare;
    begin.what = "rotary";
    layer.loops.push_back(begin);
    for (const bool values : {false, true}) {
      const int32_t groups = values ? Fc2Groups() : Fc1Groups();
      for (int32_t group = 0; group < groups; ++group) {
        const int64_t words = CachePart(group, values);
        AddLoop({.cycles = cycles_.of_word, .takes = {{kv, BeatsOfWord()}}, .what = values ? "values" : "keys"}, words,
                std::max<int64_t>(1, kBeat / 8), &layer.loops);
      }
      layer.loops.push_back({.cycles = cycles_.own_words});
      layer.loops.push_back(
          {.cycles = values ? cycles_.attended : cycles_.soften, .what = values ? "output" : "softmax"});
    }
    layer.loops.back().puts = {{done, 1}};
    stage.blocks.push_back(std::move(layer));
    return stage;
  }

  // The groups that hold the pass's own positions, when the pass has read everything.
  StageSpec KvWriter(int tile, int reader_port, int all_read, int written) {
    PortSpec port = region_.ports[static_cast<size_t>(reader_port)];
    port.name += " (write)";
    port.runs_ahead = false;
    port.outstanding = 4;
    region_.ports.push_back(port);
    StageSpec stage{StrCat("KvWriter", tile), {}};
    const int64_t bytes = KeptWords(plan_) * kBeat * design_.kv_bits / 8;
    LoopSpec write{.steps = CeilDiv(bytes, kPage), .cycles = kPage / kBeat * hls::tiled::kKeptWordCycles};
    write.port = static_cast<int>(region_.ports.size()) - 1;
    write.bytes = std::min(bytes, kPage);
    write.write = true;
    write.address_per_repeat = kPage * HbmChannel::kBanks;
    stage.blocks.push_back({{Wait(all_read), write, {.puts = {{written, 1}}}}, passes_});
    return stage;
  }

  static LoopSpec With(int64_t cycles, const std::vector<int>& takes, const std::vector<int>& puts,
                       const char* what = "") {
    LoopSpec loop{.cycles = cycles, .what = what};
    for (const int stream : takes) {
      loop.takes.push_back({stream, 1});
    }
    for (const int stream : puts) {
      loop.puts.push_back({stream, 1});
    }
    return loop;
  }

  // hls/tiled_core_stages.h: RunPass.
  void Core() {
    StageSpec stage{"Core", {}};
    for (int pass = 0; pass < passes_; ++pass) {
      stage.blocks.push_back({{With(cycles_.load, {next_}, h_)}, 1});
      stage.blocks.push_back(
          {{With(cycles_.collect_mlp, mlp_, {}, "collects gelu"), With(cycles_.send_mlp, {}, mlp_all_, "sends gelu"),
            With(cycles_.collect_attention, attention_, {}, "collects attention"),
            With(cycles_.send_attention, {}, attention_all_, "sends attention"),
            With(cycles_.dense_to_norm, out_, h_, "residual, norm")},
           shape_.n_layers});
      stage.blocks.push_back({{With(pass_.lm_head ? cycles_.merge : cycles_.chain, out_, {best_})}, 1});
    }
    region_.stages[1] = std::move(stage);
  }

  // Chooses the token, fetches its embedding, and sends it on.
  void Sequencer() {
    next_ = Stream("next", 0, 2);
    best_ = Stream("best", 0, 2);
    StageSpec stage{"Sequencer", {}};
    const auto outside = std::llround(OutsideUs(design_, shape_, parameters_) * design_.mhz);
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
  hls::tiled::Pass plan_;
  Cycles cycles_;
  int64_t address_ = 0;
  RegionSpec region_;
  std::vector<int> h_, mlp_, mlp_all_, attention_, attention_all_, out_;
  int next_ = 0;
  int best_ = 0;
};

int64_t ProductsOfPass(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass) {
  const int64_t heads = shape.n_heads * shape.head_dim;
  const int64_t weights = shape.hidden_size * (3 * heads + 2 * shape.intermediate_size) + heads * shape.hidden_size;
  // Of 4 bits, one more for each unit's sum.
  const int64_t units = design.weight_bits == 4 ? weights / hls::tiled::kUnitInputs : 0;
  const int64_t layer = weights + units + 2 * (pass.position + 1) * heads;
  return pass.tokens * shape.n_layers * layer + (pass.lm_head ? 2 * shape.vocab_size * shape.hidden_size : 0);
}

// The slower of memory and arithmetic, with the bubbles between layers that neither hides.
double ClosedFormPass(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass,
                      const Parameters& parameters) {
  const TiledBytes bytes = BytesOfTile(design, shape);
  const hls::tiled::Pass plan = PlanOf(design, shape, pass);
  const Cycles cycles(design, plan, parameters);
  const auto layers = static_cast<double>(shape.n_layers);
  const auto real = [](int64_t value) { return static_cast<double>(value); };
  const auto beats = [](int64_t of) { return static_cast<double>(of) / kBeat; };
  const double cycle = 1e-6 / design.mhz;
  // A port moves a beat a cycle, the channel what refresh leaves of its peak.
  const double gbs = std::min(StreamingGbs(parameters) * 1e9, design.port_bits / 8.0 / cycle);
  const int64_t cache = int64_t{CacheWords(plan)} * kBeat * design.kv_bits / 8;
  const int64_t head = pass.lm_head ? bytes.lm_head : 0;
  const double writes = real(KeptWords(plan) * design.kv_bits / 8 * hls::tiled::kKeptWordCycles) * cycle;
  const double memory =
      (layers * real(bytes.layer() + 2 * cache) + real(head)) / gbs + writes + parameters.hbm_turnaround_ns * 1e-9;
  // Keys are met under fc1 and values under fc2, between whose weights they come: the slower of the two holds the other
  // back but for what the streams hold. dense waits for both.
  const double walk = beats(cache) * real(cycles.of_word);
  const double held = std::min(walk, real(design.kv_fifo * cycles.of_word));
  const LayerWork work(plan);
  const double fc1 = std::max(beats(bytes.fc1 + cache) + real(work.fc1.cycles()), real(cycles.prepare) + walk - held);
  const double mlp_ring = real(cycles.collect_mlp + cycles.send_mlp);
  const double scored = std::max(fc1, real(cycles.prepare) + walk) + real(cycles.own_words + cycles.soften);
  const double fc2 =
      std::max(fc1 + mlp_ring + beats(bytes.fc2 + cache) + real(work.fc2.cycles()), scored + walk - held);
  const double attended = std::max(scored + walk, fc1 + mlp_ring + beats(cache)) +
                          real(cycles.own_words + cycles.attended + cycles.collect_attention + cycles.send_attention);
  const double dense_waits = std::max(0.0, attended - fc2);
  const double layer = beats(bytes.qkv) + real(work.qkv.cycles() + work.dense.cycles()) + fc2 + dense_waits +
                       real(cycles.load_attention) + beats(bytes.dense) + real(cycles.dense_to_norm);
  const double around = real(cycles.load + (pass.lm_head ? cycles.merge : cycles.chain)) * cycle +
                        (pass.lm_head ? OutsideUs(design, shape, parameters) * 1e-6 : 0);
  const double arithmetic = (layers * layer + beats(head)) * cycle + around;
  // While the tiles wait, memory units fill the streams.
  const double covered = static_cast<double>(design.weight_fifo) / (gbs / kBeat);
  const auto uncovered = [&](double bubble) { return std::max(0.0, bubble - covered); };
  const double stalled = std::max(0.0, std::max(scored + walk - held, real(cycles.prepare) + walk - held) * cycle -
                                           (beats(bytes.fc1 + bytes.fc2 + 2 * cache) * kBeat / gbs));
  return std::max(memory + uncovered(around) +
                      layers * (stalled + uncovered(real(cycles.dense_to_norm) * cycle) + uncovered(mlp_ring * cycle) +
                                uncovered(dense_waits * cycle)),
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
    const bool of_tile = name.find_first_of("0123456789") != std::string::npos;
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
    const std::vector<int> traced = {1, 3, 4};  // core, MAC array and attention of the first tile
    engine.TraceStages(traced, shape.n_layers / 2);
    engine.Start(region, 0);
    ASSIGN_OR_RETURN(const Engine::End end, engine.RunUntilEnd());
    const std::vector<Time>& ends = engine.block_ends();
    timing.seconds = ToSeconds(ends[kWarmPasses] - ends[kWarmPasses - 1]);
    timing.events = engine.events();
    ReportStages(*region, engine.stages(end.region), &timing);
    for (const LoopRun& run : engine.loop_runs()) {
      timing.runs.push_back(
          {region->stages[static_cast<size_t>(run.stage)].name, run.what, ToSeconds(run.begin), ToSeconds(run.end)});
    }
    for (size_t i = 0; i < memories.hbm().size(); ++i) {
      const BankCounts& counts = memories.hbm()[i].counts();
      const int64_t bytes = (counts.read_bytes + counts.written_bytes) / passes;
      timing.hbm_bytes += bytes;
      timing.banks.push_back({StrCat("HBM[", i, "]"), bytes, ToSeconds(counts.transferring) / ToSeconds(end.time),
                              ToSeconds(counts.refreshing) / passes, ToSeconds(counts.activating) / passes,
                              ToSeconds(counts.turning) / passes});
    }
  }
  timing.kernels = timing.seconds - (pass.lm_head ? OutsideUs(design, shape, parameters) * 1e-6 : 0);
  timing.host = timing.seconds - timing.kernels;
  timing.layer = timing.kernels / static_cast<double>(shape.n_layers);
  timing.by_kernel.push_back({"tiled", 1, timing.kernels});
  return timing;
}

}  // namespace phidias::sim
