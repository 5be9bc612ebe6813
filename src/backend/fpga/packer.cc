#include "backend/fpga/packer.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "backend/rotary_table.h"
#include "hls/layout.h"
#include "ref/linear_s8.h"

namespace phidias::fpga {
namespace {

constexpr int64_t kPieceBytes = int64_t{8} << 20;  // made in memory at a time

// Fills one item, piece by piece. An item is a list of `rows` of `row_bytes` each (matrix rows, groups of them); each
// can be made alone.
struct RowMaker {
  int64_t rows = 0;
  int64_t row_bytes = 0;
  std::function<void(int64_t row, std::byte* out)> make;
};

RowMaker LinearSlice(const LinearWeights& linear, int banks, int slice) {
  const WeightMatrix& w = linear.weight;
  return {w.rows, hls::LinearSliceBytes(w.cols, banks), [&w, banks, slice](int64_t row, std::byte* out) {
            hls::PackLinearSlice(reinterpret_cast<const int8_t*>(w.Row(row)), w.cols, banks, slice,
                                 reinterpret_cast<int8_t*>(out));
          }};
}

// All of a small thing at once.
RowMaker Whole(int64_t bytes, std::function<void(std::byte*)> make) {
  return {1, bytes, [make = std::move(make)](int64_t /*row*/, std::byte* out) { make(out); }};
}

RowMaker LinearConstants(const LinearWeights& linear) {
  const WeightMatrix& w = linear.weight;
  return Whole(hls::LinearConstantsBytes(w.rows), [&linear, &w](std::byte* out) {
    std::vector<int32_t> row_sum(static_cast<size_t>(w.rows));
    for (int64_t n = 0; n < w.rows; ++n) {
      row_sum[static_cast<size_t>(n)] = ref::SumS8(reinterpret_cast<const int8_t*>(w.Row(n)), w.cols);
    }
    hls::PackLinearConstants(linear.quant.scale.data(), linear.bias.empty() ? nullptr : linear.bias.data(),
                             row_sum.data(), w.rows, reinterpret_cast<uint32_t*>(out));
  });
}

RowMaker NormConstants(const LayerNormWeights& norm) {
  const auto n = static_cast<int64_t>(norm.weight.size());
  return Whole(hls::NormConstantsBytes(n), [&norm, n](std::byte* out) {
    hls::PackNormConstants(norm.weight.data(), norm.bias.data(), n, reinterpret_cast<float*>(out));
  });
}

RowMaker LmHeadSlice(const LinearWeights& lm_head, int element_bytes, int banks, int slice) {
  const WeightMatrix& w = lm_head.weight;
  return {hls::LmHeadGroups(w.rows, banks, slice), hls::LmHeadGroupBytes(w.cols, element_bytes),
          [&w, element_bytes, banks, slice](int64_t row, std::byte* out) {
            hls::PackLmHeadGroup(w.data, w.rows, w.cols, element_bytes, row * banks + slice,
                                 reinterpret_cast<uint8_t*>(out));
          }};
}

RowMaker LmHeadBias(const LinearWeights& lm_head) {
  const int64_t n = lm_head.weight.rows;
  return Whole(hls::VectorBytes(n), [&lm_head, n](std::byte* out) {
    std::vector<float> bias = lm_head.bias;
    bias.resize(static_cast<size_t>(n), -0.0F);  // adding -0 changes no sum
    std::memcpy(out, bias.data(), bias.size() * sizeof(float));
  });
}

RowMaker Rotary(const ModelShape& shape, int64_t positions) {
  const int64_t row_bytes = hls::RotaryRowBytes(shape.rotary_dim);
  return Whole(positions * row_bytes, [&shape, positions, row_bytes](std::byte* out) {
    const RotaryTable table(positions, shape.rotary_dim, shape.rope_theta);
    for (int64_t pos = 0; pos < positions; ++pos) {
      hls::PackRotaryRow(table.Cos(pos), table.Sin(pos), shape.rotary_dim,
                         reinterpret_cast<float*>(out + pos * row_bytes));
    }
  });
}

RowMaker MakerOf(const PlacedItem& item, const CardWeights& weights, const HbmPlacement& placement) {
  switch (item.kind) {
    case ItemKind::kLinearSlice:
      return LinearSlice(weights.Linear(item.role, item.layer), placement.design->linear.banks, item.slice);
    case ItemKind::kLinearConstants: return LinearConstants(weights.Linear(item.role, item.layer));
    case ItemKind::kNormConstants: return NormConstants(weights.Norm(item.layer));
    case ItemKind::kLmHeadSlice:
      return LmHeadSlice(*weights.lm_head, LmHeadElementBytes(placement.lm_head), placement.design->lm_head_banks,
                         item.slice);
    case ItemKind::kLmHeadBias: return LmHeadBias(*weights.lm_head);
    case ItemKind::kRotaryTable: break;
  }
  return Rotary(placement.shape, placement.rotary_positions());
}

// One item, in pieces. It is filled up with zeros to its place's end.
Status WriteItem(const PlacedItem& item, const RowMaker& maker, ThreadPool& pool, PackedWriter* writer) {
  std::vector<std::byte> piece;
  int64_t written = 0;
  const int64_t rows_a_piece = maker.row_bytes == 0 ? 1 : std::max<int64_t>(1, kPieceBytes / maker.row_bytes);
  for (int64_t row = 0; row < maker.rows; row += rows_a_piece) {
    const int64_t count = std::min(rows_a_piece, maker.rows - row);
    piece.resize(static_cast<size_t>(count * maker.row_bytes));
    pool.ParallelFor(count, std::max<int64_t>(1, count / 16), [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t i = begin; i < end; ++i) {
        maker.make(row + i, piece.data() + i * maker.row_bytes);
      }
    });
    RETURN_IF_ERROR(writer->Write(piece));
    written += count * maker.row_bytes;
  }
  const int64_t padded = hls::CeilDiv(item.bytes, kItemAlignment) * kItemAlignment;
  piece.assign(static_cast<size_t>(padded - written), std::byte{0});
  return writer->Write(piece);
}

}  // namespace

PackedHeader HeaderOf(const CardWeights& weights, const HbmPlacement& placement) {
  return {.design_fingerprint = DesignFingerprint(*placement.design),
          .model_fingerprint = ModelFingerprint(weights),
          .segments = placement.segments};
}

Status PackModel(const CardWeights& weights, const HbmPlacement& placement, const std::string& path, ThreadPool* pool,
                 const PackOptions& options) {
  ASSIGN_OR_RETURN(PackedWriter writer, PackedWriter::Create(path, HeaderOf(weights, placement), options));
  for (const PlacedItem& item : placement.items) {  // segment by segment
    RETURN_IF_ERROR(WriteItem(item, MakerOf(item, weights, placement), *pool, &writer));
  }
  return writer.Finish();
}

}  // namespace phidias::fpga
