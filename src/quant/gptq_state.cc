#include "quant/gptq_state.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "quant/byte_stream.h"
#include "quant/state_file.h"

namespace phidias {
namespace {

constexpr StateKind kKind = {.magic = "phidias gptq state 1\n",
                             .name = "a GPTQ state",
                             .instead = "another output directory",
                             .again = "to have this layer done again"};

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
  return WriteStateFile(path, kKind, out.bytes());
}

Result<bool> ReadGptqState(const std::string& path, const std::string& fingerprint, LayerPlan* layer) {
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, ReadStateFile(path, kKind));
  if (!bytes.has_value()) {
    return false;
  }
  ByteReader in(*bytes);
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
    const int64_t packed_bytes = matrix.rows * DTypeBytes(DType::kI4, matrix.cols);
    if (multiplier.size() != linear->quant.multiplier.size() || packed.size() != static_cast<size_t>(packed_bytes)) {
      return DamagedState(path, kKind);
    }
    linear->quant.multiplier = std::move(multiplier);
    linear->packed = std::make_shared<const std::vector<std::byte>>(std::move(packed));
  }
  if (!in.AtEnd()) {
    return DamagedState(path, kKind);
  }
  return true;
}

}  // namespace phidias
