#include "quant/state_file.h"

#include <utility>

#include "backend/fingerprint.h"
#include "common/file.h"

namespace phidias {
namespace {

constexpr size_t kMaxStateBytes = size_t{4} << 30;
constexpr size_t kChecksumBytes = 16;

// Tells a damaged file from a whole one.
std::string Checksum(std::string_view bytes) {
  Fingerprint sum;
  sum.Add(bytes);
  return sum.Hex();
}

}  // namespace

Status WriteStateFile(const std::string& path, const StateKind& kind, std::string_view bytes) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(kind.magic));
  RETURN_IF_ERROR(file.Write(bytes));
  RETURN_IF_ERROR(file.Write(Checksum(bytes)));
  return file.Commit();
}

Result<std::optional<std::string>> ReadStateFile(const std::string& path, const StateKind& kind) {
  if (!FileExists(path)) {
    return std::optional<std::string>();
  }
  ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMaxStateBytes));
  if (!text.starts_with(kind.magic)) {
    return DataError(path, ": not ", kind.name, "; it won't be overwritten, so name ", kind.instead);
  }
  const size_t size = text.size() - kind.magic.size();
  const std::string_view body = std::string_view(text).substr(kind.magic.size());
  if (size < kChecksumBytes || body.substr(size - kChecksumBytes) != Checksum(body.substr(0, size - kChecksumBytes))) {
    return DamagedState(path, kind);
  }
  text.resize(text.size() - kChecksumBytes);
  text.erase(0, kind.magic.size());
  return std::optional(std::move(text));
}

Status DamagedState(const std::string& path, const StateKind& kind) {
  const std::string_view bare = kind.name.substr(kind.name.find(' ') + 1);  // "GPTQ state"
  return DataError(path, ": the ", bare, " is damaged; delete it ", kind.again);
}

}  // namespace phidias
