#include "backend/fpga/packed_writer.h"

#include <algorithm>
#include <utility>

namespace phidias::fpga {

Result<PackedWriter> PackedWriter::Create(const std::string& path, const PackedHeader& header,
                                          const PackOptions& options) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(WritePackedHeader(header)));
  return PackedWriter(std::move(file), header, options);
}

PackedWriter::PackedWriter(AtomicFile file, const PackedHeader& header, const PackOptions& options)
    : file_(std::move(file)), segments_(header.segments), options_(options) {
  for (const Segment& segment : segments_) {
    total_ += segment.bytes;
  }
}

// Appends to the file and to the chunk that is being summed; chunks begin anew with each segment.
Status PackedWriter::Write(std::span<const std::byte> bytes) {
  if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
    return {StatusCode::kCancelled, "stopped on request"};
  }
  RETURN_IF_ERROR(file_.Write(bytes));
  done_ += static_cast<int64_t>(bytes.size());
  while (!bytes.empty()) {
    const auto left = static_cast<size_t>(segments_[segment_].bytes - of_segment_);
    const size_t take = std::min({bytes.size(), kPackedChunk - chunk_.size(), left});
    chunk_.insert(chunk_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(take));
    bytes = bytes.subspan(take);
    of_segment_ += static_cast<int64_t>(take);
    if (chunk_.size() == kPackedChunk || take == left) {
      checksums_.push_back(PackedChecksum(chunk_));
      chunk_.clear();
    }
    if (take == left) {
      ++segment_;
      of_segment_ = 0;
    }
  }
  if (options_.progress) {
    options_.progress(done_, total_);
  }
  return {};
}

Status PackedWriter::Finish() {
  const std::span<const std::byte> sums = std::as_bytes(std::span(checksums_));
  const uint64_t last = PackedChecksum(sums);
  RETURN_IF_ERROR(file_.Write(sums));
  RETURN_IF_ERROR(file_.Write(std::as_bytes(std::span(&last, 1))));
  return file_.Commit();
}

}  // namespace phidias::fpga
