#include "backend/fpga/packed_file.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>

namespace phidias::fpga {
namespace {

constexpr char kMagic[8] = {'P', 'H', 'I', 'D', 'P', 'A', 'C', 'K'};
constexpr uint32_t kVersion = 1;
constexpr size_t kMemoryName = 8;
constexpr size_t kTableOffset = 40;
constexpr size_t kTableEntry = kMemoryName + 8 + 8 + 8;  // name, bank, offset, bytes
constexpr uint64_t kMaxSegmentBytes = uint64_t{1} << 40;
static_assert(kTableOffset + kMaxPackedSegments * kTableEntry + 8 <= kPackedPage);

uint64_t Load64(std::span<const std::byte> bytes, size_t offset) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

class PageWriter {
 public:
  explicit PageWriter(std::vector<std::byte>* page) : page_(*page) {}
  void Bytes(const void* data, size_t size) {
    std::memcpy(page_.data() + at_, data, size);
    at_ += size;
  }
  void Number(uint64_t value) { Bytes(&value, sizeof value); }

 private:
  std::vector<std::byte>& page_;
  size_t at_ = 0;
};

constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u;

// For a fixed `state` a bijection of `word`, and the other way round.
uint64_t Mix(uint64_t state, uint64_t word) {
  state = (state ^ word) * kOdd;
  return state ^ (state >> 29);
}

// The name of a memory in the table: letters and digits, ended by zeros.
Result<std::string> MemoryName(std::span<const std::byte> bytes, size_t offset, const std::string& path) {
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + offset;
  const std::string name(text, strnlen(text, kMemoryName));
  const bool clean = std::all_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; }) &&
                     std::all_of(text + name.size(), text + kMemoryName, [](char c) { return c == '\0'; });
  if (name.empty() || !clean) {
    return DataError(path, ": broken: the table of segments names a memory ", Quoted(name));
  }
  return name;
}

Status ReadTable(std::span<const std::byte> bytes, uint64_t count, const std::string& path, PackedHeader* header) {
  uint64_t expected = kPackedPage;
  for (uint64_t i = 0; i < count; ++i) {
    const size_t at = kTableOffset + i * kTableEntry;
    Segment segment;
    ASSIGN_OR_RETURN(segment.memory, MemoryName(bytes, at, path));
    const uint64_t bank = Load64(bytes, at + kMemoryName);
    const uint64_t offset = Load64(bytes, at + kMemoryName + 8);
    const uint64_t size = Load64(bytes, at + kMemoryName + 16);
    if (bank > 1000 || offset != expected || size == 0 || size % kPackedPage != 0 || size > kMaxSegmentBytes) {
      return DataError(path, ": broken: segment ", i, " of the table is for bank ", bank, ", ", size, " bytes at ",
                       offset, ", expected whole pages at ", expected);
    }
    segment.bank = static_cast<int>(bank);
    segment.bytes = static_cast<int64_t>(size);
    expected += size;
    header->segments.push_back(std::move(segment));
  }
  return {};
}

// Where each chunk of the file's segments lies and what its checksum should be.
struct Chunk {
  size_t segment;
  uint64_t offset;  // in the segment
  uint64_t bytes;
};
std::vector<Chunk> Chunks(const PackedHeader& header) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < header.segments.size(); ++i) {
    const auto size = static_cast<uint64_t>(header.segments[i].bytes);
    for (uint64_t offset = 0; offset < size; offset += kPackedChunk) {
      chunks.push_back({i, offset, std::min<uint64_t>(kPackedChunk, size - offset)});
    }
  }
  return chunks;
}

}  // namespace

uint64_t PackedHeader::FooterOffset() const {
  uint64_t offset = kPackedPage;
  for (const Segment& segment : segments) {
    offset += static_cast<uint64_t>(segment.bytes);
  }
  return offset;
}

uint64_t PackedHeader::ChunkCount() const {
  uint64_t count = 0;
  for (const Segment& segment : segments) {
    count += (static_cast<uint64_t>(segment.bytes) + kPackedChunk - 1) / kPackedChunk;
  }
  return count;
}

uint64_t PackedHeader::FileBytes() const {
  return FooterOffset() + 8 * (ChunkCount() + 1);
}

uint64_t PackedChecksum(std::span<const std::byte> bytes) {
  uint64_t lanes[4] = {1, 2, 3, 4};  // independent chains: one multiplication a cycle instead of one in five
  size_t at = 0;
  for (; at + 32 <= bytes.size(); at += 32) {
    for (size_t lane = 0; lane < 4; ++lane) {
      lanes[lane] = Mix(lanes[lane], Load64(bytes, at + 8 * lane));
    }
  }
  uint64_t sum = bytes.size();
  for (; at < bytes.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, std::min<size_t>(8, bytes.size() - at));
    sum = Mix(sum, word);
  }
  for (const uint64_t lane : lanes) {
    sum = Mix(sum, lane);
  }
  return sum;
}

std::vector<std::byte> WritePackedHeader(const PackedHeader& header) {
  std::vector<std::byte> page(kPackedPage);
  PageWriter writer(&page);
  const auto count = static_cast<uint32_t>(header.segments.size());
  writer.Bytes(kMagic, sizeof kMagic);
  writer.Bytes(&kVersion, sizeof kVersion);
  writer.Bytes(&count, sizeof count);
  writer.Number(header.design_fingerprint);
  writer.Number(header.model_fingerprint);
  writer.Number(header.FileBytes());
  uint64_t offset = kPackedPage;
  for (const Segment& segment : header.segments) {
    char name[kMemoryName] = {};
    std::copy_n(segment.memory.begin(), std::min(segment.memory.size(), kMemoryName), name);
    writer.Bytes(name, sizeof name);
    writer.Number(static_cast<uint64_t>(segment.bank));
    writer.Number(offset);
    writer.Number(static_cast<uint64_t>(segment.bytes));
    offset += static_cast<uint64_t>(segment.bytes);
  }
  const uint64_t sum = PackedChecksum(std::span(page).first(kPackedPage - 8));
  std::memcpy(page.data() + kPackedPage - 8, &sum, sizeof sum);
  return page;
}

Result<PackedFile> PackedFile::Parse(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < sizeof kMagic || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0) {
    return DataError(path, ": not a packed model: it doesn't begin with \"PHIDPACK\"; make one with `phidias pack`");
  }
  if (bytes.size() < kPackedPage) {
    return DataError(path, ": cut off: ", bytes.size(), " bytes, less than its header of ", kPackedPage);
  }
  const uint64_t counts = Load64(bytes, 8);
  const auto version = static_cast<uint32_t>(counts);
  const uint64_t count = counts >> 32;
  if (version != kVersion) {
    return Unsupported(path, ": a packed model of version ", version, ", this program reads version ", kVersion,
                       "; pack the model again");
  }
  if (PackedChecksum(bytes.first(kPackedPage - 8)) != Load64(bytes, kPackedPage - 8)) {
    return DataError(path, ": broken: the checksum of its header is wrong; pack the model again");
  }
  PackedHeader header;
  header.design_fingerprint = Load64(bytes, 16);
  header.model_fingerprint = Load64(bytes, 24);
  if (count > kMaxPackedSegments) {
    return DataError(path, ": broken: ", count, " segments, at most ", kMaxPackedSegments, " are possible");
  }
  RETURN_IF_ERROR(ReadTable(bytes, count, path, &header));
  if (Load64(bytes, 32) != header.FileBytes() || bytes.size() != header.FileBytes()) {
    return DataError(path, ": ", bytes.size() < header.FileBytes() ? "cut off: " : "broken: ", bytes.size(),
                     " bytes, its header says ", header.FileBytes(), "; pack the model again");
  }
  return PackedFile(bytes, path, std::move(header));
}

Result<PackedFile> PackedFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  ASSIGN_OR_RETURN(PackedFile packed, Parse(file->bytes(), path));
  packed.file_ = std::move(file);
  return packed;
}

std::span<const std::byte> PackedFile::Segment(size_t index) const {
  uint64_t offset = kPackedPage;
  for (size_t i = 0; i < index; ++i) {
    offset += static_cast<uint64_t>(header_.segments[i].bytes);
  }
  return bytes_.subspan(offset, static_cast<size_t>(header_.segments[index].bytes));
}

Status PackedFile::CheckBelongs(const PackedHeader& expected, std::string_view design) const {
  if (header_.design_fingerprint != expected.design_fingerprint) {
    return DataError(path_, ": packed for another design than ", Quoted(design),
                     " of this program (fingerprints differ); pack the model again with `phidias pack`");
  }
  if (header_.model_fingerprint != expected.model_fingerprint) {
    return DataError(path_,
                     ": packed from another model (fingerprints differ); give the model that it was made of, "
                     "or pack this one with `phidias pack`");
  }
  const bool same = std::equal(header_.segments.begin(), header_.segments.end(), expected.segments.begin(),
                               expected.segments.end(), [](const fpga::Segment& a, const fpga::Segment& b) {
                                 return a.memory == b.memory && a.bank == b.bank && a.bytes == b.bytes;
                               });
  if (!same) {
    return DataError(path_,
                     ": its segments differ from this plan's: it was packed with other --host-ops; pack the "
                     "model again with those of this run");
  }
  return {};
}

Status PackedFile::VerifyChecksums(ThreadPool* pool, const std::function<void(int64_t, int64_t)>& progress) const {
  const std::span<const std::byte> footer = bytes_.subspan(header_.FooterOffset());
  if (PackedChecksum(footer.first(footer.size() - 8)) != Load64(footer, footer.size() - 8)) {
    return DataError(path_, ": broken: the checksum of its list of checksums is wrong; pack the model again");
  }
  const std::vector<Chunk> chunks = Chunks(header_);
  std::atomic<size_t> first_wrong{chunks.size()};
  std::mutex mutex;
  int64_t done = 0;
  pool->ParallelFor(static_cast<int64_t>(chunks.size()), 4, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const Chunk& chunk = chunks[i];
      if (PackedChecksum(Segment(chunk.segment).subspan(chunk.offset, chunk.bytes)) != Load64(footer, 8 * i)) {
        size_t known = first_wrong.load();
        while (i < known && !first_wrong.compare_exchange_weak(known, i)) {
        }
      }
    }
    if (progress) {
      const std::lock_guard lock(mutex);
      done += end - begin;
      progress(done * static_cast<int64_t>(kPackedChunk), static_cast<int64_t>(chunks.size() * kPackedChunk));
    }
  });
  if (first_wrong.load() == chunks.size()) {
    return CheckMapping();
  }
  const Chunk& wrong = chunks[first_wrong.load()];
  const fpga::Segment& segment = header_.segments[wrong.segment];
  return DataError(path_, ": broken: wrong checksum of ", BankTag(segment.memory, segment.bank), ", bytes ",
                   wrong.offset, " to ", wrong.offset + wrong.bytes, "; pack the model again");
}

}  // namespace phidias::fpga
