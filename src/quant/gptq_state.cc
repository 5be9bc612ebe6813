#include "quant/gptq_state.h"

#include <memory>
#include <utility>
#include <vector>

#include "common/file.h"
#include "quant/byte_stream.h"
#include "quant/fingerprint.h"

namespace phidias {
namespace {

constexpr std::string_view kMagic = "phidias gptq state 1\n";
constexpr size_t kMaxStateBytes = size_t{4} << 30;
constexpr size_t kChecksumBytes = 16;

std::string Checksum(std::string_view bytes) {
  Fingerprint sum;
  sum.Add(bytes);
  return sum.Hex();
}

Status Damaged(const std::string& path) {
  return DataError(path, ": the GPTQ state is damaged; delete it to have this layer done again");
}

}  // namespace

std::string GptqStateFile(const std::string& state_path, int64_t layer) {
  return StrCat(state_path, ".layer-", layer);
}

Status WriteGptqState(const std::string& path, const std::string& fingerprint, const LayerPlan& layer) {
  ByteWriter out;
  out.PutString(fingerprint);
  for (const LinearPlan* linear : layer.Linears()) {
    if (linear->FourBits()) {
      out.PutVector(linear->quant.multiplier);
      out.PutVector(*linear->packed);
    }
  }
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(kMagic));
  RETURN_IF_ERROR(file.Write(out.bytes()));
  RETURN_IF_ERROR(file.Write(Checksum(out.bytes())));
  return file.Commit();
}

Result<bool> ReadGptqState(const std::string& path, const std::string& fingerprint, LayerPlan* layer) {
  if (!FileExists(path)) {
    return false;
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxStateBytes));
  if (!text.starts_with(kMagic)) {
    return DataError(path, ": not a GPTQ state; it won't be overwritten, so name another output directory");
  }
  const std::string_view body = std::string_view(text).substr(kMagic.size());
  const size_t size = body.size() < kChecksumBytes ? 0 : body.size() - kChecksumBytes;
  if (size == 0 || body.substr(size) != Checksum(body.substr(0, size))) {
    return Damaged(path);
  }
  ByteReader in(body.substr(0, size));
  if (in.GetString() != fingerprint) {
    return DataError(path,
                     ": the state of another run (other model, data or options); delete it to start again, or repeat "
                     "the command that it belongs to");
  }
  for (LinearPlan* linear : layer->Linears()) {
    if (!linear->FourBits()) {
      continue;
    }
    auto multiplier = in.GetVector<uint8_t>();
    auto packed = in.GetVector<std::byte>();
    const WeightMatrix& matrix = linear->source.matrix;
    const int64_t bytes = matrix.rows * DTypeBytes(DType::kI4, matrix.cols);
    if (multiplier.size() != linear->quant.multiplier.size() || packed.size() != static_cast<size_t>(bytes)) {
      return Damaged(path);
    }
    linear->quant.multiplier = std::move(multiplier);
    linear->packed = std::make_shared<const std::vector<std::byte>>(std::move(packed));
  }
  if (!in.AtEnd()) {
    return Damaged(path);
  }
  return true;
}

}  // namespace phidias
