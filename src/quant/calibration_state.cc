#include "quant/calibration_state.h"

#include <utility>

#include "common/file.h"
#include "quant/byte_stream.h"
#include "quant/fingerprint.h"

namespace phidias {
namespace {

constexpr std::string_view kMagic = "phidias calibration state 1\n";
constexpr size_t kMaxStateBytes = size_t{4} << 30;

// Tells a damaged file from a whole one.
std::string Checksum(std::string_view bytes) {
  Fingerprint sum;
  sum.Add(bytes);
  return sum.Hex();
}
constexpr size_t kChecksumBytes = 16;

}  // namespace

std::string CalibrationFingerprint(const Checkpoint& checkpoint, std::span<const std::vector<int32_t>> rows,
                                   const CalibrationOptions& options) {
  Fingerprint all;
  all.Add(CheckpointFingerprint(checkpoint));
  for (const int64_t number : {options.sample_tokens, options.process, options.processes}) {
    all.Add(number);
  }
  all.Add(static_cast<int64_t>(options.seed));
  for (const std::vector<int32_t>& row : rows) {
    all.Add(std::as_bytes(std::span(row)));
  }
  return all.Hex();
}

Status WriteCalibrationState(const std::string& path, const std::string& fingerprint, const CalibrationState& state) {
  ByteWriter out;
  out.PutString(fingerprint);
  out.Put(state.rows_done);
  state.stats.Write(&out);
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(kMagic));
  RETURN_IF_ERROR(file.Write(out.bytes()));
  RETURN_IF_ERROR(file.Write(Checksum(out.bytes())));
  return file.Commit();
}

Result<std::optional<CalibrationState>> ReadCalibrationState(const std::string& path, const std::string& fingerprint,
                                                             const PhiConfig& config, int64_t sample_limit) {
  if (!FileExists(path)) {
    return std::optional<CalibrationState>();
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxStateBytes));
  if (!text.starts_with(kMagic)) {
    return DataError(path, ": not a calibration state; it won't be overwritten, so name another file");
  }
  const std::string_view body = std::string_view(text).substr(kMagic.size());
  const size_t size = body.size() < kChecksumBytes ? 0 : body.size() - kChecksumBytes;
  if (size == 0 || body.substr(size) != Checksum(body.substr(0, size))) {
    return DataError(path, ": the calibration state is damaged; delete it to start again");
  }
  ByteReader in(body.substr(0, size));
  if (in.GetString() != fingerprint) {
    return DataError(path,
                     ": the state of another calibration (other model, data or options); delete it to start again, "
                     "or repeat the command that it belongs to");
  }
  CalibrationState state;
  state.rows_done = in.Get<int64_t>();
  Result<CalibrationStats> stats = CalibrationStats::Read(&in, config, sample_limit);
  if (!stats.ok()) {
    return stats.status().WithContext(path);
  }
  state.stats = std::move(*stats);
  if (!in.AtEnd() || state.rows_done < 0) {
    return DataError(path, ": the calibration state is damaged; delete it to start again");
  }
  return std::optional<CalibrationState>(std::move(state));
}

}  // namespace phidias
