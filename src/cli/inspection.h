#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/json.h"
#include "model/checkpoint.h"
#include "model/tokenizer/tokenizer.h"

namespace phidias::cli {

// The parts of a Phi model. kOther: tensors that are no parameters (left-over rotary tables).
enum class ModelPart { kEmbedding, kAttention, kMlp, kNorms, kLmHead, kOther };
inline constexpr size_t kModelParts = 6;

// Where a tensor belongs, by its name in any of the namings.
ModelPart PartOf(const std::string& tensor_name, const PhiConfig& config);
const char* PartName(ModelPart part);

struct PartSize {
  int64_t tensors = 0;
  int64_t parameters = 0;
  int64_t bytes = 0;  // as the file holds them
};

// What there is to say about a checkpoint.
struct Inspection {
  std::string path;
  const Checkpoint* checkpoint = nullptr;
  std::array<PartSize, kModelParts> parts;
  PartSize total;                     // without kOther
  std::vector<std::string> dtypes;    // of the tensors, sorted
  int64_t kv_bytes_per_position = 0;  // float32 keys and values of all layers
  const Tokenizer* tokenizer = nullptr;
  std::string tokenizer_error;  // why there is none, where one should be
};

// `checkpoint` must outlive the result.
Result<Inspection> InspectCheckpoint(const Checkpoint& checkpoint);

std::string InspectionText(const Inspection& inspection, bool tensors);
Json InspectionJson(const Inspection& inspection);

}  // namespace phidias::cli
