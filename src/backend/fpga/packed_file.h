#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/fpga/placement.h"
#include "common/mapped_file.h"
#include "common/status.h"
#include "common/thread_pool.h"

// The packed model: what `phidias pack` writes and a card's memory is filled from (docs/fpga.md).
//
//   page 0    magic, version, fingerprints of design and model, the file's size, the table of segments, a checksum
//   segments  page-aligned, back to back: one per bank, its items as HbmPlacement has them
//   footer    a checksum per chunk of 1 MiB of each segment, then one of the footer
//
// Every byte of the file is under a checksum.
namespace phidias::fpga {

inline constexpr size_t kPackedPage = 4096;
inline constexpr size_t kPackedChunk = size_t{1} << 20;

struct PackedHeader {
  uint64_t design_fingerprint = 0;
  uint64_t model_fingerprint = 0;
  std::vector<Segment> segments;

  uint64_t FooterOffset() const;
  uint64_t ChunkCount() const;
  uint64_t FileBytes() const;
};

// Differs for any two inputs of the same size that differ within one aligned word of 8 bytes; by chance (2^-64) else.
uint64_t PackedChecksum(std::span<const std::byte> bytes);

// The header as the file's first page. At most kMaxPackedSegments segments.
inline constexpr size_t kMaxPackedSegments = 64;
std::vector<std::byte> WritePackedHeader(const PackedHeader& header);

// A packed file in memory, checked against its own header: every segment lies inside.
class PackedFile {
 public:
  // `bytes` stay the caller's. `path` names the file in messages.
  static Result<PackedFile> Parse(std::span<const std::byte> bytes, const std::string& path);
  static Result<PackedFile> Open(const std::string& path);

  const PackedHeader& header() const { return header_; }
  const std::string& path() const { return path_; }
  std::span<const std::byte> Segment(size_t index) const;

  // That it begins with this header, of a plan for `design`. Errors say what differs and what to do.
  Status CheckBelongs(const PackedHeader& expected, std::string_view design) const;
  // Reads everything. The error names the bank and the place of the first chunk whose checksum is wrong.
  // `progress`: bytes done, bytes in all; from any thread, never two at a time.
  Status VerifyChecksums(ThreadPool* pool, const std::function<void(int64_t, int64_t)>& progress = {}) const;
  // Data error if the file shrank under the mapping.
  Status CheckMapping() const { return file_ == nullptr ? Status() : file_->Check(); }

 private:
  PackedFile(std::span<const std::byte> bytes, std::string path, PackedHeader header)
      : bytes_(bytes), path_(std::move(path)), header_(std::move(header)) {}

  std::shared_ptr<const MappedFile> file_;  // null where the bytes are the caller's
  std::span<const std::byte> bytes_;
  std::string path_;
  PackedHeader header_;
};

}  // namespace phidias::fpga
