#include "backend/fpga/tiled_pack.h"

#include <algorithm>
#include <span>
#include <vector>

#include "backend/fingerprint.h"
#include "backend/fpga/tiled_backend.h"
#include "backend/fpga/tiled_link.h"
#include "backend/fpga/tiled_packer.h"

namespace phidias::fpga {
namespace {

namespace tiled = hls::tiled;

int64_t Pages(int64_t bytes) {
  const auto page = static_cast<int64_t>(kPackedPage);
  return (bytes + page - 1) / page * page;
}

void AddConstants(const IntegerConstants& constants, Fingerprint* fingerprint) {
  const auto add_floats = [fingerprint](std::span<const float> values) { fingerprint->Add(std::as_bytes(values)); };
  fingerprint->Add(int64_t{constants.residual_shift});
  fingerprint->Add(int64_t{constants.lm_head_bits});
  add_floats(std::span(&constants.final_norm_scale, 1));
  for (const IntegerLayerConstants& layer : constants.layers) {
    add_floats(layer.q_scale);
    add_floats(layer.k_scale);
    add_floats(layer.v_scale);
    add_floats(std::span(&layer.fc1_scale, 1));
    fingerprint->Add(int64_t{layer.fc1_zero_point});
  }
}

// Samples of all that is packed, and the sizes of the model.
uint64_t TiledModelFingerprint(const TiledWeights& weights) {
  Fingerprint fingerprint;
  AddShape(weights.shape, &fingerprint);
  AddConstants(weights.constants, &fingerprint);
  const IntegerSources& sources = weights.sources;
  AddWeights(sources.embed_tokens, &fingerprint);
  for (const IntegerSources::Layer& layer : sources.layers) {
    AddWeights(*layer.input_layernorm, &fingerprint);
    for (const LinearWeights* linear : {layer.q_proj, layer.k_proj, layer.v_proj, layer.dense, layer.fc1, layer.fc2}) {
      AddWeights(*linear, &fingerprint);
    }
  }
  AddWeights(*sources.final_layernorm, &fingerprint);
  AddWeights(*sources.lm_head, &fingerprint);
  return fingerprint.value();
}

// Zeros, as the packers want an image.
std::vector<int32_t> NewImage(const Segment& segment) {
  return std::vector<int32_t>(static_cast<size_t>(segment.bytes) / sizeof(int32_t));
}

}  // namespace

Status CheckTiledWeights(const TiledWeights& weights) {
  for (const IntegerSources::Layer& layer : weights.sources.layers) {
    for (const LinearWeights* linear : {layer.q_proj, layer.k_proj, layer.v_proj, layer.dense, layer.fc1, layer.fc2}) {
      if ((linear->weight.dtype == DType::kI4) != weights.int4()) {
        return Unsupported(linear->name, ": its weight has ", weights.int4() ? 8 : 4, " bits where ",
                           weights.sources.layers.front().q_proj->name, " has ", weights.int4() ? 4 : 8,
                           ": design tiled takes all linear layers in one precision; run with --device cpu, or "
                           "quantise the float model anew without --bits-auto and --eight-bits");
      }
    }
  }
  return {};
}

uint64_t TiledDesignFingerprint(int64_t tiles) {
  Fingerprint fingerprint;
  fingerprint.Add(int64_t{tiled::kLayoutVersion});
  fingerprint.Add(std::string_view(kTiledDesignName));
  for (const int64_t number : {tiles, int64_t{hls::kWordBits}, int64_t{tiled::kTileRows}, int64_t{tiled::kTileInputs},
                               int64_t{tiled::kQuarterBytes}, int64_t{tiled::kAttendBytes}}) {
    fingerprint.Add(number);
  }
  return fingerprint.value();
}

PackedHeader TiledPackedHeader(const TiledWeights& weights, const TiledPlacement& plan) {
  PackedHeader header;
  header.design_fingerprint = TiledDesignFingerprint(plan.tiles);
  header.model_fingerprint = TiledModelFingerprint(weights);
  for (int64_t tile = 0; tile < plan.tiles; ++tile) {
    header.segments.push_back({"HBM", static_cast<int>(tile), Pages(plan.channel_weights)});
  }
  const BankRange tables = TiledTableBank(*FindCard(plan.card));
  header.segments.push_back({tables.memory, tables.first, Pages(plan.table_bytes)});
  return header;
}

Status PackTiledModel(const TiledWeights& weights, const TiledPlacement& plan, const std::string& path,
                      ThreadPool* pool, const PackOptions& options) {
  RETURN_IF_ERROR(CheckTiledWeights(weights));
  ASSIGN_OR_RETURN(const std::unique_ptr<IntegerModel> model,
                   BuildIntegerModel(weights.shape, weights.sources, weights.constants, *pool));
  const PackedHeader header = TiledPackedHeader(weights, plan);
  ASSIGN_OR_RETURN(PackedWriter writer, PackedWriter::Create(path, header, options));
  // As many channels at a time as there are threads: an image of Phi-2's is 84 MB.
  for (int64_t first = 0; first < plan.tiles; first += pool->size()) {
    std::vector<std::vector<int32_t>> images;
    for (int64_t tile = first; tile < std::min<int64_t>(first + pool->size(), plan.tiles); ++tile) {
      images.push_back(NewImage(header.segments[static_cast<size_t>(tile)]));
    }
    pool->ParallelFor(static_cast<int64_t>(images.size()), 1, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t i = begin; i < end; ++i) {
        PackTiledChannel(*model, plan.sizes, static_cast<int32_t>(first + i), images[static_cast<size_t>(i)]);
      }
    });
    for (const std::vector<int32_t>& image : images) {
      RETURN_IF_ERROR(writer.Write(std::as_bytes(std::span(image))));
    }
  }
  std::vector<int32_t> tables = NewImage(header.segments.back());
  PackTiledTables(*model, plan.sizes, *pool, tables);
  RETURN_IF_ERROR(writer.Write(std::as_bytes(std::span(tables))));
  return writer.Finish();
}

}  // namespace phidias::fpga
