#include "model/files/zip_reader.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <string_view>
#include <vector>

#include "model/files/little_endian.h"

namespace phidias {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint64_t kMaxEntries = 65536;
constexpr uint32_t kSaturated32 = 0xffffffff;  // "the value is in the zip64 field"
constexpr uint16_t kSaturated16 = 0xffff;

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocator64Signature = 0x07064b50;
constexpr size_t kLocalBytes = 30;
constexpr size_t kCentralBytes = 46;
constexpr size_t kEndBytes = 22;
constexpr size_t kEnd64Bytes = 56;
constexpr size_t kLocator64Bytes = 20;
constexpr uint16_t kZip64ExtraId = 1;

constexpr uint16_t kFlagEncrypted = 1U << 0 | 1U << 6 | 1U << 13;
constexpr uint16_t kFlagDescriptor = 1U << 3;  // sizes follow the data; the local header's may be zero

template <class T>
T Load(Bytes bytes, size_t offset) {
  return LoadLittleEndian<T>(bytes, offset);
}

// Where the central directory lies.
struct Directory {
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t entries = 0;
  uint64_t records_at = 0;  // the first byte of the records that follow the directory
};

// One entry of the central directory.
struct CentralEntry {
  std::string name;
  uint16_t flags = 0;
  uint16_t method = 0;
  uint32_t crc32 = 0;
  uint64_t stored_size = 0;
  uint64_t size = 0;
  uint64_t local_offset = 0;
};

// The end record stands at the very end, followed only by a comment of at most 65535 bytes.
Result<size_t> FindEndRecord(Bytes bytes) {
  if (bytes.size() >= kEndBytes) {
    const size_t last = bytes.size() - kEndBytes;
    const size_t first = last - std::min<size_t>(last, 0xffff);
    for (size_t at = last + 1; at-- > first;) {
      if (Load<uint32_t>(bytes, at) == kEndSignature &&
          at + kEndBytes + Load<uint16_t>(bytes, at + 20) == bytes.size()) {
        return at;
      }
    }
  }
  return DataError("zip archive has no end record; the file is cut off (", bytes.size(), " bytes), download it again");
}

// `narrow` is the old record's field: saturated, or the same value.
template <class T>
bool Agrees(T narrow, uint64_t wide) {
  return narrow == std::numeric_limits<T>::max() || narrow == wide;
}

Status ReadEnd64(Bytes bytes, size_t end_at, Directory* directory) {
  const size_t locator_at = end_at - kLocator64Bytes;
  const auto at = Load<uint64_t>(bytes, locator_at + 8);
  if (locator_at < kEnd64Bytes || at > locator_at - kEnd64Bytes || Load<uint32_t>(bytes, at) != kEnd64Signature) {
    return DataError("zip archive: zip64 locator at byte ", locator_at, " points to byte ", at,
                     ", where no zip64 end record is");
  }
  if (Load<uint32_t>(bytes, locator_at + 4) != 0 || Load<uint32_t>(bytes, locator_at + 16) > 1 ||
      Load<uint32_t>(bytes, at + 16) != 0 || Load<uint32_t>(bytes, at + 20) != 0) {
    return Unsupported("zip archive is split over several files; join them first");
  }
  directory->entries = Load<uint64_t>(bytes, at + 32);
  directory->size = Load<uint64_t>(bytes, at + 40);
  directory->offset = Load<uint64_t>(bytes, at + 48);
  directory->records_at = at;
  if (Load<uint64_t>(bytes, at + 24) != directory->entries ||
      !Agrees(Load<uint16_t>(bytes, end_at + 10), directory->entries) ||
      !Agrees(Load<uint32_t>(bytes, end_at + 12), directory->size) ||
      !Agrees(Load<uint32_t>(bytes, end_at + 16), directory->offset)) {
    return DataError("zip archive: end record and zip64 end record disagree");
  }
  return {};
}

Status ReadEnd(Bytes bytes, size_t end_at, Directory* directory) {
  if (Load<uint16_t>(bytes, end_at + 4) != 0 || Load<uint16_t>(bytes, end_at + 6) != 0 ||
      Load<uint16_t>(bytes, end_at + 8) != Load<uint16_t>(bytes, end_at + 10)) {
    return Unsupported("zip archive is split over several files; join them first");
  }
  directory->entries = Load<uint16_t>(bytes, end_at + 10);
  directory->size = Load<uint32_t>(bytes, end_at + 12);
  directory->offset = Load<uint32_t>(bytes, end_at + 16);
  directory->records_at = end_at;
  return {};
}

Result<Directory> ReadDirectory(Bytes bytes) {
  ASSIGN_OR_RETURN(const size_t end_at, FindEndRecord(bytes));
  const bool zip64 =
      end_at >= kLocator64Bytes && Load<uint32_t>(bytes, end_at - kLocator64Bytes) == kLocator64Signature;
  Directory directory;
  RETURN_IF_ERROR(zip64 ? ReadEnd64(bytes, end_at, &directory) : ReadEnd(bytes, end_at, &directory));
  if (directory.entries > kMaxEntries) {
    return DataError("zip archive states ", directory.entries, " entries, at most ", kMaxEntries, " are possible");
  }
  if (directory.offset > directory.records_at || directory.size > directory.records_at - directory.offset ||
      directory.entries > directory.size / kCentralBytes) {
    return DataError("zip archive: ", directory.entries, " directory entries in ", directory.size, " bytes at byte ",
                     directory.offset, " don't fit before its end record at byte ", directory.records_at);
  }
  return directory;
}

// The payload of the zip64 field in a header's extra fields; empty if there is none.
Result<Bytes> FindZip64Extra(Bytes extra, const std::string& name) {
  while (extra.size() >= 4) {
    const auto id = Load<uint16_t>(extra, 0);
    const size_t size = Load<uint16_t>(extra, 2);
    if (size > extra.size() - 4) {
      return DataError("zip entry ", Quoted(name), ": an extra field of ", size, " bytes exceeds its header");
    }
    if (id == kZip64ExtraId) {
      return extra.subspan(4, size);
    }
    extra = extra.subspan(4 + size);
  }
  return Bytes();
}

// Takes a header's saturated values from the zip64 field, in the order that the format prescribes.
class Zip64Values {
 public:
  Zip64Values(Bytes extra, const std::string& name) : extra_(extra), name_(name) {}

  Status Resolve(uint64_t* value) {
    if (*value != kSaturated32) {
      return {};
    }
    if (extra_.size() < 8) {
      return DataError("zip entry ", Quoted(name_), ": its zip64 field is missing or too short");
    }
    *value = Load<uint64_t>(extra_, 0);
    extra_ = extra_.subspan(8);
    return {};
  }

 private:
  Bytes extra_;
  const std::string& name_;
};

std::string TextAt(Bytes bytes, size_t offset, size_t size) {
  return {reinterpret_cast<const char*>(bytes.data()) + offset, size};
}

// Reads the entry at the front of `central` and cuts it off.
Result<CentralEntry> TakeCentralEntry(Bytes* central) {
  const Bytes head = *central;
  if (head.size() < kCentralBytes || Load<uint32_t>(head, 0) != kCentralSignature) {
    return DataError("zip archive: its directory is broken");
  }
  const size_t name_size = Load<uint16_t>(head, 28);
  const size_t extra_size = Load<uint16_t>(head, 30);
  const size_t total = kCentralBytes + name_size + extra_size + Load<uint16_t>(head, 32);
  if (total > head.size()) {
    return DataError("zip archive: its directory is cut off");
  }
  CentralEntry entry;
  entry.name = TextAt(head, kCentralBytes, name_size);
  entry.flags = Load<uint16_t>(head, 8);
  entry.method = Load<uint16_t>(head, 10);
  entry.crc32 = Load<uint32_t>(head, 16);
  entry.stored_size = Load<uint32_t>(head, 20);
  entry.size = Load<uint32_t>(head, 24);
  entry.local_offset = Load<uint32_t>(head, 42);
  ASSIGN_OR_RETURN(const Bytes extra, FindZip64Extra(head.subspan(kCentralBytes + name_size, extra_size), entry.name));
  Zip64Values values(extra, entry.name);
  RETURN_IF_ERROR(values.Resolve(&entry.size));
  RETURN_IF_ERROR(values.Resolve(&entry.stored_size));
  RETURN_IF_ERROR(values.Resolve(&entry.local_offset));
  const auto disk = Load<uint16_t>(head, 34);
  if (disk != 0 && disk != kSaturated16) {
    return Unsupported("zip archive is split over several files; join them first");
  }
  *central = head.subspan(total);
  return entry;
}

Status CheckSupported(const CentralEntry& entry) {
  if ((entry.flags & kFlagEncrypted) != 0) {
    return Unsupported("zip entry ", Quoted(entry.name), " is encrypted; repack the archive without a password");
  }
  if (entry.method != 0) {
    return Unsupported("zip entry ", Quoted(entry.name), " is compressed (method ", entry.method,
                       "), so it can't be used where it lies; save it again with torch.save, or repack it without "
                       "compression (unzip, then zip -0 -r)");
  }
  if (entry.size != entry.stored_size) {
    return DataError("zip entry ", Quoted(entry.name), " is stored, but its sizes differ: ", entry.stored_size, " and ",
                     entry.size);
  }
  return {};
}

// A size in a local header against the directory's. With a descriptor, zero or saturation are as good: the writer
// didn't know it yet.
bool LocalSizeAgrees(uint32_t raw, uint64_t resolved, bool descriptor, uint64_t expected) {
  return resolved == expected || (descriptor && (raw == 0 || raw == kSaturated32));
}

// Checks the local header against the directory. Returns where the data begin.
Result<uint64_t> CheckLocalHeader(Bytes bytes, const Directory& directory, const CentralEntry& entry) {
  const auto outside = [&] {
    return DataError("zip entry ", Quoted(entry.name), " (", entry.size, " bytes at byte ", entry.local_offset,
                     ") lies beyond the space before the directory at byte ", directory.offset);
  };
  if (entry.local_offset > directory.offset || directory.offset - entry.local_offset < kLocalBytes) {
    return outside();
  }
  const Bytes local = bytes.subspan(entry.local_offset, directory.offset - entry.local_offset);
  if (Load<uint32_t>(local, 0) != kLocalSignature) {
    return DataError("zip entry ", Quoted(entry.name), ": no local header at byte ", entry.local_offset);
  }
  const size_t name_size = Load<uint16_t>(local, 26);
  const size_t extra_size = Load<uint16_t>(local, 28);
  const uint64_t header_size = kLocalBytes + name_size + extra_size;
  if (header_size > local.size() || entry.size > local.size() - header_size) {
    return outside();
  }
  const std::string name = TextAt(local, kLocalBytes, name_size);
  if (name != entry.name) {
    return DataError("zip entry ", Quoted(entry.name), " has another name in its local header: ", Quoted(name));
  }
  const auto flags = Load<uint16_t>(local, 6);
  if (Load<uint16_t>(local, 8) != entry.method || (flags & kFlagEncrypted) != 0) {
    return DataError("zip entry ", Quoted(name), ": directory and local header disagree about method or encryption");
  }
  const bool descriptor = (flags & kFlagDescriptor) != 0;
  uint64_t size = Load<uint32_t>(local, 22);
  uint64_t stored_size = Load<uint32_t>(local, 18);
  ASSIGN_OR_RETURN(const Bytes extra, FindZip64Extra(local.subspan(kLocalBytes + name_size, extra_size), name));
  Zip64Values values(extra, name);
  if (!descriptor) {
    RETURN_IF_ERROR(values.Resolve(&size));
    RETURN_IF_ERROR(values.Resolve(&stored_size));
  }
  const auto crc = Load<uint32_t>(local, 14);
  if (!LocalSizeAgrees(Load<uint32_t>(local, 22), size, descriptor, entry.size) ||
      !LocalSizeAgrees(Load<uint32_t>(local, 18), stored_size, descriptor, entry.size) ||
      (crc != entry.crc32 && !(descriptor && crc == 0))) {
    return DataError("zip entry ", Quoted(name), ": directory and local header disagree about size or checksum");
  }
  return entry.local_offset + header_size;
}

struct Extent {
  uint64_t begin;
  uint64_t end;
  const std::string* name;
};

Status CheckNoOverlap(std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].begin < extents[i - 1].end) {
      return DataError("zip entries ", Quoted(*extents[i - 1].name), " and ", Quoted(*extents[i].name), " overlap");
    }
  }
  return {};
}

}  // namespace

Result<ZipEntries> ReadStoredZip(Bytes bytes) {
  ASSIGN_OR_RETURN(const Directory directory, ReadDirectory(bytes));
  Bytes central = bytes.subspan(directory.offset, directory.size);
  ZipEntries entries;
  std::vector<Extent> extents;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    ASSIGN_OR_RETURN(const CentralEntry entry, TakeCentralEntry(&central));
    RETURN_IF_ERROR(CheckSupported(entry));
    ASSIGN_OR_RETURN(const uint64_t data_at, CheckLocalHeader(bytes, directory, entry));
    const auto [place, added] = entries.emplace(entry.name, ZipEntry{bytes.subspan(data_at, entry.size), entry.crc32});
    if (!added) {
      return DataError("zip entry ", Quoted(entry.name), " is there twice");
    }
    extents.push_back({entry.local_offset, data_at + entry.size, &place->first});
  }
  if (!central.empty()) {
    return DataError("zip archive: its directory has ", central.size(), " bytes more than its ", directory.entries,
                     " entries need");
  }
  RETURN_IF_ERROR(CheckNoOverlap(std::move(extents)));
  return entries;
}

Status CheckZipCrc(const std::string& name, const ZipEntry& entry) {
  uLong crc = ::crc32(0, nullptr, 0);
  crc = crc32_z(crc, reinterpret_cast<const Bytef*>(entry.data.data()), entry.data.size());
  if (crc != entry.crc32) {
    return DataError("zip entry ", Quoted(name), " is damaged: its checksum is not the one that the directory states; ",
                     "download the file again");
  }
  return {};
}

}  // namespace phidias
