#include "backend/fpga/packer.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "backend/rotary_table.h"
#include "common/file.h"
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

class Packer {
 public:
  Packer(const CardWeights& weights, const HbmPlacement& placement, ThreadPool* pool, const PackOptions& options,
         AtomicFile* file)
      : weights_(weights), placement_(placement), pool_(*pool), options_(options), file_(*file) {}

  Status Run(const PackedHeader& header) {
    RETURN_IF_ERROR(file_.Write(WritePackedHeader(header)));
    size_t next = 0;
    for (size_t segment = 0; segment < placement_.segments.size(); ++segment) {
      for (; next < placement_.items.size() && placement_.items[next].segment == static_cast<int>(segment); ++next) {
        RETURN_IF_ERROR(WriteItem(placement_.items[next]));
      }
      EndChunk();  // chunks begin anew with each segment
    }
    const std::span<const std::byte> sums = std::as_bytes(std::span(checksums_));
    const uint64_t last = PackedChecksum(sums);
    RETURN_IF_ERROR(file_.Write(sums));
    return file_.Write(std::as_bytes(std::span(&last, 1)));
  }

 private:
  Status WriteItem(const PlacedItem& item) {
    const RowMaker maker = MakerOf(item, weights_, placement_);
    int64_t written = 0;
    const int64_t rows_a_piece = maker.row_bytes == 0 ? 1 : std::max<int64_t>(1, kPieceBytes / maker.row_bytes);
    for (int64_t row = 0; row < maker.rows; row += rows_a_piece) {
      const int64_t count = std::min(rows_a_piece, maker.rows - row);
      piece_.resize(static_cast<size_t>(count * maker.row_bytes));
      pool_.ParallelFor(count, std::max<int64_t>(1, count / 16), [&](int64_t begin, int64_t end, int /*thread*/) {
        for (int64_t i = begin; i < end; ++i) {
          maker.make(row + i, piece_.data() + i * maker.row_bytes);
        }
      });
      RETURN_IF_ERROR(Write(piece_));
      written += count * maker.row_bytes;
    }
    const int64_t padded = hls::CeilDiv(item.bytes, kItemAlignment) * kItemAlignment;
    piece_.assign(static_cast<size_t>(padded - written), std::byte{0});
    return Write(piece_);
  }

  // Appends to the file and to the chunk that is being summed.
  Status Write(std::span<const std::byte> bytes) {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      return {StatusCode::kCancelled, "stopped on request"};
    }
    RETURN_IF_ERROR(file_.Write(bytes));
    done_ += static_cast<int64_t>(bytes.size());
    while (!bytes.empty()) {
      const size_t take = std::min(bytes.size(), kPackedChunk - chunk_.size());
      chunk_.insert(chunk_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(take));
      bytes = bytes.subspan(take);
      if (chunk_.size() == kPackedChunk) {
        EndChunk();
      }
    }
    if (options_.progress) {
      options_.progress(done_, placement_.packed_bytes());
    }
    return {};
  }

  void EndChunk() {
    if (!chunk_.empty()) {
      checksums_.push_back(PackedChecksum(chunk_));
      chunk_.clear();
    }
  }

  const CardWeights& weights_;
  const HbmPlacement& placement_;
  ThreadPool& pool_;
  const PackOptions& options_;
  AtomicFile& file_;
  std::vector<std::byte> piece_;
  std::vector<std::byte> chunk_;
  std::vector<uint64_t> checksums_;
  int64_t done_ = 0;
};

}  // namespace

Status PackModel(const CardWeights& weights, const HbmPlacement& placement, const std::string& path, ThreadPool* pool,
                 const PackOptions& options) {
  PackedHeader header;
  header.design_fingerprint = DesignFingerprint(*placement.design);
  header.model_fingerprint = ModelFingerprint(weights);
  header.segments = placement.segments;
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(Packer(weights, placement, pool, options, &file).Run(header));
  return file.Commit();
}

}  // namespace phidias::fpga
