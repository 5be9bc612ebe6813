#include "quant/calibration_state.h"

#include <utility>

#include "common/file.h"

namespace phidias {
namespace {

constexpr std::string_view kMagic = "phidias calibration state 1\n";
constexpr size_t kMaxStateBytes = size_t{4} << 30;

template <class T>
uint64_t HashValue(T value, uint64_t hash) {
  return HashBytes({reinterpret_cast<const char*>(&value), sizeof value}, hash);
}

}  // namespace

uint64_t CalibrationFingerprint(const Checkpoint& checkpoint, std::span<const std::vector<int32_t>> rows,
                                const CalibrationOptions& options) {
  uint64_t hash = HashBytes(checkpoint.path);
  for (const auto& file : checkpoint.store.files) {
    hash = HashValue(static_cast<uint64_t>(file->bytes().size()), hash);
  }
  const PhiConfig& c = checkpoint.config;
  for (const int64_t number : {c.vocab_size, c.hidden_size, c.intermediate_size, c.n_layers, c.n_heads, c.n_kv_heads,
                               options.sample_tokens, options.process, options.processes}) {
    hash = HashValue(number, hash);
  }
  hash = HashValue(options.seed, hash);
  for (const std::vector<int32_t>& row : rows) {
    hash = HashValue(static_cast<uint64_t>(row.size()), hash);
    hash = HashBytes({reinterpret_cast<const char*>(row.data()), row.size() * sizeof(int32_t)}, hash);
  }
  return hash;
}

Status WriteCalibrationState(const std::string& path, uint64_t fingerprint, const CalibrationState& state) {
  ByteWriter out;
  out.Put(fingerprint);
  out.Put(state.rows_done);
  state.stats.Write(&out);
  ByteWriter sum;
  sum.Put(HashBytes(out.bytes()));
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(kMagic));
  RETURN_IF_ERROR(file.Write(out.bytes()));
  RETURN_IF_ERROR(file.Write(sum.bytes()));
  return file.Commit();
}

Result<std::optional<CalibrationState>> ReadCalibrationState(const std::string& path, uint64_t fingerprint,
                                                             const PhiConfig& config, int64_t sample_limit) {
  if (!FileExists(path)) {
    return std::optional<CalibrationState>();
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxStateBytes));
  if (!text.starts_with(kMagic)) {
    return DataError(path, ": not a calibration state; it won't be overwritten, so name another file");
  }
  const std::string_view body = std::string_view(text).substr(kMagic.size());
  const size_t size = body.size() < sizeof(uint64_t) ? 0 : body.size() - sizeof(uint64_t);
  ByteReader sum(body.substr(size));
  if (size == 0 || sum.Get<uint64_t>() != HashBytes(body.substr(0, size))) {
    return DataError(path, ": the calibration state is damaged; delete it to start again");
  }
  ByteReader in(body.substr(0, size));
  if (in.Get<uint64_t>() != fingerprint) {
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
