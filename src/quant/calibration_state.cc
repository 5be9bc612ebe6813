#include "quant/calibration_state.h"

#include <utility>

#include "quant/byte_stream.h"
#include "quant/fingerprint.h"
#include "quant/state_file.h"

namespace phidias {
namespace {

constexpr StateKind kKind = {.magic = "phidias calibration state 1\n",
                             .name = "a calibration state",
                             .instead = "another file",
                             .again = "to start again"};

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
  return WriteStateFile(path, kKind, out.bytes());
}

Result<std::optional<CalibrationState>> ReadCalibrationState(const std::string& path, const std::string& fingerprint,
                                                             const PhiConfig& config, int64_t sample_limit) {
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, ReadStateFile(path, kKind));
  if (!bytes.has_value()) {
    return std::optional<CalibrationState>();
  }
  ByteReader in(*bytes);
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
    return DamagedState(path, kKind);
  }
  return std::optional<CalibrationState>(std::move(state));
}

}  // namespace phidias
