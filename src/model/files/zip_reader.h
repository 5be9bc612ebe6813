#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "common/status.h"

namespace phidias {

struct ZipEntry {
  std::span<const std::byte> data;  // inside the archive's bytes
  uint32_t crc32 = 0;               // as the directory says; not checked unless asked for
};
using ZipEntries = std::map<std::string, ZipEntry, std::less<>>;

// Lists an archive whose entries are stored, not compressed:
// https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT with zip64, without encryption and without volumes.
// Everything that the archive states twice must agree (central directory and local headers), entries may not overlap,
// and names are unique. Messages don't name the file; the caller adds it. Checksums are left to CheckZipCrc: reading
// gigabytes of weights only to check them would cost a mapped file its advantage.
Result<ZipEntries> ReadStoredZip(std::span<const std::byte> bytes);

// Data error if the entry's bytes don't have the checksum that the directory states.
Status CheckZipCrc(const std::string& name, const ZipEntry& entry);

}  // namespace phidias
