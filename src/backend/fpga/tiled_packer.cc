#include "backend/fpga/tiled_packer.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "hls/tiled_layout.h"
#include "numerics/bits.h"
#include "numerics/integer.h"
#include "ref/decode_row.h"

namespace phidias::fpga {
namespace {

using hls::kWordBytes;
using hls::kWordFloats;
using hls::tiled::Columns;
using hls::tiled::kTileRows;
using hls::tiled::Pass;

constexpr int64_t kMaxChannelWords = (int64_t{256} << 20) / kWordBytes;

Status CheckLimit(const char* what, int64_t value, int64_t limit) {
  return value <= limit ? Status()
                        : Unsupported("design tiled: ", what, " would be ", value, ", and the kernels have room for ",
                                      limit, " (hls/tiled_design.h)");
}

// Writes whole words one after the other.
class Writer {
 public:
  explicit Writer(int32_t* out) : out_(out) {}

  int32_t* place() const { return out_; }
  void MoveTo(int32_t* place) { out_ = place; }
  void Bytes(const void* bytes, size_t count) {
    std::memcpy(out_, bytes, count);
    out_ += (count + kWordBytes - 1) / kWordBytes * kWordFloats;
  }
  void Ints(std::initializer_list<int32_t> values) {
    std::fill_n(out_, kWordFloats, 0);
    std::copy(values.begin(), values.end(), out_);
    out_ += kWordFloats;
  }

 private:
  int32_t* out_;
};

void PackLinear(const IntegerLinear& linear, int32_t tile, int32_t rows, const Columns& columns, Writer* out) {
  const WeightMatrix& weight = linear.source->weight;
  const WeightQuant& quant = linear.source->quant;
  const bool is_int4 = weight.dtype == DType::kI4;
  const hls::tiled::I4Rows int4 = {.packed = reinterpret_cast<const uint8_t*>(weight.data),
                                   .row_bytes = weight.RowBytes(),
                                   .multipliers = quant.multiplier.data(),
                                   .groups = is_int4 ? quant.Groups(weight.cols) : 0,
                                   .group = static_cast<int32_t>(quant.group)};
  const hls::tiled::TileLinear packed = {.weight = is_int4 ? nullptr : reinterpret_cast<const int8_t*>(weight.data),
                                         .int4 = is_int4 ? &int4 : nullptr,
                                         .bias = linear.bias.data(),
                                         .multiplier = linear.multiplier.data(),
                                         .shift = linear.shift.data(),
                                         .zero_point = linear.zero_point,
                                         .low = linear.low,
                                         .high = linear.high,
                                         .first_row = tile * rows,
                                         .rows = rows,
                                         .all_rows = static_cast<int32_t>(linear.n)};
  out->MoveTo(hls::tiled::PackTileLinear(packed, columns, out->place()));
}

void PackHeadConstants(const IntegerAttention& attention, const Pass& sizes, int32_t tile, Writer* out) {
  for (int32_t h = 0; h < sizes.heads; ++h) {
    const int32_t head_index = tile * sizes.heads + h;
    const auto head = static_cast<size_t>(head_index);
    out->Ints({attention.to_steps[head].multiplier, attention.to_steps[head].shift, attention.ratio[head].multiplier,
               attention.ratio[head].shift, attention.zero_point});
  }
}

void PackLayer(const IntegerLayer& layer, const Pass& sizes, int32_t tile, Writer* out) {
  const Columns hidden = {1, sizes.hidden, sizes.hidden};
  PackHeadConstants(layer.attention, sizes, tile, out);
  for (const IntegerLinear* linear : {&layer.q_proj, &layer.k_proj, &layer.v_proj}) {
    PackLinear(*linear, tile, sizes.rows, hidden, out);
  }
  out->Bytes(layer.gelu_table, sizeof layer.gelu_table);
  PackLinear(layer.fc1, tile, sizes.mlp_rows, hidden, out);
  PackLinear(layer.fc2, tile, sizes.rows, {sizes.tiles, sizes.mlp_rows, static_cast<int32_t>(layer.fc2.k)}, out);
  PackLinear(layer.dense, tile, sizes.rows, {sizes.tiles, sizes.rows, sizes.hidden}, out);
}

// What the planes' 128 and the row's bias add to its logit, in units of the accumulator.
int64_t HeadBias(const IntegerHead& head, int64_t row) {
  const int64_t high = int64_t{128} * head.high_sum[static_cast<size_t>(row)];
  const int64_t planes = head.low.empty() ? high : 256 * high + int64_t{128} * head.low_sum[static_cast<size_t>(row)];
  return head.bias[static_cast<size_t>(row)] + planes;
}

void PackHead(const IntegerHead& head, const Pass& sizes, int32_t tile, Writer* out) {
  const Columns columns = {1, sizes.hidden, sizes.hidden};
  for (int32_t g = 0; g < hls::tiled::RowGroups(sizes.head_rows); ++g) {
    int64_t bias[kTileRows] = {};
    float scale[kTileRows] = {};
    const int8_t* high[kTileRows] = {};
    const int8_t* low[kTileRows] = {};
    for (int r = 0; r < kTileRows; ++r) {
      const int32_t within = g * kTileRows + r;
      const int64_t row = int64_t{tile} * sizes.head_rows + within;
      if (within < sizes.head_rows && row < head.n) {
        bias[r] = HeadBias(head, row);
        scale[r] = head.scale[static_cast<size_t>(row)];
        high[r] = head.high.data() + row * head.k;
        low[r] = head.low.empty() ? nullptr : head.low.data() + row * head.k;
      }
    }
    out->Bytes(bias, sizeof bias);
    out->Bytes(scale, sizeof scale);
    for (int32_t plane = 0; plane < sizes.planes; ++plane) {
      hls::tiled::PackRowGroup(plane == 0 ? high : low, columns, reinterpret_cast<int8_t*>(out->place()));
      out->MoveTo(out->place() + columns.words() * hls::tiled::kBeatsPerWord * kWordFloats);
    }
  }
}

void PackNorm(const IntegerNorm& norm, Writer* out) {
  out->Ints({norm.gain_shift, static_cast<int32_t>(norm.eps_term), static_cast<int32_t>(norm.eps_term >> 32)});
  const size_t n = norm.gain.size();
  for (size_t i = 0; i < n; i += kWordFloats) {
    const size_t bytes = std::min<size_t>(kWordFloats, n - i) * sizeof(int32_t);
    out->Bytes(norm.gain.data() + i, bytes);
    out->Bytes(norm.offset.data() + i, bytes);
  }
}

int64_t EmbeddingAt() {
  return 1;
}
int64_t RotaryAt(const ModelShape& shape) {
  return EmbeddingAt() + shape.vocab_size * hls::tiled::IntWords(static_cast<int32_t>(shape.hidden_size));
}
int64_t NormsAt(const ModelShape& shape) {
  return RotaryAt(shape) + shape.max_positions * hls::tiled::RotaryWords(static_cast<int32_t>(shape.rotary_dim));
}

}  // namespace

Status CheckTiledShape(const ModelShape& shape, int64_t tiles, bool int4) {
  using namespace hls::tiled;  // NOLINT(google-build-using-namespace): the design's constants
  if (tiles < 1 || tiles > kMaxTiles || shape.n_heads % tiles != 0) {
    return InvalidArgument("design tiled: ", tiles, " tiles: the number of tiles divides the model's ", shape.n_heads,
                           " heads and is at most ", int{kMaxTiles});
  }
  if (shape.n_kv_heads != shape.n_heads) {
    return Unsupported("design tiled: the model has ", shape.n_kv_heads, " KV heads for ", shape.n_heads,
                       " heads; a tile keeps keys and values of each of its heads (use --design report)");
  }
  if (shape.head_dim % 2 != 0 || shape.hidden_size != shape.n_heads * shape.head_dim) {
    return Unsupported("design tiled: hidden_size ", shape.hidden_size, " is not ", shape.n_heads, " heads of ",
                       shape.head_dim);
  }
  const Pass sizes = TiledSizes(shape, tiles, {.int4 = int4, .wide_head = true});
  for (const int32_t share : {sizes.rows, sizes.mlp_rows}) {
    if (int4 && !UnitsFit({sizes.tiles, share, share * sizes.tiles})) {
      return Unsupported("design tiled: a tile's share of dense's or fc2's inputs would be ", share, " of ", tiles,
                         " tiles, and 4-bit weights need a multiple of ", int{kQuarterBytes}, ", so that ",
                         int{kUnitInputs},
                         " inputs in turn have one multiplier (fewer tiles, or int8: `phidias quantize --arith "
                         "integer`)");
    }
  }
  RETURN_IF_ERROR(CheckLimit("hidden_size", shape.hidden_size, hls::kMaxHidden));
  RETURN_IF_ERROR(CheckLimit("head_dim", shape.head_dim, hls::kMaxHeadDim));
  RETURN_IF_ERROR(CheckLimit("fc2's inputs, each tile's share in whole words,", int64_t{sizes.mlp_words} * kWordBytes,
                             kMaxTileInputs));
  RETURN_IF_ERROR(CheckLimit("a tile's heads", sizes.heads, kMaxTileHeads));
  RETURN_IF_ERROR(CheckLimit("a tile's heads times head_dim", sizes.rows, kMaxTileElements));
  RETURN_IF_ERROR(CheckLimit("the KV groups that a pass writes, in words,",
                             shape.n_layers * sizes.heads * 2 * KvGroupWords(sizes.head_dim), kMaxTileKvWords));
  RETURN_IF_ERROR(CheckLimit("a tile's scores (heads, lanes, positions)",
                             int64_t{sizes.heads} * kLanes * KvGroups(shape.max_positions) * kKvGroup, kMaxTileScores));
  return CheckLimit("a channel's weights, in words,", ChannelWords(sizes), kMaxChannelWords);
}

Result<int64_t> ChooseTiles(const ModelShape& shape, int64_t channels, bool int4) {
  Status first;
  for (int64_t tiles = std::min<int64_t>({shape.n_heads, channels, hls::tiled::kMaxTiles}); tiles >= 1; --tiles) {
    if (shape.n_heads % tiles == 0) {
      Status status = CheckTiledShape(shape, tiles, int4);
      if (status.ok()) {
        return tiles;
      }
      if (first.ok()) {
        first = std::move(status);
      }
    }
  }
  return first;
}

Pass TiledSizes(const ModelShape& shape, int64_t tiles, const TiledPrecision& precision) {
  int32_t fields[hls::tiled::kHeaderFields] = {};
  fields[hls::tiled::kTiles] = static_cast<int32_t>(tiles);
  fields[hls::tiled::kLayers] = static_cast<int32_t>(shape.n_layers);
  fields[hls::tiled::kHidden] = static_cast<int32_t>(shape.hidden_size);
  fields[hls::tiled::kIntermediate] = static_cast<int32_t>(shape.intermediate_size);
  fields[hls::tiled::kHeads] = static_cast<int32_t>(shape.n_heads / tiles);
  fields[hls::tiled::kHeadDim] = static_cast<int32_t>(shape.head_dim);
  fields[hls::tiled::kRotaryDim] = static_cast<int32_t>(shape.rotary_dim);
  fields[hls::tiled::kVocab] = hls::tiled::VocabField(shape.vocab_size, precision.int4, precision.wide_head ? 2 : 1);
  return hls::tiled::PassOf(fields);
}

int64_t TiledKvWords(const Pass& sizes, int64_t positions) {
  return int64_t{sizes.layers} * sizes.heads * 2 * KvGroups(positions) * hls::tiled::KvGroupWords(sizes.head_dim);
}

int64_t TiledTableWords(const ModelShape& shape) {
  return NormsAt(shape) + (shape.n_layers + 1) * hls::tiled::NormWords(static_cast<int32_t>(shape.hidden_size));
}

void PackTiledChannel(const IntegerModel& model, const Pass& sizes, int32_t tile, std::span<int32_t> out) {
  Writer writer(out.data());
  writer.Bytes(model.exp_table, sizeof model.exp_table);
  for (const IntegerLayer& layer : model.layers) {
    PackLayer(layer, sizes, tile, &writer);
  }
  PackHead(model.lm_head, sizes, tile, &writer);
}

void PackTiledTables(const IntegerModel& model, const Pass& sizes, ThreadPool& pool, std::span<int32_t> out) {
  const ModelShape& shape = model.shape;
  std::fill_n(out.data(), kWordFloats, 0);
  const auto set = [&](int field, int64_t value) { out[static_cast<size_t>(field)] = static_cast<int32_t>(value); };
  set(hls::tiled::kTableTiles, sizes.tiles);
  set(hls::tiled::kTableEmbedding, EmbeddingAt());
  set(hls::tiled::kTableRotary, RotaryAt(shape));
  set(hls::tiled::kTableNorms, NormsAt(shape));
  set(hls::tiled::kLayers, sizes.layers);
  set(hls::tiled::kHidden, sizes.hidden);
  set(hls::tiled::kIntermediate, shape.intermediate_size);
  set(hls::tiled::kHeads, sizes.heads);
  set(hls::tiled::kHeadDim, sizes.head_dim);
  set(hls::tiled::kRotaryDim, sizes.rotary_dim);
  set(hls::tiled::kVocab, hls::tiled::VocabField(shape.vocab_size, sizes.int4, sizes.planes));

  const auto width = static_cast<size_t>(hls::tiled::IntWords(sizes.hidden)) * kWordFloats;
  std::vector<float> rows(static_cast<size_t>(shape.hidden_size * pool.size()));
  pool.ParallelFor(shape.vocab_size, 64, [&](int64_t begin, int64_t end, int thread) {
    float* const row = rows.data() + shape.hidden_size * thread;
    for (int64_t id = begin; id < end; ++id) {
      ref::DecodeRow(model.embed_tokens.dtype, model.embed_tokens.Row(id), shape.hidden_size, row);
      int32_t* const place = out.data() + EmbeddingAt() * kWordFloats + static_cast<size_t>(id) * width;
      for (int64_t i = 0; i < shape.hidden_size; ++i) {
        place[i] = numerics::EmbedElement(row[i], model.residual_shift);
      }
    }
  });

  Writer writer(out.data() + RotaryAt(shape) * kWordFloats);
  const auto half = static_cast<size_t>(shape.rotary_dim / 2);
  for (size_t pos = 0; pos < static_cast<size_t>(shape.max_positions); ++pos) {
    writer.Bytes(model.cos.data() + pos * half, half * sizeof(int16_t));
    writer.Bytes(model.sin.data() + pos * half, half * sizeof(int16_t));
  }
  for (const IntegerLayer& layer : model.layers) {
    PackNorm(layer.input_layernorm, &writer);
  }
  PackNorm(model.final_layernorm, &writer);
}

}  // namespace phidias::fpga
