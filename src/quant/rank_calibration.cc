#include "quant/rank_calibration.h"

#include <unistd.h>

#include "quant/byte_stream.h"
#include "quant/fingerprint.h"

namespace phidias {
namespace {

std::string StatePath(const std::string& path, const Ranks& ranks) {
  return path.empty() || ranks.size() == 1 ? path : StrCat(path, ".", ranks.rank(), "-of-", ranks.size());
}

}  // namespace

Result<CalibrationStats> CalibrateOnRanks(Phi& phi, std::span<const std::vector<int32_t>> rows,
                                          CalibrationOptions options, Ranks& ranks) {
  if (static_cast<int64_t>(rows.size()) < ranks.size()) {
    return InvalidArgument("calibration: ", rows.size(), " rows for ", ranks.size(),
                           " ranks; start fewer ranks or take more rows");
  }
  options.process = ranks.rank();
  options.processes = ranks.size();
  options.state_path = StatePath(options.state_path, ranks);
  ASSIGN_OR_RETURN(CalibrationStats mine, Calibrate(phi, rows, options));
  if (ranks.size() == 1) {
    return mine;
  }
  ByteWriter bytes;
  mine.Write(&bytes);
  ASSIGN_OR_RETURN(const std::vector<std::string> all, ranks.Exchange(bytes.bytes(), options.cancel));
  CalibrationStats merged = CalibrationStats::ForModel(phi.config(), options.sample_tokens);
  for (const std::string& piece : all) {
    ByteReader reader(piece);
    ASSIGN_OR_RETURN(const CalibrationStats stats,
                     CalibrationStats::Read(&reader, phi.config(), options.sample_tokens));
    merged.Merge(stats);
  }
  return merged;
}

void RemoveCalibrationState(const std::string& state_path, const Ranks& ranks) {
  unlink(StatePath(state_path, ranks).c_str());
}

std::string StatsFingerprint(const CalibrationStats& stats) {
  ByteWriter bytes;
  stats.Write(&bytes);
  Fingerprint fingerprint;
  fingerprint.Add(std::string_view(bytes.bytes()));
  return fingerprint.Hex();
}

}  // namespace phidias
